package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/wiz"
)

// TestBeyondTheCap: of 25,000 records (under the race detector 11,000) one query
// yields 10,000, whether or not the API admits that there are more.
func TestBeyondTheCap(t *testing.T) {
	t.Parallel()
	for name, saturated := range map[string]bool{"true totals": false, "totals that stop at the cap": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, setup{tenant: wiz.Options{SaturateCount: saturated}, sources: "{audit: {start: 25h, page_size: 2500}}"})
			n := 12500
			if underRace {
				n = 5500
			}
			s.tenant.AddAudit(saassim.Batch{N: n})
			s.tenant.AddAudit(saassim.Batch{N: n, From: s.now().Add(-time.Hour), Equal: 100})
			s.once(0)
			s.wantAll()
			s.once(0)
			s.wantAll()
		})
	}
}

// TestTokenExpires: a token that is said to live for two seconds is replaced in
// the middle of a walk, and not more often than it has to be. It really lives
// longer, so that no request that is held up is refused.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{tenant: wiz.Options{TokenSays: 2 * time.Second}})
	s.faults("slow:150ms")
	s.tenant.AddAudit(saassim.Batch{N: 2500})
	s.tenant.AddIssues(saassim.Batch{N: 100})
	began := time.Now()
	s.once(0)
	s.wantAll()
	seconds := int(time.Since(began).Seconds())
	if n := s.tenant.Stats().SignIns; n < 2 || n > seconds+2 {
		t.Errorf("%d sign-ins in %d seconds", n, seconds)
	}
}

// TestRateIsKept: all feeds of a connection share its rate: after the first
// three, each request takes a third of a second more. How they are spread over
// that time is for the tests of fetch, whose clock is exact.
func TestRateIsKept(t *testing.T) {
	t.Parallel()
	const rate, burst = 3, 3
	s := newScenario(t, setup{rate: fmt.Sprintf("{requests_per_second: %d, burst: %d}", rate, burst)})
	s.tenant.AddAudit(saassim.Batch{N: 900})
	s.tenant.AddIssues(saassim.Batch{N: 200})
	began := time.Now()
	s.once(0)
	took := time.Since(began)
	s.wantAll()
	n := s.tenant.Stats().API
	if least := time.Duration(n-burst) * time.Second / rate; n < 12 || took < least-time.Millisecond {
		t.Errorf("%d requests in %s, which may take no less than %s", n, took, least)
	}
}

// TestAddresses: the address of the API may be written in several ways.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for name, suffix := range map[string]string{"with /graphql": "/graphql", "with a slash": "/", "bare": " "} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, setup{apiURL: suffix})
			s.tenant.AddAudit(saassim.Batch{N: 10})
			s.once(0)
			s.wantAll()
		})
	}
}

