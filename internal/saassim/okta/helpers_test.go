package okta

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trawlsec/trawl/internal/saassim/simtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tester is a client of an organization that it calls without a network.
type tester struct {
	testing.TB
	*Tenant
	clock         *simtest.Clock
	authorization string
}

func newTester(t testing.TB, o Options) *tester {
	t.Helper()
	clock := simtest.NewClock()
	if o.Clock == nil {
		o.Clock = clock.Now
	}
	if o.PerMinute == 0 {
		o.PerMinute = -1
	}
	tenant, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &tester{TB: t, Tenant: tenant, clock: clock, authorization: "SSWS " + DefaultToken}
}

func (c *tester) get(target string) *httptest.ResponseRecorder {
	return simtest.Get(c, target, c.authorization)
}

func target(pairs ...string) string {
	return LogsPath + "?" + simtest.Query(pairs...).Encode()
}

type record struct {
	ID        string `json:"uuid"`
	Type      string `json:"eventType"`
	Published time.Time
	Severity  string
	Actor     map[string]any
	Outcome   map[string]any
}

// page asks once and returns the events and where the next page is, "" for
// nowhere.
func (c *tester) page(target string) (events []record, next string) {
	c.Helper()
	rec := c.get(target)
	events = simtest.Decode[[]record](c, rec, 200)
	self := false
	for _, link := range rec.Header()["Link"] {
		address, rel, _ := strings.Cut(link, "; ")
		address = strings.TrimPrefix(strings.Trim(address, "<>"), "http://example.com")
		switch rel {
		case `rel="self"`:
			self = address == target
		case `rel="next"`:
			next = address
		}
	}
	if !self {
		c.Errorf("links of %s: %v", target, rec.Header()["Link"])
	}
	return events, next
}

// walk follows the links until there is none, or a page is empty.
func (c *tester) walk(target string) (all []record, next string) {
	c.Helper()
	for next = target; next != ""; {
		events, after := c.page(next)
		all, next = append(all, events...), after
		if len(events) == 0 {
			break
		}
	}
	return all, next
}

func ids(events []record) (out []string) {
	for _, e := range events {
		out = append(out, e.ID)
	}
	return out
}

type apiError struct {
	Code    string `json:"errorCode"`
	Summary string `json:"errorSummary"`
	Link    string `json:"errorLink"`
	ID      string `json:"errorId"`
	Causes  []struct {
		Summary string `json:"errorSummary"`
	} `json:"errorCauses"`
}

// refused checks the shape of an error and returns it.
func (c *tester) refused(rec *httptest.ResponseRecorder, status int, code string) apiError {
	c.Helper()
	e := simtest.Decode[apiError](c, rec, status)
	if e.Code != code || e.Link != code || e.ID == "" || e.Summary == "" || e.Causes == nil {
		c.Errorf("error %s, want %s", rec.Body, code)
	}
	return e
}
