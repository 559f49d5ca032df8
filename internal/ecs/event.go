package ecs

import (
	"fmt"
	"slices"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

// classifier says which event of the matrix a record is. Most conditions look at
// the same value, the key, such as the action: what a text of it settles is
// worked out once for each text.
type classifier struct {
	events []event
	key    int               // the span of that value, or -1
	texts  *cache[shortlist] // by the text of the key
	none   shortlist         // where there is no text
}

// event is a catalog.MatrixEvent, made ready.
type event struct {
	written   []byte // the object emm of the document
	condition condition

	attributes []attribute // of the matrix, that it tells
}

// shortlist is what a text of the key leaves of the events: those whose
// conditions have yet to be looked at, then the one that is met in any case.
type shortlist struct {
	open []int
	sure int // -1: none
}

// classify gives every document its place in the matrix.
func (b *builder) classify(m *catalog.Matrix) {
	if m == nil {
		return
	}
	c := &classifier{texts: newCache[shortlist](4096), key: -1}
	count := map[int]int{} // events that look at a span
	for i, e := range m.Events {
		name := func(dst []byte, text string) []byte { return jsonscan.AppendString(dst, []byte(text)) }
		made := event{condition: b.condition(fmt.Sprintf("matrix.events.%d", i), e.Match)}
		made.written = append(name([]byte(`{"category":`), e.Category), `,"event_type":`...)
		made.written = append(name(made.written, e.EventType), '}')
		if b.sight {
			made.attributes = b.attributes(m.Resolved(i))
		}
		for _, span := range made.condition.keys() {
			count[span]++
		}
		c.events = append(c.events, made)
	}
	for span, n := range count {
		if c.key < 0 || n > count[c.key] || n == count[c.key] && span < c.key {
			c.key = span
		}
	}
	c.none = c.shortlist(nil)
	b.m.events = c
	b.give("emm", giver{when: -1, lookup: -1, own: func(st *state, dst []byte) ([]byte, bool) {
		i := c.choose(st)
		st.event = i
		if i < 0 {
			return dst, false
		}
		return append(dst, c.events[i].written...), true
	}})
}

// keys are the spans whose text a condition looks at in any case.
func (c *condition) keys() []int {
	var spans []int
	for _, t := range c.tests {
		if t.exists == 0 && !t.source.many && !slices.Contains(spans, t.source.span) {
			spans = append(spans, t.source.span)
		}
	}
	return spans
}

// choose returns the event that the record is, or -1.
func (c *classifier) choose(st *state) int {
	list := c.none
	if c.key >= 0 {
		var text []byte
		if raw := st.out[c.key]; !st.none(raw) {
			text = st.textOf(raw)
		}
		if len(text) > 0 {
			found, known := c.texts.get(text)
			if !known {
				found = c.shortlist(text)
				if len(text) <= maxKnown {
					c.texts.put(text, found)
				}
			}
			list = found
		}
	}
	for _, i := range list.open {
		if c.events[i].condition.holds(st) {
			return i
		}
	}
	return list.sure
}

// shortlist works out what a text of the key, or none, leaves of the events.
func (c *classifier) shortlist(text []byte) shortlist {
	list := shortlist{sure: -1}
	for i := range c.events {
		switch c.settled(&c.events[i].condition, text) {
		case always:
			list.sure = i
			return list
		case depends:
			list.open = append(list.open, i)
		}
	}
	return list
}

// verdict is what the key's text alone says of a condition.
type verdict byte

const (
	never verdict = iota
	always
	depends // it depends on other values
)

// settled tells what the text of the key, or that there is none, says of a
// condition.
func (c *classifier) settled(cond *condition, text []byte) verdict {
	result := always
	for i := range cond.tests {
		t := &cond.tests[i]
		switch {
		case t.source.many || t.source.span != c.key || t.exists != 0:
			result = depends
		case !t.accepts(text):
			return never
		}
	}
	for _, alternatives := range cond.alternatives {
		best := never
		for i := range alternatives {
			if v := c.settled(&alternatives[i], text); v == always || v == depends && best == never {
				best = v
			}
		}
		switch best {
		case never:
			return never
		case depends:
			result = depends
		}
	}
	for i := range cond.exceptions {
		switch c.settled(&cond.exceptions[i], text) {
		case always:
			return never
		case depends:
			result = depends
		}
	}
	return result
}
