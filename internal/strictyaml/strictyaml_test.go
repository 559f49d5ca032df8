package strictyaml_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/strictyaml"
)

// shape has a field of every kind that can be decoded.
type shape struct {
	Name  string           `yaml:"name"`
	Count int              `yaml:"count,omitempty"`
	Big   int64            `yaml:"big,omitempty"`
	Share float64          `yaml:"share,omitempty"`
	On    bool             `yaml:"on,omitempty"`
	Words []string         `yaml:"words,omitempty"`
	Table map[string]int   `yaml:"table,omitempty"`
	Inner *inner           `yaml:"inner,omitempty"`
	Many  map[string]inner `yaml:"many,omitempty"`
	Any   any              `yaml:"any,omitempty"`
	Upper upper            `yaml:"upper,omitempty"`
	Skip  string           `yaml:"-"`
}

type inner struct {
	A string `yaml:"a"`
	B string `yaml:"b,omitempty"`
}

// upper is written in a form of its own.
type upper string

func (u *upper) UnmarshalNode(n strictyaml.Node) {
	text, ok := n.Text()
	if !ok {
		return
	}
	if text == "bad" {
		n.Mistake("is bad")
	}
	*u = upper(strings.ToUpper(text))
}

func TestDecode(t *testing.T) {
	t.Parallel()
	doc := strictyaml.Parse("f.yaml", []byte(`
name: 007
count: -3
big: 9000000000
share: 1e3
on: true
words: [a, 1.50, 'x y', "é"]
table: {a: 1, b: 2}
inner: &i {a: x}
many:
  one: *i
  two:
    <<: *i
    b: y
any: [1, 1.5, true, null, "1", {k: [v]}]
upper: low
`))
	var got shape
	doc.Decode(&got)
	if err := doc.Mistakes().Err(); err != nil {
		t.Fatal(err)
	}
	want := shape{
		Name: "007", Count: -3, Big: 9e9, Share: 1000, On: true, Words: []string{"a", "1.50", "x y", "é"}, Table: map[string]int{"a": 1, "b": 2},
		Inner: &inner{A: "x"}, Many: map[string]inner{"one": {A: "x"}, "two": {A: "x", B: "y"}},
		Any: []any{int64(1), 1.5, true, nil, "1", map[string]any{"k": []any{"v"}}}, Upper: "LOW",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	text, err := strictyaml.JSON(got)
	if err != nil {
		t.Fatal(err)
	}
	const asJSON = `{"name":"007","count":-3,"big":9000000000,"share":1000,"on":true,"words":["a","1.50","x y","é"],"table":{"a":1,"b":2},` +
		`"inner":{"a":"x"},"many":{"one":{"a":"x"},"two":{"a":"x","b":"y"}},"any":[1,1.5,true,null,"1",{"k":["v"]}],"upper":"LOW"}`
	if diff := cmp.Diff(asJSON, string(text)); diff != "" {
		t.Error(diff)
	}
}

// TestDecodeKeepsDefaults reads a file that says little over what is there.
func TestDecodeKeepsDefaults(t *testing.T) {
	t.Parallel()
	doc := strictyaml.Parse("f.yaml", []byte("name: x\ncount:\nwords: []\n"))
	got := shape{Count: 7, Share: 0.5, Words: []string{"old"}}
	doc.Decode(&got)
	if diff := cmp.Diff(shape{Name: "x", Count: 7, Share: 0.5, Words: []string{}}, got); diff != "" || doc.Mistakes() != nil {
		t.Error(diff, doc.Mistakes())
	}
}

func TestDecodeMistakes(t *testing.T) {
	t.Parallel()
	doc := strictyaml.Parse("f.yaml", []byte(`conut: 1
count: many
share: .inf
on: yes
words: one
table: [1]
inner: {}
many: {x: {a: ''}, y: 3}
upper: bad
any: {k: !!str 1}
big: 9223372036854775808
`))
	var got shape
	doc.Decode(&got)
	doc.At("count").Mistake("not said, as it could not be read")
	doc.At("nowhere").Mistake("stands at the whole")
	doc.At("many").At("x").Mistake("said")
	want := `
f.yaml:1:1: "name" is missing; add it
f.yaml:1:1: nowhere: stands at the whole
f.yaml:1:1: unknown key "conut"; did you mean "count"?
f.yaml:2:8: count: must be a whole number, not "many"
f.yaml:3:8: share: must be a number, not ".inf"
f.yaml:4:5: on: must be true or false, not "yes"
f.yaml:5:8: words: must be a list, as in [a, b]; this is a single value
f.yaml:6:8: table: must be a mapping, as in {key: value}; this is a list
f.yaml:7:8: inner: "a" is missing; add it
f.yaml:8:11: many.x: said
f.yaml:8:15: many.x.a: must not be empty
f.yaml:8:23: many.y: must be a mapping, as in {key: value}; this is a single value
f.yaml:9:8: upper: is bad
f.yaml:10:10: any.k: the tag !!str means nothing here; leave it out, and quote the value to make it text
f.yaml:11:6: big: must be a whole number, not "9223372036854775808"`
	if diff := cmp.Diff(strings.TrimSpace(want), doc.Mistakes().Err().Error()); diff != "" {
		t.Error(diff)
	}
}

// TestAny reads what people write for others, and points at keys and elements.
func TestAny(t *testing.T) {
	t.Parallel()
	doc := strictyaml.Parse("f.yaml", []byte("%YAML 1.1\n---\nlist: [a, b]\nk: old\nk: new\nmany:\n  - &x y: z\n...\n"))
	got := doc.Root().Any()
	want := map[string]any{"list": []any{"a", "b"}, "k": "new", "many": []any{map[string]any{"y": "z"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	doc.At("list", "1").Mistake("element")
	doc.At("many", "0", "y").Mistake("value")
	doc.At("many", "0", "y").Key().Mistake("key")
	doc.At("many", "1").Key().Mistake("nowhere")
	said := `
f.yaml:3:11: list.1: element
f.yaml:5:1: k: this key is here twice, first on line 4; keep one
f.yaml:7:3: many: nowhere
f.yaml:7:5: many.0: key
f.yaml:7:11: many.0.y: value`
	if diff := cmp.Diff(strings.TrimSpace(said), doc.Mistakes().Err().Error()); diff != "" {
		t.Error(diff)
	}
}

func TestExpandHidesWhatItMakes(t *testing.T) {
	t.Parallel()
	doc := strictyaml.Parse("f.yaml", []byte("name: $a\ncount: $a\nwords: [$b]\nany: {k: $a}\n"))
	doc.Expand = func(_ []string, s string) (string, error) {
		if s == "$b" {
			return "", errors.New("there is no b")
		}
		return strings.ReplaceAll(s, "$a", "hush"), nil
	}
	var got shape
	doc.Decode(&got)
	if got.Name != "hush" || !reflect.DeepEqual(got.Any, map[string]any{"k": "hush"}) || doc.At("name").Raw() != "$a" {
		t.Errorf("got %+v", got)
	}
	want := "f.yaml:2:8: count: must be a whole number, not \"$a\"\nf.yaml:3:9: words.0: there is no b"
	if diff := cmp.Diff(want, doc.Mistakes().Err().Error()); diff != "" {
		t.Error(diff)
	}
}

func TestSuggest(t *testing.T) {
	t.Parallel()
	known := []string{"interval", "overlap", "page_size"}
	for word, want := range map[string]string{
		"intervall": `did you mean "interval"?`,
		"Overlap":   `did you mean "overlap"?`,
		"pagesize":  `did you mean "page_size"?`,
		"retention": "known: interval, overlap, page_size",
	} {
		if got := strictyaml.Suggest(word, known); got != want {
			t.Errorf("Suggest(%q) = %s, want %s", word, got, want)
		}
	}
	if got := strictyaml.Suggest("x", nil); got != "there are none" {
		t.Error(got)
	}
}

// numericKey finds keys that the library takes for other than text.
var numericKey = regexp.MustCompile(`(?i)"([0-9._+~-][^"]*|null|true|false|)":`)

// FuzzAny wants what the library's own decoder gives, wherever both accept the
// text, and never a panic.
func FuzzAny(f *testing.F) {
	for _, seed := range []string{
		"a: 1\nb: [x, 'y', 1.5, true, ~]\n", "&a [*a]", "a: &x {b: c}\nd: *x\n", "a: &x {b: c}\nd: {<<: *x, e: f}\n", "- |\n  text\n- >\n  folded\n  text\n", "? k\n: v\n",
		"a: !!int '3'", "---\na\n---\nb", "%YAML 1.2\n---\n{}", "[[[[[]]]]]", "{a: {b: {c: d}}}", "'a': \"\\u00e9\"", "1: 2\ntrue: no\n", "a: 0x10\nb: 1_000\nc: .5\nd: 1e400\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		doc := strictyaml.Parse("f.yaml", text)
		got := doc.Root().Any()
		if doc.Mistakes() != nil || strings.ContainsAny(string(text), "&*!<%\r") || numericKey.MatchString(plain(got)) {
			return // the library differs in aliases, tags, merges, directives, and makes numbers of keys
		}
		var want any
		if yaml.Unmarshal(text, &want) != nil {
			return
		}
		if a, b := plain(got), plain(want); a != b {
			t.Errorf("got %s, the library %s", a, b)
		}
	})
}

// plain is a value as JSON, with numbers as Go prints them.
func plain(v any) string {
	text, err := json.Marshal(normal(v))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for k, e := range v {
			m[k] = normal(e)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = normal(e)
		}
		return l
	case int64, uint64, float64:
		return fmt.Sprint(v)
	}
	return v
}

// TestIndentation: where a line that is not valid is indented like nothing that
// it could belong to, that is said, and without what stands in the file.
func TestIndentation(t *testing.T) {
	t.Parallel()
	const column, deeper = "nothing that it could belong to begins in column ", " is indented as if it belonged to line "
	for text, want := range map[string]string{
		"a:\n    b: hush\n   c: 2\n":                     column + "4;",
		"a: # x\n    b: hush\n\n   # y\n   c: 2\nd: 1\n": column + "4;",
		"a:\n  b: hush\n   c: 2\n":                       "line 3" + deeper + "2,",
		"connections:\n  hush\n    product: wiz\n":       "line 3" + deeper + "2,",
		"a: b: hush\n":                                   "",
		"a:\n  b: [hush\n":                               "",
	} {
		doc := strictyaml.Parse("f.yaml", []byte(text))
		err := error(doc.Mistakes())
		if len(doc.Mistakes()) == 0 || !strings.Contains(err.Error(), "not valid YAML: ") || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := err.Error(); !strings.Contains(got, want) || want == "" && (strings.Contains(got, column) || strings.Contains(got, deeper)) {
			t.Errorf("%q: %v; want %q", text, got, want)
		}
	}
}
