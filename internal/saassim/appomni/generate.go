package appomni

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// event is an audit event. It never changes once it is made.
type event struct {
	id, action  string
	at, visible time.Time
	pushed      time.Time // when it is pushed first; zero: never
	user        int       // 0: nobody
	service     service   // zero: none
	policy      int       // 0: none
	version     int       // of the data in what is pushed
	data        map[string]any
}

func (e *event) Key() string         { return e.id }
func (e *event) Happened() time.Time { return e.at }
func (e *event) Shows() time.Time    { return e.visible }

type service struct {
	id          int
	kind, name  string // the kind is sfdc, box
	perspective int    // 0: none
}

// dataKeys are those of an event's data in the API, which are all there, most
// of them null.
var dataKeys = []string{
	"access_token_id", "destination_id", "destination_name", "destination_type", "detail_str", "detection_alert_id", "detection_rule_id",
	"detection_rule_name", "detection_ruleset_id", "detection_ruleset_name", "element_id", "element_list_id", "element_type", "email_addresses",
	"email_identifier", "email_reason", "error_str", "eventsource_dataset", "eventsource_id", "eventsource_name", "eventsource_type",
	"external_entity_id", "file_id", "global_value_list_collection_id", "group_id", "group_name", "new_value", "oauth_application_id", "old_value",
	"platform_ingest_job_id", "policy_assessment_completion_date", "policy_assessment_id", "policy_id", "policy_name", "reason_str",
	"refresh_token_id", "rule_id", "ruleevent_id", "ruleexception_id", "setting_name", "sink_id", "sink_name", "tag_id", "tag_name",
	"target_user_id", "target_user_username", "third_party_application_id", "third_party_application_name", "type_str", "unified_identity_email",
	"unified_identity_id", "user_agent", "user_ip", "user_username", "workflow_instance_id", "workflow_instance_name",
}

// timeText writes a time as Python does: without a fraction where there is none.
func timeText(t time.Time, zone string) string {
	layout := "2006-01-02T15:04:05.000000"
	if t.Nanosecond() == 0 {
		layout = "2006-01-02T15:04:05"
	}
	return t.UTC().Format(layout) + zone
}

func orNull(n int) any {
	if n == 0 {
		return nil
	}
	return n
}

// fields are those of an event beside its id, time and data, in either form.
func (e *event) fields() map[string]any {
	f := map[string]any{
		"action_type": e.action, "user_id": orNull(e.user), "perspective_id": nil, "perspective_name": nil, "policy_id": orNull(e.policy),
		"service_id": orNull(e.service.id), "service_type": nil, "service_name": nil,
	}
	if e.service.kind != "" {
		f["service_type"] = e.service.kind
	}
	if e.service.id != 0 {
		f["service_name"] = e.service.name
	}
	if e.service.perspective != 0 {
		f["perspective_id"], f["perspective_name"] = e.service.perspective, "Default"
	}
	return f
}

// row is the event as the API shows it, or without keys that should be there.
func (e *event) row(missing bool) []byte {
	f, data := e.fields(), map[string]any{}
	for _, k := range dataKeys {
		data[k] = e.data[k]
	}
	if missing {
		delete(f, "user_id")
		delete(data, "user_ip")
	}
	f["identifier"], f["action_at"], f["action_data"] = e.id, timeText(e.at, "Z"), data
	return saassim.Raw(f)
}

// message is the event as it is pushed: another name for the id, another zone,
// and without the nulls, unless they are asked for as older ones have them.
func (e *event) message(org int, nulls bool) json.RawMessage {
	f, data := e.fields(), map[string]any{"md_kind": "core.aoaudit.auditdata", "md_version": e.version}
	for _, k := range dataKeys {
		if e.data[k] != nil || nulls {
			data[k] = e.data[k]
		}
	}
	if nulls {
		f["omnitab_user_id"] = nil
		if f["service_type"] == nil {
			f["service_type"] = "None"
		}
	}
	for k, v := range f {
		if v == nil && !nulls {
			delete(f, k)
		}
	}
	f["log_id"], f["org_id"], f["action_at"], f["action_data"] = e.id, org, timeText(e.at, "+00:00"), data
	return json.RawMessage(saassim.Raw(f))
}

