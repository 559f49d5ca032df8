package appomni

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// What a tenant accepts where Options leaves it open.
const (
	DefaultClientID     = "simulatedappomniapplication00000000000000"
	DefaultClientSecret = "simulated-secret-not-a-real-one-0000000000000000"
	DefaultRefreshToken = "simulated-refresh-token-0000000"
	DefaultToken        = "simulated-access-token-00000000"
)

// Where a tenant answers.
const (
	APIPath   = "/api/v1"
	TokenPath = "/oauth/token/"

	logsPath    = APIPath + "/core/auditlogs/"
	actionsPath = logsPath + "action_types/"
)

// Options describes a tenant. The zero value is one without events that
// behaves as the vendor's documents say, with what they leave open as told in
// the package comment.
type Options struct {
	Seed   uint64
	Clock  func() time.Time // the tenant's calendar. nil: time.Now
	Faults saassim.Faults
	Gzip   bool

	ClientID, ClientSecret string
	RefreshToken           string        // the first one
	Token                  string        // an access token that somebody made by hand, and that lasts
	Rotate                 bool          // a refresh token is good once: the answer has the next one
	Grace                  time.Duration // how long a refresh token that was used still gives the same next one
	TokenLifetime          time.Duration // 0: ten hours
	Forbidden              bool          // whoever the tokens act for may not read audit logs

	OrgID        int
	Users        int           // people in the tenant. 0: 25
	Budget       int           // requests to the API in each BudgetWindow. 0: 2000
	BudgetWindow time.Duration // 0: an hour
	PageSize     int           // without a limit. 0: 50
	MaxPage      int           // a larger limit is lowered to it. 0: 100
	NullNext     bool          // where there is no next page, next is null and not the text "null"
	Inclusive    bool          // since and before include their own instant
	Retention    time.Duration // 0: 180 days
}

// Tenant is a simulated AppOmni tenant.
type Tenant struct {
	*saassim.Tenant
	opts Options

	mu         sync.RWMutex // guards what follows
	gen        *generator
	budget     saassim.Budget
	log        saassim.Journal[*event]
	arrivals   saassim.Feed[*event] // what is pushed, in the order in which it is
	refresh    string               // the refresh token that is good
	spent      string               // the one before
	spentAt    time.Time            // in real time
	deliveries []Delivery
}

// New returns a tenant. It fails on faults that it cannot have.
func New(o Options) (*Tenant, error) {
	o = o.withDefaults()
	a := &Tenant{opts: o, gen: newGenerator(o), budget: saassim.Budget{Limit: o.Budget, Window: o.BudgetWindow}, refresh: o.RefreshToken}
	var err error
	a.Tenant, err = saassim.NewTenant(saassim.Product{
		Name:    "appomni",
		Sources: []saassim.Source{{Name: "audit", Add: a.AddAudit}},
		Faults:  []saassim.Fault{saassim.Shift, saassim.ForeignNext, saassim.MissingKeys, saassim.Twice, saassim.Lost},
		Truth:   a.truth, Answer: a.answer, Error: fails, Limit: a.limited, Admin: a.admin,
	}, saassim.Settings{Seed: o.Seed, Clock: o.Clock, Gzip: o.Gzip, Faults: o.Faults})
	if err != nil {
		return nil, fmt.Errorf("simulated tenant: %w", err)
	}
	a.AllowToken(o.Token, saassim.Grant{}, 0)
	return a, nil
}

func (o Options) withDefaults() Options {
	o.ClientID = cmp.Or(o.ClientID, DefaultClientID)
	o.ClientSecret = cmp.Or(o.ClientSecret, DefaultClientSecret)
	o.RefreshToken = cmp.Or(o.RefreshToken, DefaultRefreshToken)
	o.Token = cmp.Or(o.Token, DefaultToken)
	o.OrgID = cmp.Or(o.OrgID, 176)
	o.Users = cmp.Or(o.Users, 25)
	o.Budget = cmp.Or(o.Budget, 2000)
	o.PageSize = cmp.Or(o.PageSize, 50)
	o.MaxPage = cmp.Or(o.MaxPage, 100)
	o.TokenLifetime = cmp.Or(o.TokenLifetime, 10*time.Hour)
	o.BudgetWindow = cmp.Or(o.BudgetWindow, time.Hour)
	o.Retention = cmp.Or(o.Retention, 180*24*time.Hour)
	return o
}

