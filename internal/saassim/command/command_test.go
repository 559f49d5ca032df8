package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/simtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running starts the command and returns the file with its addresses.
func running(t *testing.T, args ...string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "addr")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Command(ctx, append(args, "-addr-file", file), io.Discard, io.Discard) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if err := Command(t.Context(), []string{"-wait", file}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCommand(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "addresses")
	file := running(t, "-audit", "5", "-issues", "2", "-addr-dir", dir, "-faults", "slow=0.5:1ms")
	admin := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if err := Command(t.Context(), append([]string{"-admin", file}, args...), &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	count := func(source string) (n int) {
		t.Helper()
		ids := map[string]bool{}
		for line := range strings.Lines(admin("GET", "/admin/truth")) {
			var r saassim.Truth
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			if r.Source == source {
				ids[r.ID] = true
			}
		}
		return len(ids)
	}
	if a, i := count("wiz/audit"), count("wiz/issues"); a != 5 || i != 2 {
		t.Errorf("%d entries and %d issues at first", a, i)
	}
	if ids := strings.Fields(admin("POST", "/admin/add?audit=3&issues=1&from=2h&to=1h&late=30m&equal=3")); len(ids) != 4 {
		t.Errorf("added %v", ids)
	}
	if a, i := count("wiz/audit"), count("wiz/issues"); a != 8 || i != 3 {
		t.Errorf("%d entries and %d issues then", a, i)
	}
	for _, verb := range []string{"change", "remove", "return"} {
		if ids := strings.Fields(admin("POST", "/admin/"+verb+"?issues=2")); len(ids) != 2 {
			t.Errorf("%s: %v", verb, ids)
		}
	}
	if ids := strings.Fields(admin("POST", "/admin/return?issues=2")); len(ids) != 0 {
		t.Errorf("returned once more: %v", ids)
	}
	if got := admin("POST", "/admin/faults", "truncate=0.1,throttle=1/5\n"); got != "throttle=1/5,truncate=0.1\n" {
		t.Errorf("faults %q", got)
	}
	if got := admin("POST", "/admin/faults?set="); got != "\n" {
		t.Errorf("faults %q", got)
	}
	for _, bad := range [][]string{{"POST", "/admin/faults", "nonsense"}, {"POST", "/admin/add?audit=-1"}, {"POST", "/admin/add?from=x"},
		{"POST", "/admin/change?issues=x"}, {"GET", "/admin/nothing"}} {
		if err := Command(t.Context(), append([]string{"-admin", file}, bad...), io.Discard, io.Discard); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}

	// Through the addresses it can be used.
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	form := strings.NewReplacer("ID", read("client_id"), "SECRET", read("client_secret")).
		Replace("grant_type=client_credentials&audience=wiz-api&client_id=ID&client_secret=SECRET")
	token := post(t, read("token_url"), saassim.FormType, "", form)["access_token"].(string)
	data := post(t, read("api_url"), "application/json", token, `{"query":"{ auditLogEntries(first: 10) { totalCount } }"}`)["data"]
	if n := data.(map[string]any)["auditLogEntries"].(map[string]any)["totalCount"]; n != 8.0 {
		t.Errorf("totalCount %v", n)
	}
	var stats saassim.Stats
	if err := json.Unmarshal([]byte(admin("GET", "/admin/stats")), &stats); err != nil || stats.SignIns != 1 || stats.API != 1 {
		t.Errorf("%v, stats %+v", err, stats)
	}
	log := admin("GET", "/admin/requests")
	if !strings.Contains(log, `"operation":"auditLogEntries"`) || strings.Contains(log, read("client_secret")) || strings.Contains(log, token) {
		t.Errorf("requests %s", log)
	}
	admin("POST", "/admin/revoke")
	admin("POST", "/admin/forget")
	if log := admin("GET", "/admin/requests"); log != "" {
		t.Errorf("requests %s", log)
	}
}

func TestCommandLives(t *testing.T) {
	t.Parallel()
	file := running(t, "-static", "1000", "-live-issues", "500", "-now", "2026-11-21T12:00:00Z", "-since", "2026-11-20T12:00:00Z")
	var out bytes.Buffer
	for !strings.Contains(out.String(), "wiz/issues") && t.Context().Err() == nil {
		out.Reset()
		if err := Command(t.Context(), []string{"-admin", file, "GET", "/admin/truth"}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(out.String(), "wiz/audit"); n != 1000 {
		t.Errorf("%d static entries", n)
	}
}

func TestCommandMisuse(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-nonsense"}, {"extra"}, {"-faults", "nonsense"}, {"-order", "x"}, {"-now", "x"}, {"-since", "x"}, {"-admin", "f", "GET"}, {"-static", "5", "-since", "0s"},
	} {
		if err := Command(t.Context(), args, io.Discard, io.Discard); !errors.As(err, new(misuse)) {
			t.Errorf("%v: %v", args, err)
		}
	}
	for _, name := range []string{"wiz", "box", "appomni", "okta"} {
		var help bytes.Buffer
		if err := Command(t.Context(), []string{name, "-h"}, io.Discard, &help); !errors.Is(err, flag.ErrHelp) ||
			!strings.Contains(help.String(), "product: wiz, box, appomni, okta.") || !strings.Contains(help.String(), "Flags of "+name+":") {
			t.Errorf("%s -h: %v\n%s", name, err, help.String())
		}
	}
	for _, args := range [][]string{{"-addr", "192.0.2.1:80"}, {"-addr", "127.0.0.1"}, {"-admin-addr", "0.0.0.0:0"}, {"-addr-file", "/"}} {
		if err := Command(t.Context(), args, io.Discard, io.Discard); err == nil || errors.As(err, new(misuse)) {
			t.Errorf("%v: %v", args, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := Command(ctx, []string{"-wait", filepath.Join(t.TempDir(), "none")}, io.Discard, io.Discard); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("-wait: %v", err)
	}
}

// post sends a body over the network and decodes the answer.
func post(t *testing.T, url, contentType, token, body string) map[string]any {
	t.Helper()
	return send(t, "POST", url, contentType, token, body)
}

func send(t *testing.T, method, url, contentType, token, body string) map[string]any {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Close = true
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp.Status, err)
	}
	return out
}

// Every product can be served, by what its addresses and credentials say.
func TestCommandServesBox(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := running(t, "box", "-events", "40", "-since", "3h", "-jwt", "-addr-dir", dir, "-index-delay", "1ns")
	values := valuesOf(t, file)
	if key, err := os.ReadFile(filepath.Join(dir, "private_key")); err != nil || !strings.HasPrefix(string(key), "-----BEGIN PRIVATE KEY-----") || values["private_key"] != "" || values["key_id"] == "" {
		t.Errorf("%v, key %s", err, key)
	}
	token := post(t, values["token_url"], saassim.FormType, "", "grant_type=client_credentials&box_subject_type=enterprise&box_subject_id="+
		values["enterprise_id"]+"&client_id="+values["client_id"]+"&client_secret="+values["client_secret"])["access_token"].(string)
	if n := len(get(t, values["api_url"]+"/events?stream_type=admin_logs", token)["entries"].([]any)); n != 40 {
		t.Errorf("%d events", n)
	}
	var out bytes.Buffer
	if err := Command(t.Context(), []string{"-admin", file, "POST", "/admin/add?events=2&late=1h"}, &out, io.Discard); err != nil || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("%v, added %s", err, out.String())
	}
}

// valuesOf reads the addresses and credentials of a server.
func valuesOf(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		values[name] = value
	}
	return values
}

