package wiz

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	with := func(change func(url.Values)) url.Values {
		form := credentials()
		change(form)
		return form
	}
	for _, tt := range []struct {
		name   string
		opts   Options
		form   url.Values
		header http.Header
		status int
		code   string
	}{
		{name: "good", form: credentials(), status: 200},
		{name: "wrong secret", form: with(func(v url.Values) { v.Set("client_secret", "x") }), status: 401, code: "access_denied"},
		{name: "wrong id", form: with(func(v url.Values) { v.Set("client_id", "x") }), status: 401, code: "access_denied"},
		{name: "status for a wrong secret", opts: Options{RefusedStatus: 403}, form: with(func(v url.Values) { v.Set("client_secret", "x") }), status: 403, code: "access_denied"},
		{name: "no secret", form: with(func(v url.Values) { v.Del("client_secret") }), status: 401, code: "access_denied"},
		{name: "other audience", form: with(func(v url.Values) { v.Set("audience", "beyond-api") }), status: 403, code: "access_denied"},
		{name: "no grant", form: with(func(v url.Values) { v.Del("grant_type") }), status: 400, code: "invalid_request"},
		{name: "other grant", form: with(func(v url.Values) { v.Set("grant_type", "password") }), status: 403, code: "unsupported_grant_type"},
		{name: "header missing", opts: Options{TokenHeaders: map[string]string{"X-Gate": "open"}}, form: credentials(), status: 403, code: "access_denied"},
		{name: "header there", opts: Options{TokenHeaders: map[string]string{"X-Gate": "open"}}, form: credentials(), header: http.Header{"X-Gate": {"open"}}, status: 200},
		{name: "parameter missing", opts: Options{TokenParams: map[string]string{"tenant": "a"}}, form: credentials(), status: 400, code: "invalid_request"},
		{name: "parameter there", opts: Options{TokenParams: map[string]string{"tenant": "a"}}, form: with(func(v url.Values) { v.Set("tenant", "a") }), status: 200},
		{name: "legacy audience", opts: Options{Audience: "beyond-api"}, form: with(func(v url.Values) { v.Set("audience", "beyond-api") }), status: 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, err := New(tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			c := &tester{TB: t, Tenant: w}
			rec := c.tokenRequest(tt.form, tt.header)
			var got struct {
				Error       string
				AccessToken string `json:"access_token"`
				TokenType   string `json:"token_type"`
				ExpiresIn   int    `json:"expires_in"`
			}
			if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if rec.Code != tt.status || got.Error != tt.code {
				t.Errorf("got %d %q, want %d %q", rec.Code, got.Error, tt.status, tt.code)
			}
			ok := tt.status == 200
			if ok != (got.AccessToken != "") || ok && (got.TokenType != "Bearer" || got.ExpiresIn != 86400) {
				t.Errorf("answer %s", rec.Body)
			}
			if want := map[bool]int{true: 1}[ok]; w.Stats().SignIns != want {
				t.Errorf("%d sign-ins counted, want %d", w.Stats().SignIns, want)
			}
		})
	}
}

func TestSignInWantsAForm(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	for _, tt := range []struct {
		method, contentType string
		status              int
	}{
		{"GET", saassim.FormType, 405}, {"POST", "application/json", 400}, {"POST", "", 400}, {"POST", saassim.FormType + "; charset=utf-8", 200},
	} {
		r := httptest.NewRequest(tt.method, "/oauth/token", strings.NewReader(credentials().Encode()))
		r.Header.Set("Content-Type", tt.contentType)
		if rec := c.do(r); rec.Code != tt.status {
			t.Errorf("%s %q: %d, want %d", tt.method, tt.contentType, rec.Code, tt.status)
		}
	}
	r := httptest.NewRequest("POST", "/oauth/token", strings.NewReader("grant_type=client_credentials&audience=wiz-api"))
	r.Header.Set("Content-Type", saassim.FormType)
	r.SetBasicAuth(DefaultClientID, DefaultClientSecret)
	if rec := c.do(r); rec.Code != 401 {
		t.Errorf("credentials in a header: %d, want 401", rec.Code)
	}
}

