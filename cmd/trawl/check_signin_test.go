package main

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// rotatingAPI takes each refresh token once, and gives the next with the access
// token for it.
type rotatingAPI struct {
	mu      sync.Mutex
	refresh string
	access  string
	given   []string // all tokens that it ever gave
	pages   int
}

func (a *rotatingAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/oauth/token/":
		if r.FormValue("refresh_token") != a.refresh || r.FormValue("client_secret") == "" {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		a.refresh, a.access = fmt.Sprintf("refresh-%d-abcdef", len(a.given)), fmt.Sprintf("access-%d-abcdef", len(a.given))
		a.given = append(a.given, a.refresh, a.access)
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600,"refresh_token":%q}`, a.access, a.refresh)
	case r.Header.Get("Authorization") != "Bearer "+a.access:
		http.Error(w, `{"detail":"Invalid token."}`, http.StatusUnauthorized)
	default:
		a.pages++
		fmt.Fprintf(w, `{"count":1,"next":null,"previous":null,"results":[{"identifier":"id-1","action_at":%q,"action_type":"user_logout","action_data":{}}]}`,
			time.Now().UTC().Add(-time.Minute).Format("2006-01-02T15:04:05.000000Z"))
	}
}

// TestRefreshTokenIsKept signs in again and again with a refresh token that is
// good for one sign-in, in processes of their own, and looks for what was kept.
func TestRefreshTokenIsKept(t *testing.T) {
	t.Parallel()
	api := &rotatingAPI{refresh: "refresh-by-hand"}
	server := httptest.NewServer(api)
	defer server.Close()
	dir := t.TempDir()
	path := filepath.Join(dir, "trawl.yaml")
	text := fmt.Sprintf("listen: \"\"\nconnections:\n  prod: {product: appomni, settings: {api_url: %q, refresh_token: refresh-by-hand, client_id: me, client_secret: hush-hush-hush}, sources: {audit: {start: 1h, interval: 10ms}}}\noutputs:\n  archive: {type: file, path: events.ndjson}\n", server.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) (status int, out string) {
		var stdout, stderr strings.Builder
		status = run(append(args, "-c", path), strings.NewReader(""), &stdout, &stderr)
		return status, stdout.String() + stderr.String()
	}
	for _, args := range [][]string{{"check", "--connect"}, {"run", "--once"}, {"check", "--connect"}, {"run", "--once"}} {
		if status, out := command(args...); status != exitDone {
			t.Fatalf("%v: status %d\n%s", args, status, out)
		}
	}
	if len(api.given) != 8 || api.pages == 0 {
		t.Errorf("%d tokens given, %d pages", len(api.given), api.pages)
	}

	// While a trawl runs, the token is left to it.
	running := startTrawl(t, nil, "run", "-c", path)
	until(t, "a sign-in", func() bool { return len(api.tokens()) == 10 })
	if status, out := command("check", "--connect"); status != exitFailed || !strings.Contains(out, "a trawl is running that has it") {
		t.Errorf("status %d\n%s", status, out)
	}
	running.signal(syscall.SIGTERM)
	running.wantEnd(exitDone, stopLimit)

	// Nothing on disk shows a token.
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || file == path {
			return err
		}
		content, err := os.ReadFile(file)
		for _, secret := range append(api.tokens(), "refresh-by-hand", "hush-hush-hush") {
			if strings.Contains(string(content), secret) {
				t.Errorf("%s stands in %s", secret, file)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (a *rotatingAPI) tokens() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.given...)
}
