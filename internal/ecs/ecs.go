// Package ecs turns records into documents: the Elastic Common Schema's fields
// that a source's mapping names, and those that every document has.
//
// [Compile] makes a [Mapper] of a source once. The mapper reads a record in one
// pass and writes the document straight into the caller's buffer, walking a
// tree of the fields that the mapping can give; no decoded form of the record
// ever exists. What does not fit is left out of its field and said in
// error.message. Nothing makes Append fail.
//
// # Values
//
// These are the rules behind [catalog.Expr]. Absent, null, "", [], {} and the
// texts in [catalog.Mapping].Nulls are no value: the next path, or the next part of the mapping that gives the field,
// has its turn, and a field that nobody gives a value is left out, with the
// objects that this leaves empty. The same goes for a value that does not fit,
// which is also named in error.message unless the expression is lenient.
//
//	keyword     a text as it stands in the record; the text of a number, true or false
//	long        a whole number of 64 bits, also in a text; 42.0 is one, 4.2e1 is none
//	double      a number with all its digits, also in a text
//	boolean     true or false, also in a text
//	date        RFC 3339 and what comes near it, or a number of seconds, milliseconds,
//	            microseconds or nanoseconds since 1970; written in UTC with microseconds
//	ip          an address without a zone; IPv4 within IPv6 becomes IPv4
//	email       one address and nothing else
//	domain      a host name, or the one in a host:port or a URL; no IP address
//	json        any value as it stands in the record, on one line
//	user_agent  fills original, name, version, device.name, os.name and os.version
//	            below its field
//	url         fills original, scheme, username, domain, port, path, query and fragment
//
// A list has the elements of an array as they are, "" too, but no nulls and
// nothing that does not fit. One value alone makes a list of one. Through a path
// with [] a list gathers all that the path reaches, each once; a single value
// takes the first. Extracting comes before tables, these before case, and case
// before the type; sorting is by text. A table may turn a value into "", which
// is none, as is a text in which there is nothing to extract. What a list
// extracts it has once.
//
// A list that has pages of its own, and of which the record says that there are
// more, is named in error.message.
package ecs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

// Mapper makes documents of a source's records. It is safe for concurrent use.
type Mapper struct {
	name    string         // wiz/audit
	plan    *jsonscan.Plan // all paths of the mapping, those of keys first, and its lists
	keys    *jsonscan.Plan // the paths of Key only
	ids     int            // how many of the first spans may hold the id
	version [2]int         // spans of the version values: from, up to
	time    expr           // the event time
	parents []parent
	unread  []unread
	when    []condition
	lookups []lookup
	nulls   []string // texts that are no value
	tree    []node
	pool    sync.Pool

	spans, keySpans int // paths of plan and of keys
	gathers         int // fields whose values related.* gathers

	events *classifier // nil: no record has a place in the matrix
	gone   *Mapper     // of what says that a record is gone; nil for a log
}

// Meta is what is known of a record beside itself. Zero values leave their
// fields out, so that the document depends on the record alone.
type Meta struct {
	Connection string    // trawl.connection: wiz-prod
	Created    time.Time // event.created: when it was fetched
	Ingested   time.Time // event.ingested: when it was put in the log
}

// Key is what tells a record from others.
type Key struct {
	ID   string    // the provider's; "" where the record has none
	Time time.Time // of the event, UTC; zero where the record has none
	UID  [16]byte  // trawl.uid, which is its hexadecimal form
}

// Hash is the first half of the UID: what the log notes to tell duplicates.
func (k Key) Hash() uint64 { return binary.BigEndian.Uint64(k.UID[:8]) }

// Option changes what documents hold.
type Option func(*builder)

// WithoutOriginal leaves event.original out.
func WithoutOriginal() Option { return func(b *builder) { b.original = false } }

// WithSight makes AppendSight also see which attributes are filled.
func WithSight() Option { return func(b *builder) { b.sight = true } }

// OnlySight makes a mapper for See alone, which looks at nothing else.
func OnlySight() Option { return func(b *builder) { b.sight, b.document = true, false } }

// Compile makes the mapper of a source. It returns all mistakes of the mapping
// at once, joined, each beginning with the field or path that it is about.
func Compile(src *catalog.Source, opts ...Option) (*Mapper, error) {
	b := builder{original: true, document: true, src: src, m: &Mapper{name: src.FullName()}}
	for _, o := range opts {
		o(&b)
	}
	m, err := b.build()
	if err == nil && src.Kind == "state" {
		m.gone, err = compileGone(src)
	}
	return m, err
}

// Append appends the document of a record to dst: one JSON object on one line,
// without its end. The record should be a JSON object, but whatever it is becomes a
// document.
func (m *Mapper) Append(dst, record []byte, meta Meta) []byte {
	return m.AppendSight(dst, record, meta, nil)
}

