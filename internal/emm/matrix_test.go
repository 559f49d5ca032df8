package emm_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/emm"
)

// acme is a product with texts that no format takes as they are.
func acme() emm.Product {
	paths := func(p ...string) []string { return p }
	return emm.Product{
		ID: "acme", Name: `Acme: "<Anvils>" & more`, Vendor: "Acme Inc.", About: "# no comment, - no list",
		Collection: []emm.Collection{{ID: "api", Name: "API", About: "yes", References: []emm.Reference{{Title: "Docs", URL: "https://acme.example/?a=1&b=2"}, {Title: "docs", URL: "https://acme.example/2"}}}},
		Sources: []emm.Source{{
			ID: "audit", Name: "Audit", About: "null", Collection: []string{"api"}, Retention: "90 days", Latency: "1.0", Licensing: "'all'",
			References: []emm.Reference{},
			Events: []emm.Event{
				{
					Category: "authentication", EventType: "account_login",
					Attributes: map[string][]string{"timestamp": paths("at"), "username": paths("who.name", "who.id"), "result": paths("ok?"), "failure_context": paths("why")},
					Examples:   []emm.Example{{Name: "first", Record: json.RawMessage(`{"at":1,"who":{"id":"</script>"},"ok?":true,"why":null}`)}},
				},
				{Category: "authorization", EventType: "create_user", Attributes: map[string][]string{"timestamp": paths("at"), "username": paths("who.name"), "target_username": paths("list[type=User].name")}},
				{Category: "authorization", EventType: "delete_user", Attributes: map[string][]string{"timestamp": paths("at"), "username": paths("who.name")}},
			},
		}},
	}
}

func TestCoverage(t *testing.T) {
	t.Parallel()
	c := acme().Coverage()
	if diff := cmp.Diff([]string{"timestamp", "result", "username", "failure_context"}, c["account_login"]); diff != "" {
		t.Error(diff)
	}
	for eventType, want := range map[string]int{"account_login": 15, "create_user": 13, "query_resource": 13, "account_logout": 12} {
		if got := len(c[eventType]) + len(c.Lacks(eventType)); got != want {
			t.Errorf("%d attributes apply to %s, want %d", got, eventType, want)
		}
	}
	c.Add("create_user", "target_username", "ip_address", "query_string", "nonsense")
	if diff := cmp.Diff([]string{"timestamp", "username", "ip_address", "target_username"}, c["create_user"]); diff != "" {
		t.Error(diff)
	}
	c.Add("read_user")
	if told, logged := c["read_user"]; !logged || len(told) != 0 {
		t.Errorf("read_user is told: %v %v", logged, told)
	}
}

// What is written in the public format passes the checks on that format, and
// resolves to what was written.
func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := acme()
	files, err := p.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	report, err := emm.Validate(dir)
	if err != nil || report.Faults != nil || report.Warnings != nil || report.Mappings != 3 || report.Examples != 1 {
		t.Errorf("%+v %v", report, err)
	}
	sources, mistakes, err := emm.Resolve(dir)
	if err != nil || mistakes != nil || len(sources) != 1 {
		t.Fatal(sources, mistakes, err)
	}
	for i, m := range sources[0].Mappings {
		want := p.Sources[0].Events[i]
		got := map[string][]string{}
		for key, paths := range m.Attributes {
			got[key] = paths.All
		}
		if diff := cmp.Diff(want.Attributes, got); diff != "" || m.EventType != want.EventType {
			t.Errorf("%s: %s\n%s", m.EventType, want.EventType, diff)
		}
	}
	text := string(files[1].Text)
	for _, want := range []string{"source:\n    attributes:\n      timestamp: at\n", "authorization:\n      attributes:\n        username: who.name\n", "event_type: delete_user\n    attributes: {}\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no default in\n%s\nwant %q", text, want)
		}
	}
}

// The page needs nothing from elsewhere, its links lead somewhere, and no text
// of a product gets out of its place.
func TestHTML(t *testing.T) {
	t.Parallel()
	var page bytes.Buffer
	if err := emm.HTML(&page, []emm.Product{acme()}); err != nil {
		t.Fatal(err)
	}
	text := page.String()
	for _, banned := range []string{"<script", "</script", "src=", "<link", "@import", "url(", "<Anvils>", "ZgotmplZ"} {
		if strings.Contains(text, banned) {
			t.Errorf("the page has %s", banned)
		}
	}
	var ids []string
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if slices.Contains(ids, m[1]) {
			t.Errorf("the id %s is there twice", m[1])
		}
		ids = append(ids, m[1])
	}
	links := regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(text, -1)
	for _, m := range links {
		if !slices.Contains(ids, m[1]) {
			t.Errorf("nothing has the id %s", m[1])
		}
	}
	for _, want := range []string{`href="#acme-account_login"`, ">4/15</a>", "list[type=User].name", "&lt;/script&gt;", "https://acme.example/?a=1&amp;b=2"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if opened, closed := strings.Count(text, "<details"), strings.Count(text, "</details>"); opened != closed || opened != 4 {
		t.Errorf("%d details begin and %d end, want 4", opened, closed)
	}
	page.Reset()
	if err := emm.HTML(&page, nil); err != nil || !strings.Contains(page.String(), "no product") {
		t.Errorf("a page of nothing: %v", err)
	}
}

func TestDocument(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(emm.Document([]emm.Product{acme()}))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Categories []struct{ Key string }
		EventTypes []struct {
			Key        string
			Categories []string
		} `json:"event_types"`
		Attributes []struct {
			Key     string
			Include []string
		}
		Products []struct {
			Product  string
			Coverage map[string]struct{ Has, Lacks []string }
			Sources  []struct {
				Events []struct{ Attributes map[string][]string }
			} `json:"event_sources"`
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Categories) != 4 || len(doc.EventTypes) != 35 || len(doc.Attributes) != 33 || doc.EventTypes[34].Categories[0] != "activity_audit" || doc.Attributes[32].Include[0] != "query_resource" {
		t.Errorf("%d categories, %d event types, %d attributes", len(doc.Categories), len(doc.EventTypes), len(doc.Attributes))
	}
	p := doc.Products[0]
	if p.Product != "acme" || len(p.Coverage) != 3 || len(p.Coverage["account_login"].Has) != 4 || len(p.Coverage["account_login"].Lacks) != 11 || len(p.Sources[0].Events) != 3 {
		t.Errorf("%+v", p)
	}
}
