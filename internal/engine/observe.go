package engine

import (
	"context"
	"slices"
	"time"

	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/deliver"
	"github.com/trawlsec/trawl/internal/observe"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// Observed is what was seen in the records of all feeds.
type Observed struct {
	Running bool                    `json:"running"` // a `trawl run` answered, not only what is stored
	Now     time.Time               `json:"now"`
	Problem string                  `json:"problem,omitempty"` // why not all is counted
	Feeds   []*observe.Feed         `json:"feeds"`
	Read    map[string]observe.Read `json:"read"` // by the feed's name
}

// Observed looks at what was seen.
func (e *Engine) Observed(ctx context.Context) (Observed, error) {
	o := Observed{Running: !e.opts.Offline, Now: time.Now().UTC(), Read: map[string]observe.Read{}}
	for _, c := range e.connections {
		for _, f := range c.feeds {
			s := f.Status()
			read := observe.Read{To: s.Watermark}
			for _, l := range s.Lanes {
				read.Asked, read.Reach = max(read.Asked, l.Asked), max(read.Reach, l.Reach)
			}
			o.Read[f.Name().String()] = read
		}
	}
	if e.observer != nil {
		o.Feeds, o.Problem = e.observer.Feeds()
		return o, nil
	}
	var err error
	o.Feeds, o.Problem, err = observe.Stored(ctx, e.log)
	return o, err
}

// openObserver makes the observer, which sees pages as the first output that
// maps records does.
func (e *Engine) openObserver() {
	e.observer = observe.New(observe.Options{
		Log: observe.OnLog(e.log), Source: e.source, Shown: e.shower() >= 0, Logger: e.opts.Logger,
		Save: e.opts.timing.observe,
	})
}

func (e *Engine) startObserver(ctx context.Context) (stop func()) {
	if e.observer == nil {
		return func() {}
	}
	return e.observer.Start(ctx)
}

// shower is the index of the output that shows pages to the observer; -1: none.
func (e *Engine) shower() int {
	return slices.IndexFunc(e.cfg.Outputs, func(o config.Output) bool { return o.Schema != "raw" })
}

// show gives an output what it shows pages to.
func (e *Engine) show(cfg *config.Output) func(*pagelog.Delivery) deliver.Observation {
	if i := e.shower(); e.observer == nil || i < 0 || e.cfg.Outputs[i].Name != cfg.Name {
		return nil
	}
	return func(d *pagelog.Delivery) deliver.Observation {
		if t := e.observer.Show(d); t != nil {
			return t
		}
		return nil
	}
}

// drainObserver waits, not for ever, until all that the log has is counted. That
// it can't be is said, and no failure: all is collected and delivered.
func (e *Engine) drainObserver(ctx context.Context) {
	if e.observer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.timing.patience)
	defer cancel()
	stats, err := e.log.Stats(ctx)
	if err == nil {
		err = e.observer.Drain(ctx, stats.LastSeq)
	}
	if err != nil {
		e.opts.Logger.Warn("not all that was collected is in the observed matrix", "error", err)
	}
}
