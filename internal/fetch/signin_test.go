package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSignInForm(t *testing.T) {
	t.Parallel()
	a := &api{}
	c := client(t, a, func(o *Options) {
		o.Settings = wizSettings(map[string]any{
			"headers":      map[string]string{"x-tenant": "t1"},
			"token_params": map[string]string{"resource": "r=1&2"},
		})
	})
	if err := c.SignIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"client-1"}, "client_secret": {testSecret},
		"audience": {"wiz-api"}, "resource": {"r=1&2"},
	}
	if diff := cmp.Diff(want, a.forms[0]); diff != "" {
		t.Error(diff)
	}
	h := a.headers[0]
	if h.Get("User-Agent") != "trawl/test" || h.Get("X-Tenant") != "t1" || h.Get("Authorization") != "" || h.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("headers are %v", h)
	}

	// The connection's own parameters win.
	a = &api{}
	c = client(t, a, func(o *Options) {
		o.Settings = wizSettings(map[string]any{"token_params": map[string]string{"audience": "other"}, "token_url": "https://auth.wiz.io/oauth/token"})
	})
	if err := c.SignIn(t.Context()); err != nil || a.forms[0].Get("audience") != "other" {
		t.Errorf("audience %q, error %v", a.forms[0].Get("audience"), err)
	}
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		settings map[string]any
		claims   string
		want     string
		offline  bool // known before signing in
	}{
		{"region", map[string]any{"region": "us1"}, `{}`, "https://api.us1.app.wiz.io/graphql", true},
		{"api_url", map[string]any{"api_url": "https://a.test/graphql"}, `{}`, "https://a.test/graphql", true},
		{"api_url bare", map[string]any{"api_url": "https://a.test"}, `{}`, "https://a.test/graphql", true},
		{"api_url slash", map[string]any{"api_url": "https://a.test/"}, `{}`, "https://a.test/graphql", true},
		{"claim", nil, `{"dc":"eu2","exp":1}`, "https://api.eu2.app.wiz.io/graphql", false},
		{"FedRAMP", map[string]any{"token_url": "https://auth.app.wiz.us/oauth/token"}, `{"dc":"usgov1"}`, "https://api.usgov1.app.wiz.us/graphql", false},
		{"GovCloud", map[string]any{"token_url": "https://auth.gov.wiz.io/oauth/token", "region": "g1"}, `{}`, "https://api.g1.gov.wiz.io/graphql", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := &api{token: func(int, url.Values) *http.Response { return tokenAnswer(jwt(test.claims), 3600) }}
			c := client(t, a, func(o *Options) {
				o.Settings = wizSettings(map[string]any{"api_url": ""})
				for k, v := range test.settings {
					o.Settings.(*settings).set(k, v)
				}
			})
			got, err := c.Endpoint(t.Context())
			if err != nil || got != test.want {
				t.Errorf("%s, %v", got, err)
			}
			if signIns, _ := a.counts(); (signIns == 0) != test.offline {
				t.Errorf("%d sign-ins", signIns)
			}
			if _, err := c.Page(t.Context(), auditPage("")); err != nil {
				t.Fatal(err)
			}
			if u := a.requests[0].URL.String(); u != test.want {
				t.Errorf("asked %s", u)
			}
		})
	}
	for name, token := range map[string]string{"no claim": jwt(`{}`), "no JWT": testToken, "broken JWT": "a.!!.b", "claim no text": jwt(`{"dc":{}}`)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &api{token: func(int, url.Values) *http.Response { return tokenAnswer(token, 3600) }}
			c := client(t, a, func(o *Options) { o.Settings = wizSettings(map[string]any{"api_url": ""}) })
			_, err := c.Page(t.Context(), auditPage(""))
			e := failure(t, err)
			if e.Class != Permanent || !strings.Contains(e.Error(), `no claim "dc"`) || !strings.Contains(e.Error(), "set api_url or region of connection wiz-prod") {
				t.Error(e)
			}
			if _, err := c.Endpoint(t.Context()); err == nil {
				t.Error("an endpoint all the same")
			}
		})
	}
	bad := client(t, &api{}, func(o *Options) { o.Settings = wizSettings(map[string]any{"api_url": "ftp://a/graphql"}) })
	if _, err := bad.Endpoint(t.Context()); err == nil || !strings.Contains(err.Error(), "not an http or https URL") {
		t.Error(err)
	}
}

