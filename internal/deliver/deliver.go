// Package deliver takes pages out of the log and puts their documents into
// outputs. Each output has a deliverer, with a reader of its own: one that
// fails holds up no other.
package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/output"
	"github.com/trawlsec/trawl/internal/pagelog"
)

const (
	batchBytes = 4 << 20 // of documents, from which a batch takes no further page
	batchPages = 64
	keepBytes  = 4 * batchBytes // a buffer that grew beyond it is not kept

	readPages = 8                     // asked of the log at once
	linger    = 50 * time.Millisecond // how long a batch waits for further pages
	idle      = 5 * time.Second       // how long the log is waited for at a time

	firstBackoff = 500 * time.Millisecond
	maxBackoff   = time.Minute

	defaultStopLimit = 6 * time.Second
	defaultPatience  = 30 * time.Second
)

// Reader is what a deliverer needs of a *pagelog.Reader.
type Reader interface {
	// Next returns the pages after those it returned before, in log order: at
	// most limit, and none if there is none within wait.
	Next(ctx context.Context, limit int, wait time.Duration) ([]*pagelog.Delivery, error)
	// Ack says that all pages up to seq are done.
	Ack(ctx context.Context, seq uint64) error
	// Pending returns how many pages are not done, and up to which all are.
	Pending(ctx context.Context) (pages int, done uint64, err error)
	// Seek makes all pages up to seq done and none behind it.
	Seek(ctx context.Context, seq uint64) error
	// Close ends reading.
	Close(ctx context.Context)
}

// Mapper makes documents of the records of one source, each on one line: an
// *ecs.Mapper.
type Mapper interface {
	AppendSight(dst, record []byte, meta ecs.Meta, sight *ecs.Sight) []byte
	Key(record []byte) ecs.Key
}

// Observation is told what is seen in the records of one page, one after the
// other, and when that was all.
type Observation interface {
	Add(*ecs.Sight)
	End()
}

// Log is what a deliverer needs of the log beside its reader; see OnLog.
type Log interface {
	// PutDead keeps a letter, durably when it returns nil; to put it again
	// changes nothing.
	PutDead(ctx context.Context, letter pagelog.DeadLetter) error
	DropDead(ctx context.Context, letter pagelog.DeadLetter) error
	DeadLetters(ctx context.Context, f pagelog.DeadFilter, yield func(pagelog.DeadLetter) error) error
	Page(ctx context.Context, seq uint64) (pagelog.Page, bool, error)
	State(ctx context.Context, key string) (data []byte, rev uint64, err error)
	PutState(ctx context.Context, key string, data []byte, rev uint64) (uint64, error)
	OpenReader(ctx context.Context, name string) (Reader, error)
	DeleteReader(ctx context.Context, name string) error
}

// OnLog is the Log of a log.
func OnLog(l *pagelog.Log) Log { return onLog{l} }

type onLog struct{ *pagelog.Log }

func (l onLog) OpenReader(ctx context.Context, name string) (Reader, error) {
	return l.Reader(ctx, name)
}

// Options say what is delivered and where to.
type Options struct {
	Name   string // of the output
	Reader Reader
	Output output.Output
	// Mapper returns the mapper of a feed's source. Records of a feed that it
	// has none for become dead letters, with its error as the reason.
	Mapper func(pagelog.Feed) (Mapper, error)
	// Observe, unless it is nil, is shown every page that is mapped, and may
	// return nil for one that it does not care about.
	Observe func(*pagelog.Delivery) Observation

	Raw bool // deliver records as received in place of documents
	// MaxDocument is how many bytes a document may have; larger ones become
	// dead letters. 0: any number.
	MaxDocument int64
	Log         Log
	Logger      *slog.Logger

	StopLimit time.Duration // how long what is being written may take once Run is stopped; 0: 6 s
	Patience  time.Duration // how long an output may fail before Drain gives up; 0: 30 s
}

// State is what a deliverer is doing, or why it does not.
type State string

// The states of a deliverer.
const (
	StateOK       State = "ok"
	StateRetrying State = "retrying" // failed, tries again
	StateFailed   State = "failed"   // failed, and trying again would not help
	StateStopped  State = "stopped"  // not started, or stopped as asked
)

// States are all of them.
var States = []State{StateOK, StateRetrying, StateFailed, StateStopped}

// Status is how an output is doing. Counts are since the process began.
type Status struct {
	Output      string    `json:"output"`
	State       State     `json:"state"`
	Reason      string    `json:"reason,omitempty"` // of retrying and failed
	Since       time.Time `json:"since,omitzero"`   // of the state
	Documents   int64     `json:"documents"`        // delivered
	Pages       int64     `json:"pages"`            // delivered
	Refused     int64     `json:"refused"`          // documents, for good
	LastPage    uint64    `json:"last_page"`        // sequence up to which all pages are delivered
	LastSuccess time.Time `json:"last_success,omitzero"`
	Replay      *Replay   `json:"replay,omitempty"` // under way, or the last there was
}

