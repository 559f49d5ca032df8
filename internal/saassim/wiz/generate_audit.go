package wiz

import (
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// The actions that are made up, by what they are. Their names are those known
// from the vendor's documents, detection rules and samples.
var (
	readActions   = []string{"Users", "Report", "Reports", "SystemActivities", "CloudAccountsWithComplianceAnalytics"}
	createActions = []string{"CreateUser", "CreateSAMLUser", "CreateServiceAccount", "CreateReport", "CreateProject", "CreateIntegration",
		"CreateAutomationRule", "CreateCloudConfigurationRule", "CreateIgnoreRule", "CreateConnector", "CreateUserRole", "CreateIssueNote",
		"CreateSAMLIdentityProvider", "CreateDashboard", "CreateSavedGraphQuery", "CreateCustomIPRange"}
	updateActions = []string{"UpdateUser", "UpdateServiceAccount", "UpdateReport", "UpdateIssue", "UpdateIntegration", "UpdateAutomationRule",
		"UpdateConnector", "UpdateUserRole", "UpdateIgnoreRule", "UpdateLoginSettings", "UpdateIPRestrictions", "UpdateScannerSettings",
		"UpdateSAMLIdentityProvider", "UpdateSupportContactList", "UpdateCloudConfigurationRule"}
	deleteActions = []string{"DeleteUser", "DeleteServiceAccount", "DeleteReport", "DeleteIntegration", "DeleteAutomationRule", "DeleteConnector",
		"DeleteIgnoreRule", "DeleteUserRole", "DeleteSAMLIdentityProvider"}
	otherActions = []string{"RerunReport", "RotateServiceAccountSecret", "RevokeSessions", "RevokeUserSessions", "InitiateDiskScanContainerImage",
		"InitiateIACScan", "FinalizeCICDScan", "RequestConnectorEntityScan", "ModifySAMLIdentityProviderGroupMappings", "DisassociateServiceTicket"}
)

// auditEntry makes an entry of the usual mix: a third of them sign-ins, a
// third reads, a third changes.
func (g *generator) auditEntry(at time.Time) *auditEntry {
	by := saassim.Pick(g.Dice, g.users)
	if g.Chance(0.45) {
		by = saassim.Pick(g.Dice, g.accounts)
	}
	switch n := g.IntN(100); {
	case n < 24:
		return g.login(at, by, "SUCCESS")
	case n < 28:
		return g.login(at, by, "FAILED")
	case n < 32:
		e := g.entry(at, by, "TokenRefresh", "AUTHENTICATION")
		e.params = saassim.Raw(map[string]any{"clientID": by.clientID, "userpoolID": "us-east-2_" + g.Text(9, saassim.Lower)})
		return e
	case n < 62:
		return g.query(at, by, saassim.Pick(g.Dice, readActions))
	case n < 75:
		return g.mutation(at, by, saassim.Pick(g.Dice, createActions))
	case n < 88:
		return g.mutation(at, by, saassim.Pick(g.Dice, updateActions))
	case n < 94:
		return g.mutation(at, by, saassim.Pick(g.Dice, deleteActions))
	}
	return g.mutation(at, by, saassim.Pick(g.Dice, otherActions))
}

// entry makes what all entries have. Nulls stand where real tenants have them:
// most often for the address.
func (g *generator) entry(at time.Time, by *principal, action, actionType string) *auditEntry {
	e := &auditEntry{
		id: g.UUID(), requestID: g.UUID(), action: action, actionType: actionType, status: "SUCCESS",
		at: at.UTC().Truncate(time.Microsecond), by: by, duration: 5 + g.IntN(900),
		agent: saassim.Pick(g.Dice, by.agents), ip: saassim.Pick(g.Dice, by.ips), country: by.country, shuffle: g.Uint64(),
	}
	if by.kind == userAccount {
		e.client = "WIZ_PORTAL"
	}
	if g.Chance(0.25) {
		e.ip, e.country = "", ""
	}
	if g.Chance(0.1) {
		e.agent = ""
	}
	switch n := g.IntN(100); {
	case n < 3:
		e.status = "ACCESS_DENIED"
	case n < 6:
		e.status = "FAILED"
	case n < 7:
		e.status = "INVALID"
	case n < 17: // from before these fields were there
		e.actionType, e.country, e.client = "", "", ""
	case n < 20 && actionType == "QUERY":
		e.client, e.engines, e.aiAgent = "MCP", []string{"SECURITY_GRAPH", "ISSUES"}, saassim.Pick(g.Dice, []string{"", "BLUE", "MIKA"})
	}
	e.visible = e.at
	return e
}

// login makes a sign-in. Its request has the entry's own id, as in samples.
func (g *generator) login(at time.Time, by *principal, status string) *auditEntry {
	e := g.entry(at, by, "Login", "AUTHENTICATION")
	e.requestID, e.status = e.id, status
	p := map[string]any{
		"clientID": by.clientID, "error": "", "groups": nil, "name": by.name, "products": []string{"*"}, "role": "", "scopes": by.scopes,
		"sourceIP": e.ip, "userEmail": "", "userID": by.id, "userPoolType": "sa", "userpoolID": "us-east-2_" + g.Text(9, saassim.Lower),
	}
	if by.kind == userAccount {
		p["clientID"], p["scopes"], p["userPoolType"] = g.Text(26, saassim.Lower), nil, "saml"
		p["userEmail"], p["role"], p["groups"] = by.email, saassim.Pick(g.Dice, []string{"GLOBAL_ADMIN", "GLOBAL_READER", "PROJECT_MEMBER"}), []string{"wiz-users", "eng"}
	}
	if status == "FAILED" {
		p["name"], p["products"], p["role"], p["scopes"] = "", nil, "", nil
		p["error"] = "failed authenticating service account"
		if by.kind == userAccount {
			p["error"] = saassim.Pick(g.Dice, []string{"user is suspended", "SAML response is invalid", "no role is mapped to the user's groups"})
		}
	}
	e.params = saassim.Raw(p)
	return e
}

// query makes the entry of a read.
func (g *generator) query(at time.Time, by *principal, action string) *auditEntry {
	e := g.entry(at, by, action, "QUERY")
	e.params = saassim.Raw(map[string]any{
		"after": nil, "filterBy": map[string]any{"search": saassim.Pick(g.Dice, saassim.Words)}, "first": 20 + 20*g.IntN(25),
		"selection": []any{
			map[string]any{"nodes": []any{"id", "name", "createdAt", map[string]any{"lastRun": []string{"url", "status", "runAt"}}}},
			map[string]any{"pageInfo": []string{"hasNextPage", "endCursor"}},
		},
	})
	return e
}

// mutation makes the entry of a change.
func (g *generator) mutation(at time.Time, by *principal, action string) *auditEntry {
	e := g.entry(at, by, action, "MUTATION")
	noun := action
	for _, verb := range []string{"Create", "Update", "Delete"} {
		noun = strings.TrimPrefix(noun, verb)
	}
	noun = strings.ToLower(noun[:1]) + noun[1:]
	result := any(map[string]any{noun: []string{"id"}})
	var input map[string]any
	switch {
	case strings.HasPrefix(action, "Create"):
		input = map[string]any{"name": saassim.Pick(g.Dice, saassim.Words), "description": saassim.Pick(g.Dice, saassim.Words), "projectId": g.UUID(), "enabled": g.Chance(0.9)}
		if strings.HasSuffix(action, "User") {
			input = map[string]any{"email": saassim.Pick(g.Dice, g.users).email, "name": saassim.Pick(g.Dice, g.users).name, "role": "PROJECT_MEMBER", "sendEmailInvite": true}
		}
		if action == "CreateServiceAccount" {
			input["scopes"], input["expiresAt"] = []string{"read:issues", "read:vulnerabilities"}, nil
		}
	case strings.HasPrefix(action, "Update"):
		input = map[string]any{"id": g.UUID(), "patch": map[string]any{"name": saassim.Pick(g.Dice, saassim.Words), "severity": saassim.Pick(g.Dice, severities), "threshold": g.IntN(1000)}}
		if action == "UpdateIPRestrictions" {
			input = map[string]any{"patch": map[string]any{"userIPRanges": []string{"192.0.2.0/24", "2001:db8::/32"}, "serviceAccountIPRanges": []string{}}}
		}
	case strings.HasPrefix(action, "Delete"):
		input, result = map[string]any{"id": g.UUID()}, "_stub"
	default:
		input = map[string]any{"id": g.UUID()}
	}
	e.params = saassim.Raw(map[string]any{"input": input, "selection": []any{result}})
	return e
}
