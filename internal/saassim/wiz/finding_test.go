package wiz

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/saassim"
)

// findingFields are what the tests ask of the findings of a kind.
var findingFields = map[string]string{
	"vulnerabilities": `id name status severity vendorSeverity hasExploit hasCisaKevExploit hasFix detectionMethod firstDetectedAt firstDetectedAtSource
		updatedAt statusUpdatedAt resolvedAt publishedDate fixDate lastDetectedAt
		vulnerableAsset { __typename ... on VulnerableAssetBase { id type cloudPlatform } ... on VulnerableAssetVirtualMachine { ipAddresses } ... on VulnerableAssetContainerImage { imageId } }`,
	"configuration_findings": `id result status severity source deleted analyzedAt firstSeenAt updatedAt statusChangedAt rule { id shortId subjectEntityType } resource { id type nativeType tags { key value } }`,
	"detections": `id type severity createdAt updatedAt startedAt endedAt isRetroactive ignored issue { id url } ruleMatch { rule { id name } } actors(first: 1) { id }
		triggeringEvents(first: 3) { totalCountV2 pageInfo { hasNextPage endCursor } nodes { __typename ... on CloudEvent { id timestamp } } }`,
	"system_health_issues": `id name status severity firstSeenAt lastSeenAt region type { category } deployment { id type } details { ... on SystemHealthIssuePermissionsCategoryTypeDetails { relatedPermissions } }`,
}

// findingPage reads a page of a kind's findings.
func (c *tester) findingPage(source string) func(vars m) page {
	k := kindOfSource(source)
	filters := map[string]string{"VulnerabilityFinding": "VulnerabilityFinding", "ConfigurationFinding": "ConfigurationFinding", "Detection": "Detection", "SystemHealthIssue": "SystemHealthIssue"}[k.node]
	counts := ""
	if source != "system_health_issues" {
		counts = "maxCountReached"
	}
	query := fmt.Sprintf(`query Findings($first: Int, $after: String, $filterBy: %[2]sFilters, $orderBy: %[2]sOrder) {
		%[1]s(first: $first, after: $after, filterBy: $filterBy, orderBy: $orderBy) { totalCount %[4]s pageInfo { hasNextPage endCursor } nodes { %[3]s } } }`,
		k.many, filters, findingFields[source], counts)
	return func(vars m) page {
		c.Helper()
		var d map[string]page
		c.get(query, vars, &d)
		return d[k.many]
	}
}

func text(n any, path ...string) string {
	for _, name := range path {
		inner, _ := n.(m)
		n = inner[name]
	}
	s, _ := n.(string)
	return s
}

