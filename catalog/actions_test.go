package catalogfiles_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/trawlsec/trawl/internal/ecs"
)

// actionsFile lists the known actions of Wiz's audit log, and the ECS category
// and type of each.
const actionsFile = "wiz/testdata/actions.txt"

// placeOf maps an audit record with the action, and returns its category and
// type, and what error.message says.
func placeOf(t *testing.T, m *ecs.Mapper, action string) (place, message string) {
	t.Helper()
	var doc struct {
		Event struct{ Category, Type []string }
		Error struct{ Message string }
	}
	record := fmt.Appendf(nil, `{"id":"1","timestamp":"2025-02-06T13:39:25Z","action":%q}`, action)
	if err := json.Unmarshal(m.Append(nil, record, ecs.Meta{}), &doc); err != nil {
		t.Fatal(err)
	}
	return strings.Join(doc.Event.Category, ",") + " " + strings.Join(doc.Event.Type, ","), doc.Error.Message
}

func auditMapper(t *testing.T) *ecs.Mapper {
	t.Helper()
	src, err := load(t).Source("wiz/audit")
	if err != nil {
		t.Fatal(err)
	}
	m, err := ecs.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Every known action has a place, and it is the one that was chosen for it.
func TestWizActions(t *testing.T) {
	t.Parallel()
	m := auditMapper(t)
	list, err := os.ReadFile(actionsFile)
	if err != nil {
		t.Fatal(err)
	}
	var now strings.Builder
	n := 0
	for line := range strings.Lines(string(list)) {
		action, want, _ := strings.Cut(strings.TrimSpace(line), " ")
		got, message := placeOf(t, m, action)
		fmt.Fprintln(&now, action, got)
		n++
		if *update {
			continue
		}
		if message != "" || got != want {
			t.Errorf("%s is %q, want %q; %s", action, got, want, message)
		}
	}
	if n < 500 {
		t.Errorf("only %d actions in %s", n, actionsFile)
	}
	if *update {
		if err := os.WriteFile(actionsFile, []byte(now.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// What comes up later is placed by its verb, or by what kind of action the
// record says it is; else it is named.
func TestWizActionsToCome(t *testing.T) {
	t.Parallel()
	m := auditMapper(t)
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
		got, message := placeOf(t, m, action)
		wantMessage := ""
		if want == " " {
			wantMessage = fmt.Sprintf("action: %q is not a known value", action)
		}
		if got != want || message != wantMessage {
			t.Errorf("%s is %q, want %q; %s", action, got, want, message)
		}
	}
}
