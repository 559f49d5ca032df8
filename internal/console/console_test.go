package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/deliver"
	"github.com/trawlsec/trawl/internal/engine"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/observe"
	"github.com/trawlsec/trawl/internal/pagelog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is an engine that shows what it is told to.
type fake struct {
	mu     sync.Mutex
	status engine.Status
	err    error
	asked  []string        // changes
	block  chan struct{}   // Change waits for it, unless it is nil
	began  chan<- struct{} // is told that Change waits
	gone   chan<- struct{} // is told that the one who asked has gone
}

func (f *fake) Status(ctx context.Context) (engine.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status, f.err
}

func (f *fake) Change(ctx context.Context, feed, verb string, to time.Time) error {
	f.mu.Lock()
	f.asked = append(f.asked, strings.TrimSpace(verb+" "+feed+" "+strings.TrimPrefix(to.UTC().Format(time.RFC3339Nano), "0001-01-01T00:00:00Z")))
	err := f.err
	f.mu.Unlock()
	if f.block != nil {
		f.began <- struct{}{}
		select {
		case <-f.block:
		case <-ctx.Done():
			f.gone <- struct{}{}
			return ctx.Err()
		}
	}
	return err
}

func (f *fake) StartBackfill(ctx context.Context, feed string, since, until time.Time, concurrency int) (time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, "backfill "+feed+" "+since.UTC().Format(time.RFC3339)+" "+until.UTC().Format(time.RFC3339))
	return since.Add(time.Hour), f.err
}

func (f *fake) Observed(context.Context) (engine.Observed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return engine.Observed{Running: true, Now: at(50), Problem: "none", Read: map[string]observe.Read{"wiz-prod/audit": {To: at(8), Asked: time.Hour}}}, f.err
}

func (f *fake) Push(ctx context.Context, feed string, records [][]byte, file bool) (collect.Pushed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf("push %s %s %t", feed, records, file))
	return collect.Pushed{New: len(records)}, f.err
}

// at is a moment, so many seconds after another.
func at(s int) time.Time { return time.Date(2026, 2, 6, 13, 0, s, 0, time.UTC) }

// working is the status of an engine on which nothing is wrong.
func working() engine.Status {
	return engine.Status{
		Running: true, Started: at(0), Now: at(50),
		Feeds: []engine.FeedStatus{
			{Status: collect.Status{Connection: "wiz-prod", Source: "audit", State: collect.StateIdle, Since: at(1), Watermark: at(8), LastSuccess: at(10),
				Counts: collect.Counts{Pages: 3, Records: 250, Duplicates: 12, Late: 2}}, LagSeconds: 42, Requests: 7, Throttles: 1},
			{Status: collect.Status{Connection: "wiz-prod", Source: "issues", State: collect.StatePaused, Since: at(2), Reason: "paused",
				Counts: collect.Counts{Gone: 5}, Whole: &collect.WholeStatus{}}},
		},
		Connections: []engine.ConnectionStatus{{Name: "wiz-prod", Product: "wiz", Answers: engine.Answers{fetch.OK: 6, fetch.Throttle: 1}}},
		Outputs:     []engine.OutputStatus{{Status: deliver.Status{Output: "archive", State: deliver.StateOK, Since: at(3), Documents: 240, Refused: 3}, PendingPages: 2, DeadLetters: 1}},
		Log:         pagelog.Stats{Bytes: 4096, MaxBytes: 1 << 20, Pages: 3},
	}
}

