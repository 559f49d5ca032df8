package fetch

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/youmark/pkcs8"

	"github.com/trawlsec/trawl/internal/catalog"
)

// testKey is made once: that takes a while.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

const testPassphrase = "open, Sesame & co"

// keyPEM writes the test's key in one of the forms that people have.
func keyPEM(t testing.TB, form string) string {
	t.Helper()
	var block pem.Block
	var err error
	switch form {
	case "PKCS #1":
		block = pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(testKey())}
	case "PKCS #8":
		block.Type = "PRIVATE KEY"
		block.Bytes, err = x509.MarshalPKCS8PrivateKey(testKey())
	case "encrypted":
		block.Type = "ENCRYPTED PRIVATE KEY"
		block.Bytes, err = pkcs8.MarshalPrivateKey(testKey(), []byte(testPassphrase), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&block))
}

// grants is a product that signs in with a JWT where a key is set, with a
// refresh token where that is set, else with the client's credential.
func grants() *catalog.Product {
	p := restProduct()
	for _, name := range []string{"client_secret", "key", "passphrase", "refresh"} {
		p.Settings[name] = catalog.Setting{Secret: true}
	}
	for _, name := range []string{"client_id", "key_id", "algorithm", "subject"} {
		p.Settings[name] = catalog.Setting{}
	}
	const tokenURL = "https://${tenant}.test/oauth/token"
	p.Auth = []catalog.Auth{
		{
			If: map[string]string{"key": "?*"}, Type: authOAuth2, TokenURL: tokenURL, ClientID: "${client_id}", ClientSecret: "${client_secret}",
			Params: map[string]string{"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "${jwt}"},
			JWT: &catalog.JWT{
				Key: "${key}", Passphrase: "${passphrase}", KeyID: "${key_id}", Algorithm: "${algorithm}", Lifetime: catalog.Duration(50 * time.Second),
				Claims: map[string]string{"iss": "${client_id}", "sub": "${subject}", "aud": tokenURL},
			},
		},
		{
			If: map[string]string{"refresh": "?*"}, Type: authOAuth2, TokenURL: tokenURL, ClientID: "${client_id}", ClientSecret: "${client_secret}",
			Params: map[string]string{"grant_type": "refresh_token", "refresh_token": "${refresh}"}, Rotates: "refresh",
		},
		{
			Type: authOAuth2, TokenURL: tokenURL, ClientID: "${client_id}", ClientSecret: "${client_secret}",
			Params: map[string]string{"subject_type": "enterprise", "subject_id": "${subject}", "scope": "${key_id}"},
		},
	}
	return p
}

func grantOptions(values map[string]any) func(*Options) {
	all := map[string]any{"tenant": "acme", "client_id": "client-1", "client_secret": testSecret, "subject": "42"}
	for name, value := range values {
		all[name] = value
	}
	return func(o *Options) {
		o.Name, o.Product, o.Settings = "rest-1", grants(), &settings{values: all}
	}
}

func eventsPage(o *Options) Request { return Request{Source: o.Product.Sources["events"]} }

// TestClientCredentials: the grant is what a form has unless it says otherwise.
func TestClientCredentials(t *testing.T) {
	t.Parallel()
	a := &api{}
	if err := client(t, a, grantOptions(nil)).SignIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"client-1"}, "client_secret": {testSecret},
		"subject_type": {"enterprise"}, "subject_id": {"42"}, // scope has no value
	}
	if diff := cmp.Diff(want, a.forms[0]); diff != "" {
		t.Error(diff)
	}
	a = &api{}
	err := client(t, a, grantOptions(map[string]any{"client_secret": ""})).SignIn(t.Context())
	if e := failure(t, err); e.Class != Auth || len(a.forms) > 0 || !strings.Contains(e.Error(), "client_secret has no value") {
		t.Error(err)
	}
}

// opened is an assertion without its signature, which was right.
type opened struct {
	header, claims map[string]any
}

