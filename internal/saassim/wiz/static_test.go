package wiz

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/saassim"
)

func TestStaticAuditLog(t *testing.T) {
	t.Parallel()
	for _, order := range []Order{NewestFirst, OldestFirst} {
		static := &Static{Records: 5000, From: noon.Add(-50 * time.Hour), To: noon}
		c := newTester(t, Options{Static: static, Order: order, AuditCap: -1})
		truth := c.truth("wiz/audit")
		var want []string
		for _, r := range truth {
			want = append(want, r.ID)
		}
		nodes := c.walk(c.auditPage, m{"first": 700})
		got := column(nodes, "id")
		if order == NewestFirst {
			slices.Reverse(got)
			slices.Reverse(nodes)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%s: (-want +got)\n%s", order, d)
		}
		if all := sorted(want); len(slices.Compact(all)) != 5000 {
			t.Error("ids repeat")
		}
		actions := map[string]bool{}
		for i, n := range nodes {
			actions[n["action"].(string)] = true
			if n["timestamp"] != truth[i].Time.Format(timeLayout) {
				t.Fatalf("record %d at %v, want %v", i, n["timestamp"], truth[i].Time)
			}
			if same := n["id"] == n["requestId"]; same != (n["action"] == "Login") {
				t.Fatalf("record %v", n)
			}
		}
		if len(actions) < 20 {
			t.Errorf("only %d actions", len(actions))
		}
		// Windows are arithmetic; they must cut where a scan of the truth would.
		for _, w := range [][2]time.Time{
			{truth[100].Time, truth[200].Time}, {truth[0].Time.Add(-time.Hour), truth[3].Time}, {truth[4990].Time, noon.Add(time.Hour)},
			{truth[10].Time, truth[11].Time}, {noon.Add(time.Hour), noon.Add(2 * time.Hour)},
		} {
			n := 0
			for _, r := range truth {
				if r.Time.After(w[0]) && r.Time.Before(w[1]) {
					n++
				}
			}
			p := c.auditPage(m{"first": 10, "filterBy": m{"timestamp": m{"after": w[0].Format(tf), "before": w[1].Format(tf)}}})
			if p.TotalCount != n {
				t.Errorf("window %v: %d records, want %d", w, p.TotalCount, n)
			}
		}
	}
}

// What the templates write is what the slow way writes.
func TestStaticTemplates(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{Static: &Static{Records: 300, From: noon.Add(-time.Hour), To: noon}})
	const fields = `{ id again: id timestamp action status requestId actionParameters performer { id name __typename } userAgent }`
	var fast struct {
		AuditLogEntries struct{ Nodes []json.RawMessage }
	}
	c.get(`{ auditLogEntries(first: 300) { nodes `+fields+` } }`, nil, &fast)
	var slow struct {
		AuditLogEntries struct {
			Edges []struct{ Node json.RawMessage }
		}
	}
	c.get(`{ auditLogEntries(first: 300) { edges { node `+fields+` } } }`, nil, &slow)
	if len(fast.AuditLogEntries.Nodes) != 300 {
		t.Fatalf("%d nodes", len(fast.AuditLogEntries.Nodes))
	}
	for i, n := range fast.AuditLogEntries.Nodes {
		if s := slow.AuditLogEntries.Edges[i].Node; string(n) != string(s) {
			t.Fatalf("record %d\nfast %s\nslow %s", i, n, s)
		}
	}
}

func TestStaticLimits(t *testing.T) {
	t.Parallel()
	now := noon.Add(-30 * time.Minute)
	c := newTester(t, Options{Static: &Static{Records: 60, From: noon.Add(-time.Hour), To: noon}, Clock: func() time.Time { return now }, AuditCap: 20})
	p := c.auditPage(m{"first": 50})
	if p.TotalCount != 31 || len(p.Nodes) != 20 || p.PageInfo.HasNextPage {
		t.Errorf("half an hour in: %d records, %d in a page", p.TotalCount, len(p.Nodes))
	}
	if _, a := c.ask(auditQuery, m{"first": 5, "filterBy": m{"search": "x"}}); len(a.Errors) != 1 {
		t.Errorf("errors %v", a.Errors)
	}
	if ids := c.AddAudit(saassim.Batch{N: 5}); ids != nil {
		t.Errorf("added %v", ids)
	}
	for _, o := range []Options{
		{Static: &Static{}},
		{Static: &Static{Records: 10, From: noon, To: noon}},
		{Static: &Static{Records: 10, From: noon, To: noon.Add(time.Hour)}, Order: Shuffled},
		{Order: "upside-down"}, {Cursors: "x"}, {Schema: "x"}, {RateAnswer: saassim.HTML}, {Users: -1}, {Faults: saassim.Faults{"x": {}}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("options %+v are accepted", o)
		}
	}
}

// BenchmarkStaticPage answers a page of 500 records; the records per second
// are what one core could serve.
func BenchmarkStaticPage(b *testing.B) {
	c := newTester(b, Options{Static: &Static{Records: 2_000_000, From: noon.Add(-30 * 24 * time.Hour), To: noon}, AuditCap: -1})
	benchmarkPages(b, c)
}

// BenchmarkMemoryPage does the same from memory.
func BenchmarkMemoryPage(b *testing.B) {
	c := newTester(b, Options{AuditCap: -1})
	c.AddAudit(saassim.Batch{N: 50_000})
	benchmarkPages(b, c)
}

func benchmarkPages(b *testing.B, c *tester) {
	body, err := json.Marshal(m{"query": auditQuery, "variables": m{"first": 500, "filterBy": m{"timestamp": m{"after": "2026-11-10T00:00:00Z"}}}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var size int
	for b.Loop() {
		r := httptest.NewRequest("POST", "/graphql", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+c.token)
		w := &counter{header: http.Header{}}
		c.ServeHTTP(w, r)
		if size = w.n; size < 100_000 {
			b.Fatal(w.n)
		}
	}
	b.ReportMetric(float64(size)/500, "bytes/record")
	b.ReportMetric(float64(b.N)*500/b.Elapsed().Seconds(), "records/s")
}

// counter is an http.ResponseWriter that only counts.
type counter struct {
	n      int
	header http.Header
}

func (c *counter) Header() http.Header         { return c.header }
func (c *counter) WriteHeader(int)             {}
func (c *counter) Write(p []byte) (int, error) { c.n += len(p); return len(p), nil }
