package ecs_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	catalogfiles "github.com/trawlsec/trawl/catalog"
	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
)

// wiz is the mapper of a Wiz source.
func wiz(t testing.TB, source string, opts ...ecs.Option) *ecs.Mapper {
	t.Helper()
	c, err := catalog.Load(catalogfiles.FS)
	if err != nil {
		t.Fatal(err)
	}
	src, err := c.Source("wiz/" + source)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ecs.Compile(src, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sources are all that the catalogue has.
func sources(t testing.TB) []*catalog.Source {
	t.Helper()
	c, err := catalog.Load(catalogfiles.FS)
	if err != nil {
		t.Fatal(err)
	}
	var all []*catalog.Source
	for _, p := range c.Products() {
		all = append(all, p.SourceList()...)
	}
	return all
}

// acme is a source with a mapping of its own.
func acme(mapping catalog.Mapping) *catalog.Source {
	return &catalog.Source{
		Product: &catalog.Product{ID: "acme"},
		ID:      "events",
		Record:  catalog.Record{ID: catalog.Paths{"id"}, Time: []string{"time"}},
		ECS:     mapping,
	}
}

func compile(t testing.TB, mapping catalog.Mapping, opts ...ecs.Option) *ecs.Mapper {
	t.Helper()
	m, err := ecs.Compile(acme(mapping), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// document maps a record and returns the document without the fields that every
// one has, but with error.message.
func document(t testing.TB, m *ecs.Mapper, record string) string {
	t.Helper()
	raw := m.Append(nil, []byte(record), ecs.Meta{})
	doc := decode(t, string(raw)).(map[string]any)
	delete(doc, "@timestamp")
	delete(doc, "data_stream")
	delete(doc, "trawl")
	event := doc["event"].(map[string]any)
	for _, own := range []string{"id", "original", "module"} {
		delete(event, own)
	}
	if len(event) == 0 {
		delete(doc, "event")
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

// event is a record with an id, a time and other members.
func event(members string) string {
	return `{"id":"e1","time":"2025-02-06T13:39:25.30484Z",` + members + `}`
}

func TestOwnFields(t *testing.T) {
	t.Parallel()
	m := compile(t, catalog.Mapping{Constants: map[string]any{"a": "b", "zoo.list": []any{"x", "y"}, "n": int64(7), "yes": true}})
	meta := ecs.Meta{
		Connection: `acme "prod"`,
		Created:    time.Date(2025, 2, 6, 14, 0, 0, 5_999_999, time.FixedZone("", 3600)),
		Ingested:   time.Date(2025, 2, 6, 13, 0, 1, 0, time.UTC),
	}
	record := "{ \"id\": \"e1\",\t\"time\": \"2025-02-06T13:39:25.30484Z\", \"t\":\"<é>\" }\n"
	want := `{"@timestamp":"2025-02-06T13:39:25.304840Z","a":"b","data_stream":{"dataset":"acme.events"},` +
		`"event":{"created":"2025-02-06T13:00:00.005999Z","id":"e1","ingested":"2025-02-06T13:00:01.000000Z","module":"acme",` +
		`"original":"{ \"id\": \"e1\",\t\"time\": \"2025-02-06T13:39:25.30484Z\", \"t\":\"<é>\" }\n"},"n":7,` +
		`"trawl":{"connection":"acme \"prod\"","source":"acme/events","uid":"356a8f5b4cf8b099545960552d7db604"},"yes":true,"zoo":{"list":["x","y"]}}`
	if got := string(m.Append([]byte("x"), []byte(record), meta)); got != "x"+want {
		t.Errorf("got  %s\nwant x%s", got, want)
	}
	lean := compile(t, catalog.Mapping{}, ecs.WithoutOriginal())
	if got := string(lean.Append(nil, []byte(record), meta)); strings.Contains(got, "original") {
		t.Errorf("%s has event.original", got)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	const deep = `{"a":[1,{"b":"\u0000"}],"b":1e99}`
	long := strings.Repeat("é", 60)
	tests := []struct{ as, raw, want, complaint string }{
		{"keyword", `"plain"`, `"plain"`, ""},
		{"", `"\u00e9\ud83d\ude00\/"`, `"é😀/"`, ""},
		{"keyword", `12345678901234567890.1234567890`, `"12345678901234567890.1234567890"`, ""},
		{"keyword", `true`, `"true"`, ""},
		{"keyword", `{"a":1}`, ``, `f: {…} is not a single value`},
		{"keyword", `[1]`, ``, `f: […] is not a single value`},
		{"keyword", `null`, ``, ""},
		{"keyword", `""`, ``, ""},
		{"keyword", `[ ]`, ``, ""},
		{"keyword", `{ }`, ``, ""},
		{"long", `-9223372036854775808`, `-9223372036854775808`, ""},
		{"long", `"42"`, `42`, ""},
		{"long", `42.00`, `42`, ""},
		{"long", `42.5`, ``, `f: 42.5 is not a whole number of 64 bits`},
		{"long", `1e3`, ``, `f: 1e3 is not a whole number of 64 bits`},
		{"long", `9223372036854775808`, ``, `f: 9223372036854775808 is not a whole number of 64 bits`},
		{"long", `"x"`, ``, `f: "x" is not a whole number of 64 bits`},
		{"double", `-0.1000000000000000000000001e-5`, `-0.1000000000000000000000001e-5`, ""},
		{"double", `"1.5"`, `1.5`, ""},
		{"double", `1e999`, ``, `f: 1e999 is not a number`},
		{"double", `"0x1"`, ``, `f: "0x1" is not a number`},
		{"double", `"01"`, ``, `f: "01" is not a number`},
		{"double", `"1."`, ``, `f: "1." is not a number`},
		{"double", `"NaN"`, ``, `f: "NaN" is not a number`},
		{"boolean", `false`, `false`, ""},
		{"boolean", `"true"`, `true`, ""},
		{"boolean", `"False"`, `false`, ""},
		{"boolean", `"yes"`, ``, `f: "yes" is not true or false`},
		{"boolean", `1`, ``, `f: 1 is not true or false`},
		{"date", `"2025-02-06T13:39:25+01:00"`, `"2025-02-06T12:39:25.000000Z"`, ""},
		{"date", `1738849165304`, `"2025-02-06T13:39:25.304000Z"`, ""},
		{"date", `"yesterday"`, ``, `f: "yesterday" is not a time`},
		{"ip", `"198.51.100.7"`, `"198.51.100.7"`, ""},
		{"ip", `"2001:DB8:0::1"`, `"2001:db8::1"`, ""},
		{"ip", `"::ffff:198.51.100.7"`, `"198.51.100.7"`, ""},
		{"ip", `"fe80::1%eth0"`, ``, `f: "fe80::1%eth0" is not an IP address`},
		{"ip", `"198.51.100.07"`, ``, `f: "198.51.100.07" is not an IP address`},
		{"ip", `"198.51.100.256"`, ``, `f: "198.51.100.256" is not an IP address`},
		{"ip", `"198.51.100"`, ``, `f: "198.51.100" is not an IP address`},
		{"ip", `"Unknown IP"`, ``, `f: "Unknown IP" is not an IP address`},
		{"ip", `"198.51.100.7:52344"`, `"198.51.100.7"`, ""},
		{"ip", `"[2001:db8::1]:443"`, `"2001:db8::1"`, ""},
		{"ip", `"[2001:db8::1]"`, `"2001:db8::1"`, ""},
		{"ip", `"198.51.100.7, 203.0.113.9,10.0.0.1"`, `"198.51.100.7"`, ""},
		{"ip", `" 198.51.100.7 "`, `"198.51.100.7"`, ""},
		{"ip", `"["`, ``, `f: "[" is not an IP address`},
		{"ip", `","`, ``, `f: "," is not an IP address`},
		{"ip", `"[fe80::1%eth0]:443"`, ``, `f: "[fe80::1%eth0]:443" is not an IP address`},
		{"ip", `"198.51.100.7:65536"`, ``, `f: "198.51.100.7:65536" is not an IP address`},
		{"ip", `16909060`, ``, `f: 16909060 is not an IP address`},
		{"email", `"ada@example.com"`, `"ada@example.com"`, ""},
		{"email", `"Ada <ada@example.com>"`, ``, `f: "Ada <ada@example.com>" is not an e-mail address`},
		{"email", `"ada@localhost"`, ``, `f: "ada@localhost" is not an e-mail address`},
		{"email", `"a@b@example.com"`, ``, `f: "a@b@example.com" is not an e-mail address`},
		{"domain", `"App.example.com."`, `"App.example.com"`, ""},
		{"domain", `"https://ada:pw@app.example.com:8443/x?y#z"`, `"app.example.com"`, ""},
		{"domain", `"app.example.com:443"`, `"app.example.com"`, ""},
		{"domain", `"198.51.100.7"`, ``, `f: "198.51.100.7" is not a host name`},
		{"domain", `"a..b"`, ``, `f: "a..b" is not a host name`},
		{"domain", `"a b"`, ``, `f: "a b" is not a host name`},
		{"json", deep, deep, ""},
		{"json", `{"a":[{"b":1,"b":2}]}`, ``, `f: {…} has a name twice`},
		{"json", `"x"`, `"x"`, ""},
		{"json", `[[]]`, `[[]]`, ""},
		{"json", `[]`, ``, ""},
		{"keyword", `"` + long + "\n" + `"`, `"` + long + `\n"`, `record: is cut off or not JSON`},
		{"long", `"` + long + `"`, ``, `f: "` + strings.Repeat("é", 39) + "… is not a whole number of 64 bits"},
	}
	for _, tt := range tests {
		t.Run(tt.as+" "+tt.raw, func(t *testing.T) {
			t.Parallel()
			m := compile(t, catalog.Mapping{Fields: map[string]catalog.Expr{"f": {From: []string{"v"}, As: tt.as}}})
			want := map[string]any{}
			if tt.want != "" {
				want["f"] = decode(t, tt.want)
			}
			if tt.complaint != "" {
				want["error"] = map[string]any{"message": tt.complaint}
			}
			if diff := cmp.Diff(want, decode(t, document(t, m, event(`"v":`+tt.raw)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func decode(t testing.TB, src string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(src))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	return v
}

// Numbers and texts stand in the document exactly as they did in the record.
func TestBytesAreKept(t *testing.T) {
	t.Parallel()
	m := compile(t, catalog.Mapping{Fields: map[string]catalog.Expr{
		"text": {From: []string{"t"}}, "number": {From: []string{"n"}, As: "double"}, "all": {From: []string{"j"}, As: "json"},
	}})
	parts := []string{`"text":"\u00e9\ud800 \/😀"`, `"number":0.10000000000000000000000000010E+1`, `"all":{ "b" : [1.0, null] ,"a":""}`}
	record := event(`"t":"\u00e9\ud800 \/😀","n":0.10000000000000000000000000010E+1,"j":{ "b" : [1.0, null] ,"a":""}`)
	got := string(m.Append(nil, []byte(record), ecs.Meta{}))
	for _, part := range parts {
		if !strings.Contains(got, part) {
			t.Errorf("%s is not in %s", part, got)
		}
	}
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	tables := map[string]map[string]string{"levels": {"HIGH": "high", "9": "nine", "NONE": "", "X": "12"}}
	tests := []struct {
		name   string
		expr   catalog.Expr
		record string
		want   string
	}{
		{"first with a value", catalog.Expr{From: []string{"a", "b.c", "d"}}, `"a":null,"b":{"c":""},"d":"x"`, `{"f":"x"}`},
		{"past what does not fit", catalog.Expr{From: []string{"a", "b"}, As: "ip"}, `"a":"x","b":"::1"`, `{"error":{"message":"f: \"x\" is not an IP address"},"f":"::1"}`},
		{"an object expected", catalog.Expr{From: []string{"a.b", "c"}}, `"a":"x","c":"y"`, `{"error":{"message":"a: \"x\" is not an object"},"f":"y"}`},
		{"an object expected, lenient", catalog.Expr{From: []string{"a.b"}, Lenient: true}, `"a":"x"`, `{}`},
		{"a list expected", catalog.Expr{From: []string{"a[].b"}}, `"a":{"b":1}`, `{"error":{"message":"a: {…} is not a list"}}`},
		{"a list expected by index", catalog.Expr{From: []string{"a[0].b"}}, `"a":7`, `{"error":{"message":"a: 7 is not a list"}}`},
		{"an element that is no object", catalog.Expr{From: []string{"a[0].b"}}, `"a":[7]`, `{"error":{"message":"a[0]: 7 is not an object"}}`},
		{"empty where an object belongs", catalog.Expr{From: []string{"a.b"}}, `"a":""`, `{}`},
		{"first of many", catalog.Expr{From: []string{"a[].b"}}, `"a":[{"b":null},{"b":"x"},{"b":"y"}]`, `{"f":"x"}`},
		{"by name", catalog.Expr{From: []string{"a[k=x].v"}}, `"a":[{"k":"y","v":1},{"k":"x","v":2}]`, `{"f":"2"}`},
		{"text", catalog.Expr{Text: "${a} of ${b.c}!"}, `"a":"x\n","b":{"c":1.50}`, `{"f":"x\n of 1.50!"}`},
		{"text without a value", catalog.Expr{Text: "${a} of ${b.c}!"}, `"a":"x","b":{}`, `{}`},
		{"text with a list", catalog.Expr{Text: "${a[].b}!"}, `"a":[{},{"b":"x"}]`, `{"f":"x!"}`},
		{"text of an object", catalog.Expr{Text: "${a}!"}, `"a":{"b":1}`, `{"error":{"message":"f: {…} is not a single value"}}`},
		{"text as a domain", catalog.Expr{Text: "https://${a}/x", As: "domain"}, `"a":"example.com"`, `{"f":"example.com"}`},
		{"text that does not fit", catalog.Expr{Text: "${a}.${a}", As: "ip"}, `"a":"1"`, `{"error":{"message":"f: \"1.1\" is not an IP address"}}`},
		{"table", catalog.Expr{From: []string{"a"}, Table: "levels"}, `"a":"HIGH"`, `{"f":"high"}`},
		{"table of numbers", catalog.Expr{From: []string{"a"}, Table: "levels"}, `"a":9`, `{"f":"nine"}`},
		{"table to a number", catalog.Expr{From: []string{"a"}, Table: "levels", As: "long"}, `"a":"X"`, `{"f":12}`},
		{"table to nothing", catalog.Expr{From: []string{"a"}, Table: "levels"}, `"a":"NONE"`, `{}`},
		{"table miss", catalog.Expr{From: []string{"a"}, Table: "levels"}, `"a":"LOW"`, `{"error":{"message":"f: \"LOW\" is not a known value"}}`},
		{"table miss, lenient", catalog.Expr{From: []string{"a"}, Table: "levels", Lenient: true}, `"a":"LOW"`, `{}`},
		{"table else", catalog.Expr{From: []string{"a"}, Table: "levels", Else: "other"}, `"a":"LOW"`, `{"f":"other"}`},
		{"table else itself", catalog.Expr{From: []string{"a"}, Table: "levels", Else: "=", Case: "lower"}, `"a":"LOW"`, `{"f":"low"}`},
		{"upper", catalog.Expr{From: []string{"a"}, Case: "upper"}, `"a":"a[z]@é"`, `{"f":"A[Z]@É"}`},
		{"lower", catalog.Expr{From: []string{"a"}, Case: "lower"}, `"a":"A[Z]@É"`, `{"f":"a[z]@é"}`},
		{"list", catalog.Expr{From: []string{"a"}, As: "keyword[]"}, `"a":["b",1,null,"","b"]`, `{"f":["b","1","","b"]}`},
		{"list of an empty text", catalog.Expr{From: []string{"a"}, As: "keyword[]"}, `"a":[""]`, `{"f":[""]}`},
		{"empty list", catalog.Expr{From: []string{"a", "b"}, As: "keyword[]"}, `"a":[ ],"b":[null]`, `{}`},
		{"list of one", catalog.Expr{From: []string{"a"}, As: "keyword[]"}, `"a":"x"`, `{"f":["x"]}`},
		{"list of none", catalog.Expr{From: []string{"a"}, As: "keyword[]"}, `"a":""`, `{}`},
		{"list of an object", catalog.Expr{From: []string{"a"}, As: "keyword[]"}, `"a":{"b":1}`, `{"error":{"message":"f: {…} is not a single value"}}`},
		{"list with what does not fit", catalog.Expr{From: []string{"a"}, As: "ip[]"}, `"a":["::1","x",{},"y","x"]`,
			`{"error":{"message":"f: \"x\" is not an IP address; f: \"y\" is not an IP address"},"f":["::1"]}`},
		{"sorted", catalog.Expr{From: []string{"a"}, As: "keyword[]", Sort: true}, `"a":["b","a b","\u0061","a!",""]`, `{"f":["","a","a b","a!","b"]}`},
		{"gathered", catalog.Expr{From: []string{"a[].b"}, As: "keyword[]"}, `"a":[{"b":["x","y"]},{"b":"x"},{"b":null},{"c":1}]`, `{"f":["x","y"]}`},
		{"gathered and sorted", catalog.Expr{From: []string{"a[].b[].c"}, As: "keyword[]", Sort: true}, `"a":[{"b":[{"c":"z"},{"c":"y"}]},{"b":[{"c":"z"}]}]`, `{"f":["y","z"]}`},
		{"gathered values", catalog.Expr{From: []string{"a[].b"}, As: "json[]"}, `"a":[{"b":{"x":1}},{"b":[1]},{"b":{"x":1}}]`, `{"f":[{"x":1},[1]]}`},
		{"list through a table", catalog.Expr{From: []string{"a"}, As: "keyword[]", Table: "levels"}, `"a":["HIGH","LOW","NONE"]`, `{"error":{"message":"f: \"LOW\" is not a known value"},"f":["high"]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := compile(t, catalog.Mapping{Fields: map[string]catalog.Expr{"f": tt.expr}, Tables: tables})
			if got := document(t, m, event(tt.record)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	m := compile(t, catalog.Mapping{
		When: []catalog.Block{
			{If: catalog.Condition{"kind": "one"}, Fields: map[string]catalog.Expr{"f": {From: []string{"a"}, As: "ip"}}, Constants: map[string]any{"f": "when 1"}},
			{If: catalog.Condition{"kind": []any{"one", "two"}}, Constants: map[string]any{"f": "when 2", "g": "when 2"}},
		},
		Lookups: []catalog.Lookup{
			{Of: "kind", Cases: []catalog.LookupCase{
				{Match: []string{"t*"}, Set: map[string]any{"f": "lookup 1"}},
				{Match: []string{"three", "f?ur"}, Set: map[string]any{"f": "never", "h": []any{"lookup 1"}}},
			}},
			{Of: "kind", Optional: true, Cases: []catalog.LookupCase{{Match: []string{"*"}, Set: map[string]any{"h": "lookup 2"}}}},
		},
		Fields:    map[string]catalog.Expr{"f": {From: []string{"b"}}},
		Constants: map[string]any{"f": "constant"},
	})
	for record, want := range map[string]string{
		`"kind":"one","a":"::1"`: `{"f":"::1","g":"when 2","h":"lookup 2","error":{"message":"kind: \"one\" is not a known value"}}`,
		`"kind":"one","a":"x"`:   `{"f":"when 1","g":"when 2","h":"lookup 2","error":{"message":"f: \"x\" is not an IP address; kind: \"one\" is not a known value"}}`,
		`"kind":"two"`:           `{"f":"when 2","g":"when 2","h":"lookup 2"}`,
		`"kind":"three"`:         `{"f":"lookup 1","h":"lookup 2"}`,
		`"kind":"four"`:          `{"f":"never","h":["lookup 1"]}`,
		`"kind":"five","b":"x"`:  `{"f":"x","h":"lookup 2","error":{"message":"kind: \"five\" is not a known value"}}`,
		`"kind":"five"`:          `{"f":"constant","h":"lookup 2","error":{"message":"kind: \"five\" is not a known value"}}`,
		`"kind":{"a":1}`:         `{"f":"constant","error":{"message":"kind: {…} is not a single value"}}`,
		`"kind":null`:            `{"f":"constant"}`,
		`"b":7`:                  `{"f":"7"}`,
	} {
		if diff := cmp.Diff(decode(t, want), decode(t, document(t, m, event(record)))); diff != "" {
			t.Errorf("%s: %s", record, diff)
		}
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		condition catalog.Condition
		holds     []string
		fails     []string
	}{
		{catalog.Condition{"a": "x"}, []string{`"a":"x"`, `"a":"\u0078"`}, []string{`"a":"X"`, `"a":["x"]`, `"b":"x"`, `"a":null`}},
		{catalog.Condition{"a": true}, []string{`"a":true`, `"a":"true"`}, []string{`"a":false`}},
		{catalog.Condition{"a": int64(7)}, []string{`"a":7`}, []string{`"a":7.0`}},
		{catalog.Condition{"a": []any{"x", int64(1)}}, []string{`"a":"x"`, `"a":1`}, []string{`"a":"y"`}},
		{catalog.Condition{"a": map[string]any{"exists": true}}, []string{`"a":0`, `"a":{"b":1}`, `"a":[""]`}, []string{`"a":null`, `"a":""`, `"a":{ }`, `"a":[]`, `"b":1`}},
		{catalog.Condition{"a": map[string]any{"exists": false}}, []string{`"a":null`, `"a":""`, `"b":1`}, []string{`"a":0`}},
		{catalog.Condition{"a": map[string]any{"glob": "Create*User"}}, []string{`"a":"CreateUser"`, `"a":"CreateSSOUser"`}, []string{`"a":"CreateUsers"`}},
		{catalog.Condition{"a": map[string]any{"glob": []any{"x?", "y*"}}}, []string{`"a":"xé"`, `"a":"y"`}, []string{`"a":"x"`, `"a":"xab"`}},
		{catalog.Condition{"a": "x", "b": "y"}, []string{`"a":"x","b":"y"`}, []string{`"a":"x"`, `"b":"y"`}},
		{catalog.Condition{"a[].k": "x"}, []string{`"a":[{"k":"y"},{"k":"x"}]`}, []string{`"a":[{"k":"y"}]`, `"a":"x"`}},
		{catalog.Condition{"a[].k": map[string]any{"exists": false}}, []string{`"a":[{"k":null}]`, `"b":1`}, []string{`"a":[{},{"k":1}]`}},
		{catalog.Condition{"any": []any{map[string]any{"a": "x"}, catalog.Condition{"b": "y"}}}, []string{`"a":"x"`, `"b":"y"`}, []string{`"a":"y"`}},
		{catalog.Condition{"not": map[string]any{"a": "x", "b": "y"}}, []string{`"a":"x"`, `"b":"y"`}, []string{`"a":"x","b":"y"`}},
	} {
		m := compile(t, catalog.Mapping{When: []catalog.Block{{If: tt.condition, Constants: map[string]any{"held": true}}}})
		for _, record := range tt.holds {
			if got := document(t, m, event(record)); got != `{"held":true}` {
				t.Errorf("%v of %s: %s", tt.condition, record, got)
			}
		}
		for _, record := range tt.fails {
			if got := document(t, m, event(record)); got != `{}` {
				t.Errorf("%v of %s: %s", tt.condition, record, got)
			}
		}
	}
}

func TestRelated(t *testing.T) {
	t.Parallel()
	m := compile(t, catalog.Mapping{
		Fields: map[string]catalog.Expr{
			"source.ip": {From: []string{"a"}, As: "ip"}, "host.ip": {From: []string{"b"}, As: "ip[]"},
			"user.name": {From: []string{"c"}}, "zone.name": {From: []string{"d"}}, "count": {From: []string{"n"}, As: "long"},
			"url": {From: []string{"u"}, As: "url"},
		},
		Related: map[string][]string{"ip": {"source.ip", "host.ip"}, "user": {"zone.name", "user.name", "count"}, "hosts": {"url.domain"}},
	})
	for record, want := range map[string]string{
		`"b":["::1","198.51.100.7","::1"],"a":"0:0::1"`: `{"host":{"ip":["::1","198.51.100.7","::1"]},"related":{"ip":["::1","198.51.100.7"]},"source":{"ip":"::1"}}`,
		`"c":"ada","d":"bob"`:                           `{"related":{"user":["bob","ada"]},"user":{"name":"ada"},"zone":{"name":"bob"}}`,
		`"c":"ada","d":"ada","n":1`:                     `{"count":1,"related":{"user":["ada"]},"user":{"name":"ada"},"zone":{"name":"ada"}}`,
		`"n":1`:                                         `{"count":1}`,
		`"u":"https://ada@example.com:8443/x%20?y#z"`:   `{"related":{"hosts":["example.com"]},"url":{"domain":"example.com","fragment":"z","original":"https://ada@example.com:8443/x%20?y#z","path":"/x%20","port":8443,"query":"y","scheme":"https","username":"ada"}}`,
		`"u":"example.com/x"`:                           `{"error":{"message":"url: \"example.com/x\" is not a URL"}}`,
	} {
		if got := document(t, m, event(record)); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", record, got, want)
		}
	}
}

func TestUserAgent(t *testing.T) {
	t.Parallel()
	m := compile(t, catalog.Mapping{Fields: map[string]catalog.Expr{"user_agent": {From: []string{"a", "b"}, As: "user_agent"}}})
	const chrome = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
	for range 2 { // the second time from the cache
		for record, want := range map[string]string{
			`"a":"` + chrome + `"`:   `{"user_agent":{"device":{"name":"Mac"},"name":"Chrome","original":"` + chrome + `","os":{"name":"Mac OS X","version":"10.15.7"},"version":"120.0.0"}}`,
			`"a":"","b":"n\u006fde"`: `{"user_agent":{"device":{"name":"Other"},"name":"Other","original":"node","os":{"name":"Other"}}}`,
			`"a":{"x":1}`:            `{"error":{"message":"user_agent: {…} is not a single value"}}`,
		} {
			if got := document(t, m, event(record)); got != want {
				t.Errorf("%s\ngot  %s\nwant %s", record, got, want)
			}
		}
	}
}
