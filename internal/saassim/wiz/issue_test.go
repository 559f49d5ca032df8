package wiz

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/saassim"
)

func (c *tester) issueIDs(vars m) []string { return column(c.walk(c.issuePage, vars), "id") }

func TestIssueFilters(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.AddIssues(saassim.Batch{N: 600, From: noon.Add(-30 * 24 * time.Hour)})
	all := c.walk(c.issuePage, m{"first": 300})
	if len(all) != 600 {
		t.Fatalf("%d of 600 issues", len(all))
	}
	text := func(n m, k string) string { s, _ := n[k].(string); return s }
	in := func(n m, k string) m { o, _ := n[k].(m); return o }
	items := func(n m, k string) []any { l, _ := n[k].([]any); return l }
	find := func(ok func(m) bool) m {
		return all[slices.IndexFunc(all, ok)]
	}
	project := text(in(find(func(n m) bool { return n["project"] != nil }), "project"), "id")
	account := text(items(find(func(n m) bool { return len(items(n, "cloudAccounts")) > 0 }), "cloudAccounts")[0].(m), "id")
	assignee := text(in(find(func(n m) bool { return n["assignee"] != nil }), "assignee"), "id")
	ticket := text(items(find(func(n m) bool { return len(items(n, "serviceTickets")) > 0 }), "serviceTickets")[0].(m), "name")
	noted := items(find(func(n m) bool { return len(fmt.Sprint(n["notes"])) > 20 }), "notes")[0].(m)
	rule := items(all[0], "sourceRules")[0].(m)
	window := m{"after": "2026-11-05T00:00:00Z", "before": "2026-11-12T00:00:00Z"}
	within := func(k string) func(m) bool {
		return func(n m) bool { return text(n, k) > "2026-11-05T00" && text(n, k) < "2026-11-12T00" }
	}
	for _, tt := range []struct {
		name   string
		filter m
		want   func(n m) bool
	}{
		{"status", m{"status": []string{"OPEN", "IN_PROGRESS"}}, func(n m) bool { return n["status"] == "OPEN" || n["status"] == "IN_PROGRESS" }},
		{"severity", m{"severity": []string{"CRITICAL"}}, func(n m) bool { return n["severity"] == "CRITICAL" }},
		{"type", m{"type": []string{"THREAT_DETECTION"}}, func(n m) bool { return n["type"] == "THREAT_DETECTION" }},
		{"id", m{"id": []string{text(all[3], "id")}}, func(n m) bool { return n["id"] == all[3]["id"] }},
		{"created", m{"createdAt": window}, within("createdAt")},
		{"status changed", m{"statusChangedAt": window}, within("statusChangedAt")},
		{"resolved", m{"resolvedAt": window}, within("resolvedAt")},
		{"due later", m{"dueAt": m{"inNext": m{"amount": 1, "unit": "DurationFilterValueUnitWeeks"}}}, func(n m) bool {
			return text(n, "dueAt") > "2026-11-21T12:00:00Z" && text(n, "dueAt") < "2026-11-28T12:00:00Z"
		}},
		{"rejection ends", m{"rejectionExpiresAt": m{"afterNext": m{"amount": 2, "unit": "DurationFilterValueUnitWeeks"}}}, func(n m) bool { return text(n, "rejectionExpiredAt") > "2026-12-05T12" }},
		{"grouped", m{"threatLastGroupedAt": window}, within("lastEventAt")},
		{"resolution", m{"resolutionReason": []string{"OBJECT_DELETED"}}, func(n m) bool { return n["resolutionReason"] == "OBJECT_DELETED" }},
		{"open reason", m{"openReason": []string{"ISSUE_RESURFACED"}}, func(n m) bool { return n["openReason"] == "ISSUE_RESURFACED" }},
		{"project", m{"project": []string{project}}, func(n m) bool { return in(n, "project")["id"] == project }},
		{"no project", m{"projectIsSet": false}, func(n m) bool { return n["project"] == nil }},
		{"cloud account", m{"cloudAccountOrCloudOrganizationId": []string{account}}, func(n m) bool {
			return len(items(n, "cloudAccounts")) > 0 && items(n, "cloudAccounts")[0].(m)["id"] == account
		}},
		{"rule", m{"sourceRule": m{"id": []string{text(rule, "id")}}}, func(n m) bool { return items(n, "sourceRules")[0].(m)["id"] == rule["id"] }},
		{"risk", m{"riskEqualsAny": []string{"RUNTIME", "VULNERABILITY"}}, func(n m) bool {
			risks := fmt.Sprint(items(n, "sourceRules")[0].(m)["risks"])
			return strings.Contains(risks, "RUNTIME") || strings.Contains(risks, "VULNERABILITY")
		}},
		{"risks", m{"riskEqualsAll": []string{"EXTERNAL_EXPOSURE", "VULNERABILITY"}}, func(n m) bool {
			return strings.Contains(fmt.Sprint(items(n, "sourceRules")[0].(m)["risks"]), "EXTERNAL_EXPOSURE VULNERABILITY")
		}},
		{"entity type", m{"relatedEntity": m{"type": []string{"BUCKET"}, "cloudPlatform": []string{"AWS"}}}, func(n m) bool { return in(n, "entitySnapshot")["type"] == "BUCKET" }},
		{"entity id", m{"relatedEntity": m{"id": text(in(all[5], "entitySnapshot"), "id")}}, func(n m) bool { return n["id"] == all[5]["id"] }},
		{"entity name", m{"relatedEntity": m{"search": "ZONE-B"}}, func(n m) bool { return strings.Contains(text(in(n, "entitySnapshot"), "name"), "zone-b") }},
		{"assignee", m{"assignee": m{"equals": []string{assignee}}}, func(n m) bool { return in(n, "assignee")["id"] == assignee }},
		{"assigned", m{"assignee": m{"isSet": true}}, func(n m) bool { return n["assignee"] != nil }},
		{"notes", m{"hasNote": true}, func(n m) bool { return len(items(n, "notes")) > 0 }},
		{"note's text", m{"noteContains": strings.ToUpper(text(noted, "text"))}, func(n m) bool {
			return strings.Contains(strings.ToLower(fmt.Sprint(n["notes"])), strings.ToLower(text(noted, "text")))
		}},
		{"tickets", m{"hasServiceTicket": true}, func(n m) bool { return len(items(n, "serviceTickets")) > 0 }},
		{"ticket", m{"searchServiceTicket": ticket}, func(n m) bool { return strings.Contains(fmt.Sprint(n["serviceTickets"]), ticket+"]") }},
		{"due", m{"hasDueDate": true}, func(n m) bool { return n["dueAt"] != nil }},
		{"exploitable", m{"validatedAsExploitable": true}, func(n m) bool { return n["validatedAsExploitable"] == true }},
		{"search", m{"search": "crypto-MINING"}, func(n m) bool {
			return strings.Contains(text(items(n, "sourceRules")[0].(m), "name"), "Crypto-mining")
		}},
	} {
		var want []string
		for _, n := range all {
			if tt.want(n) {
				want = append(want, text(n, "id"))
			}
		}
		if len(want) == 0 || len(want) == len(all) {
			t.Errorf("%s: %d of %d issues prove nothing", tt.name, len(want), len(all))
		}
		if d := cmp.Diff(want, c.issueIDs(m{"first": 77, "filterBy": tt.filter})); d != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.name, d)
		}
	}
}

