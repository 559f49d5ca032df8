package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// safe is a vault in memory that can be out of order.
type safe struct {
	mu      sync.Mutex
	sealed  []byte
	all     [][]byte // everything that was ever stored
	loading error
	storing error
}

func (s *safe) Load(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.sealed), s.loading
}

func (s *safe) Store(_ context.Context, sealed []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.storing != nil {
		return s.storing
	}
	s.sealed = bytes.Clone(sealed)
	s.all = append(s.all, s.sealed)
	return nil
}

func (s *safe) fail(loading, storing error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loading, s.storing = loading, storing
}

// rotator is a server that takes each refresh token once and gives the next.
type rotator struct {
	mu    sync.Mutex
	good  string // the one that it takes
	n     int
	fixed bool          // gives no new ones
	slow  time.Duration // before an answer
}

func (r *rotator) answer(_ int, form url.Values) *http.Response {
	r.mu.Lock()
	defer r.mu.Unlock()
	if form.Get("refresh_token") != r.good || form.Get("grant_type") != "refresh_token" {
		return respond(400, `{"error":"invalid_grant"}`)
	}
	r.n++
	if r.fixed {
		return respond(200, fmt.Sprintf(`{"access_token":"access-%d","token_type":"Bearer","expires_in":600}`, r.n))
	}
	r.good = fmt.Sprint("refresh-next-", r.n)
	body := fmt.Sprintf(`{"access_token":"access-%d","token_type":"Bearer","expires_in":600,"refresh_token":%q}`, r.n, r.good)
	if r.slow > 0 {
		time.Sleep(r.slow)
	}
	return respond(200, body)
}

// revoke has the server take another token only.
func (r *rotator) revoke(good string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.good = good
}

const firstRefresh = "refresh-first-0"

// rotate makes a client that signs in with a refresh token.
func rotate(t *testing.T, server *rotator, vault Vault, values map[string]any) (*Client, *api) {
	t.Helper()
	all := map[string]any{"refresh": firstRefresh}
	for name, value := range values {
		all[name] = value
	}
	a := &api{token: server.answer, page: func(int, *http.Request, string) (*http.Response, error) { return respond(200, `{"entries":[]}`), nil }}
	options := grantOptions(all)
	return client(t, a, func(o *Options) { options(o); o.Vault = vault }), a
}

func TestRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, vault := &rotator{good: firstRefresh}, &safe{}
		// Each process begins with the settings as they always were.
		for range 3 {
			c, a := rotate(t, server, vault, nil)
			for range 3 {
				if _, err := c.Page(t.Context(), Request{Source: c.opts.Product.Sources["events"]}); err != nil {
					t.Fatal(err)
				}
				stored := len(vault.all)
				if got, want := a.requests[len(a.requests)-1].Header.Get("Authorization"), fmt.Sprint("Bearer access-", server.n); got != want || stored != server.n {
					t.Errorf("%s with %d stored, want %s", got, stored, want)
				}
				time.Sleep(11 * time.Minute)
			}
		}
		if server.n != 9 {
			t.Errorf("%d sign-ins", server.n)
		}
		for _, sealed := range vault.all {
			for _, secret := range []string{"refresh", "access", testSecret} {
				if bytes.Contains(sealed[1:], []byte(secret)) {
					t.Errorf("%q stands in what is stored: %s", secret, sealed)
				}
			}
		}
	})
}

// TestNoRotation: a server that gives no next token leaves nothing to keep.
func TestNoRotation(t *testing.T) {
	t.Parallel()
	server, vault := &rotator{good: firstRefresh, fixed: true}, &safe{}
	c, _ := rotate(t, server, vault, nil)
	if err := c.SignIn(t.Context()); err != nil || len(vault.all) > 0 {
		t.Errorf("%d stored: %v", len(vault.all), err)
	}
}