func TestFindingFilters(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	for _, k := range findingKinds {
		c.AddFindings(k.source, saassim.Batch{N: 400, From: noon.Add(-30 * 24 * time.Hour)})
	}
	window := m{"after": "2026-11-05T00:00:00Z", "before": "2026-11-12T00:00:00Z"}
	within := func(k string) func(n m) bool {
		return func(n m) bool { return text(n, k) > "2026-11-05T00" && text(n, k) < "2026-11-12T00" }
	}
	is := func(k string, values ...any) func(n m) bool {
		return func(n m) bool { return slices.Contains(values, n[k]) }
	}
	threat := is("type", "GENERATED_THREAT")
	for _, tt := range []struct {
		source, name string
		filter       m
		want         func(n m) bool
	}{
		{"vulnerabilities", "updated", m{"updatedAt": window}, within("updatedAt")},
		{"vulnerabilities", "first seen", m{"firstSeenAt": window}, within("firstDetectedAt")},
		{"vulnerabilities", "resolved", m{"resolvedAt": window}, within("resolvedAt")},
		{"vulnerabilities", "status updated", m{"statusUpdatedAt": m{"inLast": m{"amount": 5, "unit": "DurationFilterValueUnitDays"}}}, func(n m) bool { return text(n, "statusUpdatedAt") > "2026-11-16T12" }},
		{"vulnerabilities", "status", m{"status": []string{"RESOLVED", "REJECTED"}}, is("status", "RESOLVED", "REJECTED")},
		{"vulnerabilities", "severity", m{"severity": []string{"CRITICAL"}, "hasFix": true}, is("severity", "CRITICAL")},
		{"vulnerabilities", "exploit", m{"hasExploit": true}, is("hasExploit", true)},
		{"vulnerabilities", "asset", m{"assetType": []string{"CONTAINER_IMAGE"}}, func(n m) bool { return text(n, "vulnerableAsset", "type") == "CONTAINER_IMAGE" }},
		{"vulnerabilities", "platform", m{"cloudPlatforms": "GitHub"}, func(n m) bool { return text(n, "vulnerableAsset", "cloudPlatform") == "GitHub" }},

		{"configuration_findings", "updated", m{"updatedAt": window}, within("updatedAt")},
		{"configuration_findings", "analysed", m{"analyzedAt": window}, within("analyzedAt")},
		{"configuration_findings", "first seen", m{"firstSeenAt": window}, within("firstSeenAt")},
		{"configuration_findings", "status changed", m{"statusChangedAt": window}, within("statusChangedAt")},
		{"configuration_findings", "result", m{"result": []string{"FAIL"}}, is("result", "FAIL")},
		{"configuration_findings", "resource", m{"resource": m{"type": []string{"BUCKET"}}}, func(n m) bool { return text(n, "resource", "type") == "BUCKET" }},

		{"detections", "created", m{"createdAt": window}, func(n m) bool { return threat(n) && within("createdAt")(n) }},
		{"detections", "updated, of one type", m{"updatedAt": window, "type": m{"equals": []string{"MATCH_ONLY"}}}, func(n m) bool { return !threat(n) && within("updatedAt")(n) }},
		{"detections", "started, of either type", m{"startedAt": window, "type": m{"equals": []string{"MATCH_ONLY", "GENERATED_THREAT"}}}, within("startedAt")},
		{"detections", "not of a type", m{"type": m{"notEquals": []string{"GENERATED_THREAT"}}}, func(n m) bool { return !threat(n) }},
		{"detections", "either of two", m{"or": []m{{"severity": m{"equals": []string{"HIGH"}}}, {"type": m{"equals": []string{"GENERATED_THREAT"}}}}}, func(n m) bool { return threat(n) || text(n, "severity") == "HIGH" }},
		{"detections", "all of two", m{"and": []m{{"severity": m{"notEquals": []string{"HIGH"}}}, {"type": m{"equals": []string{"MATCH_ONLY"}}}}}, func(n m) bool { return !threat(n) && text(n, "severity") != "HIGH" }},
		{"detections", "no type", m{}, threat},
		{"detections", "ignored", m{"status": m{"equals": []string{"IGNORED"}}, "type": m{"equals": []string{"MATCH_ONLY", "GENERATED_THREAT"}}}, is("ignored", true)},

		{"system_health_issues", "status", m{"status": []string{"OPEN"}}, is("status", "OPEN")},
		{"system_health_issues", "category", m{"category": []string{"PERMISSIONS"}}, func(n m) bool { return text(n, "type", "category") == "PERMISSIONS" }},
		{"system_health_issues", "deployment", m{"deploymentType": "SENSOR"}, func(n m) bool { return text(n, "deployment", "type") == "SENSOR" }},
	} {
		everything := m{"first": 333}
		switch tt.source {
		case "detections":
			everything["filterBy"] = m{"type": m{"equals": []string{"MATCH_ONLY", "GENERATED_THREAT"}}}
		case "configuration_findings":
			everything["filterBy"] = m{"includeDeleted": true}
		}
		all := c.walk(c.findingPage(tt.source), everything)
		if len(all) != 400 {
			t.Fatalf("%s: %d findings", tt.source, len(all))
		}
		var want []string
		for _, n := range all {
			if tt.want(n) && n["deleted"] != true {
				want = append(want, text(n, "id"))
			}
		}
		if len(want) == 0 || len(want) == len(all) {
			t.Errorf("%s, %s: %d of %d findings prove nothing", tt.source, tt.name, len(want), len(all))
		}
		if d := cmp.Diff(want, column(c.walk(c.findingPage(tt.source), m{"first": 77, "filterBy": tt.filter}), "id")); d != "" {
			t.Errorf("%s, %s: (-want +got)\n%s", tt.source, tt.name, d)
		}
	}
}

