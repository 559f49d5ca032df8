package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/ecs"
	out "github.com/trawlsec/trawl/internal/output"
)

func (e *Engine) openOutput(ctx context.Context, cfg *config.Output) (*output, error) {
	reader, err := e.log.Reader(ctx, cfg.Name)
	if err != nil {
		return nil, err
	}
	o, err := out.New(out.Options{Name: cfg.Name, Type: cfg.Type, Path: cfg.Path, Dir: filepath.Join(e.cfg.DataDir, "outputs"), Logger: e.opts.Logger,
		Rotate: out.Rotate{Size: cfg.Rotate.Size, Age: cfg.Rotate.Age}, Compress: cfg.Compress})
	if err != nil {
		return nil, err
	}
	return &output{name: cfg.Name, reader: reader, out: o, mappers: map[string]*ecs.Mapper{}}, nil
}

type deliveries struct {
	e      *Engine
	cancel context.CancelFunc
	wg     sync.WaitGroup
	target atomic.Uint64
	done   chan struct{}
	errs   chan error
}

func (e *Engine) startOutputs(ctx context.Context) *deliveries {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d := &deliveries{e: e, cancel: cancel, errs: make(chan error, len(e.outputs))}
	for _, o := range e.outputs {
		d.wg.Go(func() { d.errs <- o.run(ctx, e) })
	}
	return d
}

func (d *deliveries) drain(ctx context.Context) error {
	for {
		all := true
		for _, o := range d.e.outputs {
			n, _, err := o.reader.Pending(ctx)
			if err != nil {
				return err
			}
			all = all && n == 0
		}
		if all {
			return nil
		}
		wait(ctx, 20*time.Millisecond)
	}
}

func (d *deliveries) stop() error {
	d.cancel()
	d.wg.Wait()
	close(d.errs)
	var all []error
	for err := range d.errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

func (o *output) run(ctx context.Context, e *Engine) error {
	defer o.out.Close()
	last, err := o.out.Open(ctx)
	if err != nil {
		return err
	}
	var b out.Batch
	for ctx.Err() == nil {
		ds, err := o.reader.Next(ctx, 64, time.Second)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if len(ds) == 0 {
			continue
		}
		b.Data, b.Ends = b.Data[:0], b.Ends[:0]
		for _, d := range ds {
			p := d.Page
			b.Last = p.Seq
			if p.Seq <= last {
				continue
			}
			key := p.Feed.Connection + "/" + p.Feed.Source
			m := o.mappers[key]
			if m == nil {
				for _, c := range e.cfg.Connections {
					for _, f := range c.Feeds {
						if f.Name() == key {
							if m, err = ecs.Compile(f.Source); err != nil {
								return err
							}
						}
					}
				}
				if m == nil {
					return fmt.Errorf("no mapper for %s", key)
				}
				o.mappers[key] = m
			}
			for _, r := range p.Records {
				b.Data = m.Append(b.Data, r, ecs.Meta{Connection: p.Feed.Connection, Created: p.Fetched, Ingested: p.Stored})
				b.Data = append(b.Data, '\n')
				b.Ends = append(b.Ends, len(b.Data))
			}
		}
		if len(b.Ends) > 0 {
			if err := o.out.Write(context.WithoutCancel(ctx), b); err != nil {
				return err
			}
		}
		o.documents.Add(int64(len(b.Ends)))
		if err := o.reader.Ack(context.WithoutCancel(ctx), b.Last); err != nil {
			return err
		}
	}
	return nil
}
