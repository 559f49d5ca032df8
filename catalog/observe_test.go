package catalogfiles_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/emm"
)

// What is observed of a record is what its document says: the same place, by
// both ways of looking, and the same attributes as the public format's paths
// find in it.
func TestObservedAsNormalized(t *testing.T) {
	t.Parallel()
	seen, filled := 0, 0
	for _, product := range load(t).Products() {
		public, err := product.InMatrix()
		if err != nil {
			t.Fatal(err)
		}
		for _, source := range product.SourceList() {
			m, err := ecs.Compile(source, ecs.WithSight())
			if err != nil {
				t.Fatal(err)
			}
			only, err := ecs.Compile(source, ecs.OnlySight())
			if err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(product.ID, "testdata", source.ID, "*.json"))
			if err != nil || len(files) == 0 {
				t.Fatalf("%s has no samples (%v)", source.FullName(), err)
			}
			for _, file := range files {
				if strings.HasSuffix(file, ".expected.json") {
					continue
				}
				record, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				var beside, alone ecs.Sight
				m.AppendSight(nil, record, ecs.Meta{}, &beside)
				only.See(record, &alone)
				if beside.Event != alone.Event || beside.Filled != alone.Filled || !beside.Time.Equal(alone.Time) || string(beside.Kind) != string(alone.Kind) {
					t.Errorf("%s: beside its document %+v, alone %+v", file, beside, alone)
				}
				if !alone.Time.Equal(m.Key(record).Time) {
					t.Errorf("%s: time %s, that of its key is %s", file, alone.Time, m.Key(record).Time)
				}
				place := ""
				if alone.Event >= 0 {
					e := source.Matrix.Events[alone.Event]
					place = e.Category + "_" + e.EventType
				}
				if want := eventOf(t, m, record); place != want {
					t.Errorf("%s: observed %q, its document says %q", file, place, want)
				}
				if alone.Event < 0 {
					continue
				}
				seen++
				filled += wantFilled(t, file, record, alone, source, public)
			}
		}
	}
	if seen < 50 || filled < 400 {
		t.Errorf("only %d samples with %d attributes were compared", seen, filled)
	}
}

// wantFilled compares the attributes seen in a record with what the paths in
// the public format lead to.
func wantFilled(t *testing.T, file string, record []byte, s ecs.Sight, source *catalog.Source, public emm.Product) (n int) {
	t.Helper()
	i := slices.IndexFunc(public.Sources, func(of emm.Source) bool { return of.ID == source.ID })
	events := public.Sources[i].Events
	i = slices.IndexFunc(events, func(e emm.Event) bool { return e.EventType == source.Matrix.Events[s.Event].EventType })
	if i < 0 {
		return 0 // nobody documents it
	}
	for bit, a := range emm.Matrix().Attributes {
		want := slices.ContainsFunc(events[i].Attributes[a.Key], func(path string) bool {
			return slices.ContainsFunc(emm.ParsePath(path).Values(record), func(value []byte) bool {
				return !slices.Contains(append([]string{"null", `""`, "[]", "{}"}, nullsOf(source)...), string(value))
			})
		})
		if got := s.Filled>>bit&1 == 1; got != want {
			t.Errorf("%s: %s is seen: %t, and is there: %t", file, a.Key, got, want)
		}
		if want {
			n++
		}
	}
	return n
}

// nullsOf are the texts that are no value, as JSON.
func nullsOf(source *catalog.Source) (nulls []string) {
	for _, text := range source.ECS.Nulls {
		nulls = append(nulls, `"`+text+`"`)
	}
	return nulls
}
