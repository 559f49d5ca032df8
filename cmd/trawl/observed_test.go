package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/observe"
)

// gone counts what says that something is no longer there.
const gone = "gone"

// wantObserved compares the observed matrix with the documents that arrived,
// each of which is there once.
func wantObserved(t *testing.T, dir string) observe.Report {
	t.Helper()
	var out, errs strings.Builder
	if status := run([]string{"matrix", "--observed", "--format", "json", "-c", filepath.Join(dir, "trawl.yaml")}, strings.NewReader(""), &out, &errs); status != 0 {
		t.Fatalf("matrix --observed ended with %d:\n%s", status, errs.String())
	}
	var report observe.Report
	if err := json.Unmarshal([]byte(out.String()), &report); err != nil {
		t.Fatal(err)
	}
	if report.Problem != "" {
		t.Errorf("not all is counted: %s", report.Problem)
	}
	got := map[string]int{}
	for _, p := range report.Products {
		for _, f := range p.Feeds {
			for _, s := range f.Types {
				got[f.Feed+" "+s.EventType] = int(s.Count)
			}
			for what, n := range map[string]int64{"": f.Unlisted, gone: f.Gone} {
				if n > 0 {
					got[f.Feed+" "+what] = int(n)
				}
			}
		}
	}
	if d := cmp.Diff(documentsByType(t, filepath.Join(dir, "events.ndjson")), got); d != "" {
		t.Errorf("documents and what was observed differ (-documents +observed):\n%s", d)
	}
	return report
}

// documentsByType counts the documents of a file by feed and event type.
func documentsByType(t *testing.T, path string) map[string]int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := map[string]int{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var d struct {
			Emm   struct{ Event_type string }
			Event struct{ Action string }
			Trawl struct {
				Connection, Source string
				Gone               json.RawMessage
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		_, source, _ := strings.Cut(d.Trawl.Source, "/")
		what := d.Emm.Event_type
		if d.Event.Action == ecs.GoneAction && d.Trawl.Gone != nil {
			what = gone
		}
		n[d.Trawl.Connection+"/"+source+" "+what]++
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// What was measured stands beside what is documented: as a time, or else in words.
func TestCompared(t *testing.T) {
	t.Parallel()
	f := observe.FeedReport{
		Lateness:  observe.Lateness{Records: 200, P50: 20 * time.Minute, P99: 4 * time.Hour, Documented: 15 * time.Minute, DocumentedText: "some minutes"},
		Retention: observe.Retention{Reach: 90 * 24 * time.Hour, Asked: 180 * 24 * time.Hour, Documented: 180 * 24 * time.Hour},
	}
	table := func() string {
		var b strings.Builder
		compared(f).print(&b, 0, false)
		return b.String()
	}
	want := "                         MEASURED               DOCUMENTED\n" +
		"visible after (p50/p99)  20m0s/4h0m             15m\n" +
		"answers back to          90d0h of 180d0h asked  180d\n"
	if d := cmp.Diff(want, table()); d != "" {
		t.Error(d)
	}
	f.Lateness.Documented, f.Retention = 0, observe.Retention{}
	if got := table(); !strings.HasSuffix(got, "20m0s/4h0m  some minutes\n") {
		t.Errorf("where words are all there is: %q", got)
	}
	f.Lateness.DocumentedText = ""
	if got := table(); !strings.HasSuffix(got, "20m0s/4h0m  not documented\n") {
		t.Errorf("where nothing is said: %q", got)
	}
}
