package wiz

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// detections are what threat detection rules matched. A query without a type
// answers with those that became a threat only, and does not say so.
var detections = &findingKind{
	source: "detections", many: "detections", one: "detection", node: "Detection", scope: ScopeDetections,
	page:  func(o Options) int { return o.MaxIssuePage },
	limit: func(o Options) int { return o.DetectionCap },
	filters: map[string]finder{
		"createdAt": timed("createdAt"), "updatedAt": timed("updatedAt"), "startedAt": timed("startedAt"), "endedAt": timed("endedAt"),
		"type": equals("type"), "severity": equals("severity"), "id": equals("id"),
		"issueId": func(v any, _ time.Time, _ bool) (asked, error) {
			return func(t thing) bool { i, ok := t["issue"].(*issueVersion); return ok && i.id == v }, nil
		},
		"status": func(v any, _ time.Time, _ bool) (asked, error) { // IGNORED is the only one
			m, _ := v.(map[string]any)
			return func(t thing) bool {
				return (m["equals"] == nil || t["ignored"] == true) && (m["notEquals"] == nil || t["ignored"] != true)
			}, nil
		},
	},
	always: func(filterBy map[string]any) []asked {
		if asksForType(filterBy) {
			return nil
		}
		return []asked{func(t thing) bool { return t["type"] == "GENERATED_THREAT" }}
	},
	orders: map[string]string{"CREATED_AT": "createdAt", "UPDATED_AT": "updatedAt", "STARTED_AT": "startedAt", "TIMESTAMP": "startedAt"},
	newest: "createdAt",
	make:   (*generator).detection,
	change: (*generator).changeDetection,
}

// asksForType tells whether a filter says of which types detections are to be,
// at whatever depth.
func asksForType(filterBy map[string]any) bool {
	if filterBy["type"] != nil {
		return true
	}
	for _, name := range []string{"and", "or"} {
		list, _ := filterBy[name].([]any)
		for _, item := range list {
			if inner, ok := item.(map[string]any); ok && asksForType(inner) {
				return true
			}
		}
	}
	return false
}

// ask answers for the fields that take arguments.
func (v *findingVersion) ask(name string, args map[string]any) any {
	switch name {
	case "triggeringEvents":
		return eventPage(textOf(v.thing, "id"), v.events, args)
	case "actors", "resources":
		if l, ok := v.thing[name].(list); ok {
			l.n = min(l.n, number(args["first"], l.n))
			return l
		}
	}
	return v.thing[name]
}

// mostEvents is the largest page of a detection's events, and fewEvents that of
// a query that does not say how many it wants.
const mostEvents, fewEvents = 100, 10

// eventPage is a page of a detection's events. Its cursors are good for the
// detection only.
func eventPage(id string, events []thing, args map[string]any) thing {
	first, from := min(number(args["first"], fewEvents), mostEvents), 0
	if after, ok := args["after"].(string); ok {
		b, _ := base64.StdEncoding.DecodeString(after)
		var of string
		if n, err := fmt.Sscanf(string(b), "events %s %d", &of, &from); err != nil || n != 2 || of != id {
			from = len(events)
		}
	}
	from = min(from, len(events))
	to := min(from+first, len(events))
	var end any
	if to > from {
		end = base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "events %s %d", id, to))
	}
	return thing{
		"__typename": "CloudEventSearchResultConnection", "nodes": things(slices.Clone(events[from:to])...), "totalCount": len(events), "totalCountV2": len(events), "maxCountReached": false,
		"pageInfo": thing{"__typename": "PageInfo", "hasNextPage": to < len(events), "endCursor": end},
	}
}

var detectionRules = []struct{ name, tactic, tacticName, technique, title, threat, origin, kind, severity string }{
	{"Access key used from an unusual country", "TA0001", "Initial Access", "T1078.004", "Valid Accounts: Cloud Accounts", "INITIAL_ACCESS", "AWS_CLOUDTRAIL", "CLOUD_AUDIT_LOG", "HIGH"},
	{"Miner in a workload", "TA0040", "Impact", "T1496", "Resource Hijacking", "IMPACT", "WIZ_SENSOR", "RUNTIME_EXECUTION_DATA", "CRITICAL"},
	{"Password spray", "TA0006", "Credential Access", "T1110.003", "Password Spraying", "CREDENTIAL_ACCESS", "AZURE_ACTIVE_DIRECTORY", "CLOUD_AUDIT_LOG", "MEDIUM"},
	{"Security group changed", "TA0005", "Defense Evasion", "T1562", "Impair Defenses", "DEFENSE_EVASION", "AZURE_ACTIVITY_LOGS", "CLOUD_AUDIT_LOG", "INFORMATIONAL"},
}

