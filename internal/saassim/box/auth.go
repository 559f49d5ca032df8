package box

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// The kinds of subject that a token acts for.
const (
	enterprise = "enterprise"
	user       = "user"
)

// longestJWT is how far ahead a JWT may end.
const longestJWT = 60 * time.Second

// signIn answers a token request: client credentials for the application's
// service account or a user, or a JWT that it signed.
func (b *Tenant) signIn(c *saassim.Call) {
	c.W.Header().Set("Date", b.serverTime().UTC().Format(http.TimeFormat))
	form, ok := c.Form()
	if !ok {
		return
	}
	var kind, id string
	refusal := ""
	o := &b.opts
	known := saassim.Same(form.Get("client_id"), o.ClientID) && saassim.Same(form.Get("client_secret"), o.ClientSecret)
	switch form.Get("grant_type") {
	case "client_credentials":
		kind, id = form.Get("box_subject_type"), form.Get("box_subject_id")
		if !known || !b.exists(kind, id) {
			refusal = "Grant credentials are invalid"
		}
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		if !known {
			c.RefuseToken(http.StatusBadRequest, "invalid_client", "The client credentials are invalid")
			return
		}
		kind, id, refusal = b.readJWT(form)
	default:
		c.RefuseToken(http.StatusBadRequest, "invalid_request", "Invalid grant_type parameter or parameter missing")
		return
	}
	switch {
	case refusal != "":
		c.RefuseToken(http.StatusBadRequest, "invalid_grant", refusal)
	case o.Unauthorized:
		c.RefuseToken(http.StatusBadRequest, "unauthorized_client", "This app is not authorized by the enterprise admin")
	default:
		token := c.T.NoiseText(16)
		c.T.AllowToken(token, saassim.Grant{Subject: kind + ":" + id, Scopes: o.Scopes}, o.TokenLifetime)
		c.GrantToken(map[string]any{
			"access_token": token, "expires_in": int(o.TokenLifetime / time.Second), "restricted_to": []any{}, "token_type": "bearer",
		})
	}
}

// serverTime is the clock that JWTs are judged by. It goes by real time.
func (b *Tenant) serverTime() time.Time { return time.Now().Add(b.opts.ClockSkew) }

// exists tells whether there is such a subject.
func (b *Tenant) exists(kind, id string) bool {
	if kind == enterprise {
		return id == b.opts.EnterpriseID
	}
	return kind == user && b.gen.user(id) != nil
}

// readJWT reads the assertion of a token request. It returns for whom the token
// is to be, or what is wrong in the words of the documents.
func (b *Tenant) readJWT(form url.Values) (kind, id, wrong string) {
	a, err := saassim.ParseAssertion(form.Get("assertion"))
	if err != nil {
		return "", "", "Please check the 'assertion' parameter. It must be a signed JWT."
	}
	key, ok := b.opts.Keys[a.KeyID]
	if !ok {
		return "", "", "'kid' invalid, unable to lookup correct key"
	}
	if !strings.HasPrefix(a.Algorithm, "RS") || a.Verify(key) != nil {
		return "", "", "Signature verification error. The public key identified by 'kid' must correspond to the private key used for signing."
	}
	now := b.serverTime()
	ends, ok := a.Time("exp")
	kind, id = a.Text("box_sub_type"), a.Text("sub")
	check := func(claim string) (string, string, string) {
		return "", "", "Please check the '" + claim + "' claim."
	}
	switch jti := a.Text("jti"); {
	case a.Text("iss") != b.opts.ClientID:
		return check("iss")
	case !a.For(b.opts.Audience):
		return check("aud")
	case kind != enterprise && kind != user:
		return check("box_sub_type")
	case !b.exists(kind, id):
		return check("sub")
	case !ok:
		return check("exp")
	case !now.Before(ends):
		return "", "", "Current date/time MUST be before the expiration date/time listed in the 'exp' claim"
	case ends.Sub(now) > longestJWT:
		return "", "", "Please check the 'exp' claim. The 'exp' value exceeds the maximum value of 60 seconds beyond the issue time."
	case later(a, "iat", now):
		return check("iat")
	case later(a, "nbf", now):
		return check("nbf")
	case len(jti) < 16 || len(jti) > 128:
		return check("jti")
	case !b.once.Use(jti, now, ends):
		return "", "", "Please check the 'jti' claim. A unique 'jti' value is required."
	}
	return kind, id, ""
}

func later(a saassim.Assertion, claim string, now time.Time) bool {
	t, ok := a.Time(claim)
	return ok && t.After(now)
}

// allowed tells whether a request's token lets it read, the enterprise's events
// or just those of who acts, and answers itself where it does not.
func (b *Tenant) allowed(c *saassim.Call, wholeEnterprise bool) bool {
	switch {
	case c.Entry.Auth != saassim.AuthOK:
		c.W.Header().Set("WWW-Authenticate", `Bearer realm="Service", error="invalid_token", error_description="The access token provided is invalid."`)
		refuse(c, http.StatusUnauthorized, "unauthorized", "Unauthorized")
	case !wholeEnterprise:
		return true
	case !slices.Contains(c.Grant.Scopes, ScopeReports):
		refuse(c, http.StatusForbidden, "insufficient_scope", "The request requires higher privileges than provided by the access token.")
	case b.opts.NoReports || !b.administers(c.Grant.Subject):
		refuse(c, http.StatusForbidden, "access_denied_insufficient_permissions", "Access denied - insufficient permission")
	default:
		return true
	}
	return false
}

// administers tells whether who acts is the application itself or an
// administrator.
func (b *Tenant) administers(subject string) bool {
	kind, id, _ := strings.Cut(subject, ":")
	return kind == enterprise || b.gen.user(id).admin
}
