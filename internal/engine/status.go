package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/deliver"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// Status is everything about an engine that people and monitoring look at.
type Status struct {
	Running     bool               `json:"running"` // a `trawl run` answered, not only what is stored
	Started     time.Time          `json:"started,omitzero"`
	Now         time.Time          `json:"now"`
	Feeds       []FeedStatus       `json:"feeds"`
	Connections []ConnectionStatus `json:"connections"`
	Outputs     []OutputStatus     `json:"outputs"`
	Log         pagelog.Stats      `json:"log"`
}

// FeedStatus is a feed's status with what follows from the moment of looking.
type FeedStatus struct {
	collect.Status
	LagSeconds float64 `json:"lag_seconds"`
	Requests   int64   `json:"requests"`  // since the process began
	Throttles  int64   `json:"throttles"` // of them
}

// ConnectionStatus counts the answers of a connection's API by class.
type ConnectionStatus struct {
	Name    string  `json:"name"`
	Product string  `json:"product"`
	Answers Answers `json:"answers"`
}

// OutputStatus is an output's delivery.
type OutputStatus struct {
	deliver.Status
	PendingPages int `json:"pending_pages"`
	DeadLetters  int `json:"dead_letters"` // that there are
}

// Status looks at everything once.
func (e *Engine) Status(ctx context.Context) (Status, error) {
	now := time.Now().UTC()
	s := Status{Running: !e.opts.Offline, Started: e.started.UTC(), Now: now}
	if e.opts.Offline {
		s.Started = time.Time{}
	}
	for i, c := range e.connections {
		s.Connections = append(s.Connections, ConnectionStatus{Name: c.name, Product: e.cfg.Connections[i].Product.ID, Answers: c.counted("", true)})
		for n, f := range c.feeds {
			answers := c.counted(c.sources[n], false)
			fs := FeedStatus{Status: f.Status(), Requests: answers.total(), Throttles: answers[fetch.Throttle]}
			fs.LagSeconds = fs.Lag(now).Seconds()
			s.Feeds = append(s.Feeds, fs)
		}
		for _, d := range c.damaged {
			s.Feeds = append(s.Feeds, FeedStatus{Status: collect.Status{
				Connection: d.Feed.Connection, Source: d.Feed.Source, State: collect.StateDamaged, Reason: d.Error(), Since: now}})
		}
	}
	for _, o := range e.outputs {
		pending, _, err := o.reader.Pending(ctx)
		if err != nil {
			return Status{}, fmt.Errorf("look at output %s: %w", o.name, err)
		}
		dead, _, err := e.log.CountDead(ctx, o.name)
		if err != nil {
			return Status{}, fmt.Errorf("look at output %s: %w", o.name, err)
		}
		s.Outputs = append(s.Outputs, OutputStatus{Status: o.deliverer.Status(), PendingPages: pending, DeadLetters: dead})
	}
	var err error
	if s.Log, err = e.log.Stats(ctx); err != nil {
		return Status{}, fmt.Errorf("look at log: %w", err)
	}
	return s, nil
}

// Healthy reports whether the feed does what was asked of it.
func (f FeedStatus) Healthy() bool {
	switch f.State {
	case collect.StateIdle, collect.StateCollecting, collect.StatePaused, collect.StateStandby, collect.StateReceiving:
		return true
	}
	return false
}

// Healthy reports whether every feed and output does its work.
func (s Status) Healthy() bool {
	for _, f := range s.Feeds {
		if !f.Healthy() {
			return false
		}
	}
	for _, o := range s.Outputs {
		if o.State != deliver.StateOK {
			return false
		}
	}
	return true
}
