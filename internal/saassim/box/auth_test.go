package box

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/saassim/simtest"
)

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	answer := simtest.Decode[map[string]any](t, simtest.Post(c, TokenPath, credentials(enterprise, DefaultEnterpriseID)), 200)
	if answer["token_type"] != "bearer" || answer["expires_in"] != 3600.0 || answer["access_token"] == "" || answer["refresh_token"] != nil {
		t.Errorf("answer %v", answer)
	}
	if c.signIn(credentials(user, c.gen.users[3].id)) == "" {
		t.Error("no token for a user")
	}
	for name, change := range map[string][2]string{
		"secret": {"client_secret", "x"}, "id": {"client_id", "x"}, "no subject": {"box_subject_id", ""}, "subject": {"box_subject_id", "1"}, "kind": {"box_subject_type", "group"},
	} {
		form := credentials(enterprise, DefaultEnterpriseID)
		form.Set(change[0], change[1])
		wantOAuth(t, c, form, "invalid_grant", "Grant credentials are invalid", name)
	}
	form := credentials(enterprise, DefaultEnterpriseID)
	form.Set("grant_type", "password")
	wantOAuth(t, c, form, "invalid_request", "grant_type", "another grant")
	c = newTester(t, Options{})
	c.opts.Unauthorized = true
	wantOAuth(t, c, credentials(enterprise, DefaultEnterpriseID), "unauthorized_client", "not authorized", "an application nobody has allowed")
}

func wantOAuth(t *testing.T, c *tester, form url.Values, code, description, name string) {
	t.Helper()
	e := simtest.Decode[map[string]string](t, simtest.Post(c, TokenPath, form), 400)
	if e["error"] != code || !strings.Contains(e["error_description"], description) {
		t.Errorf("%s: %v, want %s, %s", name, e, code, description)
	}
}

// The assertion is checked claim by claim.
func TestJWT(t *testing.T) {
	t.Parallel()
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := newTester(t, Options{Keys: map[string]crypto.PublicKey{"k1": simtest.Key().Public, "k2": other.Public()}})
	used := 0
	good := func() (header, claims map[string]any) {
		used++
		return map[string]any{"alg": "RS512", "typ": "JWT", "kid": "k1"}, map[string]any{
			"iss": DefaultClientID, "sub": DefaultEnterpriseID, "box_sub_type": "enterprise", "aud": DefaultAudience,
			"jti": strings.Repeat("x", 16) + string(rune('a'+used)), "exp": time.Now().Add(45 * time.Second).Unix(),
		}
	}
	form := func(header, claims map[string]any) url.Values {
		return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "client_id": {DefaultClientID},
			"client_secret": {DefaultClientSecret}, "assertion": {simtest.Sign(t, simtest.Key(), header, claims)}}
	}
	for _, alg := range []string{"RS256", "RS384", "RS512"} {
		h, claims := good()
		h["alg"], claims["iat"] = alg, time.Now().Unix()
		token := c.signIn(form(h, claims))
		if rec := simtest.Get(c, APIPath+"/events?stream_type=admin_logs", "Bearer "+token); rec.Code != 200 {
			t.Errorf("%s: the token is worth %d", alg, rec.Code)
		}
	}
	h, claims := good()
	claims["box_sub_type"], claims["sub"], claims["aud"] = "user", c.gen.users[0].id, []string{"x", DefaultAudience}
	c.signIn(form(h, claims))
	wantOAuth(t, c, form(h, claims), "invalid_grant", "A unique 'jti' value is required", "used twice")

	for name, tt := range map[string]struct {
		header, claims map[string]any
		want           string
	}{
		"other key id":        {map[string]any{"kid": "k3"}, nil, "'kid' invalid"},
		"no key id":           {map[string]any{"kid": nil}, nil, "'kid' invalid"},
		"unsigned":            {map[string]any{"alg": "none"}, nil, "Signature verification error"},
		"signed by a secret":  {map[string]any{"alg": "HS256"}, nil, "Signature verification error"},
		"key of another kind": {map[string]any{"kid": "k2"}, nil, "Signature verification error"},
		"iss":                 {nil, map[string]any{"iss": "x"}, "check the 'iss' claim"},
		"aud":                 {nil, map[string]any{"aud": "https://api.box.com"}, "check the 'aud' claim"},
		"no sub type":         {nil, map[string]any{"box_sub_type": nil}, "check the 'box_sub_type' claim"},
		"sub":                 {nil, map[string]any{"sub": "1"}, "check the 'sub' claim"},
		"sub of another type": {nil, map[string]any{"box_sub_type": "user"}, "check the 'sub' claim"},
		"no exp":              {nil, map[string]any{"exp": nil}, "check the 'exp' claim"},
		"past":                {nil, map[string]any{"exp": time.Now().Add(-time.Second).Unix()}, "MUST be before the expiration"},
		"too far ahead":       {nil, map[string]any{"exp": time.Now().Add(90 * time.Second).Unix()}, "exceeds the maximum value of 60 seconds"},
		"issued later":        {nil, map[string]any{"iat": time.Now().Add(30 * time.Second).Unix()}, "check the 'iat' claim"},
		"not yet":             {nil, map[string]any{"nbf": time.Now().Add(30 * time.Second).Unix()}, "check the 'nbf' claim"},
		"no jti":              {nil, map[string]any{"jti": nil}, "check the 'jti' claim"},
		"short jti":           {nil, map[string]any{"jti": "123456789012345"}, "check the 'jti' claim"},
		"long jti":            {nil, map[string]any{"jti": strings.Repeat("x", 129)}, "check the 'jti' claim"},
	} {
		h, claims := good()
		maps.Copy(h, tt.header)
		maps.Copy(claims, tt.claims)
		wantOAuth(t, c, form(h, claims), "invalid_grant", tt.want, name)
	}

	f := form(good())
	f.Set("assertion", f.Get("assertion")+"x")
	wantOAuth(t, c, f, "invalid_grant", "Signature verification error", "another signature")
	f.Set("assertion", "x.y")
	wantOAuth(t, c, f, "invalid_grant", "'assertion'", "no JWT")
	f = form(good())
	f.Set("client_secret", "x")
	wantOAuth(t, c, f, "invalid_client", "client credentials", "secret")
}

