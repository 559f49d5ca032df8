package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trawlsec/trawl/internal/collect"
)

// StartBackfill makes a feed read a past range; Run or Backfill works on it.
// It returns where the range really begins: at most as far back as the product
// keeps records.
func (e *Engine) StartBackfill(ctx context.Context, feed string, since, until time.Time, concurrency int) (time.Time, error) {
	c, f, err := e.find(feed)
	if err != nil {
		return time.Time{}, err
	}
	if !c.pulls(f) {
		return time.Time{}, fmt.Errorf("backfill feed %s: %w", feed, errNotPulled)
	}
	return f.StartBackfill(ctx, since, until, concurrency)
}

// Backfill works on a feed's backfill until it is done, and delivers what it
// brought. Nothing else is collected meanwhile, and by nobody else from the
// same connection.
func (e *Engine) Backfill(ctx context.Context, feed string) error {
	c, f, err := e.find(feed)
	if err != nil {
		return err
	}
	lease, err := c.claim(ctx, e)
	if err != nil {
		return err
	}
	defer c.release(ctx, lease)
	held, cancel := whileHeld(ctx, lease)
	defer cancel()
	c.setHolding(here)
	defer c.setHolding(nobody)
	deliveries := e.startOutputs(ctx, e.outputs)
	err = f.Backfill(held)
	if held.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("connection %s: another trawl has taken it over", c.name)
	}
	if ctx.Err() == nil {
		err = errors.Join(err, e.drain(ctx, deliveries))
	}
	err = errors.Join(err, deliveries.stop())
	if b := f.Status().Backfill; err == nil && ctx.Err() == nil && b != nil && len(b.Gaps) > 0 {
		return &collect.IncompleteError{Feed: f.Name(), Gaps: len(b.Gaps), First: b.Gaps[0]}
	}
	return err
}