// TestRenewal walks pages, a minute apart, and says after how long a life each
// token was replaced.
func TestRenewal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		margin    string
		expiresIn int
		want      int // sign-ins within an hour and a minute
	}{
		{"default margin", "", 20 * 60, 5}, // every 15 minutes
		{"own margin", "10m", 20 * 60, 7},  // every 10
		{"margin longer than life", "2h", 20 * 60, 4},
		{"no margin", "0s", 30 * 60, 3},
		{"no end", "", 0, 1},
		{"end in the past", "", -30, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &api{token: func(n int, _ url.Values) *http.Response { return tokenAnswer(fmt.Sprint("token-", n), test.expiresIn) }}
				c := client(t, a, func(o *Options) { o.Settings = wizSettings(map[string]any{"token_refresh_margin": test.margin}) })
				for range 61 {
					if _, err := c.Page(t.Context(), auditPage("")); err != nil {
						t.Fatal(err)
					}
					if err := sleep(t.Context(), time.Minute); err != nil {
						t.Fatal(err)
					}
				}
				if a.signIns != test.want {
					t.Errorf("%d sign-ins instead of %d", a.signIns, test.want)
				}
				if got, want := a.requests[60].Header.Get("Authorization"), fmt.Sprint("Bearer token-", test.want); got != want {
					t.Errorf("the last page was asked with %q instead of %q", got, want)
				}
			})
		})
	}
}

// TestRenewalFails keeps a token that could not be replaced for as long as it lives.
func TestRenewalFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{token: func(n int, _ url.Values) *http.Response {
			if n == 1 {
				return tokenAnswer(testToken, 20*60)
			}
			return nil
		}}
		c := client(t, a, nil)
		for minute := range 30 {
			_, err := c.Page(t.Context(), auditPage(""))
			if minute < 20 && err != nil {
				t.Fatalf("minute %d: %v", minute, err)
			}
			if err != nil {
				if failure(t, err).Class != Retry || !strings.Contains(err.Error(), "wiz-prod sign-in: connection reset") {
					t.Error(err)
				}
				return
			}
			if err := sleep(t.Context(), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		t.Error("a token that has ended is still used")
	})
}

func TestSignInClasses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		answer  func() *http.Response
		class   Class
		tries   int
		message string
	}{
		{"reset", func() *http.Response { return nil }, Retry, mostTries, "connection reset"},
		{"503", func() *http.Response { return respond(503, "<html>") }, Retry, mostTries, "HTTP 503: Service Unavailable"},
		{"HTML", func() *http.Response { return respond(200, "<html>") }, Retry, mostTries, "HTTP 200: oauth2: cannot parse json: invalid character '<' looking for beginning of value; what answers at https://auth.test/oauth/token gives no token: check token_url of connection wiz-prod"},
		{"no token", func() *http.Response { return respond(200, "{}") }, Retry, mostTries, "missing access_token"},
		{"429", func() *http.Response { return respond(429, "", "Retry-After", "3") }, Throttle, mostThrottles, "HTTP 429"},
		{"invalid client", func() *http.Response {
			return respond(400, `{"error":"invalid_client","error_description":"no such client"}`)
		}, Auth, 1, "wiz-prod sign-in: HTTP 400: invalid_client: no such client"},
		{"401", func() *http.Response { return respond(401, `{"message":"Unauthorized"}`) }, Auth, 2, "HTTP 401: Unauthorized"},
		{"403", func() *http.Response { return respond(403, `{"error":"access_denied"}`) }, Auth, 2, "client_id and client_secret of connection wiz-prod, sent to https://auth.test/oauth/token"},
		{"404", func() *http.Response { return respond(404, "<html>") }, Auth, 1, "HTTP 404"},
		{"error in 200", func() *http.Response { return respond(200, `{"error":"unauthorized_client"}`) }, Auth, 1, "unauthorized_client"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &api{token: func(int, url.Values) *http.Response { return test.answer() }}
				err := client(t, a, nil).SignIn(t.Context())
				e := failure(t, err)
				if e.Class != test.class || a.signIns != test.tries || !strings.Contains(e.Error(), test.message) {
					t.Errorf("class %s after %d tries: %v", e.Class, a.signIns, e)
				}
			})
		})
	}
}

func TestConcurrentSignIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := make(chan struct{})
		a := &api{
			token: func(n int, _ url.Values) *http.Response {
				<-slow
				return tokenAnswer(fmt.Sprint("token-", n), 3600)
			},
			// The first token is refused to all: they had it at the same time.
			page: func(_ int, r *http.Request, _ string) (*http.Response, error) {
				if r.Header.Get("Authorization") == "Bearer token-1" {
					return respond(401, ""), nil
				}
				return respond(200, pageOf(1, "", false)), nil
			},
		}
		c := client(t, a, nil)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := c.Page(t.Context(), auditPage("")); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		slow <- struct{}{}
		synctest.Wait()
		slow <- struct{}{}
		wg.Wait()
		if a.signIns != 2 {
			t.Errorf("%d sign-ins", a.signIns)
		}
	})
}

