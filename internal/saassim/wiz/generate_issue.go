package wiz

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

var (
	severities = []string{"INFORMATIONAL", "LOW", "MEDIUM", "HIGH", "CRITICAL"} // mildest first
	issueTypes = []string{"TOXIC_COMBINATION", "THREAT_DETECTION", "CLOUD_CONFIGURATION", "ATTACK_SURFACE", "RISK_TOXIC_COMBINATION"}
)

// entityKinds are the kinds of thing that issues are about, as their cloud
// names them.
var entityKinds = []struct{ typ, native, platform, provider, region string }{
	{"VIRTUAL_MACHINE", "ec2#instance", "AWS", "AWS", "us-east-1"},
	{"BUCKET", "s3#bucket", "AWS", "AWS", "eu-central-1"},
	{"SERVERLESS", "lambda#function", "AWS", "AWS", "ap-northeast-1"},
	{"DATABASE", "Microsoft.Sql/servers/databases", "Azure", "Azure", "westeurope"},
	{"CONTAINER_IMAGE", "containerImage", "EKS", "AWS", "us-west-2"},
	{"KUBERNETES_CLUSTER", "container#cluster", "GKE", "GCP", "europe-west1"},
	{"SERVICE_ACCOUNT", "iam#serviceAccount", "GCP", "GCP", ""},
	{"USER_ACCOUNT", "Microsoft Entra ID User", "Azure", "Azure", ""},
	{"ACCESS_ROLE", "iam#role", "AWS", "AWS", ""},
	{"REPOSITORY", "repository", "GitHub", "GitHub", ""},
	{"SECRET", "privateKey", "AWS", "AWS", "us-east-1"},
	{"ENDPOINT", "endpoint", "Unknown", "AWS", "us-east-1"},
}

// world is what the tenant's issues are about.
type world struct {
	projects, accounts []thing
	rules              map[string][]thing // by the type of issue
}

func (g *generator) newWorld() world {
	w := world{rules: map[string][]thing{}}
	for i, name := range []string{"Payments", "Data platform", "Website", "Corp IT", "Réseau"} {
		w.projects = append(w.projects, thing{
			"__typename": "Project", "id": g.UUID(), "name": name, "slug": strings.ToLower(strings.ReplaceAll(name, " ", "-")),
			"archived": false, "isFolder": i == 3, "businessUnit": saassim.Pick(g.Dice, []string{"Retail", "Platform", ""}), "createdAt": started(i),
			"projectOwners": principals(g.users[i%len(g.users)]), "securityChampions": principals(),
			"riskProfile": thing{"__typename": "ProjectRiskProfile", "businessImpact": []string{"HBI", "MBI", "LBI"}[i%3],
				"isCustomerFacing": "YES", "isInternetFacing": "UNKNOWN", "isRegulated": "NO", "storesData": "YES"},
		})
	}
	for i, provider := range []string{"AWS", "Azure", "GCP", "GitHub", "AWS"} {
		w.accounts = append(w.accounts, thing{
			"__typename": "CloudAccount", "id": g.UUID(), "name": fmt.Sprintf("%s-%d", strings.ToLower(provider), i+1), "cloudProvider": provider,
			"externalId": fmt.Sprintf("%012d", g.Int64N(1e12)), "firstScannedAt": started(i), "lastScannedAt": started(i + 500),
		})
	}
	rule := func(issueType, kind, name, severity string, risks ...string) {
		r := thing{
			"__typename": kind, "id": g.UUID(), "name": name, "description": "It was found that: " + name + ".", "enabled": true,
			"risks": risks, "threats": []string{"INITIAL_ACCESS"}, "securitySubCategories": things(g.subCategory()),
			"severity": severity, "builtin": true, "createdAt": started(2), "updatedAt": started(40),
		}
		switch kind {
		case "Control":
			r["type"], r["descriptionPlainText"] = "SECURITY_GRAPH", r["description"]
			r["resolutionRecommendation"] = "Take the exposure away, or patch."
			r["resolutionRecommendationPlainText"] = r["resolutionRecommendation"]
		case "CloudConfigurationRule":
			r["shortId"], r["graphId"] = fmt.Sprintf("S3-%03d", g.IntN(1000)), g.UUID()
			r["serviceType"], r["subjectEntityType"], r["targetNativeTypes"] = "AWS", "BUCKET", []string{"bucket"}
			r["cloudProvider"], r["findingTitle"], r["functionAsControl"] = "AWS", name, true
			r["remediationInstructions"] = "Run `aws s3api put-public-access-block`."
		case "CloudEventRule":
			r["generateIssues"] = true
			r["type"], r["sourceType"], r["origins"] = "CORRELATION", "WIZ", []string{"AWS_CLOUDTRAIL"}
		}
		w.rules[issueType] = append(w.rules[issueType], r)
	}
	rule("TOXIC_COMBINATION", "Control", "Publicly exposed VM with a critical vulnerability and admin rights", "CRITICAL", "EXTERNAL_EXPOSURE", "VULNERABILITY")
	rule("TOXIC_COMBINATION", "Control", "Secret in a container image gives access to sensitive data", "HIGH", "INSECURE_USE_OF_SECRETS")
	rule("RISK_TOXIC_COMBINATION", "Control", "Unused admin key of a former employee", "MEDIUM", "UNPROTECTED_PRINCIPAL")
	rule("CLOUD_CONFIGURATION", "CloudConfigurationRule", "Bucket allows public reads", "MEDIUM", "UNPROTECTED_DATA")
	rule("CLOUD_CONFIGURATION", "CloudConfigurationRule", "Disk is not encrypted with a customer key", "LOW", "UNPROTECTED_DATA")
	rule("CLOUD_CONFIGURATION", "CloudConfigurationRule", "Function runs an ageing runtime", "INFORMATIONAL", "RELIABILITY_IMPACT")
	rule("THREAT_DETECTION", "CloudEventRule", "Access keys used from an unusual country", "HIGH", "RUNTIME")
	rule("THREAT_DETECTION", "CloudEventRule", "Crypto-mining process on a workload", "CRITICAL", "RUNTIME")
	rule("ATTACK_SURFACE", "Control", "Exposed admin panel with default credentials", "CRITICAL", "EXTERNAL_ATTACK_SURFACE")
	return w
}

