package emm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/emm"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	report, err := emm.Validate("testdata/good")
	if err != nil {
		t.Fatal(err)
	}
	want := emm.Report{Products: 2, Sources: 3, Mappings: 5, Examples: 4}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Error(diff)
	}
}

// The public data has two paths that its examples lack, and in some examples
// attributes that others have.
func TestValidatePublic(t *testing.T) {
	t.Parallel()
	dir := shared(t)
	report, err := emm.Validate(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range report.Faults {
		got = append(got, strings.TrimPrefix(m.Error(), dir+"/products/"))
	}
	want := []string{
		"appomni/event_sources/appomni_audit_logs.yml:87:17: mappings.4.attributes.username: user_username leads to nothing in event_examples/authorization_delete_user.json; there is action_data.user_username",
		"appomni/event_sources/appomni_audit_logs.yml:140:22: mappings.10.attributes.resource_name: policy_name leads to nothing in event_examples/activity_audit_delete_resource_policy.json; there is action_data.policy_name",
	}
	if diff := cmp.Diff(want, got); diff != "" || len(report.Warnings) != 4 {
		t.Errorf("%s\n%v", diff, report.Warnings)
	}
}

// change is a folder like testdata/good with one thing changed: old becomes new
// in a file, or, where there is no old, the whole file does.
func change(t *testing.T, file, old, new string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/good")); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, file)
	text := []byte(new)
	if old != "" {
		before, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(before), old) {
			t.Fatalf("%s has no %q", file, old)
		}
		text = []byte(strings.Replace(string(before), old, new, 1))
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestValidateFaults makes one fault after another. Each is told at its place,
// and nothing else is.
func TestValidateFaults(t *testing.T) {
	t.Parallel()
	const (
		src, product = "products/acme/event_sources/audit.yml", "products/acme/acme.product.yml"
		hooks        = "products/acme/event_sources/more/hooks.YAML"
		login        = "products/acme/event_examples/login.json"
	)
	for name, tc := range map[string]struct{ file, old, new, want string }{
		"unknown key":         {src, "retention:", "retenton: {}\nretention:", `10:1: unknown key "retenton"; did you mean "retention"?`},
		"missing key":         {src, "latency: {duration: Minutes}\n", "", `2:1: "latency" is missing; add it`},
		"wrong type":          {src, "name: Audit log", "name: [Audit, log]", `5:7: name: must be a text; this is a list`},
		"number for text":     {src, "version: 1.0.0", "version: 1.0", `3:10: version: must be a text; this is a number`},
		"wrong entity":        {src, "entity_name: event_source", "entity_name: event_sources", `2:14: entity_name: "event_sources" is not known here; did you mean "event_source"?`},
		"null in defaults":    {src, "timestamp: at", "timestamp: at\n      session_id:", `16:18: mapping_defaults.source.attributes.session_id: must be a text or a list; this is nothing`},
		"empty list":          {src, "[client.ip, client.forwarded]", "[]", `19:19: mapping_defaults.source.attributes.ip_address: needs at least 1; this has 0`},
		"path a mapping":      {src, "failure_context: reason", "failure_context: {a: b}", `32:24: mappings.0.attributes.failure_context: must be nothing or a text or a list; this is a mapping`},
		"path in list":        {src, "[client.ip, client.forwarded]", "[client.ip, 7]", `19:31: mapping_defaults.source.attributes.ip_address.1: must be a text; this is a number`},
		"key of a form":       {src, "category: system_audit", "category: System Audit", `47:15: mappings.2.category: "System Audit" must match ^[a-z][a-z0-9_]*$`},
		"not YAML":            {src, "mappings:", "mappings: [", `44:31: not valid YAML`},
		"key twice":           {src, "name: Audit log", "name: x\nname: y", `6:1: name: this key is here twice, first on line 5; keep one`},
		"mapping twice":       {hooks, "- category", "- {category: authorization, event_type: read_user, attributes: {}}\n- {category: authorization, event_type: read_user, attributes: {}}\n- category", `16:3: mappings.1: is the same as number 1 of this list; keep one`},
		"category":            {src, "category: system_audit", "category: system_adit", `47:15: mappings.2.category: there is no category "system_adit"; did you mean "system_audit"?`},
		"category of default": {src, "    authorization:\n", "    authorisation:\n", `25:5: mapping_defaults.categories: there is no category "authorisation"; did you mean "authorization"?`},
		"event type":          {src, "event_type: add_to_group", "event_type: add_to_grop", `38:17: mappings.1.event_type: there is no event type "add_to_grop"; did you mean "add_to_group"?`},
		"wrong category":      {src, "event_type: query_resource", "event_type: create_user", `51:17: mappings.3.event_type: create_user is not of category activity_audit, but of authorization`},
		"attribute":           {src, "failure_context", "failure_contxt", `32:7: mappings.0.attributes: there is no attribute "failure_contxt"; did you mean "failure_context"?`},
		"default attribute":   {src, "timestamp: at", "time: at", `15:7: mapping_defaults.source.attributes: there is no attribute "time"; none of the 33 there are is like it`},
		"category attribute":  {src, "{username: actor.name, user_id", "{user_name: actor.name, user_id", `26:20: mapping_defaults.categories.authorization.attributes: there is no attribute "user_name"; did you mean "username"?`},
		"product":             {src, "{name: Acme,", "{name: Akme,", `4:17: product.name: there is no product "Akme" in products/acme; did you mean "Acme"?`},
		"no product":          {"products/lone/event_sources/x.yml", "", "entity_name: event_source\nversion: '1'\nproduct: {name: L}\nname: x\ndescription: x\nreferences: []\nretention: {}\nlatency: {}\nmappings: []\n", `3:17: product.name: there is no product in products/lone; add its file`},
		"collection":          {src, "[audit_api]", "[audit_ap]", `4:44: product.collection_sources.0: Acme has no collection "audit_ap"; did you mean "audit_api"?`},
		"collection twice":    {product, "id: hooks", "id: audit_api", `12:10: collection.1.id: "audit_api" is the id of another collection here too; take another`},
		"reference twice":     {src, "references: [", "references: [{id: docs, name: Other, url: x}, ", `9:52: references.1.id: "docs" is the id of another reference here too; take another`},
		"example of nobody":   {"products/acme/event_examples/new/x.json", "", "{\n  \"a\": }\n", `products/acme/event_examples/new/x.json:2:8: is not JSON`},
		"listed source":       {product, "event_sources/audit.yml", "event_sources/adit.yml", `13:17: event_sources.0: there is no file event_sources/adit.yml in products/acme`},
		"product key":         {product, "name: Acme", "name: Acme\nvendor: Acme", `4:1: unknown key "vendor"; known: collection, comments`},
		"nobody's file":       {"products/acme/notes.yml", "", "a: b\n", `1:1: "entity_name" is missing; add it`},
		"empty file":          {hooks, "", "# nothing\n", `1:1: must be a mapping`},
		"no example":          {src, "event_examples/login_failed", "event_examples/login_fails", `36:19: mappings.0.examples.1.location: there is no file event_examples/login_fails.json in products/acme`},
		"example outside":     {src, "./event_examples/added", "../../../added", `46:27: mappings.1.examples.0.location: ../../../added.json is outside of this folder`},
		"example a folder":    {src, "./event_examples/added.json", "./event_examples", `there is no file ./event_examples in products/acme`},
		"example no JSON":     {login, `"kind"`, `kind"`, `1:43: is not JSON`},
		"example cut off":     {login, "}\n", "", `is not JSON: it ends within a value`},
		"example empty":       {login, "", " ", `1:1: has no event in it`},
		"path":                {src, "failure_context: reason", "failure_context: reson", `32:24: mappings.0.attributes.failure_context: reson leads to nothing in event_examples/login.json and event_examples/login_failed.json; did you mean "reason"?`},
		"filter":              {src, "kind=='user'", "kind=='usr'", `44:24: mappings.1.attributes.target_username: targets[?kind=='usr'].name leads to nothing in event_examples/added.json; there is actor.name`},
		"path of a category":  {src, "ip_address: client.ip\n", "ip_address: client.pi\n", `24:21: mapping_defaults.categories.authentication.attributes.ip_address: client.pi leads to nothing in any example, such as event_examples/login.json; did you mean "client.ip"?`},
		"path of the source":  {src, "timestamp: at", "timestamp: it", `15:18: mapping_defaults.source.attributes.timestamp: it leads to nothing in any example, such as event_examples/login.json`},
		"path of one mapping": {src, "ip_address: null", "", `mappings.1.attributes.ip_address: client.ip or client.forwarded leads to nothing in event_examples/added.json`},
		"empty path":          {src, "query_string: \"a < b && c > \\\"d\\\"\"", "query_string: ''", `53:21: mappings.3.attributes.query_string: "" is no path`},

		"taxonomy":       {"categories.yml", "", "entity_name: x\ndescription: x\nversion: x\nitems: [{id: C1, key: a, name: A, description: a}, {id: C1, key: b, name: B, description: b}]\n", `categories.yml:4:57: items.1.id: "C1" is that of item 0 too; take another`},
		"own event type": {"event_types.yaml", "", "entity_name: x\ndescription: x\nversion: x\nitems: [{id: E, key: nap, name: Nap, categories: [resting], description: z}]\n", `event_types.yaml:4:51: items.0.categories.0: there is no category "resting"`},
		"own attribute":  {"attributes.yml", "", "entity_name: x\ndescription: x\nversion: x\nitems: [{id: A, key: a, name: A, type: text, include: [nap], description: z}]\n", `attributes.yml:4:56: items.0.include.0: there is no event type "nap"`},
		"own schema":     {"schema/product.yml", "", "$id: https://json-schema.org/draft/2020-12/schema\n$ref: '#/$defs/p'\n$defs: {p: {required: [mascot]}}\n", `acme.product.yml:1:1: "mascot" is missing; add it`},
		"no schema":      {"schema/product.yml", "", "type: 7\n", `schema/product.yml:1:1: is no JSON Schema`},
		"foreign schema": {"schema/product.yml", "", "$ref: https://example.com/x\n", `schema/product.yml:1:1: is no JSON Schema`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := change(t, tc.file, tc.old, tc.new)
			report, err := emm.Validate(dir)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(report.Faults.Sorted().Error(), dir+"/", "")
			if !strings.Contains(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			several := map[string]bool{"category": true, "taxonomy": true, "own event type": true, "own attribute": true, "own schema": true, "category of default": true, "category attribute": true, "nobody's file": true, "wrong entity": true, "path of the source": true, "collection twice": true}
			if len(report.Faults) != 1 && !several[name] {
				t.Errorf("%d faults, want 1:\n%s", len(report.Faults), got)
			}
		})
	}
}

func TestValidateWarnings(t *testing.T) {
	t.Parallel()
	const src = "products/acme/event_sources/audit.yml"
	for name, tc := range map[string]struct{ old, new, want string }{
		"for others":     {"query_string:", "resource_type: kind\n      query_string:", `53:7: mappings.3.attributes: resource_type is not for query_resource; it is for create_resource`},
		"nothing to end": {"ip_address: null", "ip_address: null\n      session_id: null", `44:7: mappings.1.attributes: null takes nothing away here: no default gives session_id`},
		"twice":          {"event_type: query_resource", "event_type: read_resource\n    attributes: {}\n  - category: activity_audit\n    event_type: read_resource", `53:5: mappings.4: activity_audit read_resource has a mapping already, number 4; make one of them`},
		"one of two":     {"failure_context: reason", "failure_context: client.via", ``},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := change(t, src, tc.old, tc.new)
			if name == "one of two" {
				example := filepath.Join(dir, "products/acme/event_examples/login.json")
				text, err := os.ReadFile(example)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(example, []byte(strings.Replace(string(text), `{"ip"`, `{"via": 1, "ip"`, 1)), 0o644); err != nil {
					t.Fatal(err)
				}
				tc.want = `32:24: mappings.0.attributes.failure_context: client.via leads to nothing in event_examples/login_failed.json, though it does in another example`
			}
			report, err := emm.Validate(dir)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(report.Warnings.Sorted().Error(), dir+"/", "")
			if !strings.Contains(got, tc.want) {
				t.Errorf("got %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestValidateIdleDefault(t *testing.T) {
	t.Parallel()
	dir := change(t, "products/acme/event_sources/more/hooks.YAML", "mappings:", "mapping_defaults: {categories: {authentication: {}}}\nmappings:")
	report, err := emm.Validate(dir)
	if err != nil {
		t.Fatal(err)
	}
	const want = "hooks.YAML:14:33: mapping_defaults.categories: no mapping is of category authentication"
	if len(report.Faults) > 0 || len(report.Warnings) != 1 || !strings.HasSuffix(report.Warnings[0].Error(), want) {
		t.Errorf("got %v %v\nwant %s", report.Faults, report.Warnings, want)
	}
}

// A link that leads out of the folder is not followed.
func TestValidateStaysInside(t *testing.T) {
	t.Parallel()
	dir := change(t, "products/acme/notes.txt", "", "")
	outside := filepath.Join(t.TempDir(), "x.json")
	if err := os.WriteFile(outside, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "products/acme/event_examples/link.json")); err != nil {
		t.Skip(err)
	}
	report, err := emm.Validate(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Faults) != 1 || !strings.Contains(report.Faults[0].Error(), "event_examples/link.json:1:1: can't be read") {
		t.Errorf("got %v", report.Faults)
	}
}
