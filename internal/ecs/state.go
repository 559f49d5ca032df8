package ecs

import (
	"bytes"
	"encoding/hex"
	"time"
	"unicode/utf8"

	"github.com/trawlsec/trawl/internal/jsonscan"
)

// state is the work on one record. States are reused, so that a record costs
// no allocations.
type state struct {
	m        *Mapper
	record   []byte // valid UTF-8
	clean    bool   // the spans are of valid JSON and valid UTF-8
	meta     Meta
	uid      [16]byte
	out      [][]byte // spans of the plan's paths
	lists    jsonscan.Lists
	holds    []bool // of each When block, whether its condition holds
	cases    []int  // of each lookup, the case, -1, or undecided
	written  []span // of each gathered field, where its value stands in the document
	errs     []byte // what did not fit, as error.message says it
	errSpans []span // the parts of errs
	text     []byte // the text of the value at work
	buf      []byte // what is made of it
	filled   []byte // the text of a template
	elements []span // of the list at work, in the document
	once     distinct
	naming   naming
	agent    parsedAgent
	url      parsedURL
	event    int       // of the matrix that the record is, once emm was written; -1: none
	date     time.Time // that was written last
	time     time.Time // of the event, once @timestamp was written; zero: none
	created  writtenTime
	ingested writtenTime
}

// span is a stretch of a buffer.
type span struct{ from, to int }

// keep is the size from which on a state's buffers are not kept for the next record.
const keep = 64 << 10

func newState(m *Mapper) *state {
	return &state{
		m:       m,
		out:     make([][]byte, m.spans),
		holds:   make([]bool, len(m.when)),
		cases:   make([]int, len(m.lookups)),
		written: make([]span, m.gathers),
	}
}

// begin scans the record and decides what holds for it as a whole.
func (st *state) begin(record []byte, meta Meta) {
	m := st.m
	valid, text := st.scan(record), utf8.Valid(record)
	st.clean = valid && text
	st.uid = st.sum(record)
	if !text {
		record = validUTF8(record)
		st.clean = st.scan(record)
	}
	st.record, st.meta = record, meta
	st.event, st.time = -1, time.Time{}
	st.errs, st.errSpans = st.errs[:0], st.errSpans[:0]
	clear(st.written)
	st.dropNulls()
	switch k := jsonscan.Kind(record); {
	case k == 0 || !valid:
		st.say("record", nil, "is cut off or not JSON")
	case k != '{':
		st.say("record", record, "is not an object")
	}
	for i := range m.parents {
		p := &m.parents[i]
		if raw := st.out[p.span]; raw != nil && raw[0] != p.kind && !isEmpty(raw) {
			st.say(p.path, raw, p.complaint)
		}
	}
	for _, list := range m.unread {
		if string(st.out[list.span]) == "true" {
			st.say(list.path, nil, "has more elements than were read")
		}
	}
	for i := range m.when {
		st.holds[i] = m.when[i].holds(st)
	}
	for i := range st.cases {
		st.cases[i] = undecided
	}
}

// scan reads all paths, and tells whether the record is valid JSON. What is not
// may look different to another plan, so then the key is read with its own.
func (st *state) scan(record []byte) (valid bool) {
	if st.m.plan.ScanLists(record, st.out, &st.lists) {
		return true
	}
	st.m.keys.Scan(record, st.out[:st.m.keySpans])
	return false
}

// dropNulls takes the texts that are no value for none, except where the key
// is read.
func (st *state) dropNulls() {
	if len(st.m.nulls) == 0 {
		return
	}
	from := st.m.keySpans
	for i, raw := range st.out[from:] {
		if raw != nil && st.isNull(raw) {
			st.out[from+i] = nil
		}
	}
}

// isNull tells whether a raw value is one of the texts that are none.
func (st *state) isNull(raw []byte) bool {
	if raw[0] != '"' {
		return false
	}
	text := st.textOf(raw)
	for _, null := range st.m.nulls {
		if string(text) == null {
			return true
		}
	}
	return false
}

// none tells whether a raw value is no value.
func (st *state) none(raw []byte) bool {
	return isEmpty(raw) || len(st.m.nulls) > 0 && st.isNull(raw)
}

