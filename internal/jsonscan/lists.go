package jsonscan

// Lists is what the lists of a plan reach in a record: where each value stands.
// The zero Lists is ready; one is used again for the next record, and so costs
// no memory a record.
type Lists struct {
	spans  [][]Span // of each list
	count  int      // of all spans
	unsure bool     // they are not all that there is
	more   []uint64 // for state.more, which is used again too
}

// Span is where a value stands: src[From:To].
type Span struct{ From, To int }

const (
	maxListed  = 1 << 16 // spans that are noted of a record
	keepListed = 1 << 12 // spans of a record from which on their room is not kept for the next
)

// ScanLists is Scan, and notes in the same pass what the lists of the plan
// reach.
func (p *Plan) ScanLists(src []byte, out [][]byte, lists *Lists) bool {
	s := state{src: src, out: out, lists: lists}
	return p.scan(&s)
}

// Reached returns the values that list i reaches in the record that was scanned,
// in order, until the next scan. It reports false where they were not noted:
// src is not valid, has a name twice on the way to a value, or the values are
// too many. Path.Each finds them there.
func (l *Lists) Reached(i int) ([]Span, bool) {
	if l.unsure {
		return nil, false
	}
	return l.spans[i], true
}

// reset makes ready for the n lists of another record.
func (l *Lists) reset(n int) {
	if l.count > keepListed || len(l.spans) != n {
		l.spans = make([][]Span, n)
	}
	for i := range l.spans {
		l.spans[i] = l.spans[i][:0]
	}
	l.count, l.unsure = 0, false
}

func (l *Lists) add(list int, s Span) {
	if l.unsure = l.unsure || l.count >= maxListed; l.unsure {
		return
	}
	l.count++
	l.spans[list] = append(l.spans[list], s)
}

// met returns room to mark n nodes as met, of which none is.
func (l *Lists) met(n int) []uint64 {
	if len(l.more) != (n+63)/64 {
		l.more = make([]uint64, (n+63)/64)
	}
	clear(l.more)
	return l.more
}