// What an action is about.
type subject int

const (
	nothing subject = iota // only somebody, with an address and a user agent
	target                 // another user
	self                   // the user's own account
	setting
	ofService // a monitored service
	ofPolicy
	ofRule  // of a policy
	ofAlert // of threat detection
	ofDetection
	ofSource // an event source
	ofSink   // a destination of events
)

// actions are those whose names are known, with how often each happens.
var actions = []struct {
	name, about string
	of          subject
	often       int
}{
	{"user_login_google", "User signed in with Google", nothing, 12},
	{"user_login_saml", "User signed in with SAML", nothing, 20},
	{"user_login_failed", "User failed to sign in", nothing, 8},
	{"user_login_failed_user_locked", "User failed to sign in and is locked", nothing, 2},
	{"user_logout", "User signed out", nothing, 8},
	{"user_mfa_totp_challenge", "User was challenged for a one-time password", self, 6},
	{"user_mfa_enabled", "User enabled multi-factor authentication", self, 2},
	{"user_mfa_disabled", "User disabled multi-factor authentication", self, 1},
	{"user_created", "User created", target, 2},
	{"user_disabled", "User disabled", target, 2},
	{"ao_sys_setting_change", "System setting changed", setting, 3},
	{"ao_sys_setting_auth_change", "System authentication setting changed", setting, 1},
	{"ao_scim_setting_change", "SCIM setting changed", setting, 1},
	{"ao_oidc_setting_change", "OIDC setting changed", setting, 1},
	{"asmt_started_role", "Assessment of roles started", ofService, 3},
	{"asmt_ended_role", "Assessment of roles ended", ofService, 3},
	{"asmt_started_ms", "Assessment of a monitored service started", ofService, 4},
	{"asmt_ended_ms", "Assessment of a monitored service ended", ofService, 4},
	{"policy_scan_requested", "Policy scan requested", ofPolicy, 2},
	{"policy_scan_started", "Policy scan started", ofPolicy, 4},
	{"policy_scan_ended", "Policy scan ended", ofPolicy, 4},
	{"policy_enabled", "Policy enabled", ofPolicy, 1},
	{"policy_disabled", "Policy disabled", ofPolicy, 1},
	{"policy_created", "Policy created", ofPolicy, 2},
	{"policy_deleted", "Policy deleted", ofPolicy, 1},
	{"rule_created", "Rule created", ofRule, 2},
	{"rule_modified", "Rule modified", ofRule, 2},
	{"rule_deleted", "Rule deleted", ofRule, 1},
	{"exception_created", "Exception created", ofRule, 1},
	{"exception_deleted", "Exception deleted", ofRule, 1},
	{"ms_created", "Monitored service created", ofService, 1},
	{"ms_deleted", "Monitored service deleted", ofService, 1},
	{"ms_auth_failed", "Monitored service failed to authenticate", ofService, 2},
	{"ms_renamed", "Monitored service renamed", ofService, 1},
	{"ms_detection_ingestion_disabled", "Ingestion of a monitored service's events disabled", ofService, 1},
	{"event_allowed", "Finding allowed", ofRule, 2},
	{"event_ignored", "Finding ignored", ofRule, 2},
	{"event_assigned", "Finding assigned", ofRule, 2},
	{"event_source_updated", "Event source updated", ofSource, 2},
	{"detection_rule_disabled", "Detection rule disabled", ofDetection, 1},
	{"detection_alert_closed", "Detection alert closed", ofAlert, 3},
	{"detection_alert_inprogress", "Detection alert taken up", ofAlert, 3},
	{"sink_updated", "Event destination updated", ofSink, 1},
}

type account struct {
	saassim.Person
	id int
}

// generator makes events. It is not safe for concurrent use.
type generator struct {
	saassim.Dice
	users    []account
	services []service
	policies []string // the first has the id 410000
	weight   int
}

