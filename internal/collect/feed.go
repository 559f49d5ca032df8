package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/jsonscan"
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
	Append(ctx context.Context, p pagelog.Page, after, newest uint64) (uint64, error)
	Last(ctx context.Context, f pagelog.Feed, l pagelog.Lane) (pagelog.Page, bool, error)
	Headers(ctx context.Context, f pagelog.Feed, yield func(pagelog.Page) error) error
	Pages(ctx context.Context, f pagelog.Feed, after uint64, yield func(pagelog.Page) error) error
	State(ctx context.Context, key string) ([]byte, uint64, error)
	PutState(ctx context.Context, key string, data []byte, rev uint64) (uint64, error)
}

// Keyer tells records apart, by what its plan finds in them; *ecs.Mapper is one.
type Keyer interface {
	KeyPlan() *jsonscan.Plan                     // may be nil
	KeyOf(record []byte, found [][]byte) ecs.Key // found may be nil
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
	Revisit  []time.Duration // ages at which windows are read again
	Snapshot time.Duration   // between two whole readings, of a source that has them; 0: there are none
	PageSize int
	MaxAge   time.Duration // how long the log keeps pages, and so tells duplicates; 0: for ever
	Filter   map[string]any
	Settings Settings
	Logger   *slog.Logger
	OnChange func()           // called when Do has changed the feed while it was not running; may be nil
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
	woken    chan struct{} // a backfill was started

	wholeWoken chan struct{} // a whole reading may be due

	running chan struct{} // holds one element of whoever moves the feed: Run, Once, or Do while neither runs
	waiting atomic.Int32  // commands that Run has not taken yet
	lanes                 // each with a position of its own
	paused  atomic.Bool
	forget  atomic.Uint64 // pages up to this sequence do not count as seen; see Position.ForgetTo

	clock  clock
	round  round           // of the main lane; Run's or Once's goroutine only
	lags   []time.Duration // at the beginnings of the last rounds; likewise
	lagged time.Duration   // at the beginning of the round under way, where that is to make up for it; likewise

	commit     sync.Mutex  // held from telling a page's new records until they are written; guards what follows
	known      ids         // records in the log
	read       time.Time   // when known was last read from the log
	ends       ends        // the pages up to which known is what the log has
	unanswered *unanswered // the write that was not answered; nil: there is none
	unsure     bool        // the log may hold a page of any lane that known lacks, because its write was not answered
	whole      *reading    // the whole reading under way; nil also until it is read from the log
	unlisted   unlisted

	mu        sync.Mutex // guards what follows
	status    Status
	counts    map[pagelog.Lane]Counts
	lateness  Lateness
	habits    Habits
	runs      []Run
	runBegan  time.Time // of the run under way
	counted   Counts    // of the main lane, when it began
	interrupt func()    // gives up the page in hand; nil: there is none
	created   time.Time // when the feed was first read, and
	floor     time.Time // where it began
	full      int       // lanes that wait for room in the log
	unfull    fault     // the state and reason that the feed goes back to when none does

	wholeTrouble string // why the last try of a whole reading failed
}

// lanes are the ways in which a feed is read.
type lanes struct {
	live, revisit, backfill, push *lane
	snapshot                      *lane // nil: it is never read whole
}

func (l lanes) all() []*lane {
	all := []*lane{l.live, l.revisit, l.backfill, l.push}
	if l.snapshot != nil {
		all = append(all, l.snapshot)
	}
	return all
}

// main is the lane that brings what is new.
func (f *Feed) main() *lane {
	if f.opts.Source.OnlyWhole() {
		return f.snapshot
	}
	return f.live
}

type command struct {
	change func(*Feed) error
	done   chan error
}

