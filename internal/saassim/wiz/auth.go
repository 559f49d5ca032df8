package wiz

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// signIn answers a token request: OAuth 2 client credentials in a form, with
// an audience. Credentials in an Authorization header are not looked at.
func (c *call) signIn() {
	form, ok := c.Form()
	if !ok {
		return
	}
	o := &c.w.opts
	for name, want := range o.TokenHeaders {
		if c.R.Header.Get(name) != want {
			c.RefuseToken(http.StatusForbidden, "access_denied", "header "+name+" is required")
			return
		}
	}
	for name, want := range o.TokenParams {
		if form.Get(name) != want {
			c.RefuseToken(http.StatusBadRequest, "invalid_request", "parameter "+name+" is required")
			return
		}
	}
	switch grant := form.Get("grant_type"); {
	case grant == "":
		c.RefuseToken(http.StatusBadRequest, "invalid_request", "grant_type is required")
	case grant != "client_credentials":
		c.RefuseToken(http.StatusForbidden, "unsupported_grant_type", "unsupported grant type: "+grant)
	case form.Get("client_id") == "" || form.Get("client_secret") == "":
		c.RefuseToken(o.RefusedStatus, "access_denied", "client_id and client_secret are required")
	case form.Get("audience") != o.Audience:
		c.RefuseToken(http.StatusForbidden, "access_denied", "service not found: "+form.Get("audience"))
	case !saassim.Same(form.Get("client_id"), o.ClientID) || !saassim.Same(form.Get("client_secret"), o.ClientSecret):
		c.w.auditSignIn("FAILED", c.R)
		c.RefuseToken(o.RefusedStatus, "access_denied", "Unauthorized")
	default:
		c.w.auditSignIn("SUCCESS", c.R)
		c.GrantToken(map[string]any{
			"access_token": c.w.issueToken(time.Now()),
			"token_type":   "Bearer",
			"expires_in":   int(o.TokenSays / time.Second),
		})
	}
}

// issueToken makes a token in the form of the real ones: a JWT with the data
// centre and the scopes as an unexplained bit mask.
func (w *Tenant) issueToken(now time.Time) string {
	o := &w.opts
	t := w.JWT(map[string]any{"alg": "RS256", "typ": "JWT", "kid": w.NoiseText(8)}, map[string]any{
		"iss": "https://auth.app.wiz.io/", "sub": o.ClientID + "@clients", "aud": o.Audience,
		"iat": now.Unix(), "exp": now.Add(o.TokenLifetime).Unix(), "jti": w.NoiseText(16),
		"gty": "client-credentials", "dc": o.DataCentre,
		"encodedScopes": base64.StdEncoding.EncodeToString(scopeMask(o.Scopes)),
	})
	w.AllowToken(t, saassim.Grant{Subject: o.ClientID, Scopes: o.Scopes}, o.TokenLifetime)
	return t
}

// scopeMask sets one bit a scope; the product's numbering is not public, and
// this one is not it.
func scopeMask(scopes []string) []byte {
	mask := make([]byte, 24)
	for _, s := range scopes {
		sum := 0
		for _, b := range []byte(s) {
			sum = (sum*31 + int(b)) % (len(mask) * 8)
		}
		mask[sum/8] |= 1 << (sum % 8)
	}
	return mask
}

// needs is the scope that each query and mutation of the API asks for.
var needs = map[string]string{
	"auditLogEntries": ScopeAudit, "auditLogEntry": ScopeAudit,
	"issuesV2": ScopeIssues, "issue": ScopeIssues,
	"serviceAccounts": ScopeServiceAccounts,
	"report":          ScopeReadReports, "reports": ScopeReadReports,
	"createReport": ScopeCreateReports, "rerunReport": ScopeUpdateReports, "deleteReport": ScopeUpdateReports,
}

// denied returns the message for a query that the scopes do not allow, in the
// words of a real tenant's refusal, and "" for one that they do.
func denied(query string, scopes []string) string {
	need := needs[query]
	if k := kindOf(query); k != nil {
		need = k.scope
	}
	if need == "" || slices.Contains(scopes, need) {
		return ""
	}
	required := need
	if strings.HasPrefix(need, "read:") {
		if slices.Contains(scopes, ScopeAll) {
			return ""
		}
		required = ScopeAll + " " + need
	}
	return fmt.Sprintf("access denied, at least one of the following is required: [%s], your permissions: [%s]",
		required, strings.Join(slices.Sorted(slices.Values(scopes)), " "))
}
