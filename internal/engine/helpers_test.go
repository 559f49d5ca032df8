package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	catalogfiles "github.com/trawlsec/trawl/catalog"
	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/wiz"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loadCatalogue = sync.OnceValues(func() (*catalog.Catalogue, error) { return catalog.Load(catalogfiles.FS) })

// world is a simulated tenant and a configuration that collects from it.
type world struct {
	t      *testing.T
	tenant *wiz.Tenant
	server *saassim.Server
	dir    string
	timing timing
	log    *lines
}

// lines keeps what was logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newWorld has a tenant with 300 audit records and 30 issues.
func newWorld(t *testing.T, o wiz.Options) *world {
	t.Helper()
	o.Seed = 11
	tenant, err := wiz.New(o)
	if err != nil {
		t.Fatal(err)
	}
	tenant.AddAudit(saassim.Batch{N: 300})
	tenant.AddIssues(saassim.Batch{N: 30})
	server, err := tenant.Start()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, tenant: tenant, server: server, dir: t.TempDir(), timing: usual, log: &lines{}}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", w.log)
		}
	})
	return w
}

// parts of a configuration that differ between tests; "" for the usual.
type parts struct{ top, sources, outputs string }

func (w *world) config(p parts) *config.Config {
	w.t.Helper()
	def := func(v *string, otherwise string) {
		if *v == "" {
			*v = otherwise
		}
	}
	def(&p.sources, "{audit: {start: 25h, page_size: 50, interval: 100ms}, issues: {start: 25h, page_size: 50, interval: 100ms}}")
	def(&p.outputs, "{archive: {type: file, path: events.ndjson}}")
	path := filepath.Join(w.dir, "trawl.yaml")
	text := fmt.Sprintf("%s\nconnections: {wiz-prod: {product: wiz, sources: %s, rate_limit: {requests_per_second: 500, burst: 100}, settings: {api_url: %q, token_url: %q, client_id: %s, client_secret: %s}}}\noutputs: %s\n",
		p.top, p.sources, w.server.URL+wiz.GraphQLPath, w.server.URL+wiz.TokenPath, wiz.DefaultClientID, wiz.DefaultClientSecret, p.outputs)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	cfg, err := config.Load(path, func(string) (*catalog.Catalogue, error) { return loadCatalogue() })
	if err != nil {
		w.t.Fatal(err)
	}
	return cfg
}

func (w *world) options() Options {
	return Options{Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})), timing: w.timing}
}

func (w *world) open(p parts) *Engine {
	w.t.Helper()
	e, err := Open(w.t.Context(), w.config(p), w.options())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return e
}

func (w *world) faults(text string) {
	w.t.Helper()
	f, err := saassim.ParseFaults(text)
	if err == nil {
		err = w.tenant.SetFaults(f)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// start runs an engine until stop is called, which returns Run's error.
func (w *world) start(e *Engine) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	w.t.Cleanup(func() { _ = stop() })
	return stop
}

// until waits for something about an engine's status to be true.
func (w *world) until(e *Engine, what string, is func(Status) bool) Status {
	w.t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	limit := time.NewTimer(5 * time.Minute)
	defer limit.Stop()
	for {
		s, err := e.Status(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if is(s) {
			return s
		}
		select {
		case <-ticker.C:
		case <-limit.C:
			w.t.Fatalf("never: %s; the last status: %+v", what, s)
		}
	}
}

// states are those of audit and issues.
func states(audit, issues collect.State) func(Status) bool {
	return func(s Status) bool { return s.Feeds[0].State == audit && s.Feeds[1].State == issues }
}

// uids counts the documents of a file by their uid.
func (w *world) uids(name string) map[string]int {
	w.t.Helper()
	f, err := os.Open(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	n := map[string]int{}
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var d struct {
			Trawl struct{ UID string }
		}
		if err := json.Unmarshal(scan.Bytes(), &d); err != nil || d.Trawl.UID == "" {
			w.t.Fatalf("document %s: %v", scan.Text(), err)
		}
		n[d.Trawl.UID]++
	}
	if err := scan.Err(); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// wantAll expects every record of the tenant in a file, each so many times.
func (w *world) wantAll(name string, times int) {
	w.t.Helper()
	want := 0
	for r := range w.tenant.Truth() {
		if r.ReplacedAt.IsZero() {
			want++
		}
	}
	got := w.uids(name)
	for uid, n := range got {
		if n != times {
			w.t.Errorf("%s is there %d times, want %d", uid, n, times)
		}
	}
	if len(got) != want {
		w.t.Errorf("%d records, want %d", len(got), want)
	}
}

// asked counts the requests for a query's field.
func (w *world) asked(status int) int {
	n := 0
	for _, r := range w.tenant.Requests() {
		if r.Kind == saassim.KindAPI && r.Status == status {
			n++
		}
	}
	return n
}
