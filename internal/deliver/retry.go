package deliver

import (
	"context"
	"errors"
	"time"

	"github.com/trawlsec/trawl/internal/output"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// stopped is the error of something that was given up because Run was stopped.
type stopped struct{ err error } // nil: it had not failed

func (e *stopped) Error() string {
	if e.err == nil {
		return "stopped"
	}
	return "stopped: " + e.err.Error()
}
func (e *stopped) Unwrap() error { return e.err }

// permanent tells errors that trying again does not mend.
func permanent(err error) bool {
	var whole *output.PermanentError
	var damaged *pagelog.DamagedError
	return errors.As(err, &whole) || errors.As(err, &damaged) ||
		errors.Is(err, pagelog.ErrClosed) || errors.Is(err, pagelog.ErrConflict)
}

// insist does something until it succeeds, with growing pauses. It gives up on
// permanent errors, and with a *stopped error when it fails after ctx ended.
func (d *Deliverer) insist(ctx context.Context, what task, do func() error) error {
	for pause := firstBackoff; ; pause = min(2*pause, maxBackoff) {
		err := do()
		switch {
		case err == nil:
			d.solved(what)
			return nil
		case permanent(err):
			return err
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return &stopped{}
		case ctx.Err() != nil:
			return &stopped{err}
		}
		d.problem(what, err, pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return &stopped{err}
		}
	}
}

// change changes what d.mu guards, and tells those who wait for it.
func (d *Deliverer) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	close(d.changed)
	d.changed = make(chan struct{})
}

// problem notes that something failed and is tried again after a pause.
func (d *Deliverer) problem(what task, err error, pause time.Duration) {
	d.logger.Warn("delivery failed", "doing", string(what), "error", err, "next_try_in", pause)
	d.change(func() {
		if len(d.problems) == 0 {
			d.failing = time.Now()
		}
		d.problems[what] = err.Error()
		d.setState(StateRetrying, err.Error())
	})
}

// solved notes that something went well.
func (d *Deliverer) solved(what task) {
	d.mu.Lock()
	_, was := d.problems[what]
	d.mu.Unlock()
	if !was {
		return
	}
	d.change(func() {
		delete(d.problems, what)
		for _, reason := range d.problems {
			d.status.Reason = reason
			return
		}
		d.logger.Info("delivery works again", "after", time.Since(d.failing).Round(time.Millisecond))
		d.failing = time.Time{}
		d.setState(StateOK, "")
	})
}

// setState is called with d.mu held.
func (d *Deliverer) setState(state State, reason string) {
	if d.status.State != state {
		d.status.State, d.status.Since = state, time.Now().UTC()
	}
	d.status.Reason = reason
}
