package wiz

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/saassim"
)

// Each fault of a whole answer gives the answer it should.
func TestAnswersGoWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault string
		check func(*testing.T, *tester, *httptest.ResponseRecorder)
	}{
		{"reset", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) { wantCode(t, r, 0) }},
		{"throttle:90s", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) {
			if wantCode(t, r, 429); r.Header().Get("Retry-After") != "90" {
				t.Errorf("Retry-After %q", r.Header().Get("Retry-After"))
			}
		}},
		{"throttle:1500ms", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) {
			if r.Header().Get("Retry-After") != "2" {
				t.Errorf("Retry-After %q", r.Header().Get("Retry-After"))
			}
		}},
		{"throttle-date:90s", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) {
			at, err := http.ParseTime(r.Header().Get("Retry-After"))
			if wantCode(t, r, 429); err != nil || time.Until(at) < 80*time.Second || time.Until(at) > 92*time.Second {
				t.Errorf("Retry-After %q", r.Header().Get("Retry-After"))
			}
		}},
		{"throttle-bare", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) {
			if wantCode(t, r, 429); r.Header().Get("Retry-After") != "" {
				t.Errorf("Retry-After %q", r.Header().Get("Retry-After"))
			}
		}},
		{"throttle-body:7s", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) {
			a := wantErrors(t, r, 200, "Rate limit exceeded")
			if a.Errors[0].Extensions.RetryAfter != 7 || string(a.Data) != "null" {
				t.Errorf("answer %s", r.Body)
			}
		}},
		{"error500", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) { wantCode(t, r, 500) }},
		{"error502", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) { wantCode(t, r, 502) }},
		{"error503", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) { wantCode(t, r, 503) }},
		{"html", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) {
			if wantCode(t, r, 200); !strings.HasPrefix(r.Body.String(), "<!DOCTYPE html>") || !strings.HasPrefix(r.Header().Get("Content-Type"), "text/html") {
				t.Errorf("answer %s", r.Body)
			}
		}},
		{"errors", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) {
			if a := wantErrors(t, r, 200, "internal error"); string(a.Data) != "null" {
				t.Errorf("data %s", a.Data)
			}
		}},
		{"partial", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) {
			if p := auditOf(t, wantErrors(t, r, 200, "internal error")); len(p.Nodes) != 5 || !p.PageInfo.HasNextPage {
				t.Errorf("%d nodes, %v", len(p.Nodes), p.PageInfo)
			}
		}},
		{"null-nodes", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) {
			if p := auditOf(t, wantErrors(t, r, 200, "internal error")); p.Nodes != nil || !p.PageInfo.HasNextPage || !strings.Contains(r.Body.String(), `"nodes":null`) {
				t.Errorf("answer %s", r.Body)
			}
		}},
		{"truncate", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) {
			length, _ := strconv.Atoi(r.Header().Get("Content-Length"))
			if wantCode(t, r, 0); length == 0 || r.Body.Len() != length/2 {
				t.Errorf("%d of %d bytes", r.Body.Len(), length)
			}
		}},
		{"cut-json", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) {
			if wantCode(t, r, 200); json.Valid(r.Body.Bytes()) || r.Header().Get("Content-Length") != strconv.Itoa(r.Body.Len()) {
				t.Errorf("answer %s", r.Body)
			}
		}},
		{"huge:100000", func(t *testing.T, _ *tester, r *httptest.ResponseRecorder) {
			if wantCode(t, r, 200); r.Body.Len() < 100_000 || !json.Valid(r.Body.Bytes()) {
				t.Errorf("%d bytes", r.Body.Len())
			}
		}},
		{"unauthorized", func(t *testing.T, c *tester, r *httptest.ResponseRecorder) {
			wantErrors(t, r, 401, "access denied")
			c.signIn()
			if code, _ := c.ask(`{ __typename }`, nil); code != 401 {
				t.Errorf("with a new token: %d", code)
			}
		}},
		{"expire=1x", func(t *testing.T, c *tester, r *httptest.ResponseRecorder) {
			wantErrors(t, r, 401, "access denied")
			if code, _ := c.ask(`{ __typename }`, nil); code != 401 {
				t.Errorf("with the old token: %d", code)
			}
			c.signIn()
			if code, _ := c.ask(`{ __typename }`, nil); code != 200 {
				t.Errorf("with a new token: %d", code)
			}
		}},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			t.Parallel()
			c := newTester(t, Options{})
			c.AddAudit(saassim.Batch{N: 20})
			f, err := saassim.ParseFaults(tt.fault)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.SetFaults(f); err != nil {
				t.Fatal(err)
			}
			rec := c.post(auditQuery, m{"first": 10})
			tt.check(t, c, rec)
			if got := c.Requests()[1]; len(got.Faults) != 1 || got.Operation != "auditLogEntries" {
				t.Errorf("logged %+v", got)
			}
			if err := c.SetFaults(nil); err != nil {
				t.Fatal(err)
			}
			c.signIn()
			c.auditPage(m{"first": 10})
		})
	}
}

