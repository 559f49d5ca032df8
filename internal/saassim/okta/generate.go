package okta

import (
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// event is an event of the System Log. It never changes once it is made.
type event struct {
	id                string
	published, stored time.Time
	document          map[string]any
	json              []byte
}

func (e *event) Key() string         { return e.id }
func (e *event) Happened() time.Time { return e.published }
func (e *event) Shows() time.Time    { return e.stored }

type account struct {
	saassim.Person
	id string
}

func (a account) document() map[string]any {
	return map[string]any{"id": a.id, "type": "User", "alternateId": a.Email, "displayName": a.Name(), "detailEntry": nil}
}

// thing is what is not a person: a group, an application, a zone.
func (g *generator) thing(kind string) map[string]any {
	return map[string]any{"id": g.identity(), "type": kind, "alternateId": "unknown", "displayName": saassim.Pick(g.Dice, saassim.Words), "detailEntry": nil}
}

// What an event has as its targets.
type targets int

const (
	none    targets = iota // an empty list
	missing                // null
	self
	other      // another user
	otherGroup // another user and a group
	group
	groupApp
	app
	role
	zone
	provider
	behaviour
	token
	policy
	flow
	report
	directory // the user and the directory that knows it
)

// kinds are the events there are, with how often each happens.
var kinds = []struct {
	name, message, severity string
	of                      targets
	uri                     string
	often                   int
}{
	{"user.session.start", "User login to Okta", "INFO", none, "/api/v1/authn", 20},
	{"user.session.end", "User logout from Okta", "INFO", missing, "/login/signout", 8},
	{"user.authentication.auth_via_mfa", "Authentication of user via MFA", "INFO", self, "/api/v1/authn/factors/{id}/verify", 14},
	{"user.authentication.auth_via_AD_agent", "Authenticate user with AD agent", "INFO", directory, "/api/v1/authn/factors/password/verify", 5},
	{"user.authentication.sso", "User single sign on to app", "INFO", app, "/app/{id}/sso/saml", 20},
	{"policy.evaluate_sign_on", "Evaluation of sign-on policy", "INFO", policy, "/api/v1/authn", 10},
	{"user.account.report_suspicious_activity_by_enduser", "User report suspicious activity", "WARN", self, "/api/internal/users/me/report-suspicious-activity", 1},
	{"user.lifecycle.create", "Create okta user", "INFO", other, "/api/v1/users", 2},
	{"user.lifecycle.delete.initiated", "Delete Okta user initiated", "INFO", other, "/api/v1/users/{id}", 1},
	{"user.account.update_profile", "Update user profile for Okta", "INFO", other, "/api/v1/users/{id}", 2},
	{"user.account.update_password", "User update password for Okta", "INFO", other, "/api/v1/users/{id}/lifecycle/reset_password", 2},
	{"user.account.privilege.grant", "Grant user privilege", "INFO", other, "/api/v1/users/{id}/roles", 1},
	{"user.account.privilege.revoke", "Revoke user privilege", "INFO", other, "/api/v1/users/{id}/roles", 1},
	{"user.mfa.factor.activate", "Activate factor for user", "INFO", self, "/api/v1/users/{id}/factors", 2},
	{"user.mfa.factor.deactivate", "Reset factor for user", "INFO", other, "/api/v1/users/{id}/factors", 1},
	{"group.lifecycle.create", "Create okta group", "INFO", group, "/api/v1/groups", 1},
	{"group.lifecycle.delete", "Delete okta group", "INFO", group, "/api/v1/groups/{id}", 1},
	{"group.user_membership.add", "Add user to group membership", "INFO", otherGroup, "/api/v1/groups/{id}/users/{id}", 3},
	{"group.user_membership.remove", "Remove user from group membership", "INFO", otherGroup, "/api/v1/groups/{id}/users/{id}", 2},
	{"group.application_assignment.add", "Add assigned application to group", "INFO", groupApp, "/api/v1/apps/{id}/groups", 1},
	{"application.lifecycle.create", "Create application", "INFO", app, "/api/v1/apps", 1},
	{"application.lifecycle.update", "Update application", "INFO", app, "/api/v1/apps/{id}", 1},
	{"application.lifecycle.delete", "Delete application", "INFO", app, "/api/v1/apps/{id}", 1},
	{"iam.role.create", "Role created", "INFO", role, "/api/v1/iam/roles", 1},
	{"iam.role.permissions.delete", "Permissions deleted from Role", "INFO", role, "/api/v1/iam/roles/{id}/permissions", 1},
	{"iam.role.delete", "Role deleted", "INFO", role, "/api/v1/iam/roles/{id}", 1},
	{"policy.rule.update", "Update policy rule", "INFO", policy, "/api/v1/policies/{id}/rules", 2},
	{"system.api_token.create", "Create API token", "INFO", token, "/api/internal/tokens", 1},
	{"system.idp.lifecycle.create", "Create an Identity Provider", "INFO", provider, "/api/v1/idps", 1},
	{"security.behavior.settings.delete", "A behavior setting was deleted", "INFO", behaviour, "/api/v1/behaviors/{id}", 1},
	{"zone.update", "Network zone update", "INFO", zone, "/api/v1/zones/{id}", 1},
	{"zone.delete", "Network zone delete", "INFO", zone, "/api/v1/zones/{id}", 1},
	{"workflows.user.flow.delete", "Flow deleted", "INFO", flow, "", 1},
	{"analytics.reports.export.download", "Report CSV Export Downloaded", "INFO", report, "/reports/download", 1},
}

// generator makes events. It is not safe for concurrent use.
type generator struct {
	saassim.Dice
	users  []account
	weight int
}

func newGenerator(o Options) *generator {
	g := &generator{Dice: saassim.NewDice(o.Seed, 1)}
	for i := range o.Users {
		g.users = append(g.users, account{g.Person(i), "00u" + g.Text(17, saassim.Letters)})
	}
	for _, k := range kinds {
		g.weight += k.often
	}
	return g
}

func (g *generator) identity() string { return "00" + g.Text(18, saassim.Letters) }

// event makes an event of the usual mix: mostly people who sign in.
func (g *generator) event(at time.Time) *event {
	n, kind := g.IntN(g.weight), kinds[0]
	for _, kind = range kinds {
		if n -= kind.often; n < 0 {
			break
		}
	}
	by := saassim.Pick(g.Dice, g.users)
	e := &event{id: g.UUID(), published: at.UTC().Truncate(time.Millisecond)}
	ip, agent := saassim.Pick(g.Dice, by.IPs), saassim.Pick(g.Dice, by.Agents)
	place := geography(by.Country)
	session := any("102" + g.Text(20, saassim.Letters))
	outcome := map[string]any{"result": "SUCCESS", "reason": nil}
	severity := kind.severity
	if strings.HasPrefix(kind.name, "user.session.start") || strings.Contains(kind.name, "auth_via") {
		if g.Chance(0.15) {
			outcome["result"], outcome["reason"], severity = "FAILURE", "INVALID_CREDENTIALS", "WARN"
			session = saassim.Pick(g.Dice, []any{"unknown", nil})
		}
	}
	version := "V4"
	if strings.Contains(ip, ":") {
		version = "V6"
	}
	authentication := map[string]any{"authenticationProvider": nil, "authenticationStep": 0, "credentialProvider": nil, "credentialType": nil,
		"externalSessionId": session, "interface": nil, "issuer": nil}
	switch kind.name {
	case "user.authentication.auth_via_mfa":
		authentication["authenticationProvider"], authentication["credentialProvider"], authentication["credentialType"] = "FACTOR_PROVIDER", "OKTA_CREDENTIAL_PROVIDER", "OTP"
	case "user.authentication.auth_via_AD_agent":
		authentication["authenticationProvider"], authentication["credentialType"], authentication["interface"] = "ACTIVE_DIRECTORY", "PASSWORD", "AD APP Instance"
	}
	e.document = map[string]any{
		"uuid": e.id, "published": e.published.Format("2006-01-02T15:04:05.000Z"), "eventType": kind.name, "version": "0", "severity": severity,
		"legacyEventType": nil, "displayMessage": kind.message, "outcome": outcome, "actor": by.document(), "target": g.targets(kind.of, by),
		"authenticationContext": authentication,
		"client": map[string]any{"userAgent": userAgent(agent), "zone": "null", "device": device(agent), "id": nil, "ipAddress": ip,
			"geographicalContext": place},
		"securityContext": map[string]any{"asNumber": 64500 + g.IntN(10), "asOrg": "example carrier", "isp": "example carrier", "domain": ".", "isProxy": g.Chance(0.05)},
		"debugContext":    map[string]any{"debugData": g.debug(kind.name, kind.uri, outcome["result"] == "SUCCESS")},
		"transaction":     map[string]any{"type": "WEB", "id": g.Text(27, saassim.Letters), "detail": map[string]any{}},
		"request":         map[string]any{"ipChain": []any{map[string]any{"ip": ip, "geographicalContext": place, "version": version, "source": nil}}},
	}
	e.json = saassim.Raw(e.document)
	return e
}

// debug is what differs most between events.
func (g *generator) debug(kind, uri string, success bool) map[string]any {
	for strings.Contains(uri, "{id}") {
		uri = strings.Replace(uri, "{id}", g.identity(), 1)
	}
	d := map[string]any{"requestId": g.Text(27, saassim.Letters), "dtHash": g.Text(64, saassim.Hex), "requestUri": uri, "url": uri + "?"}
	switch kind {
	case "user.session.start":
		d["deviceFingerprint"], d["threatSuspected"] = g.Text(32, saassim.Hex), saassim.Pick(g.Dice, []string{"false", "false", "true"})
		if !success {
			d["logOnlySecurityData"] = `{"risk":{"reasons":"Anomalous Device","level":"MEDIUM"},"behaviors":{"New Device":"POSITIVE","New IP":"NEGATIVE"}}`
		}
	case "user.authentication.auth_via_mfa":
		d["factor"] = saassim.Pick(g.Dice, []string{"SOFT_TOKEN", "OKTA_VERIFY_PUSH", "SMS_FACTOR", "FIDO_WEBAUTHN"})
	case "user.account.privilege.grant":
		d["privilegeGranted"] = saassim.Pick(g.Dice, []string{"Super administrator", "Read only admin, Report admin"})
	case "user.account.privilege.revoke":
		d["privilegeRevoked"] = "Organization administrator"
	case "user.account.update_profile":
		d["changedAttributes"] = "login,email"
	case "user.account.report_suspicious_activity_by_enduser":
		d["suspiciousActivityEventType"], d["suspiciousActivityEventIp"] = "system.email.new_device_notification.sent_message", "198.51.100.77"
	case "zone.update", "zone.delete":
		d["zoneData"] = `{"type":"IP","gateways":[{"type":"RANGE","value":"192.0.2.0-192.0.2.255"}],"proxies":[]}`
	case "workflows.user.flow.delete":
		d = map[string]any{"sessionId": g.UUID()}
	}
	return d
}

func (g *generator) targets(of targets, by account) any {
	someone := saassim.Pick(g.Dice, g.users).document()
	named := func(kind string) map[string]any {
		t := g.thing(kind)
		t["alternateId"] = t["displayName"]
		return t
	}
	switch of {
	case missing:
		return nil
	case self:
		return []any{by.document()}
	case other:
		return []any{someone}
	case otherGroup:
		return []any{someone, g.thing("UserGroup")}
	case group:
		return []any{g.thing("UserGroup")}
	case groupApp:
		return []any{g.thing("UserGroup"), named("AppInstance")}
	case app:
		return []any{named("AppInstance"), by.document()}
	case role:
		permission := map[string]any{"id": "okta.users.manage", "type": "Permission", "alternateId": "unknown", "displayName": "okta.users.manage", "detailEntry": nil}
		return []any{g.thing("Role"), permission}
	case zone:
		return []any{g.thing("NetworkZoneEntity")}
	case provider:
		return []any{named("IdentityProvider")}
	case behaviour:
		t := g.thing("BehaviorSettings")
		t["detailEntry"] = map[string]any{"behaviorType": "ANOMALOUS_LOCATION"}
		return []any{t}
	case token:
		return []any{g.thing("Token")}
	case policy:
		entity := g.thing("PolicyEntity")
		entity["detailEntry"] = map[string]any{"policyType": "OktaSignOn"}
		return []any{entity, named("PolicyRule")}
	case flow:
		return []any{named("AppInstance"), named("Flow")}
	case report:
		return []any{g.thing("Report")}
	case directory:
		return []any{by.document(), named("AppInstance")}
	}
	return []any{}
}

// geography is where a country's addresses are; nil for none.
func geography(country string) any {
	places := map[string]map[string]any{
		"US": {"city": "San Francisco", "state": "California", "country": "United States", "postalCode": "94016", "geolocation": map[string]any{"lat": 37.7749, "lon": -122.4194}},
		"DE": {"city": "Köln", "state": "North Rhine-Westphalia", "country": "Germany", "postalCode": "50667", "geolocation": map[string]any{"lat": 50.9375, "lon": 6.9603}},
		"IL": {"city": "Tel Aviv", "state": "Tel Aviv", "country": "Israel", "postalCode": nil, "geolocation": map[string]any{"lat": 32.0853, "lon": 34.7818}},
		"JP": {"city": nil, "state": nil, "country": "Japan", "postalCode": nil, "geolocation": map[string]any{"lat": 35.69, "lon": 139.69}},
	}
	if p, ok := places[country]; ok {
		return p
	}
	return nil
}

func device(agent string) string {
	if strings.Contains(agent, "Mobile") {
		return "Mobile"
	}
	return "Computer"
}

func userAgent(agent string) map[string]any {
	first := func(pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			if strings.Contains(agent, pairs[i]) {
				return pairs[i+1]
			}
		}
		return "Unknown"
	}
	return map[string]any{
		"rawUserAgent": agent,
		"browser":      first("Edg/", "EDGE", "Chrome", "CHROME", "Firefox", "FIREFOX", "Safari", "SAFARI"),
		"os":           first("iPhone", "iOS (iPhone)", "Android", "Android", "Windows", "Windows 10", "Mac OS X", "Mac OS X", "Linux", "Linux"),
	}
}