func TestIssueOrder(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.AddIssues(saassim.Batch{N: 300})
	rank := func(n m) string { return fmt.Sprint(slices.Index(severities, n["severity"].(string))) }
	at := func(name string) func(m) string {
		return func(n m) string {
			if s, ok := n[name].(string); ok {
				when, err := time.Parse(tf, s)
				if err != nil {
					t.Fatal(err)
				}
				return when.Format("2006-01-02T15:04:05.000000") // as text in the order of time
			}
			return "~" // a null is last when ascending
		}
	}
	for field, key := range map[string]func(m) string{
		"CREATED_AT": at("createdAt"), "STATUS_CHANGED_AT": at("statusChangedAt"), "RESOLVED_AT": at("resolvedAt"), "SEVERITY": rank, "ID": at("nothing"),
	} {
		for _, direction := range []string{"ASC", "DESC"} {
			nodes := c.walk(c.issuePage, m{"first": 50, "orderBy": m{"field": field, "direction": direction}})
			var keys []string
			for _, n := range nodes {
				keys = append(keys, key(n)+" "+n["id"].(string))
			}
			if direction == "DESC" {
				slices.Reverse(keys)
			}
			if !slices.IsSorted(keys) || len(nodes) != 300 {
				t.Errorf("%s %s: %d nodes out of order", field, direction, len(nodes))
			}
		}
	}
}

