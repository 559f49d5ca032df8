package wiz

import (
	"fmt"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// configurationFindings are cloud configuration findings. A query yields the
// first 10,000 and says by maxCountReached that there are more; findings that
// were deleted are hidden unless includeDeleted.
var configurationFindings = &findingKind{
	source: "configuration_findings", many: "configurationFindings", one: "configurationFinding", node: "ConfigurationFinding", scope: ScopeConfiguration,
	page:  func(o Options) int { return o.MaxIssuePage },
	limit: func(o Options) int { return o.FindingCap },
	filters: map[string]finder{
		"updatedAt": timed("updatedAt"), "analyzedAt": timed("analyzedAt"), "firstSeenAt": timed("firstSeenAt"), "statusChangedAt": timed("statusChangedAt"),
		"id": oneOf("id"), "result": oneOf("result"), "status": oneOf("status"), "severity": oneOf("severity"), "source": oneOf("source"),
		"rule": members(map[string]finder{"id": oneOf("rule.id")}), "resource": members(map[string]finder{"id": oneOf("resource.id"), "type": oneOf("resource.type"), "nativeType": oneOf("resource.nativeType")}),
	},
	always: func(filterBy map[string]any) []asked {
		if with, _ := filterBy["includeDeleted"].(bool); with {
			return nil
		}
		return []asked{func(t thing) bool { return t["deleted"] != true }}
	},
	orders: map[string]string{"FIRST_SEEN_AT": "firstSeenAt", "ANALYZED_AT": "analyzedAt", "INCREMENTAL": "updatedAt", "SEVERITY": "severity"},
	newest: "firstSeenAt",
	make:   (*generator).configurationFinding,
	change: (*generator).changeConfigurationFinding,
}

func (g *generator) configurationFinding(at time.Time) *findingVersion {
	rule, kind := saassim.Pick(g.Dice, g.world.rules["CLOUD_CONFIGURATION"]), saassim.Pick(g.Dice, entityKinds)
	account := saassim.Pick(g.Dice, g.world.accounts)
	name := g.Text(9, saassim.Lower)
	v := thing{
		"__typename": "ConfigurationFinding", "id": g.UUID(), "name": rule["name"], "source": "WIZ_CSPM", "deleted": false,
		"firstSeenAt": at, "analyzedAt": at, "updatedAt": at, "targetExternalId": name, "targetObjectProviderUniqueId": strings.ToLower(kind.typ) + "/" + name,
		"evidence": thing{"__typename": "ConfigurationFindingEvidence", "configurationPath": "a.b", "currentValue": "false", "expectedValue": "true"},
		"rule":     rule, "securitySubCategories": rule["securitySubCategories"], "subscription": account,
		"resource": thing{
			"__typename": "ConfigurationFindingResource", "id": g.UUID(), "providerId": strings.ToLower(kind.typ) + "/" + name, "name": name, "type": kind.typ, "nativeType": kind.native,
			"cloudPlatform": kind.platform, "region": orNull(kind.region), "status": "Active", "subscription": account, "projects": things(saassim.Pick(g.Dice, g.world.projects)),
			"tags":                things(thing{"__typename": "ConfigurationFindingResourceTag", "key": "team", "value": saassim.Pick(g.Dice, saassim.Words)}),
			"isOpenToAllInternet": false, "isAccessibleFromInternet": g.Chance(0.2), "hasSensitiveData": false, "hasAdminPrivileges": false,
		},
	}
	if g.Chance(0.1) {
		v["resource"] = nil
	}
	judge(v, g.Chance(0.5), textOf(rule, "severity"))
	return &findingVersion{thing: v, began: at}
}

// judge sets a finding's result and what follows from it.
func judge(t thing, passed bool, severity string) {
	if severity == "INFORMATIONAL" {
		severity = "NONE"
	}
	t["result"], t["status"], t["severity"] = "FAIL", "OPEN", severity
	if passed {
		t["result"], t["status"], t["severity"] = "PASS", "RESOLVED", "NONE"
	}
}

// changeConfigurationFinding makes the next state of a finding: one time in
// three a mere scan, which moves analyzedAt only; rarely it is deleted.
func (g *generator) changeConfigurationFinding(old *findingVersion, at time.Time) *findingVersion {
	v := old.changed(at)
	at = v.began
	v.thing["analyzedAt"] = at
	rule, _ := v.thing["rule"].(thing)
	switch n := g.IntN(100); {
	case n < 33:
		v.began = old.began
		return v
	case n < 40:
		v.thing["deleted"] = true
	case n < 55 && v.thing["result"] == "FAIL":
		v.thing["status"], v.thing["resolutionReason"] = "REJECTED", "EXCEPTION"
		v.thing["statusChangedAt"] = at
	default:
		judge(v.thing, v.thing["result"] != "PASS", textOf(rule, "severity"))
		v.thing["deleted"], v.thing["resolutionReason"], v.thing["statusChangedAt"] = false, nil, at
	}
	v.thing["updatedAt"] = at
	return v
}

// healthIssues are system health issues, which no query can be asked for by time.
var healthIssues = &findingKind{
	source: "system_health_issues", many: "systemHealthIssues", one: "systemHealthIssue", node: "SystemHealthIssue", scope: ScopeHealth,
	page:  func(o Options) int { return o.MaxIssuePage },
	limit: func(Options) int { return 0 },
	filters: map[string]finder{
		"status": oneOf("status"), "severity": oneOf("severity"), "category": oneOf("type.category"), "deploymentType": oneOf("deployment.type"),
		"deploymentId": oneOf("deployment.id"), "region": oneOf("region"),
	},
	orders: map[string]string{"CREATED_AT": "firstSeenAt", "SEVERITY": "severity"},
	newest: "firstSeenAt",
	make:   (*generator).healthIssue,
	change: (*generator).changeHealthIssue,
}

func (g *generator) healthIssue(at time.Time) *findingVersion {
	kind := saassim.Pick(g.Dice, []struct{ name, category, module, deployment string }{
		{"Missing permissions to scan disks", "PERMISSIONS", "DISK_SCANNER", "CLOUD_CONNECTOR"}, {"Sensor does not report", "ERROR", "RUNTIME_SENSOR", "SENSOR"},
		{"Integration fails", "ERROR", "CLOUD_SCANNER", "INTEGRATION"},
	})
	account := saassim.Pick(g.Dice, g.world.accounts)
	severity := saassim.Pick(g.Dice, severities)
	v := thing{
		"__typename": "SystemHealthIssue", "id": g.UUID(), "name": kind.name, "status": "OPEN", "severity": severity, "impact": "Something is not seen.", "remediation": "Mend it.",
		"firstSeenAt": at, "lastSeenAt": at, "region": "eu-central-1",
		"type": thing{"__typename": "SystemHealthIssueType", "id": fmt.Sprintf("type-%d", len(kind.name)), "name": kind.name, "category": kind.category, "severity": severity, "affectedModules": []string{kind.module}},
		"deployment": thing{"__typename": "Deployment", "id": g.UUID(), "name": g.Text(7, saassim.Lower), "type": kind.deployment, "status": "ENABLED", "modules": []string{kind.module},
			"firstSeenAt": started(1), "lastSeenAt": at},
		"sourceSnapshot": thing{"__typename": "DeploymentSourceSnapshot", "id": account["id"], "name": account["name"], "type": "SUBSCRIPTION", "externalId": account["externalId"], "cloudProvider": account["cloudProvider"]},
		"serviceTickets": things(),
	}
	if kind.category == "PERMISSIONS" {
		v["details"] = thing{"__typename": "SystemHealthIssuePermissionsCategoryTypeDetails", "principalExternalId": "role/scanner", "relatedPermissions": []string{"ec2:CreateSnapshot"}}
	}
	return &findingVersion{thing: v, began: at}
}

// changeHealthIssue makes the next state of a health issue: half the time only
// that it was seen again.
func (g *generator) changeHealthIssue(old *findingVersion, at time.Time) *findingVersion {
	v := old.changed(at)
	v.thing["lastSeenAt"] = v.began
	if g.Chance(0.5) {
		v.thing["status"] = map[any]string{"OPEN": "RESOLVED", "RESOLVED": "OPEN", "IGNORED": "OPEN"}[old.thing["status"]]
	}
	return v
}
