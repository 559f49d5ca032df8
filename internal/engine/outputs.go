package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/deliver"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/observe"
	"github.com/trawlsec/trawl/internal/output"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// delivery is one configured output with its reader of the log.
type delivery struct {
	name      string
	reader    *pagelog.Reader
	deliverer *deliver.Deliverer
}

func (e *Engine) openOutput(ctx context.Context, cfg *config.Output) (*delivery, error) {
	reader, err := e.log.Reader(ctx, cfg.Name)
	if err != nil {
		return nil, fmt.Errorf("open output %s: %w", cfg.Name, err)
	}
	out, err := output.New(output.Options{
		Name:     cfg.Name,
		Type:     cfg.Type,
		Dir:      filepath.Join(e.cfg.DataDir, "outputs"),
		Log:      e.log.ID(),
		Logger:   e.opts.Logger,
		Path:     cfg.Path,
		Rotate:   output.Rotate{Size: cfg.Rotate.Size, Age: cfg.Rotate.Age},
		Compress: cfg.Compress,
	})
	if err != nil {
		return nil, err
	}
	show := e.show(cfg)
	d, err := deliver.New(ctx, deliver.Options{
		Name:        cfg.Name,
		Reader:      reader,
		Output:      out,
		Mapper:      e.mapper(cfg.Original, show != nil),
		Observe:     show,
		Raw:         cfg.Schema == "raw",
		MaxDocument: cfg.MaxDocument,
		Log:         deliver.OnLog(e.log),
		Logger:      e.opts.Logger,
		StopLimit:   stopLimit,
		Patience:    e.opts.timing.patience,
	})
	if err != nil {
		return nil, err
	}
	return &delivery{name: cfg.Name, reader: reader, deliverer: d}, nil
}

// source gives a feed's source. It goes by the product of the feed's
// connection, so that pages of a feed that is no longer read are still delivered.
func (e *Engine) source(f pagelog.Feed) (*catalog.Source, error) {
	i := slices.IndexFunc(e.cfg.Connections, func(c config.Connection) bool { return c.Name == f.Connection })
	if i < 0 {
		return nil, fmt.Errorf("connection %s is no longer configured", f.Connection)
	}
	return e.cfg.Catalogue.Source(e.cfg.Connections[i].Product.ID + "/" + f.Source)
}

// mapper gives the mapper of a feed's source.
func (e *Engine) mapper(original, sight bool) func(pagelog.Feed) (deliver.Mapper, error) {
	var options []ecs.Option
	if !original {
		options = append(options, ecs.WithoutOriginal())
	}
	if sight {
		options = append(options, ecs.WithSight())
	}
	var mu sync.Mutex
	mappers := map[*catalog.Source]*ecs.Mapper{}
	return func(f pagelog.Feed) (deliver.Mapper, error) {
		source, err := e.source(f)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if m := mappers[source]; m != nil {
			return m, nil
		}
		m, err := ecs.Compile(source, options...)
		if err != nil {
			return nil, fmt.Errorf("compile mapping of %s: %w", source.FullName(), err)
		}
		mappers[source] = m
		return m, nil
	}
}

// dropReaders makes the log forget outputs that are no longer configured:
// their readers would keep it from ever giving back space.
func (e *Engine) dropReaders(ctx context.Context) error {
	names, err := e.log.Readers(ctx)
	if err != nil {
		return fmt.Errorf("look for outputs that are gone: %w", err)
	}
	for _, name := range names {
		if name == observe.Reader || slices.ContainsFunc(e.outputs, func(d *delivery) bool { return d.reads(name) }) {
			continue
		}
		e.opts.Logger.Info("output is no longer configured, or its replay is over; its place in the log is given up", "output", name)
		if err := e.log.DeleteReader(ctx, name); err != nil {
			return fmt.Errorf("forget output %s: %w", name, err)
		}
	}
	return nil
}

// reads reports whether the output needs the reader of that name.
func (d *delivery) reads(name string) bool {
	replay := d.deliverer.Status().Replay
	return name == d.name || name == deliver.ReplayReader(d.name) && replay != nil && replay.State == deliver.ReplayRunning && replay.Dead == nil
}

// deliveries are the outputs while they run.
type deliveries struct {
	outputs []*delivery
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	mu      sync.Mutex
	errs    []error
}

// startOutputs delivers to outputs until stop is called; the end of ctx does
// not end it, so that what is collected last is delivered too.
func (e *Engine) startOutputs(ctx context.Context, outputs []*delivery) *deliveries {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ds := &deliveries{outputs: outputs, cancel: cancel}
	for _, o := range outputs {
		ds.wg.Go(func() {
			if err := o.deliverer.Run(ctx); err != nil {
				ds.mu.Lock()
				defer ds.mu.Unlock()
				ds.errs = append(ds.errs, err)
			}
		})
	}
	return ds
}

// drain waits until every output has all pages up to through, and what was
// being replayed to it.
func (ds *deliveries) drain(ctx context.Context, through uint64) error {
	return ds.each(func(o *delivery) error {
		if err := o.deliverer.Drain(ctx, through); err != nil {
			return err
		}
		return o.deliverer.AwaitReplay(ctx)
	})
}

// each does something with every output, all at once.
func (ds *deliveries) each(do func(*delivery) error) error {
	errs := make([]error, len(ds.outputs))
	var wg sync.WaitGroup
	for i, o := range ds.outputs {
		wg.Go(func() { errs[i] = do(o) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// stop ends the deliveries, each after the batch in hand, and returns what
// ended any of them before.
func (ds *deliveries) stop() error {
	ds.cancel()
	ds.wg.Wait()
	return errors.Join(ds.errs...)
}
