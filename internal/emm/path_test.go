package emm_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/emm"
)

// event has everything that paths are known to go through.
const event = `{
  "id": "e1", "when": null, "a": {"b": {"c": 1}, "b.c": 2, "d e": 3, "@type": "t"},
  "actor.name": "dotted", "User Name": "spaced", "X-Event": "dashed", "IP / Host": "slashed", "@timestamp": "at", "who?": "q",
  "target": [{"type": "User", "name": "ann", "ids": [1, 2]}, {"type": "Group", "name": "ops", "ids": [3]}],
  "matrix": [[{"x": 1}], [{"x": 2}]],
  "parameters": [{"name": "ROLE", "value": "admin"}, {"name": "EMAILS", "multiValue": ["a@x", "b@x"]}, {"name": "FLAG", "boolValue": true}],
  "ModifiedProperties": [{"Name": "Role.DisplayName", "OldValue": "reader", "NewValue": "owner"}],
  "headers": [{"key": "Agent", "value": {"browser": "fox"}}],
  "detail": "{\"ip\": \"192.0.2.1\", \"list\": [{\"k\": \"v\"}]}",
  "numbers": {"0": "zero", "list": ["p", "q", "r"]},
  "deep": {"one": {"ip": "x"}, "two": [{"ip": "y"}]},
  "empty": [], "nothing": {}
}`

func TestPath(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		path string
		want []string
	}{
		// Names joined by dots.
		{"id", []string{`"e1"`}},
		{" id ", []string{`"e1"`}},
		{"when", []string{"null"}},
		{"a.b.c", []string{"1"}},
		{"a.b", []string{`{"c": 1}`}},
		{"a.d e", []string{"3"}},
		{"a.@type", []string{`"t"`}},
		{"actor.name", []string{`"dotted"`}},
		{"User Name", []string{`"spaced"`}},
		{"X-Event", []string{`"dashed"`}},
		{"IP / Host", []string{`"slashed"`}},
		{"@timestamp", []string{`"at"`}},
		{"who?", []string{`"q"`}},
		{"target.name", []string{`"ann"`, `"ops"`}},
		{"target.ids", []string{"[1, 2]", "[3]"}},
		{"matrix.x", []string{"1", "2"}},
		{"target.1.name", []string{`"ops"`}},
		{"numbers.0", []string{`"zero"`}},

		// Brackets.
		{"target[0].name", []string{`"ann"`}},
		{"target[-1].name", []string{`"ops"`}},
		{"target[].name", []string{`"ann"`, `"ops"`}},
		{"target[*].ids[0]", []string{"1", "3"}},
		{"target.[0].name", []string{`"ann"`}},
		{"numbers.list[1:]", []string{`"q"`, `"r"`}},
		{"numbers.list[0:-1]", []string{`"p"`, `"q"`}},
		{"$.target[0]['name']", []string{`"ann"`}},
		{`$["a"]["b.c"]`, []string{"2"}},
		{`a."b.c"`, []string{"2"}},
		{"a['d e']", []string{"3"}},
		{`a.b\.c`, []string{"2"}},
		{"a.*.c", []string{"1"}},
		{"$", nil},
		{"deep..ip", []string{`"x"`, `"y"`}},
		{".target[]?.name?", []string{`"ann"`, `"ops"`}},

		// Filters.
		{"target[?type=='Group'].name", []string{`"ops"`}},
		{`target[?(@.type == "User")].name`, []string{`"ann"`}},
		{"target[?type!='User'].name", []string{`"ops"`}},
		{"target[type=User].name", []string{`"ann"`}},
		{"target[?type=='User' && name=='ops'].name", nil},
		{"target[?(@.type=='User') && (@.name=='ann')].ids[0]", []string{"1"}},
		{"target[?ids[0]==`3`].name", []string{`"ops"`}},
		{"target[?missing].name", nil},
		{"target[?(@.ids)].name", []string{`"ann"`, `"ops"`}},
		{`.target[] | select(.type == "Group") | .name`, []string{`"ops"`}},
		{"target[?type=='a]b'].name", nil},
		{"target[*].name | [0]", []string{`"ann"`, `"ops"`}},
		{".a.b.c | tostring", []string{"1"}},

		// Pairs of name and value.
		{"parameters.ROLE", []string{`"admin"`}},
		{"parameters[ROLE]", []string{`"admin"`}},
		{"parameters['EMAILS']", []string{`["a@x", "b@x"]`}},
		{"parameters.FLAG", []string{"true"}},
		{"parameters.value", []string{`"admin"`}},
		{"parameters[name=FLAG].boolValue", []string{"true"}},
		{"ModifiedProperties['Role.DisplayName'].NewValue", []string{`"owner"`}},
		{"ModifiedProperties['Role.DisplayName']", []string{`"reader"`, `"owner"`}},
		{"headers.Agent.browser", []string{`"fox"`}},
		{"target.Group.name", []string{`"ops"`}},

		// JSON within a string.
		{"detail.ip", []string{`"192.0.2.1"`}},
		{"detail.list[0].k", []string{`"v"`}},

		// Alternatives: the first that leads to more than null.
		{"missing || id", []string{`"e1"`}},
		{"when // id", []string{`"e1"`}},
		{"missing, a.b.c", []string{"1"}},
		{"missing or target[0].name", []string{`"ann"`}},
		{"missing | id", []string{`"e1"`}},
		{"when || missing", []string{"null"}},

		{"/a/b/c", []string{"1"}},
		{"/target/1/name", []string{`"ops"`}},

		{"missing", nil},
		{"id.more", nil},
		{"empty.x", nil},
		{"nothing.x", nil},
		{"when.x", nil},
		{"target.nobody", nil},
		{"parameters.NOBODY", nil},
		{"", nil},
	} {
		var got []string
		for _, raw := range emm.ParsePath(tc.path).Values([]byte(event)) {
			got = append(got, string(raw))
		}
		if tc.path == "$" {
			if len(got) != 1 {
				t.Errorf("$ leads to %d values, want the whole", len(got))
			}
			continue
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s:\n%s", tc.path, diff)
		}
	}
}

