package collect

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// Fetcher reads one page of a source. It blocks until it has the page or an
// error that its own retries could not mend, and returns early when ctx ends.
type Fetcher interface {
	Page(ctx context.Context, r fetch.Request) (*fetch.Page, error)
}

// Log is what a feed needs of the log. All calls block until the log has
// answered; Append and PutState return once what they wrote is on disk.
type Log interface {
	Append(ctx context.Context, p pagelog.Page, after uint64) (uint64, error)
	Last(ctx context.Context, f pagelog.Feed, l pagelog.Lane) (pagelog.Page, bool, error)
	Headers(ctx context.Context, f pagelog.Feed, yield func(pagelog.Page) error) error
	State(ctx context.Context, key string) ([]byte, uint64, error)
	PutState(ctx context.Context, key string, data []byte, rev uint64) (uint64, error)
}

// Keyer tells records apart; *ecs.Mapper is one.
type Keyer interface {
	Key(record []byte) ecs.Key
}

// Options make a feed.
type Options struct {
	Feed     pagelog.Feed
	Source   *catalog.Source
	Fetcher  Fetcher
	Log      Log
	Keyer    Keyer
	Start    func(now time.Time) (time.Time, bool) // where a new feed begins; false: at now
	Interval time.Duration
	Overlap  time.Duration
	PageSize int
	Filter   map[string]any
	Logger   *slog.Logger
	Now      func() time.Time // nil: time.Now
}

// Feed reads one source of one connection. Open gives one; then either Run or
// Once may be called, by one goroutine at a time. Status and Do are safe at
// any time.
type Feed struct {
	opts     Options
	log      *slog.Logger
	now      func() time.Time
	commands chan command

	running sync.Mutex // held by whoever moves the feed: Run, Once, or Do while neither runs

	// Owned by the holder of running.
	pos      Position
	saved    savedState
	stateRev uint64 // of the state entry; 0: there is none
	seq      uint64 // of the lane's last page in the log
	known    ids    // records in the log
	walk     ids    // records of the walk under way
	cursors  map[string]struct{}
	empty    int       // pages in a row without a record
	size     int       // records a page
	failedAt string    // slice and cursor at which the last try failed
	began    time.Time // of the last round
	stale    bool      // a write failed, so that the log may hold more than is known here

	mu     sync.Mutex // guards status
	status Status
}

