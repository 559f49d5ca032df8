package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
