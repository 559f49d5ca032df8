// Package engine puts a configuration to work: it opens the log, the
// connections with their feeds and the outputs with their readers, and runs
// them together.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/observe"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// timing is how long things take; tests shorten it.
type timing struct {
	retry    time.Duration // between two sign-ins of a connection that was refused
	trim     time.Duration // between two looks for what the log can give back
	lease    time.Duration // after which the connections of a process that died are free
	patience time.Duration // of Once with a log that is full or an output that fails
	observe  time.Duration // for which what was observed may be in memory only; 0: as package observe has it
}

var usual = timing{retry: 15 * time.Minute, trim: time.Minute, lease: 30 * time.Second, patience: 30 * time.Second}

// Stopping takes at most pageGrace of package collect, and then:
const (
	releaseLimit = time.Second     // for a lease
	stopLimit    = 3 * time.Second // for outputs to finish what they hold
)

// Options are what does not come from the configuration.
type Options struct {
	Logger    *slog.Logger
	UserAgent string
	Offline   bool // only look and change positions: no client is made, nothing runs

	timing timing // zero: usual
}

// ErrStopped is Once's error when it was stopped before its end.
var ErrStopped = errors.New("stopped before everything was collected and delivered; the next run goes on from here")

// ErrOnce refuses changes of feeds while Once is at work.
var ErrOnce = errors.New("`trawl run --once` is at work and takes no changes; try again when it has ended")

// Engine is an opened configuration. Open, then any of Once, Run and the
// looking functions, then Close.
type Engine struct {
	cfg         *config.Config
	opts        Options
	log         *pagelog.Log
	connections []*connection
	outputs     []*delivery
	observer    *observe.Observer // nil where nothing runs
	started     time.Time

	changes sync.RWMutex // held for reading while a feed is changed
	once    bool         // Once is at work; guarded by changes
}