func wantCode(t *testing.T, r *httptest.ResponseRecorder, code int) {
	t.Helper()
	if r.Code != code {
		t.Fatalf("status %d, want %d", r.Code, code)
	}
}

func wantErrors(t *testing.T, r *httptest.ResponseRecorder, code int, message string) (a answer) {
	t.Helper()
	wantCode(t, r, code)
	if err := json.Unmarshal(r.Body.Bytes(), &a); err != nil || len(a.Errors) != 1 || !strings.Contains(a.Errors[0].Message, message) {
		t.Fatalf("%v: %s", err, r.Body)
	}
	return a
}

func auditOf(t *testing.T, a answer) page {
	t.Helper()
	var d struct{ AuditLogEntries page }
	if err := json.Unmarshal(a.Data, &d); err != nil {
		t.Fatal(err)
	}
	return d.AuditLogEntries
}

func TestSignInGoesWrong(t *testing.T) {
	t.Parallel()
	for fault, want := range map[string]int{"signin500": 500, "signin401": 401, "signin-throttle": 429} {
		c := newTester(t, Options{})
		f, err := saassim.ParseFaults(fault + "=1x")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetFaults(f); err != nil {
			t.Fatal(err)
		}
		if rec := c.tokenRequest(credentials(), nil); rec.Code != want || (want == 429) != (rec.Header().Get("Retry-After") == "1") {
			t.Errorf("%s: %d %v", fault, rec.Code, rec.Header())
		}
		c.signIn()
	}
}

// A client that follows the pages and drops what it knows loses nothing to
// these, and gets some records twice.
func TestPagesGoWrongWithoutLoss(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		faults string
		twice  bool
	}{
		{"repeat=1/3", true}, {"empty=1/2", false}, {"duplicate", true}, {"numeric-cursor", false}, {"numeric-cursor=0.5,repeat=0.3,empty=0.3,duplicate=0.3", true},
	} {
		for _, records := range []int{1, 95, 100, 257} {
			f, err := saassim.ParseFaults(tt.faults)
			if err != nil {
				t.Fatal(err)
			}
			c := newTester(t, Options{Faults: f})
			ids := c.AddAudit(saassim.Batch{N: records})
			got := column(c.walk(c.auditPage, m{"first": 10}), "id")
			if d := cmp.Diff(sorted(ids), slices.Compact(sorted(got))); d != "" {
				t.Errorf("%s, %d records: (-want +got)\n%s", tt.faults, records, d)
			}
			if twice := len(got) > len(ids); twice != tt.twice && records > 10 {
				t.Errorf("%s, %d records: %d came", tt.faults, records, len(got))
			}
		}
	}
}

func TestPagesGoWrong(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.AddAudit(saassim.Batch{N: 30})
	with := func(f saassim.Faults, vars m) page {
		t.Helper()
		if err := c.SetFaults(f); err != nil {
			t.Fatal(err)
		}
		return c.auditPage(vars)
	}
	always := saassim.Setting{Rate: 1}
	good := with(nil, m{"first": 10})

	empty := with(saassim.Faults{saassim.EmptyPage: always}, m{"first": 10})
	if len(empty.Nodes) != 0 || !empty.PageInfo.HasNextPage || empty.PageInfo.EndCursor == nil {
		t.Errorf("empty: %d nodes, %v", len(empty.Nodes), empty.PageInfo)
	}
	second := with(nil, m{"first": 10, "after": good.PageInfo.EndCursor})
	repeat := with(saassim.Faults{saassim.RepeatPage: always}, m{"first": 10, "after": good.PageInfo.EndCursor})
	if !slices.Equal(repeat.ids(), good.ids()) || repeat.PageInfo.EndCursor == good.PageInfo.EndCursor {
		t.Errorf("repeat: %v", repeat)
	}
	if after := with(nil, m{"first": 10, "after": repeat.PageInfo.EndCursor}); !slices.Equal(after.ids(), second.ids()) {
		t.Error("the page after a repeated one is another than before")
	}
	stuck := with(saassim.Faults{saassim.StuckCursor: always}, m{"first": 10})
	for range 3 {
		next := with(saassim.Faults{saassim.StuckCursor: always}, m{"first": 10, "after": stuck.PageInfo.EndCursor})
		if !slices.Equal(next.ids(), good.ids()) || next.PageInfo != stuck.PageInfo || !next.PageInfo.HasNextPage {
			t.Errorf("stuck: %v", next.PageInfo)
		}
	}
	if p := with(saassim.Faults{saassim.NullCursor: always}, m{"first": 10}); p.PageInfo.EndCursor != nil || !p.PageInfo.HasNextPage {
		t.Errorf("null cursor: %v", p.PageInfo)
	}
	if p := with(saassim.Faults{saassim.NumericCursor: always}, m{"first": 10}); p.PageInfo.EndCursor != 10.0 {
		t.Errorf("numeric cursor: %v", p.PageInfo)
	}
	if p := with(nil, m{"first": 10, "after": 10}); !slices.Equal(p.ids(), second.ids()) {
		t.Error("a numeric cursor is not taken back")
	}
	capped := c.walk(func(v m) page { return with(saassim.Faults{saassim.CapResults: {Rate: 1, N: 17}}, v) }, m{"first": 10})
	if len(capped) != 17 {
		t.Errorf("cap: %d nodes", len(capped))
	}
	if p := with(saassim.Faults{saassim.Unordered: always}, m{"first": 30}); slices.Equal(p.ids(), with(nil, m{"first": 30}).ids()) {
		t.Error("unordered entries are in order")
	}
	for _, n := range with(saassim.Faults{saassim.MissingKeys: always}, m{"first": 30}).Nodes {
		for _, key := range []string{"performer", "actionType", "actionParameters", "sourceIP"} {
			if _, ok := n[key]; ok {
				t.Errorf("%s is there", key)
			}
		}
		if n["id"] == nil || n["user"] == nil && n["serviceAccount"] == nil && len(n) != 13 {
			t.Errorf("too much is missing: %v", n)
		}
	}
	if n := with(nil, m{"first": 1}).Nodes[0]; len(n) != 17 {
		t.Errorf("afterwards keys are still missing: %v", n)
	}
}

