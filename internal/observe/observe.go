// Package observe keeps the matrix as it is observed: which event types were
// really seen in each feed, which of their attributes were really filled, how
// late records became visible and how far back the product answered.
//
// An [Observer] is a reader of the log like an output's. What it saw of a feed
// is one entry of the log's state, together with the sequence of the last page
// that is in it: that is written at once or not at all, so every page counts
// once, whenever the process is killed. Only after that are the pages
// acknowledged.
//
// Where an output maps records, it shows them to the observer as it does (see
// [Observer.Show]), so that nobody has to read them again. Pages that no output
// has shown, because it was behind, ahead or not there, the observer reads
// itself.
//
// The observer holds up nobody. What outputs show is dropped when it is behind.
// When it fails for good, or for long, it gives up its place in the log, so that
// the log can be trimmed; what was trimmed by the time it works again is missing
// in its counts, which it notes.
package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// Reader is the observer's name among the log's readers. No output can have it.
const Reader = ":observe"

const (
	stateKey  = "observe/"
	mostShown = 256 // pages that outputs have shown and that are not counted yet
	readPages = 8   // asked of the log at once

	readPatience = 500 * time.Millisecond
)

// Options of an observer.
type Options struct {
	Log Log
	// Source returns a feed's source. Pages of a feed that it has none for are
	// passed over.
	Source func(pagelog.Feed) (*catalog.Source, error)
	Shown  bool // an output shows pages
	Logger *slog.Logger

	Save     time.Duration // how long what was seen may be in memory only; 0: 5 s
	Quiet    time.Duration // how long an output may show nothing before the log is looked at; 0: 2 s
	Patience time.Duration // how long it may fail before its place in the log is given up; 0: 10 min
	Retry    time.Duration // how long it waits after a failure; 0: 5 s
}

// Observer counts what is in the log's pages. Start begins that; the other
// methods may be called from any goroutine.
type Observer struct {
	opts   Options
	shown  chan *Tally
	drains chan drain

	plansMu sync.Mutex
	plans   map[*catalog.Source]*plan

	mu      sync.Mutex // guards what others look at
	feeds   map[pagelog.Feed]*kept
	problem string
	ended   chan struct{} // closed when it has stopped; nil: never started

	// For what Start begins alone.
	reader PageReader
	at     uint64    // all pages up to it are in feeds
	ahead  uint64    // the reader goes on behind it, or behind what is acknowledged
	due    time.Time // when what is counted and not stored is to be; zero: there is nothing
}

// kept is a feed and the revision of its entry.
type kept struct {
	*Feed
	rev   uint64
	dirty bool
}

// drain asks for everything that the log has.
type drain struct {
	ctx     context.Context // of who waits
	through uint64
	done    chan error
}

// New makes an observer.
func New(o Options) *Observer {
	for d, usual := range map[*time.Duration]time.Duration{
		&o.Save: 5 * time.Second, &o.Quiet: 2 * time.Second, &o.Patience: 10 * time.Minute, &o.Retry: 5 * time.Second,
	} {
		if *d == 0 {
			*d = usual
		}
	}
	return &Observer{
		opts: o, shown: make(chan *Tally, mostShown), drains: make(chan drain),
		plans: map[*catalog.Source]*plan{}, feeds: map[pagelog.Feed]*kept{},
	}
}

// Show is called by an output for a page that it maps: what it sees in the
// records is to be added one by one. It is nil for a page that is not counted.
func (o *Observer) Show(d *pagelog.Delivery) *Tally {
	p, err := o.plan(d.Page.Feed)
	if err != nil {
		return nil
	}
	t, err := newTally(p, &d.Page, d.After)
	if err != nil {
		return nil // Start finds the same, and say it
	}
	t.done = o.take
	return t
}

// take puts a page where it is counted, or drops it: then it is read.
func (o *Observer) take(t *Tally) {
	select {
	case o.shown <- t:
	default:
	}
}

// plan is how records of a feed are counted.
func (o *Observer) plan(f pagelog.Feed) (*plan, error) {
	source, err := o.opts.Source(f)
	if err != nil {
		return nil, err
	}
	o.plansMu.Lock()
	defer o.plansMu.Unlock()
	if p := o.plans[source]; p != nil {
		return p, nil
	}
	mapper, err := ecs.Compile(source, ecs.OnlySight())
	if err != nil {
		return nil, err
	}
	p := newPlan(source, mapper)
	o.plans[source] = p
	return p, nil
}

// Feeds is what was seen so far, by name, and what keeps the observer from
// seeing more; "" if nothing does.
func (o *Observer) Feeds() (feeds []*Feed, problem string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range o.feeds {
		feeds = append(feeds, k.clone())
	}
	sortFeeds(feeds)
	return feeds, o.problem
}

func (o *Observer) setProblem(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.problem = text
}

var errStopped = errors.New("observe: it was stopped")

// Drain returns when all pages up to through are counted and stored, or with
// the reason why they are not.
func (o *Observer) Drain(ctx context.Context, through uint64) error {
	d := drain{ctx, through, make(chan error, 1)}
	o.mu.Lock()
	ended := o.ended
	o.mu.Unlock()
	if ended == nil {
		return errStopped
	}
	select {
	case o.drains <- d:
	case <-ended:
		return errStopped
	case <-ctx.Done():
		return fmt.Errorf("observe: %w", ctx.Err())
	}
	select {
	case err := <-d.done:
		return err
	case <-ended:
		return errStopped
	case <-ctx.Done():
		return fmt.Errorf("observe: %w", ctx.Err())
	}
}

// Start counts until stop is called, which stores what there is then, if that
// takes less than a second. The end of ctx does not end it, and failures do not.
func (o *Observer) Start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	o.mu.Lock()
	o.ended = ended
	o.mu.Unlock()
	go func() {
		defer close(ended)
		o.insist(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}
