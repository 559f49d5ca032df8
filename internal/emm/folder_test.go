package emm_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/emm"
)

// shared is the part of the public repository that lies beside this one, if it does.
func shared(t *testing.T) string {
	t.Helper()
	const dir = "../../../shared/emm"
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no ../shared/emm beside the repository")
	}
	return dir
}

// resolve gives the lines of a folder's event sources.
func resolve(t *testing.T, dir string) (lines, mistakes string) {
	t.Helper()
	sources, ms, err := emm.Resolve(dir)
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, s := range sources {
		if text, err = s.AppendLine(text); err != nil {
			t.Fatal(err)
		}
		text = append(text, '\n')
	}
	if err := ms.Err(); err != nil {
		mistakes = err.Error()
	}
	return string(text), mistakes
}

func TestResolve(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("testdata/good.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	got, mistakes := resolve(t, "testdata/good")
	if diff := cmp.Diff(string(want), got); diff != "" || mistakes != "" {
		t.Errorf("%s\n%s", mistakes, diff)
	}
}

// What the public repository resolves its mappings to is what comes out here.
func TestResolvePublic(t *testing.T) {
	t.Parallel()
	dir := shared(t)
	got, mistakes := resolve(t, dir)
	if mistakes != "" {
		t.Error(mistakes)
	}
	lines := strings.Split(strings.TrimSpace(got), "\n")
	for _, line := range lines {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatal(err)
		}
		source, _ := object["source"].(string)
		text, err := os.ReadFile(filepath.Join(dir, "tests/mapping_snapshots", strings.TrimSuffix(source, ".yml")+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var want map[string]any
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(object, want) {
			t.Errorf("%s:\n%s", source, cmp.Diff(want, object))
		}
	}
	if len(lines) != 5 {
		t.Errorf("%d event sources, want 5", len(lines))
	}
}

// one is a folder with one event source.
func one(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "products/p/event_sources"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "products/p/event_sources/s.yml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Whatever people leave out, write in another way or get wrong: what can be
// understood of it is.
func TestResolveForms(t *testing.T) {
	t.Parallel()
	const m = "mappings: [{category: c, event_type: e, attributes: {x: y}}]\n"
	const plain = `[{"attributes":{"x":"y"},"category":"c","event_type":"e"}]`
	for name, tc := range map[string]struct{ text, want, mistake string }{
		"nothing else":     {m, plain, ""},
		"null layers":      {"mapping_defaults:\n" + m, plain, ""},
		"null source":      {"mapping_defaults: {source: , categories: }\n" + m, plain, ""},
		"null attributes":  {"mapping_defaults: {source: {attributes: }, categories: {c: , d: {attributes: }}}\n" + m, plain, ""},
		"null in source":   {"mapping_defaults: {source: {attributes: {a: , b: c}}}\n" + m, `[{"attributes":{"b":"c","x":"y"},"category":"c","event_type":"e"}]`, ""},
		"null in category": {"mapping_defaults: {source: {attributes: {a: b}}, categories: {c: {attributes: {a: }}}}\n" + m, plain, ""},
		"back again":       {"mapping_defaults: {source: {attributes: {x: b}}, categories: {c: {attributes: {x: }}}}\n" + m, plain, ""},
		"other category":   {"mapping_defaults: {categories: {d: {attributes: {a: b}}}}\n" + m, plain, ""},
		"a list replaces":  {"mapping_defaults: {source: {attributes: {x: [a, b]}}}\n" + m, plain, ""},
		"replaced by a list": {"mapping_defaults: {source: {attributes: {x: a}}}\n" + strings.Replace(m, "y}", "[b]}", 1),
			`[{"attributes":{"x":["b"]},"category":"c","event_type":"e"}]`, ""},
		"no attributes":   {"mappings: [{category: c, event_type: e}]", `[{"attributes":{},"category":"c","event_type":"e"}]`, ""},
		"quotes":          {"'mappings':\n- \"category\": 'c'\n  event_type: \"e\"\n  attributes: {'x': \"y\"}\n", plain, ""},
		"end marks":       {"%YAML 1.2\n---\n" + m + "...\n", plain, ""},
		"byte order mark": {"\ufeff" + m, plain, ""},
		"line ends":       {"mappings:\r\n- category: c\r\n  event_type: e\r\n  attributes:\r\n    x: y\r\n", plain, ""},
		"over lines":      {"mappings:\n- category: c\n  event_type: e\n  attributes:\n    x: >-\n      a\n      b\n", `[{"attributes":{"x":"a b"},"category":"c","event_type":"e"}]`, ""},
		"same again": {"mappings:\n- &m {category: c, event_type: e, attributes: {x: y}}\n- *m\n- <<: *m\n  event_type: f\n",
			`[{"attributes":{"x":"y"},"category":"c","event_type":"e"},{"attributes":{"x":"y"},"category":"c","event_type":"e"},{"attributes":{"x":"y"},"category":"c","event_type":"f"}]`, ""},
		"merged null":    {"mapping_defaults: {source: {attributes: &a {x: a}}}\nmappings: [{category: c, event_type: e, attributes: {<<: *a, x: null}}]", `[{"attributes":{},"category":"c","event_type":"e"}]`, ""},
		"like numbers":   {strings.Replace(m, "y}", "0x10, z: true, a: 1.0}", 1), `[{"attributes":{"a":"1.0","x":"0x10","z":"true"},"category":"c","event_type":"e"}]`, ""},
		"signs":          {strings.Replace(m, "y}", `"<a> & b\u2028"}`, 1), "[{\"attributes\":{\"x\":\"<a> & b\u2028\"},\"category\":\"c\",\"event_type\":\"e\"}]", ""},
		"empty":          {"", "", "1:1: must be a mapping"},
		"a list":         {"- a\n", "", "1:1: must be a mapping"},
		"not YAML":       {"a: [", "", "not valid YAML"},
		"no mappings":    {"name: x\n", "[]", ""},
		"mappings text":  {"mappings: x\n", "[]", "1:11: mappings: must be a list"},
		"mapping text":   {"mappings: [x]\n", "[]", "1:12: mappings.0: must be a mapping"},
		"no event type":  {"mappings: [{category: c}, {category: c, event_type: e, attributes: {x: y}}]", plain, "1:12: mappings.0: a mapping needs"},
		"attribute map":  {strings.Replace(m, "y}", "y, z: {a: b}}", 1), plain, "1:63: mappings.0.attributes.z: must be a path or a list of paths"},
		"list of nulls":  {strings.Replace(m, "y}", "y, z: [a, ~]}", 1), `[{"attributes":{"x":"y","z":["a"]},"category":"c","event_type":"e"}]`, "z.1: is empty"},
		"twice":          {strings.Replace(m, "x: y", "x: a, x: y", 1), plain, "x: this key is here twice"},
		"two documents":  {m + "---\n" + m, plain, "a second YAML document"},
		"a bomb":         {"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e]\nmappings: *f\n", "*", "too many aliases"},
		"an endless one": {"mappings: &m [*m]\n", "*", "nested too deeply"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, mistake := resolve(t, one(t, tc.text))
			want := ""
			if tc.want != "" {
				want = `{"mappings":` + tc.want + `,"source":"products/p/event_sources/s.yml"}` + "\n"
			}
			if got != want && tc.want != "*" {
				t.Errorf("got %s\nwant %s", got, want)
			}
			if (tc.mistake == "") != (mistake == "") || !strings.Contains(mistake, tc.mistake) {
				t.Errorf("mistakes %q, want %q", mistake, tc.mistake)
			}
		})
	}
}

// Event sources are found by where they are, or by what they say that they are.
func TestResolveFinds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"products/b/event_sources/deep/er/x.yaml": "mappings: []",
		"products/b/event_sources/UPPER.YML":      "mappings: []",
		"products/b/event_sources/p.yml":          "entity_name: product",
		"products/b/event_sources/notes.txt":      "mappings: []",
		"products/b/event_sources/.hidden.yml":    "mappings: []",
		"products/.git/event_sources/x.yml":       "mappings: []",
		"products/a/said.yml":                     "entity_name: event_source",
		"products/a/other.yml":                    "entity_name: product",
		"products/c/d/event_sources/x.yml":        "mappings: []",
		"event_sources/x.yml":                     "mappings: []",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sources, mistakes, err := emm.Resolve(dir)
	if err != nil || mistakes != nil {
		t.Fatal(err, mistakes)
	}
	var got []string
	for _, s := range sources {
		got = append(got, s.Source)
	}
	want := []string{"products/a/said.yml", "products/b/event_sources/UPPER.YML", "products/b/event_sources/deep/er/x.yaml", "products/c/d/event_sources/x.yml"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOtherFolders(t *testing.T) {
	t.Parallel()
	var layout *emm.LayoutError
	if _, _, err := emm.Resolve(t.TempDir()); !errors.As(err, &layout) {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := emm.Validate(t.TempDir()); !errors.As(err, &layout) {
		t.Errorf("an empty folder: %v", err)
	}
	if _, _, err := emm.Resolve("testdata/no/such"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}