// answer answers a request. A path without its last slash leads to the one with
// it, by a redirection that turns a POST into a GET.
func (a *Tenant) answer(c *saassim.Call) {
	switch path := c.R.URL.Path; path {
	case TokenPath:
		a.signIn(c)
	case logsPath:
		a.api(c, a.auditLogs)
	case actionsPath:
		a.api(c, a.actionTypes)
	case strings.TrimSuffix(TokenPath, "/"), strings.TrimSuffix(logsPath, "/"), strings.TrimSuffix(actionsPath, "/"):
		to := *c.R.URL
		to.Path += "/"
		c.W.Header().Set("Location", to.RequestURI())
		c.Send(http.StatusMovedPermanently, "text/html; charset=utf-8", nil)
	default:
		detail(c, http.StatusNotFound, "Not found.")
	}
}

// api answers a request to the API with what the function answers, once it is
// clear that nothing stands against it.
func (a *Tenant) api(c *saassim.Call, answer func(*saassim.Call)) {
	c.API()
	c.Entry.Operation, c.Entry.Query = strings.Trim(strings.TrimPrefix(c.R.URL.Path, APIPath), "/"), c.R.URL.RawQuery
	c.Authorize("Bearer")
	if c.Struck() {
		return
	}
	switch {
	case c.Entry.Auth == saassim.AuthMissing:
		c.W.Header().Set("WWW-Authenticate", `Bearer realm="api"`)
		detail(c, http.StatusUnauthorized, "Authentication credentials were not provided.")
	case c.Entry.Auth != saassim.AuthOK:
		c.W.Header().Set("WWW-Authenticate", `Bearer realm="api",error="invalid_token"`)
		detail(c, http.StatusUnauthorized, "Invalid token.")
	case a.opts.Forbidden:
		detail(c, http.StatusForbidden, "You do not have permission to perform this action.")
	case c.R.Method != http.MethodGet:
		c.W.Header().Set("Allow", "GET, HEAD, OPTIONS")
		detail(c, http.StatusMethodNotAllowed, fmt.Sprintf("Method %q not allowed.", c.R.Method))
	default:
		answer(c)
	}
}

// limited counts a request, says on every answer how many there have been, and
// answers the one too many.
func (a *Tenant) limited(c *saassim.Call) bool {
	a.mu.Lock()
	used, _, ok := a.budget.Take(c.Entry.Time)
	a.mu.Unlock()
	c.W.Header().Set("X-RateLimit", fmt.Sprintf("%d/%d", used, a.opts.Budget))
	if !ok {
		fails(c, http.StatusTooManyRequests)
	}
	return !ok
}

// fails answers with a status that has no reason in the request.
func fails(c *saassim.Call, status int) {
	switch status {
	case http.StatusTooManyRequests:
		detail(c, status, "Request was throttled.")
	case http.StatusInternalServerError:
		c.Send(status, "text/html; charset=utf-8", []byte("<!doctype html><html lang=\"en\"><head><title>Server Error (500)</title></head><body><h1>Server Error (500)</h1></body></html>\n"))
	default:
		c.Text(status)
	}
}

// detail answers with the error of the API.
func detail(c *saassim.Call, status int, text string) {
	c.JSON(status, map[string]string{"detail": text})
}

// signIn answers a token request: a refresh token for an access token.
func (a *Tenant) signIn(c *saassim.Call) {
	form, ok := c.Form()
	if !ok {
		return
	}
	o := &a.opts
	switch {
	case form.Get("grant_type") != "refresh_token":
		c.RefuseToken(http.StatusBadRequest, "unsupported_grant_type", "")
		return
	case !saassim.Same(form.Get("client_id"), o.ClientID) || !saassim.Same(form.Get("client_secret"), o.ClientSecret):
		c.RefuseToken(http.StatusUnauthorized, "invalid_client", "")
		return
	}
	next, ok := a.useRefresh(form.Get("refresh_token"), time.Now())
	if !ok {
		c.RefuseToken(http.StatusBadRequest, "invalid_grant", "")
		return
	}
	token := c.T.NoiseText(15)
	c.T.AllowToken(token, saassim.Grant{}, o.TokenLifetime)
	c.GrantToken(map[string]any{
		"access_token": token, "expires_in": int(o.TokenLifetime / time.Second), "token_type": "Bearer", "scope": "read write", "refresh_token": next,
	})
}

// useRefresh uses a refresh token and returns the one to use next.
func (a *Tenant) useRefresh(given string, now time.Time) (next string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case given == "":
	case saassim.Same(given, a.refresh):
		if a.opts.Rotate {
			a.spent, a.spentAt, a.refresh = a.refresh, now, a.NoiseText(15)
		}
		return a.refresh, true
	case saassim.Same(given, a.spent) && now.Sub(a.spentAt) < a.opts.Grace:
		return a.refresh, true
	}
	return "", false
}

// RefreshToken is the refresh token that is good at present.
func (a *Tenant) RefreshToken() string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.refresh
}

// NewRefreshToken makes another, as an administrator would who starts over: the
// ones before are worth nothing.
func (a *Tenant) NewRefreshToken() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refresh, a.spent = a.NoiseText(15), ""
	return a.refresh
}
