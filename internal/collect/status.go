package collect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// State is what a feed is doing, or why it does not.
type State string

// The states of a feed.
const (
	StateIdle       State = "ok"         // up to date, waiting for the next round
	StateCollecting State = "collecting" // reading
	StatePaused     State = "paused"     // by `trawl feed pause`
	StateRetrying   State = "retrying"   // failed, will try again
	StateAuth       State = "auth"       // the credential was refused
	StateForbidden  State = "forbidden"  // the credential lacks a permission
	StateStopped    State = "stopped"    // the API refuses the request itself
	StateFull       State = "full"       // the log takes no more pages
	StateIncomplete State = "incomplete" // slices that the API does not give to their end
)

// States are all of them.
var States = []State{StateIdle, StateCollecting, StatePaused, StateRetrying, StateAuth, StateForbidden, StateStopped, StateFull, StateIncomplete}

// Status is a feed's state for people.
type Status struct {
	Connection  string        `json:"connection"`
	Source      string        `json:"source"`
	State       State         `json:"state"`
	Reason      string        `json:"reason,omitempty"`
	Since       time.Time     `json:"since"` // of the state
	Watermark   time.Time     `json:"watermark,omitzero"`
	LastSuccess time.Time     `json:"last_success,omitzero"`
	Next        time.Time     `json:"next,omitzero"` // round or try
	Counts      Counts        `json:"counts"`
	Slices      int           `json:"slices"` // left of the round
	Gaps        []Slice       `json:"gaps,omitempty"`
	LatenessP50 time.Duration `json:"lateness_p50_ns"`
	LatenessP99 time.Duration `json:"lateness_p99_ns"`
	LatenessMax time.Duration `json:"lateness_max_ns"`
}

// Lag is how far the watermark is behind now; 0 before the first round.
func (s Status) Lag(now time.Time) time.Duration {
	if s.Watermark.IsZero() {
		return 0
	}
	return max(now.Sub(s.Watermark), 0)
}

// Status is the state at this moment.
func (f *Feed) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// publish copies what the running goroutine knows to where Status reads it.
func (f *Feed) publish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.status
	s.Watermark, s.Counts, s.Slices = f.pos.Watermark, f.pos.Counts, len(f.pos.Slices)
	s.Gaps = append([]Slice(nil), f.pos.Gaps...)
	s.LatenessP50, s.LatenessP99, s.LatenessMax = f.saved.Lateness.Quantile(0.5), f.saved.Lateness.Quantile(0.99), f.saved.Lateness.Most
	if s.LastSuccess.Before(f.saved.LastSuccess) {
		s.LastSuccess = f.saved.LastSuccess
	}
}

func (f *Feed) setState(state State, reason string) {
	f.mu.Lock()
	if f.status.State != state {
		f.status.Since = f.now()
	}
	f.status.Connection, f.status.Source = f.opts.Feed.Connection, f.opts.Feed.Source
	f.status.State, f.status.Reason = state, reason
	f.mu.Unlock()
	f.publish()
}

// setError sets the state that an error means.
func (f *Feed) setError(err error) {
	state := StateRetrying
	var answer *fetch.Error
	switch {
	case errors.As(err, &answer) && answer.Class == fetch.Auth:
		state = StateAuth
	case errors.As(err, &answer) && answer.Class == fetch.Forbidden:
		state = StateForbidden
	case isStopped(err):
		state = StateStopped
	case errors.Is(err, pagelog.ErrFull):
		state = StateFull
	}
	f.setState(state, err.Error())
}

// Refused notes that the connection's credential was refused to another feed.
// It must not be running.
func (f *Feed) Refused() {
	if s := f.Status(); s.State != StateAuth && s.State != StatePaused {
		f.setState(StateAuth, "the connection's credential was refused")
	}
}

