package collect

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// The backfill lane reads a long past range, several slices at once, behind the
// live lane in the connection's rate budget. Its position says what of the
// range has not been begun, so a backfill goes on after a restart.

// Backfill is how a backfill stands.
type Backfill struct {
	Since       time.Time `json:"since"`
	Until       time.Time `json:"until"`
	Done        float64   `json:"done"`    // share of the range, 0 to 1
	Records     int64     `json:"records"` // that were not in the log, of all backfills of the feed
	Gaps        []Slice   `json:"gaps,omitempty"`
	Concurrency int       `json:"concurrency"`
}

// backfillOf describes the position of a backfill lane; nil without one.
func backfillOf(p *Position) *Backfill {
	if p.Since.IsZero() {
		return nil
	}
	b := &Backfill{Since: p.Since, Until: p.Until, Records: p.Counts.Records, Gaps: p.Gaps, Concurrency: p.Concurrency}
	left := p.Until.Sub(p.Next)
	fields := map[int]bool{}
	for _, s := range p.Slices {
		fields[s.Field] = true
	}
	for _, s := range p.Slices {
		left += s.Until.Sub(s.Since) / time.Duration(len(fields))
	}
	b.Done = 1
	if span := p.Until.Sub(p.Since); span > 0 {
		b.Done = min(max(1-left.Seconds()/span.Seconds(), 0), 1)
	}
	return b
}

// chunks is into how many pieces a range is divided at least, for each slice
// read at once: enough that the last ones end together.
const chunks = 8

// MostConcurrent bounds how many slices of a backfill are read at once: they all
// stand in the position, which is stored with every page.
const MostConcurrent = 16

// longestChunk keeps pieces short enough that progress shows.
const longestChunk = 24 * time.Hour

// StartBackfill makes a feed read [since, until) in the backfill lane, in the
// given number of slices at once. A range like that of an unfinished backfill
// goes on with it; another is refused until that one is done or cancelled.
// The returned time is where it really begins: not before what the product
// keeps.
func (f *Feed) StartBackfill(ctx context.Context, since, until time.Time, concurrency int) (time.Time, error) {
	if f.opts.Source.OnlyWhole() {
		return since, fmt.Errorf("backfill feed %s: %w", f.opts.Feed, errOnlyWhole)
	}
	since, until = since.UTC().Truncate(time.Microsecond), until.UTC().Truncate(time.Microsecond)
	if r := f.opts.Source.Window.Retention.Std(); r > 0 {
		if oldest := f.now().UTC().Add(-r).Truncate(time.Second); since.Before(oldest) {
			f.log.Warn("backfill begins before what the product keeps; reading from there", "since", since, "kept_from", oldest)
			since = oldest
		}
	}
	switch {
	case !since.Before(until):
		return since, fmt.Errorf("backfill feed %s: there is nothing between %s and %s", f.opts.Feed, since.Format(time.RFC3339), until.Format(time.RFC3339))
	case until.After(f.now()):
		return since, fmt.Errorf("backfill feed %s: %s is in the future", f.opts.Feed, until.Format(time.RFC3339))
	case concurrency < 1 || concurrency > MostConcurrent:
		return since, fmt.Errorf("backfill feed %s: concurrency is %d, and must be between 1 and %d", f.opts.Feed, concurrency, MostConcurrent)
	}
	if _, created, floor := f.bounds(); !floor.IsZero() {
		if known := f.remembered(f.now()); since.Before(known) && floor.Before(known) && created.Before(known) && floor.Before(until) {
			f.log.Warn("the log does not know any more what was delivered of so long ago: what the feed has read of this range may be delivered again",
				"read_from", floor, "known_from", known)
		}
	}
	l := f.backfill
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fresh(ctx); err != nil {
		return since, err
	}
	next := l.pos.clone()
	if !next.idle() {
		// The beginning may have moved because the product keeps less by now.
		if !next.Until.Equal(until) || since.Sub(next.Since).Abs() > longestChunk {
			return since, &BusyError{Backfill: *backfillOf(&next), Feed: f.opts.Feed.String()}
		}
		next.Concurrency = concurrency
	} else {
		next.Since, next.Next, next.Until, next.Concurrency = since, since, until, concurrency
		next.Floor, next.Watermark, next.Gaps = since, since, nil
	}
	l.short = nil
	if err := l.save(ctx, next); err != nil {
		return since, err
	}
	f.wake()
	return next.Since, nil
}

