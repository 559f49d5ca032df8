package engine

import (
	"context"
	"errors"
	"time"

	"github.com/trawlsec/trawl/internal/collect"
)

// StartBackfill makes a feed read a past range; Run or Backfill works on it.
// It returns where the range really begins: at most as far back as the product
// keeps records.
func (e *Engine) StartBackfill(ctx context.Context, feed string, since, until time.Time, concurrency int) (time.Time, error) {
	f, err := e.find(feed)
	if err != nil {
		return time.Time{}, err
	}
	return f.StartBackfill(ctx, since, until, concurrency)
}

// Backfill works on a feed's backfill until it is done, and delivers what it
// brought. Nothing else is collected meanwhile.
func (e *Engine) Backfill(ctx context.Context, feed string) error {
	f, err := e.find(feed)
	if err != nil {
		return err
	}
	deliveries := e.startOutputs(ctx, e.outputs)
	err = f.Backfill(ctx)
	if ctx.Err() == nil {
		err = errors.Join(err, e.drain(ctx, deliveries))
	}
	err = errors.Join(err, deliveries.stop())
	if b := f.Status().Backfill; err == nil && ctx.Err() == nil && b != nil && len(b.Gaps) > 0 {
		return &collect.IncompleteError{Feed: f.Name(), Gaps: len(b.Gaps), First: b.Gaps[0]}
	}
	return err
}