// TestRefusedQuery: what the API says is wrong with a query is told with the
// query's name, and it is asked once. Other feeds are read all the same, and
// nothing is lost once the filter is mended.
func TestRefusedQuery(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tenant  wiz.Options
		sources string
		says    string
	}{
		"filter": {wiz.Options{}, "{audit: {start: 25h, filter: {nonsense: [x]}}, issues: {start: 25h}}",
			`feed wiz-prod/audit stopped: .*\(query TrawlAuditLog\): HTTP 400: variable \$filterBy got an invalid value: field "nonsense" is not defined`},
		"with a 200": {wiz.Options{ValidationStatus: 200}, "{audit: {start: 25h, filter: {nonsense: [x]}}, issues: {start: 25h}}",
			`feed wiz-prod/audit stopped: .*\(query TrawlAuditLog\): HTTP 200: variable \$filterBy`},
		"schema of the past": {wiz.Options{Schema: wiz.LegacySchema}, "{audit: {start: 25h}, issues: {start: 25h}}",
			`feed wiz-prod/audit stopped: .*\(query TrawlAuditLog\): HTTP 400: Cannot query field "actionType" on type "AuditLogEntry"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, setup{tenant: c.tenant, sources: c.sources})
			s.tenant.AddAudit(saassim.Batch{N: 250})
			s.tenant.AddIssues(saassim.Batch{N: 20})
			said := s.once(1)
			if ok, err := regexp.MatchString(c.says, said); !ok {
				t.Errorf("run --once said (%v):\n%s", err, said)
			}
			asked := 0
			for _, r := range s.tenant.Requests() {
				if r.Kind == saassim.KindAPI && r.Records == 0 && r.Operation != "issuesV2" {
					asked++
				}
			}
			if asked != 1 {
				t.Errorf("it was asked %d times", asked)
			}
			if n := len(s.documents()); n != 20 {
				t.Errorf("%d documents of the other feed", n)
			}
			if status, out, _ := s.trawl("status"); status != 0 || !strings.Contains(out, "wiz-prod/audit   stopped") {
				t.Errorf("status = %d:\n%s", status, out)
			}
			if name == "schema of the past" {
				return
			}
			s.replace("trawl.yaml", ", filter: {nonsense: [x]}", "")
			s.once(0)
			s.wantAll()
		})
	}
}

// TestForbidden names the scope, and reads what is allowed.
func TestForbidden(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{tenant: wiz.Options{Scopes: []string{wiz.ScopeIssues}}})
	s.tenant.AddAudit(saassim.Batch{N: 20})
	s.tenant.AddIssues(saassim.Batch{N: 20})
	said := s.once(1)
	if !strings.Contains(said, "feed wiz-prod/audit stopped: ") || !strings.Contains(said, "admin:audit") || strings.Contains(said, "wiz-prod/issues stopped") {
		t.Errorf("run --once said:\n%s", said)
	}
	if n := len(s.documents()); n != 20 {
		t.Errorf("%d documents", n)
	}
}

// TestOlderRecords: records that lack the newer fields say the same of who did
// what, unless the account is gone; only not whom it was done to.
func TestOlderRecords(t *testing.T) {
	t.Parallel()
	var all [2]map[string]map[string]any
	hour := time.Now().Truncate(time.Hour)
	for i, faults := range []string{"", "missing"} {
		s := newScenario(t, setup{sources: "{audit: {start: 25h}}"})
		s.faults(faults)
		s.tenant.AddAudit(saassim.Batch{N: 400, From: hour.Add(-time.Hour), To: hour})
		s.once(0)
		all[i] = map[string]map[string]any{}
		for _, d := range s.documents() {
			event := d["event"].(map[string]any)
			if user, ok := d["user"].(map[string]any); ok { // what stands in the newer fields alone
				delete(user, "target")
				delete(user, "roles")
			}
			all[i][event["id"].(string)] = map[string]any{
				"@timestamp": d["@timestamp"], "action": event["action"], "category": event["category"], "type": event["type"],
				"outcome": event["outcome"], "user": d["user"], "user_agent": d["user_agent"], "trawl": d["trawl"],
			}
		}
	}
	compared := 0
	for id, newer := range all[0] {
		older := all[1][id]
		if older["user"] == nil {
			continue
		}
		compared++
		if d := cmp.Diff(newer, older); d != "" {
			t.Errorf("%s: newer and older:\n%s", id, d)
		}
	}
	if compared < 200 {
		t.Errorf("only %d documents have a user", compared)
	}
}

// TestVeryLate: what becomes visible later than the overlap is found when its
// window is read again.
func TestVeryLate(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{sources: "{audit: {start: 25h, interval: 200ms, overlap: 1ms, revisit: [2s]}}"})
	s.tenant.AddAudit(saassim.Batch{N: 100})
	s.once(0)
	s.tenant.AddAudit(saassim.Batch{N: 10, From: s.now().Add(-time.Microsecond), Late: time.Hour})
	s.once(0)
	if n := len(s.documents()); n != 100 {
		t.Fatalf("%d documents", n)
	}
	s.later(2 * time.Hour)
	said := ""
	until(t, "the age of all is reached", func() bool {
		said += s.once(0)
		return s.delivered() >= 110
	})
	if !strings.Contains(said, "a revisit found records that became visible after their time had been read") {
		t.Errorf("run --once said:\n%s", said)
	}
	s.wantAll()
}

// TestStart: what a feed's start says.
func TestStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sources string
		first   int
		says    string
	}{
		"the present":     {"{audit: {}}", 0, ""},
		"an hour":         {"{audit: {start: 1h}}", 10, ""},
		"a time":          {"{audit: {start: " + time.Now().Add(-25*time.Hour).Format(time.RFC3339) + "}}", 20, ""},
		"before all time": {"{audit: {start: 2001-01-01T00:00:00Z}}", 30, "start is before what the product keeps; reading from there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, setup{sources: c.sources})
			for _, ago := range []time.Duration{30 * time.Minute, 5 * time.Hour, 170 * 24 * time.Hour, 200 * 24 * time.Hour} {
				at := s.now().Add(-ago)
				s.tenant.AddAudit(saassim.Batch{N: 10, From: at, To: at.Add(time.Minute)})
			}
			if said := s.once(0); !strings.Contains(said, c.says) {
				t.Errorf("run --once said:\n%s", said)
			}
			want := c.first
			if want > 0 {
				if n := len(s.documents()); n != want {
					t.Errorf("%d documents, want %d", n, want)
				}
			}
			s.tenant.AddAudit(saassim.Batch{N: 5, From: s.now(), To: s.now().Add(time.Microsecond)})
			s.later(time.Second)
			s.once(0)
			if n := len(s.documents()); n != want+5 {
				t.Errorf("then %d documents, want %d", n, want+5)
			}
		})
	}
}