// An issue goes through its states as the clock moves, and queries see one at
// a time.
func TestIssueLife(t *testing.T) {
	t.Parallel()
	now := noon
	c := newTester(t, Options{Clock: func() time.Time { return now }})
	c.AddIssues(saassim.Batch{N: 200, From: noon, To: noon.Add(240 * time.Hour)})
	if ids := c.issueIDs(nil); len(ids) > 0 {
		t.Fatalf("%d issues before their time", len(ids))
	}
	versions := map[string][]saassim.Truth{}
	statuses, detailOnly, untouched := map[string]int{}, 0, 0
	for _, v := range c.truth("wiz/issues") {
		if last := versions[v.ID]; len(last) > 0 {
			old := last[len(last)-1]
			if !v.Time.After(old.Time) || !old.ReplacedAt.Equal(v.VisibleAt) {
				t.Errorf("%s follows %s", v, old)
			}
			if v.Status == old.Status {
				detailOnly++
				if !v.StatusChangedAt.Equal(old.StatusChangedAt) {
					t.Errorf("the status did not change, statusChangedAt did: %v", v)
				}
			} else if !v.StatusChangedAt.Equal(v.Time) {
				t.Errorf("the status changed, statusChangedAt did not follow: %v", v)
			}
		} else if v.Status != "OPEN" || !v.StatusChangedAt.IsZero() {
			t.Errorf("first state %v", v)
		}
		versions[v.ID] = append(versions[v.ID], v)
		statuses[v.Status]++
	}
	for _, vs := range versions {
		if len(vs) == 1 {
			untouched++
		}
	}
	for _, s := range []string{"OPEN", "IN_PROGRESS", "RESOLVED", "REJECTED"} {
		if statuses[s] == 0 {
			t.Errorf("no issue is ever %s", s)
		}
	}
	if len(versions) != 200 || detailOnly == 0 || untouched == 0 {
		t.Errorf("%d issues, %d changes of detail, %d never changed", len(versions), detailOnly, untouched)
	}
	for range 12 {
		now = now.Add(20 * time.Hour)
		for _, n := range c.walk(c.issuePage, nil) {
			i := slices.IndexFunc(versions[n["id"].(string)], func(v saassim.Truth) bool {
				return !v.VisibleAt.After(now) && (v.ReplacedAt.IsZero() || v.ReplacedAt.After(now))
			})
			if v := versions[n["id"].(string)][i]; n["updatedAt"] != v.Time.Format(timeLayout) || n["status"] != v.Status {
				t.Errorf("at %v the node says %v %v, the truth %v", now, n["status"], n["updatedAt"], v)
			}
		}
	}
}

func TestChangeIssues(t *testing.T) {
	t.Parallel()
	now := noon
	c := newTester(t, Options{Clock: func() time.Time { return now }})
	c.AddIssues(saassim.Batch{N: 30})
	before := map[any]any{}
	for _, n := range c.walk(c.issuePage, nil) {
		before[n["id"]] = n["updatedAt"]
	}
	now = noon.Add(time.Minute)
	changed := c.ChangeIssues(7)
	var got []string
	for _, n := range c.walk(c.issuePage, nil) {
		if n["updatedAt"] != before[n["id"]] {
			got = append(got, n["id"].(string))
		}
	}
	if d := cmp.Diff(sorted(changed), sorted(got)); d != "" || len(changed) != 7 {
		t.Errorf("changed (-said +seen)\n%s", d)
	}
	var d struct{ Issue m }
	c.get(`query Q($id: ID!) { issue(id: $id) { id updatedAt } }`, m{"id": changed[0]}, &d)
	if d.Issue["updatedAt"] != "2026-11-21T12:01:00Z" {
		t.Errorf("issue %v", d.Issue)
	}
}

