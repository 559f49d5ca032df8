package ecs_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
)

// Whatever the record is, there is a document.
func TestOddRecords(t *testing.T) {
	t.Parallel()
	m := compile(t, catalog.Mapping{Fields: map[string]catalog.Expr{"f": {From: []string{"a.b"}}}})
	for record, want := range map[string]string{
		`"text"`:                    `record: "text" is not an object; @timestamp: the record has no time; event.id: the record has none`,
		`7`:                         `record: 7 is not an object; @timestamp: the record has no time; event.id: the record has none`,
		`[{"id":"e1"}]`:             `record: […] is not an object; @timestamp: the record has no time; event.id: the record has none`,
		`null`:                      `record: null is not an object; @timestamp: the record has no time; event.id: the record has none`,
		`{}`:                        `@timestamp: the record has no time; event.id: the record has none`,
		``:                          `record: is cut off or not JSON; @timestamp: the record has no time; event.id: the record has none`,
		`nonsense`:                  `record: is cut off or not JSON; @timestamp: the record has no time; event.id: the record has none`,
		`{"id":"e1","a":{"b":"x`:    `record: is cut off or not JSON; @timestamp: the record has no time`,
		`{"id":{"x":1},"time":"x"}`: `@timestamp: "x" is not a time; @timestamp: the record has no time; event.id: {…} is not a single value`,
		`{"id":7,"time":null}`:      `@timestamp: the record has no time`,
		`{"id":"e1","time":1e400}`:  `@timestamp: 1e400 is not a time; @timestamp: the record has no time`,
	} {
		var doc struct {
			Event struct{ Original string }
			Error struct{ Message string }
		}
		raw := m.Append(nil, []byte(record), ecs.Meta{})
		if err := json.Unmarshal(raw, &doc); err != nil {
			t.Errorf("%s: %v", record, err)
		}
		if doc.Event.Original != record || doc.Error.Message != want {
			t.Errorf("%s: %s\nwant %s", record, raw, want)
		}
	}
	got := string(m.Append(nil, []byte(`{"id":"e1"}`), ecs.Meta{Created: time.Unix(0, 0)}))
	if !strings.Contains(got, `{"@timestamp":"1970-01-01T00:00:00.000000Z"`) || !strings.Contains(got, "so it is when the record was fetched") {
		t.Errorf("without a time of its own: %s", got)
	}
}

func TestComplaintsEnd(t *testing.T) {
	t.Parallel()
	m := compile(t, catalog.Mapping{Fields: map[string]catalog.Expr{"f": {From: []string{"a"}, As: "long[]"}}})
	var list []string
	for i := range 1000 {
		list = append(list, fmt.Sprintf(`"x%d"`, i))
	}
	got := document(t, m, event(`"a":[`+strings.Join(list, ",")+`]`))
	if !strings.HasSuffix(got, `f: \"x19\" is not a whole number of 64 bits; and more"}}`) {
		t.Error(got)
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	src := acme(catalog.Mapping{})
	src.Record.Version = []string{"status", "by.name"}
	src.Record.Time = []string{"changed", "time"}
	m, err := ecs.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	first := m.Key([]byte(`{"id":"e1","time":"2025-02-06T13:39:25.304840999Z","status":"OPEN","changed":null}`))
	want := ecs.Key{ID: "e1", Time: time.Date(2025, 2, 6, 13, 39, 25, 304840999, time.UTC), UID: first.UID}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	if first.Hash()>>56 != uint64(first.UID[0]) || first.Hash()&0xff != uint64(first.UID[7]) {
		t.Errorf("hash %x of %x", first.Hash(), first.UID)
	}
	for _, same := range []string{
		`{"status":"OPEN","by":{"name":null},"id":"\u0065\u0031","more":1}`,
		`{"id":"e1","status":"\u004fPEN"}`,
	} {
		if m.Key([]byte(same)).UID != first.UID {
			t.Errorf("%s has another uid", same)
		}
	}
	seen := map[[16]byte]string{first.UID: "the first"}
	for _, other := range []string{
		`{"id":"e1","status":"RESOLVED"}`,
		`{"id":"e1"}`,
		`{"id":"e1","by":{"name":"OPEN"}}`,
		`{"id":"e1","status":{"a":1}}`,
		`{"id":"e1","status":{"a":2}}`,
		`{"id":"e1OPEN"}`,
		`{"id":"","status":"OPEN"}`,
		`{"id":null,"status":"OPEN"}`,
		`{"id":["e1"],"status":"OPEN"}`,
		`{"by":x{"name":1]},"id":"e3"}}`,
		`{"by":{"name":1]},"id":"e3"}}`,
		``,
	} {
		key := m.Key([]byte(other))
		if seen[key.UID] != "" {
			t.Errorf("%s has the uid of %s", other, seen[key.UID])
		}
		seen[key.UID] = other
		if got := string(m.Append(nil, []byte(other), ecs.Meta{})); !strings.Contains(got, fmt.Sprintf(`"uid":"%x"`, key.UID)) {
			t.Errorf("%s: the document has another uid: %s", other, got)
		}
	}
	src.ID = "others"
	if others, err := ecs.Compile(src); err != nil || others.Key([]byte(`{"id":"e1","status":"OPEN"}`)).UID == first.UID {
		t.Errorf("another source has the same uid (%v)", err)
	}
}

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	src := acme(catalog.Mapping{
		When:    []catalog.Block{{If: catalog.Condition{"a": nil, "any": "x", "not": 7}}},
		Lookups: []catalog.Lookup{{Of: "a..b", Cases: []catalog.LookupCase{{Match: []string{"*"}, Set: map[string]any{"l": map[string]any{}}}}}},
		Fields: map[string]catalog.Expr{
			"a":              {From: []string{"x"}, As: "text"},
			"a.b":            {From: []string{"x y"}},
			"c":              {},
			"d":              {From: []string{"x"}, Text: "${x}"},
			"e":              {From: []string{"x"}, Table: "none"},
			"f":              {From: []string{"x"}, Sort: true},
			"g":              {From: []string{"x"}, Case: "title"},
			"h..i":           {From: []string{"x"}},
			"j":              {From: []string{"x"}, As: "user_agent[]"},
			"k":              {Text: "${x"},
			"event.original": {From: []string{"x"}},
		},
		Related: map[string][]string{"ip": {"source.ip"}},
	})
	src.Record.ID = catalog.Paths{"a[].b"}
	_, err := ecs.Compile(src)
	want := `compile the mapping of acme/events: record id: a[].b may lead to many values
when[0]: a is compared with a value, a list of values, {exists: true} or {glob: pattern}
when[0]: any takes a list of conditions
when[0]: a condition is a mapping of paths to values
lookups of a..b: path "a..b": a name is missing at character 3
l: map[] is no constant; write a text, number, boolean or list of texts
a: as: "text" is none of the types of a value
a.b: path "x y": ' ' where a dot or bracket belongs at character 2
c: needs either from or text
d: needs either from or text
e: there is no table "none"
f: only a list can be sorted
g: case: "title" is neither lower nor upper
j: as: user_agent[] fills an object, so there is no list of it
k: text: ${ has to be followed by a name and a }
event.original: every document has this field; a mapping cannot give it
related.ip: nothing gives source.ip
a.b: stands within a field that has a value of its own
h..i: has an empty name in it`
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
}

