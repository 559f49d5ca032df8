package ecs

import (
	"fmt"
	"slices"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

// classifier says which event of the matrix a record is. Most conditions look at
// the same value, such as the action: which events a text of it may be is worked
// out once for each text.
type classifier struct {
	events []event
	key    int           // the span of that value, or -1
	likely *cache[[]int] // events by its text
	always []int         // events where there is no text
}

// event is a catalog.MatrixEvent, made ready.
type event struct {
	written []byte // the object emm of the document
	tests   []test // what it asks of the key
	rest    condition
}

// free tells whether an event asks for nothing but what it asks of the key.
func (e *event) free() bool {
	return len(e.rest.tests)+len(e.rest.alternatives)+len(e.rest.exceptions) == 0
}

// classify gives every document its place in the matrix.
func (b *builder) classify(m *catalog.Matrix) {
	if m == nil {
		return
	}
	c := &classifier{likely: newCache[[]int](4096), key: -1}
	count := map[int]int{} // events that look at a span
	for i, e := range m.Events {
		name := func(dst []byte, text string) []byte { return jsonscan.AppendString(dst, []byte(text)) }
		made := event{rest: b.condition(fmt.Sprintf("matrix.events.%d", i), e.Match)}
		made.written = append(name([]byte(`{"category":`), e.Category), `,"event_type":`...)
		made.written = append(name(made.written, e.EventType), '}')
		for _, span := range made.keys() {
			count[span]++
		}
		c.events = append(c.events, made)
	}
	for span, n := range count {
		if c.key < 0 || n > count[c.key] || n == count[c.key] && span < c.key {
			c.key = span
		}
	}
	for i := range c.events {
		e := &c.events[i]
		ofKey := func(t test) bool { return t.ofText() && t.source.span == c.key }
		for _, t := range e.rest.tests {
			if ofKey(t) {
				e.tests = append(e.tests, t)
			}
		}
		e.rest.tests = slices.DeleteFunc(e.rest.tests, ofKey)
	}
	c.always = c.of(nil)
	b.give("emm", giver{when: -1, lookup: -1, own: func(st *state, dst []byte) ([]byte, bool) {
		i := c.choose(st)
		if i < 0 {
			return dst, false
		}
		return append(dst, c.events[i].written...), true
	}})
}

// keys are the spans whose text the event looks at in any case.
func (e *event) keys() []int {
	var spans []int
	for _, t := range e.rest.tests {
		if t.ofText() && !slices.Contains(spans, t.source.span) {
			spans = append(spans, t.source.span)
		}
	}
	return spans
}

// ofText tells whether a test depends on the text of one value alone.
func (t *test) ofText() bool { return t.exists == 0 && !t.source.many }

// choose returns the event that the record is, or -1.
func (c *classifier) choose(st *state) int {
	likely := c.always
	if c.key >= 0 {
		var text []byte
		if raw := st.out[c.key]; !st.none(raw) {
			text = st.textOf(raw)
		}
		if len(text) > 0 {
			var known bool
			if likely, known = c.likely.get(text); !known {
				likely = c.of(text)
				if len(text) <= maxKnown {
					c.likely.put(text, likely)
				}
			}
		}
	}
	for _, i := range likely {
		if c.events[i].rest.holds(st) {
			return i
		}
	}
	return -1
}

// of returns the events that a record with this text of the key may be, up to
// the first that it is in any case.
func (c *classifier) of(text []byte) []int {
	var likely []int
	for i := range c.events {
		e := &c.events[i]
		if slices.ContainsFunc(e.tests, func(t test) bool { return !t.accepts(text) }) {
			continue
		}
		likely = append(likely, i)
		if e.free() {
			break
		}
	}
	return likely
}
