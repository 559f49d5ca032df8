package collect

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

// Besides errors there are faults that no single answer shows: an API that has
// gone silent, leaves fields out that were always there, or repeats itself. They
// are told by what a feed is used to, which is learnt here, round by round.

const (
	leastSampled   = 20        // records, before a field counts as always there
	sampledOfPage  = 3         // records of each page whose fields are looked at
	mostKeys       = 128       // fields that are remembered
	leastReceived  = 100       // records of a round, before repeats count
	silentTimes    = 4         // as long as the longest silence so far is a fault
	leastSilence   = time.Hour // and never shorter than this, or than so many intervals
	leastIntervals = 60
	leastQuiet     = 5 * time.Minute // of those that are asked every few seconds
	behindRounds   = 3               // rounds in a row that begin later than the one before
	leastBehind    = time.Minute     // that a feed lags by then
	retentionShare = 0.8             // of the product's retention that a feed may lag, or a position go unused
)

// Habits are what a feed is used to. They are stored with its live lane.
type Habits struct {
	Newest  time.Time      `json:"newest,omitzero"` // event time of the newest record
	Silence time.Duration  `json:"silence"`         // the longest between two rounds' newest records
	Sampled int            `json:"sampled"`         // records whose fields were looked at
	Keys    map[string]int `json:"keys,omitempty"`  // of them, how many had the field
}

// round is what the live round under way has shown so far.
type round struct {
	newest   time.Time
	received int // records, with repeats
	met      int // different records, in each walk
	sampled  int
	keys     map[string]int
}

// note adds a page of the live lane.
func (r *round) note(page *fetch.Page, met int, newest time.Time) {
	r.newest = later(r.newest, newest)
	r.received += len(page.Records)
	r.met += met
	if r.keys == nil {
		r.keys = map[string]int{}
	}
	for _, record := range page.Records[:min(sampledOfPage, len(page.Records))] {
		r.sampled++
		jsonscan.Members(record, func(key, _ []byte) bool {
			if _, ok := r.keys[string(key)]; ok || len(r.keys) < mostKeys {
				r.keys[string(key)]++
			}
			return true
		})
	}
}

// missing are the fields that every record used to have, or that the catalogue
// says it has, and no record of the round has.
func (h *Habits) missing(r *round, expected []string) []string {
	if r.sampled == 0 || len(r.keys) == mostKeys { // there may be more
		return nil
	}
	var missing []string
	for _, key := range expected {
		if r.keys[key] == 0 {
			missing = append(missing, key)
		}
	}
	if h.Sampled >= leastSampled && r.sampled >= sampledOfPage {
		for key, n := range h.Keys {
			if n == h.Sampled && r.keys[key] == 0 && !slices.Contains(missing, key) {
				missing = append(missing, key)
			}
		}
	}
	slices.Sort(missing)
	return missing
}

// learn takes a round into the habits.
func (h *Habits) learn(r *round) {
	if !h.Newest.IsZero() && r.newest.After(h.Newest) {
		h.Silence = max(h.Silence, r.newest.Sub(h.Newest))
	}
	h.Newest = later(h.Newest, r.newest)
	if h.Keys == nil {
		h.Keys = map[string]int{}
	}
	for key, n := range r.keys {
		if _, ok := h.Keys[key]; ok || h.Sampled == 0 {
			h.Keys[key] += n // a field that appears later was not always there
		}
	}
	h.Sampled += r.sampled
}

// fault is a state with its evidence and what to do.
type fault struct {
	state  State
	reason string
}

// judge names what is wrong with a feed whose round has ended without an error;
// the zero fault says that nothing is. The worst comes first.
func (f *Feed) judge(h *Habits, r *round, p *Position, now time.Time) fault {
	source := f.opts.Source
	gaps := p.Gaps
	if source.OnlyWhole() {
		gaps = nil // see unwhole
	}
	if i := slices.IndexFunc(gaps, func(g Slice) bool { return g.Capped }); i >= 0 {
		g := gaps[i]
		return fault{StateLossy, fmt.Sprintf("%s between %s and %s; narrow the feed with a filter",
			g.Why, g.Since.Format(time.RFC3339Nano), g.Until.Format(time.RFC3339Nano))}
	}
	if len(gaps) > 0 {
		return fault{StateIncomplete, (&IncompleteError{Feed: f.opts.Feed, Gaps: len(gaps), First: gaps[0]}).reason()}
	}
	if missing := h.missing(r, source.Record.Expect); len(missing) > 0 {
		return fault{StateMissingFields, fmt.Sprintf("no record of the last round has %s, which all should have: check the scopes of the credential, and whether the product changed its API",
			strings.Join(missing, ", "))}
	}
	if s := p.Stream; s != nil && s.Losses >= mostLosses {
		return fault{StateStuck, fmt.Sprintf("%d positions in the stream were lost one after the other, the last because %s; new records are read by time meanwhile", s.Losses, s.Lost.Why)}
	}
	if repeats := r.received - r.met; r.received >= leastReceived && repeats*2 > r.received {
		return fault{StateDuplicating, fmt.Sprintf("%d of the %d records of the last round came more than once; they are dropped, but use up the rate limit", repeats, r.received)}
	}
	if limit := max(silentTimes*h.Silence, min(leastSilence, max(leastIntervals*f.opts.Interval, leastQuiet))); h.Silence > 0 && !source.OnlyWhole() && now.Sub(h.Newest) > limit {
		return fault{StateSilent, fmt.Sprintf("the newest record is of %s, and this feed was never silent for more than %s: check in the product whether it still logs",
			h.Newest.UTC().Format(time.RFC3339), h.Silence.Round(time.Second))}
	}
	return fault{}
}

