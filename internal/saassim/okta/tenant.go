package okta

import (
	"cmp"
	"crypto"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// What an organization accepts where Options leaves it open.
const (
	DefaultToken    = "00simulatedtokennotarealone000000000000000"
	DefaultClientID = "0oasimulatedapp00000"
)

// Where an organization answers.
const (
	LogsPath  = "/api/v1/logs"
	TokenPath = "/oauth2/v1/token"
)

// ScopeLogs is the scope that reading the log asks for.
const ScopeLogs = "okta.logs.read"

// Options describes an organization. The zero value is one without events that
// behaves as the vendor's documents say, with what they leave open as told in
// the package comment.
type Options struct {
	Seed   uint64
	Clock  func() time.Time // the organization's calendar. nil: time.Now
	Faults saassim.Faults
	Gzip   bool

	Token         string                      // an API token, of the scheme SSWS
	ClientID      string                      // of the service app
	Keys          map[string]crypto.PublicKey // of the service app, by their ids. nil: it cannot sign in
	Scopes        []string                    // granted to the service app. nil: ScopeLogs
	DPoP          bool                        // the service app must prove possession of a key, which refuses who does not
	TokenLifetime time.Duration               // 0: an hour

	Users     int           // people in the organization. 0: 40
	PerMinute int           // requests to the log a minute. 0: 120; negative: no limit
	Delay     time.Duration // an event is stored up to this long after it was published. 0: three seconds
	Retention time.Duration // 0: 90 days
}

// Tenant is a simulated Okta organization.
type Tenant struct {
	*saassim.Tenant
	opts Options
	once saassim.Once // the assertions that have been used

	mu     sync.RWMutex // guards what follows
	gen    *generator
	budget saassim.Budget
	log    saassim.Journal[*event] // by published
	stored saassim.Feed[*event]    // as they were stored
	byID   map[string]*event
}

// New returns an organization. It fails on faults that it cannot have.
func New(opts Options) (*Tenant, error) {
	opts = opts.withDefaults()
	o := &Tenant{opts: opts, gen: newGenerator(opts), byID: map[string]*event{}, budget: saassim.Budget{Limit: opts.PerMinute, Window: time.Minute}}
	var err error
	o.Tenant, err = saassim.NewTenant(saassim.Product{
		Name:    "okta",
		Sources: []saassim.Source{{Name: "system_log", Add: o.AddEvents}},
		Faults:  []saassim.Fault{saassim.DeadCursor, saassim.ForeignNext, saassim.MissingKeys},
		Truth:   o.truth, Answer: o.answer, Error: fails, Limit: o.limited,
	}, saassim.Settings{Seed: opts.Seed, Clock: opts.Clock, Gzip: opts.Gzip, Faults: opts.Faults})
	if err != nil {
		return nil, fmt.Errorf("simulated tenant: %w", err)
	}
	o.AllowToken(opts.Token, saassim.Grant{Subject: "SSWS", Scopes: []string{ScopeLogs}}, 0)
	return o, nil
}

func (o Options) withDefaults() Options {
	o.Token = cmp.Or(o.Token, DefaultToken)
	o.ClientID = cmp.Or(o.ClientID, DefaultClientID)
	if o.Scopes == nil {
		o.Scopes = []string{ScopeLogs}
	}
	o.TokenLifetime = cmp.Or(o.TokenLifetime, time.Hour)
	o.Users = cmp.Or(o.Users, 40)
	o.PerMinute = cmp.Or(o.PerMinute, 120)
	o.Delay = cmp.Or(o.Delay, 3*time.Second)
	o.Retention = cmp.Or(o.Retention, 90*24*time.Hour)
	return o
}

// answer answers a request.
func (o *Tenant) answer(c *saassim.Call) {
	switch c.R.URL.Path {
	case TokenPath:
		o.signIn(c)
	case LogsPath:
		o.logs(c)
	default:
		refuse(c, http.StatusNotFound, "E0000007", "Not found: Resource not found: "+c.R.URL.Path)
	}
}

// limited counts a request, says on every answer how many are left, and answers
// the one too many: when to go on stands in the headers only.
func (o *Tenant) limited(c *saassim.Call) bool {
	if o.opts.PerMinute < 0 {
		return false
	}
	o.mu.Lock()
	used, ends, ok := o.budget.Take(c.Entry.Time)
	o.mu.Unlock()
	h := c.W.Header()
	h.Set("X-Rate-Limit-Limit", strconv.Itoa(o.opts.PerMinute))
	h.Set("X-Rate-Limit-Remaining", strconv.Itoa(o.opts.PerMinute-used))
	h.Set("X-Rate-Limit-Reset", strconv.FormatInt(ends.Unix(), 10))
	if !ok {
		fails(c, http.StatusTooManyRequests)
	}
	return !ok
}

// fails answers with a status that has no reason in the request.
func fails(c *saassim.Call, status int) {
	switch status {
	case http.StatusTooManyRequests:
		refuse(c, status, "E0000047", "API call exceeded rate limit due to too many requests.")
	case http.StatusInternalServerError:
		refuse(c, status, "E0000009", "Internal Server Error")
	default:
		c.Text(status)
	}
}

// refuse answers with the error of the API. Of several causes each stands by
// itself too.
func refuse(c *saassim.Call, status int, code, summary string, causes ...string) {
	list := make([]map[string]string, len(causes))
	for i, cause := range causes {
		list[i] = map[string]string{"errorSummary": cause}
	}
	c.JSON(status, map[string]any{"errorCode": code, "errorSummary": summary, "errorLink": code, "errorId": "oae" + c.T.NoiseText(11), "errorCauses": list})
}

// base is the address of the organization, as the client has it.
func base(c *saassim.Call) string { return "http://" + c.R.Host }

// signIn answers a token request of the service app: client credentials, with an
// assertion that it signed in place of a secret.
func (o *Tenant) signIn(c *saassim.Call) {
	form, ok := c.Form()
	if !ok {
		return
	}
	if form.Get("grant_type") != "client_credentials" {
		c.RefuseToken(http.StatusBadRequest, "unsupported_grant_type", "The authorization grant type is not supported by the authorization server.")
		return
	}
	if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		c.RefuseToken(http.StatusUnauthorized, "invalid_client", "Client Credentials requests to the Org Authorization Server must use the private_key_jwt token_endpoint_auth_method.")
		return
	}
	if wrong := o.judge(form.Get("client_assertion"), base(c)); wrong != "" {
		c.RefuseToken(http.StatusUnauthorized, "invalid_client", wrong)
		return
	}
	scopes := strings.Fields(form.Get("scope"))
	if len(scopes) == 0 || slices.ContainsFunc(scopes, func(s string) bool { return !slices.Contains(o.opts.Scopes, s) }) {
		c.RefuseToken(http.StatusBadRequest, "invalid_scope", "One or more scopes are not configured for the authorization server resource.")
		return
	}
	if o.opts.DPoP {
		c.RefuseToken(http.StatusBadRequest, "invalid_dpop_proof", "The DPoP proof JWT header is missing.")
		return
	}
	token := c.T.JWT(map[string]any{"alg": "RS256", "kid": c.T.NoiseText(16)}, map[string]any{
		"ver": 1, "jti": "AT." + c.T.NoiseText(16), "iss": base(c), "aud": base(c), "sub": o.opts.ClientID, "cid": o.opts.ClientID,
		"iat": time.Now().Unix(), "exp": time.Now().Add(o.opts.TokenLifetime).Unix(), "scp": scopes,
	})
	c.T.AllowToken(token, saassim.Grant{Subject: "Bearer", Scopes: scopes}, o.opts.TokenLifetime)
	c.GrantToken(map[string]any{
		"token_type": "Bearer", "expires_in": int(o.opts.TokenLifetime / time.Second), "access_token": token, "scope": strings.Join(scopes, " "),
	})
}

