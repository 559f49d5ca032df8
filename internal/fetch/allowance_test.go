package fetch

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
)

var (
	usedOfLimit = catalog.Budget{Header: "X-RateLimit"}
	untilReset  = catalog.Budget{Limit: "X-Limit", Remaining: "X-Remaining", Reset: "X-Reset"}
)

func TestReadAllowance(t *testing.T) {
	t.Parallel()
	const date = "Fri, 31 Jan 2025 09:00:00 GMT" // 1738314000
	for _, test := range []struct {
		budget  catalog.Budget
		headers []string // pairs
		want    allowance
		ok      bool
	}{
		{usedOfLimit, []string{"x-ratelimit", "17/2000"}, allowance{left: 1983, limit: 2000}, true},
		{usedOfLimit, []string{"X-RateLimit", " 2000 / 2000 "}, allowance{limit: 2000}, true},
		{usedOfLimit, []string{"X-RateLimit", "2001/2000"}, allowance{limit: 2000}, true},
		{usedOfLimit, []string{"X-RateLimit", "0/0"}, allowance{}, false},
		{usedOfLimit, []string{"X-RateLimit", "17"}, allowance{}, false},
		{usedOfLimit, []string{"X-RateLimit", "a/b"}, allowance{}, false},
		{usedOfLimit, []string{"X-RateLimit", "-1/5"}, allowance{}, false},
		{usedOfLimit, nil, allowance{}, false},
		{untilReset, []string{"X-Limit", "60", "X-Remaining", "15", "X-Reset", "1738314030"}, allowance{15, 60, 30 * time.Second}, true},
		{untilReset, []string{"X-Limit", "60, 60;w=60", "X-Remaining", "15", "X-Reset", "30"}, allowance{15, 60, 30 * time.Second}, true},
		{untilReset, []string{"X-Limit", "60", "X-Remaining", "15", "X-Reset", "1738314030500"}, allowance{15, 60, 30500 * time.Millisecond}, true},
		{untilReset, []string{"X-Limit", "60", "X-Remaining", "15", "X-Reset", "Fri, 31 Jan 2025 09:01:00 GMT"}, allowance{15, 60, time.Minute}, true},
		{untilReset, []string{"X-Limit", "60", "X-Remaining", "15", "X-Reset", "2025-01-31T11:02+02:00"}, allowance{15, 60, 2 * time.Minute}, true},
		{untilReset, []string{"X-Limit", "60", "X-Remaining", "15", "X-Reset", "2025-01-31T09:00:01Z"}, allowance{15, 60, time.Second}, true},
		{untilReset, []string{"X-Limit", "60", "X-Remaining", "15", "X-Reset", "soon"}, allowance{15, 60, 0}, true},
		{untilReset, []string{"X-Limit", "60", "X-Remaining", "15", "X-Reset", "1738313999"}, allowance{}, false}, // it is over
		{untilReset, []string{"X-Limit", "60", "X-Remaining", "15", "X-Reset", "1e300"}, allowance{15, 60, 0}, true},
		{untilReset, []string{"X-Remaining", "15", "X-Reset", "30"}, allowance{15, 0, 30 * time.Second}, true},
		{untilReset, []string{"X-Remaining", "15"}, allowance{left: 15}, false},
		{untilReset, []string{"X-Limit", "60", "X-Reset", "30"}, allowance{}, false},
		{untilReset, []string{"X-Remaining", "NaN", "X-Reset", "30"}, allowance{}, false},
	} {
		h := http.Header{"Date": {date}}
		for i := 0; i < len(test.headers); i += 2 {
			h.Set(test.headers[i], test.headers[i+1])
		}
		got, ok := readAllowance(&test.budget, h)
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(allowance{})); diff != "" || ok != test.ok {
			t.Errorf("%v: %v %s", test.headers, ok, diff)
		}
	}
}

