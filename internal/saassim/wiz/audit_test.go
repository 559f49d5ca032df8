package wiz

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/saassim"
)

const tf = time.RFC3339Nano

func TestAuditFilters(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.AddAudit(saassim.Batch{N: 1500})
	all := c.walk(c.auditPage, m{"first": 700})
	if len(all) != 1500 {
		t.Fatalf("%d of 1500 entries", len(all))
	}
	some := all[700]
	text := func(n m, k string) string { s, _ := n[k].(string); return s }
	by := func(n m, typ string) bool { return n["performer"].(m)["__typename"] == typ }
	for _, tt := range []struct {
		name   string
		filter m
		want   func(n m) bool
	}{
		{"action", m{"actionV2": []string{"Login", "DeleteUser"}}, func(n m) bool { return n["action"] == "Login" || n["action"] == "DeleteUser" }},
		{"action type", m{"actionType": []string{"MUTATION"}}, func(n m) bool { return n["actionType"] == "MUTATION" }},
		{"status", m{"status": []string{"FAILED", "ACCESS_DENIED"}}, func(n m) bool { return n["status"] == "FAILED" || n["status"] == "ACCESS_DENIED" }},
		{"user type", m{"userType": []string{"USER_ACCOUNT"}}, func(n m) bool { return by(n, "UserSnapshot") }},
		{"user", m{"user": []string{text(some["performer"].(m), "id")}}, func(n m) bool {
			return by(n, "UserSnapshot") && n["performer"].(m)["id"] == some["performer"].(m)["id"]
		}},
		{"service account", m{"serviceAccount": []string{c.gen.self.id}}, func(n m) bool { return n["performer"].(m)["id"] == c.gen.self.id }},
		{"address", m{"sourceIP": c.gen.self.ips[0]}, func(n m) bool { return n["sourceIP"] == c.gen.self.ips[0] }},
		{"country", m{"sourceIPCountryCode": m{"equals": []string{"DE", "IL"}}}, func(n m) bool { return n["sourceIPCountryCode"] == "DE" || n["sourceIPCountryCode"] == "IL" }},
		{"not a country", m{"sourceIPCountryCode": m{"notEquals": []string{"DE"}}}, func(n m) bool { return n["sourceIPCountryCode"] != nil && n["sourceIPCountryCode"] != "DE" }},
		{"no country", m{"sourceIPCountryCode": m{"isSet": false}}, func(n m) bool { return n["sourceIPCountryCode"] == nil }},
		{"agent", m{"userAgent": "FIREFOX"}, func(n m) bool { return strings.Contains(text(n, "userAgent"), "Firefox") }},
		{"search", m{"search": text(some, "requestId")}, func(n m) bool { return n["requestId"] == some["requestId"] }},
		{"duration", m{"duration": m{"greaterThan": 100, "lessThan": 200}}, func(n m) bool { return n["duration"].(float64) > 100 && n["duration"].(float64) < 200 }},
		{"client", m{"clientType": m{"equals": []string{"MCP"}}}, func(n m) bool { return n["clientType"] == "MCP" }},
		{"engine", m{"aiEngine": m{"contains": []string{"ISSUES", "COST"}}}, func(n m) bool { return n["aiEngines"] != nil }},
		{"agent type", m{"aiAgentType": m{"equals": []string{"BLUE"}}}, func(n m) bool { return n["aiAgentType"] == "BLUE" }},
		{"two at once", m{"actionV2": []string{"Login"}, "status": []string{"FAILED"}}, func(n m) bool { return n["action"] == "Login" && n["status"] == "FAILED" }},
		{"window", m{"timestamp": m{"after": "2026-11-20T20:00:00Z", "before": "2026-11-21T03:00:00+01:00"}}, func(n m) bool {
			return text(n, "timestamp") > "2026-11-20T20:00:00" && text(n, "timestamp") < "2026-11-21T02:00:00"
		}},
		{"in the last hours", m{"timestamp": m{"inLast": m{"amount": 5, "unit": "DurationFilterValueUnitHours"}}}, func(n m) bool { return text(n, "timestamp") > "2026-11-21T07:00:00" }},
		{"before the last hours", m{"timestamp": m{"beforeLast": m{"amount": 300, "unit": "DurationFilterValueUnitMinutes"}}}, func(n m) bool { return text(n, "timestamp") < "2026-11-21T07:00:00" }},
	} {
		var want []string
		for _, n := range all {
			if tt.want(n) {
				want = append(want, text(n, "id"))
			}
		}
		got := column(c.walk(c.auditPage, m{"first": 90, "filterBy": tt.filter}), "id")
		if len(want) == 0 || len(want) == len(all) {
			t.Errorf("%s: %d of %d entries prove nothing", tt.name, len(want), len(all))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.name, d)
		}
	}
}