// Open opens the log and everything that stands in it. A second process with
// the same data_dir is refused with pagelog.ErrLocked.
func Open(ctx context.Context, cfg *config.Config, opts Options) (_ *Engine, err error) {
	if opts.timing == (timing{}) {
		opts.timing = usual
	}
	e := &Engine{cfg: cfg, opts: opts, started: time.Now()}
	if e.log, err = openLog(ctx, cfg, opts.Logger); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	for i := range cfg.Connections {
		c, err := e.openConnection(ctx, &cfg.Connections[i])
		if err != nil {
			return nil, err
		}
		e.connections = append(e.connections, c)
	}
	if !opts.Offline && observing {
		e.openObserver()
	}
	for i := range cfg.Outputs {
		o, err := e.openOutput(ctx, &cfg.Outputs[i])
		if err != nil {
			return nil, err
		}
		e.outputs = append(e.outputs, o)
	}
	if !opts.Offline {
		if err := e.dropReaders(ctx); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Close ends what Open began. It is safe to call twice.
func (e *Engine) Close() error {
	for _, c := range e.connections {
		c.close()
	}
	e.connections, e.outputs = nil, nil
	if e.log == nil {
		return nil
	}
	err := e.log.Close()
	e.log = nil
	return err
}

// Once brings every feed to the present, delivers everything and returns.
// The error joins what went wrong; the other feeds and outputs are finished
// all the same. When ctx ended first it wraps ErrStopped.
func (e *Engine) Once(ctx context.Context) error {
	e.setOnce(true)
	defer e.setOnce(false)
	deliveries := e.startOutputs(ctx, e.outputs)
	stopObserver := e.startObserver(ctx)
	defer stopObserver()
	reading, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	var beside sync.WaitGroup
	beside.Go(func() { e.keepTrimmed(reading) })
	beside.Go(func() { e.watchFull(reading, giveUp) })
	var wg sync.WaitGroup
	errs := make([]error, len(e.connections))
	for i, c := range e.connections {
		wg.Go(func() { errs[i] = c.once(reading, e) })
	}
	wg.Wait()
	full := context.Cause(reading)
	giveUp(nil)
	beside.Wait()
	if ctx.Err() == nil {
		errs = append(errs, full, e.drain(ctx, deliveries))
		e.drainObserver(ctx)
	}
	stopped := deliveries.stop()
	if ctx.Err() != nil {
		return errors.Join(append(append(errs, e.trying()...), stopped, ErrStopped)...)
	}
	if errors.Join(errs...) == nil { // else it says the same
		errs = append(errs, stopped)
	}
	return errors.Join(append(errs, e.trim(ctx))...)
}

// trying says which feeds fail at the moment, and why.
func (e *Engine) trying() (errs []error) {
	for _, c := range e.connections {
		for _, f := range c.feeds {
			if s := f.Status(); s.State == collect.StateRetrying {
				errs = append(errs, fmt.Errorf("feed %s: %s", f.Name(), s.Reason))
			}
		}
	}
	return errs
}

func (e *Engine) setOnce(once bool) {
	e.changes.Lock()
	defer e.changes.Unlock()
	e.once = once
}

// watchFull makes Once give up when the log has been full for long: nobody may
// be there to see that it waits.
func (e *Engine) watchFull(ctx context.Context, giveUp context.CancelCauseFunc) {
	ticker := time.NewTicker(e.opts.timing.patience / 10)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if f, s := e.waiting(); f != nil && time.Since(s.Since) > e.opts.timing.patience {
			giveUp(fmt.Errorf("feed %s waited for %s: %s", f.Name(), e.opts.timing.patience, s.Reason))
			return
		}
	}
}

// waiting is the feed that has waited longest for room in the log; nil if none
// does.
func (e *Engine) waiting() (longest *collect.Feed, status collect.Status) {
	for _, c := range e.connections {
		for _, f := range c.feeds {
			if s := f.Status(); s.State == collect.StateFull && (longest == nil || s.Since.Before(status.Since)) {
				longest, status = f, s
			}
		}
	}
	return longest, status
}

// drain waits until every output has what is in the log at this moment.
func (e *Engine) drain(ctx context.Context, deliveries *deliveries) error {
	stats, err := e.log.Stats(ctx)
	if err != nil {
		return fmt.Errorf("deliver what was collected: %w", err)
	}
	return deliveries.drain(ctx, stats.LastSeq)
}

// Run collects and delivers until ctx ends. A feed or an output that fails
// does not end it; a log that takes no more writes does.
func (e *Engine) Run(ctx context.Context) error {
	running, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	deliveries := e.startOutputs(ctx, e.outputs)
	stopObserver := e.startObserver(ctx)
	var wg sync.WaitGroup
	for _, c := range e.connections {
		wg.Go(func() { c.run(running, e, giveUp) })
	}
	wg.Go(func() { e.keepTrimmed(running) })
	wg.Wait()
	err := deliveries.stop()
	stopObserver()
	if ctx.Err() == nil {
		err = errors.Join(context.Cause(running), err)
	}
	return err
}

// keepTrimmed trims the log now and then until ctx ends, and more often while
// feeds wait for room in it.
func (e *Engine) keepTrimmed(ctx context.Context) {
	ticker := time.NewTicker(e.opts.timing.trim / 20)
	defer ticker.Stop()
	var last time.Time
	for {
		if full, _ := e.waiting(); full != nil || time.Since(last) >= e.opts.timing.trim {
			last = time.Now()
			if err := e.trim(ctx); err != nil && ctx.Err() == nil {
				e.opts.Logger.Warn("log not trimmed", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// trim gives back the space of pages that every output has and that are older
// than log.max_age.
func (e *Engine) trim(ctx context.Context) error {
	if err := e.log.Trim(ctx, time.Now().Add(-e.cfg.Log.MaxAge)); err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	return nil
}

// find finds a feed by its full name: wiz-prod/audit.
func (e *Engine) find(name string) (*connection, *collect.Feed, error) {
	var known []string
	for _, c := range e.connections {
		for i, f := range c.feeds {
			full := c.name + "/" + c.sources[i]
			if full == name {
				return c, f, nil
			}
			known = append(known, full)
		}
		for _, damaged := range c.damaged {
			if damaged.Feed.String() == name {
				return nil, nil, damaged
			}
		}
	}
	return nil, nil, &UnknownFeedError{Name: name, Known: known}
}

// Change carries out one of the position tools on a feed: pause, resume,
// rewind (to the time given), reset or cancel-backfill. It returns when the
// change is stored.
func (e *Engine) Change(ctx context.Context, feed, verb string, to time.Time) error {
	e.changes.RLock()
	defer e.changes.RUnlock()
	c, f, err := e.find(feed)
	var damaged *collect.DamagedError
	if errors.As(err, &damaged) && verb == "reset" {
		return collect.ResetDamaged(ctx, e.log, damaged.Feed)
	}
	if err != nil {
		return err
	}
	var change collect.Change
	switch {
	case e.once:
		return ErrOnce
	case !c.pulls(f) && (verb == "pause" || verb == "rewind"):
		return fmt.Errorf("%s feed %s: %w", verb, feed, errNotPulled)
	case verb == "pause":
		change = collect.Pause
	case verb == "resume":
		change = collect.Resume
	case verb == "rewind" && !to.IsZero():
		change = collect.Rewind(to)
	case verb == "reset":
		change = collect.Reset
	case verb == "cancel-backfill":
		change = collect.CancelBackfill
	default:
		return fmt.Errorf("change feed %s: %q is not one of pause, resume, rewind (to a time), reset, cancel-backfill", feed, verb)
	}
	if err := f.Do(ctx, change); err != nil {
		return err
	}
	e.opts.Logger.Info("feed changed by hand", "feed", feed, "change", verb)
	return nil
}

// UnknownFeedError is a name that no feed has.
type UnknownFeedError struct {
	Name  string
	Known []string
}

func (e *UnknownFeedError) Error() string {
	return fmt.Sprintf("feed %q is not configured; there are %q", e.Name, e.Known)
}
