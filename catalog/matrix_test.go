package catalogfiles_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/emm"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

// eventOf is the place of a record in the matrix: category_event_type, "" where
// it has none.
func eventOf(t *testing.T, m *ecs.Mapper, record []byte) string {
	t.Helper()
	var doc struct {
		EMM *struct {
			Category  string `json:"category"`
			EventType string `json:"event_type"`
		} `json:"emm"`
	}
	if err := json.Unmarshal(m.Append(nil, record, ecs.Meta{}), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.EMM == nil {
		return ""
	}
	return doc.EMM.Category + "_" + doc.EMM.EventType
}

// Every example of a source's matrix is of the event that it is an example of,
// and each attribute stands in one of the examples.
func TestMatrixExamples(t *testing.T) {
	t.Parallel()
	for _, product := range load(t).Products() {
		for _, source := range product.SourceList() {
			if source.Matrix == nil {
				continue
			}
			m, err := ecs.Compile(source)
			if err != nil {
				t.Fatal(err)
			}
			examples := map[string][][]byte{} // by event type
			attributes := map[string]map[string]catalog.Paths{}
			for i, e := range source.Matrix.Events {
				attributes[e.EventType] = source.Matrix.Resolved(i)
				for _, example := range e.Examples {
					record, err := os.ReadFile(filepath.Join(product.ID, "testdata", source.ID, example+".json"))
					if err != nil {
						t.Fatal(err)
					}
					examples[e.EventType] = append(examples[e.EventType], record)
					if got, want := eventOf(t, m, record), e.Category+"_"+e.EventType; got != want {
						t.Errorf("%s: example %s is %s, want %s", source.FullName(), example, got, want)
					}
				}
			}
			for eventType, records := range examples {
				for key, paths := range attributes[eventType] {
					if !slices.ContainsFunc(records, func(r []byte) bool { return has(t, r, paths) }) {
						t.Errorf("%s: no example of %s has %s at %v", source.FullName(), eventType, key, paths)
					}
				}
			}
		}
	}
}

// What a matrix documents is shown by a known action of the source, and what it
// does not is not.
func TestMatrixIsDocumented(t *testing.T) {
	t.Parallel()
	for _, product := range load(t).Products() {
		for _, source := range product.SourceList() {
			if source.Matrix == nil {
				continue
			}
			shown := map[string]bool{}
			list, err := os.ReadFile(filepath.Join(product.ID, "testdata", source.ID+".actions.txt"))
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(list)) {
				shown[strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:])] = true
			}
			for _, e := range source.Matrix.Events {
				if shown[e.EventType] == e.Undocumented {
					t.Errorf("%s: %s is undocumented: %v, but shown by a known action: %v", source.FullName(), e.EventType, e.Undocumented, shown[e.EventType])
				}
			}
		}
	}
}

// has tells whether a record has a value, if only null, at one of the paths.
func has(t *testing.T, record []byte, paths catalog.Paths) bool {
	t.Helper()
	found := false
	for _, text := range paths {
		p, err := jsonscan.ParsePath(text)
		if err != nil {
			t.Fatal(err)
		}
		p.Each(record, func([]byte) bool { found = true; return false })
	}
	return found
}

// placeByName is the longest category_event_type that a file's name begins with,
// "" for none. One file leaves the word security out.
func placeByName(name string) string {
	if strings.HasPrefix(name, "system_audit_update_configuration") {
		return "system_audit_update_security_configuration"
	}
	var longest string
	for _, e := range emm.Matrix().EventTypes {
		for _, c := range e.Categories {
			if place := c + "_" + e.Key; strings.HasPrefix(name, place) && len(place) > len(longest) {
				longest = place
			}
		}
	}
	return longest
}

// Samples whose names begin with a place in the matrix have it, and so have the
// examples of the public matrix where they lie beside the repository.
func TestPlacesByName(t *testing.T) {
	t.Parallel()
	places := 0
	for _, product := range load(t).Products() {
		for _, source := range product.SourceList() {
			if source.Matrix == nil {
				continue
			}
			m, err := ecs.Compile(source)
			if err != nil {
				t.Fatal(err)
			}
			var files []string
			for _, pattern := range []string{
				filepath.Join(product.ID, "testdata", source.ID, "*.json"),
				filepath.Join("../../shared/emm/products", product.ID, "event_examples/*.json"),
			} {
				found, err := filepath.Glob(pattern)
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, found...)
			}
			for _, file := range files {
				want := placeByName(filepath.Base(file))
				if want == "" || strings.HasSuffix(file, ".expected.json") {
					continue
				}
				places++
				record, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if got := eventOf(t, m, record); got != want {
					t.Errorf("%s is %q, want %q", file, got, want)
				}
			}
		}
	}
	if places < 50 {
		t.Errorf("only %d samples have a place by their names", places)
	}
}
