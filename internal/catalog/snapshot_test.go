package catalog_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
)

// TestSnapshot: a state may be read whole besides, or only; what does not go
// with that is a mistake.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	const (
		window = "window:\n  fields: [created]\n  layout: \"2006-01-02T15:04:05Z07:00\"\n  slack: 0s\n  interval: 5m\n  overlap: 10m\n  revisit: [1h, 1d12h]\n  retention: 180d\n"
		times  = "    \"${time_field}_from\": ${since}\n"
		header = "  headers: {X-Since: \"${since}\"}\n"
	)
	text, err := os.ReadFile("testdata/acme/events.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change []string // old and new, in turn
		want   string   // the mistakes
	}{
		"besides":         {[]string{window, window + "snapshot: {every: 24h, field: created}\n"}, ""},
		"only":            {[]string{window, "snapshot: {every: 6h}\n", times, "", header, ""}, ""},
		"only, in slices": {[]string{window, "window: {layout: unix, slack: 1s}\nsnapshot: {every: 6h, field: created}\n"}, ""},
		"only, by time": {[]string{window, "snapshot: {every: 6h}\n", header, ""}, "acme/events.yaml:13:27: request.query.${time_field}_from: nothing is called ${since}; known: api_url, cursor, host, offset, page, page_size, patience, place, token, zone\n" +
			"acme/events.yaml:13:27: request.query.${time_field}_from: nothing is called ${time_field}; known: api_url, cursor, host, offset, page, page_size, patience, place, token, zone"},
		"without a layout":    {[]string{window, "snapshot: {every: 6h, field: created}\n"}, "acme/events.yaml:1:1: window.layout: is missing: it says how since and until are written; add it"},
		"with an interval":    {[]string{window, "window: {layout: unix, slack: 1s, interval: 5m}\nsnapshot: {every: 6h, field: created}\n"}, "acme/events.yaml:27:45: window.interval: goes with fields: without them the source is only read whole, every 6h; take it out"},
		"of a log":            {[]string{window, window + "snapshot: {every: 24h}\n", "kind: state", "kind: log"}, "acme/events.yaml:35:11: snapshot: records of a log do not vanish; take it out, or make the kind state"},
		"never":               {[]string{window, window + "snapshot: {every: 0s}\n"}, "acme/events.yaml:35:19: snapshot.every: must be more than 0"},
		"without an interval": {[]string{window, window + "snapshot: {field: created}\n"}, `acme/events.yaml:35:11: snapshot: "every" is missing; add it`},
		"neither":             {[]string{window, ""}, "acme/events.yaml:1:1: window: is missing; add it, or a snapshot if nothing can be asked for by time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := strings.Replace(string(text), "kind: log", "kind: state", 1)
			for i := 0; i < len(tc.change); i += 2 {
				if !strings.Contains(changed, tc.change[i]) {
					t.Fatalf("there is no %q", tc.change[i])
				}
				changed = strings.Replace(changed, tc.change[i], tc.change[i+1], 1)
			}
			cat, err := catalog.Load(catalog.Dir("testdata"), fstest.MapFS{"acme/events.yaml": {Data: []byte(changed)}})
			said := ""
			var mistakes catalog.Mistakes
			if errors.As(err, &mistakes) {
				said = mistakes.Error()
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, said); diff != "" {
				t.Fatal(diff)
			}
			if err != nil {
				return
			}
			s, err := cat.Source("acme/events")
			if err != nil {
				t.Fatal(err)
			}
			if only := strings.HasPrefix(name, "only"); s.OnlyWhole() != only || only && s.Interval() != s.Snapshot.Every || !only && s.Interval() != s.Window.Interval {
				t.Errorf("only whole: %v, interval %v", s.OnlyWhole(), s.Interval())
			}
		})
	}
}
