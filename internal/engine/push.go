package engine

import (
	"context"
	"errors"

	"github.com/trawlsec/trawl/internal/collect"
)

// ErrStandby refuses pushed records while another process collects the
// connection: only that one knows which records are new.
var ErrStandby = errors.New("another trawl on the same log collects this connection")

// Push puts records into the log that came by themselves; see
// collect.Feed.Push. Those of a file, unlike those that a product sends, are
// left out where the feed most likely delivered them before the log forgot
// them; see collect.Covered.
func (e *Engine) Push(ctx context.Context, feed string, records [][]byte, file bool) (collect.Pushed, error) {
	f, err := e.find(feed)
	if err != nil {
		return collect.Pushed{}, err
	}
	if f.Status().State == collect.StateStandby {
		return collect.Pushed{}, ErrStandby
	}
	var covered collect.Covered
	if file {
		if covered, err = f.Covered(ctx); err != nil {
			return collect.Pushed{}, err
		}
	}
	return f.Push(ctx, records, covered)
}
