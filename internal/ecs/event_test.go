package ecs_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
)

// eventOf is the category and event type of a record's document, "" where it has
// none.
func eventOf(t testing.TB, m *ecs.Mapper, record string) string {
	t.Helper()
	var doc struct {
		EMM *struct {
			Category  string `json:"category"`
			EventType string `json:"event_type"`
		} `json:"emm"`
	}
	if err := json.Unmarshal(m.Append(nil, []byte(record), ecs.Meta{}), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.EMM == nil {
		return ""
	}
	return doc.EMM.Category + " " + doc.EMM.EventType
}

// matrix makes a source whose events are named by letters.
func matrix(t testing.TB, conditions ...catalog.Condition) *ecs.Mapper {
	t.Helper()
	src := acme(catalog.Mapping{})
	src.Matrix = &catalog.Matrix{}
	for i, c := range conditions {
		src.Matrix.Events = append(src.Matrix.Events, catalog.MatrixEvent{Category: "c", EventType: string(rune('a' + i)), Match: c})
	}
	m, err := ecs.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The first event whose condition holds is the record's, whatever the
// conditions look at.
func TestEvent(t *testing.T) {
	t.Parallel()
	glob := func(patterns ...any) map[string]any { return map[string]any{"glob": patterns} }
	exists := map[string]any{"exists": true}
	m := matrix(t,
		catalog.Condition{"action": "one"},
		catalog.Condition{"action": []any{"two", "three"}, "ok": true},
		catalog.Condition{"action": glob("t*"), "not": map[string]any{"kind": "quiet"}},
		catalog.Condition{"kind": "loud"},
		catalog.Condition{"any": []any{map[string]any{"action": "four"}, map[string]any{"n": 7}}},
		catalog.Condition{"action": glob("f*"), "list[].k": "v"},
		catalog.Condition{"action": exists, "deep.er": exists},
	)
	for record, want := range map[string]string{
		`{"action":"one"}`:                               "a",
		`{"action":"one","kind":"loud"}`:                 "a",
		`{"action":"two","ok":true}`:                     "b",
		`{"action":"two","ok":false}`:                    "c",
		`{"action":"three","kind":"quiet"}`:              "",
		`{"action":"three","kind":"quiet","ok":true}`:    "b",
		`{"action":"ten","kind":"loud"}`:                 "c",
		`{"action":"eleven","kind":"loud"}`:              "d",
		`{"kind":"loud"}`:                                "d",
		`{"action":null,"kind":"loud"}`:                  "d",
		`{"action":{},"kind":"loud"}`:                    "d",
		`{"action":["one"],"kind":"x"}`:                  "",
		`{"action":"four"}`:                              "e",
		`{"n":7}`:                                        "e",
		`{"action":"five","list":[{"k":"w"},{"k":"v"}]}`: "f",
		`{"action":"five","list":[]}`:                    "",
		`{"action":"six","deep":{"er":0}}`:               "g",
		`{"action":"\u006fne"}`:                          "a",
		`{"action":"One"}`:                               "",
		`{"action":1}`:                                   "",
		`{}`:                                             "",
		`[]`:                                             "",
		`{"action":"one"`:                                "a",
	} {
		for range 2 { // the second time from what the first has noted
			if got := strings.TrimPrefix(eventOf(t, m, record), "c "); got != want {
				t.Errorf("%s is %q, want %q", record, got, want)
			}
		}
	}
}

func TestEventWithoutCondition(t *testing.T) {
	t.Parallel()
	m := matrix(t, catalog.Condition{"a": "x"}, nil)
	for record, want := range map[string]string{`{"a":"x"}`: "c a", `{"a":"y"}`: "c b", `{}`: "c b"} {
		if got := eventOf(t, m, record); got != want {
			t.Errorf("%s is %q, want %q", record, got, want)
		}
	}
	if got := eventOf(t, matrix(t, nil), `{"id":"1"}`); got != "c a" {
		t.Errorf("any record is %q", got)
	}
}

// Texts of more kinds than are kept, and longer ones, are told apart all the same.
func TestEventOfManyTexts(t *testing.T) {
	t.Parallel()
	m := matrix(t, catalog.Condition{"a": map[string]any{"glob": "even*"}}, catalog.Condition{"a": map[string]any{"glob": "odd*"}})
	for i := range 20_000 {
		want, text := "c a", "even"
		if i%2 == 1 {
			want, text = "c b", "odd"
		}
		if i%1000 == 0 {
			text += strings.Repeat("x", 1000)
		}
		if got := eventOf(t, m, fmt.Sprintf(`{"a":"%s%d"}`, text, i)); got != want {
			t.Fatalf("%d: %q, want %q", i, got, want)
		}
	}
}

// The matrix's fields are its own.
func TestEventFieldsAreReserved(t *testing.T) {
	t.Parallel()
	src := acme(catalog.Mapping{Constants: map[string]any{"emm.category": "x"}})
	src.Matrix = &catalog.Matrix{Events: []catalog.MatrixEvent{{Category: "c", EventType: "e"}}}
	if _, err := ecs.Compile(src); err == nil || !strings.Contains(err.Error(), "emm.category: stands within a field") {
		t.Errorf("a mapping that sets emm.category: %v", err)
	}
	src = acme(catalog.Mapping{})
	src.Matrix = &catalog.Matrix{Events: []catalog.MatrixEvent{{Match: catalog.Condition{"a": map[string]any{}}}}}
	if _, err := ecs.Compile(src); err == nil || !strings.Contains(err.Error(), "matrix.events.0: a is compared with") {
		t.Errorf("a condition that compares with nothing: %v", err)
	}
}

// Whatever the conditions, the first that holds decides, as it does for the
// blocks of a mapping, which are tried one after the other.
func TestEventIsTheFirstBlock(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 7))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	value := func() any {
		switch random.IntN(4) {
		case 0:
			return map[string]any{"exists": random.IntN(2) == 0}
		case 1:
			return map[string]any{"glob": pick("x*", "*y", "*", "?")}
		case 2:
			return []any{pick("x", "y"), pick("xy", "7")}
		}
		return pick("x", "y", "xy", "7", "true")
	}
	var condition func(depth int) map[string]any
	condition = func(depth int) map[string]any {
		c := map[string]any{}
		for range 1 + random.IntN(2) {
			c[pick("a", "a", "a", "b", "l[].k")] = value()
		}
		if depth < 2 && random.IntN(3) == 0 {
			c["not"] = condition(depth + 1)
		}
		if depth < 2 && random.IntN(3) == 0 {
			c["any"] = []any{condition(depth + 1), condition(depth + 1)}
		}
		return c
	}
	for range 200 {
		src := acme(catalog.Mapping{Constants: map[string]any{"acme.first": "none"}})
		src.Matrix = &catalog.Matrix{}
		for i := range 6 {
			c := catalog.Condition(condition(0))
			name := string(rune('a' + i))
			src.ECS.When = append(src.ECS.When, catalog.Block{If: c, Constants: map[string]any{"acme.first": name}})
			src.Matrix.Events = append(src.Matrix.Events, catalog.MatrixEvent{Category: "c", EventType: name, Match: c})
		}
		m, err := ecs.Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			record := fmt.Sprintf(`{"a":%s,"b":%s,"l":[{"k":%s}]}`, pick(`"x"`, `"y"`, `"xy"`, "7", "true", "null", `""`, "{}", `["x"]`), pick(`"x"`, `"y"`, "null"), pick(`"x"`, "7"))
			var doc struct {
				Acme struct{ First string }
			}
			if err := json.Unmarshal(m.Append(nil, []byte(record), ecs.Meta{}), &doc); err != nil {
				t.Fatal(err)
			}
			got := strings.TrimPrefix(eventOf(t, m, record), "c ")
			if got == "" {
				got = "none"
			}
			if got != doc.Acme.First {
				t.Fatalf("%s is event %s and block %s of %v", record, got, doc.Acme.First, src.Matrix.Events)
			}
		}
	}
}