// TestSignInCalledOff lets another caller take over a sign-in whose own caller left.
func TestSignInCalledOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{token: func(n int, _ url.Values) *http.Response {
			if n < 3 {
				return respond(503, "", "Retry-After", "20")
			}
			return tokenAnswer(testToken, 0)
		}}
		c := client(t, a, nil)
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := contextFor(t, time.Second)
			defer cancel()
			if err := c.SignIn(ctx); err == nil || errors.As(err, new(*Error)) {
				t.Errorf("error %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if err := c.SignIn(t.Context()); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
	})
}

// TestRotatedSecret changes the secret while the old token is being refused.
func TestRotatedSecret(t *testing.T) {
	t.Parallel()
	values := wizSettings(nil)
	a := &api{
		token: func(_ int, form url.Values) *http.Response {
			return tokenAnswer("token-for-"+form.Get("client_secret"), 3600)
		},
		page: func(_ int, r *http.Request, _ string) (*http.Response, error) {
			if r.Header.Get("Authorization") != "Bearer token-for-new" {
				values.set("client_secret", "new")
				return respond(401, ""), nil
			}
			return respond(200, pageOf(1, "", false)), nil
		},
	}
	if _, err := client(t, a, func(o *Options) { o.Settings = values }).Page(t.Context(), auditPage("")); err != nil {
		t.Error(err)
	}
}

// TestGrantedScope lets a permission that was granted take effect.
func TestGrantedScope(t *testing.T) {
	t.Parallel()
	a := &api{
		token: func(n int, _ url.Values) *http.Response { return tokenAnswer(fmt.Sprint("token-", n), 86400) },
		page: func(_ int, r *http.Request, _ string) (*http.Response, error) {
			if r.Header.Get("Authorization") == "Bearer token-1" {
				return respond(403, ""), nil
			}
			return respond(200, pageOf(1, "", false)), nil
		},
	}
	c := client(t, a, nil)
	if _, err := c.Page(t.Context(), auditPage("")); failure(t, err).Class != Forbidden {
		t.Error(err)
	}
	for range 3 {
		if _, err := c.Page(t.Context(), auditPage("")); err != nil {
			t.Error(err)
		}
	}
	if a.signIns != 2 {
		t.Errorf("%d sign-ins", a.signIns)
	}
}

func TestBearer(t *testing.T) {
	t.Parallel()
	values := map[string]any{"tenant": "acme", "token": "old-token"}
	a := &api{page: func(_ int, r *http.Request, _ string) (*http.Response, error) {
		if r.Header.Get("Authorization") == "Bearer new-token" {
			return respond(200, `{"entries":[]}`), nil
		}
		values["token"] = "new-token" // on disk, meanwhile
		return respond(401, ""), nil
	}}
	c := client(t, a, restOptions(values))
	if _, err := c.Page(t.Context(), Request{Source: restProduct().Sources["events"]}); err != nil {
		t.Error(err)
	}
	for _, token := range []any{errors.New("no such file"), ""} {
		c = client(t, a, restOptions(map[string]any{"tenant": "acme", "token": token}))
		if e := failure(t, c.SignIn(t.Context())); e.Class != Auth || !strings.Contains(e.Error(), "rest-1 sign-in") || !strings.Contains(e.Error(), "token") {
			t.Error(e)
		}
	}
}

// TestSignInContentType: an answer that is JSON is read as such, whatever the
// server calls it.
func TestSignInContentType(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"application/json", "text/plain; charset=utf-8", "text/html", ""} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a := &api{token: func(int, url.Values) *http.Response {
				resp := tokenAnswer(testToken, 86400)
				resp.Header.Set("Content-Type", kind)
				return resp
			}}
			if err := client(t, a, nil).SignIn(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSignInLifetime: however the lifetime of a token is written, the token is
// used, and renewed in time where the lifetime makes sense.
func TestSignInLifetime(t *testing.T) {
	t.Parallel()
	for lifetime, renews := range map[string]bool{
		`3600`: true, `"3600"`: true, `3600.5`: true, `"3600.0"`: true, `3.6e3`: true, ` 3600 `: true,
		`null`: false, `0`: false, `-1`: false, `"soon"`: false, `true`: false, `{}`: false, `[3600]`: false, `100000000000000000000`: false, `1e300`: false,
	} {
		for _, mark := range []string{"", "\xef\xbb\xbf", "\n "} {
			a := &api{token: func(int, url.Values) *http.Response {
				return respond(200, mark+`{"access_token":"`+testToken+`","expires_in":`+lifetime+`}`)
			}}
			c := client(t, a, nil)
			if err := c.SignIn(t.Context()); err != nil {
				t.Errorf("%s: %v", lifetime, err)
			} else if s := c.sessions.current; s.header != "Bearer "+testToken || s.renew.IsZero() == renews {
				t.Errorf("%s: to be renewed %v", lifetime, s.renew)
			}
		}
	}
}