func TestShift(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{Faults: saassim.Faults{saassim.Shift: {Rate: 1, N: 2}}, Clock: time.Now})
	c.AddAudit(saassim.Batch{N: 30})
	c.AddIssues(saassim.Batch{N: 30})
	changes := len(c.truth("wiz/issues"))
	vars := m{"filterBy": m{"timestamp": m{"after": time.Now().Add(-48 * time.Hour).Format(tf)}}, "first": 10}
	c.walk(c.auditPage, vars)
	if n := len(c.truth("wiz/audit")); n <= 30 {
		t.Errorf("%d entries after a walk", n)
	}
	c.walk(c.issuePage, m{"first": 10})
	if n := len(c.truth("wiz/issues")); n != changes+4 {
		t.Errorf("%d states after a walk of three pages, %d before", n, changes)
	}
}

func TestRecordsGoWrong(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{Faults: saassim.Faults{saassim.Late: {Rate: 0.3, Delay: time.Hour}, saassim.Equal: {Every: 10, N: 5}}})
	c.AddAudit(saassim.Batch{N: 400})
	times, late := map[time.Time]int{}, 0
	for _, r := range c.truth("wiz/audit") {
		times[r.Time]++
		if r.VisibleAt.Sub(r.Time) == time.Hour {
			late++
		}
	}
	shared := 0
	for _, n := range times {
		if n == 5 {
			shared++
		}
	}
	if late < 80 || late > 160 || shared < 20 {
		t.Errorf("of 400 entries %d are late and %d times are shared by five", late, shared)
	}
}

func TestSlowAndHanging(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTester(t, Options{Faults: saassim.Faults{saassim.Slow: {Rate: 1, Delay: 3 * time.Second}}})
		start := time.Now()
		if code, _ := c.ask(`{ __typename }`, nil); code != 200 || time.Since(start) != 3*time.Second {
			t.Errorf("%d after %v", code, time.Since(start))
		}
		for _, f := range []saassim.Fault{saassim.Hang, saassim.Slow} {
			if err := c.SetFaults(saassim.Faults{f: {Rate: 1, Delay: time.Hour}}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			r := httptest.NewRequestWithContext(ctx, "POST", "/graphql", strings.NewReader(`{"query":"{__typename}"}`))
			r.Header.Set("Content-Type", "application/json")
			start := time.Now()
			if rec := c.do(r); rec.Code != 0 || time.Since(start) != 5*time.Second {
				t.Errorf("%s: %d after %v", f, rec.Code, time.Since(start))
			}
			cancel()
		}
	})
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	for _, answer := range []saassim.Fault{saassim.Throttle, saassim.ThrottleBody} {
		synctest.Test(t, func(t *testing.T) {
			c := newTester(t, Options{Rate: 3, RateAnswer: answer})
			refused := 0
			for range 10 {
				if rec := c.post(`{ __typename }`, nil); rec.Code == 429 && rec.Header().Get("Retry-After") == "1" || strings.Contains(rec.Body.String(), `"retryAfter":1`) {
					refused++
				}
			}
			<-time.After(time.Second)
			for range 3 {
				if _, a := c.ask(`{ __typename }`, nil); len(a.Errors) > 0 {
					t.Errorf("a second later: %v", a.Errors)
				}
			}
			if s := c.Stats(); refused != 7 || s.MostPerSecond != 10 || s.API != 13 {
				t.Errorf("%d of 10 refused, %+v", refused, s)
			}
		})
	}
}