// end lets go of the record and of buffers that have grown large.
func (st *state) end() {
	clear(st.out)
	st.record, st.meta, st.clean = nil, Meta{}, false
	if max(cap(st.text), cap(st.buf), cap(st.filled), cap(st.elements), cap(st.url.text), cap(st.naming.open)) > keep {
		st.text, st.buf, st.filled, st.elements, st.url, st.naming = nil, nil, nil, nil, parsedURL{}, naming{}
	}
}

// members writes the members of an object, those of nodes that have a value,
// each with a comma behind it.
func (st *state) members(dst []byte, nodes []node) []byte {
	for i := range nodes {
		n := &nodes[i]
		if n.only >= 0 && st.out[n.only] == nil {
			continue
		}
		if n.fixed != nil {
			dst = append(dst, n.fixed...)
			continue
		}
		start := len(dst)
		dst = append(dst, n.key...)
		if n.field != nil {
			var ok bool
			if dst, ok = st.field(dst, n.field); ok {
				dst = append(dst, ',')
			} else {
				dst = dst[:start]
			}
			continue
		}
		if dst = st.members(dst, n.children); dst[len(dst)-1] == ',' {
			dst[len(dst)-1] = '}'
			dst = append(dst, ',')
		} else {
			dst = dst[:start]
		}
	}
	return dst
}

// field writes the value of the first giver that has one.
func (st *state) field(dst []byte, f *field) ([]byte, bool) {
	start := len(dst)
	for i := range f.givers {
		g := &f.givers[i]
		if g.when >= 0 && !st.holds[g.when] {
			continue
		}
		ok := true
		switch {
		case g.expr != nil:
			dst, ok = st.expr(dst, g.expr)
		case g.own != nil:
			dst, ok = g.own(st, dst)
		case g.lookup >= 0:
			c := st.lookup(g.lookup)
			if c < 0 || g.cases[c] == nil {
				continue
			}
			dst = append(dst, g.cases[c]...)
		default:
			dst = append(dst, g.constant...)
		}
		if !ok {
			continue
		}
		if f.gather >= 0 {
			st.written[f.gather] = span{start, len(dst)}
		}
		return dst, true
	}
	return dst, false
}

const undecided = -2

// lookup decides a lookup when a field first asks for it: a field with a value
// from elsewhere does not mind a value that no case knows.
func (st *state) lookup(i int) int {
	if st.cases[i] == undecided {
		st.cases[i] = st.m.lookups[i].choose(st)
	}
	return st.cases[i]
}

// The fields that every document has.

func ownTime(st *state, dst []byte) ([]byte, bool) {
	dst, ok := st.expr(dst, &st.m.time)
	if ok {
		st.time = st.date
		return dst, true
	}
	if !st.meta.Created.IsZero() {
		st.say("@timestamp", nil, "the record has no time, so it is when the record was fetched")
		return appendTime(dst, st.meta.Created), true
	}
	st.say("@timestamp", nil, "the record has no time")
	return dst, false
}

func ownID(st *state, dst []byte) ([]byte, bool) {
	raw := st.rawID()
	if isEmpty(raw) {
		st.say("event.id", nil, "the record has none")
		return dst, false
	}
	if k := jsonscan.Kind(raw); k == '{' || k == '[' {
		st.say("event.id", raw, "is not a single value")
		return dst, false
	}
	return st.keyword(dst, raw)
}

func ownOriginal(st *state, dst []byte) ([]byte, bool) {
	return jsonscan.AppendString(dst, st.record), true
}

func ownUID(st *state, dst []byte) ([]byte, bool) {
	dst = append(dst, '"')
	dst = hex.AppendEncode(dst, st.uid[:])
	return append(dst, '"'), true
}

func ownConnection(st *state, dst []byte) ([]byte, bool) {
	if st.meta.Connection == "" {
		return dst, false
	}
	st.buf = append(st.buf[:0], st.meta.Connection...)
	return jsonscan.AppendString(dst, st.buf), true
}

func ownCreated(st *state, dst []byte) ([]byte, bool) {
	return st.created.append(dst, st.meta.Created)
}

func ownIngested(st *state, dst []byte) ([]byte, bool) {
	return st.ingested.append(dst, st.meta.Ingested)
}

// writtenTime is a time that many records share, and how it is written.
type writtenTime struct {
	time time.Time
	text []byte
}

