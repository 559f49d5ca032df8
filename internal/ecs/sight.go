package ecs

import (
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/emm"
)

// Sight is what the matrix asks of a record. One is used again for the next.
type Sight struct {
	Time   time.Time // of the event, UTC; zero where the record has none
	Event  int       // index in the source's Matrix.Events; -1: the record has no place there
	Filled uint64    // which attributes of the event have a value: bit i stands for emm.Matrix().Attributes[i]
	Kind   []byte    // of a record without a place, the value that most events are told by, such as its action; none: ""
}

// See fills s from a record, without making its document. The mapper is one
// OnlySight, or WithSight, which takes longer.
func (m *Mapper) See(record []byte, s *Sight) {
	m = m.of(record)
	st := m.state()
	valid, text := st.scan(record), utf8.Valid(record)
	st.clean = valid && text
	if !text {
		record = validUTF8(record)
		st.clean = st.scan(record)
	}
	st.record = record
	st.dropNulls()
	st.event = -1
	if m.events != nil {
		st.event = m.events.choose(st)
	}
	st.see(s, st.keyTime())
	st.end()
	m.pool.Put(st)
}

// see fills s from the record at work.
func (st *state) see(s *Sight, at time.Time) {
	s.Time, s.Event, s.Filled, s.Kind = at, st.event, 0, s.Kind[:0]
	c := st.m.events
	switch {
	case c == nil:
	case st.event >= 0:
		told := c.events[st.event].attributes
		for i := range told {
			if a := &told[i]; s.Filled&a.bit == 0 && a.filled(st) {
				s.Filled |= a.bit
			}
		}
	case c.key >= 0:
		s.Kind = append(s.Kind, st.textOf(st.out[c.key])...)
	}
}

// attribute is an attribute of the matrix and a place where it may stand.
type attribute struct {
	bit  uint64
	from source
}

// filled tells whether there is a value.
func (a *attribute) filled(st *state) bool {
	raw := st.out[a.from.span]
	if len(raw) > len(`""`) && raw[0] == '"' && !a.from.many && a.from.span >= st.m.keySpans {
		return true // by far the most common; texts that are no value are not here any more
	}
	if st.none(raw) || !a.from.many {
		return !st.none(raw)
	}
	found := false
	st.each(&a.from, func(raw []byte) bool {
		found = !st.none(raw)
		return !found
	})
	return found
}

// attributes makes ready where the attributes of an event stand: the places of one
// in a row.
func (b *builder) attributes(where map[string]catalog.Paths) []attribute {
	var made []attribute
	for _, key := range slices.Sorted(maps.Keys(where)) {
		i := slices.IndexFunc(emm.Matrix().Attributes, func(a emm.Attribute) bool { return a.Key == key })
		for _, path := range where[key] {
			made = append(made, attribute{1 << i, b.source("matrix attribute "+key, path, true)})
		}
	}
	return made
}
