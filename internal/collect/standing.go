package collect

import (
	"fmt"
	"time"

	"github.com/trawlsec/trawl/internal/pagelog"
)

// Standing is what the position behind a page tells of how the page was read.
type Standing struct {
	Known     bool      // the page has a position; of a large answer only the last page has
	Forgotten uint64    // by a reset: pages up to this sequence count as never read
	Watermark time.Time // of the lane; it goes back only when the feed is rewound or reset
	Fresh     bool      // the records were new when they were found: neither history nor handed over nor a whole reading
}

// StandingOf reads the position of a page. The error says that it is damaged.
func StandingOf(p *pagelog.Page) (Standing, error) {
	if len(p.Position) == 0 {
		return Standing{}, nil
	}
	pos, err := decodePosition(p.Position)
	if err != nil {
		return Standing{}, fmt.Errorf("page %d of %s %s: %w", p.Seq, p.Feed, p.Lane, err)
	}
	return Standing{Known: true, Forgotten: pos.ForgetTo, Watermark: pos.Watermark, Fresh: !catchingUp(p.Lane, &pos) && p.Lane != pagelog.Snapshot}, nil
}

// catchingUp tells whether a lane reads what was made before anyone looked: the
// first round of a feed, a backfill, and what was handed over. That says nothing
// about how late records become visible.
func catchingUp(lane pagelog.Lane, p *Position) bool {
	return lane == pagelog.Backfill || lane == pagelog.Push || lane == pagelog.Live && p.Round.Equal(p.Floor)
}