// AppendSight is Append; unless s is nil it also fills it as See does, in the
// same pass. The mapper is one WithSight.
func (m *Mapper) AppendSight(dst, record []byte, meta Meta, s *Sight) []byte {
	m = m.of(record)
	st := m.state()
	st.begin(record, meta)
	dst = append(dst, '{')
	dst = st.members(dst, m.tree)
	dst[len(dst)-1] = '}' // in place of the last comma: every document has members
	if s != nil {
		st.see(s, st.time)
	}
	st.end()
	m.pool.Put(st)
	return dst
}

// Key reads what identifies a record, in one scan.
func (m *Mapper) Key(record []byte) Key { return m.KeyOf(record, nil) }

// KeyPlan is what Key scans a record by.
func (m *Mapper) KeyPlan() *jsonscan.Plan { return m.keys }

// KeyOf is Key for a record that KeyPlan has scanned already, with what it has
// found there; nil: it has not.
func (m *Mapper) KeyOf(record []byte, found [][]byte) Key {
	if found == nil {
		m = m.of(record)
	}
	st := m.state()
	out := st.out[:m.keySpans]
	if found != nil {
		copy(out, found)
	} else {
		m.keys.Scan(record, out)
	}
	key := st.key(record)
	clear(out)
	m.pool.Put(st)
	return key
}

// key is the key of the record that was scanned.
func (st *state) key(record []byte) Key {
	key := Key{UID: st.sum(record), Time: st.keyTime()}
	if id := st.id(); len(id) > 0 {
		key.ID = string(id)
	}
	return key
}

// keyTime is the event time of the record that was scanned; zero if it has none.
func (st *state) keyTime() time.Time {
	for _, src := range st.m.time.from {
		if t, ok := parseTime(st.textOf(st.out[src.span])); ok {
			return t
		}
	}
	return time.Time{}
}

func (m *Mapper) state() *state {
	if st, ok := m.pool.Get().(*state); ok {
		return st
	}
	return newState(m)
}

// rawID is the id of the record that was scanned: the first that has a value,
// a single one if there is any.
func (st *state) rawID() (raw []byte) {
	for _, id := range st.out[:st.m.ids] {
		if isEmpty(id) {
			continue
		}
		if k := jsonscan.Kind(id); k != '{' && k != '[' {
			return id
		}
		if raw == nil {
			raw = id
		}
	}
	return raw
}

func (st *state) id() []byte { return st.textOf(st.rawID()) }

// sum is the UID of the record that was scanned: a hash of the source's name,
// the id and the version values, or, where there is no id, the whole record.
func (st *state) sum(record []byte) [16]byte {
	st.buf = append(st.buf[:0], st.m.name...)
	if id := st.id(); len(id) > 0 {
		st.buf = appendPart(st.buf, 'i', id)
		for _, raw := range st.out[st.m.version[0]:st.m.version[1]] {
			value := st.textOf(raw)
			if k := jsonscan.Kind(raw); k == '{' || k == '[' {
				value = raw
			}
			st.buf = appendPart(st.buf, 'v', value)
		}
	} else {
		whole := sha256.Sum256(record)
		st.buf = appendPart(st.buf, 'r', whole[:])
	}
	sum := sha256.Sum256(st.buf)
	return [16]byte(sum[:16])
}

// appendPart marks where a part of a hash begins and ends, so that no two lists
// of parts look the same.
func appendPart(buf []byte, mark byte, part []byte) []byte {
	buf = append(buf, 0, mark)
	buf = binary.AppendUvarint(buf, uint64(len(part)))
	return append(buf, part...)
}

// textOf is the text of a single value: a string's own, a number or boolean as
// it is written; nothing for null and for objects and lists. It stands until
// the next call.
func (st *state) textOf(raw []byte) []byte {
	if st.clean && len(raw) > 1 && raw[0] == '"' && bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	switch jsonscan.Kind(raw) {
	case '"':
		text, escaped, ok := jsonscan.Text(raw)
		if ok && !escaped && utf8.Valid(text) {
			return text
		}
		st.text, _ = jsonscan.AppendText(st.text[:0], raw)
		return st.text
	case '0', 't', 'f':
		return raw
	}
	return nil
}

// isEmpty tells whether a raw value is no value: absent, null, or an empty
// string, list or object.
func isEmpty(raw []byte) bool {
	if len(raw) < 2 {
		return len(raw) == 0
	}
	switch first, last := raw[0], raw[len(raw)-1]; {
	case first == '"':
		return len(raw) == 2
	case first == 'n':
		return true
	case first == '{' && last == '}', first == '[' && last == ']':
		for _, c := range raw[1 : len(raw)-1] {
			if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
				return false
			}
		}
		return true
	}
	return false
}
