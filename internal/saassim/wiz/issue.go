package wiz

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/saassim"
)

// issue is an issue with all the states it has been in.
type issue struct {
	id, typ     string
	created     time.Time
	url         string
	description string
	rule        thing // an IssueSourceRule
	entity      thing // an IssueEntitySnapshot
	account     thing // a CloudAccount, nil for none
	project     thing // nil for none
	evidence    jsontext.Value
	versions    []*issueVersion // oldest first; later ones become visible later, or at once
}

// at is the state that queries see at a time, nil before there is one and while
// the issue is gone.
func (i *issue) at(now time.Time) *issueVersion {
	for n := len(i.versions) - 1; n >= 0; n-- {
		if v := i.versions[n]; !v.visible.After(now) {
			if v.gone {
				return nil
			}
			return v
		}
	}
	return nil
}

func (i *issue) last() *issueVersion { return i.versions[len(i.versions)-1] }

// issueVersion is one state of an issue. It never changes once it is made; a
// zero time or "" is null.
type issueVersion struct {
	*issue
	visible          time.Time
	gone             bool // queries do not see the issue, from here on
	updated          time.Time
	status, severity string
	statusChanged    time.Time // null until the status first changes
	resolved, due    time.Time
	reopened         time.Time
	rejectionExpires time.Time
	lastEvent        time.Time // of a threat
	openReason       string
	resolutionReason string
	resolutionNote   string
	resolver         *principal // nil: the product itself, if resolved
	assignee         *principal
	notes, tickets   []thing
	exploitable      bool
	rendering
}

// again is another state that is the same.
func (v *issueVersion) again() *issueVersion {
	return &issueVersion{
		issue: v.issue, visible: v.visible, updated: v.updated, status: v.status, severity: v.severity, statusChanged: v.statusChanged,
		resolved: v.resolved, due: v.due, reopened: v.reopened, rejectionExpires: v.rejectionExpires, lastEvent: v.lastEvent,
		openReason: v.openReason, resolutionReason: v.resolutionReason, resolutionNote: v.resolutionNote, resolver: v.resolver,
		assignee: v.assignee, notes: v.notes, tickets: v.tickets, exploitable: v.exploitable,
	}
}

func (v *issueVersion) typename() string { return "Issue" }
func (v *issueVersion) kept() *rendering { return &v.rendering }

func orNullTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

func orNullThing(t thing) any {
	if t == nil {
		return nil
	}
	return t
}

func (v *issueVersion) field(name string) any {
	switch name {
	case "id":
		return v.id
	case "type":
		return v.typ
	case "status":
		return v.status
	case "severity":
		return v.severity
	case "createdAt":
		return v.created
	case "updatedAt":
		return v.updated
	case "statusChangedAt":
		return orNullTime(v.statusChanged)
	case "resolvedAt":
		return orNullTime(v.resolved)
	case "dueAt":
		return orNullTime(v.due)
	case "reopenedAt":
		return orNullTime(v.reopened)
	case "rejectionExpiredAt":
		return orNullTime(v.rejectionExpires)
	case "openReason":
		return orNull(v.openReason)
	case "resolutionReason":
		return orNull(v.resolutionReason)
	case "resolutionNote":
		return orNull(v.resolutionNote)
	case "resolvedBy":
		return v.resolvedBy()
	case "assignee":
		if v.assignee == nil {
			return nil
		}
		return thing{"__typename": "Identity", "id": v.assignee.id, "name": v.assignee.name,
			"emails": []string{v.assignee.email}, "primaryEmail": v.assignee.email}
	case "description":
		return v.description
	case "url":
		return v.url
	case "evidenceQuery":
		return v.evidence
	case "entitySnapshot":
		return v.entity
	case "entity":
		e := v.entity
		return thing{"__typename": "GraphEntity", "id": e["id"], "name": e["name"], "type": e["type"], "providerUniqueId": e["providerId"],
			"firstSeen": v.created, "lastSeen": v.updated, "properties": jsontext.Value(`{}`)}
	case "sourceRules":
		return things(v.rule)
	case "sourceRule":
		return v.rule
	case "control":
		if v.rule["__typename"] == "Control" {
			return v.rule
		}
	case "cloudAccounts":
		if v.account == nil {
			return things()
		}
		return things(v.account)
	case "projects":
		if v.project == nil {
			return things()
		}
		return things(v.project)
	case "project":
		return orNullThing(v.project)
	case "notes":
		return things(v.notes...)
	case "note":
		if n := len(v.notes); n > 0 {
			return v.notes[n-1]["text"]
		}
	case "serviceTickets":
		return things(v.tickets...)
	case "serviceTicket":
		if len(v.tickets) > 0 {
			return v.tickets[0]
		}
	case "environments":
		return []string{"PRODUCTION"}
	case "hasCodeRemediation":
		return false
	case "validatedAsExploitable":
		return v.exploitable
	case "groupingType":
		return "NONE"
	case "firstEventAt":
		if !v.lastEvent.IsZero() {
			return v.created
		}
	case "lastEventAt":
		return orNullTime(v.lastEvent)
	case "threatDetectionDetails":
		if v.typ == "THREAT_DETECTION" {
			return v.threat()
		}
	}
	return nil // cloudOrganizations, suggestions, and what has no value here
}

func (v *issueVersion) resolvedBy() any {
	if v.status != "RESOLVED" && v.status != "REJECTED" {
		return nil
	}
	by := thing{"__typename": "IssueResolver", "type": "WIZ"}
	if v.resolver != nil {
		by["type"] = "USER"
		by["user"] = v.resolver.as(userAccount)
	}
	return by
}