// BehindError says that an output has lost what the log has as delivered.
type BehindError struct {
	Output      string
	Last, Acked uint64
}

func (e *BehindError) Error() string {
	return fmt.Sprintf("output %s remembers the pages up to %d, but those up to %d were delivered: was data_dir put back from an older copy? "+
		"Remove its position file to go on, and then `trawl replay --output %s --since` the time of that copy", e.Output, e.Last, e.Acked, e.Output)
}

// Deliverer delivers to one output.
type Deliverer struct {
	opts   Options
	logger *slog.Logger

	replays  replays
	refusals refusals

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced whenever what is below changes
	status   Status
	problems map[task]string
	failing  time.Time // since when there have been problems
	idle     bool      // the log had nothing more the last time it was asked
	running  bool
	ended    bool
	err      error // what ended it
}

// task is one of the things that can fail by itself.
type task string

const (
	opening task = "open output"
	reading task = "read log"
	writing task = "write"
	burying task = "keep dead letter"
	acking  task = "acknowledge"
	keeping task = "keep"

	// Of a replay, which works beside the others.
	rereading task = "read what is replayed"
	reburying task = "keep dead letter of a replay"
	settling  task = "note how far a replay is"
)

// New makes a deliverer. Run starts it, and goes on with the replay that is
// under way, if there is one.
func New(ctx context.Context, opts Options) (*Deliverer, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.StopLimit == 0 {
		opts.StopLimit = defaultStopLimit
	}
	if opts.Patience == 0 {
		opts.Patience = defaultPatience
	}
	d := &Deliverer{
		opts: opts, logger: opts.Logger.With("output", opts.Name), changed: make(chan struct{}), problems: map[task]string{},
		status: Status{Output: opts.Name, State: StateStopped},
	}
	if err := d.loadReplay(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// Status is the state at this moment.
func (d *Deliverer) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

// Run opens the output, delivers until ctx ends and closes the output. What is
// in hand then is finished and acknowledged, if that succeeds at the first try
// and within the limit. The error is nil if it was stopped, and otherwise one
// that trying again does not mend; it is called once.
func (d *Deliverer) Run(ctx context.Context) (err error) {
	d.mu.Lock()
	if d.running || d.ended {
		d.mu.Unlock()
		return fmt.Errorf("deliver to %s: already run", d.opts.Name)
	}
	d.running = true
	d.mu.Unlock()
	d.change(func() { d.setState(StateOK, "") })

	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stopping := context.AfterFunc(ctx, func() {
		limit := time.AfterFunc(d.opts.StopLimit, func() {
			d.logger.Warn("what is being written is given up; it is delivered at the next start", "after", d.opts.StopLimit)
			cancel()
		})
		context.AfterFunc(hard, func() { limit.Stop() })
	})
	defer stopping()

	err = d.run(ctx, hard)
	d.refusals.tell(d.logger, 0)
	if closeErr := d.opts.Output.Close(); closeErr != nil && err == nil {
		d.logger.Warn("output not closed", "error", closeErr)
	}
	var left *stopped
	if errors.As(err, &left) {
		if left.err != nil {
			d.logger.Warn("stopped while something failed; it is delivered at the next start", "error", left.err)
		}
		err = nil
	}
	d.change(func() {
		d.running, d.ended, d.err = false, true, err
		if err != nil {
			d.setState(StateFailed, err.Error())
		} else {
			d.setState(StateStopped, "")
		}
	})
	if err != nil {
		d.logger.Error("output stopped", "error", err)
	}
	return err
}

func (d *Deliverer) run(ctx, hard context.Context) error {
	var place output.Place
	var acked uint64
	err := d.insist(ctx, opening, func() (err error) {
		if _, acked, err = d.opts.Reader.Pending(hard); err == nil {
			place, err = d.opts.Output.Open(hard)
		}
		return err
	})
	if err != nil {
		return err
	}
	if place.Last != 0 && place.Last < acked {
		return &output.PermanentError{Output: d.opts.Name, Err: &BehindError{Output: d.opts.Name, Last: place.Last, Acked: acked}}
	}
	d.change(func() { d.status.LastPage = acked })

	// Two batches: while one is written the next is filled.
	full, empty := make(chan *batch), make(chan *batch, 2)
	empty <- new(batch)
	empty <- new(batch)
	ended, end := context.WithCancel(hard)
	read, stopReading := context.WithCancel(ctx)
	filled, k := make(chan error, 1), desk{make(chan order), make(chan struct{})}
	go func() {
		defer close(full)
		filled <- d.fill(read, ended, place.Last, full, empty)
	}()
	var beside sync.WaitGroup
	beside.Go(func() { d.workOnReplays(read, hard, place, k) })
	err = d.write(ctx, hard, full, empty, k.orders)
	close(k.closed)
	end()
	stopReading()
	beside.Wait()
	if fillErr := <-filled; err == nil {
		err = fillErr
	}
	return err
}

// write hands to the output what is there for it, until full is closed or
// something fails for good. What is new comes before what is replayed.
func (d *Deliverer) write(ctx, hard context.Context, full <-chan *batch, empty chan<- *batch, orders <-chan order) error {
	for {
		var b *batch
		var ok bool
		select {
		case b, ok = <-full:
		default:
			select {
			case b, ok = <-full:
			case o := <-orders:
				refusals, err := d.hand(ctx, hard, o.batch)
				if err != nil {
					return err
				}
				o.done <- refusals
				continue
			}
		}
		if !ok {
			return nil
		}
		if err := d.deliver(ctx, hard, b); err != nil {
			return err
		}
		b.reset()
		empty <- b
	}
}

// fill reads pages, makes batches of them and hands these over. It ends with
// ctx, when it hands over what it has unless ended is over too.
func (d *Deliverer) fill(ctx, ended context.Context, last uint64, full chan<- *batch, empty <-chan *batch) error {
	_, keeper := d.opts.Output.(output.Keeper)
	b := <-empty
	send := func() bool {
		select {
		case full <- b:
		case <-ended.Done():
			return false
		}
		select {
		case b = <-empty:
			return true
		case <-ended.Done():
			return false
		}
	}
	for {
		var pages []*pagelog.Delivery
		err := d.insist(ctx, reading, func() (err error) {
			if err = ctx.Err(); err != nil {
				return err
			}
			wait := idle
			if !b.isEmpty() {
				wait = max(time.Until(b.due), 0)
			}
			pages, err = d.opts.Reader.Next(ctx, readPages, wait)
			return err
		})
		if err != nil {
			if !b.isEmpty() {
				send()
			}
			return err
		}
		d.mu.Lock()
		d.idle = false
		d.mu.Unlock()
		for _, p := range pages {
			d.add(b, p, last)
			if b.isFull() && !send() {
				return nil
			}
		}
		switch {
		case len(pages) > 0:
			if !b.isEmpty() && time.Until(b.due) <= 0 && !send() {
				return nil
			}
		case !b.isEmpty() || keeper:
			if !send() {
				return nil
			}
			fallthrough
		default:
			d.change(func() { d.idle = true })
		}
	}
}

// deliver writes one batch of pages, keeps what was refused, and acknowledges.
// A batch without pages only lets the output keep house.
func (d *Deliverer) deliver(ctx, hard context.Context, b *batch) error {
	if b.isEmpty() {
		return d.keep(ctx, hard)
	}
	letters := b.letters
	if b.fresh {
		// Before the rest is written: an output that remembers its place will
		// not be asked about these again.
		if err := d.bury(ctx, hard, burying, letters); err != nil {
			return err
		}
		refusals, err := d.hand(ctx, hard, b)
		if err != nil {
			return err
		}
		refused := d.dead(b, refusals)
		if err := d.bury(ctx, hard, burying, refused); err != nil {
			return err
		}
		letters = append(letters, refused...)
	}
	if err := d.insist(ctx, acking, func() error { return d.opts.Reader.Ack(hard, b.Last) }); err != nil {
		return err
	}
	d.delivered(b, letters)
	d.change(func() { d.status.LastPage = b.Last })
	return nil
}

// hand gives a batch to the output until it has it, and returns what it
// refused.
func (d *Deliverer) hand(ctx, hard context.Context, b *batch) ([]output.Refusal, error) {
	var refused *output.RefusedError
	err := d.insist(ctx, writing, func() error {
		refused = nil
		err := d.opts.Output.Write(hard, b.Batch)
		if errors.As(err, &refused) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	d.solved(keeping)
	if refused == nil {
		return nil, nil
	}
	return refused.Refusals, nil
}

// bury keeps dead letters.
func (d *Deliverer) bury(ctx, hard context.Context, what task, letters []pagelog.DeadLetter) error {
	for _, letter := range letters {
		letter.Time = time.Now().UTC()
		if err := d.insist(ctx, what, func() error { return d.opts.Log.PutDead(hard, letter) }); err != nil {
			return err
		}
	}
	return nil
}

// delivered counts a batch that is done with.
func (d *Deliverer) delivered(b *batch, letters []pagelog.DeadLetter) {
	d.refusals.note(letters)
	d.refusals.tell(d.logger, refusalsEvery)
	d.change(func() {
		d.status.Documents += int64(len(b.Ends) - b.refused)
		d.status.Pages += int64(len(b.pages))
		d.status.Refused += int64(len(letters))
		d.status.LastSuccess = time.Now().UTC()
	})
}

// keep lets the output do what time has made due. It is asked again soon, so a
// failure is only noted.
func (d *Deliverer) keep(ctx, hard context.Context) error {
	keeper, ok := d.opts.Output.(output.Keeper)
	if !ok {
		return nil
	}
	err := keeper.Keep(hard)
	switch {
	case err == nil:
		d.solved(keeping)
	case permanent(err):
		return err
	case ctx.Err() == nil:
		d.problem(keeping, err, idle)
	}
	return nil
}
