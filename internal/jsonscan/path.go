package jsonscan

import (
	"fmt"
	"strconv"
	"strings"
)

// Path leads to values within JSON text:
//
//	a.b              member b of member a
//	a."b.c"          a name in quotes, with the escapes of a Go string, may hold anything
//	a[0].b           the first element
//	a[].b            every element
//	a[name=x].value  the first element that is an object whose name is x; a value may be quoted too
//	a[][name=x].b    every element that is an object whose name is x
//	.                the whole value
//
// A path may start with brackets, where the whole value is an array. The zero
// Path is the whole value.
type Path struct {
	text  string
	steps []step
}

type step struct {
	kind  stepKind
	key   string // member, or member to compare
	value string // to compare with
	index int
}

type stepKind byte

const (
	stepKey   stepKind = iota // .key
	stepIndex                 // [index]
	stepEvery                 // []
	stepMatch                 // [key=value]
	stepKeep                  // [key=value] behind []
)

// ParsePath reads a path. Its errors say what is wrong and where.
func ParsePath(s string) (Path, error) {
	if s == "." {
		return Path{text: s}, nil
	}
	p := parser{s: s}
	for first := true; first || p.i < len(s); first = false {
		var st step
		var err error
		switch {
		case p.take('['):
			st, err = p.brackets()
		case first || p.take('.'):
			st.key, err = p.name()
		default:
			err = fmt.Errorf("%q where a dot or bracket belongs", s[p.i])
		}
		if err != nil {
			return Path{}, fmt.Errorf("path %q: %w at character %d", s, err, p.i+1)
		}
		if n := len(p.steps); st.kind == stepMatch && n > 0 && p.steps[n-1].kind == stepEvery {
			st.kind = stepKeep
		}
		p.steps = append(p.steps, st)
	}
	return Path{text: s, steps: p.steps}, nil
}

type parser struct {
	s     string
	i     int
	steps []step
}

func (p *parser) take(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

// name reads a plain or quoted name.
func (p *parser) name() (string, error) {
	rest := p.s[p.i:]
	if strings.HasPrefix(rest, `"`) {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return "", fmt.Errorf("unfinished quotes")
		}
		p.i += len(quoted)
		return strconv.Unquote(quoted)
	}
	n := strings.IndexAny(rest, ".[]=\"' \t\r\n{}\\")
	if n < 0 {
		n = len(rest)
	}
	if n == 0 {
		return "", fmt.Errorf("a name is missing")
	}
	p.i += n
	return rest[:n], nil
}

// brackets reads what follows an opening bracket.
func (p *parser) brackets() (step, error) {
	if p.take(']') {
		return step{kind: stepEvery}, nil
	}
	quoted := strings.HasPrefix(p.s[p.i:], `"`)
	name, err := p.name()
	if err != nil {
		return step{}, err
	}
	if p.take(']') {
		n, err := strconv.Atoi(name)
		if err != nil || n < 0 || quoted {
			return step{}, fmt.Errorf("[%s] is neither [], an index nor [name=value]", name)
		}
		return step{kind: stepIndex, index: n}, nil
	}
	if !p.take('=') {
		return step{}, fmt.Errorf("a bracket is not closed")
	}
	st := step{kind: stepMatch, key: name}
	if strings.HasPrefix(p.s[p.i:], `"`) {
		st.value, err = p.name()
	} else if n := strings.IndexByte(p.s[p.i:], ']'); n > 0 {
		st.value = p.s[p.i : p.i+n]
		p.i += n
	}
	if err == nil && !p.take(']') {
		err = fmt.Errorf("a bracket is not closed")
	}
	return st, err
}

// String returns the path as it was written.
func (p Path) String() string { return p.text }

// Many tells whether the path has a [] in it, and so may reach many values.
func (p Path) Many() bool { return p.every() >= 0 }

func (p Path) every() int {
	for i, s := range p.steps {
		if s.kind == stepEvery {
			return i
		}
	}
	return -1
}

// Rest returns the path from its first [] on, to be applied with Each to the
// array that Plan.Scan finds for the path. Without [] it is the whole value.
func (p Path) Rest() Path {
	i := p.every()
	if i < 0 {
		return Path{text: "."}
	}
	return Path{text: p.text, steps: p.steps[i:]}
}

// Parent is what a path goes through: a place where it needs an object, or a
// list.
type Parent struct {
	Path Path
	List bool
}

// Parents returns what this path goes through, outermost first, up to and with
// the list of its first []: a as an object and a.b as a list, of a.b[].c. The
// whole value is among them only where it has to be a list.
func (p Path) Parents() []Parent {
	var parents []Parent
	for i, s := range p.steps {
		if i > 0 || s.kind != stepKey {
			parents = append(parents, Parent{Path{text: textOf(p.steps[:i]), steps: p.steps[:i]}, s.kind != stepKey})
		}
		if s.kind == stepEvery {
			break
		}
	}
	return parents
}

