package observe

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/collect"
)

// What is kept of a feed is bounded: its event types and attributes are those
// of the matrix, and there are at most so many of the rest.
const (
	keptDays  = 56 // up to the last on which an event type was seen, for which there are counts by day
	mostKinds = 50 // values of records without a place that are named
	kindBytes = 80 // of such a value
	mostNotes = 16 // the latest

	format    = 1
	mostState = 8 << 20 // of an entry, decoded
)

// Feed is what was seen in the records of a feed, and how far in the log.
type Feed struct {
	Format     int       `json:"format"`
	Connection string    `json:"connection"`
	Source     string    `json:"source"`
	Seq        uint64    `json:"seq"`            // its pages up to it are counted, and no other
	Began      time.Time `json:"began,omitzero"` // when the first page that is counted was stored
	Stored     time.Time `json:"stored,omitzero"`

	Records  int64     `json:"records"`
	Timeless int64     `json:"timeless"` // of them, without a time that can be; they are in no other count of times
	Gone     int64     `json:"gone"`     // that a state was found to lack; not among the records
	First    time.Time `json:"first,omitzero"`
	Last     time.Time `json:"last,omitzero"`

	Types    map[string]*Type `json:"types"`    // by the key of the event type
	Unlisted Type             `json:"unlisted"` // the records without a place in the matrix; nothing is filled
	Kinds    map[string]*Kind `json:"kinds"`    // those, by the value that most events are told by
	Others   int64            `json:"others"`   // those that are of none of the kinds

	Forgotten uint64    `json:"forgotten,omitempty"` // the reset up to which pages do not count
	Watermark time.Time `json:"watermark,omitzero"`  // of the live lane
	Notes     []Note    `json:"notes"`
}

// Type is what was seen of an event type.
type Type struct {
	Count    int64            `json:"count"`
	First    time.Time        `json:"first,omitzero"` // event time
	Last     time.Time        `json:"last,omitzero"`
	Filled   Filled           `json:"filled"`         // records in which an attribute has a value
	Days     map[int64]int64  `json:"days,omitempty"` // records by the day of their time, counted from 1970; the last ones
	Lateness collect.Lateness `json:"lateness"`
}

// Filled counts records for each attribute of the matrix, in its order. As JSON
// it is by the attributes' keys.
type Filled [64]int64

// add counts so many records that fill the same attributes, as ecs.Sight has them.
func (f *Filled) add(attributes uint64, records int64) {
	for ; attributes != 0; attributes &= attributes - 1 {
		f[bits.TrailingZeros64(attributes)] += records
	}
}

// MarshalJSON writes the counts that there are.
func (f Filled) MarshalJSON() ([]byte, error) {
	byKey := map[string]int64{}
	for i, key := range attributes() {
		if f[i] > 0 {
			byKey[key] = f[i]
		}
	}
	return json.Marshal(byKey)
}

// UnmarshalJSON reads counts. Attributes that the matrix no longer has are left
// out.
func (f *Filled) UnmarshalJSON(text []byte) error {
	byKey := map[string]int64{}
	if err := json.Unmarshal(text, &byKey); err != nil {
		return err
	}
	*f = Filled{}
	for i, key := range attributes() {
		f[i] = byKey[key]
	}
	return nil
}

// Kind is what was seen of records that have no place in the matrix.
type Kind struct {
	Count int64     `json:"count"`
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
}

// Note is something that changes what the counts mean.
type Note struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

func newFeed(connection, source string) *Feed {
	return &Feed{Format: format, Connection: connection, Source: source, Types: map[string]*Type{}, Kinds: map[string]*Kind{}}
}

// Name is the feed's full name: wiz-prod/audit.
func (f *Feed) Name() string { return f.Connection + "/" + f.Source }

// note keeps a note; the oldest make room.
func (f *Feed) note(at time.Time, format string, args ...any) {
	f.Notes = append(f.Notes, Note{at.UTC(), fmt.Sprintf(format, args...)})
	f.Notes = f.Notes[max(0, len(f.Notes)-mostNotes):]
}

