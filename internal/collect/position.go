package collect

import (
	"encoding/json"
	"fmt"
	"maps"
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
	Slices    []Slice   `json:"slices,omitempty"`    // what is left of the round; the first is being read
	Gaps      []Slice   `json:"gaps,omitempty"`      // slices that could not be read to their end however small; read again every round
	ForgetTo  uint64    `json:"forget_to,omitempty"` // ids in pages up to this sequence do not count as seen (set by reset)
	Counts    Counts    `json:"counts"`              // since the feed began

	// Of the revisit lane:
	Age   time.Duration               `json:"age,omitempty"`   // of the round under way
	Marks map[time.Duration]time.Time `json:"marks,omitempty"` // by age: all before was read again
	Found int64                       `json:"found,omitempty"` // records that the round under way found missing
	Proof time.Time                   `json:"proof,omitzero"`  // a revisit that found nothing missing reached up to here
}

// Counts add up what a lane did.
type Counts struct {
	Pages      int64 `json:"pages"`      // written to the log
	Records    int64 `json:"records"`    // written to the log
	Duplicates int64 `json:"duplicates"` // received again and dropped
	Late       int64 `json:"late"`       // became visible after their time had been read
}

// Slice is a closed window of time read by one of the source's time fields.
type Slice struct {
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	Field  int       `json:"field,omitempty"`  // index in the source's Window.Fields
	Cursor []byte    `json:"cursor,omitempty"` // of the next page: raw JSON, in base64 so that no byte changes; none: the first page
	Seen   int       `json:"seen,omitempty"`   // different records so far in this walk
	Walks  int       `json:"walks,omitempty"`  // walks that ended short of the slice's end
	Why    string    `json:"why,omitempty"`    // of a gap: what is missing
}

// is reports whether both are the same walk of the same slice.
func (s *Slice) is(other *Slice) bool {
	return s.Since.Equal(other.Since) && s.Until.Equal(other.Until) && s.Field == other.Field && s.Walks == other.Walks
}

// first is the slice being read, nil when the round is over.
func (p *Position) first() *Slice {
	if len(p.Slices) == 0 {
		return nil
	}
	return &p.Slices[0]
}

// begin plans the round that reads [since, until) once for each time field,
// and the gaps of earlier rounds.
func (p *Position) begin(since, until time.Time, fields int) {
	p.Round = p.Watermark
	gaps := p.Gaps
	p.Gaps = nil
	for _, g := range gaps {
		p.Slices = append(p.Slices, Slice{Since: g.Since, Until: g.Until, Field: g.Field})
	}
	for field := range fields {
		p.Slices = append(p.Slices, Slice{Since: since, Until: until, Field: field})
	}
}

// done takes the first slice off the list and moves the watermark up to the
// beginning of what is left, at most to until. Gaps of earlier rounds do not
// hold it back: they are listed on their own.
func (p *Position) done() {
	finished := p.Slices[0]
	p.Slices = p.Slices[1:]
	mark := finished.Until
	for _, s := range p.Slices {
		if s.Since.Before(mark) {
			mark = s.Since
		}
	}
	if len(p.Slices) == 0 {
		p.Slices = nil
	}
	if mark.After(p.Watermark) {
		p.Watermark = mark
	}
}

// giveUp moves the first slice to the gaps.
func (p *Position) giveUp(why string) {
	s := p.Slices[0]
	p.Gaps = append(p.Gaps, Slice{Since: s.Since, Until: s.Until, Field: s.Field, Why: why})
	p.done()
}

// again starts the walk of the first slice anew.
func (p *Position) again() {
	s := &p.Slices[0]
	s.Cursor, s.Seen = nil, 0
	s.Walks++
}

// cut replaces the first slice by its two halves. It reports false when the
// slice is not longer than least, and leaves it.
func (p *Position) cut(least time.Duration) bool {
	s := p.Slices[0]
	length := s.Until.Sub(s.Since)
	if length <= least {
		return false
	}
	middle := s.Since.Add(length / 2).Truncate(time.Microsecond)
	if !middle.After(s.Since) || !middle.Before(s.Until) {
		return false
	}
	halves := []Slice{
		{Since: s.Since, Until: middle, Field: s.Field},
		{Since: middle, Until: s.Until, Field: s.Field},
	}
	p.Slices = append(halves, p.Slices[1:]...)
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
	p.Slices = append([]Slice(nil), p.Slices...)
	p.Gaps = append([]Slice(nil), p.Gaps...)
	p.Marks = maps.Clone(p.Marks)
	return p
}
