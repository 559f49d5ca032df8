package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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
	StateStuck      State = "stuck"      // the API answers, but the position does not move

	StateSilent        State = "silent"         // no records for much longer than this feed is used to
	StateBehind        State = "behind"         // the lag grows
	StateLossy         State = "lossy"          // the product's retention or cap is about to win, or has
	StateMissingFields State = "missing-fields" // fields that were always there are absent
	StateDuplicating   State = "duplicating"    // most of what arrives came already in the same round
)

// States are all of them.
var States = []State{StateIdle, StateCollecting, StatePaused, StateRetrying, StateAuth, StateForbidden, StateStopped, StateFull, StateIncomplete, StateStuck,
	StateSilent, StateBehind, StateLossy, StateMissingFields, StateDuplicating,
	StateStandby, StateReceiving, StateDamaged}

// Status is a feed's state for people.
type Status struct {
	Connection  string           `json:"connection"`
	Source      string           `json:"source"`
	State       State            `json:"state"`
	Reason      string           `json:"reason,omitempty"`
	Since       time.Time        `json:"since"` // of the state
	Watermark   time.Time        `json:"watermark,omitzero"`
	CompleteTo  time.Time        `json:"complete_to,omitzero"` // a revisit up to here found nothing missing
	LastSuccess time.Time        `json:"last_success,omitzero"`
	Next        time.Time        `json:"next,omitzero"` // round or try
	Counts      Counts           `json:"counts"`
	Slices      int              `json:"slices"` // left of the round
	Gaps        []Slice          `json:"gaps,omitempty"`
	Stream      *StreamStatus    `json:"stream,omitempty"`   // of a source that has one
	Backfill    *Backfill        `json:"backfill,omitempty"` // under way or the last one
	Whole       *WholeStatus     `json:"whole,omitempty"`    // of a state that is also, or only, read whole
	Lanes       []LaneStatus     `json:"lanes,omitempty"`
	Changes     []SettingsChange `json:"settings_changes,omitempty"`
	Runs        []Run            `json:"runs,omitempty"` // the last ones, oldest first
	LatenessP50 time.Duration    `json:"lateness_p50_ns"`
	LatenessP99 time.Duration    `json:"lateness_p99_ns"`
	LatenessMax time.Duration    `json:"lateness_max_ns"`
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
	s := f.status
	if s.Whole != nil && f.wholeTrouble != "" {
		whole := *s.Whole
		whole.Trouble = f.wholeTrouble
		s.Whole = &whole
	}
	return s
}

// publish copies what the lane knows to where Status reads it.
func (l *lane) publish() {
	f := l.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.status
	f.counts[l.name] = l.pos.Counts
	s.Lanes = slices.Clone(s.Lanes)
	i := slices.IndexFunc(s.Lanes, func(s LaneStatus) bool { return s.Lane == string(l.name) })
	if i < 0 {
		i, s.Lanes = len(s.Lanes), append(s.Lanes, LaneStatus{})
	}
	s.Lanes[i] = LaneStatus{Lane: string(l.name), Watermark: l.pos.Watermark, Slices: slices.Clone(l.pos.Slices), Gaps: slices.Clone(l.pos.Gaps), Missed: l.pos.Missed,
		Counts: l.pos.Counts, Asked: l.pos.Asked, Reach: l.pos.Reach}
	s.Counts = Counts{}
	for _, c := range f.counts {
		s.Counts.Pages += c.Pages
		s.Counts.Records += c.Records
		s.Counts.Duplicates += c.Duplicates
		s.Counts.Late += c.Late
		s.Counts.Gone += c.Gone
	}
	s.LatenessP50, s.LatenessP99, s.LatenessMax = f.lateness.Quantile(0.5), f.lateness.Quantile(0.99), f.lateness.Most
	switch l.name {
	case pagelog.Revisit:
		s.CompleteTo = l.pos.Proof
		return
	case pagelog.Backfill:
		s.Backfill = backfillOf(&l.pos)
		return
	case pagelog.Snapshot:
		s.Whole = wholeOf(&l.pos, f.opts.Snapshot)
	}
	if l != f.main() {
		return
	}
	f.created, f.floor = l.pos.Created, l.pos.Floor
	s.Watermark, s.Slices = l.pos.Watermark, len(l.pos.Slices)
	s.Gaps = append([]Slice(nil), l.pos.Gaps...)
	s.Stream = streamOf(&l.pos)
	if s.LastSuccess.Before(l.saved.LastSuccess) {
		s.LastSuccess = l.saved.LastSuccess
	}
}

