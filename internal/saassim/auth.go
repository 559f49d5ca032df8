package saassim

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const formType = "application/x-www-form-urlencoded"

// signIn answers a token request: OAuth 2 client credentials in a form, with
// an audience. Credentials in an Authorization header are not looked at.
func (c *call) signIn() {
	c.entry.Kind = "token"
	if !c.accepts(formType) {
		return
	}
	body, ok := c.body()
	if !ok {
		return
	}
	if c.signInFault() {
		return
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		c.refuse(http.StatusBadRequest, "invalid_request", "the form cannot be read")
		return
	}
	o := &c.w.opts
	for name, want := range o.TokenHeaders {
		if c.r.Header.Get(name) != want {
			c.refuse(http.StatusForbidden, "access_denied", "header "+name+" is required")
			return
		}
	}
	for name, want := range o.TokenParams {
		if form.Get(name) != want {
			c.refuse(http.StatusBadRequest, "invalid_request", "parameter "+name+" is required")
			return
		}
	}
	switch grant := form.Get("grant_type"); {
	case grant == "":
		c.refuse(http.StatusBadRequest, "invalid_request", "grant_type is required")
	case grant != "client_credentials":
		c.refuse(http.StatusForbidden, "unsupported_grant_type", "unsupported grant type: "+grant)
	case form.Get("client_id") == "" || form.Get("client_secret") == "":
		c.refuse(o.RefusedStatus, "access_denied", "client_id and client_secret are required")
	case form.Get("audience") != o.Audience:
		c.refuse(http.StatusForbidden, "access_denied", "service not found: "+form.Get("audience"))
	case !same(form.Get("client_id"), o.ClientID) || !same(form.Get("client_secret"), o.ClientSecret):
		c.w.auditSignIn("FAILED", c.r)
		c.refuse(o.RefusedStatus, "access_denied", "Unauthorized")
	default:
		c.entry.Auth = AuthOK
		c.w.auditSignIn("SUCCESS", c.r)
		c.json(http.StatusOK, map[string]any{
			"access_token": c.w.tokens.issue(time.Now(), o),
			"token_type":   "Bearer",
			"expires_in":   int(o.TokenLifetime / time.Second),
		})
	}
}

func (c *call) signInFault() bool {
	strikes := func(f Fault) (Setting, bool) {
		s, ok := c.w.faults.draw(f)
		if ok {
			c.entry.Faults = append(c.entry.Faults, f)
		}
		return s, ok
	}
	if _, ok := strikes(SignIn500); ok {
		c.send(http.StatusInternalServerError, "text/plain; charset=utf-8", []byte("internal server error\n"))
		return true
	}
	if _, ok := strikes(SignIn401); ok {
		c.refuse(http.StatusUnauthorized, "access_denied", "Unauthorized")
		return true
	}
	if s, ok := strikes(SignInThrottle); ok {
		c.throttle(Throttle, s.Delay)
		return true
	}
	return false
}

// refuse answers a token request with an OAuth error.
func (c *call) refuse(status int, code, description string) {
	c.entry.Auth = AuthRefused
	c.json(status, map[string]any{"error": code, "error_description": description})
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// token is what the tenant knows of a token it gave out.
type token struct {
	expires time.Time
	scopes  []string
}

type tokenStore struct {
	mu    sync.Mutex
	rand  *rand.Rand
	known map[string]token
}

func newTokenStore(seed uint64) *tokenStore {
	return &tokenStore{rand: rand.New(rand.NewPCG(seed, 2)), known: map[string]token{}}
}

// issue makes a token in the form of the real ones: a JWT with the data
// centre and the scopes as an unexplained bit mask. Its signature is noise.
func (s *tokenStore) issue(now time.Time, o *Options) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(s.rand.Uint32())
		}
		return b
	}
	expires := now.Add(o.TokenLifetime)
	enc := base64.RawURLEncoding
	part := func(v any) string {
		b, _ := json.Marshal(v) // maps of strings and numbers
		return enc.EncodeToString(b)
	}
	head := part(map[string]any{"alg": "RS256", "typ": "JWT", "kid": fmt.Sprintf("%x", noise(8))})
	claims := part(map[string]any{
		"iss": "https://auth.app.wiz.io/", "sub": o.ClientID + "@clients", "aud": o.Audience,
		"iat": now.Unix(), "exp": expires.Unix(), "jti": fmt.Sprintf("%x", noise(16)),
		"gty": "client-credentials", "dc": o.DataCentre,
		"encodedScopes": base64.StdEncoding.EncodeToString(scopeMask(o.Scopes)),
	})
	t := head + "." + claims + "." + enc.EncodeToString(noise(256))
	for old, known := range s.known {
		if now.After(known.expires.Add(time.Hour)) { // long enough past to be told apart from an unknown one no more
			delete(s.known, old)
		}
	}
	s.known[t] = token{expires: expires, scopes: o.Scopes}
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

func (s *tokenStore) revokeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.known)
}

// check says what a bearer token is worth: AuthOK and its scopes, or why not.
func (s *tokenStore) check(header string, now time.Time) (auth string, scopes []string) {
	scheme, value, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return AuthMissing, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch t, known := s.known[value]; {
	case !known:
		return AuthUnknown, nil
	case !now.Before(t.expires):
		return AuthExpired, nil
	default:
		return AuthOK, t.scopes
	}
}

// needs is the scope that each query of the API asks for.
var needs = map[string]string{
	"auditLogEntries": ScopeAudit, "auditLogEntry": ScopeAudit,
	"issuesV2": ScopeIssues, "issue": ScopeIssues,
	"serviceAccounts": ScopeServiceAccounts,
}

// denied returns the message for a query that the scopes do not allow, in the
// words of a real tenant's refusal, and "" for one that they do.
func denied(query string, scopes []string) string {
	need := needs[query]
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
