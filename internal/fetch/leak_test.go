package fetch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"unicode"
)

// echoes are what a server may say, given what it was sent; nil: it says nothing.
func echoes() map[string]func(echo string) *http.Response {
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	return map[string]func(echo string) *http.Response{
		"errors": func(echo string) *http.Response { return respond(0, `{"errors":[{"message":`+quote(echo)+`}]}`) },
		"partial": func(echo string) *http.Response {
			return respond(0, `{"errors":[{"message":`+quote(echo)+`}],"data":{"auditLogEntries":{"nodes":[]}}}`)
		},
		"throttle": func(echo string) *http.Response {
			return respond(0, `{"errors":[{"message":`+quote("Rate limit exceeded for "+echo)+`}]}`)
		},
		"message": func(echo string) *http.Response { return respond(0, `{"message":`+quote(echo)+`}`) },
		"oauth": func(echo string) *http.Response {
			return respond(0, `{"error":`+quote("invalid_client "+echo)+`,"error_description":`+quote(echo)+`}`)
		},
		"text": func(echo string) *http.Response { return respond(0, echo, "Content-Type", "text/plain") },
		"form": func(echo string) *http.Response {
			return respond(0, "error=x&error_description="+url.QueryEscape(echo), "Content-Type", "application/x-www-form-urlencoded")
		},
		"html":    func(echo string) *http.Response { return respond(0, "<html>"+echo, "Content-Type", "text/html") },
		"cut off": func(echo string) *http.Response { return respond(0, `{"message":`+quote(echo)) },
		"network": nil,
	}
}

// TestNoSecretShows plays APIs and sign-ins that fail in all ways and repeat
// everything they were sent, and hunts for it in logs and errors.
func TestNoSecretShows(t *testing.T) {
	t.Parallel()
	const headerSecret, paramSecret = "x-header-secret-1", "param secret/2"
	secrets := []string{testSecret, url.QueryEscape(testSecret), url.PathEscape(testSecret), testToken, headerSecret, paramSecret, url.QueryEscape(paramSecret)}
	for name, shape := range echoes() {
		for _, status := range []int{200, 302, 400, 401, 403, 404, 429, 500, 503} {
			for _, signIn := range []bool{false, true} {
				t.Run(fmt.Sprint(name, status, signIn), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						answer := func(echo string) (*http.Response, error) {
							if shape == nil {
								return nil, errors.New("malformed answer\x1b[31m\n" + echo)
							}
							resp := shape("\x1b[31m " + echo + "\r\n" + strings.Repeat("long ", 200) + echo)
							resp.StatusCode, resp.Status = status, fmt.Sprint(status, " ", echo)
							return resp, nil
						}
						seen := strings.Join(secrets, " ")
						rt := roundTripFunc(func(r *http.Request) (*http.Response, error) {
							token := strings.HasSuffix(r.URL.Path, "/oauth/token")
							switch {
							case token == signIn:
								return answer(seen + " " + fmt.Sprint(r.Header))
							case token:
								return tokenAnswer(testToken, 3600), nil
							}
							return respond(200, pageOf(1, "", false)), nil
						})
						logger, logged := logTo()
						c := client(t, rt, func(o *Options) {
							o.Logger = logger
							o.Settings = wizSettings(map[string]any{
								"headers":      map[string]string{"X-Key": headerSecret},
								"token_params": map[string]string{"p": paramSecret},
							})
						})
						if signIn { // a token that a server may know all the same
							c.scrub.add(testToken)
						}
						_, err := c.Page(t.Context(), auditPage(""))
						if err == nil {
							t.Fatal("no error")
						}
						if logged.String() == "" {
							t.Error("nothing was logged")
						}
						for e := err; e != nil; e = errors.Unwrap(e) {
							check(t, secrets, fmt.Sprintf("%v %+v %q", e, e, e))
							if strings.ContainsFunc(e.Error(), unicode.IsControl) {
								t.Errorf("control characters in %q", e)
							}
						}
						if n := len([]rune(failure(t, err).Message)); n > mostMessage {
							t.Errorf("message of %d characters", n)
						}
						check(t, secrets, logged.String())
						if strings.Contains(logged.String(), "\x1b") {
							t.Errorf("control characters in the log: %q", logged)
						}
					})
				})
			}
		}
	}
}