// A JWT is judged by the server's clock, which the Date of an answer shows.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{Keys: map[string]crypto.PublicKey{"k": simtest.Key().Public}, ClockSkew: 10 * time.Minute})
	form := func(exp time.Time) url.Values {
		return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "client_id": {DefaultClientID},
			"client_secret": {DefaultClientSecret}, "assertion": {simtest.Sign(t, simtest.Key(), map[string]any{"alg": "RS256", "kid": "k"}, map[string]any{
				"iss": DefaultClientID, "sub": DefaultEnterpriseID, "box_sub_type": "enterprise", "aud": DefaultAudience,
				"jti": exp.String(), "exp": exp.Unix(),
			})}}
	}
	rec := simtest.Post(c, TokenPath, form(time.Now().Add(30*time.Second)))
	date, err := time.Parse(time.RFC1123, rec.Header().Get("Date"))
	if rec.Code != 400 || err != nil || !strings.Contains(rec.Body.String(), "MUST be before") {
		t.Fatalf("%d %v %s", rec.Code, err, rec.Body)
	}
	c.signIn(form(date.Add(30 * time.Second)))
}

func TestWhoMayRead(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.add(saassimBatch(20))
	all := simtest.Query("stream_type", adminLogs)
	c.token = c.signIn(credentials(user, c.gen.users[0].id)) // an administrator
	if rec := c.ask(all); rec.Code != 200 {
		t.Errorf("an administrator: %d", rec.Code)
	}
	c.token = c.signIn(credentials(user, c.gen.users[1].id))
	c.refused(c.ask(all), 403, "access_denied_insufficient_permissions")
	if rec := c.ask(nil); rec.Code != 200 {
		t.Errorf("a user's own events: %d", rec.Code)
	}
	for _, token := range []string{"", "x"} {
		c.token = token
		rec := c.ask(all)
		c.refused(rec, 401, "unauthorized")
		if !strings.Contains(rec.Header().Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("headers %v", rec.Header())
		}
	}
	c = newTester(t, Options{Scopes: []string{"root_readonly"}})
	c.refused(c.ask(simtest.Query("stream_type", streaming)), 403, "insufficient_scope")
	c = newTester(t, Options{NoReports: true})
	c.refused(c.ask(simtest.Query("stream_type", streaming)), 403, "access_denied_insufficient_permissions")
}
