package fetch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
)

func wizRate(o *Options) { o.Rate = catalog.RateLimit{} }

// TestRate sends from several feeds at once and looks at the clock.
func TestRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{}
		c := client(t, a, wizRate) // the product's own: 3 a second
		begun := time.Now()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				for range 12 {
					if _, err := c.Page(t.Context(), auditPage("")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		// Of 60 requests 3 go at once, the others every third of a second.
		if took := time.Since(begun); took < 19*time.Second || took > 19*time.Second+time.Millisecond {
			t.Errorf("60 requests took %s", took)
		}
		for i := 6; i < len(a.times); i++ {
			if gap := a.times[i].Sub(a.times[i-3]); gap < 999*time.Millisecond {
				t.Errorf("requests %d to %d within %s", i-3, i, gap)
			}
		}
	})
}

func TestThrottleSlowsAndRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := map[int]bool{}
		var mu sync.Mutex
		together := make(chan struct{})
		a := &api{page: func(n int, _ *http.Request, _ string) (*http.Response, error) {
			if n == 3 {
				close(together)
			}
			<-together
			mu.Lock()
			defer mu.Unlock()
			if throttle[n] {
				return respond(429, "", "Retry-After", "30"), nil
			}
			return respond(200, pageOf(1, "", false)), nil
		}}
		c := client(t, a, wizRate)
		ask := func() {
			if _, err := c.Page(t.Context(), auditPage("")); err != nil {
				t.Error(err)
			}
		}
		// Three requests of the first burst are refused together: that counts once, and holds all.
		throttle[1], throttle[2], throttle[3] = true, true, true
		var wg sync.WaitGroup
		begun := time.Now()
		for range 6 {
			wg.Go(ask)
		}
		synctest.Wait()
		if b := c.Budget(); b.Rate != 1.5 || b.Configured != 3 || !b.HeldUntil.Equal(begun.Add(30*time.Second)) {
			t.Errorf("budget is %+v", b)
		}
		wg.Wait()
		for i, at := range a.times[3:] {
			if at.Sub(begun) < 30*time.Second {
				t.Errorf("request %d sent %s after the throttle", i+4, at.Sub(begun))
			}
			if i > 0 && at.Sub(a.times[i+2]) < 300*time.Millisecond {
				t.Errorf("request %d sent at once after the one before", i+4)
			}
		}
		// About a minute of successes brings the rate back, and no more than that.
		for c.Budget().Rate < 3 {
			ask()
		}
		if took := time.Since(begun.Add(30 * time.Second)); took < 25*time.Second || took > 40*time.Second {
			t.Errorf("half the rate came back after %s", took)
		}
		ask()
		if b := c.Budget(); b.Rate != 3 {
			t.Errorf("budget is %+v", b)
		}

		// However often it throttles, a little is left.
		mu.Lock()
		next := len(a.times)
		for n := next + 1; n <= next+15; n++ {
			throttle[n] = true
		}
		mu.Unlock()
		ask()
		if rate := c.Budget().Rate; math.Abs(rate-3.0/leastShare) > 0.6 {
			t.Errorf("rate is %f", rate)
		}
	})
}

// TestThrottledTogether: several requests that are refused without a word give
// up together, in about the time of one.
func TestThrottledTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{page: func(int, *http.Request, string) (*http.Response, error) { return respond(429, ""), nil }}
		c := client(t, a, wizRate)
		begun := time.Now()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				_, err := c.Page(t.Context(), auditPage(""))
				if e := failure(t, err); e.Class != Throttle {
					t.Error(e)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begun); took > 3*time.Minute || len(a.times) > 2*mostBare || took < time.Minute {
			t.Errorf("gave up after %s and %d requests", took, len(a.times))
		}
	})
}

func TestIdleTimeIsNotSuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(catalog.RateLimit{PerSecond: 6, Burst: 1})
		b.throttled(time.Second)
		if err := sleep(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		b.succeeded()
		if rate := b.state().Rate; rate != 4 { // 3, and 10 seconds' share of 6 a minute
			t.Errorf("rate is %f", rate)
		}
	})
}

func TestUnlimited(t *testing.T) {
	t.Parallel()
	b := newBudget(catalog.RateLimit{})
	for range 1000 {
		if err := b.wait(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	b.throttled(0)
	b.succeeded()
	if s := b.state(); s.Rate != 0 || s.Configured != 0 {
		t.Errorf("state is %+v", s)
	}
}

func TestLiveGoesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(catalog.RateLimit{PerSecond: 1, Burst: 1})
		if err := b.wait(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		var wg sync.WaitGroup
		enter := func(name string, low bool) {
			wg.Go(func() {
				if err := b.wait(t.Context(), low); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
			})
			synctest.Wait()
		}
		enter("low 1", true)
		enter("low 2", true)
		enter("live 1", false) // while a low one is already first in the queue
		enter("live 2", false)
		enter("low 3", true)
		wg.Wait()
		if want := []string{"live 1", "live 2", "low 1", "low 2", "low 3"}; !slices.Equal(order, want) {
			t.Errorf("order is %v", order)
		}
	})
}

// TestLowRequests is TestLiveGoesFirst through Page.
func TestLowRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{}
		c := client(t, a, func(o *Options) { o.Rate = catalog.RateLimit{PerSecond: 1, Burst: 1} })
		var wg sync.WaitGroup
		ask := func(i int, low bool) {
			wg.Go(func() {
				r := auditPage(fmt.Sprintf(`"%t-%d"`, low, i))
				r.Low = low
				if _, err := c.Page(t.Context(), r); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		for i := range 4 {
			ask(i, true)
		}
		ask(4, false)
		wg.Wait()
		var after []string
		for _, body := range a.bodies {
			after = append(after, variables(t, body)["after"].(string))
		}
		if want := []string{"true-0", "false-4", "true-1", "true-2", "true-3"}; !slices.Equal(after, want) {
			t.Errorf("order is %v", after)
		}
	})
}

func TestLeavingTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(catalog.RateLimit{PerSecond: 0.1, Burst: 1})
		if err := b.wait(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		first, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := b.wait(first, false); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		begun := time.Now()
		wg.Go(func() {
			if err := b.wait(t.Context(), true); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		leave()
		wg.Wait()
		if took := time.Since(begun); took > 10*time.Second+time.Millisecond {
			t.Errorf("the next in the queue waited %s", took)
		}
		if len(b.queue) != 0 {
			t.Errorf("%d left in the queue", len(b.queue))
		}
	})
}
