package okta

import (
	"crypto"
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/saassim/simtest"
)

const orgURL = "http://example.com" // as the requests of these tests have it

func assertion(t *testing.T, change map[string]any) url.Values {
	t.Helper()
	header := map[string]any{"alg": "RS256", "kid": "k"}
	claims := map[string]any{"iss": DefaultClientID, "sub": DefaultClientID, "aud": orgURL + TokenPath, "exp": time.Now().Add(5 * time.Minute).Unix()}
	if kid, ok := change["kid"]; ok {
		header["kid"] = kid
	}
	maps.Copy(claims, change)
	return url.Values{"grant_type": {"client_credentials"}, "scope": {ScopeLogs},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {simtest.Sign(t, simtest.Key(), header, claims)}}
}

func TestServiceApp(t *testing.T) {
	t.Parallel()
	keys := map[string]crypto.PublicKey{"k": simtest.Key().Public}
	c := newTester(t, Options{Keys: keys})
	a := simtest.Decode[map[string]any](t, simtest.Post(c, TokenPath, assertion(t, map[string]any{"jti": "1", "aud": orgURL})), 200)
	if a["token_type"] != "Bearer" || a["expires_in"] != 3600.0 || a["scope"] != ScopeLogs || strings.Count(a["access_token"].(string), ".") != 2 {
		t.Errorf("answer %v", a)
	}
	c.authorization = "Bearer " + a["access_token"].(string)
	c.page(target())
	c.authorization = "SSWS " + a["access_token"].(string)
	c.refused(c.get(target()), 401, "E0000011")
	c.authorization = "Bearer " + DefaultToken
	c.refused(c.get(target()), 401, "E0000011")

	for name, tt := range map[string]struct {
		form   url.Values
		status int
		code   string
	}{
		"used twice":  {assertion(t, map[string]any{"jti": "1"}), 401, "invalid_client"},
		"key":         {assertion(t, map[string]any{"kid": "other"}), 401, "invalid_client"},
		"iss":         {assertion(t, map[string]any{"iss": "x"}), 401, "invalid_client"},
		"sub":         {assertion(t, map[string]any{"sub": "x"}), 401, "invalid_client"},
		"aud":         {assertion(t, map[string]any{"aud": "https://acme.okta.com/oauth2/v1/token"}), 401, "invalid_client"},
		"past":        {assertion(t, map[string]any{"exp": time.Now().Unix() - 1}), 401, "invalid_client"},
		"no end":      {assertion(t, map[string]any{"exp": nil}), 401, "invalid_client"},
		"far":         {assertion(t, map[string]any{"exp": time.Now().Add(61 * time.Minute).Unix()}), 401, "invalid_client"},
		"issued":      {assertion(t, map[string]any{"iat": time.Now().Add(time.Minute).Unix()}), 401, "invalid_client"},
		"no JWT":      {with(assertion(t, nil), "client_assertion", "x"), 401, "invalid_client"},
		"a secret":    {with(assertion(t, nil), "client_assertion_type", ""), 401, "invalid_client"},
		"grant":       {with(assertion(t, nil), "grant_type", "password"), 400, "unsupported_grant_type"},
		"scope":       {with(assertion(t, nil), "scope", "okta.users.read"), 400, "invalid_scope"},
		"no scope":    {with(assertion(t, nil), "scope", ""), 400, "invalid_scope"},
		"another key": {with(assertion(t, nil), "client_assertion", assertion(t, nil).Get("client_assertion")+"A"), 401, "invalid_client"},
	} {
		if e := simtest.Decode[map[string]string](t, simtest.Post(c, TokenPath, tt.form), tt.status); e["error"] != tt.code || e["error_description"] == "" {
			t.Errorf("%s: %v", name, e)
		}
	}
	c = newTester(t, Options{Keys: keys, Scopes: []string{"okta.users.read"}})
	a = simtest.Decode[map[string]any](t, simtest.Post(c, TokenPath, with(assertion(t, nil), "scope", "okta.users.read")), 200)
	c.authorization = "Bearer " + a["access_token"].(string)
	c.refused(c.get(target()), 403, "E0000006")
	c = newTester(t, Options{Keys: keys, DPoP: true})
	if e := simtest.Decode[map[string]string](t, simtest.Post(c, TokenPath, assertion(t, nil)), 400); e["error"] != "invalid_dpop_proof" {
		t.Errorf("error %v", e)
	}
}

func with(form url.Values, key, value string) url.Values {
	form.Set(key, value)
	return form
}

func TestTokens(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.page(target())
	c.RevokeTokens() // those of the service app
	c.page(target())
	c.authorization = "SSWS x"
	c.refused(c.get(target()), 401, "E0000011")
	c.authorization = ""
	c.refused(c.get(target()), 401, "E0000005")
	c.authorization = "SSWS " + DefaultToken
	c.refused(c.get("/api/v1/users"), 404, "E0000007")
	for fault, want := range map[string]string{"throttle-bare": "429 E0000047", "error500": "500 E0000009", "unauthorized": "401 E0000011"} {
		simtest.Faults(t, c.Tenant.Tenant, fault)
		status, code, _ := strings.Cut(want, " ")
		n, err := strconv.Atoi(status)
		if err != nil {
			t.Fatal(err)
		}
		c.refused(c.get(target()), n, code)
	}
}

// What is left of the limit stands in the headers of every answer, and when it
// begins anew; there is no Retry-After.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTester(t, Options{PerMinute: 4, Clock: time.Now})
		var reset int64
		for i := range 6 {
			rec := c.get(target())
			h := rec.Header()
			want := 200
			if i >= 4 {
				want = 429
				c.refused(rec, 429, "E0000047")
			}
			var err error
			if reset, err = strconv.ParseInt(h.Get("X-Rate-Limit-Reset"), 10, 64); err != nil {
				t.Fatal(err)
			}
			if wait := time.Until(time.Unix(reset, 0)); rec.Code != want || h.Get("X-Rate-Limit-Limit") != "4" ||
				h.Get("X-Rate-Limit-Remaining") != fmt.Sprint(max(0, 3-i)) || wait <= 0 || wait > time.Minute || h.Get("Retry-After") != "" {
				t.Errorf("request %d: %d %v", i, rec.Code, h)
			}
		}
		time.Sleep(time.Until(time.Unix(reset, 0)))
		c.page(target())
	})
}
