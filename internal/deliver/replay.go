package deliver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/pagelog"
)

// A replay gives an output again what it has been given, or has refused,
// before. It goes on beside the usual delivery and behind it, has a place of
// its own in the log and in outputs that remember one, and so is as exact as
// that over a crash, and can be given up at any time.

// Replay is what an output is given again, and how far that is. Pages are those
// with the sequences (After, Through], of Feed if that is set.
type Replay struct {
	ID     string    `json:"id"`
	Output string    `json:"output"`
	Asked  time.Time `json:"asked"`

	Since   time.Time           `json:"since,omitzero"` // as asked for, as is Until
	Until   time.Time           `json:"until,omitzero"`
	Feed    string              `json:"feed,omitempty"` // wiz-prod/audit
	After   uint64              `json:"after,omitempty"`
	Through uint64              `json:"through,omitempty"`
	Dead    *pagelog.DeadFilter `json:"dead,omitempty"` // in place of pages: which dead letters

	Pages   int `json:"pages,omitempty"` // there were when it was asked for
	Records int `json:"records"`         // in them; or dead letters

	State     ReplayState `json:"state"`
	Reason    string      `json:"reason,omitempty"` // of failed
	Ended     time.Time   `json:"ended,omitzero"`
	At        uint64      `json:"at,omitempty"` // sequence up to which pages are done
	Delivered int64       `json:"delivered"`    // documents
	Refused   int64       `json:"refused"`      // documents, for good
}

// ReplayState is how a replay stands.
type ReplayState string

// The states of a replay.
const (
	ReplayRunning   ReplayState = "running" // or would, if the output were
	ReplayDone      ReplayState = "done"
	ReplayCancelled ReplayState = "cancelled"
	ReplayFailed    ReplayState = "failed" // the log could not be read
)

// Done is the share that is done, 0 to 1.
func (r Replay) Done() float64 {
	switch {
	case r.State == ReplayDone:
		return 1
	case r.Dead != nil && r.Records > 0:
		return min(float64(r.Delivered+r.Refused)/float64(r.Records), 1)
	case r.Dead == nil && r.Through > r.After:
		return float64(r.At-r.After) / float64(r.Through-r.After)
	}
	return 0
}

// ReplayBusyError refuses a replay while another is under way.
type ReplayBusyError struct{ Replay Replay }

func (e *ReplayBusyError) Error() string {
	if e.Replay.State != ReplayRunning {
		return fmt.Sprintf("output %s: a replay is being given up, and what is in hand of it is still being delivered; try again when that is done", e.Replay.Output)
	}
	return fmt.Sprintf("output %s: a replay is under way since %s (%.0f %% done); `trawl replay --output %s` waits for it, with --cancel it is given up",
		e.Replay.Output, e.Replay.Asked.Format(time.RFC3339), 100*e.Replay.Done(), e.Replay.Output)
}

// leaveLimit is how long a replay waits for the one before to be put away.
const leaveLimit = 2 * time.Second

// ErrNoReplay says that there is no replay to be given up.
var ErrNoReplay = errors.New("no replay is under way")

// replays is the replay as the log has it.
type replays struct {
	mu   sync.Mutex // held while it is written
	cur  Replay     // zero: there has been none
	rev  uint64     // of its entry
	wake chan struct{}
	end  context.CancelFunc // of the one that is being worked on
	left chan struct{}      // closed when it is no more; nil: none is
}

func (d *Deliverer) replayKey() string { return "replay/" + d.opts.Name }

// ReplayReader is the name of the reader by which the pages of an output's
// replay are kept in the log.
func ReplayReader(output string) string { return output + "/replay" }

// loadReplay reads the output's replay.
func (d *Deliverer) loadReplay(ctx context.Context) error {
	r := &d.replays
	r.wake = make(chan struct{}, 1)
	data, rev, err := d.opts.Log.State(ctx, d.replayKey())
	if err == nil && rev > 0 {
		err = json.Unmarshal(data, &r.cur)
	}
	if err != nil {
		return fmt.Errorf("look for a replay of output %s: %w", d.opts.Name, err)
	}
	r.rev = rev
	d.showReplay()
	return nil
}

// showReplay makes the replay part of the status; d.replays.mu is held, or d is
// not shared yet.
func (d *Deliverer) showReplay() {
	cur := d.replays.cur
	d.change(func() {
		if d.status.Replay = nil; cur.ID != "" {
			d.status.Replay = &cur
		}
	})
}

