package deliver

import (
	"context"
	"fmt"
	"time"
)

// Drain returns nil once all pages up to through are delivered. It returns an
// error when Run has ended before that, or when the output has failed for
// longer than Options.Patience, with what is wrong; Run goes on trying.
func (d *Deliverer) Drain(ctx context.Context, through uint64) error {
	return d.await(ctx, fmt.Sprintf("page %d was delivered", through), func(s Status, idle bool) bool {
		if s.LastPage >= through {
			return true
		}
		if !idle {
			return false
		}
		// What is left up to there may not be pages.
		pending, done, err := d.opts.Reader.Pending(ctx)
		return err == nil && (pending == 0 || done >= through)
	})
}

// AwaitReplay returns nil once no replay is under way. Its errors are those of
// Drain.
func (d *Deliverer) AwaitReplay(ctx context.Context) error {
	return d.await(ctx, "its replay was done", func(s Status, _ bool) bool {
		return s.Replay == nil || s.Replay.State != ReplayRunning
	})
}

// await waits until done says so; idle tells it that the log had nothing more
// the last time it was asked.
func (d *Deliverer) await(ctx context.Context, what string, done func(s Status, idle bool) bool) error {
	began := time.Now()
	for {
		d.mu.Lock()
		changed, status, idle, failing := d.changed, d.status, d.idle, d.failing
		ended, err := d.ended, d.err
		d.mu.Unlock()
		switch {
		case done(status, idle && !ended):
			return nil
		case ended && err != nil:
			return err
		case ended:
			return fmt.Errorf("output %s was stopped before %s", d.opts.Name, what)
		}
		patience := d.opts.Patience
		if !failing.IsZero() {
			patience -= min(time.Since(failing), time.Since(began))
		}
		if patience <= 0 {
			return fmt.Errorf("output %s has been failing for %s: %s", d.opts.Name, time.Since(failing).Round(time.Second), status.Reason)
		}
		timer := time.NewTimer(patience)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return fmt.Errorf("deliver to %s: %w", d.opts.Name, ctx.Err())
		}
	}
}
