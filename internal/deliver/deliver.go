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
}

// Mapper makes documents of the records of one source, each on one line: an
// *ecs.Mapper.
type Mapper interface {
	Append(dst, record []byte, meta ecs.Meta) []byte
	Key(record []byte) ecs.Key
}

// DeadLetters keeps what an output refuses for good: a *pagelog.Log. The letter
// is durable when PutDead returns nil; to put it again changes nothing.
type DeadLetters interface {
	PutDead(ctx context.Context, letter pagelog.DeadLetter) error
}

// Options say what is delivered and where to.
type Options struct {
	Name   string // of the output
	Reader Reader
	Output output.Output
	// Mapper returns the mapper of a feed's source. Records of a feed that it
	// has none for become dead letters, with its error as the reason.
	Mapper func(pagelog.Feed) (Mapper, error)
	Raw    bool // deliver records as received in place of documents
	Dead   DeadLetters
	Logger *slog.Logger

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

// Status is how an output is doing. Counts are since the process began.
type Status struct {
	Output      string    `json:"output"`
	State       State     `json:"state"`
	Reason      string    `json:"reason,omitempty"` // of retrying and failed
	Since       time.Time `json:"since,omitzero"`   // of the state
	Documents   int64     `json:"documents"`        // delivered
	Pages       int64     `json:"pages"`            // delivered
	DeadLetters int64     `json:"dead_letters"`     // put
	LastPage    uint64    `json:"last_page"`        // sequence up to which all pages are delivered
	LastSuccess time.Time `json:"last_success,omitzero"`
}

// BehindError says that an output has lost what the log has as delivered.
type BehindError struct {
	Output      string
	Last, Acked uint64
}

func (e *BehindError) Error() string {
	return fmt.Sprintf("output %s remembers the pages up to %d, but those up to %d were delivered: was data_dir put back from an older copy? "+
		"Replay the output from that time on, or remove its position file to go on without them", e.Output, e.Last, e.Acked)
}

// Deliverer delivers to one output.
type Deliverer struct {
	opts   Options
	logger *slog.Logger

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
)

// New makes a deliverer. Run starts it.
func New(opts Options) *Deliverer {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.StopLimit == 0 {
		opts.StopLimit = defaultStopLimit
	}
	if opts.Patience == 0 {
		opts.Patience = defaultPatience
	}
	return &Deliverer{
		opts: opts, logger: opts.Logger.With("output", opts.Name), changed: make(chan struct{}), problems: map[task]string{},
		status: Status{Output: opts.Name, State: StateStopped},
	}
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
	var last, acked uint64
	err := d.insist(ctx, opening, func() (err error) {
		if _, acked, err = d.opts.Reader.Pending(hard); err == nil {
			last, err = d.opts.Output.Open(hard)
		}
		return err
	})
	if err != nil {
		return err
	}
	if last != 0 && last < acked {
		return &output.PermanentError{Output: d.opts.Name, Err: &BehindError{Output: d.opts.Name, Last: last, Acked: acked}}
	}
	d.change(func() { d.status.LastPage = acked })

	// Two batches: while one is written the next is filled.
	full, empty := make(chan *batch), make(chan *batch, 2)
	empty <- new(batch)
	empty <- new(batch)
	ended, end := context.WithCancel(hard)
	read, stopReading := context.WithCancel(ctx)
	filled := make(chan error, 1)
	go func() {
		defer close(full)
		filled <- d.fill(read, ended, last, full, empty)
	}()
	for b := range full {
		if err = d.deliver(ctx, hard, b); err != nil {
			break
		}
		b.reset()
		empty <- b
	}
	end()
	stopReading()
	if fillErr := <-filled; err == nil {
		err = fillErr
	}
	return err
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
			d.add(b, &p.Page, last)
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

// deliver writes one batch, keeps what was refused, and acknowledges. A batch
// without pages only lets the output keep house.
func (d *Deliverer) deliver(ctx, hard context.Context, b *batch) error {
	if b.isEmpty() {
		return d.keep(ctx, hard)
	}
	if b.fresh {
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
			return err
		}
		if refused != nil {
			for _, r := range refused.Refusals {
				b.bury(r.Index, r.Reason)
			}
		}
		d.solved(keeping)
	}
	for _, letter := range b.letters {
		letter.Output, letter.Time = d.opts.Name, time.Now().UTC()
		if err := d.insist(ctx, burying, func() error { return d.opts.Dead.PutDead(hard, letter) }); err != nil {
			return err
		}
	}
	if err := d.insist(ctx, acking, func() error { return d.opts.Reader.Ack(hard, b.Last) }); err != nil {
		return err
	}
	if n := len(b.letters); n > 0 {
		d.logger.Warn("documents refused for good", "documents", n, "first_reason", b.letters[0].Reason)
	}
	d.change(func() {
		d.status.Documents += int64(len(b.Ends) - b.refused)
		d.status.Pages += int64(len(b.pages))
		d.status.DeadLetters += int64(len(b.letters))
		d.status.LastPage = b.Last
		d.status.LastSuccess = time.Now().UTC()
	})
	return nil
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

// Drain returns nil once all pages up to through are delivered. It returns an
// error when Run has ended before that, or when the output has failed for
// longer than Options.Patience, with what is wrong; Run goes on trying.
func (d *Deliverer) Drain(ctx context.Context, through uint64) error {
	began := time.Now()
	for {
		d.mu.Lock()
		changed, last, idle, failing := d.changed, d.status.LastPage, d.idle, d.failing
		ended, err, reason := d.ended, d.err, d.status.Reason
		d.mu.Unlock()
		switch {
		case last >= through:
			return nil
		case ended && err != nil:
			return err
		case ended:
			return fmt.Errorf("output %s was stopped before page %d was delivered", d.opts.Name, through)
		}
		if idle { // what is left up to there may not be pages
			pending, done, err := d.opts.Reader.Pending(ctx)
			if err == nil && (pending == 0 || done >= through) {
				return nil
			}
		}
		patience := d.opts.Patience
		if !failing.IsZero() {
			patience -= min(time.Since(failing), time.Since(began))
		}
		if patience <= 0 {
			return fmt.Errorf("output %s has been failing for %s: %s", d.opts.Name, time.Since(failing).Round(time.Second), reason)
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
