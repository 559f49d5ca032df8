package collect

import (
	"context"
	"errors"

	"github.com/trawlsec/trawl/internal/fetch"
)

// Once brings the feed up to the present, does the revisits and whole readings
// that are due, and returns: nil when everything up to the moment of the call was read, else why
// not.
func (f *Feed) Once(ctx context.Context) error {
	f.running <- struct{}{}
	defer f.stopped()
	if f.paused.Load() {
		return nil
	}
	f.flush(ctx, 1)
	defer f.flush(context.WithoutCancel(ctx), 1)
	err := f.once(ctx)
	if err != nil && ctx.Err() == nil {
		f.setError(err)
		if !errors.As(err, new(*IncompleteError)) { // that one was noted with its round
			f.ran()
			f.store(ctx)
		}
	}
	return err
}

// mostFailed is how many pages may fail before Once gives up where shorter
// slices may get by.
const mostFailed = 8

// deep tells whether a page failed that is not the first of its slice, with an
// answer of the API: it may have gone too deep.
func (l *lane) deep(at sliceID, err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.pos.slice(at)
	var answer *fetch.Error
	return ok && at != streamID && s.Cursor != nil && errors.As(err, &answer) && answer.Status != 0 &&
		(answer.Class == fetch.Retry || answer.Class == fetch.Partial)
}

func (f *Feed) once(ctx context.Context) error {
	if f.opts.Source.OnlyWhole() {
		return f.onceWhole(ctx)
	}
	target := f.now()
	planned := false // a round, which also reads the gaps of earlier ones again
	ahead := false   // and one more, because the product's clock showed itself ahead
	failed := 0
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		at, reading := f.live.next()
		if !reading {
			further := planned && !ahead && f.opts.Source.Stream == nil && f.clock.latest(target).Sub(f.live.horizon) > clockNoise
			if p := f.Position(); !further && (planned || p.Rev > 0 && !p.Watermark.Before(target) && len(p.Gaps) == 0) {
				break
			}
			ahead = further
			if err := f.plan(ctx); err != nil {
				return err
			}
			planned = true
			if at, reading = f.live.next(); !reading {
				break
			}
		}
		f.collecting()
		if err := f.live.step(ctx, at); err != nil {
			if failed++; failed > mostFailed || !f.live.deep(at, err) {
				return err
			}
			f.log.Warn("a later page failed where earlier ones came: tried again, in shorter slices if need be", "error", err)
		}
	}
	f.finished(ctx, false)
	if err := f.revisitDue(ctx); err != nil {
		return err
	}
	if err := f.snapshotDue(ctx, true); err != nil {
		return err
	}
	if gaps := f.Position().Gaps; len(gaps) > 0 {
		return &IncompleteError{Feed: f.opts.Feed, Gaps: len(gaps), First: gaps[0]}
	}
	if short := f.wholeGaps(); short != nil {
		return short
	}
	return nil
}