// detection makes a detection. Three in four only matched a rule; of ten, one is
// of the past, one has no createdAt, and one no updatedAt either. Most have a
// few events, some hundreds.
func (g *generator) detection(at time.Time) *findingVersion {
	what, id := saassim.Pick(g.Dice, detectionRules), g.UUID()
	start := at.Add(-time.Duration(1+g.IntN(60)) * time.Second)
	actor := g.eventActor()
	account := saassim.Pick(g.Dice, g.world.accounts)
	resource := thing{
		"__typename": "CloudEventResource", "id": g.UUID(), "type": "VIRTUAL_MACHINE", "nativeType": "virtualMachine", "name": g.Text(6, saassim.Lower), "hostname": "host-1",
		"externalId": "i-" + g.Text(8, saassim.Lower), "region": "eu-central-1", "hasSensitiveData": false, "openToAllInternet": g.Chance(0.3), "cloudAccount": account, "tags": saassim.Raw(map[string]string{}),
	}
	v := thing{
		"__typename": "Detection", "id": id, "type": "GENERATED_THREAT", "severity": what.severity, "createdAt": at, "updatedAt": at, "startedAt": start, "endedAt": at,
		"isRetroactive": false, "ignored": g.Chance(0.05), "description": what.name + ".", "origins": []string{what.origin},
		"ruleMatch":    thing{"__typename": "DetectionCloudEventRuleMatch", "version": 3, "rule": g.detectionRule(what.name, what.severity, what.threat, what.technique, what.title, what.tactic, what.tacticName)},
		"primaryActor": actor, "actors": things(actor), "primaryResource": resource, "resources": things(resource), "cloudAccounts": things(account), "cloudOrganizations": things(),
		"projects": things(saassim.Pick(g.Dice, g.world.projects)), "signals": things(thing{"__typename": "SensorDetectionSignal", "id": "signal-1", "name": "Unusual", "category": "NETWORK", "description": "It is new."}),
		"inboundIPDetails": things(), "groupingDetails": thing{"__typename": "DetectionGroupingDetails", "grouperType": "ACTOR"},
		"issue": g.issue(at).versions[0],
	}
	began := at
	if g.Chance(0.75) {
		v["type"], v["issue"] = "MATCH_ONLY", nil
	}
	switch g.IntN(10) {
	case 0:
		v["isRetroactive"], v["startedAt"], v["endedAt"] = true, start.Add(-72*time.Hour), at.Add(-72*time.Hour)
	case 1:
		v["createdAt"] = nil
	case 2:
		v["createdAt"], v["updatedAt"] = nil, nil
		v["startedAt"], began = at, at
	case 3:
		v["updatedAt"] = nil
	}
	n := 1 + g.IntN(4)
	if g.Chance(0.1) {
		n = 15 + g.IntN(300)
	}
	return &findingVersion{thing: v, began: began, events: g.events(n, what.kind, what.origin, start, actor, resource)}
}

func (g *generator) eventActor() thing {
	p := saassim.Pick(g.Dice, g.users)
	return thing{
		"__typename": "CloudEventActor", "id": p.id, "type": "USER_ACCOUNT", "nativeType": "user", "name": p.name, "email": p.email, "externalId": "AIDA" + g.Text(8, "ABCDEF0123456789"),
		"hasAdminPrivileges": g.Chance(0.2), "hasHighPrivileges": false, "inactiveInLast90Days": false, "isExternalCloudAccount": false, "userAgent": saassim.Pick(g.Dice, p.agents),
	}
}

