package emm

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/trawlsec/trawl/internal/jsonscan"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// FuzzPath wants values of paths to be valid JSON, and names joined by dots to
// lead where they lead in a decoded event.
func FuzzPath(f *testing.F) {
	for _, path := range []string{
		"a.b", "a[0]", "a[?b=='c'].d", "$..a", "a || b", "a | select(.b==1)", "/a/b", "a['b.c']", "a[-1:]", "a..", "a[name=x].value", `"a".b`, "a[*].*", "a, b; c or d",
	} {
		f.Add(path, `{"a":[{"b":"c","d":[1,{"e":null}]},{"name":"x","value":"{\"y\":[2]}"}],"b":{"c":1}}`)
	}
	f.Fuzz(func(t *testing.T, path, event string) {
		p := ParsePath(path)
		if !jsonscan.Valid([]byte(event)) {
			return
		}
		values := p.Values([]byte(event))
		for _, raw := range values {
			if !json.Valid(raw) {
				t.Fatalf("%q in %s: %q", path, event, raw)
			}
		}
		if strings.ContainsAny(path, "[]|,;/?*'\"`$@() \\") || strings.Contains(path, "..") || len(strings.Split(path, ".")) > maxSteps {
			return
		}
		var decoded any
		if json.Unmarshal([]byte(event), &decoded) != nil {
			return
		}
		if want, ok := dotted(decoded, strings.Split(path, ".")); ok && !slices.ContainsFunc(values, func(raw []byte) bool { return sameJSON(raw, want) }) {
			t.Errorf("%q in %s: %q, want %v", path, event, values, want)
		}
	})
}

// dotted follows names through objects.
func dotted(value any, names []string) (any, bool) {
	for _, name := range names {
		object, ok := value.(map[string]any)
		if !ok || name == "" {
			return nil, false
		}
		if value, ok = object[name]; !ok {
			return nil, false
		}
	}
	return value, true
}

func sameJSON(raw []byte, want any) bool {
	var got any
	if json.Unmarshal(raw, &got) != nil {
		return false
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	return string(a) == string(b)
}

// FuzzResolve wants one line of JSON of any event source, with paths that are
// texts, and no attribute that a mapping's null has taken away.
func FuzzResolve(f *testing.F) {
	for _, seed := range []string{
		"mappings: [{category: c, event_type: e, attributes: {x: y}}]",
		"mapping_defaults: {source: {attributes: &a {x: y, z: [v, w]}}, categories: {c: {attributes: {z: }}}}\nmappings: [{category: c, event_type: e, attributes: {<<: *a, x: }}]",
		"mappings:\n- {category: 1, event_type: true, attributes: [1], examples: [a, {location: b}]}\n", "- a", "mappings: &m [*m]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		doc := strictyaml.Parse("f.yml", text)
		src, ok := readSource(&file{path: "products/p/event_sources/f.yml", doc: doc, value: doc.Root().Any()})
		if !ok {
			return
		}
		resolved := src.resolved()
		line, err := resolved.AppendLine(nil)
		if err != nil || !json.Valid(line) || strings.Contains(string(line), "\n") {
			t.Fatalf("%q: %v", line, err)
		}
		for i, m := range src.mappings {
			for key, paths := range m.own.paths {
				if _, there := resolved.Mappings[i].Attributes[key]; there != (paths != nil) {
					t.Errorf("mapping %d, %s: there %v", i, key, there)
				}
			}
		}
	})
}

// FuzzReadEvents wants valid JSON of an example, or a mistake with its place.
func FuzzReadEvents(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `[{"a":1},2]`, "{}\n{}\n[[1]]", "\ufeff{}", "", "{", "{\"a\":\n }", "nul", "[]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		events, mistake := readEvents(text)
		if (mistake == nil) != (len(events) > 0) {
			t.Fatalf("%d events, mistake %v", len(events), mistake)
		}
		if mistake != nil && (mistake.Line < 1 || mistake.Line > 1+strings.Count(string(text), "\n") || mistake.Column < 1) {
			t.Errorf("a mistake at %d:%d", mistake.Line, mistake.Column)
		}
		for _, e := range events {
			if !jsonscan.Valid(e) {
				t.Errorf("%q is no JSON", e)
			}
		}
	})
}