func TestAuditWindowEnds(t *testing.T) {
	t.Parallel()
	for _, inclusive := range []bool{false, true} {
		c := newTester(t, Options{Inclusive: inclusive})
		var ids []string
		for i := range 3 {
			at := noon.Add(time.Duration(i-10) * time.Hour)
			ids = append(ids, c.AddAudit(saassim.Batch{N: 1, From: at, To: at})...)
		}
		window := m{"after": noon.Add(-10 * time.Hour).Format(tf), "before": noon.Add(-8 * time.Hour).Format(tf)}
		got := c.auditPage(m{"first": 10, "filterBy": m{"timestamp": window}}).ids()
		want := []string{ids[1]}
		if inclusive {
			want = reversed(ids)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("inclusive %v: (-want +got)\n%s", inclusive, d)
		}
	}
}

func TestAuditOrderAndPages(t *testing.T) {
	t.Parallel()
	for _, order := range []Order{NewestFirst, OldestFirst, Shuffled} {
		for _, cursors := range []Cursors{OffsetCursors, SnapshotCursors} {
			c := newTester(t, Options{Order: order, Cursors: cursors})
			ids := c.AddAudit(saassim.Batch{N: 257})
			var pages, sizes []string
			got := column(c.walk(func(v m) page {
				p := c.auditPage(v)
				if p.TotalCount != 257 {
					t.Errorf("totalCount %d", p.TotalCount)
				}
				pages, sizes = append(pages, fmt.Sprint(p.PageInfo.EndCursor)), append(sizes, fmt.Sprint(len(p.Nodes)))
				return p
			}, nil), "id")
			if strings.Join(sizes, " ") != "100 100 57" || len(slices.Compact(pages)) != 3 {
				t.Errorf("%s: page sizes %v, cursors %v", order, sizes, pages)
			}
			switch order {
			case NewestFirst:
				slices.Reverse(got)
			case Shuffled:
				if slices.Equal(got, ids) || slices.Equal(reversed(got), ids) {
					t.Error("shuffled entries are in order")
				}
				got, ids = sorted(got), sorted(ids)
			}
			if d := cmp.Diff(ids, got); d != "" {
				t.Errorf("%s, %s cursors: (-want +got)\n%s", order, cursors, d)
			}
		}
	}
}

