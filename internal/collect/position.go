package collect

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Position is where a lane of a feed stands. It is stored as JSON in the
// header of every page, and in the feed's state entry when it moved without a
// page; of the two the one with the greater Rev is the later.
type Position struct {
	Rev       uint64    `json:"rev"`                 // grows with every change that is written
	Floor     time.Time `json:"floor,omitzero"`      // nothing before it is wanted: the start of the feed
	Watermark time.Time `json:"watermark,omitzero"`  // all before it was read to its end
	Round     time.Time `json:"round,omitzero"`      // watermark when the round under way began: new records before it are late
	Created   time.Time `json:"created,omitzero"`    // when the feed was first read
	Slices    []Slice   `json:"slices,omitempty"`    // what is left of the round; the first is being read, gaps of earlier rounds come last
	Gaps      []Slice   `json:"gaps,omitempty"`      // slices that could not be read to their end however small; read again every round
	Missed    []Slice   `json:"missed,omitempty"`    // the last gaps that got too old to be read again
	Stream    *Stream   `json:"stream,omitempty"`    // of the live lane of a source that has one
	ForgetTo  uint64    `json:"forget_to,omitempty"` // ids in pages up to this sequence do not count as seen (set by reset)
	Counts    Counts    `json:"counts"`              // since the feed began

	Interval time.Duration `json:"interval,omitempty"` // of the live lane when its round began: how long after it was last asked for a record counts as shown at most

	Asked time.Duration `json:"asked,omitempty"` // how far back the product answered for, at most
	Reach time.Duration `json:"reach,omitempty"` // how old the oldest record was that it answered with, new or known

	// Of the backfill lane: what lies in [Next, Until) has not been begun.
	Since       time.Time `json:"since,omitzero"`
	Next        time.Time `json:"next,omitzero"`
	Until       time.Time `json:"until,omitzero"`
	Concurrency int       `json:"concurrency,omitempty"` // slices read at once

	// Of the revisit lane:
	Age   time.Duration               `json:"age,omitempty"`   // of the round under way
	Marks map[time.Duration]time.Time `json:"marks,omitempty"` // by age: all before was read again
	Found int64                       `json:"found,omitempty"` // records that the round under way found missing
	Proof time.Time                   `json:"proof,omitzero"`  // a revisit that found nothing missing reached up to here

	Whole *Whole `json:"whole,omitempty"` // of the snapshot lane
}

// Counts add up what a lane did.
type Counts struct {
	Pages      int64 `json:"pages"`      // written to the log
	Records    int64 `json:"records"`    // written to the log
	Duplicates int64 `json:"duplicates"` // received again and dropped
	Late       int64 `json:"late"`       // became visible after their time had been read
	Gone       int64 `json:"gone"`       // written to the log as no longer there
}

// Slice is a closed window of time read by one of the source's time fields.
type Slice struct {
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	Field  int       `json:"field,omitempty"`  // index in the source's Window.Fields
	Mark   time.Time `json:"mark,omitzero"`    // the product's time when this walk began, where that is before Until
	Cursor []byte    `json:"cursor,omitempty"` // of the next page: raw JSON, in base64 so that no byte changes; none: the first page
	Seen   int       `json:"seen,omitempty"`   // different records so far in this walk
	Walks  int       `json:"walks,omitempty"`  // walks that ended short of the slice's end
	Fails  int       `json:"fails,omitempty"`  // failures in a row at its cursor
	Gap    bool      `json:"gap,omitempty"`    // it was a gap when the round began, and does not hold the watermark back
	Why    string    `json:"why,omitempty"`    // of a gap: what is missing
	Capped bool      `json:"capped,omitempty"` // of a gap: by what one query yields at most
}

// sliceID names a slice within a position; the walks of a slice share it.
type sliceID struct {
	since, until int64
	field        int
}

func (s *Slice) id() sliceID {
	if s.Field == streamField {
		return streamID
	}
	return sliceID{s.Since.UnixNano(), s.Until.UnixNano(), s.Field}
}

