package ecs

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

// condition holds when all its tests do, one of each of its alternatives, and
// none of its exceptions.
type condition struct {
	tests        []test
	alternatives [][]condition
	exceptions   []condition
}

// test compares the values that a path reaches.
type test struct {
	source source
	exists int // 1: there has to be a value; -1: there must be none
	values []string
	globs  []glob
	known  *cache[bool] // whether one of many globs matches a text
}

func (c *condition) holds(st *state) bool {
	for i := range c.tests {
		if !c.tests[i].holds(st) {
			return false
		}
	}
	for _, any := range c.alternatives {
		holds := false
		for i := 0; i < len(any) && !holds; i++ {
			holds = any[i].holds(st)
		}
		if !holds {
			return false
		}
	}
	for i := range c.exceptions {
		if c.exceptions[i].holds(st) {
			return false
		}
	}
	return true
}

func (t *test) holds(st *state) bool {
	if !t.source.many {
		return t.fits(st, st.out[t.source.span]) == (t.exists >= 0)
	}
	found := false
	st.each(&t.source, func(raw []byte) bool {
		found = t.fits(st, raw)
		return !found
	})
	return found == (t.exists >= 0)
}

// fits compares one value; what has to exist, or must not, fits if it is there.
func (t *test) fits(st *state, raw []byte) bool {
	if st.none(raw) {
		return false
	}
	return t.exists != 0 || t.accepts(st.textOf(raw))
}

// accepts compares the text of a value; "" is none.
func (t *test) accepts(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	for _, v := range t.values {
		if string(text) == v {
			return true
		}
	}
	if t.known == nil || len(text) > maxKnown {
		return t.matches(text)
	}
	matches, ok := t.known.get(text)
	if !ok {
		matches = t.matches(text)
		t.known.put(text, matches)
	}
	return matches
}

func (t *test) matches(text []byte) bool {
	return slices.ContainsFunc(t.globs, func(g glob) bool { return g.match(text) })
}

// condition makes a condition ready.
func (b *builder) condition(where string, c catalog.Condition) condition {
	var made condition
	for _, key := range slices.Sorted(maps.Keys(c)) {
		switch key {
		case "any":
			list, _ := c[key].([]any)
			if len(list) == 0 {
				b.mistake(where, "any takes a list of conditions")
			}
			var alternatives []condition
			for _, item := range list {
				alternatives = append(alternatives, b.subCondition(where, item))
			}
			made.alternatives = append(made.alternatives, alternatives)
		case "not":
			made.exceptions = append(made.exceptions, b.subCondition(where, c[key]))
		default:
			made.tests = append(made.tests, b.test(where, key, c[key]))
		}
	}
	// What costs a walk through a list is looked at last.
	slices.SortStableFunc(made.tests, func(a, b test) int {
		switch {
		case a.source.many == b.source.many:
			return 0
		case b.source.many:
			return -1
		}
		return 1
	})
	return made
}

func (b *builder) subCondition(where string, value any) condition {
	switch c := value.(type) {
	case catalog.Condition:
		return b.condition(where, c)
	case map[string]any:
		return b.condition(where, c)
	}
	b.mistake(where, "a condition is a mapping of paths to values")
	return condition{}
}

func (b *builder) test(where, path string, value any) test {
	t := test{source: b.source(where, path, true)}
	object, _ := value.(map[string]any)
	if exists, ok := object["exists"].(bool); ok && len(object) == 1 {
		t.exists = -1
		if exists {
			t.exists = 1
		}
		return t
	}
	if patterns, ok := object["glob"]; ok && len(object) == 1 {
		for _, p := range texts(patterns) {
			t.globs = append(t.globs, makeGlob(p))
		}
		if len(t.globs) >= manyGlobs {
			t.known = newCache[bool](1024)
		}
		return t
	}
	if t.values = texts(value); t.values == nil {
		b.mistake(where, "%s is compared with a value, a list of values, {exists: true} or {glob: pattern}", path)
	}
	return t
}

// texts are the texts of a scalar or of a list of scalars; nil for all else.
func texts(value any) []string {
	switch v := value.(type) {
	case string:
		return []string{v}
	case []string:
		return v
	case bool:
		return []string{strconv.FormatBool(v)}
	case int, int64, uint64, float64:
		return []string{fmt.Sprint(v)}
	case []any:
		var all []string
		for _, item := range v {
			if _, nested := item.([]any); nested {
				return nil
			}
			one := texts(item)
			if one == nil {
				return nil
			}
			all = append(all, one...)
		}
		return all
	}
	return nil
}

// lookup is a catalog.Lookup, made ready.
type lookup struct {
	path     string // for complaints
	source   source
	cases    [][]glob
	optional bool
	known    *cache[int] // case of a text, -1 for none
}

const (
	maxKnown  = 256 // bytes of a text that is worth keeping in a cache
	manyGlobs = 4   // cost more than to look a text up
)

// choose returns the case that the record's value matches, or -1.
func (l *lookup) choose(st *state) int {
	raw := st.out[l.source.span]
	if l.source.many {
		raw = st.first(&l.source)
	}
	if isEmpty(raw) {
		return -1
	}
	text := st.textOf(raw)
	if len(text) == 0 {
		if !l.optional {
			st.say(l.path, raw, "is not a single value")
		}
		return -1
	}
	found, ok := l.known.get(text)
	if !ok {
		found = slices.IndexFunc(l.cases, func(globs []glob) bool {
			return slices.ContainsFunc(globs, func(g glob) bool { return g.match(text) })
		})
		if len(text) <= maxKnown {
			l.known.put(text, found)
		}
	}
	if found < 0 && !l.optional {
		st.say(l.path, raw, "is not a known value")
	}
	return found
}

// glob is a pattern in which * stands for any text and ? for one character.
type glob struct {
	pattern string
	exact   bool // no * or ? in it
}

func makeGlob(pattern string) glob {
	g := glob{pattern: pattern, exact: true}
	for i := range len(pattern) {
		if pattern[i] == '*' || pattern[i] == '?' {
			g.exact = false
		}
	}
	return g
}

func (g glob) match(text []byte) bool {
	if g.exact {
		return string(text) == g.pattern
	}
	return catalog.Glob(g.pattern, text)
}

// A parent is a place in the record that has to be an object or a list.
type parent struct {
	span      int
	path      string
	kind      byte // { or [
	complaint string
}

// unread is where a record says that a list in it goes on.
type unread struct {
	span int
	path string // of the list
}

var parentComplaints = map[byte]string{'{': "is not an object", '[': "is not a list"}

func (b *builder) parents(path jsonscan.Path) {
	for _, p := range path.Parents() {
		kind := byte('{')
		if p.List {
			kind = '['
		}
		made := parent{b.span(p.Path), p.Path.String(), kind, parentComplaints[kind]}
		if made.path != "." && !slices.Contains(b.m.parents, made) {
			b.m.parents = append(b.m.parents, made)
		}
	}
}