// TestIssuesVanish: what is gone is found by no query, until it comes back as it
// was.
func TestIssuesVanish(t *testing.T) {
	t.Parallel()
	now := noon
	c := newTester(t, Options{Clock: func() time.Time { return now }})
	c.AddIssues(saassim.Batch{N: 30})
	see := func() (all map[string]any) {
		all = map[string]any{}
		for _, n := range c.walk(c.issuePage, nil) {
			all[n["id"].(string)] = n
		}
		return all
	}
	before := see()
	now = noon.Add(time.Minute)
	gone := c.RemoveIssues(7)
	left := see()
	for _, id := range gone {
		if left[id] != nil {
			t.Errorf("%s is seen", id)
		}
	}
	if len(gone) != 7 || len(left) != 23 {
		t.Errorf("%d gone, %d left", len(gone), len(left))
	}
	if _, a := c.ask(`query Q($id: ID!) { issue(id: $id) { id } }`, m{"id": gone[0]}); len(a.Errors) != 1 {
		t.Errorf("what is gone: %+v", a)
	}
	ended := 0
	for _, s := range c.truth("wiz/issues") {
		if slices.Contains(gone, s.ID) && s.ReplacedAt.Equal(now) {
			ended++
		}
	}
	if ended != 7 {
		t.Errorf("%d states end as the issues go", ended)
	}
	if changed := c.ChangeIssues(30); len(changed) != 23 {
		t.Errorf("%d of those left changed", len(changed))
	}
	now = now.Add(time.Minute)
	back := c.ReturnIssues(30)
	if d := cmp.Diff(sorted(gone), sorted(back)); d != "" {
		t.Errorf("back (-gone +back)\n%s", d)
	}
	after := see()
	for _, id := range back {
		if d := cmp.Diff(before[id], after[id]); d != "" {
			t.Errorf("%s came back otherwise:\n%s", id, d)
		}
	}
}

func TestIssueCounts(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.AddIssues(saassim.Batch{N: 50})
	var d struct{ IssuesV2 map[string]int }
	c.get(`{ issuesV2(first: 1) { totalCount criticalSeverityCount highSeverityCount mediumSeverityCount lowSeverityCount informationalSeverityCount uniqueEntityCount } }`, nil, &d)
	n := d.IssuesV2
	if n["totalCount"] != 50 || n["uniqueEntityCount"] != 50 ||
		n["criticalSeverityCount"]+n["highSeverityCount"]+n["mediumSeverityCount"]+n["lowSeverityCount"]+n["informationalSeverityCount"] != 50 {
		t.Errorf("counts %v", n)
	}
}

func TestRunMakesRecordsAsTimePasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTester(t, Options{Clock: time.Now})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.Run(ctx, saassim.Live{"audit": 5, "issues": 2}); err != context.DeadlineExceeded {
			t.Errorf("Run returned %v", err)
		}
		entries, states := c.truth("wiz/audit"), c.truth("wiz/issues")
		if len(entries) < 200 || len(entries) > 400 || len(states) < 60 || len(states) > 200 {
			t.Errorf("%d entries and %d states in a minute", len(entries), len(states))
		}
		if got := len(c.walk(c.auditPage, m{"first": 1000})); got != len(entries) {
			t.Errorf("%d of %d entries are visible", got, len(entries))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := newTester(t, Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.Run(ctx, saassim.Live{}); err != context.DeadlineExceeded {
			t.Errorf("Run returned %v", err)
		}
	})
}