func serve(t *testing.T, e Engine) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(Handler(e))
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, s *httptest.Server, method, path string) (status int, contentType, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

func TestHealth(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*engine.Status)
		code   int
		says   string
	}{
		"all well":   {nil, 200, `"status":"ok"`},
		"collecting": {func(s *engine.Status) { s.Feeds[0].State = collect.StateCollecting }, 200, `"state":"collecting"`},
		"another's":  {func(s *engine.Status) { s.Feeds[0].State = collect.StateStandby }, 200, `"state":"standby"`},
		"a feed fails": {func(s *engine.Status) {
			s.Feeds[0].State, s.Feeds[0].Reason = collect.StateAuth, "the credential was <refused>"
		}, 503, `{"name":"wiz-prod/audit","state":"auth","reason":"the credential was <refused>","since":"2026-02-06T13:00:01Z"}`},
		"an output fails":   {func(s *engine.Status) { s.Outputs[0].State, s.Outputs[0].Reason = deliver.StateRetrying, "no space" }, 503, `{"name":"archive","state":"retrying","reason":"no space","since":"2026-02-06T13:00:03Z","pending_pages":2,"dead_letters":1}`},
		"an output stopped": {func(s *engine.Status) { s.Outputs[0].State = deliver.StateStopped }, 503, `"status":"failing"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{status: working()}
			if c.change != nil {
				c.change(&f.status)
			}
			code, kind, body := get(t, serve(t, f), "GET", "/healthz")
			if code != c.code || kind != "application/json" || !strings.Contains(body, c.says) || !json.Valid([]byte(body)) {
				t.Errorf("healthz = %d %s %s", code, kind, body)
			}
		})
	}
	// Every state that a feed can be in counts as one or the other on purpose.
	well := map[collect.State]bool{collect.StateIdle: true, collect.StateCollecting: true, collect.StatePaused: true, collect.StateStandby: true, collect.StateReceiving: true}
	for _, state := range collect.States {
		s := working()
		s.Feeds[0].State = state
		if s.Healthy() != well[state] {
			t.Errorf("with a feed that is %s, Healthy = %t", state, s.Healthy())
		}
	}
}

func TestHandler(t *testing.T) {
	t.Parallel()
	f := &fake{status: working()}
	s := serve(t, f)
	if code, _, body := get(t, s, "GET", "/readyz"); code != 200 || body != "ready\n" {
		t.Errorf("readyz = %d %q", code, body)
	}
	code, _, body := get(t, s, "GET", "/api/status")
	var got engine.Status
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
		t.Fatalf("status = %d %v %s", code, err, body)
	}
	if d := cmp.Diff(working(), got); d != "" {
		t.Error(d)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/api/status"} {
		if code, _, _ := get(t, s, "POST", path); code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s = %d", path, code)
		}
	}
	if code, _, _ := get(t, s, "GET", "/feeds/wiz-prod/audit/pause"); code != http.StatusNotFound {
		t.Errorf("the address for monitoring takes commands: %d", code)
	}
	f.mu.Lock()
	f.err = errors.New("log is closed")
	f.mu.Unlock()
	for _, path := range []string{"/healthz", "/api/status"} {
		if code, _, body := get(t, s, "GET", path); code != 500 || body != `{"error":"log is closed"}`+"\n" {
			t.Errorf("%s = %d %s", path, code, body)
		}
	}
	if code, _, body := get(t, s, "GET", "/metrics"); code != 500 || !strings.Contains(body, "log is closed") {
		t.Errorf("metrics = %d %s", code, body)
	}
	if code, _, _ := get(t, s, "GET", "/readyz"); code != 200 {
		t.Errorf("readyz = %d", code)
	}
}

// TestMetrics compares all of Trawl's own metrics, which the contract names.
func TestMetrics(t *testing.T) {
	t.Parallel()
	code, kind, body := get(t, serve(t, &fake{status: working()}), "GET", "/metrics")
	if code != 200 || !strings.HasPrefix(kind, "text/plain") {
		t.Fatalf("metrics = %d %s", code, kind)
	}
	var got []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "trawl_") || strings.HasPrefix(line, "# TYPE trawl_") {
			got = append(got, strings.TrimSpace(strings.TrimPrefix(line, "# TYPE ")))
		}
	}
	want := []string{
		`trawl_dead_letters_kept gauge`,
		`trawl_dead_letters_kept{output="archive"} 1`,
		`trawl_dead_letters_total counter`,
		`trawl_dead_letters_total{output="archive"} 3`,
		`trawl_delivered_total counter`,
		`trawl_delivered_total{output="archive"} 240`,
		`trawl_duplicates_total counter`,
		`trawl_duplicates_total{connection="wiz-prod",source="audit"} 12`,
		`trawl_duplicates_total{connection="wiz-prod",source="issues"} 0`,
		`trawl_feed_lag_seconds gauge`,
		`trawl_feed_lag_seconds{connection="wiz-prod",source="audit"} 42`,
		`trawl_feed_lag_seconds{connection="wiz-prod",source="issues"} 0`,
		`trawl_feed_last_success_timestamp_seconds gauge`,
		`trawl_feed_last_success_timestamp_seconds{connection="wiz-prod",source="audit"} 1.77038281e+09`,
		`trawl_feed_state gauge`,
	}
	for _, source := range []string{"audit", "issues"} {
		for _, state := range sorted(collect.States) {
			v := "0"
			if source == "audit" && state == collect.StateIdle || source == "issues" && state == collect.StatePaused {
				v = "1"
			}
			want = append(want, `trawl_feed_state{connection="wiz-prod",source="`+source+`",state="`+string(state)+`"} `+v)
		}
	}
	want = append(want,
		`trawl_gone_records_total counter`,
		`trawl_gone_records_total{connection="wiz-prod",source="issues"} 5`, // a log has none
		`trawl_late_records_total counter`,
		`trawl_late_records_total{connection="wiz-prod",source="audit"} 2`,
		`trawl_late_records_total{connection="wiz-prod",source="issues"} 0`,
		`trawl_log_bytes gauge`,
		`trawl_log_bytes 4096`,
		`trawl_log_max_bytes gauge`,
		`trawl_log_max_bytes 1.048576e+06`,
		`trawl_output_state gauge`,
		`trawl_output_state{output="archive",state="failed"} 0`,
		`trawl_output_state{output="archive",state="ok"} 1`,
		`trawl_output_state{output="archive",state="retrying"} 0`,
		`trawl_output_state{output="archive",state="stopped"} 0`,
		`trawl_pending_pages gauge`,
		`trawl_pending_pages{output="archive"} 2`,
		`trawl_records_total counter`,
		`trawl_records_total{connection="wiz-prod",source="audit"} 250`,
		`trawl_records_total{connection="wiz-prod",source="issues"} 0`,
		`trawl_requests_total counter`,
		`trawl_requests_total{class="ok",connection="wiz-prod"} 6`,
		`trawl_requests_total{class="throttle",connection="wiz-prod"} 1`,
	)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes"} {
		if !strings.Contains(body, "\n"+name+" ") {
			t.Errorf("no %s", name)
		}
	}
}