func textOf(steps []step) string {
	if len(steps) == 0 {
		return "."
	}
	var b strings.Builder
	for i, s := range steps {
		switch s.kind {
		case stepKey:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(plain(s.key))
		case stepIndex:
			fmt.Fprintf(&b, "[%d]", s.index)
		case stepEvery:
			b.WriteString("[]")
		case stepMatch, stepKeep:
			fmt.Fprintf(&b, "[%s=%s]", plain(s.key), plain(s.value))
		}
	}
	return b.String()
}

// plain quotes a name that cannot stand in a path as it is.
func plain(name string) string {
	if p := (&parser{s: name}); name != "" {
		if got, err := p.name(); err == nil && got == name {
			return name
		}
	}
	return strconv.Quote(name)
}

// Each yields the raw value of everything that the path reaches in src, in
// order, until yield returns false.
func (p Path) Each(src []byte, yield func(raw []byte) bool) {
	i := skipSpace(src, 0)
	if i >= len(src) {
		return
	}
	raw := src[i:]
	if len(p.steps) == 0 {
		end := skipValue(raw, 0)
		raw = raw[:end:end]
	}
	each(p.steps, raw, yield)
}

// Span tells where in src the value stands that the path leads to, which is
// src[from:to]. ok is false where there is none, and for a path with [].
func (p Path) Span(src []byte) (from, to int, ok bool) {
	from = skipSpace(src, 0)
	for i := range p.steps {
		at, _ := p.steps[i].place(src[from:])
		if at < 0 {
			return 0, 0, false
		}
		from += at
	}
	if from >= len(src) {
		return 0, 0, false
	}
	return from, skipValue(src, from), true
}

func each(steps []step, raw []byte, yield func(raw []byte) bool) bool {
	for ; len(steps) > 0; steps = steps[1:] {
		st := &steps[0]
		if st.kind == stepEvery {
			if len(raw) == 0 || raw[0] != '[' {
				return true
			}
			for i := nextElement(raw, 1); i < len(raw); i = nextElement(raw, i) {
				end := skipValue(raw, i)
				if !each(steps[1:], raw[i:end:end], yield) {
					return false
				}
				i = end
			}
			return true
		}
		if raw = st.find(raw); raw == nil {
			return true
		}
	}
	return yield(raw)
}

// find returns the one value that a step other than [] leads to, or nil.
func (st *step) find(raw []byte) []byte {
	from, end := st.place(raw)
	if from < 0 {
		return nil
	}
	return raw[from:end:end]
}

// place tells where in raw the one value stands that a step other than []
// leads to; from is -1 where there is none.
func (st *step) place(raw []byte) (from, end int) {
	switch st.kind {
	case stepKey:
		return place(raw, st.key)
	case stepKeep:
		if st.matches(raw) {
			return 0, len(raw)
		}
		return -1, -1
	}
	if len(raw) == 0 || raw[0] != '[' || st.kind == stepEvery {
		return -1, -1
	}
	n := 0
	for i := nextElement(raw, 1); i < len(raw); i = nextElement(raw, i) {
		end := skipValue(raw, i)
		if st.kind == stepIndex && n == st.index || st.kind == stepMatch && st.matches(raw[i:end:end]) {
			return i, end
		}
		i = end
		n++
	}
	return -1, -1
}

// matches tells whether the element is an object in which the step's key has
// the step's value: as text, or, of a number or boolean, as it is written.
func (st *step) matches(element []byte) bool { return st.fits(find(element, st.key)) }

// fits is matches of the member with the step's key; nil: there is none.
func (st *step) fits(raw []byte) bool {
	if raw == nil || raw[0] == '{' || raw[0] == '[' {
		return false
	}
	if raw[0] != '"' {
		return string(raw) == st.value
	}
	text, escaped, ok := Text(raw)
	return ok && equalText(text, escaped, st.value)
}

// find returns the raw value of a member of an object, or nil.
func find(object []byte, key string) []byte {
	from, end := place(object, key)
	if from < 0 {
		return nil
	}
	return object[from:end:end]
}

// place tells where the value of a member of an object stands; from is -1 where
// there is none.
func place(object []byte, key string) (from, end int) {
	from = -1
	if len(object) == 0 || object[0] != '{' {
		return from, from
	}
	i := 1
	for {
		var m member
		if m, i = nextMember(object, i); i >= len(object) {
			return from, end
		}
		next := skipValue(object, i)
		if equalText(object[m.key:m.keyEnd], m.escaped, key) {
			from, end = i, next
		}
		i = next
	}
}

// equalText tells whether what stands between a string's quotes is a text.
func equalText(s []byte, escaped bool, text string) bool {
	return string(s) == text || escaped && string(appendUnescaped(nil, s)) == text
}
