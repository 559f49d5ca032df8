package jsonscan

import (
	"slices"
	"strings"
	"testing"
)

// reached is what a list reaches in src as ScanLists notes it, and whether it does.
func reached(t *testing.T, src, list string, lists *Lists) (values []string, noted bool) {
	t.Helper()
	CompileLists(nil, []Path{path(t, list)}).ScanLists([]byte(src), nil, lists)
	spans, noted := lists.Reached(0)
	for _, s := range spans {
		values = append(values, src[s.From:s.To])
	}
	return values, noted
}

func TestListsAreNoted(t *testing.T) {
	t.Parallel()
	var lists Lists
	for _, test := range []struct {
		src, list string
		want      []string
		noted     bool
	}{
		{`{"a":[{"b":1},{"c":2},7,{"b":[3]}]}`, "a[].b", []string{`1`, `[3]`}, true},
		{`{"a":[{"b":[1,{"c":2}]},{"b":[]},{"b":[{"c":3}]}]}`, "a[].b[].c", []string{`2`, `3`}, true},
		{`{"a":[{"b":[{"n":"y"},{"n":"x","c":2}]},{"b":[{"n":"x","c":3}]}]}`, "a[].b[n=x].c", []string{`2`, `3`}, true},
		{`{"a":[{"n":"x","b":[1,2]},{"n":"y","b":[3]},{"n":"x","b":[4]}]}`, "a[][n=x].b[0]", []string{`1`, `4`}, true},
		{`{"a":{"b":1}}`, "a[].b", nil, true},
		{``, "a[].b", nil, true},
		// What cannot be noted in one pass is not noted at all.
		{`{"a":[{"b":1,"b":2}]}`, "a[].b", nil, false},
		{`{"a":[{"b":1}],"a":[{"b":2}]}`, "a[].b", nil, false},
		{`{"a":[{"b":1}`, "a[].b", nil, false},
		// Names that come twice elsewhere do no harm.
		{`{"x":1,"x":2,"a":[{"b":1,"c":1,"c":2}]}`, "a[].b", []string{`1`}, true},
	} {
		got, noted := reached(t, test.src, test.list, &lists)
		if !slices.Equal(got, test.want) || noted != test.noted {
			t.Errorf("%s of %s: %q, noted: %t", test.list, test.src, got, noted)
		}
	}
}

// However many values a record has, few are noted, and less stays in memory.
func TestListsAreBounded(t *testing.T) {
	t.Parallel()
	var lists Lists
	many := func(n int) string { return "[" + strings.Repeat("1,", n-1) + "1]" }
	if got, noted := reached(t, many(maxListed), "[]", &lists); len(got) != maxListed || !noted {
		t.Errorf("%d of %d values, noted: %t", len(got), maxListed, noted)
	}
	if _, noted := reached(t, many(maxListed+1), "[]", &lists); noted {
		t.Errorf("%d values were noted", maxListed+1)
	}
	if lists.count > maxListed {
		t.Errorf("%d values are held", lists.count)
	}
	if got, noted := reached(t, many(2), "[]", &lists); len(got) != 2 || !noted || cap(lists.spans[0]) > keepListed {
		t.Errorf("after them %q, noted: %t, with room for %d", got, noted, cap(lists.spans[0]))
	}
}

func TestListsCostNoAllocations(t *testing.T) {
	src := []byte(`{"a":[` + strings.Repeat(`{"n":"x","b":[1,2,3]},`, 100) + `7]}`)
	paths := []Path{path(t, "a[].b"), path(t, "a[].b[]"), path(t, "a[][n=x].b[0]")}
	for i := range 600 { // more nodes than fit beside a scan
		paths = append(paths, path(t, "c[].m"+strings.Repeat("m", i)))
	}
	plan, lists := CompileLists(nil, paths), &Lists{}
	if n := testing.AllocsPerRun(10, func() { plan.ScanLists(src, nil, lists) }); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
	if spans, ok := lists.Reached(1); !ok || len(spans) != 300 {
		t.Errorf("%d values, noted: %t", len(spans), ok)
	}
}
