package wiz

import (
	"encoding/csv"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/saassim"
)

var reportScopes = []string{ScopeAudit, ScopeReadReports, ScopeCreateReports, ScopeUpdateReports}

const (
	createReport = `mutation Create($input: CreateReportInput!) { createReport(input: $input) { report { id name lastRun { id status url } } } }`
	rerunReport  = `mutation Rerun($id: ID!) { rerunReport(input: {id: $id}) { report { id lastRun { id } } } }`
	readReport   = `query Read($id: ID!) { report(id: $id) { id name format type { id } createdBy { id }
		lastRun { id status progress url failedReason runAt results { ... on ReportRunResultsAuditLog { count } } }
		lastSuccessfulRun { id url } } }`
)

// toldReport is a report as a client sees it.
type toldReport struct {
	ID, Name, Format string
	Type             struct{ ID string }
	LastRun          *struct {
		ID, Status, URL, FailedReason string
		Progress                      int
		RunAt                         time.Time
		Results                       *struct{ Count int }
	}
	LastSuccessfulRun *struct{ ID, URL string }
}

func (c *tester) order(input m) toldReport {
	c.Helper()
	var d struct{ CreateReport struct{ Report toldReport } }
	c.get(createReport, m{"input": input}, &d)
	return d.CreateReport.Report
}

func (c *tester) report(id string) toldReport {
	c.Helper()
	var d struct{ Report toldReport }
	c.get(readReport, m{"id": id}, &d)
	return d.Report
}

func (c *tester) file(address, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, address, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return c.do(r)
}

// rows are the lines of a file by the names of its columns.
func rows(t *testing.T, file string) []map[string]string {
	t.Helper()
	lines, err := csv.NewReader(strings.NewReader(file)).ReadAll()
	if err != nil || len(lines) == 0 {
		t.Fatalf("no table: %v\n%s", err, file)
	}
	var out []map[string]string
	for _, line := range lines[1:] {
		row := map[string]string{}
		for i, name := range lines[0] {
			row[name] = line[i]
		}
		out = append(out, row)
	}
	return out
}

// A report goes through its states, and its file has what the API gives.
func TestReport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTester(t, Options{Scopes: reportScopes, AuditCap: 20})
		ids := c.AddAudit(saassim.Batch{N: 60})
		after := noon.Add(-12 * time.Hour)
		r := c.order(m{"name": "half", "type": "AUDIT_LOG", "auditLogParams": m{"filters": m{"timestamp": m{"after": after}}}})
		if r.ID == "" || r.Name != "half" || r.LastRun == nil || r.LastRun.Status != "QUEUED" || r.LastRun.URL != "" {
			t.Fatalf("ordered %+v", r)
		}
		time.Sleep(time.Second)
		if r = c.report(r.ID); r.LastRun.Status != "IN_PROGRESS" || r.LastRun.Progress != 50 || r.LastRun.URL != "" || r.LastSuccessfulRun != nil {
			t.Errorf("in the middle %+v", r.LastRun)
		}
		time.Sleep(time.Second)
		if r = c.report(r.ID); r.LastRun.Status != "COMPLETED" || r.LastRun.Progress != 100 || r.Format != "CSV" || r.Type.ID != "AUDIT_LOG" || !r.LastRun.RunAt.Equal(noon) || r.LastSuccessfulRun.ID != r.LastRun.ID {
			t.Errorf("at the end %+v", r)
		}
		got := c.file(r.LastRun.URL, "")
		if got.Code != 200 || got.Header().Get("Content-Type") != "text/csv" {
			t.Fatalf("file: %d %v", got.Code, got.Header())
		}
		table := rows(t, got.Body.String())
		var inWindow []string
		for _, e := range c.truth("wiz/audit") {
			if e.Time.After(after) && slices.Contains(ids, e.ID) {
				inWindow = append(inWindow, e.ID)
			}
		}
		var inFile []string
		for _, row := range table {
			inFile = append(inFile, row["ID"])
		}
		if d := cmp.Diff(inWindow, inFile); d != "" || r.LastRun.Results.Count != len(inFile) || len(inFile) <= 20 {
			t.Errorf("%d entries, which ends at no cap; %s", r.LastRun.Results.Count, d)
		}

		j := c.order(m{"name": "all", "type": "AUDIT_LOG", "format": "JSON"})
		time.Sleep(2 * time.Second)
		var entries []m
		if err := json.Unmarshal(c.file(c.report(j.ID).LastRun.URL, "").Body.Bytes(), &entries); err != nil {
			t.Fatal(err)
		}
		// The order before left an entry of its own.
		if len(entries) != len(ids)+1 || entries[len(entries)-1]["action"] != "CreateReport" {
			t.Errorf("%d entries as JSON, the last %v", len(entries), entries[len(entries)-1])
		}
		byID := map[any]m{}
		for _, e := range entries {
			byID[e["id"]] = e
		}
		for _, row := range table {
			e := byID[row["ID"]]
			for column, field := range map[string]string{"Timestamp": "timestamp", "Action": "action", "Status": "status", "Source IP": "sourceIP", "User Agent": "userAgent", "Request ID": "requestId"} {
				if text, _ := e[field].(string); text != row[column] {
					t.Errorf("%s: %q in the table, %q as JSON", column, row[column], text)
				}
			}
			if (row["User ID"] == "") == (row["Service Account ID"] == "") {
				t.Errorf("by whom: %v", row)
			}
		}
	})
}

