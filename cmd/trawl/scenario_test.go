package main

import (
	"bufio"
	gobytes "bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/wiz"
)

// scenario is a simulated tenant and a configuration that collects from it.
type scenario struct {
	t      *testing.T
	tenant *wiz.Tenant
	server *saassim.Server
	dir    string
	after  func() // called after each request to the tenant; nil: nothing is

	mu      sync.Mutex
	ahead   time.Duration   // how far the tenant's calendar is
	secrets map[string]bool // that nobody but the tenant may see
	said    strings.Builder // what the command printed, of all runs
}

// setup is what scenarios differ in. The zero value will do.
type setup struct {
	tenant     wiz.Options
	rate       string // rate_limit of the connection; "": no limit to speak of
	connection string // more YAML of the connection
	sources    string // YAML of the sources; "": both, from 25 hours ago, 100 records a page
	outputs    string // YAML of the outputs; "": events.ndjson
	top        string // YAML of the top level
	apiURL     string // put behind the tenant's address; "": /graphql
}

// newScenario starts a tenant. When the test ends nothing that the command
// wrote or printed may hold the client secret or a token.
func newScenario(t *testing.T, o setup) *scenario {
	t.Helper()
	if o.tenant.Seed == 0 {
		o.tenant.Seed = 42
	}
	s := &scenario{t: t, dir: t.TempDir(), secrets: map[string]bool{wiz.DefaultClientSecret: true}}
	o.tenant.Clock = s.now
	var err error
	if s.tenant, err = wiz.New(o.tenant); err != nil {
		t.Fatal(err)
	}
	s.server, err = saassim.Serve("127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
			s.mu.Lock()
			s.secrets[token] = true
			s.mu.Unlock()
		}
		s.tenant.ServeHTTP(w, r)
		if s.after != nil {
			s.after()
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.server.Close(); err != nil {
			t.Error(err)
		}
		s.wantNoSecrets()
	})
	def := func(v, otherwise string) string {
		if v == "" {
			return otherwise
		}
		return v
	}
	s.write("client-secret", wiz.DefaultClientSecret+"\n")
	s.write("trawl.yaml", fmt.Sprintf(`
%s
connections:
  wiz-prod:
    product: wiz
    settings:
      api_url: %s
      token_url: %s
      client_id: %s
      client_secret: ${file:client-secret}
    rate_limit: %s
    %s
    sources: %s
outputs: %s
`,
		def(o.top, `listen: ""`), s.server.URL+strings.TrimSpace(def(o.apiURL, "/graphql")), s.server.URL+wiz.TokenPath, wiz.DefaultClientID,
		def(o.rate, "{requests_per_second: 500, burst: 50}"), o.connection,
		def(o.sources, "{audit: {start: 25h, page_size: 100}, issues: {start: 25h, page_size: 100}}"),
		def(o.outputs, "{archive: {type: file, path: events.ndjson}}")))
	return s
}

// now is the tenant's time.
func (s *scenario) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.ahead)
}

// later lets time pass for the tenant: what was to become visible late does.
func (s *scenario) later(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

func (s *scenario) path(name string) string { return filepath.Join(s.dir, name) }

func (s *scenario) mkdir(name string) {
	s.t.Helper()
	if err := os.MkdirAll(s.path(name), 0o700); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scenario) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// replace changes a text in a file, which has to be there once.
func (s *scenario) replace(name, old, with string) {
	s.t.Helper()
	text, err := os.ReadFile(s.path(name))
	if err != nil || strings.Count(string(text), old) != 1 {
		s.t.Fatalf("%q is not once in %s (%v)", old, name, err)
	}
	s.write(name, strings.Replace(string(text), old, with, 1))
}

// faults replaces what goes wrong; the text is one of saassim.ParseFaults.
func (s *scenario) faults(text string) {
	s.t.Helper()
	f, err := saassim.ParseFaults(text)
	if err == nil {
		err = s.tenant.SetFaults(f)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// trawl runs the command, in this process, on the scenario's configuration.
func (s *scenario) trawl(args ...string) (status int, stdout, stderr string) {
	s.t.Helper()
	var out, err strings.Builder
	status = run(append(args, "-c", s.path("trawl.yaml")), strings.NewReader(""), &out, &err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said.WriteString(out.String() + err.String())
	return status, out.String(), err.String()
}

// once does `trawl run --once`, which has to end with the given status.
func (s *scenario) once(status int) (stderr string) {
	s.t.Helper()
	got, _, stderr := s.trawl("run", "--once")
	if got != status {
		s.t.Fatalf("run --once ended with %d, want %d:\n%s", got, status, stderr)
	}
	return stderr
}

// wantAll compares the output file with everything the tenant has.
func (s *scenario) wantAll() {
	s.t.Helper()
	wantExactly(s.t, s.path("events.ndjson"), s.tenant)
}

// wantGone compares what the output file says is gone with what is, each once.
func (s *scenario) wantGone(ids []string) {
	s.t.Helper()
	var told []string
	for _, d := range s.documents() {
		if event := d["event"].(map[string]any); event["action"] == ecs.GoneAction {
			told = append(told, event["id"].(string))
		}
	}
	slices.Sort(told)
	if want := slices.Sorted(slices.Values(ids)); !slices.Equal(told, want) {
		s.t.Errorf("told as gone: %d %q, want %d %q", len(told), told, len(want), want)
	}
}

// documents are those of the output file.
func (s *scenario) documents() []map[string]any {
	s.t.Helper()
	return readDocuments[map[string]any](s)
}

// readDocuments reads of the output file's documents what a D has.
func readDocuments[D any](s *scenario) (docs []D) {
	s.t.Helper()
	f, err := os.Open(s.path("events.ndjson"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var d D
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			s.t.Fatalf("broken document: %v: %s", err, lines.Text())
		}
		docs = append(docs, d)
	}
	if err := lines.Err(); err != nil {
		s.t.Fatal(err)
	}
	return docs
}

// delivered counts the whole lines of the output file, which may be under way.
func (s *scenario) delivered() int {
	s.t.Helper()
	return countLines(s.t, s.path("events.ndjson"))
}

// countLines counts the whole lines of a file; none if it is not there yet.
func countLines(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return gobytes.Count(text, []byte("\n"))
}

// requests counts the GraphQL requests that the tenant saw, by the root field
// of their queries.
func (s *scenario) requests() map[string]int {
	n := map[string]int{}
	for _, r := range s.tenant.Requests() {
		if r.Kind == saassim.KindAPI {
			n[r.Operation]++
		}
	}
	return n
}

// wantNoSecrets looks for secrets in all that was printed and all that stands
// under the scenario's directory.
func (s *scenario) wantNoSecrets() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	check := func(where string, text []byte) {
		for secret := range s.secrets {
			if i := gobytes.Index(text, []byte(secret)); i >= 0 {
				s.t.Errorf("a secret stands in %s: …%q", where, text[max(0, i-60):i])
				return
			}
		}
	}
	check("what was printed", []byte(s.said.String()))
	walk(s.t, s.dir, func(path string) {
		if path == s.path("client-secret") {
			return
		}
		text, err := os.ReadFile(path)
		if err != nil {
			s.t.Error(err)
		}
		check(path, text)
	})
}

// walk calls visit for every regular file under a directory.
func walk(t *testing.T, dir string, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			visit(path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
