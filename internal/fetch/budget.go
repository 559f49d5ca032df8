package fetch

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/trawlsec/trawl/internal/catalog"
)

const (
	leastShare   = 64               // a throttled rate sinks to this part of the configured one at most
	recovery     = time.Minute      // of successes, from nothing to the configured rate
	mostRecovery = 10 * time.Second // counted between two successes
)

// Budget is how fast a connection may ask at the moment.
type Budget struct {
	Rate       float64   // requests a second; 0: no limit
	Configured float64   // what Rate is when the API does not throttle
	HeldUntil  time.Time // nothing is sent before, as the API asked; zero or past: not held
}

// budget is the connection's share of the API: a rate that halves when the API
// throttles and grows back, that is lower while the API says that little is
// left, and a queue in which live requests go first.
type budget struct {
	full  rate.Limit
	burst int

	mu       sync.Mutex
	limiter  *rate.Limiter
	pace     rate.Limit // full, or less after the API throttled
	ceiling  rate.Limit // what the API's answers leave; Inf: they say nothing
	lifted   time.Time  // when that no longer counts; zero: with the next answer
	held     time.Time  // no request before
	credited time.Time  // up to when successes have raised the rate
	refused  time.Time  // when the API first throttled since it last gave anything; zero: it did not
	queue    []*waiter  // live ones, then low ones, each in order of arrival
}

type waiter struct {
	low  bool
	turn chan struct{} // tells that the first place was reached
}

func newBudget(r catalog.RateLimit) *budget {
	b := &budget{full: rate.Limit(r.PerSecond), burst: max(r.Burst, 1)}
	if r.PerSecond <= 0 {
		b.full = rate.Inf
	}
	b.pace, b.ceiling = b.full, rate.Inf
	b.limiter = rate.NewLimiter(b.full, b.burst)
	return b
}

// wait returns when one request may be sent, or with ctx's error.
func (b *budget) wait(ctx context.Context, low bool) error {
	w := b.join(low)
	defer b.leave(w)
	for {
		delay, first := b.take(w, time.Now())
		if first && delay == 0 {
			return ctx.Err()
		}
		if !first {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-w.turn:
			}
			continue
		}
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// join puts a request into the queue.
func (b *budget) join(low bool) *waiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := &waiter{low: low, turn: make(chan struct{}, 1)}
	at := len(b.queue)
	if !low {
		if i := slices.IndexFunc(b.queue, func(q *waiter) bool { return q.low }); i >= 0 {
			at = i
		}
	}
	b.queue = slices.Insert(b.queue, at, w)
	return w
}

// leave takes a request out of the queue and wakes the one that is first then.
func (b *budget) leave(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = slices.DeleteFunc(b.queue, func(q *waiter) bool { return q == w })
	if len(b.queue) > 0 {
		select {
		case b.queue[0].turn <- struct{}{}:
		default:
		}
	}
}

// take says whether the request is first, and how long it has to wait then; 0:
// its share of the budget is taken.
func (b *budget) take(w *waiter, now time.Time) (delay time.Duration, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queue[0] != w {
		return 0, false
	}
	if d := b.held.Sub(now); d > 0 {
		return d, true
	}
	lifts := b.lifted.Sub(now)
	if !b.lifted.IsZero() && lifts <= 0 {
		b.ceiling, b.lifted = rate.Inf, time.Time{}
		b.adjust(now)
	}
	if b.limiter.AllowN(now, 1) {
		return 0, true
	}
	missing := 1 - b.limiter.TokensAt(now)
	delay = time.Duration(missing/float64(b.limiter.Limit())*float64(time.Second)) + time.Microsecond
	if lifts > 0 {
		delay = min(delay, lifts)
	}
	return delay, true
}

// adjust has the limiter follow pace and ceiling.
func (b *budget) adjust(now time.Time) {
	limit, burst := min(b.pace, b.ceiling), b.burst
	if limit < b.full {
		burst = 1
	}
	b.limiter.SetLimitAt(now, limit)
	b.limiter.SetBurstAt(now, burst)
}

// throttled notes that the API wants to be left alone for a while, and returns
// for how long it has given nothing else. The rate halves once for each such
// while, however many requests are refused in it.
func (b *budget) throttled(wait time.Duration) (since time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if b.refused.IsZero() {
		b.refused = now
	}
	if b.full != rate.Inf && !now.Before(b.held) {
		b.pace = max(b.pace/2, b.full/leastShare)
		b.adjust(now)
	}
	if until := now.Add(wait); until.After(b.held) {
		b.held = until
	}
	b.credited = b.held
	return now.Sub(b.refused)
}

// succeeded notes an answer, and lets a halved rate grow.
func (b *budget) succeeded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused = time.Time{}
	if b.pace >= b.full {
		return
	}
	now := time.Now()
	since := min(now.Sub(b.credited), mostRecovery)
	if since <= 0 {
		return // sent before the API throttled
	}
	b.credited = now
	b.pace = min(b.pace+b.full*rate.Limit(since.Seconds()/recovery.Seconds()), b.full)
	b.adjust(now)
}

func (b *budget) state() Budget {
	b.mu.Lock()
	defer b.mu.Unlock()
	state := Budget{HeldUntil: b.held}
	if b.full != rate.Inf {
		state.Rate, state.Configured = float64(b.limiter.Limit()), float64(b.full)
	}
	return state
}