// CancelBackfill gives up what is left of a backfill. What it brought stays.
func CancelBackfill(ctx context.Context, f *Feed) error {
	l := f.backfill
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.jump(ctx, func(p *Position) { p.Slices, p.Next, p.Until = nil, p.Watermark, p.Watermark })
}

// BusyError says that a feed has an unfinished backfill of another range.
type BusyError struct {
	Feed     string
	Backfill Backfill
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("backfill feed %s: one from %s to %s is under way (%.0f %% done); wait for it with `trawl backfill %s`, or add --cancel to end it",
		e.Feed, e.Backfill.Since.Format(time.RFC3339), e.Backfill.Until.Format(time.RFC3339), 100*e.Backfill.Done, e.Feed)
}

// runBackfills works on backfills, now and as they are started, until ctx ends.
func (f *Feed) runBackfills(ctx context.Context) {
	f.repeat(ctx, "backfill", forever, f.woken, f.Backfill)
}

// repeat does a piece of work now, at each interval and when woken, unless the
// feed is paused, until ctx ends. After failures it waits the longer, the more
// there are.
func (f *Feed) repeat(ctx context.Context, what string, every time.Duration, woken <-chan struct{}, work func(context.Context) error) {
	failures := 0
	for {
		wait := every
		if !f.paused.Load() {
			if err := work(ctx); err != nil && ctx.Err() == nil {
				failures++
				wait = backoff(failures, f.opts.Interval)
				f.log.Warn(what+" failed, trying again", "error", err, "in", wait)
			} else {
				failures = 0
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-woken:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Backfill works on the unfinished backfill, if there is one, until it is done
// or fails.
func (f *Feed) Backfill(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	free := &pool{taken: map[sliceID]bool{}, changed: make(chan struct{})}
	for range f.backfillConcurrency() {
		workers.Go(func() {
			for ctx.Err() == nil && !f.paused.Load() {
				at, ok, err := f.backfill.take(ctx, free)
				if err == nil && !ok {
					return
				}
				if err == nil {
					err = f.backfill.step(ctx, at)
					free.release(at)
				}
				if err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

func (f *Feed) backfillConcurrency() int {
	f.backfill.mu.Lock()
	defer f.backfill.mu.Unlock()
	return f.backfill.pos.Concurrency
}

// pool says which slices are in the hands of a worker.
type pool struct {
	mu      sync.Mutex
	taken   map[sliceID]bool
	changed chan struct{} // closed and replaced when a slice is given back
}

func (p *pool) release(at sliceID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, at)
	close(p.changed)
	p.changed = make(chan struct{})
}

// take gives a worker a slice that no other has, beginning a new piece of the
// range if need be. It waits while others may yet cut theirs, and reports false
// when nothing is left.
func (l *lane) take(ctx context.Context, free *pool) (sliceID, bool, error) {
	for {
		at, changed, err := l.tryTake(ctx, free)
		if err != nil || changed == nil {
			return at, err == nil && at != sliceID{}, err
		}
		select {
		case <-ctx.Done():
			return sliceID{}, false, ctx.Err()
		case <-changed:
		}
	}
}

// tryTake returns a slice; or a channel to wait for; or neither, when all is done.
func (l *lane) tryTake(ctx context.Context, free *pool) (sliceID, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fresh(ctx); err != nil {
		return sliceID{}, nil, err
	}
	free.mu.Lock()
	defer free.mu.Unlock()
	for i := range l.pos.Slices {
		if id := l.pos.Slices[i].id(); !free.taken[id] {
			free.taken[id] = true
			return id, nil, nil
		}
	}
	if p := &l.pos; p.Next.Before(p.Until) {
		piece := min(p.Until.Sub(p.Since)/time.Duration(chunks*p.Concurrency)+time.Microsecond, longestChunk)
		until := p.Next.Add(piece).Truncate(time.Microsecond)
		if until.After(p.Until) || !until.After(p.Next) {
			until = p.Until
		}
		// Not written by itself: without it the piece is simply begun again.
		for field := range l.feed.opts.Source.Window.Fields {
			p.Slices = append(p.Slices, Slice{Since: p.Next, Until: until, Field: field})
		}
		p.Next = until
		id := p.Slices[len(p.Slices)-len(l.feed.opts.Source.Window.Fields)].id()
		free.taken[id] = true
		return id, nil, nil
	}
	if len(l.pos.Slices) == 0 {
		return sliceID{}, nil, nil
	}
	return sliceID{}, free.changed, nil
}

// wake lets runBackfills look whether there is something to do.
func (f *Feed) wake() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}