func (w *writtenTime) append(dst []byte, t time.Time) ([]byte, bool) {
	if t.IsZero() {
		return dst, false
	}
	if w.time != t {
		w.time, w.text = t, appendTime(w.text[:0], t)
	}
	return append(dst, w.text...), true
}

func ownError(st *state, dst []byte) ([]byte, bool) {
	return jsonscan.AppendString(dst, st.errs), len(st.errs) > 0
}

// related writes the values of document fields, each once.
func (st *state) related(dst []byte, gathers []int) ([]byte, bool) {
	start := len(dst)
	dst = append(dst, '[')
	st.once.reset()
	for _, g := range gathers {
		w := st.written[g]
		if w.to == 0 {
			continue
		}
		add := func(raw []byte) bool {
			if len(raw) > 2 && raw[0] == '"' {
				from := len(dst)
				if dst[from-1] != '[' {
					dst = append(dst, ',')
				}
				value := len(dst)
				dst = append(dst, raw...)
				if !st.once.add(dst, value) {
					dst = dst[:from]
				}
			}
			return true
		}
		// The value is read where it stands in dst; growing dst leaves the old bytes be.
		if raw := dst[w.from:w.to:w.to]; raw[0] == '[' {
			jsonscan.Elements(raw, add)
		} else {
			add(raw)
		}
	}
	if len(dst) == start+1 {
		return dst[:start], false
	}
	return append(dst, ']'), true
}

// validUTF8 copies text with U+FFFD in place of every byte that is no UTF-8.
func validUTF8(s []byte) []byte {
	valid := make([]byte, 0, len(s)+64)
	for len(s) > 0 {
		r, size := utf8.DecodeRune(s)
		valid = utf8.AppendRune(valid, r)
		s = s[size:]
	}
	return valid
}

// What error.message holds at most.
const (
	maxComplaints = 20
	maxExcerpt    = 80 // bytes of a value
)

// say adds to error.message what is wrong with a field: the field, the value
// and the complaint. What was said already is not said again.
func (st *state) say(field string, raw []byte, complaint string) {
	if len(st.errSpans) > maxComplaints {
		return
	}
	start := len(st.errs)
	if start > 0 {
		st.errs = append(st.errs, "; "...)
	}
	from := len(st.errs)
	if len(st.errSpans) == maxComplaints {
		st.errs = append(st.errs, "and more"...)
	} else {
		st.errs = append(st.errs, field...)
		st.errs = append(st.errs, ": "...)
		if len(raw) > 0 {
			st.errs = append(appendExcerpt(st.errs, raw), ' ')
		}
		st.errs = append(st.errs, complaint...)
	}
	for _, s := range st.errSpans {
		if bytes.Equal(st.errs[s.from:s.to], st.errs[from:]) {
			st.errs = st.errs[:start]
			return
		}
	}
	st.errSpans = append(st.errSpans, span{from, len(st.errs)})
}

// appendExcerpt appends a raw value for people to read.
func appendExcerpt(dst, raw []byte) []byte {
	switch jsonscan.Kind(raw) {
	case '{':
		return append(dst, "{…}"...)
	case '[':
		return append(dst, "[…]"...)
	}
	if len(raw) <= maxExcerpt {
		return append(dst, raw...)
	}
	cut := maxExcerpt
	for !utf8.RuneStart(raw[cut]) {
		cut--
	}
	return append(append(dst, raw[:cut]...), "…"...)
}

// distinct tells values apart that were written to a buffer one after another.
type distinct struct {
	few  []span
	many map[string]struct{} // once there are too many to compare them all
}

func (d *distinct) reset() { d.few, d.many = d.few[:0], nil }

// add notes the value buf[from:] and reports whether it is new.
func (d *distinct) add(buf []byte, from int) bool {
	value := buf[from:]
	if d.many != nil {
		if _, ok := d.many[string(value)]; ok {
			return false
		}
		d.many[string(value)] = struct{}{}
		return true
	}
	for _, s := range d.few {
		if bytes.Equal(buf[s.from:s.to], value) {
			return false
		}
	}
	d.few = append(d.few, span{from, len(buf)})
	if len(d.few) > 32 {
		d.many = make(map[string]struct{}, 64)
		for _, s := range d.few {
			d.many[string(buf[s.from:s.to])] = struct{}{}
		}
	}
	return true
}