// slipping names a feed that falls behind, when a round of it begins.
func (f *Feed) slipping(p *Position, now time.Time) fault {
	if p.Watermark.Equal(p.Floor) {
		return fault{} // its first round
	}
	if found := f.forgetting(p, now); found.state != "" {
		return found
	}
	lag := now.Sub(p.Watermark)
	if r := f.opts.Source.Window.Retention.Std(); r > 0 && lag > time.Duration(retentionShare*float64(r)) {
		return fault{StateLossy, fmt.Sprintf("it lagged by %s at %s, and the product keeps records for %s: what is older is lost soon",
			lag.Round(time.Minute), moment(now), r)}
	}
	f.lags = append(f.lags, lag)
	if len(f.lags) > behindRounds+1 {
		f.lags = f.lags[1:]
	}
	return f.behind(lag, now)
}

// toMakeUp is the lag that a round makes up for which begins now: the first, or
// one that begins late; 0 for any other.
func (f *Feed) toMakeUp(p *Position, now time.Time) time.Duration {
	lag := now.Sub(p.Watermark)
	if lag < f.leastLag() && !p.Watermark.Equal(p.Floor) {
		return 0
	}
	return lag
}

// leastLag is a lag that is no longer the wait for the next round.
func (f *Feed) leastLag() time.Duration { return max(2*f.opts.Interval, leastBehind) }

// behind names a feed that lags by so much now, and by more from round to round.
func (f *Feed) behind(lag time.Duration, now time.Time) fault {
	if len(f.lags) <= behindRounds || lag < f.leastLag() {
		return fault{}
	}
	for i := 1; i < len(f.lags); i++ {
		if f.lags[i] <= f.lags[i-1] {
			return fault{}
		}
	}
	return behind(lag, now, fmt.Sprintf("more with each of the last %d rounds", behindRounds))
}

// fallingBehind is behind in the middle of a round that takes longer than all
// before it: where rounds grow, the next one may be far away. And a round that
// was to make up for a lag, and has taken as long as that, does not.
func (f *Feed) fallingBehind(s *Status) fault {
	now := f.now()
	lag := s.Lag(now)
	if f.lagged > 0 && lag >= max(2*f.lagged, f.leastLag()) {
		return behind(lag, now, fmt.Sprintf("%s when its round began", f.lagged.Round(time.Second)))
	}
	if n := len(f.lags); n == 0 || lag < 3*f.lags[n-1] {
		return fault{}
	}
	return f.behind(lag, now)
}

func behind(lag time.Duration, now time.Time, since string) fault {
	return fault{StateBehind, fmt.Sprintf("it lagged by %s at %s, %s: the rate limit or the interval is too small for what the product logs", lag.Round(time.Second), moment(now), since)}
}

// moment is a time in a reason, which is read later than it is written.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// newest is the event time of the newest record of the rounds so far.
func (f *Feed) newest() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.habits.Newest
}

// leastLate is how many records must have shown their lateness before the
// overlap follows it.
const leastLate = 100

// overlap is how far behind its watermark a round begins: as configured, and
// further where records were seen to appear later than that, but not so far
// that a revisit reads it anyway.
func (f *Feed) overlap() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	own, ceiling := f.opts.Overlap, 24*time.Hour
	if most := f.opts.MaxAge / 4 * 3; most > 0 { // see remembered
		own, ceiling = min(own, most), min(ceiling, most)
	}
	if len(f.opts.Revisit) > 0 {
		ceiling = min(ceiling, f.opts.Revisit[0])
	}
	if f.lateness.Count() < leastLate {
		return own
	}
	return max(own, min(f.lateness.Quantile(0.99)*3/2, ceiling))
}