func open(t *testing.T, assertion string) opened {
	t.Helper()
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", assertion)
	}
	var o opened
	for i, into := range []*map[string]any{&o.header, &o.claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	hash := map[any]crypto.Hash{"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512}[o.header["alg"]]
	digest := hash.New()
	digest.Write([]byte(parts[0] + "." + parts[1]))
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err == nil {
		err = rsa.VerifyPKCS1v15(&testKey().PublicKey, hash, digest.Sum(nil), signature)
	}
	if err != nil {
		t.Fatal("signature:", err)
	}
	return o
}

func TestAssertion(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"", "RS256", "RS384", "RS512"} {
		for _, form := range []string{"PKCS #1", "PKCS #8", "encrypted", "on one line"} {
			t.Run(algorithm+" "+form, func(t *testing.T) {
				t.Parallel()
				key := keyPEM(t, strings.Replace(form, "on one line", "PKCS #8", 1))
				if form == "on one line" {
					key = strings.ReplaceAll(strings.TrimSpace(key), "\n", `\n`)
				}
				values := map[string]any{"key": key, "passphrase": "", "key_id": "kid-1", "algorithm": algorithm}
				if form == "encrypted" {
					values["passphrase"] = testPassphrase
				}
				a := &api{}
				now := time.Now().Unix()
				if err := client(t, a, grantOptions(values)).SignIn(t.Context()); err != nil {
					t.Fatal(err)
				}
				got := open(t, a.forms[0].Get("assertion"))
				a.forms[0].Del("assertion")
				wantForm := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "client_id": {"client-1"}, "client_secret": {testSecret}}
				if diff := cmp.Diff(wantForm, a.forms[0]); diff != "" {
					t.Error(diff)
				}
				iat, exp, jti := got.claims["iat"].(float64), got.claims["exp"].(float64), got.claims["jti"].(string)
				if iat < float64(now) || exp != iat+50 || len(jti) < 16 || len(jti) > 128 {
					t.Errorf("iat %.0f, exp %.0f, jti %s", iat, exp, jti)
				}
				want := opened{
					header: map[string]any{"alg": "RS256", "typ": "JWT", "kid": "kid-1"},
					claims: map[string]any{"iat": iat, "exp": exp, "jti": jti, "iss": "client-1", "sub": "42", "aud": "https://acme.test/oauth/token"},
				}
				if algorithm != "" {
					want.header["alg"] = algorithm
				}
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(opened{})); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// TestAssertionAnew: no assertion is sent twice, not even for the same sign-in.
func TestAssertionAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{token: func(n int, _ url.Values) *http.Response {
			if n < 4 {
				return respond(503, "")
			}
			return tokenAnswer(testToken, 3600)
		}}
		if err := client(t, a, grantOptions(map[string]any{"key": keyPEM(t, "PKCS #8")})).SignIn(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen := map[any]bool{}
		for _, form := range a.forms {
			seen[open(t, form.Get("assertion")).claims["jti"]] = true
		}
		if len(seen) != 4 {
			t.Errorf("%d kinds of jti in 4 assertions", len(seen))
		}
	})
}

// TestClock plays a server whose clock is not this one's, and which takes
// assertions that end within a minute.
func TestClock(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		off      time.Duration // of the server's clock
		noDate   bool
		attempts int // of the first sign-in
		fails    bool
	}{
		{name: "right", attempts: 1},
		{name: "a little off", off: -9 * time.Second, attempts: 1},
		{name: "behind", off: -5 * time.Minute, attempts: 2},
		{name: "before", off: time.Hour, attempts: 2},
		{name: "not known", off: time.Hour, noDate: true, attempts: 1, fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &api{token: func(_ int, form url.Values) *http.Response {
					now := time.Now().Add(test.off)
					resp := tokenAnswer(testToken, 600)
					exp := time.Unix(int64(open(t, form.Get("assertion")).claims["exp"].(float64)), 0)
					if exp.Before(now) || exp.After(now.Add(time.Minute)) {
						resp = respond(400, `{"error":"invalid_grant","error_description":"Please check the 'exp' claim."}`)
					}
					if !test.noDate {
						resp.Header.Set("Date", now.UTC().Format(http.TimeFormat))
					}
					return resp
				}}
				logger, logged := logTo()
				var counted []Class
				options := grantOptions(map[string]any{"key": keyPEM(t, "PKCS #8")})
				c := client(t, a, func(o *Options) {
					options(o)
					o.Logger = logger
					o.OnAnswer = func(_ string, class Class) { counted = append(counted, class) }
				})
				err := c.SignIn(t.Context())
				if (err != nil) != test.fails || a.signIns != test.attempts || len(counted) != test.attempts {
					t.Fatalf("%d sign-ins, counted %v: %v", a.signIns, counted, err)
				}
				if said := strings.Contains(logged.String(), "clock differs"); said != (test.attempts == 2) {
					t.Errorf("log: %s", logged)
				}
				if err != nil {
					if failure(t, err).Class != Auth {
						t.Error(err)
					}
					return
				}
				// From then on the clock is known.
				if err := sleep(t.Context(), time.Hour); err != nil {
					t.Fatal(err)
				}
				if err := c.SignIn(t.Context()); err != nil || a.signIns != test.attempts+1 {
					t.Errorf("%d sign-ins: %v", a.signIns, err)
				}
			})
		})
	}
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	good := keyPEM(t, "PKCS #8")
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	damaged := func(form string) string {
		block, _ := pem.Decode([]byte(keyPEM(t, form)))
		block.Bytes = block.Bytes[:len(block.Bytes)-5]
		return string(pem.EncodeToMemory(block))
	}
	old := strings.Replace(keyPEM(t, "PKCS #1"), "KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n", 1)
	for name, test := range map[string]struct {
		values map[string]any
		want   string
	}{
		"none":             {map[string]any{"key": "hello"}, "read key: it is no key in PEM form"},
		"cut off":          {map[string]any{"key": good[:400]}, "read key: it is no key in PEM form"},
		"certificate":      {map[string]any{"key": certificate}, `read key: it holds no private key, but "CERTIFICATE"`},
		"damaged":          {map[string]any{"key": damaged("PKCS #8")}, "read key: the key is damaged"},
		"no passphrase":    {map[string]any{"key": keyPEM(t, "encrypted")}, "read key: the key is encrypted: set passphrase"},
		"wrong passphrase": {map[string]any{"key": keyPEM(t, "encrypted"), "passphrase": "wrong-one"}, "read key: the key does not open"},
		"damaged inside":   {map[string]any{"key": damaged("encrypted"), "passphrase": testPassphrase}, "read key: the key does not open"},
		"old form":         {map[string]any{"key": old}, "openssl pkcs8 -topk8"},
		"unreadable":       {map[string]any{"key": errors.New("no such file")}, "read setting key: no such file"},
		"algorithm":        {map[string]any{"key": good, "algorithm": "none"}, `the algorithm "none" is none of`},
		"claim":            {map[string]any{"key": good, "subject": ""}, "subject has no value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &api{}
			err := client(t, a, grantOptions(test.values)).SignIn(t.Context())
			e := failure(t, err)
			if e.Class != Auth || !strings.Contains(e.Error(), test.want) || !strings.Contains(e.Error(), "check the settings of connection rest-1") || len(a.forms) > 0 {
				t.Error(err)
			}
		})
	}
}

