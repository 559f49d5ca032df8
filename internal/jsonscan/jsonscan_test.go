package jsonscan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func path(t testing.TB, s string) Path {
	t.Helper()
	p, err := ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPaths(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"a":[`, 5000) + `1` + strings.Repeat(`]}`, 5000)
	tests := []struct {
		name, src, path string
		want            []string // what Each reaches
		scan            string   // what Scan finds, where that is not want[0]
	}{
		{"member", `{"a":{"b":1}}`, "a.b", []string{`1`}, ""},
		{"white space", " \r\n{ \"a\" :\t{ \"b\" : [ 1 , 2 ] } } \n", "a.b", []string{`[ 1 , 2 ]`}, ""},
		{"indented", "{\n            \"x\": {\n                  \"y\": \"}\"\n            },\n            \"a\": true\n}", "a", []string{`true`}, ""},
		{"absent", `{"a":{"c":1}}`, "a.b", nil, ""},
		{"null", `{"a":null}`, "a", []string{`null`}, ""},
		{"under null", `{"a":null}`, "a.b", nil, ""},
		{"under text", `{"a":"b"}`, "a.b", nil, ""},
		{"under list", `{"a":[{"b":1}]}`, "a.b", nil, ""},
		{"whole", ` [1] `, ".", []string{`[1]`}, ""},
		{"whole text", `"x"`, ".", []string{`"x"`}, ""},
		{"nothing", ``, ".", nil, ""},
		{"only space", " \n", ".", nil, ""},
		{"nothing by name", ``, "a", nil, ""},
		{"every", `{"a":[1,{"b":2},[3]]}`, "a[]", []string{`1`, `{"b":2}`, `[3]`}, `[1,{"b":2},[3]]`},
		{"every member", `{"a":[{"b":1},{"c":2},7,{"b":3}]}`, "a[].b", []string{`1`, `3`}, `[{"b":1},{"c":2},7,{"b":3}]`},
		{"every of every", `{"a":[{"b":[1,2]},{"b":[]},{"b":[3]}]}`, "a[].b[]", []string{`1`, `2`, `3`}, `[{"b":[1,2]},{"b":[]},{"b":[3]}]`},
		{"every that matches", `{"a":[{"n":"x","b":1},{"n":"y","b":2},[{"n":"x","b":3}],5,{"n":"x","b":4},{"n":"x"}]}`, "a[][n=x].b", []string{`1`, `4`}, `[{"n":"x","b":1},{"n":"y","b":2},[{"n":"x","b":3}],5,{"n":"x","b":4},{"n":"x"}]`},
		{"every that matches, whole", `[{"n":7},{"n":"7"},{"n":8}]`, "[][n=7]", []string{`{"n":7}`, `{"n":"7"}`}, `[{"n":7},{"n":"7"},{"n":8}]`},
		{"every of text", `{"a":"x"}`, "a[]", nil, `"x"`},
		{"every at the top", `[1,2]`, "[]", []string{`1`, `2`}, `[1,2]`},
		{"index", `{"a":[{"b":1},{"b":2}]}`, "a[1].b", []string{`2`}, ""},
		{"index beyond", `{"a":[1]}`, "a[1]", nil, ""},
		{"index at the top", `[1,{"b":2}]`, "[1].b", []string{`2`}, ""},
		{"index of index", `[[1,2],[3,4]]`, "[1][0]", []string{`3`}, ""},
		{"match", `{"a":[5,{"n":"y","v":1},{"n":"x","v":2},{"n":"x","v":3}]}`, "a[n=x].v", []string{`2`}, ""},
		{"match is the first", `{"a":[{"n":"x"},{"n":"x","v":3}]}`, "a[n=x].v", nil, ""},
		{"match of number", `{"a":[{"n":7,"v":1}]}`, "a[n=7].v", []string{`1`}, ""},
		{"match of object", `{"a":[{"n":{},"v":1},{"n":"{}","v":2}]}`, "a[n={}].v", []string{`2`}, ""},
		{"match of empty", `{"a":[{"n":"y"},{"n":"","v":1}]}`, "a[n=].v", []string{`1`}, ""},
		{"match with escapes", `{"a":[{"n":"\u0078 ]","v":1}]}`, `a[n="x ]"].v`, []string{`1`}, ""},
		{"quoted name", `{"a.b":{"c[0]":1}}`, `"a.b"."c[0]"`, []string{`1`}, ""},
		{"quoted name with escapes", `{"\"":1}`, `"\""`, []string{`1`}, ""},
		{"empty name", `{"":{"":1}}`, `"".""`, []string{`1`}, ""},
		{"escaped name", `{"\u0061\/":1}`, `a/`, []string{`1`}, ""},
		{"name with NUL", `{"\u0000":1,"":2}`, `"\x00"`, []string{`1`}, ""},
		{"name with surrogates", `{"\ud83d\ude00":1}`, "😀", []string{`1`}, ""},
		{"last duplicate", `{"a":1,"a":2}`, "a", []string{`2`}, ""},
		{"duplicate hides", `{"a":{"b":1},"a":{"c":2}}`, "a.b", nil, ""},
		{"duplicate null hides", `{"a":{"b":1},"a":null}`, "a.b", nil, ""},
		{"duplicate shows", `{"a":{"b":1},"a":{"b":2}}`, "a.b", []string{`2`}, ""},
		{"duplicate list", `{"a":[{"n":"x","v":1}],"a":[{"n":"x","v":2}]}`, "a[n=x].v", []string{`2`}, ""},
		{"duplicate by escape", `{"a":1,"\u0061":2}`, "a", []string{`2`}, ""},
		{"brackets in text", `{"x":"]}{[\"","a":1}`, "a", []string{`1`}, ""},
		{"backslash at the end of text", `{"x":"\\","y":"\\\"","a":1}`, "a", []string{`1`}, ""},
		{"long texts", `{"x":"0123456789abcdef\\\"0123456","a":"0123456789\n"}`, "a", []string{`"0123456789\n"`}, ""},
		{"deep", `{"x":` + deep + `,"y":1}`, "y", []string{`1`}, ""},
		{"number", `{"a":-1.5e+10,"b":0}`, "a", []string{`-1.5e+10`}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := path(t, tt.path)
			var got []string
			p.Each([]byte(tt.src), func(raw []byte) bool {
				got = append(got, string(raw))
				return true
			})
			if !slices.Equal(got, tt.want) {
				t.Errorf("Each: %q, want %q", got, tt.want)
			}
			want := tt.scan
			if want == "" && tt.want != nil {
				want = tt.want[0]
			}
			out := [][]byte{[]byte("left over"), nil}
			Compile(path(t, "other"), p).Scan([]byte(tt.src), out)
			if string(out[1]) != want || out[0] != nil {
				t.Errorf("Scan: %q, want %q", out, want)
			}
		})
	}
}

func TestParsePathErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, want string }{
		{"", `path "": a name is missing at character 1`},
		{"a.", `path "a.": a name is missing at character 3`},
		{".a", `path ".a": a name is missing at character 1`},
		{"a..b", `path "a..b": a name is missing at character 3`},
		{"a b", `path "a b": ' ' where a dot or bracket belongs at character 2`},
		{"a[", `path "a[": a name is missing at character 3`},
		{"a[0", `path "a[0": a bracket is not closed at character 4`},
		{"a[-1]", `path "a[-1]": [-1] is neither [], an index nor [name=value] at character 6`},
		{"a[b]", `path "a[b]": [b] is neither [], an index nor [name=value] at character 5`},
		{"a[b=c", `path "a[b=c": a bracket is not closed at character 5`},
		{`"a`, `path "\"a": unfinished quotes at character 1`},
		{"a]", `path "a]": ']' where a dot or bracket belongs at character 2`},
		{"a[0]b", `path "a[0]b": 'b' where a dot or bracket belongs at character 5`},
	} {
		_, err := ParsePath(tt.path)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q: %v\nwant %s", tt.path, err, tt.want)
		}
	}
}

func TestPathParts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path, rest string
		parents    []string // with [] after those that must be lists
	}{
		{"a.b.c", ".", []string{"a", "a.b"}},
		{"a", ".", nil},
		{".", ".", nil},
		{`a."b.c"[0].d[].e[].f`, "[].e[].f", []string{"a", `a."b.c"[]`, `a."b.c"[0]`, `a."b.c"[0].d[]`}},
		{"a[n=x].v", ".", []string{"a[]", "a[n=x]"}},
		{`a["n m"="x ]"].v`, ".", []string{"a[]", `a["n m"="x ]"]`}},
		{"[].a", "[].a", []string{".[]"}},
		{"[0].a", ".", []string{".[]", "[0]"}},
	} {
		p := path(t, tt.path)
		if rest := textOf(p.Rest().steps); rest != tt.rest {
			t.Errorf("%s: rest %s, want %s", p, rest, tt.rest)
		}
		var parents []string
		for _, q := range p.Parents() {
			text := q.Path.String()
			if again := path(t, text); textOf(again.steps) != text {
				t.Errorf("%s: parent %s reads back as %s", p, text, textOf(again.steps))
			}
			if q.List {
				text += "[]"
			}
			parents = append(parents, text)
		}
		if !slices.Equal(parents, tt.parents) {
			t.Errorf("%s: parents %q, want %q", p, parents, tt.parents)
		}
	}
}

func TestScanReports(t *testing.T) {
	t.Parallel()
	plan := Compile(path(t, "a.b"), path(t, "c[0]"))
	whole := `{"a":{"b":[1,"}"]},"c":[{"d":"]"},2],"e":{"f":{}}}`
	out := make([][]byte, 2)
	for i := range len(whole) {
		if plan.Scan([]byte(whole[:i]), out) {
			t.Errorf("%s passes for whole", whole[:i])
		}
	}
	for src, want := range map[string]bool{
		whole: true, " " + whole + "\n": true, whole + "}": false, whole + " 1": false,
		`7`: true, `"x"`: true, `[]`: true, `"x`: false, `{"a":[}`: false, `{"a"`: false, `{"a":`: false, `{]`: false, ``: false,
	} {
		if got := plan.Scan([]byte(src), out); got != want {
			t.Errorf("%s: %v, want %v", src, got, want)
		}
	}
}