func TestAllocations(t *testing.T) {
	if poolsForget {
		t.Skip("pools forget under the race detector")
	}
	m := wiz(t, "audit")
	record := []byte(`{"id":"5d9f1c7e","action":"UpdateUser","status":"SUCCESS","timestamp":"2026-03-02T08:15:04.120394Z",` +
		`"actionParameters":{"scopes":["b","a"]},"userAgent":"curl/8.5.0","sourceIP":"198.51.100.7","user":{"id":"u1","name":"ada@example.com"}}`)
	dst := make([]byte, 0, 4096)
	meta := ecs.Meta{Connection: "wiz-prod", Created: time.Unix(1e9, 0), Ingested: time.Unix(1e9, 0)}
	if got := testing.AllocsPerRun(1000, func() { dst = m.Append(dst[:0], record, meta) }); got > 0 {
		t.Errorf("%v allocations a record, want none", got)
	}
	if got := testing.AllocsPerRun(1000, func() { m.Key(record) }); got > 1 {
		t.Errorf("%v allocations a key, want one for its id", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	m := wiz(t, "audit")
	record := func(i int) []byte {
		return fmt.Appendf(nil, `{"id":"%d","action":"Create%dUser","timestamp":"2025-02-06T13:39:25Z","userAgent":"curl/%d.0","user":{"name":"u%d"}}`, i, i%50, i%50, i)
	}
	var want [200]string
	for i := range want {
		want[i] = string(m.Append(nil, record(i), ecs.Meta{}))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range want {
				if got := string(m.Append(nil, record(i), ecs.Meta{})); got != want[i] {
					t.Errorf("%s\nwant %s", got, want[i])
				}
				m.Key(record(i))
			}
		})
	}
	wg.Wait()
}

// A document does not tell whether what its lists reach was noted while the
// record was scanned, or looked for again.
func TestListsOfOddRecords(t *testing.T) {
	t.Parallel()
	m := compile(t, catalog.Mapping{
		When: []catalog.Block{{If: catalog.Condition{"a[].n": "last"}, Constants: map[string]any{"found": true}}},
		Fields: map[string]catalog.Expr{
			"all":   {From: []string{"a[][n=last].v"}, As: "keyword[]"},
			"first": {From: []string{"a[].v"}},
			"text":  {Text: "<${a[].v}>"},
		},
	})
	for name, record := range map[string]string{
		"plain":         event(`"a":[{"n":"last","v":"x"}]`),
		"twice":         event(`"a":[{"v":"w"}],"a":[{"n":"last","v":"w","v":"x"}]`),
		"many elements": event(`"a":[` + strings.Repeat(`{"n":""},`, 100_000) + `{"n":"last","v":"x"}]`),
		"not UTF-8":     event("\"\xff\xff\xff\":1,\"a\":[{\"n\":\"last\",\"v\":\"x\"}]"),
		"cut off":       strings.TrimSuffix(event(`"a":[{"n":"last","v":"x"}]`), "}"),
	} {
		got := document(t, m, record)
		for _, want := range []string{`"all":["x"],`, `"first":"x","found":true,"text":"<x>"`} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %.300s\nlacks %s", name, got, want)
			}
		}
	}
}
