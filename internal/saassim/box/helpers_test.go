package box

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trawlsec/trawl/internal/saassim"
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
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c := &tester{TB: t, Tenant: b, clock: clock}
	c.token = c.signIn(credentials(enterprise, DefaultEnterpriseID))
	return c
}

func credentials(kind, id string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {DefaultClientID}, "client_secret": {DefaultClientSecret},
		"box_subject_type": {kind}, "box_subject_id": {id}}
}

func (c *tester) signIn(form url.Values) string {
	c.Helper()
	return simtest.Decode[map[string]any](c, simtest.Post(c, TokenPath, form), 200)["access_token"].(string)
}

// page is one answer to the events request.
type page struct {
	ChunkSize int             `json:"chunk_size"`
	Next      json.RawMessage `json:"next_stream_position"`
	Entries   []record
}

type record struct {
	ID        string         `json:"event_id"`
	Type      string         `json:"event_type"`
	At        time.Time      `json:"created_at"`
	Stored    time.Time      `json:"recorded_at"`
	CreatedBy map[string]any `json:"created_by"`
	IP        *string        `json:"ip_address"`
}

// position is what a client sends back, whatever it is in JSON.
func (p page) position() string {
	var s string
	if json.Unmarshal(p.Next, &s) == nil {
		return s
	}
	return string(p.Next)
}

func (p page) ids() (ids []string) {
	for _, e := range p.Entries {
		ids = append(ids, e.ID)
	}
	return ids
}

func (c *tester) ask(q url.Values) *httptest.ResponseRecorder {
	return simtest.Get(c, APIPath+"/events?"+q.Encode(), "Bearer "+c.token)
}

func (c *tester) page(pairs ...string) page {
	c.Helper()
	return simtest.Decode[page](c, c.ask(simtest.Query(pairs...)), 200)
}

// walk reads pages until one is empty.
func (c *tester) walk(pairs ...string) (all []record, pages int) {
	c.Helper()
	q := simtest.Query(pairs...)
	for range 1000 {
		p := simtest.Decode[page](c, c.ask(q), 200)
		if p.ChunkSize != len(p.Entries) {
			c.Fatalf("chunk_size %d of %d entries", p.ChunkSize, len(p.Entries))
		}
		if len(p.Entries) == 0 {
			return all, pages
		}
		all, pages = append(all, p.Entries...), pages+1
		q.Set("stream_position", p.position())
	}
	c.Fatal("the walk does not end")
	return nil, 0
}

func ids(records []record) []string { return page{Entries: records}.ids() }

// refused checks the shape of an error and returns its message.
func (c *tester) refused(rec *httptest.ResponseRecorder, status int, code string) string {
	c.Helper()
	e := simtest.Decode[map[string]any](c, rec, status)
	if e["type"] != "error" || fmt.Sprint(e["status"]) != fmt.Sprint(status) || e["code"] != code || e["request_id"] == "" || e["help_url"] == nil {
		c.Errorf("error %v, want %d %s", e, status, code)
	}
	message, _ := e["message"].(string)
	return message
}

// add makes events that are everywhere by now.
func (c *tester) add(b saassim.Batch) []string {
	ids := c.AddEvents(b)
	c.clock.Pass(10 * time.Minute)
	return ids
}