// TestCredentials: which header holds the credential, and how it is written,
// are the product's; and that no text shows it.
func TestCredentials(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		auth         catalog.Auth
		header, want string
	}{
		{catalog.Auth{Type: authToken, Token: "${token}"}, "Authorization", "Bearer tok-0123"},
		{catalog.Auth{Type: authToken, Token: "${token}", Scheme: "SSWS"}, "Authorization", "SSWS tok-0123"},
		{catalog.Auth{Type: authToken, Token: "${token}", Header: "X-Api-Key"}, "X-Api-Key", "tok-0123"},
		{catalog.Auth{Type: authToken, Token: "${token}", Header: "X-Api-Key", Scheme: "Key"}, "X-Api-Key", "Key tok-0123"},
		{catalog.Auth{Type: authBasic, Username: "${tenant}", Password: "${token}"}, "Authorization", "Basic YWNtZTp0b2stMDEyMw=="},
		{catalog.Auth{Type: authBasic, Username: "${token}", Password: "${org}"}, "Authorization", "Basic dG9rLTAxMjM6"},
	} {
		a := &api{page: func(_ int, r *http.Request, _ string) (*http.Response, error) {
			return respond(400, `{"message":"refused: `+r.Header.Get(test.header)+` tok-0123"}`), nil
		}}
		var o Options
		c := client(t, a, func(of *Options) {
			restOptions(map[string]any{"tenant": "acme", "token": "tok-0123"})(of)
			of.Product.Auth[0] = test.auth
			o = *of
		})
		_, err := c.Page(t.Context(), eventsPage(&o))
		if err == nil {
			t.Fatal("no error")
		}
		check(t, []string{"tok-0123", "YWNtZTp0b2stMDEyMw", "dG9rLTAxMjM6"}, err.Error())
		if got := a.requests[0].Header; got.Get(test.header) != test.want || test.header != "Authorization" && got.Get("Authorization") != "" {
			t.Errorf("%v, want %q in %s", got, test.want, test.header)
		}
	}
	for name, auth := range map[string]catalog.Auth{
		"org has no value":            {Type: authBasic, Username: "${org}", Password: "${token}"},
		"the username has a colon in": {Type: authBasic, Username: "a:b", Password: "${token}"},
	} {
		c := client(t, &api{}, func(of *Options) {
			restOptions(map[string]any{"tenant": "acme", "token": "tok-0123", "org": ""})(of)
			of.Product.Auth[0] = auth
		})
		if err := c.SignIn(t.Context()); failure(t, err).Class != Auth || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoWayToSignIn: what is said where no conditions hold, and what a refusal
// says of which credential.
func TestNoWayToSignIn(t *testing.T) {
	t.Parallel()
	options := grantOptions(nil)
	c := client(t, &api{}, func(o *Options) {
		options(o)
		o.Product.Auth = o.Product.Auth[:2]
	})
	if e := failure(t, c.SignIn(t.Context())); e.Class != Auth || !strings.Contains(e.Error(), "fit none of the ways to sign in") {
		t.Error(e)
	}
	refuse := func(int, url.Values) *http.Response { return respond(401, `{"error":"invalid_client"}`) }
	for want, values := range map[string]map[string]any{
		"the credential is client_id, client_secret, key_id and subject of connection rest-1":                   nil,
		"the credential is client_id, client_secret, key, passphrase, key_id, tenant and subject of connection": {"key": keyPEM(t, "PKCS #8")},
	} {
		err := client(t, &api{token: refuse}, grantOptions(values)).SignIn(t.Context())
		if e := failure(t, err); !strings.Contains(e.Advice, want) {
			t.Errorf("%s, want %q", e.Advice, want)
		}
	}
}