func TestEmptyAuditLog(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	rec := c.post(`{ auditLogEntries(first: 10) { totalCount nodes { id } pageInfo { hasNextPage endCursor } } }`, nil)
	if got, want := rec.Body.String(), `{"data":{"auditLogEntries":{"totalCount":0,"nodes":[],"pageInfo":{"hasNextPage":false,"endCursor":null}}}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCursorsBelongToTheirQuery(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.AddAudit(saassim.Batch{N: 50})
	p := c.auditPage(m{"first": 10})
	_, a := c.ask(auditQuery, m{"first": 10, "after": p.PageInfo.EndCursor, "filterBy": m{"search": "a"}})
	if len(a.Errors) != 1 || !strings.Contains(a.Errors[0].Message, "another query") {
		t.Errorf("errors %v", a.Errors)
	}
	if p := c.auditPage(m{"first": 40, "after": p.PageInfo.EndCursor}); len(p.Nodes) != 40 || p.PageInfo.HasNextPage {
		t.Errorf("another page size: %d nodes", len(p.Nodes))
	}
}

// With offsets a page shifts when a record appears before it, with snapshots
// it does not.
func TestPagesShift(t *testing.T) {
	t.Parallel()
	for cursors, want := range map[Cursors]int{OffsetCursors: 1, SnapshotCursors: 0} {
		c := newTester(t, Options{Cursors: cursors})
		c.AddAudit(saassim.Batch{N: 20})
		first := c.auditPage(m{"first": 10})
		c.AddAudit(saassim.Batch{N: 1, From: noon, To: noon})
		second := c.auditPage(m{"first": 10, "after": first.PageInfo.EndCursor})
		again := 0
		for _, id := range second.ids() {
			if slices.Contains(first.ids(), id) {
				again++
			}
		}
		if again != want {
			t.Errorf("%s cursors: %d records came again, want %d", cursors, again, want)
		}
	}
}

func TestSnapshotsExpire(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{Cursors: SnapshotCursors})
	c.AddAudit(saassim.Batch{N: 20})
	p := c.auditPage(m{"first": 10})
	for range keptSnapshots {
		c.auditPage(m{"first": 10})
	}
	if _, a := c.ask(auditQuery, m{"first": 10, "after": p.PageInfo.EndCursor}); len(a.Errors) != 1 || !strings.Contains(a.Errors[0].Message, "expired") {
		t.Errorf("errors %v", a.Errors)
	}
}

func TestAuditCap(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name             string
		opts             Options
		records, reached int
		total            int
	}{
		{"below", Options{AuditCap: 100}, 99, 99, 99},
		{"at", Options{AuditCap: 100}, 100, 100, 100},
		{"beyond", Options{AuditCap: 100}, 101, 100, 101},
		{"saturated", Options{AuditCap: 100, SaturateCount: true}, 101, 100, 100},
		{"off", Options{AuditCap: -1}, 10_001, 10_001, 10_001},
		{"usual", Options{}, 10_001, 10_000, 10_001},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newTester(t, tt.opts)
			c.AddAudit(saassim.Batch{N: tt.records})
			var last page
			nodes := c.walk(func(v m) page { last = c.auditPage(v); return last }, m{"first": 40 + tt.reached/50})
			if len(nodes) != tt.reached || last.TotalCount != tt.total {
				t.Errorf("%d entries and totalCount %d, want %d and %d", len(nodes), last.TotalCount, tt.reached, tt.total)
			}
		})
	}
}

// Records show when they are visible, not before, and no longer than the
// retention.
func TestVisibilityAndRetention(t *testing.T) {
	t.Parallel()
	now := noon
	c := newTester(t, Options{Clock: func() time.Time { return now }, Retention: 48 * time.Hour})
	late := c.AddAudit(saassim.Batch{N: 1, From: noon.Add(-time.Hour), To: noon.Add(-time.Hour), Late: 3 * time.Hour})
	future := c.AddAudit(saassim.Batch{N: 1, From: noon.Add(time.Hour), To: noon.Add(time.Hour)})
	old := c.AddAudit(saassim.Batch{N: 1, From: noon.Add(-47 * time.Hour), To: noon.Add(-47 * time.Hour)})
	for _, tt := range []struct {
		at   time.Duration
		want []string
	}{
		{0, old},
		{time.Hour - time.Microsecond, old},
		{time.Hour, future},
		{2 * time.Hour, slices.Concat(future, late)},
	} {
		now = noon.Add(tt.at)
		if d := cmp.Diff(tt.want, c.auditPage(m{"first": 10}).ids()); d != "" {
			t.Errorf("after %v: (-want +got)\n%s", tt.at, d)
		}
		_, a := c.ask(`query Q($id: ID!) { auditLogEntry(id: $id) { id } }`, m{"id": late[0]})
		if seen, want := len(a.Errors) == 0, slices.Contains(tt.want, late[0]); seen != want {
			t.Errorf("after %v: the late entry by its id: %v, want %v", tt.at, seen, want)
		}
	}
	if got := c.truth("wiz/audit"); len(got) != 3 || got[1].ID != late[0] || got[1].VisibleAt.Sub(got[1].Time) != 3*time.Hour {
		t.Errorf("truth %v", got)
	}
}

func TestEdges(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.AddAudit(saassim.Batch{N: 5})
	var d struct{ AuditLogEntries page }
	c.get(`{ auditLogEntries(first: 5) { edges { cursor node { id } } nodes { id } } }`, nil, &d)
	var rest page
	third := d.AuditLogEntries.Edges[2]
	rest = c.auditPage(m{"first": 5, "after": third.Cursor})
	if third.Node["id"] != d.AuditLogEntries.Nodes[2]["id"] || rest.ids()[0] != d.AuditLogEntries.Nodes[3]["id"] {
		t.Errorf("edges %v, after the third %v", d.AuditLogEntries.Edges, rest.ids())
	}
}

// The same seed makes the same tenant.
func TestSeed(t *testing.T) {
	t.Parallel()
	body := func(seed uint64) string {
		c := newTester(t, Options{Seed: seed})
		c.AddAudit(saassim.Batch{N: 50})
		c.AddIssues(saassim.Batch{N: 20})
		return c.post(auditQuery, m{"first": 50}).Body.String() + c.post(issueQuery, m{"first": 50}).Body.String()
	}
	seven := body(7)
	if again := body(7); again != seven {
		t.Error("one seed makes two tenants")
	}
	if seven == body(8) {
		t.Error("two seeds make one tenant")
	}
}

// What the samples of the vendor's audit log show is there.
func TestAuditMix(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.AddAudit(saassim.Batch{N: 2000})
	seen := map[string]int{}
	for _, n := range c.walk(c.auditPage, m{"first": 1000}) {
		count := func(what string, ok bool) {
			if ok {
				seen[what]++
			}
		}
		p, _ := n["actionParameters"].(m)
		agent, _ := n["userAgent"].(string)
		ip, _ := n["sourceIP"].(string)
		ts := n["timestamp"].(string)
		count("sign-ins", n["action"] == "Login" && n["status"] == "SUCCESS" && n["id"] == n["requestId"])
		count("failed sign-ins with a reason", n["action"] == "Login" && n["status"] == "FAILED" && p["error"] != "")
		count("changes with an input", n["actionType"] == "MUTATION" && p["input"] != nil)
		count("reads with a selection", n["actionType"] == "QUERY" && p["selection"] != nil)
		count("deletions", strings.HasPrefix(n["action"].(string), "Delete"))
		count("people", n["user"] != nil && n["serviceAccount"] == nil)
		count("programs", n["user"] == nil && n["serviceAccount"] != nil)
		count("accounts that are gone", n["user"] == nil && n["serviceAccount"] == nil && n["performer"] != nil)
		count("no address", n["sourceIP"] == nil)
		count("IPv4", strings.Contains(ip, "."))
		count("IPv6", strings.Contains(ip, ":"))
		count("no agent", n["userAgent"] == nil)
		count("browsers", strings.HasPrefix(agent, "Mozilla/5.0"))
		count("scripts", strings.HasPrefix(agent, "python-requests"))
		count("no action type", n["actionType"] == nil)
		count("denied", n["status"] == "ACCESS_DENIED")
		count("short fractions", len(ts) < len("2026-11-21T12:00:00.123456Z"))
	}
	for _, what := range []string{"sign-ins", "failed sign-ins with a reason", "changes with an input", "reads with a selection", "deletions",
		"people", "programs", "accounts that are gone", "no address", "IPv4", "IPv6", "no agent", "browsers", "scripts", "no action type",
		"denied", "short fractions"} {
		if seen[what] == 0 {
			t.Errorf("no %s among 2000 entries", what)
		}
	}
}