// An address works for a while, and for nobody with a credential; so does the
// file behind it.
func TestReportAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTester(t, Options{Scopes: reportScopes, TokenLifetime: 1000 * time.Hour})
		c.AddAudit(saassim.Batch{N: 3})
		id := c.order(m{"name": "r", "type": "AUDIT_LOG"}).ID
		time.Sleep(2 * time.Second)
		address := c.report(id).LastRun.URL
		for name, tt := range map[string]struct {
			address, authorization string
			status                 int
			says                   string
		}{
			"as it is":        {address, "", 200, "ID,Timestamp,"},
			"once more":       {address, "", 200, "ID,Timestamp,"},
			"a bearer":        {address, "Bearer " + c.token, 400, "Only one auth mechanism allowed"},
			"changed":         {strings.Replace(address, "X-Amz-Expires=3600", "X-Amz-Expires=36000", 1), "", 403, "SignatureDoesNotMatch"},
			"without a query": {address[:strings.Index(address, "?")], "", 403, "AccessDenied"},
		} {
			if got := c.file(tt.address, tt.authorization); got.Code != tt.status || !strings.Contains(got.Body.String(), tt.says) {
				t.Errorf("%s: %d %s", name, got.Code, got.Body)
			}
		}
		if got := c.do(httptest.NewRequest(http.MethodPut, address, nil)); got.Code != http.StatusMethodNotAllowed {
			t.Errorf("PUT: %d", got.Code)
		}
		time.Sleep(time.Hour + time.Second)
		if got := c.file(address, ""); got.Code != 403 || !strings.Contains(got.Body.String(), "Request has expired") {
			t.Errorf("after an hour: %d %s", got.Code, got.Body)
		}
		address = c.report(id).LastRun.URL
		if got := c.file(address, ""); got.Code != 200 {
			t.Errorf("a new address: %d", got.Code)
		}
		time.Sleep(7*24*time.Hour - time.Hour - time.Minute)
		address = c.report(id).LastRun.URL
		time.Sleep(2 * time.Minute)
		if got := c.file(address, ""); got.Code != 404 || !strings.Contains(got.Body.String(), "NoSuchKey") {
			t.Errorf("after a week: %d %s", got.Code, got.Body)
		}
		if run := c.report(id).LastRun; run.Status != "EXPIRED" || run.URL != "" {
			t.Errorf("after a week %+v", run)
		}
	})
}

// A report that runs again has a new file; who orders is seen in the audit log.
func TestReportAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTester(t, Options{Scopes: reportScopes, Faults: saassim.Faults{saassim.ReportStale: {Times: 1}}})
		first := c.order(m{"name": "r", "type": "AUDIT_LOG"})
		time.Sleep(2 * time.Second)
		c.AddAudit(saassim.Batch{N: 3})
		var d struct{ RerunReport struct{ Report toldReport } }
		c.get(rerunReport, m{"id": first.ID}, &d)
		if d.RerunReport.Report.LastRun.ID != first.LastRun.ID {
			t.Errorf("stale, but tells of %+v", d.RerunReport.Report.LastRun)
		}
		time.Sleep(time.Second)
		again := c.report(first.ID)
		if again.LastRun.ID == first.LastRun.ID || again.LastRun.Status != "IN_PROGRESS" || again.LastSuccessfulRun.ID != first.LastRun.ID {
			t.Errorf("then %+v", again.LastRun)
		}
		time.Sleep(time.Second)
		if table := rows(t, c.file(c.report(first.ID).LastRun.URL, "").Body.String()); len(table) != 4 {
			t.Errorf("%d entries", len(table))
		}
		actions := map[any]int{}
		for _, e := range c.walk(c.auditPage, m{}) {
			actions[e["action"]]++
		}
		if actions["CreateReport"] < 1 || actions["RerunReport"] < 1 {
			t.Errorf("the audit log has %v", slices.Sorted(maps.Keys(toText(actions))))
		}
		c.get(`mutation { deleteReport(input: {id: "`+first.ID+`"}) { _stub } }`, nil, &struct{}{})
		if _, a := c.ask(readReport, m{"id": first.ID}); len(a.Errors) != 1 || a.Errors[0].Message != "Resource not found" {
			t.Errorf("after it was deleted: %+v", a)
		}
	})
}