// storeReplay writes the replay; d.replays.mu is held. After a write whose
// outcome was unknown the entry may have moved by our own doing.
func (d *Deliverer) storeReplay(ctx context.Context, next Replay) error {
	r := &d.replays
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	rev, err := d.opts.Log.PutState(ctx, d.replayKey(), data, r.rev)
	if errors.Is(err, pagelog.ErrConflict) {
		before, now, stateErr := d.opts.Log.State(ctx, d.replayKey())
		var there Replay
		if stateErr != nil || json.Unmarshal(before, &there) != nil || there.ID != next.ID {
			return err
		}
		rev, err = d.opts.Log.PutState(ctx, d.replayKey(), data, now)
	}
	if err != nil {
		return err
	}
	r.cur, r.rev = next, rev
	d.showReplay()
	return nil
}

// StartReplay begins a replay, of which the caller sets what is to be replayed.
// It is worked on by Run, now or the next time. The error is a
// *ReplayBusyError while another is under way.
func (d *Deliverer) StartReplay(ctx context.Context, next Replay) (Replay, error) {
	r := &d.replays
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cur.State != ReplayRunning && r.left != nil {
		r.awaitLeft(ctx)
	}
	if r.cur.State == ReplayRunning || r.left != nil {
		return Replay{}, &ReplayBusyError{r.cur}
	}
	next.ID, next.Output, next.Asked, next.State = rand.Text(), d.opts.Name, time.Now().UTC().Round(0), ReplayRunning
	next.At = next.After
	var err error
	if next.Dead == nil {
		err = d.holdPages(ctx, next.After) // first of all, so that they stay
	}
	if err == nil {
		err = d.storeReplay(ctx, next)
	}
	if err != nil {
		return Replay{}, fmt.Errorf("start replay of output %s: %w", d.opts.Name, err)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return next, nil
}

// awaitLeft waits a little for a replay that is over to be put away; r.mu is
// held, but for the waiting.
func (r *replays) awaitLeft(ctx context.Context) {
	left := r.left
	r.mu.Unlock()
	defer r.mu.Lock()
	timer := time.NewTimer(leaveLimit)
	defer timer.Stop()
	select {
	case <-left:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// holdPages keeps pages behind a sequence in the log.
func (d *Deliverer) holdPages(ctx context.Context, after uint64) error {
	reader, err := d.opts.Log.OpenReader(ctx, ReplayReader(d.opts.Name))
	if err != nil {
		return err
	}
	defer reader.Close(ctx)
	return reader.Seek(ctx, after)
}

// CancelReplay gives up what is left of the replay that is under way, and
// returns how far it was; what is in hand is still delivered. The error is
// ErrNoReplay if there is none.
func (d *Deliverer) CancelReplay(ctx context.Context) (Replay, error) {
	r := &d.replays
	r.mu.Lock()
	defer r.mu.Unlock()
	err := ErrNoReplay
	if r.cur.State == ReplayRunning {
		err = d.endReplay(ctx, ReplayCancelled, "")
	}
	if err != nil {
		return Replay{}, fmt.Errorf("cancel replay of output %s: %w", d.opts.Name, err)
	}
	switch {
	case r.left != nil:
		r.end() // and then the reader goes
	case r.cur.Dead == nil:
		err = d.opts.Log.DeleteReader(ctx, ReplayReader(d.opts.Name))
	}
	return r.cur, err
}

// endReplay notes that the replay is over; d.replays.mu is held.
func (d *Deliverer) endReplay(ctx context.Context, state ReplayState, reason string) error {
	next := d.replays.cur
	next.State, next.Reason, next.Ended = state, reason, time.Now().UTC().Round(0)
	return d.storeReplay(ctx, next)
}

// progress notes that the replay is done up to a sequence, with so many
// documents more.
func (d *Deliverer) progress(ctx context.Context, at uint64, delivered, refused int64) error {
	d.replays.mu.Lock()
	defer d.replays.mu.Unlock()
	next := d.replays.cur
	next.At, next.Delivered, next.Refused = at, next.Delivered+delivered, next.Refused+refused
	return d.storeReplay(ctx, next)
}

// includes reports whether pages of a feed are part of the replay.
func (r Replay) includes(feed pagelog.Feed) bool { return r.Feed == "" || r.Feed == feed.String() }