// judge checks an assertion, by real time, and says what is wrong with it.
func (o *Tenant) judge(text, base string) string {
	a, err := saassim.ParseAssertion(text)
	if err != nil {
		return "The parameter client_assertion is not a valid JWT."
	}
	key, ok := o.opts.Keys[a.KeyID]
	now := time.Now()
	ends, hasEnd := a.Time("exp")
	made, hasMade := a.Time("iat")
	jti := a.Text("jti")
	switch {
	case !ok || a.Verify(key) != nil:
		return "The client_assertion signature is invalid."
	case a.Text("iss") != o.opts.ClientID || a.Text("sub") != o.opts.ClientID:
		return "The client_assertion's iss and sub must be the client id."
	case !a.For(base+TokenPath, base):
		return "The audience claim for client_assertion must be the endpoint invoked for the request."
	case !hasEnd || !now.Before(ends):
		return "The client_assertion token has an expiration in the past."
	case ends.Sub(now) > time.Hour:
		return "The client_assertion token has an expiration too far into the future."
	case hasMade && made.After(now):
		return "The client_assertion token is not yet valid."
	case jti != "" && !o.once.Use(jti, now, ends):
		return "The client_assertion token has already been used."
	}
	return ""
}

// allowed tells whether a request may read the log, and answers itself where it
// may not. A token goes with its own scheme only.
func (o *Tenant) allowed(c *saassim.Call, scheme string) bool {
	switch {
	case c.Entry.Auth == saassim.AuthMissing:
		refuse(c, http.StatusUnauthorized, "E0000005", "Invalid session")
	case c.Entry.Auth != saassim.AuthOK || c.Grant.Subject != scheme:
		if scheme == "Bearer" {
			c.W.Header().Set("WWW-Authenticate", `Bearer authorization_uri="`+base(c)+`/oauth2/v1/authorize", error="invalid_token", error_description="The token is invalid."`)
		}
		refuse(c, http.StatusUnauthorized, "E0000011", "Invalid token provided")
	case !slices.Contains(c.Grant.Scopes, ScopeLogs):
		refuse(c, http.StatusForbidden, "E0000006", "You do not have permission to perform the requested action")
	default:
		return true
	}
	return false
}