// What is no path is said to be none, and is still tried as a name.
func TestPathMistakes(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"":                        "1 to 4096 characters",
		strings.Repeat("a", 5000): "1 to 4096 characters",
		"a[":                      "not closed",
		"a..":                     "two dots without a name",
		"a.":                      "name is missing",
		"a.]":                     "not a name",
		"a[0]b":                   "where a dot or bracket belongs",
		"a[x:y]":                  "range of numbers",
		"a[?x>3]":                 "not a comparison",
		"a[?contains(x,'y')]":     "not a comparison",
		"a[?x=='y]":               "not a value",
		"a['x','y']":              "no index, name or filter",
		"a[?='y']":                "compares a name",
		"a | ":                    "nothing behind |",
		strings.Repeat("a.", 100): "more than 64 steps",
		"select(x<1)":             "not a comparison",
	} {
		p := emm.ParsePath(path)
		if p.Err() == nil || !strings.Contains(p.Err().Error(), want) {
			t.Errorf("%.20q: %v, want %s", path, p.Err(), want)
		}
		if path == "" || len(path) > 4096 {
			continue
		}
		event, err := json.Marshal(map[string]int{path: 7})
		if err != nil {
			t.Fatal(err)
		}
		if path == "a | " {
			event = []byte(`{"a |": 7}`)
		}
		if got := p.Values(event); len(got) != 1 || string(got[0]) != "7" {
			t.Errorf("%q as a name: %q", path, got)
		}
	}
}

// What is deep or wide ends all the same.
func TestPathLimits(t *testing.T) {
	t.Parallel()
	nested := strings.Repeat(`[`, 100_000) + strings.Repeat(`]`, 100_000)
	wide := `[` + strings.Repeat(`{"a":[1,2,3]},`, 20_000) + `{}]`
	for _, path := range []string{"a", "..a", "..*..*..a", "*.*", "[?a]"} {
		for _, event := range []string{nested, wide} {
			if got := emm.ParsePath(path).Values([]byte(event)); len(got) > 10_000 {
				t.Errorf("%s: %d values", path, len(got))
			}
		}
	}
}