// TestConfiguredWins: a refresh token that is set anew takes the place of what is kept.
func TestConfiguredWins(t *testing.T) {
	t.Parallel()
	server, vault := &rotator{good: firstRefresh}, &safe{}
	signIn := func(values map[string]any) error {
		c, _ := rotate(t, server, vault, values)
		return c.SignIn(t.Context())
	}
	if err := signIn(nil); err != nil {
		t.Fatal(err)
	}
	server.revoke("refresh-by-hand")
	if e := failure(t, signIn(nil)); e.Class != Auth || strings.Contains(e.Advice, "was kept") {
		t.Error(e)
	}
	byHand := map[string]any{"refresh": "refresh-by-hand"}
	for range 2 {
		if err := signIn(byHand); err != nil {
			t.Fatal(err)
		}
	}
	// With another client_secret nothing of what is kept can be read.
	byHand["client_secret"] = "another-secret"
	e := failure(t, signIn(byHand))
	if e.Class != Auth || !strings.Contains(e.Advice, "kept, but under another client_secret and refresh: get a new refresh token and set refresh") {
		t.Error(e)
	}
	// Damage is the same.
	vault.sealed = []byte(`{"version":1,"salt":"AAAA","of":"AAAA","token":"AAAA"}`)
	if e := failure(t, signIn(nil)); e.Class != Auth || !strings.Contains(e.Advice, "was kept") {
		t.Error(e)
	}
	// Without a vault the first token would be lost.
	if e := failure(t, func() error { c, _ := rotate(t, server, nil, nil); return c.SignIn(t.Context()) }()); e.Class != Auth || !strings.Contains(e.Error(), "nowhere to keep") {
		t.Error(e)
	}
}

// TestVaultOutOfOrder: no access token is used whose refresh token is not kept,
// and no refresh token is lost to a vault that fails for a while.
func TestVaultOutOfOrder(t *testing.T) {
	t.Parallel()
	broken := errors.New("log is full")
	for name, breaks := range map[string][2]error{"storing": {nil, broken}, "loading": {broken, nil}, "both": {broken, broken}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, vault := &rotator{good: firstRefresh}, &safe{}
				vault.fail(breaks[0], breaks[1])
				c, a := rotate(t, server, vault, nil)
				page := func() error {
					_, err := c.Page(t.Context(), Request{Source: c.opts.Product.Sources["events"]})
					return err
				}
				e := failure(t, page())
				if e.Class != Retry || !strings.Contains(e.Error(), "refresh token: log is full") || len(a.requests) > 0 {
					t.Error(e)
				}
				if most := 1; server.n > most {
					t.Errorf("%d refresh tokens used up", server.n)
				}
				vault.fail(nil, nil)
				if err := page(); err != nil {
					t.Fatal(err)
				}
				again, _ := rotate(t, server, vault, nil)
				if err := again.SignIn(t.Context()); err != nil {
					t.Error("after a restart:", err)
				}
			})
		})
	}
}

// TestStoppedWhileRotating: an answer that is on its way when a person stops
// Trawl is still kept.
func TestStoppedWhileRotating(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, vault := &rotator{good: firstRefresh, slow: 5 * time.Second}, &safe{}
		c, _ := rotate(t, server, vault, nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_ = c.SignIn(ctx)
		if len(vault.all) != 1 {
			t.Fatalf("%d stored", len(vault.all))
		}
		again, _ := rotate(t, server, vault, nil)
		if err := again.SignIn(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestSlowRefusalWhileRotating: however long a server took to refuse by mistake,
// the answer with the next refresh token is waited for as long as any.
func TestSlowRefusalWhileRotating(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, vault := &rotator{good: firstRefresh, slow: rotatingAnswer * 3 / 4}, &safe{}
		c, a := rotate(t, server, vault, nil)
		a.token = func(n int, form url.Values) *http.Response {
			if n == 1 {
				time.Sleep(server.slow)
				return respond(401, `{}`)
			}
			return server.answer(n, form)
		}
		if err := c.SignIn(t.Context()); err != nil {
			t.Error(err)
		}
		if len(vault.all) != 1 {
			t.Errorf("%d stored", len(vault.all))
		}
	})
}

// TestSeal looks at what is stored: it opens for its connection, its credential
// and its configured token only.
func TestSeal(t *testing.T) {
	t.Parallel()
	data, err := seal("prod", "secret", "first", "next")
	if err != nil {
		t.Fatal(err)
	}
	if token, ok := unseal("prod", "secret", "first", data); token != "next" || !ok {
		t.Errorf("%q, %v", token, ok)
	}
	other, err := seal("prod", "secret", "first", "next")
	if err != nil || bytes.Equal(data, other) {
		t.Errorf("sealed the same twice: %v", err)
	}
	for _, wrong := range [][3]string{{"test", "secret", "first"}, {"prod", "Secret", "first"}, {"prod", "secret", "second"}, {"prod", "", ""}} {
		if token, ok := unseal(wrong[0], wrong[1], wrong[2], data); ok || token != "" {
			t.Errorf("%v opens it: %q", wrong, token)
		}
	}
	for i := range data {
		changed := bytes.Clone(data)
		changed[i] ^= 4
		if token, ok := unseal("prod", "secret", "first", changed); ok && token != "next" {
			t.Errorf("changed at %d it is %q", i, token)
		}
	}
}