// Open reads a feed's positions and ids from the log.
func Open(ctx context.Context, opts Options) (*Feed, error) {
	f := &Feed{
		opts:     opts,
		log:      opts.Logger.With("feed", opts.Feed.String()),
		now:      opts.Now,
		commands: make(chan command),
		woken:    make(chan struct{}, 1),

		wholeWoken: make(chan struct{}, 1),

		running: make(chan struct{}, 1),
		known:   ids{},
		counts:  map[pagelog.Lane]Counts{},
	}
	if f.now == nil {
		f.now = time.Now
	}
	f.lanes = lanes{
		live: newLane(f, pagelog.Live), revisit: newLane(f, pagelog.Revisit), backfill: newLane(f, pagelog.Backfill), push: newLane(f, pagelog.Push),
	}
	if opts.Snapshot > 0 && opts.Source.Snapshot != nil {
		f.snapshot = newLane(f, pagelog.Snapshot)
	}
	for _, l := range f.all() {
		if err := l.load(ctx); err != nil {
			return nil, err
		}
	}
	if err := f.loadIDs(ctx, f.all()...); err != nil {
		return nil, err
	}
	f.lateness, f.habits, f.runs = f.live.saved.Lateness, f.live.saved.Habits, f.live.saved.Runs
	f.counted, f.status.Runs = f.main().pos.Counts, f.runs
	f.compareSettings()
	for _, l := range f.all() {
		l.publish()
	}
	f.resume()
	return f, nil
}

// resume sets the state in which the last run left the feed.
func (f *Feed) resume() {
	switch n := len(f.runs); {
	case f.paused.Load():
		f.setState(StatePaused, pausedReason)
	case n > 0 && f.runs[n-1].State != "":
		f.setState(f.runs[n-1].State, f.runs[n-1].Reason)
		f.mu.Lock()
		f.status.Since = f.runs[n-1].Ended
		f.mu.Unlock()
	case f.main().pos.Created.IsZero() && f.main().pos.Whole == nil:
		f.setState(StateIdle, "nothing was read yet")
	default:
		f.setState(StateIdle, "")
	}
}

// Name is the feed's name.
func (f *Feed) Name() pagelog.Feed { return f.opts.Feed }

// Run reads the feed until ctx ends: a round at each interval, and beside it
// the revisits and whole readings that are due. It returns nil then, and an error only when the
// feed can't go on (see [Stopped]).
func (f *Feed) Run(ctx context.Context) error {
	f.running <- struct{}{}
	defer f.stopped()
	defer f.flush(context.WithoutCancel(ctx), 1)
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	beside.Go(func() { f.runRevisits(ctx) })
	beside.Go(func() { f.runBackfills(ctx) })
	beside.Go(func() { f.runSnapshots(ctx) })
	failures := 0
	for {
		page, done := f.interruptible(ctx)
		wait, err := f.advance(page)
		interrupted := page.Err() != nil
		done()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && interrupted && !isStopped(err):
			wait = 0 // a command waits
		case err == nil:
			failures = 0
		case isStopped(err), errors.Is(err, pagelog.ErrBroken):
			f.setError(err)
			f.ran()
			f.log.Error("feed stopped", "error", err)
			return err
		default:
			failures++
			wait = backoff(failures, f.opts.Interval)
			f.setError(err)
			f.ran()
			f.log.Warn("feed failed, trying again", "error", err, "in", wait)
		}
		if err := f.sleep(ctx, wait); err != nil {
			return nil
		}
	}
}

// stopped lets another move the feed.
func (f *Feed) stopped() { <-f.running }

// interruptible gives a context for one page that Do can end.
func (f *Feed) interruptible(ctx context.Context) (page context.Context, done context.CancelFunc) {
	page, cancel := context.WithCancel(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.interrupt = cancel
	if f.waiting.Load() > 0 {
		cancel()
	}
	return page, func() {
		f.mu.Lock()
		f.interrupt = nil
		f.mu.Unlock()
		cancel()
	}
}

// advance does the next thing to do in the main lane and says how long to wait
// before the one after it.
func (f *Feed) advance(ctx context.Context) (wait time.Duration, err error) {
	if f.paused.Load() {
		f.setState(StatePaused, pausedReason)
		return forever, nil
	}
	if f.opts.Source.OnlyWhole() {
		return f.advanceWhole(ctx)
	}
	at, reading := f.live.next()
	if !reading {
		wait = f.began().Add(f.opts.Interval).Sub(f.now())
		if wait > 0 && wait <= f.opts.Interval { // longer: the clock was set back
			return wait, nil
		}
		if err := f.plan(ctx); err != nil {
			return 0, err
		}
		if at, reading = f.live.next(); !reading { // a new feed without a past: nothing to read yet
			f.wakeWhole()
			return f.opts.Interval, nil
		}
	}
	f.collecting()
	if err := f.live.step(ctx, at); err != nil {
		return 0, err
	}
	if _, reading := f.live.next(); !reading {
		f.finished(ctx, true)
	}
	return 0, nil
}

// began is when the last round of the live lane began.
func (f *Feed) began() time.Time {
	f.live.mu.Lock()
	defer f.live.mu.Unlock()
	return f.live.began
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
			f.carryOut(c)
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
		f.carryOut(c)
	case <-timer.C:
	}
	return nil
}