// FuzzAllowance: whatever headers say, the connection goes on, no faster than it
// may and no slower than a part of that.
func FuzzAllowance(f *testing.F) {
	for _, seed := range []string{"17/2000", "60", "1738314030", "1e300", "-0", "Inf", "0x1p-2", "1,2;3", "2025-01-31T11:02+02:00", "99999999999999999999"} {
		f.Add(seed, "5", seed)
		f.Add("60", seed, "1")
	}
	f.Fuzz(func(t *testing.T, limit, remaining, reset string) {
		for _, b := range []catalog.Budget{usedOfLimit, untilReset} {
			h := http.Header{}
			for name, value := range map[string]string{"X-RateLimit": limit, "X-Limit": limit, "X-Remaining": remaining, "X-Reset": reset} {
				h.Set(name, value)
			}
			a, ok := readAllowance(&b, h)
			if !ok {
				continue
			}
			if !(a.left >= 0) || !(a.limit >= 0) || a.reset < 0 || a.limit == 0 && a.reset == 0 {
				t.Fatalf("%+v", a)
			}
			budget := newBudget(catalog.RateLimit{PerSecond: 10, Burst: 2})
			budget.allowed(a)
			if s := budget.state(); !(s.Rate >= 10.0/leastShare) || s.Rate > 10 || time.Until(s.HeldUntil) > mostAsked {
				t.Fatalf("%+v makes it %+v", a, s)
			}
			w := budget.join(false)
			if delay, first := budget.take(w, time.Now()); !first || delay < 0 || delay > mostAsked {
				t.Fatalf("%+v: a wait of %s", a, delay)
			}
		}
	})
}

// TestSlowsDown asks an API that counts, as fast as it may.
func TestSlowsDown(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		budget catalog.Budget
		limit  int
		window time.Duration
		period time.Duration
		most   int // refusals in that time
		least  int // requests that are answered
	}{
		// 10 a second would use up all in half a minute.
		{"remaining and reset", untilReset, 300, time.Minute, 10 * time.Minute, 0, 2700},
		{"remaining and reset, plenty", untilReset, 6000, time.Minute, 5 * time.Minute, 0, 2999},
		{"used of limit", usedOfLimit, 2000, time.Hour, 2 * time.Hour, 40, 3990},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				used, refused, answered := 0, 0, 0
				window := begun
				a := &api{page: func(int, *http.Request, string) (*http.Response, error) {
					now := time.Now()
					for !now.Before(window.Add(test.window)) {
						window, used = window.Add(test.window), 0
					}
					status := 200
					if used == test.limit {
						status = 429
						refused++
					} else {
						used++
						answered++
					}
					return respond(status, `{"entries":[]}`, "Date", now.UTC().Format(http.TimeFormat),
						"X-RateLimit", fmt.Sprintf("%d/%d", used, test.limit),
						"X-Limit", strconv.Itoa(test.limit), "X-Remaining", strconv.Itoa(test.limit-used),
						"X-Reset", strconv.FormatInt(window.Add(test.window).Unix(), 10)), nil
				}}
				var o Options
				c := client(t, a, func(of *Options) {
					restOptions(map[string]any{"tenant": "acme", "token": "tok"})(of)
					of.Product.Budget, of.Rate = &test.budget, catalog.RateLimit{PerSecond: 10, Burst: 5}
					o = *of
				})
				for time.Since(begun) < test.period {
					if _, err := c.Page(t.Context(), eventsPage(&o)); err != nil && failure(t, err).Class != Throttle {
						t.Fatal(err)
					}
				}
				if refused > test.most || answered < test.least {
					t.Errorf("%d refused, %d answered in %s", refused, answered, test.period)
				}
			})
		})
	}
}