func (g *generator) subCategory() thing {
	framework := thing{"__typename": "SecurityFramework", "id": g.UUID(), "name": "House rules", "enabled": true, "builtin": false}
	category := thing{"__typename": "SecurityCategory", "id": g.UUID(), "name": "Exposure", "description": "", "externalId": "HR-1", "framework": framework}
	return thing{"__typename": "SecuritySubCategory", "id": g.UUID(), "title": "No public data", "description": "", "externalId": "HR-1.2", "category": category}
}

func principals(ps ...*principal) list {
	return list{n: len(ps), at: func(i int) object { return account{ps[i]} }}
}

// issue makes an issue and its first state.
func (g *generator) issue(at time.Time) *issue {
	typ, kind := saassim.Pick(g.Dice, issueTypes), saassim.Pick(g.Dice, entityKinds)
	i := &issue{id: g.UUID(), typ: typ, created: at, rule: saassim.Pick(g.Dice, g.world.rules[typ])}
	i.url = "https://app.wiz.io/issues#~(issue~'" + i.id + ")"
	i.description = textOf(i.rule, "description")
	i.evidence = saassim.Raw(map[string]any{"type": []string{kind.typ}, "select": true, "where": map[string]any{"status": map[string]any{"EQUALS": []string{"Active"}}}})
	if g.Chance(0.8) {
		i.project = saassim.Pick(g.Dice, g.world.projects)
	}
	if fit := slices.DeleteFunc(slices.Clone(g.world.accounts), func(a thing) bool { return a["cloudProvider"] != kind.provider }); len(fit) > 0 {
		i.account = saassim.Pick(g.Dice, fit)
	}
	name := saassim.Pick(g.Dice, saassim.Words) + " " + g.Text(6, saassim.Lower)
	i.entity = thing{
		"__typename": "IssueEntitySnapshot", "id": g.UUID(), "name": name, "type": kind.typ, "nativeType": kind.native, "cloudPlatform": kind.platform,
		"status": "Active", "createdAt": at.Add(-72 * time.Hour), "providerId": strings.ToLower(kind.typ) + "/" + g.Text(12, saassim.Lower), "externalId": g.Text(17, saassim.Lower),
		"tags": saassim.Raw(map[string]string{"team": saassim.Pick(g.Dice, saassim.Words), "env": "prod"}), "subscriptionTags": saassim.Raw(map[string]string{}),
	}
	if kind.region != "" {
		i.entity["region"] = kind.region
	}
	if i.account != nil {
		i.entity["subscriptionId"], i.entity["subscriptionExternalId"], i.entity["subscriptionName"] = i.account["id"], i.account["externalId"], i.account["name"]
	}
	v := &issueVersion{issue: i, visible: at, updated: at, status: "OPEN", severity: textOf(i.rule, "severity"), openReason: "ISSUE_DISCOVERED"}
	if typ == "THREAT_DETECTION" {
		v.lastEvent = at
	}
	v.exploitable = typ == "ATTACK_SURFACE" && g.Chance(0.5)
	i.versions = []*issueVersion{v}
	return i
}

