package collect

import (
	"context"
	"errors"
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

func (f *Feed) once(ctx context.Context) error {
	if f.opts.Source.OnlyWhole() {
		return f.onceWhole(ctx)
	}
	target := f.now()
	planned := false // a round, which also reads the gaps of earlier ones again
	ahead := false   // and one more, because the product's clock showed itself ahead
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
			return err
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