// TestNoGrantShows is the same for signed assertions and refresh tokens. What
// was sent is a secret; so are the key behind it and what was never sent.
func TestNoGrantShows(t *testing.T) {
	t.Parallel()
	key := keyPEM(t, "encrypted")
	for kind, values := range map[string]map[string]any{
		"assertion": {"key": key, "passphrase": testPassphrase},
		"refresh":   {"refresh": firstRefresh},
	} {
		for name, shape := range echoes() {
			for _, status := range []int{200, 400, 401, 429, 500} {
				t.Run(fmt.Sprint(kind, name, status), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						const next = "refresh-next-77"
						secrets := []string{testSecret, firstRefresh, next}
						if kind == "assertion" {
							secrets = append(strings.Fields(key)[4:8], key, testPassphrase, testSecret)
						}
						rt := roundTripFunc(func(r *http.Request) (*http.Response, error) {
							seen := strings.Join(secrets, "\n")
							if body, err := io.ReadAll(r.Body); err == nil && r.URL.Path == "/oauth/token" {
								form, _ := url.ParseQuery(string(body))
								if sent := form.Get("assertion"); sent != "" {
									secrets = append(secrets, sent[:60]) // all of it is more than a message holds
								}
								seen = fmt.Sprint(form.Get("assertion"), form.Get("refresh_token"), " ", seen, string(body), form, r.Header)
							}
							if shape == nil {
								return nil, errors.New("malformed answer " + seen)
							}
							resp := shape(seen)
							resp.StatusCode, resp.Status = status, fmt.Sprint(status, " ", seen)
							return resp, nil
						})
						logger, logged := logTo()
						vault := &safe{}
						kept, err := seal("rest-1", testSecret, firstRefresh, next)
						if err != nil {
							t.Fatal(err)
						}
						_ = vault.Store(t.Context(), kept)
						options := grantOptions(values)
						c := client(t, rt, func(o *Options) { options(o); o.Logger, o.Vault = logger, vault })
						c.scrub.add(next) // a server may repeat it before it was read here
						err = c.SignIn(t.Context())
						if err == nil {
							t.Fatal("no error")
						}
						for e := err; e != nil; e = errors.Unwrap(e) {
							check(t, secrets, fmt.Sprintf("%v %+v %q", e, e, e))
						}
						check(t, secrets, logged.String())
					})
				})
			}
		}
	}
}

func check(t *testing.T, secrets []string, text string) {
	t.Helper()
	for _, secret := range secrets {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%q shows in %q", secret, text[max(0, i-40):min(len(text), i+40+len(secret))])
		}
	}
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestScrub(t *testing.T) {
	t.Parallel()
	var s scrubber
	s.add("secret", "secret-and-more", "abc", "")
	for text, want := range map[string]string{
		"a secret-and-more b":     "a [REDACTED] b",
		" a\x00b\n\tc\u202e ":     "ab  c",
		"abc":                     "abc", // too short to be one
		"\xff":                    "\uFFFD",
		strings.Repeat("é", 600):  strings.Repeat("é", mostMessage-1) + "…",
		"secretsecret secre tsec": "[REDACTED][REDACTED] secre tsec",
	} {
		if got := s.text(text); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
	// The secrets in use are never the ones that are forgotten.
	for i := range 3 * mostSecrets {
		s.add("secret")
		s.add(fmt.Sprint("token-", i))
	}
	if len(s.secrets) != mostSecrets || !slices.Contains(s.secrets, "secret") {
		t.Errorf("%d secrets, %v", len(s.secrets), s.secrets)
	}
}

// TestLogLines says what each failed try leaves in the log.
func TestLogLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{page: func(n int, _ *http.Request, _ string) (*http.Response, error) {
			switch n {
			case 1:
				return respond(503, ""), nil
			case 2:
				return respond(429, "", "Retry-After", "7"), nil
			case 3:
				return respond(401, ""), nil
			}
			return respond(400, `{"errors":[{"message":"Cannot query field \"x\""}]}`), nil
		}}
		logger, logged := logTo()
		c := client(t, a, func(o *Options) { o.Logger = logger })
		if _, err := c.Page(t.Context(), auditPage("")); err == nil {
			t.Fatal("no error")
		}
		lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
		const common = " connection=wiz-prod source=wiz/audit operation=TrawlAuditLog "
		for i, want := range []string{
			`level=INFO msg="request failed, trying again"` + common + `class=retry status=503 attempt=1 message="HTTP 503: Service Unavailable" wait=`,
			`level=INFO msg="request failed, trying again"` + common + `class=throttle status=429 attempt=2 message="HTTP 429: Too Many Requests" wait=7s`,
			`level=WARN msg="request failed, trying again"` + common + `class=auth status=401 attempt=3 message="HTTP 401: Unauthorized" wait=0s`,
			`level=WARN msg="request failed"` + common + `class=permanent status=400 attempt=4 message="HTTP 400: Cannot query field \"x\"" advice="the API refuses the query itself`,
		} {
			if i >= len(lines) || !strings.Contains(lines[i], want) {
				t.Errorf("line %d of\n%s\nis not %s", i+1, logged, want)
			}
		}
		if len(lines) != 4 {
			t.Errorf("%d lines", len(lines))
		}
	})
}
