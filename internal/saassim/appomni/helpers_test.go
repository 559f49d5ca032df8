package appomni

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trawlsec/trawl/internal/saassim/simtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tester is a client of a tenant that it calls without a network.
type tester struct {
	testing.TB
	*Tenant
	clock *simtest.Clock
	token string
}

func newTester(t testing.TB, o Options) *tester {
	t.Helper()
	clock := simtest.NewClock()
	if o.Clock == nil {
		o.Clock = clock.Now
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &tester{TB: t, Tenant: a, clock: clock, token: DefaultToken}
}

func (c *tester) get(target string) *httptest.ResponseRecorder {
	return simtest.Get(c, target, "Bearer "+c.token)
}

type page struct {
	Count    int
	Next     any
	Previous any
	Results  []row
}

type row struct {
	ID     string `json:"identifier"`
	At     string `json:"action_at"`
	Action string `json:"action_type"`
	User   *int   `json:"user_id"`
	Policy *int   `json:"policy_id"`
	Data   map[string]any
}

func (r row) time(t testing.TB) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, r.At)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func (p page) ids() (ids []string) {
	for _, r := range p.Results {
		ids = append(ids, r.ID)
	}
	return ids
}

func (c *tester) page(pairs ...string) page {
	c.Helper()
	return simtest.Decode[page](c, c.get(logsPath+"?"+simtest.Query(pairs...).Encode()), 200)
}

// walk follows next until it is none; between does something before each page
// but the first.
func (c *tester) walk(first string, between func()) (ids []string, pages int) {
	c.Helper()
	for target := first; ; {
		p := simtest.Decode[page](c, c.get(target), 200)
		ids, pages = append(ids, p.ids()...), pages+1
		next := fmt.Sprint(p.Next)
		if next == "null" || p.Next == nil {
			return ids, pages
		}
		if !strings.HasPrefix(next, "http://example.com/") {
			c.Fatalf("next %q", next)
		}
		target = strings.TrimPrefix(next, "http://example.com")
		between()
	}
}

func (c *tester) refresh(token string) *httptest.ResponseRecorder {
	return simtest.Post(c, TokenPath, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token},
		"client_id": {DefaultClientID}, "client_secret": {DefaultClientSecret}})
}
