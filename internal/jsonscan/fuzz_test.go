package jsonscan

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// deepest is how deep encoding/json follows values.
const deepest = 10000

// FuzzScan compares what paths reach with what encoding/json decodes.
func FuzzScan(f *testing.F) {
	for _, seed := range []struct{ src, path string }{
		{string(auditRecord), "actionParameters.scopes[]"},
		{`{"a":[{"n":"x","v":1},{"n":7,"v":{"b":[]}}],"a.b":null}`, "a[n=x].v"},
		{`{"a":[{"n":"x","v":1},{"n":7,"v":{"b":[]}}],"a":[[]]}`, "a[0][]"},
		{`{"a":[{"n":"x","v":1},{"n":7},{"n":"x","v":2},[{"n":"x"}],"n"]}`, "a[][n=x].v"},
		{`[[1,"\ud83d\ude00\u0000"],2e9]`, "[0][1]"},
		{`{"":{"\u0061":"\ud800"},"":{"a":"\\"}}`, `"".a`},
		{"{\"a\":\"\xff\"}", "a"},
		{`{"a":[{"n":"x","v":{"b":[1,2]}},{"n":7,"v":[8,{"n":"x"}],"n":"x"},[{"v":1}]]}`, "a[].n"},
		{`{"a":[{"v":1},{"v":1,"v":2}]}`, "a[].v"},
		{`{"a":`, "."},
		{`{"a":[1,2],"a":{"b":[3]},"a":null}`, "a[]"},
		{`[1,-2.5e3,"x\"y",true,null,{}]`, "[]"}, {`[1,]`, "[]"}, {`[0,]0`, "[]"}, {`{,}`, "."}, {`{"a"}`, "a"}, {`{"a":}`, "a"}, {`[}`, "."}, {`1 2`, "."}, {` "\u00zz" `, "."},
		{`[[[`, "."}, {`{1:2}`, "."}, {`[1 2]`, "[1]"}, {`]`, "."}, {`nul`, "."}, {"[\"a\x00\"]", "[0]"}, {`[01]`, "[0]"}, {`[1.]`, "."}, {`[-]`, "."}, {`[1e+]`, "."},
		{`{"b":{"c" 1}}`, "a"}, {`{"a" 1}`, "a"}, {`{"b":{"c":1,}}`, "b.c"}, {"{\"b\":\"12345678\n\"}", "a"}, {strings.Repeat(`{"":[`, 70) + strings.Repeat(`]}`, 70), "a"},
	} {
		f.Add([]byte(seed.src), seed.path)
	}
	var lists Lists // used again, as a mapper does
	fixed := []string{"a[][].v", "a[0][]", "[][n=7].v", "a[].v.b[]", "a[n=x].v[]", "a[][n=x].v[][n=x]", "a[]",
		"a", "a.b", "a[].b", "a[][n=x].v", "a[0]", "a[n=x].v", `""`, "id", "user.name"}
	f.Fuzz(func(t *testing.T, src []byte, extra string) {
		var paths []Path
		for _, s := range append([]string{extra}, fixed...) {
			p, err := ParsePath(s)
			if err != nil || strings.ContainsRune(s, utf8.RuneError) || !utf8.ValidString(s) {
				continue // names that are not UTF-8 are only told apart byte by byte
			}
			paths = append(paths, p)
		}
		out := make([][]byte, len(paths))
		plan := Compile(paths...)
		valid := plan.Scan(src, out)
		if valid != Valid(src) {
			t.Fatalf("Scan finds %q valid: %t; Valid: %t", src, valid, !valid)
		}
		if valid != json.Valid(src) && len(src) < deepest {
			t.Fatalf("%q is valid: %t; encoding/json: %t", src, valid, !valid)
		}
		for i := range paths {
			again := make([][]byte, len(paths))
			elements, spans, ok := plan.Elements(src, again, i, plan)
			if ok != valid || !reflect.DeepEqual(again, out) {
				t.Fatalf("%s: Elements finds %q, valid %t; Scan %q, valid %t", paths[i], again, ok, out, valid)
			}
			var want [][]byte
			Elements(out[i], func(raw []byte) bool {
				want = append(want, raw)
				return true
			})
			for k, element := range elements {
				of := make([][]byte, len(paths))
				if !plan.Scan(element, of) || !reflect.DeepEqual(of, spans[k*len(paths):][:len(paths)]) {
					t.Fatalf("element %s: %q, want %q", element, spans[k*len(paths):][:len(paths)], of)
				}
			}
			if valid && !slices.EqualFunc(elements, want, bytes.Equal) {
				t.Fatalf("%s: elements %q of %s, want %q", paths[i], elements, out[i], want)
			}
		}
		whole := CompileLists(paths, paths)
		again := make([][]byte, len(paths))
		if ok := whole.ScanLists(src, again, &lists); ok != valid || !reflect.DeepEqual(again, out) {
			t.Fatalf("ScanLists finds %q, valid %t; Scan %q, valid %t", again, ok, out, valid)
		}
		if whole.Scan(src, again); !reflect.DeepEqual(again, out) {
			t.Fatalf("a plan with lists finds %q, without %q", again, out)
		}
		twice := !valid || json.Valid(src) && !jsontext.Value(src).IsValid(jsontext.AllowInvalidUTF8(true))
		for i, p := range paths {
			reached, ok := lists.Reached(i)
			if !ok && !twice && len(src) < maxListed/len(paths) {
				t.Fatalf("%s: what it reaches in %q was not noted", p, src)
			}
			var want [][]byte
			p.Each(src, func(raw []byte) bool {
				want = append(want, raw)
				return true
			})
			same := func(s Span, raw []byte) bool { return bytes.Equal(src[s.From:s.To], raw) }
			if ok && valid && !slices.EqualFunc(reached, want, same) {
				t.Fatalf("%s: reaches %v in %q, want %q", p, reached, src, want)
			}
		}
		for i, p := range paths {
			var got [][]byte
			p.Each(src, func(raw []byte) bool {
				got = append(got, raw)
				return len(got) <= len(src)
			})
			if !valid || len(src) >= deepest {
				continue
			}
			want := reach(decode(t, src), p.steps)
			if len(got) != len(want) {
				t.Fatalf("%s: %d values, want %d", p, len(got), len(want))
			}
			for j, raw := range got {
				if v := decode(t, raw); !reflect.DeepEqual(v, want[j]) {
					t.Fatalf("%s: %s, want %v", p, raw, want[j])
				}
				if text, ok := want[j].(string); ok {
					if s, ok := String(raw); !ok || s != text {
						t.Fatalf("%s: text %q of %s, want %q", p, s, raw, text)
					}
				}
			}
			if p.Many() {
				again := 0
				p.Rest().Each(out[i], func([]byte) bool { again++; return true })
				if again != len(got) {
					t.Fatalf("%s: Rest reaches %d values in %s, want %d", p, again, out[i], len(got))
				}
				if _, _, ok := p.Span(src); ok {
					t.Fatalf("%s: there is one place of %d values", p, len(got))
				}
			} else if from, to, ok := p.Span(src); ok != (len(got) > 0) || ok && !bytes.Equal(src[from:to], got[0]) {
				t.Fatalf("%s: Span %q, Each %q", p, src[from:to], got)
			} else if len(got) == 0 && out[i] != nil || len(got) > 0 && !bytes.Equal(out[i], got[0]) {
				t.Fatalf("%s: Scan %s, Each %s", p, out[i], got)
			}
		}
	})
}

