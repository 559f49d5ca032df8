package wiz

import (
	"bytes"
	"fmt"
	"sort"
	"sync/atomic"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// Static is an audit log too large to keep: its records are computed when they
// are asked for. They lie evenly over [From, To), look like those a tenant
// makes up, and can be filtered by their timestamp only.
type Static struct {
	Records  int
	From, To time.Time
}

func (s Static) check(o Options) error {
	switch {
	case s.Records < 1:
		return fmt.Errorf("static audit log: %d records", s.Records)
	case s.To.Sub(s.From) < time.Duration(s.Records)*time.Microsecond:
		return fmt.Errorf("static audit log: %d records do not fit between %s and %s a microsecond apart", s.Records, s.From, s.To)
	case o.Order == Shuffled:
		return fmt.Errorf("static audit log: the order cannot be shuffled")
	}
	return nil
}

// staticVariants is how many different records there are before their ids and
// times.
const staticVariants = 256

type staticSet struct {
	Static
	seed     uint64
	step     time.Duration
	variants []*auditEntry
	compiled atomic.Pointer[templates]
}

// templates are the variants as one selection shows them, cut at the places
// where ids and times belong.
type templates struct {
	sel   *selection
	parts [][]part
}

type part struct {
	text []byte
	hole hole // 0 after the last part
}

// What goes into a template's holes.
const (
	holeID      hole = 'i'
	holeRequest hole = 'r'
	holeTime    hole = 't'
)

func newStaticSet(s Static, seed uint64, g *generator) *staticSet {
	set := &staticSet{Static: s, seed: seed}
	set.From = s.From.UTC().Truncate(time.Microsecond)
	set.step = (s.To.Sub(s.From) / time.Duration(s.Records)).Truncate(time.Microsecond)
	for range staticVariants {
		set.variants = append(set.variants, g.auditEntry(s.From))
	}
	return set
}

func (s *staticSet) time(i int) time.Time { return s.From.Add(time.Duration(i) * s.step) }

// number is a random-looking number for a record, one of a few streams.
func (s *staticSet) number(i, stream int) uint64 {
	z := s.seed + uint64(i)*4 + uint64(stream)
	z = (z + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (s *staticSet) variant(i int) int { return int(s.number(i, 0) % staticVariants) }

func (s *staticSet) appendID(dst []byte, i int) []byte {
	return saassim.AppendUUID(dst, s.number(i, 1), s.number(i, 2))
}

func (s *staticSet) appendRequest(dst []byte, i int) []byte {
	return saassim.AppendUUID(dst, s.number(i, 3), s.number(i, 1))
}

// find is the part of the log that lies in a window, by arithmetic.
func (s *staticSet) find(f auditFilter, now time.Time, order Order) (result, error) {
	if len(f.where) > 0 {
		return result{}, badInput("a static audit log is filtered by timestamp only")
	}
	if !f.during.WithBefore {
		now = now.Add(time.Nanosecond)
	}
	f.during.AtMost(now) // what has not happened is not there
	from := sort.Search(s.Records, func(i int) bool { return !f.during.TooEarly(s.time(i)) })
	to := from + sort.Search(s.Records-from, func(i int) bool { return !f.during.Has(s.time(from + i)) })
	n := to - from
	index := func(i int) int { return from + i }
	if order == NewestFirst {
		index = func(i int) int { return to - 1 - i }
	}
	return result{
		n:  n,
		at: func(i int) object { return s.record(index(i)) },
		span: func(dst []byte, sel *selection, a, b int) ([]byte, bool) {
			t := s.templates(sel)
			for i := a; i < b; i++ {
				if i > a {
					dst = append(dst, ',')
				}
				dst = s.fill(dst, t, index(i))
			}
			return dst, true
		},
	}, nil
}

// templates cuts the variants for a selection, or takes those cut last.
func (s *staticSet) templates(sel *selection) *templates {
	if t := s.compiled.Load(); t != nil && t.sel == sel {
		return t
	}
	t := &templates{sel: sel}
	var w writer
	for _, v := range s.variants {
		o := overlay{base: v, id: holeID, request: holeRequest, at: holeTime}
		if v.id == v.requestID {
			o.request = holeID
		}
		var parts []part
		for rest := w.object(nil, o, sel); ; {
			i := bytes.IndexByte(rest, 0)
			if i < 0 {
				parts = append(parts, part{text: rest})
				break
			}
			parts = append(parts, part{text: rest[:i], hole: hole(rest[i+1])})
			rest = rest[i+2:]
		}
		t.parts = append(t.parts, parts)
	}
	s.compiled.Store(t)
	return t
}

func (s *staticSet) fill(dst []byte, t *templates, i int) []byte {
	for _, p := range t.parts[s.variant(i)] {
		dst = append(dst, p.text...)
		switch p.hole {
		case holeID:
			dst = s.appendID(dst, i)
		case holeRequest:
			dst = s.appendRequest(dst, i)
		case holeTime:
			dst = s.time(i).AppendFormat(dst, timeLayout)
		}
	}
	return dst
}

// record is one record as an object, for what the templates cannot do.
func (s *staticSet) record(i int) object {
	v := s.variants[s.variant(i)]
	o := overlay{base: v, id: string(s.appendID(nil, i)), request: string(s.appendRequest(nil, i)), at: s.time(i)}
	if v.id == v.requestID {
		o.request = o.id
	}
	return o
}

// overlay is an entry with another id, request and time.
type overlay struct {
	base            *auditEntry
	id, request, at any
}

func (o overlay) typename() string { return o.base.typename() }

func (o overlay) field(name string) any {
	switch name {
	case "id":
		return o.id
	case "requestId":
		return o.request
	case "timestamp":
		return o.at
	}
	return o.base.field(name)
}
