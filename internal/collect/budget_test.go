package collect

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/trawlsec/trawl/internal/fetch"
)

// budgeted is an API whose every answer takes a while, asked by a client with a
// budget of requests.
type budgeted struct {
	*tenant
	limit *rate.Limiter
	takes time.Duration
}

func (a budgeted) Page(ctx context.Context, r fetch.Request) (*fetch.Page, error) {
	if err := a.limit.Wait(ctx); err != nil {
		return nil, err
	}
	time.Sleep(a.takes)
	return a.tenant.Page(ctx, r)
}

// TestBackfillUsesTheBudget: with 150 ms an answer and ten requests a second
// allowed, a backfill makes at least 95 % of them.
func TestBackfillUsesTheBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 10
		api := budgeted{&tenant{}, rate.NewLimiter(perSecond, 1), 150 * time.Millisecond}
		random := rand.New(rand.NewPCG(1, 1))
		api.add(randomly(random, "past", 10_000, time.Now(), 10*24*time.Hour, 0)...)
		log := newMemoryLog()
		f := open(t, api, log, nil)
		if _, err := f.StartBackfill(t.Context(), time.Now().Add(-10*24*time.Hour), time.Now(), 4); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := f.Backfill(t.Context()); err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		if share := float64(api.calls) / (took.Seconds() * perSecond); share < 0.95 {
			t.Errorf("%d requests in %s: %.0f %% of the budget", api.calls, took, 100*share)
		}
		wantAll(t, api.tenant, log)
	})
}