func TestTokenIsAJWT(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{DataCentre: "eu17", TokenLifetime: time.Hour})
	parts := strings.Split(c.token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		DC            string
		Exp           int64
		EncodedScopes string
		Scope         *string
	}
	if err := json.Unmarshal(b, &claims); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(time.Unix(claims.Exp, 0)); claims.DC != "eu17" || claims.EncodedScopes == "" || claims.Scope != nil || left < 59*time.Minute || left > time.Hour {
		t.Errorf("claims %s, %v left", b, left)
	}
	first := c.token
	if c.signIn(); c.token == first {
		t.Error("two sign-ins gave the same token")
	}
}

func TestTokenEndsAndIsRevoked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTester(t, Options{TokenLifetime: time.Minute})
		const q = `{ __typename }`
		if code, _ := c.ask(q, nil); code != 200 {
			t.Fatalf("fresh token: %d", code)
		}
		<-time.After(time.Minute)
		if code, a := c.ask(q, nil); code != 401 || a.Errors[0].Extensions.Code != codeNoToken {
			t.Errorf("expired token: %d %v", code, a.Errors)
		}
		c.signIn()
		c.RevokeTokens()
		if code, _ := c.ask(q, nil); code != 401 {
			t.Errorf("revoked token: %d", code)
		}
		r := httptest.NewRequest("POST", "/graphql", strings.NewReader(`{"query":"{__typename}"}`))
		r.Header.Set("Content-Type", "application/json")
		if rec := c.do(r); rec.Code != 401 || rec.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("no token: %d", rec.Code)
		}
		var auths []string
		for _, r := range c.Requests() {
			auths = append(auths, r.Auth)
		}
		if got := strings.Join(auths, " "); got != "ok ok expired ok unknown missing" {
			t.Errorf("logged auth: %s", got)
		}
	})
}

func TestScopes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		scopes []string
		query  string
		denied string // "" for allowed
	}{
		{[]string{ScopeAudit}, `{ auditLogEntries(first: 1) { totalCount } }`, ""},
		{[]string{ScopeAll}, `{ auditLogEntries(first: 1) { totalCount } }`, "required: [admin:audit], your permissions: [read:all]"},
		{[]string{ScopeAll}, `{ issuesV2(first: 1) { totalCount } }`, ""},
		{[]string{ScopeAudit, "read:a"}, `{ x: issuesV2(first: 1) { totalCount } }`, "required: [read:all read:issues], your permissions: [admin:audit read:a]"},
		{[]string{ScopeServiceAccounts}, `{ serviceAccounts(first: 1) { nodes { clientId scopes } } }`, ""},
	} {
		c := newTester(t, Options{Scopes: tt.scopes})
		code, a := c.ask(tt.query, nil)
		switch {
		case tt.denied == "" && len(a.Errors) > 0, tt.denied != "" && len(a.Errors) == 0, code != 200:
			t.Errorf("%v %s: %d %v", tt.scopes, tt.query, code, a.Errors)
		case tt.denied != "" && (!strings.HasPrefix(a.Errors[0].Message, "access denied") || !strings.HasSuffix(a.Errors[0].Message, tt.denied) || string(a.Data) != "null"):
			t.Errorf("%v %s: %q, data %s", tt.scopes, tt.query, a.Errors[0].Message, a.Data)
		}
	}
	c := newTester(t, Options{Scopes: []string{}, DeniedStatus: 403})
	if code, _ := c.ask(`{ issuesV2(first: 1) { totalCount } }`, nil); code != 403 {
		t.Errorf("denied status %d, want 403", code)
	}
}

func TestServiceAccountsShowTheirScopes(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{Scopes: []string{ScopeServiceAccounts, ScopeIssues}})
	var d struct{ ServiceAccounts page }
	c.get(`{ serviceAccounts(first: 50, orderBy: {field: NAME, direction: DESC}, filterBy: {name: "COLLECT"}) { totalCount nodes { clientId name scopes type } } }`, nil, &d)
	for _, n := range d.ServiceAccounts.Nodes {
		if n["clientId"] == DefaultClientID && len(n["scopes"].([]any)) == 2 {
			return
		}
	}
	t.Errorf("the tenant's own account is not among %v", d.ServiceAccounts.Nodes)
}

func TestAuditReadsLeaveEntries(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{AuditReads: true})
	c.auditPage(m{"first": 10})
	p := c.auditPage(m{"first": 10})
	var actions []string
	for _, n := range p.Nodes {
		actions = append(actions, n["action"].(string))
	}
	if got := strings.Join(sorted(actions), " "); got != "AuditLogEntries Login" {
		t.Errorf("actions %s", got)
	}
}