// is reports whether both are the same place in the same walk.
func (s *Slice) is(other *Slice) bool {
	return s.id() == other.id() && s.Walks == other.Walks && bytes.Equal(s.Cursor, other.Cursor)
}

// idle reports whether nothing is left of the round.
func (p *Position) idle() bool {
	return len(p.Slices) == 0 && !p.Next.Before(p.Until) && !p.Whole.underWay() && (p.Stream == nil || !p.Stream.Due)
}

// find is the index of a slice, -1 when it is no longer there.
func (p *Position) find(id sliceID) int {
	return slices.IndexFunc(p.Slices, func(s Slice) bool { return s.id() == id })
}

// begin plans to read [since, until) once for each time field, and after that
// the gaps of earlier rounds.
func (p *Position) begin(since, until time.Time, fields int) {
	var added []Slice
	for field := range fields {
		added = append(added, Slice{Since: since, Until: until, Field: field})
	}
	p.Slices = slices.Insert(p.Slices, p.own(), added...)
	for _, g := range p.Gaps {
		if g.Since.Before(since) || g.Until.After(until) { // else it is read with the others
			g.Gap = true
			p.Slices = append(p.Slices, g)
		}
	}
	p.Gaps = nil
}

// own is how many of the slices are the round's own.
func (p *Position) own() int {
	n := slices.IndexFunc(p.Slices, func(s Slice) bool { return s.Gap })
	if n < 0 {
		n = len(p.Slices)
	}
	return n
}

// leaveGaps leaves the gaps that the round has not read again to the next one,
// which begins with them.
func (p *Position) leaveGaps() {
	n := p.own()
	p.Gaps = append(slices.Clone(p.Slices[n:]), p.Gaps...)
	p.Slices = p.Slices[:n]
	p.boundGaps()
}

// done takes a slice off the list and moves the watermark up to the beginning
// of what is left. Gaps of earlier rounds do not hold it back: they are listed
// on their own.
func (p *Position) done(i int) {
	mark := p.Slices[i].Until
	if at := p.Slices[i].Mark; !at.IsZero() {
		mark = earlier(mark, at) // what came after it may have been made since
	}
	p.Slices = slices.Delete(p.Slices, i, i+1)
	if len(p.Slices) == 0 {
		p.Slices = nil
	}
	for _, s := range p.Slices {
		if !s.Gap && s.Since.Before(mark) {
			mark = s.Since
		}
	}
	if p.Next.Before(p.Until) && p.Next.Before(mark) {
		mark = p.Next
	}
	if mark.After(p.Watermark) && p.Whole == nil { // which goes by when it was read
		p.Watermark = mark
	}
}

// mostGaps bounds the list of gaps, which is stored with every page.
const mostGaps = 32

// giveUp moves a slice to the gaps.
func (p *Position) giveUp(i int, why string, capped bool) {
	s := p.Slices[i]
	p.Gaps = append(p.Gaps, Slice{Since: s.Since, Until: s.Until, Field: s.Field, Why: why, Capped: capped})
	p.boundGaps()
	p.done(i)
}

// boundGaps makes neighbours one where there are more than mostGaps.
func (p *Position) boundGaps() {
	for len(p.Gaps) > mostGaps {
		slices.SortFunc(p.Gaps, func(a, b Slice) int { return cmp.Or(cmp.Compare(a.Field, b.Field), a.Since.Compare(b.Since)) })
		nearest := -1
		for k := 1; k < len(p.Gaps); k++ {
			if p.Gaps[k].Field == p.Gaps[k-1].Field && (nearest < 0 || p.Gaps[k].Since.Sub(p.Gaps[k-1].Until) < p.Gaps[nearest].Since.Sub(p.Gaps[nearest-1].Until)) {
				nearest = k
			}
		}
		if nearest < 0 {
			return
		}
		p.Gaps[nearest-1].Until = later(p.Gaps[nearest-1].Until, p.Gaps[nearest].Until)
		p.Gaps[nearest-1].restart()
		p.Gaps = slices.Delete(p.Gaps, nearest, nearest+1)
	}
}