func newGenerator(o Options) *generator {
	g := &generator{Dice: saassim.NewDice(o.Seed, 1)}
	for i := range o.Users {
		g.users = append(g.users, account{g.Person(i), 3000 + i*37})
	}
	for i, kind := range []string{"sfdc", "box", "snow", "gsuite", "m365", "okta"} {
		g.services = append(g.services, service{id: 35000 + i*411, kind: kind, name: saassim.Pick(g.Dice, saassim.Words) + " " + kind, perspective: i % 2 * (900 + i)})
	}
	for range 8 {
		g.policies = append(g.policies, saassim.Pick(g.Dice, saassim.Words)+" policy")
	}
	for _, a := range actions {
		g.weight += a.often
	}
	return g
}

func (g *generator) event(m saassim.Moment) *event {
	n := g.IntN(g.weight)
	kind := actions[0]
	for _, kind = range actions {
		if n -= kind.often; n < 0 {
			break
		}
	}
	by := saassim.Pick(g.Dice, g.users)
	e := &event{id: g.UUID(), action: kind.name, at: m.At, visible: m.Visible, user: by.id, version: 1 + g.IntN(2), data: map[string]any{"user_username": by.Email}}
	if g.Chance(0.05) {
		e.at = e.at.Truncate(time.Second)
	}
	if kind.of != ofService && kind.of != ofAlert { // those come without an address
		e.data["user_ip"], e.data["user_agent"] = saassim.Pick(g.Dice, by.IPs), saassim.Pick(g.Dice, by.Agents)
	}
	if kind.name == "user_login_failed" && g.Chance(0.5) { // nobody of that name
		e.user, e.data["user_username"] = 0, saassim.Pick(g.Dice, []string{"admin", "root+test", by.Email + ".invalid"})
	}
	g.about(e, kind.of, by)
	return e
}

// about adds what the event is about.
func (g *generator) about(e *event, of subject, by account) {
	rule := func() {
		e.policy = 410_000 + g.IntN(len(g.policies))
		e.data["policy_id"], e.data["policy_name"] = e.policy, g.policies[e.policy-410_000]
		e.service = service{kind: saassim.Pick(g.Dice, g.services).kind}
	}
	switch of {
	case self:
		e.data["target_user_id"], e.data["target_user_username"] = by.id, by.Email
		if e.action == "user_mfa_enabled" {
			e.data["detail_str"] = "TOTP"
		}
	case target:
		whom := saassim.Pick(g.Dice, g.users)
		e.data["target_user_id"], e.data["target_user_username"] = whom.id, whom.Email
	case setting:
		e.data["setting_name"] = saassim.Pick(g.Dice, []string{"Direct Auth Enabled", "SCIM Provisioning Enabled", "Session Timeout", "MFA Required"})
		e.data["old_value"], e.data["new_value"] = saassim.Pick(g.Dice, []string{"True", "30"}), saassim.Pick(g.Dice, []string{"False", "60"})
	case ofService:
		e.service = saassim.Pick(g.Dice, g.services)
		if e.action == "ms_created" && g.Chance(0.5) {
			e.service.name = "None" // so it is in a sample
		}
		if e.action == "ms_auth_failed" {
			e.data["error_str"] = "invalid_grant: expired access/refresh token"
		}
	case ofPolicy:
		rule()
	case ofRule:
		rule()
		e.data["rule_id"] = 88_000 + g.IntN(900)
	case ofAlert:
		e.data["detection_alert_id"] = g.UUID()
	case ofDetection:
		e.data["detection_rule_id"], e.data["detection_rule_name"] = g.UUID(), saassim.Pick(g.Dice, saassim.Words)+" rule"
	case ofSource:
		kind := saassim.Pick(g.Dice, []string{"okta_syslog", "box_events", "m365_audit"})
		e.data["eventsource_id"], e.data["eventsource_dataset"], e.data["eventsource_name"], e.data["eventsource_type"] = g.UUID(), kind, "AppOmni - "+kind, "pull"
	case ofSink:
		e.data["sink_id"], e.data["sink_name"] = g.UUID(), fmt.Sprintf("sink %d", 1+g.IntN(4))
	}
}
