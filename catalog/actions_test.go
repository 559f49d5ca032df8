package catalogfiles_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/ecsfields"
)

// placeOf maps a record with the action, and returns its category and type, and
// what error.message says.
func placeOf(t *testing.T, src *catalog.Source, m *ecs.Mapper, action string) (place, message string) {
	t.Helper()
	record, err := json.Marshal(map[string]string{
		src.Record.ID[0]:                       "1",
		src.Record.Time[0]:                     "2025-02-06T13:39:25Z",
		src.ECS.Fields["event.action"].From[0]: action,
	})
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Event struct{ Category, Type []string }
		Error struct{ Message string }
	}
	if err := json.Unmarshal(m.Append(nil, record, ecs.Meta{}), &doc); err != nil {
		t.Fatal(err)
	}
	for _, kind := range doc.Event.Type {
		if !slices.ContainsFunc(doc.Event.Category, func(c string) bool { return slices.Contains(ecsfields.EventTypes(c), kind) }) {
			t.Errorf("%s: ECS has no event.type %s with event.category %s", action, kind, doc.Event.Category)
		}
	}
	return strings.Join(doc.Event.Category, ",") + " " + strings.Join(doc.Event.Type, ","), doc.Error.Message
}

func auditMapper(t *testing.T) (*catalog.Source, *ecs.Mapper) {
	t.Helper()
	src, err := load(t).Source("wiz/audit")
	if err != nil {
		t.Fatal(err)
	}
	m, err := ecs.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	return src, m
}

// Every known action has a place, and it is the one that was chosen for it. The
// actions of a source, and the event.category and event.type of each, are in
// testdata/<source>.actions.txt of its product.
func TestActions(t *testing.T) {
	t.Parallel()
	for _, product := range load(t).Products() {
		for _, src := range product.SourceList() {
			file := filepath.Join(product.ID, "testdata", src.ID+".actions.txt")
			list, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Run(src.FullName(), func(t *testing.T) {
				t.Parallel()
				testActions(t, src, file, string(list))
			})
		}
	}
}

func testActions(t *testing.T, src *catalog.Source, file, list string) {
	m, err := ecs.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	var now strings.Builder
	for line := range strings.Lines(list) {
		action, want, _ := strings.Cut(strings.TrimSpace(line), " ")
		got, message := placeOf(t, src, m, action)
		fmt.Fprintln(&now, action, got)
		if message != "" || got != want && !*update {
			t.Errorf("%s is %q, want %q; %s", action, got, want, message)
		}
	}
	if now.Len() == 0 {
		t.Errorf("no actions in %s", file)
	}
	if *update {
		if err := os.WriteFile(file, []byte(now.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// What comes up later is placed by its verb, or by what kind of action the
// record says it is; else it is named.
func TestWizActionsToCome(t *testing.T) {
	t.Parallel()
	src, m := auditMapper(t)
	for action, want := range map[string]string{
		"CreateFlux":       "configuration creation",
		"DeleteFlux":       "configuration deletion",
		"UpdateFlux":       "configuration change",
		"RunFlux":          "process start",
		"CreateGuestUser":  "iam creation",
		"DeleteGuestUser":  "iam deletion",
		"FrobnicateFlux":   " ",
		"create something": " ",
	} {
		got, message := placeOf(t, src, m, action)
		wantMessage := ""
		if want == " " {
			wantMessage = fmt.Sprintf("action: %q is not a known value", action)
		}
		if got != want || message != wantMessage {
			t.Errorf("%s is %q, want %q; %s", action, got, want, message)
		}
	}
}