// merge counts a page. The caller has seen to it that it was not counted before.
func (f *Feed) merge(t *Tally) {
	f.Seq = t.seq
	if f.Began.IsZero() {
		f.Began = t.stored
	}
	f.Stored = t.stored
	if t.standing.Known && t.live {
		if t.standing.Watermark.Before(f.Watermark) {
			f.note(t.fetched, "the feed was set back to %s: what the log no longer knew by then was collected and counted again", t.standing.Watermark.UTC().Format(time.RFC3339))
		}
		f.Watermark = t.standing.Watermark
	}
	if t.gone > 0 {
		f.Gone += t.gone
		return
	}
	f.Records += t.records
	f.Timeless += t.timeless
	for i := range t.types {
		d := &t.types[i]
		if d.count == 0 {
			continue
		}
		into := &f.Unlisted
		if i < len(t.plan.types) {
			key := t.plan.types[i]
			if f.Types[key] == nil {
				f.Types[key] = &Type{}
			}
			into = f.Types[key]
		}
		into.merge(d)
		f.First, f.Last = earlier(f.First, d.first), later(f.Last, d.last)
	}
	for _, text := range slices.Sorted(maps.Keys(t.kinds)) {
		f.kind(text, t.kinds[text])
	}
	f.Others += t.others
}

// kind counts records of a kind, in a place of its own while there is one.
func (f *Feed) kind(text string, k *Kind) {
	text = strings.ToValidUTF8(text, "\ufffd") // as JSON would make it
	into := f.Kinds[text]
	if into == nil {
		if len(f.Kinds) >= mostKinds {
			f.Others += k.Count
			return
		}
		into = &Kind{}
		f.Kinds[text] = into
	}
	into.Count += k.Count
	into.First, into.Last = earlier(into.First, k.First), later(into.Last, k.Last)
}

func (t *Type) merge(d *delta) {
	t.Count += d.count
	t.First, t.Last = earlier(t.First, d.first), later(t.Last, d.last)
	for _, m := range d.filled {
		t.Filled.add(m.attributes, m.count)
	}
	if d.varied != nil {
		for i, n := range d.varied {
			t.Filled[i] += n
		}
	}
	t.Lateness.Merge(&d.lateness)
	if len(d.days) == 0 {
		return
	}
	if t.Days == nil {
		t.Days = map[int64]int64{}
	}
	for _, c := range d.days {
		t.Days[c.on] += c.count
	}
	if forgotten := day(t.Last) - keptDays; len(t.Days) > keptDays {
		maps.DeleteFunc(t.Days, func(on, _ int64) bool { return on <= forgotten })
	}
}

// day is the day of a time, in UTC, counted from 1970.
func day(t time.Time) int64 {
	seconds := t.Unix()
	if seconds < 0 {
		seconds -= 86399
	}
	return seconds / 86400
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// encode is the form that is stored. It is compressed, so that it is small
// enough to be written even when pages have filled the disk.
func (f *Feed) encode() ([]byte, error) {
	text, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode what was seen of %s: %w", f.Name(), err)
	}
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed) // the level is one it knows
	_, _ = w.Write(text)                              // to memory
	_ = w.Close()
	return out.Bytes(), nil
}

// decode is the inverse of encode. What it refuses is damage, or of a later
// version of Trawl.
func decode(data []byte) (*Feed, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(r, mostState+1))
	if err != nil {
		return nil, err
	}
	if len(text) > mostState {
		return nil, errors.New("too long")
	}
	f := newFeed("", "")
	if err := json.Unmarshal(text, f); err != nil {
		return nil, err
	}
	switch {
	case f.Format > format:
		return nil, &laterError{f.Format}
	case f.Format != format || f.Connection == "" || f.Source == "" || f.Types == nil || f.Kinds == nil:
		return nil, errors.New("it lacks what it must have")
	}
	for key, of := range f.Types {
		if of == nil {
			return nil, fmt.Errorf("it has nothing under %q", key)
		}
	}
	for key, of := range f.Kinds {
		if of == nil {
			return nil, fmt.Errorf("it has nothing under %q", key)
		}
	}
	return f, nil
}

// laterError refuses what a later version of Trawl has stored.
type laterError struct{ format int }

func (e *laterError) Error() string {
	return fmt.Sprintf("its format %d is of a later version of Trawl", e.format)
}

// clone is a copy that shares nothing that changes.
func (f *Feed) clone() *Feed {
	c := *f
	c.Types, c.Kinds, c.Notes = map[string]*Type{}, map[string]*Kind{}, slices.Clone(f.Notes)
	for key, t := range f.Types {
		of := t.clone()
		c.Types[key] = &of
	}
	c.Unlisted = f.Unlisted.clone()
	for key, k := range f.Kinds {
		of := *k
		c.Kinds[key] = &of
	}
	return &c
}

func (t *Type) clone() Type {
	c := *t
	c.Days = maps.Clone(t.Days)
	return c
}
