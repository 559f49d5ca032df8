package catalogfiles_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/ecsfields"
)

// placeOf maps a record with the action, and more if need be, and returns its
// category and type, its event type in the matrix or - if it is none, and what
// error.message says.
func placeOf(t *testing.T, src *catalog.Source, m *ecs.Mapper, action string, more map[string]string) (place, message string) {
	t.Helper()
	members := map[string]string{
		src.Record.ID[0]:                       "1",
		src.Record.Time[0]:                     "2025-02-06T13:39:25Z",
		src.ECS.Fields["event.action"].From[0]: action,
	}
	maps.Copy(members, more)
	record, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Event struct{ Category, Type []string }
		Error struct{ Message string }
		EMM   struct {
			EventType string `json:"event_type"`
		}
	}
	if err := json.Unmarshal(m.Append(nil, record, ecs.Meta{}), &doc); err != nil {
		t.Fatal(err)
	}
	for _, kind := range doc.Event.Type {
		if !slices.ContainsFunc(doc.Event.Category, func(c string) bool { return slices.Contains(ecsfields.EventTypes(c), kind) }) {
			t.Errorf("%s: ECS has no event.type %s with event.category %s", action, kind, doc.Event.Category)
		}
	}
	return strings.Join(doc.Event.Category, ",") + " " + strings.Join(doc.Event.Type, ",") + " " + cmp.Or(doc.EMM.EventType, "-"), doc.Error.Message
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
// actions of a source, and the event.category, event.type and emm.event_type of
// each, are in testdata/<source>.actions.txt of its product. What has - for the
// last is none of the matrix's event types, as far as its action tells.
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
		got, message := placeOf(t, src, m, action, nil)
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
		"CreateFlux":                 "configuration creation create_resource",
		"DeleteFlux":                 "configuration deletion delete_resource",
		"UpdateFlux":                 "configuration change update_resource",
		"UpdateFluxSettings":         "configuration change update_security_configuration",
		"RunFlux":                    "process start -",
		"CreateGuestUser":            "iam creation create_user",
		"DeleteGuestUser":            "iam deletion delete_user",
		"CreateFluxIntegration":      "configuration creation create_integration",
		"DeleteLDAPIdentityProvider": "iam deletion delete_security_configuration",
		"RemoveUserFromFlux":         "configuration deletion -",
		"AddFlux":                    "configuration creation -",
		"FrobnicateFlux":             "  -",
		"create something":           "  -",
	} {
		got, message := placeOf(t, src, m, action, map[string]string{"actionType": "MUTATION"})
		wantMessage := ""
		if strings.HasPrefix(want, " ") {
			wantMessage = fmt.Sprintf("action: %q is not a known value", action)
		}
		if got != want || message != wantMessage {
			t.Errorf("%s is %q, want %q; %s", action, got, want, message)
		}
	}
}

// Where a record says what kind of action it is, that counts too.
func TestWizActionTypes(t *testing.T) {
	t.Parallel()
	src, m := auditMapper(t)
	for action, want := range map[[2]string]string{
		{"IssuesTable", "QUERY"}:            "read_resource",
		{"GraphSearch", "QUERY"}:            "query_resource",
		{"UserRoles", "QUERY"}:              "read_role",
		{"Connectors", "QUERY"}:             "read_integration",
		{"LoginSettings", "QUERY"}:          "read_security_configuration",
		{"CreateFlux", "SCIM"}:              "-", // no resource, as SCIM knows users and groups only
		{"CreateGroup", "SCIM"}:             "create_group",
		{"DeleteUser", "SCIM"}:              "delete_user",
		{"UpdateFlux", "AI_AGENT_ACTIVITY"}: "-",
		{"Login", "AUTHENTICATION"}:         "account_login",
		{"UpdateFlux", "AUTHENTICATION"}:    "-",
		{"Issues", "SUBSCRIPTION"}:          "-",
	} {
		place, _ := placeOf(t, src, m, action[0], map[string]string{"actionType": action[1]})
		if got := place[strings.LastIndexByte(place, ' ')+1:]; got != want {
			t.Errorf("%v is %s, want %s", action, got, want)
		}
	}
}
