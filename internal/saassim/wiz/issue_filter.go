package wiz

import (
	"slices"
	"strings"
	"time"
)

// readIssueFilter turns IssueFilters into what must all hold.
func readIssueFilter(m map[string]any, now time.Time, inclusive bool) ([]func(*issueVersion) bool, error) {
	var where []func(*issueVersion) bool
	and := func(ok func(*issueVersion) bool) { where = append(where, ok) }
	oneOf := func(v any, get func(*issueVersion) string) {
		want := texts(v)
		and(func(i *issueVersion) bool { return slices.Contains(want, get(i)) })
	}
	contains := func(v any, get func(*issueVersion) string) {
		want := strings.ToLower(v.(string))
		and(func(i *issueVersion) bool { return strings.Contains(strings.ToLower(get(i)), want) })
	}
	is := func(v any, get func(*issueVersion) bool) {
		want := v.(bool)
		and(func(i *issueVersion) bool { return get(i) == want })
	}
	times := map[string]func(*issueVersion) time.Time{
		"createdAt":           func(i *issueVersion) time.Time { return i.created },
		"statusChangedAt":     func(i *issueVersion) time.Time { return i.statusChanged },
		"resolvedAt":          func(i *issueVersion) time.Time { return i.resolved },
		"dueAt":               func(i *issueVersion) time.Time { return i.due },
		"rejectionExpiresAt":  func(i *issueVersion) time.Time { return i.rejectionExpires },
		"threatLastGroupedAt": func(i *issueVersion) time.Time { return i.lastEvent },
	}
	for _, name := range sortedKeys(m) {
		v := m[name]
		if v == nil {
			continue
		}
		if get := times[name]; get != nil {
			d, err := readWindow(v, now, inclusive)
			if err != nil {
				return nil, err
			}
			if !(d.After.IsZero() && d.Before.IsZero()) {
				and(func(i *issueVersion) bool { return !get(i).IsZero() && d.Has(get(i)) }) // a null lies in no window
			}
			continue
		}
		switch name {
		case "id":
			oneOf(v, func(i *issueVersion) string { return i.id })
		case "status":
			oneOf(v, func(i *issueVersion) string { return i.status })
		case "severity":
			oneOf(v, func(i *issueVersion) string { return i.severity })
		case "type":
			oneOf(v, func(i *issueVersion) string { return i.typ })
		case "openReason":
			oneOf(v, func(i *issueVersion) string { return i.openReason })
		case "resolutionReason":
			oneOf(v, func(i *issueVersion) string { return i.resolutionReason })
		case "project":
			oneOf(v, func(i *issueVersion) string { return textOf(i.project, "id") })
		case "projectIsSet":
			is(v, func(i *issueVersion) bool { return i.project != nil })
		case "cloudAccountOrCloudOrganizationId":
			oneOf(v, func(i *issueVersion) string { return textOf(i.account, "id") })
		case "riskEqualsAny", "riskEqualsAll":
			want, all := texts(v), name == "riskEqualsAll"
			and(func(i *issueVersion) bool {
				risks, _ := i.rule["risks"].([]string)
				has := func(s string) bool { return slices.Contains(risks, s) }
				if all {
					return !slices.ContainsFunc(want, func(s string) bool { return !has(s) })
				}
				return slices.ContainsFunc(want, has)
			})
		case "sourceRule":
			if ids := v.(map[string]any)["id"]; ids != nil {
				oneOf(ids, func(i *issueVersion) string { return textOf(i.rule, "id") })
			}
		case "relatedEntity":
			where = append(where, readEntityFilter(v.(map[string]any))...)
		case "assignee":
			f := v.(map[string]any)
			if ids := f["equals"]; ids != nil {
				oneOf(ids, func(i *issueVersion) string { return i.assignee.idOr("") })
			}
			if set := f["isSet"]; set != nil {
				is(set, func(i *issueVersion) bool { return i.assignee != nil })
			}
		case "hasNote", "hasUserNote":
			is(v, func(i *issueVersion) bool { return len(i.notes) > 0 })
		case "noteContains":
			contains(v, func(i *issueVersion) string { return allTexts(i.notes, "text") })
		case "hasServiceTicket":
			is(v, func(i *issueVersion) bool { return len(i.tickets) > 0 })
		case "searchServiceTicket":
			contains(v, func(i *issueVersion) string { return allTexts(i.tickets, "name") })
		case "hasDueDate":
			is(v, func(i *issueVersion) bool { return !i.due.IsZero() })
		case "validatedAsExploitable":
			is(v, func(i *issueVersion) bool { return i.exploitable })
		case "search":
			contains(v, func(i *issueVersion) string {
				return i.id + " " + textOf(i.rule, "name") + " " + textOf(i.entity, "name")
			})
		}
	}
	return where, nil
}

func readEntityFilter(m map[string]any) []func(*issueVersion) bool {
	var where []func(*issueVersion) bool
	fields := map[string]string{"id": "id", "ids": "id", "type": "type", "nativeType": "nativeType", "region": "region",
		"cloudPlatform": "cloudPlatform", "subscriptionId": "subscriptionId", "status": "status"}
	for _, name := range sortedKeys(m) {
		if m[name] == nil {
			continue
		}
		if name == "search" {
			want := strings.ToLower(m[name].(string))
			where = append(where, func(i *issueVersion) bool { return strings.Contains(strings.ToLower(textOf(i.entity, "name")), want) })
			continue
		}
		want, field := texts(m[name]), fields[name]
		where = append(where, func(i *issueVersion) bool { return slices.Contains(want, textOf(i.entity, field)) })
	}
	return where
}

func textOf(t thing, field string) string {
	s, _ := t[field].(string)
	return s
}

func allTexts(ts []thing, field string) string {
	var b strings.Builder
	for _, t := range ts {
		b.WriteString(textOf(t, field) + "\n")
	}
	return b.String()
}

// idOr is the principal's id, or s where there is no principal.
func (p *principal) idOr(s string) string {
	if p == nil {
		return s
	}
	return p.id
}