func toText(m map[any]int) map[string]int {
	out := map[string]int{}
	for k, n := range m {
		out[k.(string)] = n
	}
	return out
}

func TestReportFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		made := func(f saassim.Fault) (*tester, toldReport) {
			c := newTester(t, Options{Scopes: reportScopes, Faults: saassim.Faults{f: {Rate: 1}}})
			id := c.order(m{"name": "r", "type": "AUDIT_LOG"}).ID
			time.Sleep(time.Minute)
			return c, c.report(id)
		}
		if _, r := made(saassim.ReportFails); r.LastRun.Status != "FAILED" || r.LastRun.FailedReason == "" || r.LastRun.URL != "" {
			t.Errorf("fails: %+v", r.LastRun)
		}
		if _, r := made(saassim.ReportStuck); r.LastRun.Status != "IN_PROGRESS" || r.LastRun.Progress != 99 {
			t.Errorf("stuck: %+v", r.LastRun)
		}
		c, r := made(saassim.ReportDead)
		if got := c.file(r.LastRun.URL, ""); got.Code != 403 || !strings.Contains(got.Body.String(), "Request has expired") {
			t.Errorf("expired: %d %s", got.Code, got.Body)
		}
	})
}

// What is asked wrongly, or without the permission, is refused.
func TestReportRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		options Options
		query   string
		vars    m
		says    string
	}{
		"no permission to create": {Options{Scopes: []string{ScopeReadReports}}, createReport, m{"input": m{"name": "r", "type": "AUDIT_LOG"}}, "is required: [create:reports]"},
		"no permission to rerun":  {Options{Scopes: []string{ScopeAll}}, rerunReport, m{"id": "x"}, "is required: [update:reports]"},
		"no permission to read":   {Options{Scopes: []string{ScopeAudit}}, readReport, m{"id": "x"}, "read:reports]"},
		"without a name":          {Options{Scopes: reportScopes}, createReport, m{"input": m{"type": "AUDIT_LOG"}}, `field "name"`},
		"an unknown parameter":    {Options{Scopes: reportScopes}, createReport, m{"input": m{"name": "r", "type": "AUDIT_LOG", "limit": 3}}, `"limit" is not defined`},
		"another type":            {Options{Scopes: reportScopes}, createReport, m{"input": m{"name": "r", "type": "ISSUES"}}, "ISSUES is not simulated"},
		"another format":          {Options{Scopes: reportScopes}, createReport, m{"input": m{"name": "r", "type": "AUDIT_LOG", "format": "PDF"}}, "PDF is not simulated"},
		"a rerun of none":         {Options{Scopes: reportScopes}, rerunReport, m{"id": "x"}, "Resource not found"},
		"the older schema":        {Options{Scopes: reportScopes, Schema: LegacySchema}, `mutation { __typename }`, nil, `operation type "mutation"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newTester(t, tt.options)
			_, a := c.ask(tt.query, tt.vars)
			if len(a.Errors) == 0 || !strings.Contains(a.Errors[0].Message, tt.says) {
				t.Errorf("%+v, want %s", a.Errors, tt.says)
			}
		})
	}
}

// All reports are listed, the latest first, or those that a filter leaves.
func TestReports(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{Scopes: reportScopes})
	for _, name := range []string{"one", "two", "three"} {
		c.order(m{"name": name, "type": "AUDIT_LOG"})
	}
	for name, tt := range map[string]struct {
		filter m
		want   []string
	}{
		"all":          {nil, []string{"three", "two", "one"}},
		"by name":      {m{"search": "T"}, []string{"three", "two"}},
		"another type": {m{"type": []string{"ISSUES"}}, []string{}},
		"done":         {m{"lastReportRunStatus": []string{"COMPLETED"}}, []string{}},
	} {
		var d struct{ Reports page }
		c.get(`query($f: ReportFilters) { reports(first: 10, filterBy: $f) { totalCount nodes { name } } }`, m{"f": tt.filter}, &d)
		if got := column(d.Reports.Nodes, "name"); !slices.Equal(got, tt.want) || d.Reports.TotalCount != len(tt.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
