package observe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trawlsec/trawl/internal/pagelog"
)

// insist runs again after a failure.
func (o *Observer) insist(ctx context.Context) {
	var failing time.Time
	said := ""
	for ctx.Err() == nil {
		err := o.run(ctx, func() { failing, said = time.Time{}, "" })
		if ctx.Err() != nil {
			if err != nil {
				o.opts.Logger.Warn("what was seen last is not stored; it is counted at the next start", "error", err)
			}
			return
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		o.setProblem(err.Error())
		say := "the observed matrix is behind; trying again"
		if permanent(err) || time.Since(failing) >= o.opts.Patience {
			say = "the observed matrix is not kept: its place in the log is given up, so that the log can be trimmed"
			if err := o.opts.Log.DeleteReader(ctx, Reader); err != nil {
				say = "the observed matrix is not kept"
			}
		}
		if said != say && !errors.Is(err, pagelog.ErrConflict) { // of which there may be many, where processes share a log
			said = say
			o.opts.Logger.Warn(say, "error", err)
		}
		o.rest(ctx, err)
	}
}

// permanent tells whether trying again would not help.
func permanent(err error) bool {
	var damaged *pagelog.DamagedError
	var later *laterError
	return errors.As(err, &damaged) || errors.As(err, &later) || errors.Is(err, pagelog.ErrTooLarge)
}

// rest waits after a failure. Who waits for a drain is told.
func (o *Observer) rest(ctx context.Context, err error) {
	timer := time.NewTimer(o.opts.Retry)
	defer timer.Stop()
	for {
		select {
		case d := <-o.drains:
			d.done <- err
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// run reads what is stored and counts until something fails. It calls well
// each time that what was seen is stored.
func (o *Observer) run(ctx context.Context, well func()) error {
	if err := o.load(ctx); err != nil {
		return err
	}
	defer func() { o.reader.Close(context.WithoutCancel(ctx)) }()
	o.setProblem("")
	idle := time.NewTimer(0)
	defer idle.Stop()
	more := false // that nobody shows, as far as is known
	for {
		wait := o.opts.Quiet
		if more || !o.opts.Shown {
			wait = 0
		}
		more = false
		if !o.due.IsZero() {
			wait = min(wait, max(time.Until(o.due), 0))
		}
		idle.Reset(wait)
		select {
		case t := <-o.shown:
			if err := o.counted(ctx, t); err != nil {
				return err
			}
		case d := <-o.drains:
			err := o.everything(ctx, d)
			d.done <- err
			if err != nil && d.ctx.Err() == nil {
				return err
			}
		case <-idle.C:
			if len(o.shown) > 0 {
				continue // what was shown need not be read
			}
			if o.due.IsZero() || time.Now().Before(o.due) {
				var err error
				if more, err = o.read(ctx, o.readWait()); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return o.last(ctx)
		}
		if !o.due.IsZero() && !time.Now().Before(o.due) {
			if err := o.save(ctx); err != nil {
				return err
			}
			well()
		}
	}
}

// readWait is how long the log is waited for: not at all where outputs show
// pages, and not so long elsewhere that a drain would notice.
func (o *Observer) readWait() time.Duration {
	switch {
	case o.opts.Shown:
		return 0
	case o.due.IsZero():
		return readPatience
	}
	return min(max(time.Until(o.due), 0), readPatience)
}

// last counts what outputs have shown and stores it, when it is stopped.
func (o *Observer) last(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	for {
		select {
		case t := <-o.shown:
			if t.after <= o.at && t.seq > o.at {
				if err := o.count(ctx, t); err != nil {
					return err
				}
			}
			continue
		default:
		}
		return o.save(ctx)
	}
}

// everything counts all that the log has, and stores it.
func (o *Observer) everything(ctx context.Context, d drain) error {
	for {
		select {
		case t := <-o.shown:
			if err := o.counted(ctx, t); err != nil {
				return err
			}
			continue
		default:
		}
		if o.at >= d.through {
			return o.save(ctx)
		}
		more, err := o.read(d.ctx, 50*time.Millisecond)
		if err != nil {
			return err
		}
		if more {
			continue
		}
		if err := o.save(ctx); err != nil {
			return err
		}
		pending, _, err := o.reader.Pending(d.ctx) // what is left up to there may not be pages
		if err != nil || pending == 0 {
			return err
		}
		if err := d.ctx.Err(); err != nil {
			return fmt.Errorf("observe: %w", err)
		}
	}
}