// threat is what only a threat detection has.
func (v *issueVersion) threat() thing {
	actor := thing{"__typename": "CloudEventActor", "id": "actor-" + v.id, "name": "deploy-bot", "type": "SERVICE_ACCOUNT",
		"hasAdminPrivileges": true, "hasHighPrivileges": true, "inactiveInLast90Days": false, "isExternalCloudAccount": false, "externalId": "AIDA" + strings.ToUpper(v.id[:8])}
	resource := thing{"__typename": "CloudEventResource", "id": v.entity["id"], "name": v.entity["name"], "type": v.entity["type"],
		"region": v.entity["region"], "externalId": v.entity["externalId"], "hasSensitiveData": false, "openToAllInternet": true}
	return thing{
		"__typename": "ThreatDetectionIssueDetails", "id": "threat-" + v.id, "eventOrigin": []string{"AWS_CLOUDTRAIL"},
		"actors": things(actor), "actorsTotalCount": 1, "actorsMaxCountReached": false,
		"resources": things(resource), "resourcesTotalCount": 1, "resourcesMaxCountReached": false,
		"hasRetroactiveDetections": false, "isAntiBurstThreat": false, "isAntiBurstThreatDetectionsLimited": false,
		"lastDetectionGroupedAt": v.lastEvent, "updatedAt": v.updated,
		"mainDetection": thing{"__typename": "Detection", "id": "detection-" + v.id, "severity": v.severity, "createdAt": v.created,
			"updatedAt": v.updated, "startedAt": v.created, "endedAt": v.lastEvent, "isRetroactive": false, "type": "GENERATED_THREAT", "description": v.description,
			"origins": []string{"AWS_CLOUDTRAIL"}, "primaryActor": actor, "primaryResource": resource, "resources": things(resource), "triggeringEvents": eventPage(v.id, nil, nil),
			"ruleMatch": thing{"__typename": "DetectionCloudEventRuleMatch", "version": 1, "rule": v.rule}},
	}
}

// issuesV2 answers the query of that name.
func (c *call) issuesV2(args map[string]any) (object, gqlError) {
	w := c.w
	return c.connection("Issue", args, w.opts.MaxIssuePage, 0, func() (result, error) {
		if args["after"] != nil {
			if s, ok := c.Hit(saassim.Shift); ok {
				w.ChangeIssues(s.N)
			}
			if s, ok := c.Hit(saassim.Vanish); ok {
				w.RemoveIssues(s.N)
			}
		}
		filterBy, _ := args["filterBy"].(map[string]any)
		where, err := readIssueFilter(filterBy, w.Now(), w.opts.Inclusive)
		if err != nil {
			return result{}, err
		}
		order, _ := args["orderBy"].(map[string]any)
		found := w.findIssues(where, order)
		return result{n: len(found), at: func(i int) object { return found[i] }, counts: issueCounts(found)}, nil
	})
}

func (w *Tenant) findIssues(where []func(*issueVersion) bool, order map[string]any) []*issueVersion {
	now := w.Now()
	var found []*issueVersion
	w.mu.RLock()
next:
	for _, i := range w.issues {
		v := i.at(now)
		if v == nil {
			continue
		}
		for _, ok := range where {
			if !ok(v) {
				continue next
			}
		}
		found = append(found, v)
	}
	w.mu.RUnlock()
	sortIssues(found, order)
	return found
}

// sortIssues puts issues into the order asked for, or the newest first where
// none is. Nulls come last when ascending, and ids settle what is equal.
func sortIssues(found []*issueVersion, order map[string]any) {
	if order == nil {
		order = map[string]any{"field": "CREATED_AT", "direction": "DESC"}
	}
	byTime := func(get func(*issueVersion) time.Time) func(a, b *issueVersion) int {
		return func(a, b *issueVersion) int {
			x, y := get(a), get(b)
			if x.IsZero() != y.IsZero() {
				if x.IsZero() {
					return 1
				}
				return -1
			}
			return x.Compare(y)
		}
	}
	severity := func(a, b *issueVersion) int {
		return cmp.Compare(slices.Index(severities, a.severity), slices.Index(severities, b.severity))
	}
	compare := map[any]func(a, b *issueVersion) int{
		"CREATED_AT":             byTime(func(v *issueVersion) time.Time { return v.created }),
		"STATUS_CHANGED_AT":      byTime(func(v *issueVersion) time.Time { return v.statusChanged }),
		"RESOLVED_AT":            byTime(func(v *issueVersion) time.Time { return v.resolved }),
		"THREAT_LAST_GROUPED_AT": byTime(func(v *issueVersion) time.Time { return v.lastEvent }),
		"SEVERITY":               severity,
		"SEVERITY_EXPLOITABLE":   severity,
		"ID":                     func(a, b *issueVersion) int { return 0 },
	}[order["field"]]
	slices.SortFunc(found, func(a, b *issueVersion) int {
		return directed(order, cmp.Or(compare(a, b), strings.Compare(a.id, b.id)))
	})
}

// issueCounts are the counts that a page of issues gives of the whole result.
func issueCounts(found []*issueVersion) func(string) any {
	return func(name string) any {
		if name == "uniqueEntityCount" {
			entities := map[any]bool{}
			for _, v := range found {
				entities[v.entity["id"]] = true
			}
			return len(entities)
		}
		n := 0
		for _, v := range found {
			if strings.ToLower(v.severity)+"SeverityCount" == name {
				n++
			}
		}
		return n
	}
}

// issue is an issue as it is now, nil where there is none of the id.
func (w *Tenant) issue(id string) *issueVersion {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, i := range w.issues {
		if i.id == id {
			return i.at(w.Now())
		}
	}
	return nil
}