// get asks with a token and decodes the answer.
func get(t *testing.T, url, token string) map[string]any {
	t.Helper()
	return send(t, "GET", url, "", token, "")
}

func TestCommandServesAppOmni(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	pushed := 0
	taken := make(chan struct{})
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if pushed += strings.Count(string(body), "log_id"); err == nil && r.Header.Get("Authorization") == "Bearer t" && pushed == 70 {
			close(taken)
		}
	}))
	defer sink.Close()
	file := running(t, "appomni", "-audit", "70", "-since", "3h", "-push-url", sink.URL, "-push-token", "t", "-push-backlog")
	select {
	case <-taken:
	case <-time.After(patience):
		t.Error("the events are not pushed")
	}
	values := valuesOf(t, file)
	token := post(t, values["token_url"], saassim.FormType, "", "grant_type=refresh_token&refresh_token="+values["refresh_token"]+
		"&client_id="+values["client_id"]+"&client_secret="+values["client_secret"])["access_token"].(string)
	for _, token := range []string{token, values["access_token"]} {
		if n := get(t, values["api_url"]+"/core/auditlogs/", token)["count"]; n != 70.0 {
			t.Errorf("%v events", n)
		}
	}
	var out bytes.Buffer
	for _, path := range []string{"/admin/report?columns=identifier", "/admin/deliveries"} {
		if err := Command(t.Context(), []string{"-admin", file, "GET", path}, &out, io.Discard); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 72 || !strings.Contains(out.String(), `"events":70,"status":200`) {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
	if err := Command(t.Context(), []string{"-admin", file, "GET", "/admin/report?columns=action_data.nothing"}, &out, io.Discard); err == nil {
		t.Error("an unknown column is accepted")
	}
}

func TestCommandServesOkta(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	values := valuesOf(t, running(t, "okta", "-system_log", "30", "-jwt", "-delay", "1ns", "-addr-dir", dir))
	key, err := os.ReadFile(filepath.Join(dir, "private_key"))
	if err != nil {
		t.Fatal(err)
	}
	token := post(t, values["token_url"], saassim.FormType, "", url.Values{"grant_type": {"client_credentials"}, "scope": {"okta.logs.read"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion": {simtest.Sign(t, saassim.SigningKey{Private: string(key)}, map[string]any{"alg": "RS256", "kid": values["key_id"]}, map[string]any{
			"iss": values["client_id"], "sub": values["client_id"], "aud": values["token_url"], "exp": time.Now().Add(time.Minute).Unix()})}}.Encode())["access_token"].(string)
	for _, authorization := range []string{"Bearer " + token, "SSWS " + values["api_token"]} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", values["org_url"]+"/api/v1/logs", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", authorization)
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var events []map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&events); err != nil || len(events) != 30 || !strings.HasPrefix(resp.Header["Link"][1], "<"+values["org_url"]+"/api/v1/logs?after=") {
			t.Errorf("%v, %d events, %v", err, len(events), resp.Header["Link"])
		}
		resp.Body.Close()
	}
}
