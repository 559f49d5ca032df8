package collect

import (
	"slices"
	"time"
)

// The log keeps pages, and with them the ids of records, for so long only. What
// is older and read again would be delivered again. So windows are not read
// again from beyond that, unless there may be records in them that nobody has
// seen; and then it is said.

// mostMissed is how many gaps that were given up are remembered.
const mostMissed = 8

// remembered is the time of which, and of what is later, the log surely tells
// duplicates: a record is not stored before its time. Zero: of all. A quarter is
// left for the reading itself.
func (f *Feed) remembered(now time.Time) time.Time {
	if f.opts.MaxAge <= 0 {
		return time.Time{}
	}
	return now.Add(-f.opts.MaxAge / 4 * 3)
}

// giveUpGaps takes out the gaps that are not to be read again: of what the log
// remembers no more, and of what the product has forgotten.
func (l *lane) giveUpGaps(p *Position, now time.Time) {
	from := later(l.feed.remembered(now), l.feed.oldest(now))
	p.Gaps = slices.DeleteFunc(p.Gaps, func(g Slice) bool {
		if !g.Since.Before(from) {
			return false
		}
		g.restart()
		g.Gap = false
		p.Missed = append(p.Missed, g)
		return true
	})
	if n := len(p.Missed); n > mostMissed {
		p.Missed = slices.Delete(p.Missed, 0, n-mostMissed)
	}
}

// tellMissed says which gaps were given up, once that is written.
func (l *lane) tellMissed(before []Slice) {
	for _, g := range l.pos.Missed {
		if !slices.ContainsFunc(before, func(b Slice) bool { return b.id() == g.id() }) {
			l.feed.log.Error("a gap is too old to be read again: what the API did not give of it is lost", "lane", l.name, "since", g.Since, "until", g.Until, "reason", g.Why)
		}
	}
}