// TestFindingsOfToday: what a query shows is the truth of the moment, and what
// has gone is not among it.
func TestFindingsOfToday(t *testing.T) {
	t.Parallel()
	now := noon
	c := newTester(t, Options{Clock: func() time.Time { return now }})
	for _, k := range findingKinds {
		c.AddFindings(k.source, saassim.Batch{N: 60, From: noon.Add(-time.Hour)})
	}
	now = now.Add(time.Minute)
	for _, k := range findingKinds {
		changed := c.ChangeFindings(k.source, 20)
		gone := c.RemoveFindings(k.source, 10)
		vars := m{"first": 50}
		if k == detections {
			vars["filterBy"] = m{"type": m{"notEquals": []string{}}}
		}
		seen := map[string]m{}
		for _, n := range c.walk(c.findingPage(k.source), vars) {
			seen[text(n, "id")] = n
		}
		current := map[string]saassim.Truth{}
		for _, v := range c.truth("wiz/" + k.source) {
			if v.ReplacedAt.IsZero() {
				current[v.ID] = v
			}
		}
		for id, n := range seen {
			v, ok := current[id]
			if at := text(n, "updatedAt"); !ok || at != "" && at != v.Time.Format(timeLayout) {
				t.Errorf("%s: %v, in truth %v", k.source, n, v)
			}
		}
		hidden := 0
		for id := range current {
			if seen[id] == nil {
				hidden++
			}
		}
		if most := 50; len(changed) != 20 || len(gone) != 10 || len(current) > most || k != configurationFindings && len(current) < most || hidden > 0 {
			t.Errorf("%s: %d changed, %d gone, %d there, %d of them hidden", k.source, len(changed), len(gone), len(current), hidden)
		}
		if slices.ContainsFunc(gone, func(id string) bool { return seen[id] != nil }) {
			t.Errorf("%s: what is gone is seen", k.source)
		}
		if id := slices.Collect(maps.Keys(seen))[0]; true {
			var d map[string]m
			c.get(`query One($id: ID!) { `+k.one+`(id: $id) { id } }`, m{"id": id}, &d)
			if text(d, k.one) == id || d[k.one]["id"] != id {
				t.Errorf("%s: asked for %s, got %v", k.source, id, d)
			}
		}
		if _, a := c.ask(`query One($id: ID!) { `+k.one+`(id: $id) { id } }`, m{"id": gone[0]}); len(a.Errors) != 1 || a.Errors[0].Message != "Resource not found" {
			t.Errorf("%s: what is gone: %+v", k.source, a)
		}
	}
}

// TestFindingCap: a query of configuration findings yields so many and says so.
func TestFindingCap(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{FindingCap: 30, DetectionCap: 20})
	c.AddFindings("configuration_findings", saassim.Batch{N: 50})
	c.AddFindings("detections", saassim.Batch{N: 50})
	c.AddFindings("vulnerabilities", saassim.Batch{N: 50})
	for source, want := range map[string]struct {
		yields int
		says   string
	}{"configuration_findings": {30, `"maxCountReached":true`}, "detections": {20, `"maxCountReached":true`}, "vulnerabilities": {50, `"maxCountReached":false`}} {
		vars := m{"first": 7}
		switch source {
		case "configuration_findings":
			vars["filterBy"] = m{"includeDeleted": true}
		case "detections":
			vars["filterBy"] = m{"type": m{"equals": []string{"MATCH_ONLY", "GENERATED_THREAT"}}}
		}
		if n := len(c.walk(c.findingPage(source), vars)); n != want.yields {
			t.Errorf("%s: %d findings", source, n)
		}
		k := kindOfSource(source)
		rec := c.post(`query Q($f: `+map[bool]string{true: "Detection", false: k.node}[k == detections]+`Filters) { `+k.many+`(first: 1, filterBy: $f) { totalCount maxCountReached } }`, m{"f": vars["filterBy"]})
		if got := rec.Body.String(); !strings.Contains(got, want.says) || !strings.Contains(got, `"totalCount":50`) {
			t.Errorf("%s: %s", source, got)
		}
	}
}

// TestEventPages: a detection's events are read page by page, with cursors that
// are its own.
func TestEventPages(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.AddFindings("detections", saassim.Batch{N: 60})
	both := m{"type": m{"equals": []string{"MATCH_ONLY", "GENERATED_THREAT"}}}
	type events struct {
		TotalCountV2 int
		PageInfo     struct {
			HasNextPage bool
			EndCursor   string
		}
		Nodes []m
	}
	long := 0
	for _, n := range c.walk(c.findingPage("detections"), m{"filterBy": both}) {
		first := n["triggeringEvents"].(m)
		total := int(first["totalCountV2"].(float64))
		var seen []string
		after, more := "", true
		for pages := 0; more; pages++ {
			var d struct {
				Detection struct{ TriggeringEvents events }
			}
			c.get(`query E($id: ID!, $after: String) { detection(id: $id) { triggeringEvents(first: 7, after: $after) { totalCountV2 pageInfo { hasNextPage endCursor } nodes { ... on CloudEvent { id } } } } }`,
				map[bool]m{true: {"id": n["id"]}, false: {"id": n["id"], "after": after}}[after == ""], &d)
			e := d.Detection.TriggeringEvents
			seen = append(seen, column(e.Nodes, "id")...)
			if after, more = e.PageInfo.EndCursor, e.PageInfo.HasNextPage; pages > 100 {
				t.Fatal("no end")
			}
		}
		if len(seen) != total || len(slices.Compact(slices.Sorted(slices.Values(seen)))) != total {
			t.Errorf("%d events of %d", len(seen), total)
		}
		if got, _ := first["nodes"].([]any); len(got) != min(total, 3) || (total > 3) != first["pageInfo"].(m)["hasNextPage"].(bool) {
			t.Errorf("first page %v of %d", first, total)
		}
		if total > 7 {
			long++
		}
	}
	if long == 0 {
		t.Error("no detection has many events")
	}
}