// TestLifts: when the API's budget is full again, waiting requests go at once.
func TestLifts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(catalog.RateLimit{PerSecond: 1, Burst: 1})
		ask := func() time.Duration {
			begun := time.Now()
			if err := b.wait(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			return time.Since(begun)
		}
		ask()
		b.allowed(allowance{left: 2, limit: 100, reset: 40 * time.Second}) // one in 20 seconds
		if took := ask(); took < 19*time.Second || took > 21*time.Second {
			t.Errorf("waited %s", took)
		}
		b.allowed(allowance{left: 1, limit: 100, reset: 10 * time.Second}) // nothing, as some are left to others
		if took := ask(); took != 10*time.Second {
			t.Errorf("waited %s", took)
		}
		b.allowed(allowance{left: 3, limit: 100, reset: 5 * time.Second})
		ask()
		time.Sleep(5 * time.Second)
		if s := b.state(); s.Rate > 0.61 { // nobody has asked since
			t.Errorf("%+v", s)
		}
		ask()
		if s := b.state(); s.Rate != 1 {
			t.Errorf("%+v", s)
		}
		// A throttle and what the headers say do not undo each other.
		b.throttled(time.Second)
		b.allowed(allowance{left: 90, limit: 100, reset: 5 * time.Second})
		if s := b.state(); s.Rate != 0.5 {
			t.Errorf("%+v", s)
		}
	})
}

// TestThrottledUntilReset: where a refusal does not say when to ask again, the
// budget's reset does; and one with another status may be one too.
func TestThrottledUntilReset(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status  int
		headers []string
		want    time.Duration
	}{
		"reset":               {429, []string{"X-Remaining", "0", "X-Limit", "5", "X-Reset", "37"}, 37 * time.Second},
		"retry-after counts":  {429, []string{"X-Remaining", "0", "X-Limit", "5", "X-Reset", "37", "Retry-After", "50"}, 50 * time.Second},
		"fractional":          {429, []string{"Retry-After", "2.5"}, 2500 * time.Millisecond},
		"forbidden in status": {403, []string{"X-Remaining", "0", "X-Limit", "5", "X-Reset", "37"}, 37 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &api{page: func(n int, _ *http.Request, _ string) (*http.Response, error) {
					if n == 1 {
						return respond(test.status, `{"message":"API rate limit exceeded for installation 7"}`, test.headers...), nil
					}
					return respond(200, `{"entries":[]}`), nil
				}}
				var o Options
				c := client(t, a, func(of *Options) {
					restOptions(map[string]any{"tenant": "acme", "token": "tok"})(of)
					of.Product.Budget = &untilReset
					of.Product.Errors = []catalog.ErrorRule{{Class: "throttle", Status: []int{403}, Path: "message", Match: []string{"*rate limit*"}}}
					o = *of
				})
				begun := time.Now()
				if _, err := c.Page(t.Context(), eventsPage(&o)); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took != test.want {
					t.Errorf("waited %s", took)
				}
			})
		})
	}
}

// TestMessages: what REST APIs say in their errors.
func TestMessages(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"type":"error","status":429,"code":"rate_limit_exceeded","message":"Request rate limit exceeded"}`: "Request rate limit exceeded",
		`{"detail":"Invalid token."}`: "Invalid token.",
		`{"errorCode":"E0000031","errorSummary":"Invalid search criteria.","errorCauses":[]}`:        "Invalid search criteria.",
		`{"since":["Enter a valid date/time.","Too old."],"limit":["A valid integer is required."]}`: "since: Enter a valid date/time.; since: Too old.; limit: A valid integer is required.",
		`{"since":["x"],"ok":true}`:                                "",
		`{"ids":[1,2]}`:                                            "",
		`{"ok":false,"error":"invalid_cursor"}`:                    "invalid_cursor",
		`[{"message":"Session expired","errorCode":"INVALID"}]`:    "Session expired",
		`{"error":{"code":"AF429","message":"Too many requests"}}`: "Too many requests",
	} {
		if got := apiMessage([]byte(body), http.Header{}); got != want {
			t.Errorf("%s: %q", body, got)
		}
	}
	if got := apiMessage([]byte(`{"a":["`+strings.Repeat("x", 9)+`","b","c","d"]}`), nil); strings.Count(got, ";") != 2 {
		t.Error(got)
	}
}