// late notes how long after their time new records were received.
func (f *Feed) late(delays []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range delays {
		f.lateness.Add(d)
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
}

const fullReason = "the log is full: an output is behind, log.max_bytes is too small for what comes within log.max_age, or the disk is nearly full"

// noRoom notes that a lane waits for room in the log; first: it begins to.
func (f *Feed) noRoom(first bool) {
	f.mu.Lock()
	if first {
		f.full++
	}
	if f.status.State != StateFull {
		f.unfull = fault{f.status.State, f.status.Reason}
	}
	f.mu.Unlock()
	f.setState(StateFull, fullReason)
}

// waited notes that a lane no longer waits; got: because there was room. The
// state is then what it would be if none had waited.
func (f *Feed) waited(got bool) {
	f.mu.Lock()
	f.full--
	back := got && f.full == 0 && f.status.State == StateFull
	state, reason := cmp.Or(f.unfull.state, StateCollecting), f.unfull.reason
	f.mu.Unlock()
	if back {
		f.setState(state, reason)
	}
}

// setError sets the state that an error means.
func (f *Feed) setError(err error) {
	state := StateRetrying
	var answer *fetch.Error
	var incomplete *IncompleteError
	var stuck *StuckError
	switch {
	case errors.As(err, new(*DamagedError)):
		state = StateDamaged
	case errors.As(err, &stuck):
		state = StateStuck
	case errors.As(err, &incomplete):
		state, err = StateIncomplete, errors.New(incomplete.reason())
	case errors.As(err, &answer) && answer.Class == fetch.Auth:
		state = StateAuth
	case errors.As(err, &answer) && answer.Class == fetch.Forbidden:
		state = StateForbidden
	case isStopped(err):
		state = StateStopped
	case errors.Is(err, pagelog.ErrFull):
		state = StateFull
	}
	reason := err.Error()
	if stopped := (*Stopped)(nil); errors.As(err, &stopped) {
		reason = stopped.Err.Error() // whose feed it is stands beside it
	}
	if state == StateRetrying {
		p := f.Position()
		if found := f.forgetting(&p, f.now()); found.state != "" {
			state, reason = found.state, found.reason+"; "+reason
		}
	}
	f.setState(state, reason)
}

// Refused notes that the connection's credential was refused to another feed.
// It must not be running.
func (f *Feed) Refused() {
	if s := f.Status(); s.State != StateAuth && s.State != StatePaused {
		f.setState(StateAuth, "the connection's credential was refused")
	}
}

// Do carries out a change of the feed's position: between two pages while the
// feed runs, at once otherwise. A page that takes long is given up for it, and
// read again later. Do returns when the change is stored.
func (f *Feed) Do(ctx context.Context, change Change) error {
	f.waiting.Add(1)
	f.mu.Lock()
	interrupt := f.interrupt
	f.mu.Unlock()
	if interrupt != nil {
		interrupt()
	}
	c := command{change: func(f *Feed) error { return change(ctx, f) }, done: make(chan error, 1)}
	select {
	case f.running <- struct{}{}:
		f.waiting.Add(-1)
		defer f.stopped()
		err := change(ctx, f)
		if err == nil && f.opts.OnChange != nil {
			f.opts.OnChange()
		}
		return err
	case f.commands <- c:
		return <-c.done
	case <-ctx.Done():
		f.waiting.Add(-1)
		return fmt.Errorf("change feed %s: %w", f.opts.Feed, ctx.Err())
	}
}

// Change is one of Pause, Resume, Rewind and Reset.
type Change func(ctx context.Context, f *Feed) error

// Pause keeps a feed from reading, also after a restart.
func Pause(ctx context.Context, f *Feed) error { return f.setPaused(ctx, true) }

// Resume undoes Pause.
func Resume(ctx context.Context, f *Feed) error { return f.setPaused(ctx, false) }

const pausedReason = "paused by `trawl feed pause`"

func (f *Feed) setPaused(ctx context.Context, paused bool) error {
	l := f.live
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fresh(ctx); err != nil {
		return err
	}
	state := l.saved
	state.Position, state.Paused = l.pos, paused
	if err := l.put(ctx, state); err != nil {
		return err
	}
	f.paused.Store(paused)
	if paused {
		f.setState(StatePaused, pausedReason)
	} else {
		f.setState(StateIdle, "")
		f.wake() // a backfill goes on
		f.wakeWhole()
	}
	return nil
}

// Rewind makes the next round begin at t, which is not after the watermark. Records that the log still knows are
// not delivered again; see `trawl replay` for that.
func Rewind(t time.Time) Change {
	return func(ctx context.Context, f *Feed) error {
		t = t.UTC().Truncate(time.Microsecond)
		if f.opts.Source.OnlyWhole() {
			return fmt.Errorf("rewind feed %s: %w", f.opts.Feed, errOnlyWhole)
		}
		if t.After(f.now()) {
			return fmt.Errorf("rewind feed %s: %s is in the future", f.opts.Feed, t.Format(time.RFC3339))
		}
		if r := f.opts.Source.Window.Retention.Std(); r > 0 {
			if oldest := f.now().UTC().Add(-r); t.Before(oldest) {
				f.log.Warn("rewound to before what the product keeps; reading from there", "to", t, "kept_from", oldest)
				t = oldest
			}
		}
		f.live.mu.Lock()
		defer f.live.mu.Unlock()
		if err := f.live.fresh(ctx); err != nil {
			return err
		}
		if mark := f.live.pos.Watermark; !mark.IsZero() && t.After(mark) {
			return fmt.Errorf("rewind feed %s: it has been read to %s only; what lies between that and %s would never be read",
				f.opts.Feed, mark.Format(time.RFC3339), t.Format(time.RFC3339))
		}
		return f.live.jump(ctx, func(next *Position) {
			for _, s := range next.Slices { // gaps of earlier rounds, which this one has not read again yet
				if s.Gap && s.Since.Before(t) {
					next.Gaps = append(next.Gaps, s)
				}
			}
			next.Slices, next.Watermark = nil, t
			if s := next.Stream; s != nil { // it goes on from its position once all up to now was read by time
				s.Behind, s.Due = true, false
			}
			if t.Before(next.Floor) || next.Floor.IsZero() {
				next.Floor = t
			}
			if next.Created.IsZero() {
				next.Created = f.now().UTC()
			}
		})
	}
}

// Reset makes a feed begin as if it were new: at its configured start, and
// with no record known, so that all are delivered again.
func Reset(ctx context.Context, f *Feed) error {
	for _, l := range f.all() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if err := l.fresh(ctx); err != nil { // so that nothing arrives later
			return err
		}
	}
	var newest uint64
	if err := f.opts.Log.Headers(ctx, f.opts.Feed, func(p pagelog.Page) error {
		newest = max(newest, p.Seq)
		return nil
	}); err != nil {
		return fmt.Errorf("reset feed %s: %w", f.opts.Feed, err)
	}
	for _, l := range f.all() {
		if err := l.jump(ctx, func(p *Position) {
			*p = Position{Rev: p.Rev, ForgetTo: newest, Counts: p.Counts, Asked: p.Asked, Reach: p.Reach}
		}); err != nil {
			return err
		}
	}
	f.forget.Store(newest)
	f.commit.Lock()
	defer f.commit.Unlock()
	f.known, f.whole, f.unlisted = ids{}, nil, unlisted{}
	return nil
}

