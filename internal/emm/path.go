package emm

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/trawlsec/trawl/internal/jsonscan"
)

// Path says where in an event an attribute stands, in the words of the public
// format. These are mostly names joined by dots, but they are written by people
// for people, so a path is read with good will: see docs/matrix.md.
type Path struct {
	text string
	ways [][]step // readings of the text, the first first
	err  error    // why the text has no reading but as a single name
}

// step is one step of the way into an event.
type step struct {
	kind     stepKind
	name     string // of a member
	quoted   bool   // the name stood in quotes or brackets
	from, to int    // elements of a list; negative: from its end
	where    []test // what an element has to be like
}

type stepKind byte

const (
	stepName  stepKind = iota // a member, of each element if it is a list
	stepSlice                 // the elements from, up to
	stepIndex                 // the element from
	stepEvery                 // each element or member
	stepWhere                 // the elements that pass all tests
	stepDeep                  // the value and all that is in it
)

// test is what a filter asks of an element.
type test struct {
	steps []step
	value string // as text
	not   bool   // has to differ
	any   bool   // has to be there, whatever it is
}

// The limits of reading. No path that makes sense comes near them.
const (
	maxPath   = 4096 // bytes of a path
	maxSteps  = 64
	maxValues = 10_000

	maxAlternatives = 16
	maxDepth        = 200 // of values within values
)

// String is the path as it was written.
func (p Path) String() string { return p.text }

// Err says why a path that looks like more than a name can't be read as such.
func (p Path) Err() error { return p.err }

// Values are the raw values that the path leads to in an event, which is valid
// JSON: those of its first reading that leads to any.
func (p Path) Values(event []byte) [][]byte {
	var found [][]byte
	for _, way := range p.ways {
		left := 1<<20 + 16*len(event)
		w := walker{left: &left}
		w.walk(way, bytes.TrimSpace(event))
		for _, raw := range w.found {
			if string(raw) != "null" {
				return w.found
			}
		}
		if found == nil {
			found = w.found
		}
	}
	return found
}

// walker gathers what a way leads to.
type walker struct {
	found [][]byte
	depth int
	left  *int // bytes that may still be looked at
}

func (w *walker) walk(steps []step, raw []byte) {
	if *w.left -= len(raw); *w.left < 0 || w.depth > maxDepth || len(w.found) >= maxValues || len(raw) == 0 {
		return
	}
	w.depth++
	defer func() { w.depth-- }()
	if len(steps) == 0 {
		w.found = append(w.found, raw)
		return
	}
	if inner := inString(raw); inner != nil {
		raw = inner
	}
	st, rest := &steps[0], steps[1:]
	switch st.kind {
	case stepName:
		w.name(steps, raw)
	case stepEvery:
		each(raw, func(value []byte) { w.walk(rest, value) })
	case stepIndex, stepSlice:
		if raw[0] == '[' {
			w.slice(st, rest, raw)
		}
	case stepWhere:
		if raw[0] != '[' {
			if w.fits(st, raw) {
				w.walk(rest, raw)
			}
			return
		}
		each(raw, func(element []byte) {
			if w.fits(st, element) {
				w.walk(rest, element)
			}
		})
	case stepDeep:
		if raw[0] != '[' || len(rest) == 0 || rest[0].kind != stepName { // a list stands for its elements
			w.walk(rest, raw)
		}
		each(raw, func(value []byte) { w.walk(steps, value) })
	}
}

// each calls visit with every element of a list, or member of an object.
func each(raw []byte, visit func(value []byte)) {
	switch raw[0] {
	case '[':
		jsonscan.Elements(raw, func(value []byte) bool { visit(value); return true })
	case '{':
		jsonscan.Members(raw, func(_, value []byte) bool { visit(value); return true })
	}
}

// inString is the object or list that a string holds as JSON text; nil: it does not.
func inString(raw []byte) []byte {
	if raw[0] != '"' {
		return nil
	}
	text, ok := jsonscan.String(raw)
	text = strings.TrimSpace(text)
	if !ok || text == "" || (text[0] != '{' && text[0] != '[') || !jsonscan.Valid([]byte(text)) {
		return nil
	}
	return []byte(text)
}