func (f *Feed) carryOut(c command) {
	f.waiting.Add(-1)
	c.done <- c.change(f)
}

// backoff is how long to wait after the n-th failure in a row, at most limit.
func backoff(n int, limit time.Duration) time.Duration {
	d := 5 * time.Second << min(n-1, 10)
	return min(d, max(limit, 5*time.Second), 5*time.Minute)
}

// finished notes the end of a round of the main lane and judges it; whole: with
// how its whole readings stand.
func (f *Feed) finished(ctx context.Context, whole bool) {
	now := f.now()
	p := f.Position()
	found := f.judge(&f.habits, &f.round, &p, now)
	if short := f.unwhole(now); whole && short.state != "" && (found.state == "" || found.state == StateSilent) {
		found = short
	}
	f.mu.Lock()
	f.status.LastSuccess = now.UTC()
	if found.state != StateMissingFields {
		f.habits.learn(&f.round)
	}
	f.mu.Unlock()
	f.round = round{}
	if found.state == "" {
		found.state = StateIdle
	} else if f.Status().State != found.state {
		f.log.Warn("feed is not well", "state", found.state, "reason", found.reason)
	}
	f.setState(found.state, found.reason)
	f.endRun(ctx)
	f.wakeWhole()
}

// endRun notes a run and stores what was learnt from it.
func (f *Feed) endRun(ctx context.Context) {
	run := f.ran()
	level := slog.LevelDebug
	if run.Records > 0 {
		level = slog.LevelInfo
	}
	f.log.Log(ctx, level, "read to the present", "records", run.Records, "duplicates", run.Duplicates, "late", run.Late, "took", run.Ended.Sub(run.Began).Round(time.Millisecond))
	f.store(ctx)
}

// store writes what is known of the feed besides its position.
func (f *Feed) store(ctx context.Context) {
	l := f.live
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stale {
		return // it is stored with the next position
	}
	state := l.saved
	state.Position = l.pos
	if err := l.put(ctx, state); err != nil {
		f.log.Warn("what was learnt from a round is not stored", "error", err)
	}
}

// collecting sets the state of a feed that reads.
func (f *Feed) collecting() {
	s := f.Status()
	switch found := f.fallingBehind(&s); {
	case s.State == StateBehind, s.State == StateLossy: // stays until a round has ended
	case found.state != "":
		f.log.Warn("feed is not well", "state", found.state, "reason", found.reason)
		f.setState(found.state, found.reason)
	default:
		f.mu.Lock()
		reason := f.status.Stream.detour()
		f.mu.Unlock()
		f.setState(StateCollecting, reason)
	}
}

// Trying shows that a request of the feed failed and is tried again by the
// fetcher. It may be called from any goroutine.
func (f *Feed) Trying(attempt int, wait time.Duration, err error) {
	switch f.Status().State {
	case StateCollecting, StateRetrying:
		f.setState(StateRetrying, fmt.Sprintf("attempt %d failed, next in %s: %v", attempt, wait.Round(100*time.Millisecond), err))
	}
}

// plan begins a round of the live lane.
func (f *Feed) plan(ctx context.Context) error {
	p, now := f.Position(), f.now()
	if found := f.slipping(&p, now); found.state != "" {
		f.log.Warn("feed is not well", "state", found.state, "reason", found.reason)
		f.setState(found.state, found.reason)
	}
	f.beginRun(p.Counts)
	if err := f.live.plan(ctx); err != nil {
		return err
	}
	p = f.Position()
	f.lagged = f.toMakeUp(&p, now)
	return nil
}

// beginRun notes the beginning of a round of the main lane.
func (f *Feed) beginRun(so Counts) {
	f.round = round{}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runBegan, f.counted = f.now().UTC(), so
}

// product is the time on the product's clock, or a little before that.
func (f *Feed) product() time.Time { return f.clock.at(f.now()) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
