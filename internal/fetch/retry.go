package fetch

import (
	"context"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	mostTries     = 7               // of one request, as long as failures are passing
	mostLost      = 2 * time.Minute // on tries that failed and the waits between them
	firstBackoff  = 500 * time.Millisecond
	mostBackoff   = 30 * time.Second
	mostThrottles = 20 // of one request
	firstThrottle = time.Second
	mostThrottle  = time.Minute      // unless the API says how long
	mostBare      = 8                // of them, those that did not say how long to wait: more than a minute
	mostRefused   = 75 * time.Second // that all requests of a connection are throttled without a word
	mostAsked     = 15 * time.Minute // that an API may ask us to wait
	mostObeyed    = 10 * time.Minute // that one request waits in all as the API asked; longer ones are waited for by the next
	mostPatience  = 5 * time.Second  // for one wait where Options.Tries limits them
	mostNulls     = 4                // times that null in place of a list is said before it is believed; 2 where a count says so too
)

// tries counts the failures of one request.
type tries struct {
	most      int // Options.Tries
	failed    int
	lost      time.Duration
	throttled int
	bare      int           // of them, those that said nothing else
	obeyed    time.Duration // waited in the others
}

// next says whether to ask again after a failed try that took some time, and
// how long to wait before.
func (t *tries) next(e *Error, took time.Duration) (wait time.Duration, again bool) {
	wait, again = t.usual(e, took)
	if t.most > 0 && (t.failed+t.throttled >= t.most || wait > mostPatience) {
		again = false
	}
	return wait, again
}

// usual is next without Options.Tries.
func (t *tries) usual(e *Error, took time.Duration) (wait time.Duration, again bool) {
	switch e.Class {
	case Retry, Partial:
		t.failed++
		t.lost += took
		wait = max(jitter(0, backoff(firstBackoff, mostBackoff, t.failed)), e.RetryAfter)
		if t.failed >= mostTries || t.lost+wait > mostLost {
			return 0, false
		}
		t.lost += wait
		return wait, true
	case Throttle:
		t.throttled++
		if wait = e.RetryAfter; wait > 0 {
			t.obeyed += wait
		} else {
			// Not less than half: a throttle is no accident.
			most := backoff(firstThrottle, mostThrottle, t.throttled)
			wait = jitter(most/2, most)
			t.bare++
		}
		return wait, t.throttled < mostThrottles && t.bare < mostBare && t.obeyed <= mostObeyed
	}
	return 0, false
}

// backoff doubles with each failure, from first up to most.
func backoff(first, most time.Duration, failures int) time.Duration {
	return min(first<<min(failures-1, 20), most)
}

func jitter(least, most time.Duration) time.Duration {
	return least + rand.N(most-least+1)
}

// sleep waits, and returns ctx's error when that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// retryAfter reads the header of that name: seconds or a date. What makes no
// sense counts as not there, as 0 does.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if d := seconds(value); d > 0 {
		return d
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(date.Sub(now), 0), mostAsked)
	}
	return 0
}

// seconds reads a number of seconds, whole or not.
func seconds(text string) time.Duration {
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(n > 0) || math.IsInf(n, 0) {
		return 0
	}
	return time.Duration(min(n, mostAsked.Seconds()) * float64(time.Second))
}
