package collect

import (
	"context"
	"time"
)

// The revisit lane reads windows again once they have reached an age: what
// became visible too late for the overlap is found then, and a round that finds
// nothing is evidence that nothing is missing. Each age has a mark up to which
// its windows were read again; a round moves one mark.

// revisitEvery is how far an age's mark falls behind before a round is due.
func (f *Feed) revisitEvery(age time.Duration) time.Duration {
	return max(f.opts.Interval, age/4)
}

// runRevisits does the revisits that are due until ctx ends.
func (f *Feed) runRevisits(ctx context.Context) {
	if len(f.opts.Revisit) > 0 {
		f.repeat(ctx, "revisit", f.opts.Interval, nil, f.revisitDue)
	}
}

// revisitDue finishes the round under way and does those that are due.
func (f *Feed) revisitDue(ctx context.Context) error {
	l := f.revisit
	for ctx.Err() == nil && !f.paused.Load() {
		at, reading := l.next()
		if !reading {
			if err := l.planRevisit(ctx); err != nil {
				return err
			}
			if at, reading = l.next(); !reading {
				return nil // none is due
			}
		}
		if err := l.step(ctx, at); err != nil {
			return err
		}
		if _, reading = l.next(); !reading {
			if err := l.revisited(ctx); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// planRevisit begins the round of the first age that is due, if one is.
func (l *lane) planRevisit(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fresh(ctx); err != nil {
		return err
	}
	f := l.feed
	now := f.product()
	watermark, created, floor := f.bounds()
	if created.IsZero() {
		return nil // the feed was never read
	}
	for _, age := range f.opts.Revisit {
		mark, ok := l.pos.Marks[age]
		if !ok {
			// What lay further back when the feed began was first read when it was old enough.
			mark = later(created.Add(-age), floor)
		}
		until := now.Add(-age)
		if mark.Sub(until) > f.revisitEvery(age) { // the clock was set back
			mark = later(earlier(f.newest(), now).Add(-age), floor)
		}
		// Nothing older is left to read, or it would be delivered again.
		mark = later(mark, later(f.oldest(now), f.remembered(now)))
		if watermark.Before(until) {
			until = watermark
		}
		if until.Sub(mark) < f.revisitEvery(age) {
			continue
		}
		next := l.pos.clone()
		next.Floor, next.Watermark, next.Age, next.Found = mark, mark, age, next.Counts.Records
		next.Round = mark
		l.giveUpGaps(&next, now)
		next.begin(mark, until, len(f.opts.Source.Window.Fields))
		l.newRound(f.now())
		missed := l.pos.Missed
		if err := l.save(ctx, next); err != nil {
			return err
		}
		l.tellMissed(missed)
		return nil
	}
	return nil
}

// bounds are what a revisit needs to know of the live lane, as it was last
// published: the live lane may be reading.
func (f *Feed) bounds() (watermark, created, floor time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status.Watermark, f.created, f.floor
}

// revisited notes the end of a round.
func (l *lane) revisited(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.pos.clone()
	found := next.Counts.Records - next.Found
	next.Found = 0
	if next.Marks == nil {
		next.Marks = map[time.Duration]time.Time{}
	}
	next.Marks[next.Age] = next.Watermark
	if found > 0 {
		l.feed.log.Warn("a revisit found records that became visible after their time had been read", "records", found, "age", next.Age)
	} else if len(next.Gaps) == 0 {
		next.Proof = later(next.Proof, next.Watermark)
	}
	return l.save(ctx, next)
}