func TestPlanOfMany(t *testing.T) {
	t.Parallel()
	var paths []Path
	var src strings.Builder
	src.WriteString("{")
	const n = 700 // more nodes than a scan keeps on its stack
	for i := range n {
		paths = append(paths, path(t, fmt.Sprintf("k%d.v", i)))
		fmt.Fprintf(&src, `"k%d":{"v":0},"k%d":{"v":%d},`, i, i, i)
	}
	src.WriteString(`"k0":1}`)
	out := make([][]byte, n)
	Compile(paths...).Scan([]byte(src.String()), out)
	for i := range n {
		want := fmt.Sprint(i)
		if i == 0 {
			want = ""
		}
		if string(out[i]) != want {
			t.Errorf("k%d.v = %q, want %q", i, out[i], want)
		}
	}
}

func TestSamePathTwice(t *testing.T) {
	t.Parallel()
	out := make([][]byte, 3)
	Compile(path(t, "a.b"), path(t, "a"), path(t, "a.b")).Scan([]byte(`{"a":{"b":1}}`), out)
	if fmt.Sprintf("%s", out) != `[1 {"b":1} 1]` {
		t.Errorf("%s", out)
	}
}

func TestStrings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		raw, want string
		ok        bool
	}{
		{`"a"`, "a", true},
		{` "a" `, "a", true},
		{`""`, "", true},
		{`"\"\\\/\b\f\n\r\t"`, "\"\\/\b\f\n\r\t", true},
		{`"\u0000\u00e9\u20AC"`, "\x00é€", true},
		{`"\ud83d\ude00"`, "😀", true},
		{`"\ud83d"`, "\ufffd", true},
		{`"\ud83dx"`, "\ufffdx", true},
		{`"\ude00\ud83d"`, "\ufffd\ufffd", true},
		{`"\ud83d\n"`, "\ufffd\n", true},
		{`"\ud83d\u0041"`, "\ufffdA", true},
		{"\"\xff\xc3\"", "\ufffd\ufffd", true},
		{"\"\xe2\x82\"", "\ufffd\ufffd", true},
		{`1`, "", false},
		{`null`, "", false},
		{``, "", false},
		{`"`, "", false},
		{`"a`, "", false},
		{`"a\"`, "", false},
	} {
		got, ok := String([]byte(tt.raw))
		if got != tt.want || ok != tt.ok {
			t.Errorf("%s: %q %v, want %q %v", tt.raw, got, ok, tt.want, tt.ok)
		}
	}
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"", `""`},
		{"plain", `"plain"`},
		{"<a href=\"x\">&</a>", `"<a href=\"x\">&</a>"`},
		{"\x00\x1f\b\f\n\r\t\\\"\x7f", `"\u0000\u001f\u0008\u000c\n\r\t\\\"` + "\x7f\""},
		{"é€😀\u2028", "\"é€😀\u2028\""},
		{"a\xffb\xc3", `"a` + "\ufffd" + `b` + "\ufffd" + `"`},
		{"12345678\"2345678\xff", `"12345678\"2345678` + "\ufffd\""},
		{strings.Repeat("\x01", 100), `"` + strings.Repeat(`\u0001`, 100) + `"`},
	} {
		if got := string(AppendString([]byte("x"), []byte(tt.text))); got != "x"+tt.want {
			t.Errorf("%q: %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestAppendRaw(t *testing.T) {
	t.Parallel()
	for raw, ok := range map[string]bool{
		`""`: true, `"a"`: true, `"\u00e9\ud800\"\\"`: true, "\"0123456789\xff\"": true,
		`"0123\x"`: false, `"\u12"`: false, `"\u12g4"`: false, "\"a\n\"": false, "\"0123456\x1f\"": false,
		`"a`: false, `"a\"`: false, `1`: false, ``: false,
	} {
		got, gotOK := AppendRaw([]byte("x"), []byte(raw))
		want := "x"
		if ok {
			want += raw
		}
		if string(got) != want || gotOK != ok {
			t.Errorf("%s: %s %v, want %s %v", raw, got, gotOK, want, ok)
		}
	}
}

func TestKind(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]byte{
		`{}`: '{', `[]`: '[', ` "a"`: '"', `-1`: '0', `90`: '0', `true`: 't', `false`: 'f', `null`: 'n', ``: 0, ` `: 0, `x`: 0,
	} {
		if got := Kind([]byte(raw)); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}

func TestElementsAndMembers(t *testing.T) {
	t.Parallel()
	var got []string
	Elements([]byte(` [ 1 , "a,]" , [ ] ] `), func(raw []byte) bool {
		got = append(got, string(raw))
		return true
	})
	Elements([]byte(`[4,5]`), func(raw []byte) bool {
		got = append(got, string(raw))
		return false
	})
	Elements([]byte(`{"a":1}`), func(raw []byte) bool { t.Errorf("element %s", raw); return true })
	Members([]byte(` { "a" : 1 , "\u0062":{},"a":"}" } `), func(key, raw []byte) bool {
		got = append(got, string(key)+"="+string(raw))
		return true
	})
	Members([]byte(`{"c":1,"d":2}`), func(key, raw []byte) bool {
		got = append(got, string(key)+"="+string(raw))
		return false
	})
	Members([]byte(`[1]`), func(key, _ []byte) bool { t.Errorf("member %s", key); return true })
	want := []string{`1`, `"a,]"`, `[ ]`, `4`, `a=1`, `b={}`, `a="}"`, `c=1`}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// What is not JSON must do no harm: every cut of a record, and every single
// byte of it replaced by another.
func TestBrokenInput(t *testing.T) {
	t.Parallel()
	src := []byte(`{"a":{"b":[{"n":"x","v":1},2,"\u00e9\n"],"c":true},"":null,"d":-1.5}`)
	paths := []Path{path(t, "a.b[n=x].v"), path(t, "a.b[].n"), path(t, "a.b[1]"), path(t, "a.c"), path(t, "d"), path(t, `""`)}
	plan := Compile(paths...)
	try := func(src []byte) {
		out := make([][]byte, len(paths))
		plan.Scan(src, out)
		for i, p := range paths {
			n := 0
			p.Each(src, func(raw []byte) bool {
				String(raw)
				Kind(raw)
				n++
				return true
			})
			if n > len(src) || len(out[i]) > len(src) {
				t.Errorf("%q: %s reaches more than there is", src, p)
			}
		}
		Members(src, func(_, raw []byte) bool {
			Elements(raw, func([]byte) bool { return true })
			return true
		})
	}
	for i := range src {
		try(src[:i])
		for _, c := range []byte("\"\\{}[],: 0u\x00\xff") {
			broken := slices.Clone(src)
			broken[i] = c
			try(broken)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	paths := []Path{path(t, "id"), path(t, "actionParameters.scopes[]"), path(t, "user.name")}
	plan := Compile(paths...)
	out := make([][]byte, len(paths))
	rest := paths[1].Rest()
	dst := make([]byte, 0, 4096)
	n := 0
	if got := testing.AllocsPerRun(100, func() {
		plan.Scan(auditRecord, out)
		rest.Each(out[1], func([]byte) bool { n++; return true })
		dst = AppendString(dst[:0], auditRecord)
	}); got != 0 {
		t.Errorf("%v allocations a scan, want none", got)
	}
	if n == 0 || !json.Valid(dst) || !utf8.Valid(dst) {
		t.Error("the record was not read")
	}
}
