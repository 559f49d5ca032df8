// Package engine puts a configuration to work: it opens the log, the
// connections with their feeds and the outputs with their readers, and runs
// them together.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/pagelog"
)

const (
	authRetry    = 15 * time.Minute // between two sign-ins of a connection that was refused
	trimInterval = time.Minute
	leaseTTL     = 30 * time.Second
	stopLimit    = 4 * time.Second // for outputs to finish what they hold once stopping was asked for
)

// Options are what does not come from the configuration.
type Options struct {
	Logger    *slog.Logger
	UserAgent string
	Offline   bool // only look and change positions: no client is made, nothing runs
}

// Engine is an opened configuration. Open, then any of Once, Run and the
// looking functions, then Close.
type Engine struct {
	cfg         *config.Config
	opts        Options
	log         *pagelog.Log
	connections []*connection
	outputs     []*delivery
	started     time.Time
}

// Open opens the log and everything that stands in it. A second process with
// the same data_dir is refused with pagelog.ErrLocked.
func Open(ctx context.Context, cfg *config.Config, opts Options) (_ *Engine, err error) {
	e := &Engine{cfg: cfg, opts: opts, started: time.Now()}
	e.log, err = pagelog.Open(ctx, pagelog.Options{
		Dir:      filepath.Join(cfg.DataDir, "log"),
		URL:      cfg.Log.URL.Reveal(),
		MaxBytes: cfg.Log.MaxBytes,
		Logger:   opts.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
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
// all the same.
func (e *Engine) Once(ctx context.Context) error {
	deliveries := e.startOutputs(ctx)
	var wg sync.WaitGroup
	errs := make(chan error, e.feeds())
	for _, c := range e.connections {
		for _, f := range c.feeds {
			wg.Go(func() { errs <- f.Once(ctx) })
		}
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			all = append(all, err)
		}
	}
	if ctx.Err() == nil {
		all = append(all, e.drain(ctx, deliveries))
	}
	stopped := deliveries.stop()
	if ctx.Err() != nil { // as asked: what is left is done at the next start
		return errors.Join(append(all, stopped, context.Cause(ctx))...)
	}
	if len(all) == 0 || errors.Join(all...) == nil {
		all = append(all, stopped)
	}
	return errors.Join(append(all, e.trim(ctx))...)
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
// does not end it.
func (e *Engine) Run(ctx context.Context) error {
	deliveries := e.startOutputs(ctx)
	var wg sync.WaitGroup
	for _, c := range e.connections {
		wg.Go(func() { c.run(ctx, e) })
	}
	wg.Go(func() {
		ticker := time.NewTicker(trimInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if err := e.trim(ctx); err != nil && ctx.Err() == nil {
					e.opts.Logger.Warn("log not trimmed", "error", err)
				}
			}
		}
	})
	wg.Wait()
	return deliveries.stop()
}

// trim gives back the space of pages that every output has and that are older
// than log.max_age.
func (e *Engine) trim(ctx context.Context) error {
	if err := e.log.Trim(ctx, time.Now().Add(-e.cfg.Log.MaxAge)); err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	return nil
}

func (e *Engine) feeds() int {
	n := 0
	for _, c := range e.connections {
		n += len(c.feeds)
	}
	return n
}

// Feed finds a feed by its full name: wiz-prod/audit.
func (e *Engine) Feed(name string) (*collect.Feed, error) {
	var known []string
	for _, c := range e.connections {
		for i, f := range c.feeds {
			full := c.name + "/" + c.sources[i]
			if full == name {
				return f, nil
			}
			known = append(known, full)
		}
	}
	return nil, &UnknownFeedError{Name: name, Known: known}
}

// Change carries out one of the position tools on a feed: pause, resume,
// rewind (to the time given), reset or cancel-backfill. It returns when the
// change is stored.
func (e *Engine) Change(ctx context.Context, feed, verb string, to time.Time) error {
	f, err := e.Feed(feed)
	if err != nil {
		return err
	}
	switch verb {
	case "pause":
		return f.Do(ctx, collect.Pause)
	case "resume":
		return f.Do(ctx, collect.Resume)
	case "rewind":
		return f.Do(ctx, collect.Rewind(to))
	case "reset":
		return f.Do(ctx, collect.Reset)
	case "cancel-backfill":
		return f.Do(ctx, collect.CancelBackfill)
	}
	return fmt.Errorf("change feed %s: %q is not one of pause, resume, rewind, reset, cancel-backfill", feed, verb)
}

// UnknownFeedError is a name that no feed has.
type UnknownFeedError struct {
	Name  string
	Known []string
}

func (e *UnknownFeedError) Error() string {
	return fmt.Sprintf("feed %q is not configured; there are %q", e.Name, e.Known)
}