// jump moves the lane by hand.
func (l *lane) jump(ctx context.Context, change func(*Position)) error {
	if err := l.fresh(ctx); err != nil {
		return err
	}
	next := l.pos.clone()
	change(&next)
	l.newRound(time.Time{})
	next.Rev++
	state := l.saved
	state.Position = next
	return l.put(ctx, state)
}

// Position is where the main lane stands: the live one, or where a source is
// only read whole, that of snapshots.
func (f *Feed) Position() Position {
	l := f.main()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pos.clone()
}

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
	Whole bool // of a whole reading
}

func (e *IncompleteError) Error() string { return "feed " + e.Feed.String() + " " + e.reason() }

func (e *IncompleteError) reason() string {
	if e.Whole {
		return fmt.Sprintf("was last read whole with %d slice(s) missing, the first because %s; until it is read to its end, what is gone is not told", e.Gaps, e.First.Why)
	}
	return fmt.Sprintf("is incomplete in %d slice(s), the first from %s to %s: %s; it is read again each round",
		e.Gaps, e.First.Since.Format(time.RFC3339Nano), e.First.Until.Format(time.RFC3339Nano), e.First.Why)
}

// StuckError says that the API answers, but walks of slices keep ending before
// the slices do, or that its stream leads nowhere.
type StuckError struct {
	Feed   pagelog.Feed
	Stream bool // it is the stream that does not lead on
	Why    string
}

func (e *StuckError) Error() string {
	if e.Stream {
		return fmt.Sprintf("feed %s is stuck: the API answers, but its stream does not lead on (%s); new records are read by time meanwhile", e.Feed, e.Why)
	}
	return fmt.Sprintf("feed %s is stuck: the API answers, but one walk after the other ends before its slice does, the last because %s; "+
		"what it gave is in the log, and the rest is tried again", e.Feed, e.Why)
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