// savedState is a feed's entry in the state bucket.
type savedState struct {
	Position    Position  `json:"position"`
	Paused      bool      `json:"paused,omitempty"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	Lateness    Lateness  `json:"lateness"`
}

type command struct {
	change func(*Feed) error
	done   chan error
}

// StateKey is where a feed's entry stands in the log's state bucket.
func StateKey(f pagelog.Feed) string { return "feed/" + f.Connection + "/" + f.Source }

// Open reads a feed's position and ids from the log.
func Open(ctx context.Context, opts Options) (*Feed, error) {
	f := &Feed{
		opts:     opts,
		log:      opts.Logger.With("feed", opts.Feed.String()),
		now:      opts.Now,
		commands: make(chan command),
		size:     opts.PageSize,
	}
	if f.now == nil {
		f.now = time.Now
	}
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	f.setState(StateIdle, "")
	if f.saved.Paused {
		f.setState(StatePaused, "paused by `trawl feed pause`")
	}
	return f, nil
}

// load takes the later of the last page's position and the state entry's, and
// rebuilds the ids from the headers of the feed's pages.
func (f *Feed) load(ctx context.Context) error {
	data, rev, err := f.opts.Log.State(ctx, StateKey(f.opts.Feed))
	if err != nil {
		return fmt.Errorf("read state of feed %s: %w", f.opts.Feed, err)
	}
	f.saved, f.stateRev, f.seq = savedState{}, rev, 0
	if rev > 0 {
		if err := json.Unmarshal(data, &f.saved); err != nil {
			return &DamagedError{Feed: f.opts.Feed, What: "state entry", Err: err}
		}
	}
	f.pos = f.saved.Position
	last, ok, err := f.opts.Log.Last(ctx, f.opts.Feed, pagelog.Live)
	if err != nil {
		return fmt.Errorf("read last page of feed %s: %w", f.opts.Feed, err)
	}
	if ok {
		f.seq = last.Seq
		p, err := decodePosition(last.Position)
		if err != nil {
			return &DamagedError{Feed: f.opts.Feed, What: fmt.Sprintf("page %d", last.Seq), Err: err}
		}
		if p.Rev > f.pos.Rev {
			f.pos = p
			if p.first() == nil {
				f.saved.LastSuccess = last.Fetched
			}
		}
	}
	if err := f.loadIDs(ctx); err != nil {
		return fmt.Errorf("read ids of feed %s: %w", f.opts.Feed, err)
	}
	f.stale = false
	f.publish()
	return nil
}

// loadIDs rebuilds what the feed has in the log and what it has seen in the
// walk under way.
func (f *Feed) loadIDs(ctx context.Context) error {
	f.newWalk()
	f.known = ids{}
	under := f.pos.first()
	if under != nil && under.Cursor != nil {
		f.cursors[string(under.Cursor)] = struct{}{}
	}
	return f.opts.Log.Headers(ctx, f.opts.Feed, func(p pagelog.Page) error {
		if p.Seq <= f.pos.ForgetTo {
			return nil
		}
		ofWalk := under != nil && under.Cursor != nil && p.Since.Equal(under.Since) && p.Until.Equal(under.Until) && sameWalk(p.Position, under)
		for _, h := range p.Hashes {
			f.known.add(h)
			if ofWalk {
				f.walk.add(h)
			}
		}
		return nil
	})
}

// sameWalk reports whether the position stored with a page is one of the walk
// of the slice.
func sameWalk(position []byte, slice *Slice) bool {
	p, err := decodePosition(position)
	if err != nil || p.first() == nil {
		return false
	}
	return p.first().is(slice)
}

// newWalk forgets what was seen of a slice.
func (f *Feed) newWalk() {
	f.walk, f.cursors, f.empty = ids{}, map[string]struct{}{}, 0
}

// Run reads the feed until ctx ends: a round at each interval. It returns nil
// then, and an error only when the feed can't go on (see [Stopped]).
func (f *Feed) Run(ctx context.Context) error {
	f.running.Lock()
	defer f.running.Unlock()
	failures := 0
	for {
		wait, err := f.advance(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			failures = 0
		case isStopped(err):
			f.setError(err)
			f.log.Error("feed stopped", "error", err)
			return err
		default:
			failures++
			wait = backoff(failures, f.opts.Interval)
			f.setError(err)
			f.log.Warn("feed failed, trying again", "error", err, "in", wait)
		}
		if err := f.sleep(ctx, wait); err != nil {
			return nil
		}
	}
}

// advance does the next thing to do and says how long to wait before the one
// after it.
func (f *Feed) advance(ctx context.Context) (wait time.Duration, err error) {
	if f.stale { // a write failed: what is stored may be further than what is known here
		if err := f.load(ctx); err != nil {
			return 0, err
		}
	}
	if f.saved.Paused {
		return forever, nil
	}
	if f.pos.first() == nil {
		if wait = f.began.Add(f.opts.Interval).Sub(f.now()); wait > 0 {
			return wait, nil
		}
		if err := f.plan(ctx, f.now()); err != nil {
			return 0, err
		}
		if f.pos.first() == nil { // a new feed without a past: nothing to read yet
			return f.opts.Interval, nil
		}
	}
	f.setState(StateCollecting, "")
	if err := f.step(ctx); err != nil {
		return 0, err
	}
	if f.pos.first() == nil {
		f.finished()
	}
	return 0, nil
}

// Once brings the feed up to the present and returns: nil when everything up
// to the moment of the call was read, else why not.
func (f *Feed) Once(ctx context.Context) error {
	f.running.Lock()
	defer f.running.Unlock()
	if f.saved.Paused {
		return nil
	}
	target := f.now()
	for {
		if f.pos.first() == nil {
			if f.pos.Rev > 0 && !f.pos.Watermark.Before(target) {
				break
			}
			if err := f.plan(ctx, f.now()); err != nil {
				return err
			}
			if f.pos.first() == nil {
				break
			}
		}
		f.setState(StateCollecting, "")
		if err := f.step(ctx); err != nil {
			if ctx.Err() == nil {
				f.setError(err)
			}
			return err
		}
	}
	f.finished()
	if n := len(f.pos.Gaps); n > 0 {
		g := f.pos.Gaps[0]
		return &IncompleteError{Feed: f.opts.Feed, Gaps: n, First: g}
	}
	return nil
}

// forever is longer than any wait; only a command or the end ends it.
const forever = time.Duration(1<<63 - 1)

// sleep waits, carrying out commands meanwhile; it returns early when one was
// carried out, and with an error when ctx ended.
func (f *Feed) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c := <-f.commands:
			c.done <- c.change(f)
		default:
		}
		return nil
	}
	f.mu.Lock()
	f.status.Next = time.Time{}
	if d < forever {
		f.status.Next = f.now().Add(d)
	}
	f.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case c := <-f.commands:
		c.done <- c.change(f)
	case <-timer.C:
	}
	return nil
}

// backoff is how long to wait after the n-th failure in a row, at most limit.
func backoff(n int, limit time.Duration) time.Duration {
	d := 5 * time.Second << min(n-1, 10)
	return min(d, max(limit, 5*time.Second), 5*time.Minute)
}

// plan begins a round that reads up to now.
func (f *Feed) plan(ctx context.Context, now time.Time) error {
	now = now.UTC().Truncate(time.Microsecond)
	f.began = now
	next := f.pos.clone()
	oldest := time.Time{}
	if r := f.opts.Source.Window.Retention.Std(); r > 0 {
		oldest = now.Add(-r)
	}
	if next.Watermark.IsZero() {
		start, ok := f.opts.Start(now)
		if !ok {
			start = now
		}
		next.Floor = later(start.UTC().Truncate(time.Microsecond), oldest)
		if start.Before(oldest) {
			f.log.Warn("start is before what the product keeps; reading from there", "start", start.UTC(), "kept_from", oldest)
		}
		next.Watermark = next.Floor
	}
	since := later(next.Watermark.Add(-f.opts.Overlap), later(next.Floor, oldest))
	if oldest.After(next.Watermark) {
		f.log.Error("the feed stood still for longer than the product keeps records; what lies between is lost",
			"from", next.Watermark, "to", oldest)
	}
	if now.After(since) {
		next.begin(since, now, len(f.opts.Source.Window.Fields))
	}
	f.newWalk()
	return f.save(ctx, next)
}

// finished notes the end of a round.
func (f *Feed) finished() {
	f.mu.Lock()
	f.status.LastSuccess = f.now()
	f.mu.Unlock()
	if n := len(f.pos.Gaps); n > 0 {
		f.setState(StateIncomplete, (&IncompleteError{Feed: f.opts.Feed, Gaps: n, First: f.pos.Gaps[0]}).reason())
		return
	}
	f.setState(StateIdle, "")
}

// save writes a position that moved without a page.
func (f *Feed) save(ctx context.Context, next Position) error {
	next.Rev++
	state := f.saved
	state.Position = next
	if next.first() == nil {
		state.LastSuccess = f.now().UTC()
	}
	return f.put(ctx, state)
}

func (f *Feed) put(ctx context.Context, state savedState) error {
	data, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode state of feed %s: %w", f.opts.Feed, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	rev, err := f.opts.Log.PutState(ctx, StateKey(f.opts.Feed), data, f.stateRev)
	if err != nil {
		f.stale = true
		return fmt.Errorf("write state of feed %s: %w", f.opts.Feed, err)
	}
	f.saved, f.stateRev, f.pos = state, rev, state.Position
	f.publish()
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