// restart makes a slice begin with its first page.
func (s *Slice) restart() { s.Cursor, s.Seen, s.Fails, s.Mark = nil, 0, 0, time.Time{} }

// again starts the walk of a slice anew.
func (p *Position) again(i int) {
	s := &p.Slices[i]
	s.restart()
	s.Walks++
}

// cut replaces a slice by its two halves. It reports false when the slice is
// not longer than least, and leaves it.
func (p *Position) cut(i int, least time.Duration) bool {
	s := p.Slices[i]
	length := s.Until.Sub(s.Since)
	if length <= least {
		return false
	}
	middle := s.Since.Add(length / 2).Truncate(time.Microsecond)
	if !middle.After(s.Since) || !middle.Before(s.Until) {
		return false
	}
	first := Slice{Since: s.Since, Until: middle, Field: s.Field, Gap: s.Gap, Why: s.Why, Capped: s.Capped}
	second := first
	second.Since, second.Until = middle, s.Until
	p.Slices = slices.Replace(p.Slices, i, i+1, first, second)
	return true
}

// encode is the form that is stored: JSON on one line.
func (p *Position) encode() ([]byte, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode position: %w", err)
	}
	return b, nil
}

// encodeWithin is encode for a form of at most that many bytes, if there is
// one. What is left out makes a reader of it read more again, never less: the
// cursors, and where neighbouring slices meet.
func (p *Position) encodeWithin(most int) ([]byte, error) {
	b, err := p.encode()
	if err != nil || len(b) <= most {
		return b, err
	}
	small := p.clone()
	for i := range small.Slices {
		small.Slices[i].restart()
	}
	for i := range small.Gaps {
		small.Gaps[i].restart()
	}
	if b, err = small.encode(); err != nil || len(b) <= most {
		return b, err
	}
	slices.SortFunc(small.Slices, func(a, b Slice) int {
		return cmp.Or(compareBools(a.Gap, b.Gap), cmp.Compare(a.Field, b.Field), a.Since.Compare(b.Since))
	})
	merged := small.Slices[:0]
	for _, s := range small.Slices {
		if n := len(merged); n > 0 && merged[n-1].Gap == s.Gap && merged[n-1].Field == s.Field && !s.Since.After(merged[n-1].Until) {
			merged[n-1].Until = later(merged[n-1].Until, s.Until)
		} else {
			merged = append(merged, s)
		}
	}
	small.Slices = merged
	if b, err = small.encode(); err != nil || len(b) <= most || small.Stream == nil {
		return b, err
	}
	small.Stream.Cursor = nil
	return small.encode()
}

// compareBools sorts false before true.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// decodePosition is the reverse of encode. What it refuses is damage.
func decodePosition(b []byte) (Position, error) {
	var p Position
	if err := json.Unmarshal(b, &p); err != nil {
		return Position{}, fmt.Errorf("decode position: %w", err)
	}
	for i, s := range p.Slices {
		if s.Until.Before(s.Since) || s.Field < 0 {
			return Position{}, fmt.Errorf("decode position: slice %d runs from %s to %s by field %d", i, s.Since, s.Until, s.Field)
		}
	}
	return p, nil
}

// clone is a copy that shares nothing that changes.
func (p Position) clone() Position {
	p.Slices = slices.Clone(p.Slices)
	p.Gaps, p.Missed = slices.Clone(p.Gaps), slices.Clone(p.Missed)
	p.Marks = maps.Clone(p.Marks)
	if p.Whole != nil {
		whole := *p.Whole
		if whole.Now != nil {
			now := *whole.Now
			whole.Now = &now
		}
		p.Whole = &whole
	}
	if p.Stream != nil {
		s := *p.Stream
		p.Stream = &s
	}
	return p
}