// name walks through a member. A list stands for its elements; what they do not
// have as a member may be the name of a pair of name and value among them.
func (w *walker) name(steps []step, raw []byte) {
	st, rest := &steps[0], steps[1:]
	before := len(w.found)
	switch raw[0] {
	case '{':
		if value := member(raw, st.name); value != nil {
			w.walk(rest, value)
		}
		// A name may have dots in it.
		joined := st.name
		for i := 1; i < len(steps) && len(w.found) == before && !st.quoted && steps[i].kind == stepName && !steps[i].quoted; i++ {
			joined += "." + steps[i].name
			if value := member(raw, joined); value != nil {
				w.walk(steps[i+1:], value)
			}
		}
	case '[':
		if n, err := strconv.Atoi(st.name); err == nil && n >= 0 && !st.quoted {
			w.slice(&step{kind: stepIndex, from: n}, rest, raw)
		}
		if len(w.found) == before {
			each(raw, func(element []byte) { w.walk(steps, element) })
		}
		if len(w.found) == before {
			each(raw, func(element []byte) { w.pair(steps, element) })
		}
	}
}

// pair walks into an element of a list that bears the name of the first step:
// {"name": "role", "value": "admin"}, or {"key": "role", "newValue": "admin"}.
func (w *walker) pair(steps []step, element []byte) {
	if element[0] != '{' {
		return
	}
	named := false
	var values [][]byte
	jsonscan.Members(element, func(key, raw []byte) bool {
		k := strings.ToLower(string(key))
		switch {
		case isNaming(k):
			text, ok := jsonscan.String(raw)
			named = named || ok && text == steps[0].name
		case strings.HasSuffix(k, "value"), strings.HasSuffix(k, "values"), k == "val":
			values = append(values, raw)
		}
		return true
	})
	if !named {
		return
	}
	before := len(w.found)
	if rest := steps[1:]; len(rest) > 0 {
		if w.walk(rest, element); len(w.found) > before {
			return
		}
	}
	for _, raw := range values {
		w.walk(steps[1:], raw)
	}
	if len(values) == 0 && len(steps) == 1 {
		w.walk(nil, element)
	}
}

// isNaming tells whether a member, by its name in small letters, says what its
// object is called.
func isNaming(key string) bool {
	switch key {
	case "id", "type", "label", "field", "property", "parameter", "attribute", "header", "code":
		return true
	}
	return strings.HasSuffix(key, "name") || strings.HasSuffix(key, "key")
}

func (w *walker) slice(st *step, rest []step, list []byte) {
	n := 0
	jsonscan.Elements(list, func([]byte) bool { n++; return true })
	from, to := st.from, st.to
	if from < 0 {
		from += n
	}
	switch {
	case st.kind == stepIndex:
		to = from + 1
	case to < 0:
		to += n
	}
	i := 0
	jsonscan.Elements(list, func(raw []byte) bool {
		if i >= from && i < to {
			w.walk(rest, raw)
		}
		i++
		return i < to
	})
}

// member is the value of an object's member, the last of the name; nil: it has none.
func member(object []byte, name string) (value []byte) {
	jsonscan.Members(object, func(key, raw []byte) bool {
		if string(key) == name {
			value = raw
		}
		return true
	})
	return value
}

// fits tells whether an element passes the tests of a filter.
func (w *walker) fits(st *step, element []byte) bool {
	for i := range st.where {
		t := &st.where[i]
		inner := walker{depth: w.depth, left: w.left}
		inner.walk(t.steps, element)
		fits := false
		for _, raw := range inner.found {
			fits = fits || t.any && string(raw) != "null" || !t.any && textOf(raw) == t.value
		}
		if fits == t.not {
			return false
		}
	}
	return true
}

// textOf is a string's text, and everything else as it is written.
func textOf(raw []byte) string {
	if text, ok := jsonscan.String(raw); ok {
		return text
	}
	return string(bytes.ToValidUTF8(raw, []byte(string(utf8.RuneError))))
}