// reach is Path.Each over decoded values.
func reach(v any, steps []step) []any {
	if len(steps) == 0 {
		return []any{v}
	}
	object, _ := v.(map[string]any)
	list, _ := v.([]any)
	st := steps[0]
	switch st.kind {
	case stepKey:
		if v, ok := object[st.key]; ok {
			return reach(v, steps[1:])
		}
	case stepIndex:
		if st.index < len(list) {
			return reach(list[st.index], steps[1:])
		}
	case stepEvery:
		var all []any
		for _, v := range list {
			all = append(all, reach(v, steps[1:])...)
		}
		return all
	case stepMatch, stepKeep:
		if st.kind == stepKeep {
			list = []any{v}
		}
		for _, v := range list {
			object, _ := v.(map[string]any)
			var text string
			switch v := object[st.key].(type) {
			case string:
				text = v
			case json.Number:
				text = v.String()
			case bool:
				text = map[bool]string{true: "true", false: "false"}[v]
			case nil:
				if _, ok := object[st.key]; !ok {
					continue
				}
				text = "null"
			default:
				continue
			}
			if text == st.value {
				return reach(v, steps[1:])
			}
		}
	}
	return nil
}

func decode(t *testing.T, src []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("decode %q: %v", src, err)
	}
	return v
}

// FuzzAppendString checks that quoted text is JSON for the same text.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a\"b\\c\x00\x1f\n", "é😀\xff\xc3\xe2\x82", strings.Repeat("0123456\"", 9), string(auditRecord)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		raw := AppendString(nil, s)
		if !utf8.Valid(raw) {
			t.Fatalf("%q is not UTF-8", raw)
		}
		var got string
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if want := string([]rune(string(s))); got != want {
			t.Fatalf("%q reads back as %q", want, got)
		}
		if again, ok := String(raw); !ok || again != got {
			t.Fatalf("%q: String reads %q", raw, again)
		}
	})
}