func (g *generator) detectionRule(name, severity, threat, technique, title, tactic, tacticName string) thing {
	framework := thing{"__typename": "SecurityFramework", "id": "framework-mitre", "name": "MITRE ATT&CK Matrix", "enabled": true, "builtin": true}
	category := thing{"__typename": "SecurityCategory", "id": "category-" + tactic, "name": tactic + " " + tacticName, "description": "", "externalId": tactic, "framework": framework}
	return thing{
		"__typename": "CloudEventRule", "id": "rule-" + technique, "name": name, "description": "Finds: " + name + ".", "enabled": true, "builtin": true, "builtInId": "builtin-" + technique,
		"severity": severity, "type": "SINGLE", "sourceType": "WIZ", "generateIssues": severity != "INFORMATIONAL", "risks": []string{"RUNTIME"}, "threats": []string{threat},
		"createdAt": started(2), "updatedAt": started(40), "origins": []string{"AWS_CLOUDTRAIL"},
		"securitySubCategories": things(thing{"__typename": "SecuritySubCategory", "id": "sub-" + technique, "title": technique + " " + title, "description": "", "externalId": technique, "category": category}, g.subCategory()),
	}
}

// events makes what set a detection off.
func (g *generator) events(n int, kind, origin string, from time.Time, actor, resource thing) []thing {
	address := saassim.Pick(g.Dice, saassim.Pick(g.Dice, g.users).ips)
	events := make([]thing, n)
	for i := range events {
		e := thing{
			"__typename": "CloudEvent", "id": g.UUID(), "externalId": strconv.Itoa(i), "name": "Event", "externalName": "PutObject", "description": "It happened.", "kind": kind, "category": "Access",
			"origin": origin, "source": "WizCloudEvents", "timestamp": from.Add(time.Duration(i) * time.Millisecond), "status": "SUCCESS",
			"statusDetails": thing{"__typename": "CloudEventStatusDetails"}, "cloudPlatform": "AWS", "cloudNativeService": "s3", "cloudProviderUrl": "", "cloudAccount": resource["cloudAccount"], "actor": actor,
			"actorIP": address, "isForeignActorIP": true, "actorIPMeta": thing{"__typename": "CloudEventActorIPMeta", "country": "Germany", "countryCode": "DE", "autonomousSystemNumber": 64500},
			"subjectResource": resource, "resources": things(resource), "path": []string{}, "hash": []string{}, "impactedFilePath": []string{},
		}
		if kind == "RUNTIME_EXECUTION_DATA" {
			e["externalName"], e["commandLine"], e["parentCommandLine"] = "process_start", "./xmr -o pool.miner.example:3333", "sh"
			e["path"], e["hash"] = []string{"/tmp/xmr"}, []string{g.Text(64, "0123456789abcdef")}
			e["runtimeProgram"] = thing{"__typename": "CloudEventRuntimeProgram", "id": "program-1", "name": "xmr", "userName": "www-data"}
			e["extraDetails"] = thing{"__typename": "CloudEventRuntimeDetails", "type": "PROCESS_START",
				"host":        thing{"__typename": "CloudEventRuntimeHost", "id": "host-1", "hostname": "host-1", "ips": []string{"10.0.0.5"}, "kernelVersion": "6.1", "type": "VIRTUAL_MACHINE"},
				"processTree": things(thing{"__typename": "CloudEventRuntimeProcess", "id": "p-1", "name": "xmr", "command": "./xmr", "path": "/tmp/xmr"})}
		}
		events[i] = e
	}
	return events
}

// changeDetection makes the next state of a detection: one that goes on, or one
// that is looked at in a new way. Its updatedAt says so, unless it has none.
func (g *generator) changeDetection(old *findingVersion, at time.Time) *findingVersion {
	v := old.changed(at)
	at = v.began
	if old.thing["updatedAt"] == nil && old.thing["createdAt"] == nil {
		v.began = old.began // nobody can tell
		return v
	}
	v.thing["updatedAt"] = at
	if g.Chance(0.3) {
		v.thing["severity"] = saassim.Pick(g.Dice, severities)
		return v
	}
	v.thing["endedAt"] = at
	actor, _ := v.thing["primaryActor"].(thing)
	resource, _ := v.thing["primaryResource"].(thing)
	v.events = append(slices.Clone(old.events), g.events(1+g.IntN(30), "CLOUD_AUDIT_LOG", "AWS_CLOUDTRAIL", at, actor, resource)...)
	return v
}