// Do carries out a change of the feed's position: between two pages while the
// feed runs, at once otherwise. It returns when the change is stored.
func (f *Feed) Do(ctx context.Context, change Change) error {
	if f.running.TryLock() {
		defer f.running.Unlock()
		return change(ctx, f)
	}
	c := command{change: func(f *Feed) error { return change(ctx, f) }, done: make(chan error, 1)}
	select {
	case f.commands <- c:
		return <-c.done
	case <-ctx.Done():
		return fmt.Errorf("change feed %s: %w", f.opts.Feed, ctx.Err())
	}
}

// Change is one of Pause, Resume, Rewind and Reset.
type Change func(ctx context.Context, f *Feed) error

// Pause keeps a feed from reading, also after a restart.
func Pause(ctx context.Context, f *Feed) error { return f.setPaused(ctx, true) }

// Resume undoes Pause.
func Resume(ctx context.Context, f *Feed) error { return f.setPaused(ctx, false) }

func (f *Feed) setPaused(ctx context.Context, paused bool) error {
	state := f.saved
	state.Position, state.Paused = f.pos, paused
	state.Position.Rev++
	if err := f.put(ctx, state); err != nil {
		return err
	}
	if paused {
		f.setState(StatePaused, "paused by `trawl feed pause`")
	} else {
		f.setState(StateIdle, "")
	}
	return nil
}

// Rewind makes the next round begin at t. Records that the log still knows are
// not delivered again; see `trawl replay` for that.
func Rewind(t time.Time) Change {
	return func(ctx context.Context, f *Feed) error {
		t = t.UTC().Truncate(time.Microsecond)
		if t.After(f.now()) {
			return fmt.Errorf("rewind feed %s: %s is in the future", f.opts.Feed, t.Format(time.RFC3339))
		}
		next := f.pos.clone()
		next.Slices, next.Watermark = nil, t
		if t.Before(next.Floor) || next.Floor.IsZero() {
			next.Floor = t
		}
		return f.jump(ctx, next)
	}
}

// Reset makes a feed begin as if it were new: at its configured start, and
// with no record known, so that all are delivered again.
func Reset(ctx context.Context, f *Feed) error {
	newest := f.seq
	if err := f.opts.Log.Headers(ctx, f.opts.Feed, func(p pagelog.Page) error {
		newest = max(newest, p.Seq)
		return nil
	}); err != nil {
		return fmt.Errorf("reset feed %s: %w", f.opts.Feed, err)
	}
	f.known = ids{}
	return f.jump(ctx, Position{Rev: f.pos.Rev, ForgetTo: newest, Counts: f.pos.Counts})
}

func (f *Feed) jump(ctx context.Context, next Position) error {
	f.newWalk()
	f.began = time.Time{}
	if err := f.save(ctx, next); err != nil {
		return err
	}
	f.failedAt = ""
	return nil
}

// Position is where the feed stands. It must not be running.
func (f *Feed) Position() Position { return f.pos.clone() }

// Stopped is an error after which a feed does not go on by itself.
type Stopped struct {
	Feed pagelog.Feed
	Err  error
}

func (e *Stopped) Error() string { return "feed " + e.Feed.String() + " stopped: " + e.Err.Error() }
func (e *Stopped) Unwrap() error { return e.Err }

func isStopped(err error) bool {
	var s *Stopped
	return errors.As(err, &s)
}

// IncompleteError says that the API did not give slices to their end.
type IncompleteError struct {
	Feed  pagelog.Feed
	Gaps  int
	First Slice
}

func (e *IncompleteError) Error() string { return "feed " + e.Feed.String() + " " + e.reason() }

func (e *IncompleteError) reason() string {
	return fmt.Sprintf("is incomplete in %d slice(s), the first from %s to %s: %s; it is read again each round",
		e.Gaps, e.First.Since.Format(time.RFC3339Nano), e.First.Until.Format(time.RFC3339Nano), e.First.Why)
}

// DamagedError is stored state that can't be read. Nothing is read from the
// API until a person decided what to do.
type DamagedError struct {
	Feed pagelog.Feed
	What string
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("stored position of feed %s is damaged (%s): %v; run `trawl feed reset %s` to begin anew, or restore data_dir from a copy",
		e.Feed, e.What, e.Err, e.Feed)
}
func (e *DamagedError) Unwrap() error { return e.Err }
