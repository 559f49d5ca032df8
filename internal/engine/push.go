package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// ErrStandby refuses pushed records where this process does not have the
// connection: only the one that collects it knows which records are new.
var ErrStandby = errors.New("this trawl does not collect the connection at the moment; another on the same log may do")

const (
	pushPatience = 5 * time.Second // that records wait for the connection while Trawl starts
	pushRetry    = 20 * time.Millisecond
)

// Push puts records into the log that came by themselves; see
// collect.Feed.Push. Those of a file, unlike those that a product sends, are
// left out where the feed most likely delivered them before the log forgot
// them; see collect.Covered.
//
// It is refused with ErrStandby while another process collects the connection.
// Where nothing runs it keeps others from collecting it until Close.
func (e *Engine) Push(ctx context.Context, feed string, records [][]byte, file bool) (collect.Pushed, error) {
	c, f, err := e.find(feed)
	if err != nil {
		return collect.Pushed{}, err
	}
	if e.opts.Offline {
		err = c.keep(ctx, e)
	} else {
		err = c.have(ctx)
	}
	if err != nil {
		return collect.Pushed{}, fmt.Errorf("push to feed %s: %w", feed, err)
	}
	var covered collect.Covered
	if file {
		if covered, err = f.Covered(ctx); err != nil {
			return collect.Pushed{}, err
		}
	}
	return f.Push(ctx, records, covered)
}

// have makes sure that this process reads the connection's feeds.
func (c *connection) have(ctx context.Context) error {
	for deadline := time.Now().Add(pushPatience); ; wait(ctx, pushRetry, nil) {
		switch h := c.holding(); {
		case h == here:
			return nil
		case h == another, ctx.Err() != nil, time.Now().After(deadline):
			return ErrStandby
		}
	}
}

// keep has the connection's lease from now on.
func (c *connection) keep(ctx context.Context, e *Engine) error {
	if c.kept != nil {
		select {
		case <-c.kept.Lost():
		default:
			return nil
		}
	}
	lease, err := e.log.Lease(ctx, c.leaseName(), e.opts.timing.lease)
	if errors.Is(err, pagelog.ErrHeld) {
		return fmt.Errorf("another trawl on the same log collects this connection, or did just now: use that one, or try again in %s (%w)", e.opts.timing.lease, ErrStandby)
	}
	if err != nil {
		return err
	}
	c.kept = lease
	return c.reload(ctx) // another may have moved the feeds since they were opened
}