// change makes the next state of an issue. Most changes are of the status; the
// others leave statusChangedAt as it was.
func (g *generator) change(old *issueVersion, at time.Time) *issueVersion {
	if !at.After(old.updated) {
		at = old.updated.Add(time.Microsecond)
	}
	v := old.again()
	v.visible, v.updated = at, at
	n := g.IntN(100)
	switch open := old.status == "OPEN" || old.status == "IN_PROGRESS"; {
	case n < 25:
		g.detail(v, at)
		return v
	case old.status == "OPEN" && n < 60:
		v.status = "IN_PROGRESS"
	case open && n < 85:
		v.status, v.resolved, v.resolver = "RESOLVED", at, nil
		v.resolutionReason = saassim.Pick(g.Dice, []string{"ISSUE_FIXED", "OBJECT_DELETED", "ISSUE_FIXED", "CONTROL_DISABLED"})
		if v.typ == "THREAT_DETECTION" { // only these are resolved by hand
			v.resolver, v.resolutionReason = saassim.Pick(g.Dice, g.users), saassim.Pick(g.Dice, []string{"NOT_MALICIOUS_THREAT", "MALICIOUS_THREAT", "SECURITY_TEST_THREAT"})
		}
	case open:
		v.status, v.resolved, v.resolver = "REJECTED", at, saassim.Pick(g.Dice, g.users)
		v.resolutionReason, v.resolutionNote = saassim.Pick(g.Dice, []string{"FALSE_POSITIVE", "EXCEPTION", "WONT_FIX"}), saassim.Pick(g.Dice, saassim.Words)
		v.rejectionExpires = at.Add(30 * 24 * time.Hour)
	default: // closed, and open again
		v.openReason = "ISSUE_RESURFACED"
		if old.status == "REJECTED" {
			v.openReason = saassim.Pick(g.Dice, []string{"ISSUE_REOPENED_BY_USER", "ISSUE_REOPENED_REJECTION_EXPIRED"})
		}
		v.status, v.reopened, v.resolved, v.rejectionExpires = "OPEN", at, time.Time{}, time.Time{}
		v.resolutionReason, v.resolutionNote, v.resolver = "", "", nil
	}
	v.statusChanged = at
	return v
}

// detail changes something that is not the status.
func (g *generator) detail(v *issueVersion, at time.Time) {
	switch g.IntN(5) {
	case 0:
		by := saassim.Pick(g.Dice, g.users)
		v.notes = append(slices.Clone(v.notes), thing{"__typename": "IssueNote", "id": g.UUID(), "text": saassim.Pick(g.Dice, saassim.Words),
			"createdAt": at, "updatedAt": at, "user": by.as(userAccount)})
	case 1:
		v.due = at.Add(14 * 24 * time.Hour)
	case 2:
		v.assignee = saassim.Pick(g.Dice, g.users)
	case 3:
		key := fmt.Sprintf("SEC-%d", 100+g.IntN(9000))
		v.tickets = append(slices.Clone(v.tickets), thing{"__typename": "ServiceTicket", "id": g.UUID(), "externalId": key, "name": key,
			"url": "https://tickets.example.com/browse/" + key})
	case 4:
		v.severity = saassim.Pick(g.Dice, severities)
	}
	if v.typ == "THREAT_DETECTION" && g.Chance(0.5) {
		v.lastEvent = at
	}
}

// AddIssues makes issues, with what became of each until the end of the batch,
// and returns their ids in the order of their creation. The lateness of the
// batch applies to every state.
func (w *Tenant) AddIssues(b saassim.Batch) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	end := b.To
	if end.IsZero() {
		end = w.Now()
	}
	moments := w.Spread(w.gen.Dice, b)
	slices.SortFunc(moments, func(x, y saassim.Moment) int { return x.At.Compare(y.At) })
	ids := make([]string, len(moments))
	for n, m := range moments {
		i := w.gen.issue(m.At)
		late := m.Visible.Sub(m.At)
		i.versions[0].visible = m.Visible
		for w.gen.Chance(0.6) {
			at := w.gen.Between(i.last().updated, end)
			if !i.last().updated.Before(at) {
				break
			}
			v := w.gen.change(i.last(), at)
			v.visible = v.updated.Add(late)
			i.versions = append(i.versions, v)
		}
		w.issues = append(w.issues, i)
		ids[n] = i.id
	}
	return ids
}

// ChangeIssues lets so many of the issues there are change now, each once, and
// returns their ids.
func (w *Tenant) ChangeIssues(n int) []string {
	return w.eachIssue(n, func(i *issue, now time.Time) *issueVersion {
		if i.last().gone {
			return nil
		}
		return w.gen.change(i.last(), now)
	})
}

// RemoveIssues lets so many of the issues there are go now, without a trace, and
// returns their ids.
func (w *Tenant) RemoveIssues(n int) []string {
	return w.eachIssue(n, func(i *issue, _ time.Time) *issueVersion {
		if i.last().gone {
			return nil
		}
		return &issueVersion{issue: i, gone: true}
	})
}

// ReturnIssues brings back so many of the issues that have gone, as they were,
// and returns their ids.
func (w *Tenant) ReturnIssues(n int) []string {
	return w.eachIssue(n, func(i *issue, _ time.Time) *issueVersion {
		if !i.last().gone {
			return nil
		}
		return i.versions[len(i.versions)-2].again()
	})
}

// eachIssue gives so many issues a new state, now; next returns nil for those
// that are passed by.
func (w *Tenant) eachIssue(n int, next func(*issue, time.Time) *issueVersion) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.Now().Truncate(time.Microsecond)
	var ids []string
	for _, k := range w.gen.Perm(len(w.issues)) {
		i := w.issues[k]
		if len(ids) == n {
			break
		}
		if i.last().visible.After(now) {
			continue // a state that is still to come would be overtaken
		}
		v := next(i, now)
		if v == nil {
			continue
		}
		v.visible = now
		i.versions = append(i.versions, v)
		ids = append(ids, i.id)
	}
	return ids
}
