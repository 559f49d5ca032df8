package fetch

import (
	"cmp"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/trawlsec/trawl/internal/catalog"
)

const (
	spreadFrom = 0.5  // share of the limit from which on what is left is spread over the time until the reset
	slowFrom   = 0.25 // share from which on requests become fewer, where the reset is not known
	reserve    = 0.02 // share that is left to others

	unknownReset = time.Minute // between two requests when the reserve is reached, where the reset is not known
)

// allowance is what an answer's headers say may still be asked.
type allowance struct {
	left  float64       // requests
	limit float64       // of which; 0: it does not say
	reset time.Duration // until there are as many as limit again; 0: it does not say
}

// readAllowance reads the headers that a product's budget names. What makes no
// sense counts as not there; ok is false where nothing is left of it then.
func readAllowance(b *catalog.Budget, h http.Header) (a allowance, ok bool) {
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	if b.Header != "" {
		used, limit, _ := strings.Cut(h.Get(b.Header), "/")
		u, counted := count(used)
		if a.limit, ok = count(limit); !ok || !counted || a.limit == 0 {
			return allowance{}, false
		}
		a.left = max(a.limit-u, 0)
	} else {
		if a.left, ok = count(h.Get(b.Remaining)); !ok {
			return allowance{}, false
		}
		if b.Limit != "" {
			a.limit, _ = count(h.Get(b.Limit))
		}
	}
	if b.Reset != "" {
		at, known := resetTime(h.Get(b.Reset), now)
		if a.reset = at.Sub(now); known && a.reset <= 0 {
			return allowance{}, false // there is more by now
		}
		if !known {
			a.reset = 0
		}
	}
	return a, a.limit > 0 || a.reset > 0
}

// count reads a number of requests, up to what may follow it: 100;w=60.
func count(text string) (n float64, ok bool) {
	if i := strings.IndexAny(text, ",;"); i >= 0 {
		text = text[:i]
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(n >= 0) || math.IsInf(n, 0) {
		return 0, false
	}
	return n, true
}

const (
	leastUnix      = 5e8  // numbers below are seconds from now
	leastUnixMilli = 1e11 // numbers from here on are milliseconds
	mostUnixMilli  = 1e15
)

// resetTime reads a moment: Unix seconds or milliseconds, seconds from now, or a
// date of HTTP or ISO 8601, if only to the minute.
func resetTime(text string, now time.Time) (time.Time, bool) {
	text = strings.TrimSpace(text)
	if n, ok := count(text); ok {
		switch {
		case n < leastUnix:
			return now.Add(time.Duration(n * float64(time.Second))), true
		case n < leastUnixMilli:
			return time.UnixMilli(int64(n * 1000)), true
		case n < mostUnixMilli:
			return time.UnixMilli(int64(n)), true
		}
		return time.Time{}, false
	}
	if at, err := http.ParseTime(text); err == nil {
		return at, true
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// allowed takes in what an answer says may still be asked.
func (b *budget) allowed(a allowance) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	share := 1.0
	if a.limit > 0 {
		share = a.left / a.limit
	}
	b.ceiling, b.lifted = rate.Inf, time.Time{}
	switch {
	case a.left < 1 || a.limit > 0 && share < reserve:
		if until := now.Add(min(cmp.Or(a.reset, unknownReset), mostAsked)); until.After(b.held) {
			b.held = until
		}
	case a.reset == 0 && share < slowFrom && b.full != rate.Inf:
		b.ceiling = b.full * rate.Limit(share/slowFrom)
	case a.reset == 0:
	case a.limit == 0 || share < spreadFrom:
		b.ceiling, b.lifted = rate.Limit(a.left/a.reset.Seconds()), now.Add(a.reset)
	}
	if b.full != rate.Inf {
		b.ceiling = max(b.ceiling, b.full/leastShare) // whatever the headers say
	}
	b.adjust(now)
}
