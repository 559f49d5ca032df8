package collect

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/trawlsec/trawl/internal/jsonscan"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// Standing is what the position behind a page tells of how the page was read.
type Standing struct {
	Known     bool      // the page has a position; of a large answer only the last page has
	Forgotten uint64    // by a reset: pages up to this sequence count as never read
	Watermark time.Time // of the lane; it goes back only when the feed is rewound or reset
	Fresh     bool      // the records were new when they were found: neither history nor handed over nor a whole reading

	round    time.Time
	interval time.Duration
}

// Delay is how long after its time a record became visible, as far as it is
// known from when it was fetched.
func (s *Standing) Delay(at, fetched time.Time) time.Duration {
	return delay(at, fetched, s.round, s.interval)
}

// delay is how late a record became visible that was found in a round. It was
// not there when its time was last read, which is when the round before ended;
// when after that it came, a feed that asks every interval would know to that.
// One that lags, or stood still, must not take its own lag for the product's.
func delay(at, fetched, round time.Time, interval time.Duration) time.Duration {
	d := fetched.Sub(at)
	if interval > 0 {
		d = min(d, max(round.Sub(at), 0)+interval)
	}
	return d
}

// standingPlan finds in a position what Standing tells, as there is one with
// most pages and the rest of it need not be understood.
var standingPlan = func() *jsonscan.Plan {
	var paths []jsonscan.Path
	for _, name := range []string{"forget_to", "interval", "watermark", "round", "floor"} {
		path, err := jsonscan.ParsePath(name)
		if err != nil {
			panic(err)
		}
		paths = append(paths, path)
	}
	return jsonscan.Compile(paths...)
}()

// StandingOf reads the position of a page. The error says that it is damaged.
func StandingOf(p *pagelog.Page) (Standing, error) {
	if len(p.Position) == 0 {
		return Standing{}, nil
	}
	var found [5][]byte
	var times [3]time.Time
	s := Standing{Known: true}
	err := errors.New("is not JSON")
	if standingPlan.Scan(p.Position, found[:]) {
		err = nil
	}
	if raw := found[0]; raw != nil && err == nil {
		s.Forgotten, err = strconv.ParseUint(string(raw), 10, 64)
	}
	if raw := found[1]; raw != nil && err == nil {
		var ns int64
		ns, err = strconv.ParseInt(string(raw), 10, 64)
		s.interval = time.Duration(ns)
	}
	for i, raw := range found[2:] {
		if raw != nil && err == nil {
			err = times[i].UnmarshalJSON(raw)
		}
	}
	if err != nil {
		return Standing{}, fmt.Errorf("page %d of %s %s: decode position: %w", p.Seq, p.Feed, p.Lane, err)
	}
	s.Watermark, s.round = times[0], times[1]
	s.Fresh = !catchingUp(p.Lane, &Position{Round: times[1], Floor: times[2]}) && p.Lane != pagelog.Snapshot
	return s, nil
}

// catchingUp tells whether a lane reads what was made before anyone looked: the
// first round of a feed, a backfill, and what was handed over. That says nothing
// about how late records become visible.
func catchingUp(lane pagelog.Lane, p *Position) bool {
	return lane == pagelog.Backfill || lane == pagelog.Push || lane == pagelog.Live && p.Round.Equal(p.Floor)
}
