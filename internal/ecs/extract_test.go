package ecs_test

import (
	"strings"
	"testing"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
)

func TestExtract(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("level=LOW, ", 100)
	for _, tc := range []struct{ name, expression, as, raw, want string }{
		{"group", `level=(\w+)`, "", `"{reasons=Anomalous, level=HIGH}"`, `{"f":"HIGH"}`},
		{"whole", `\d+`, "long", `"took 275 ms of 300"`, `{"f":275}`},
		{"nothing", `level=(\w+)`, "", `"none"`, `{}`},
		{"empty find", `level=(\w*)`, "", `"level="`, `{}`},
		{"unused group", `a|b(c)`, "", `"a"`, `{}`},
		{"list", `([^{,=]+)=POSITIVE`, "keyword[]", `"{New Device=POSITIVE,New IP=NEGATIVE,New City=POSITIVE}"`, `{"f":["New Device","New City"]}`},
		{"list once", `[^, ]+`, "keyword[]", `"a, b,a"`, `{"f":["a","b"]}`},
		{"list of an array", `[^, ]+`, "keyword[]", `["a, b", null, "", "b,c", {"d":1}]`, `{"error":{"message":"f: {…} is not a single value"},"f":["a","b","c"]}`},
		{"list of nothing", `x+`, "keyword[]", `["a"]`, `{}`},
		{"JSON in a text", `"level":"(\w+)"`, "", `"{\"risk\":{\"level\":\"LOW\"}}"`, `{"f":"LOW"}`},
		{"number", `^\d`, "", `42`, `{"f":"4"}`},
		{"escapes", `(?s)é(.)`, "", `"\u00e9\n"`, `{"f":"\n"}`},
		{"misfit", `\w+`, "ip", `"abc"`, `{"error":{"message":"f: \"abc\" is not an IP address"}}`},
		{"object", `\w+`, "", `{"a":1}`, `{"error":{"message":"f: {…} is not a single value"}}`},
		{"long text", `level=(\w+)`, "keyword[]", `"` + long + `"`, `{"f":["LOW"]}`},
		{"past what is searched", `end`, "", `"` + strings.Repeat("x", 70_000) + `end"`, `{}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := compile(t, catalog.Mapping{Fields: map[string]catalog.Expr{"f": {From: []string{"a"}, Extract: tc.expression, As: tc.as}}})
			for range 2 { // the second time from what is known
				if got := document(t, m, event(`"a":`+tc.raw)); got != tc.want {
					t.Errorf("got  %s\nwant %s", got, tc.want)
				}
			}
		})
	}
}

// Extracting comes first, then the table, the case and the type; a path and a
// text can be extracted from too, and the first that has a value counts.
func TestExtractOrder(t *testing.T) {
	t.Parallel()
	m := compile(t, catalog.Mapping{
		Fields: map[string]catalog.Expr{
			"table":  {From: []string{"risk"}, Extract: `level=(\w+)`, Table: "levels", Case: "upper"},
			"next":   {From: []string{"none", "risk"}, Extract: `reasons=([^,}]+)`},
			"many":   {From: []string{"list[].risk"}, Extract: `\w+$`, As: "keyword[]", Sort: true},
			"one":    {From: []string{"list[].risk"}, Extract: `b\w*`},
			"joined": {Text: "${risk}/${none}", Extract: `[^/]+$`},
		},
		Tables: map[string]map[string]string{"levels": {"LOW": "little"}},
	})
	got := document(t, m, event(`"risk":"{level=LOW, reasons=None}","none":"no reasons","list":[{"risk":"x b2"},{"risk":"a"},{"risk":"b1"},{}]`))
	want := `{"joined":"no reasons","many":["a","b1","b2"],"next":"None","one":"b2","table":"LITTLE"}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A text that stands for no value is none, wherever it is.
func TestNulls(t *testing.T) {
	t.Parallel()
	m := compile(t, catalog.Mapping{
		Nulls: []string{"unknown", "None"},
		When: []catalog.Block{
			{If: catalog.Condition{"a": map[string]any{"exists": true}}, Constants: map[string]any{"has_a": true}},
			{If: catalog.Condition{"list[].x": "unknown"}, Constants: map[string]any{"never": true}},
		},
		Lookups: []catalog.Lookup{{Of: "kind", Cases: []catalog.LookupCase{{Match: []string{"*"}, Set: map[string]any{"looked_up": true}}}}},
		Fields: map[string]catalog.Expr{
			"first": {From: []string{"a", "b"}},
			"ip":    {From: []string{"ip"}, As: "ip"},
			"list":  {From: []string{"list[].x"}, As: "keyword[]"},
			"array": {From: []string{"array"}, As: "keyword[]"},
			"one":   {From: []string{"list[].x"}},
			"text":  {Text: "${a}!"},
			"deep":  {From: []string{"o.p"}},
			"raw":   {From: []string{"list"}, As: "json[]"},
		},
	})
	record := event(`"a":"unknown","b":"Unknown","ip":"None","kind":"None","o":"unknown","array":["None","x"],"list":[{"x":"unknown"},{"x":"None"},{"x":"y"},"None"]`)
	want := `{"array":["x"],"first":"Unknown","list":["y"],"one":"y","raw":[{"x":"unknown"},{"x":"None"},{"x":"y"}]}`
	if got := document(t, m, record); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if key := m.Key([]byte(`{"id":"unknown","time":"2025-02-06T13:39:25Z"}`)); key.ID != "unknown" {
		t.Errorf("the id is %q", key.ID)
	}
}

func TestExtractMistakes(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		`(`:        "compile the mapping of acme/events: f: extract: error parsing regexp: missing closing ): `(`",
		`(a)(b)`:   "compile the mapping of acme/events: f: extract: 2 groups, but there is one value",
		`(?:a)b`:   "",
		`a(b)(?:)`: "",
	} {
		_, err := ecs.Compile(acme(catalog.Mapping{Fields: map[string]catalog.Expr{"f": {From: []string{"a"}, Extract: expression}}}))
		if got := errorText(err); got != want {
			t.Errorf("%s: %s\nwant %s", expression, got, want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
