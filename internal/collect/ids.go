package collect

import "math/bits"

// ids is the set of 64-bit hashes of the records that a feed has in the log.
// Two different records of a feed share a hash with a probability below one in
// a hundred thousand for ten million records.
//
// It takes 11 to 16 bytes a hash (BenchmarkIDs), so a day of ten million records
// takes 160 MB at most, and nothing in it makes the collector of
// garbage look inside. The parts grow each at its time, so that growing never
// takes much memory at once.
type ids struct{ parts [64]hashes }

func (s *ids) has(h uint64) bool { return s.parts[h>>58].has(h) }
func (s *ids) add(h uint64) bool { return s.parts[h>>58].add(h) }

// hashes is a set of hashes in a table with open addressing.
type hashes struct {
	slots []uint64 // 0: free
	taken int      // slots that are not
	zero  bool     // 0 is in the set
}

func (s *hashes) has(h uint64) bool {
	if h == 0 {
		return s.zero
	}
	_, found := s.find(h)
	return found
}

// add adds a hash and tells whether it is new.
func (s *hashes) add(h uint64) bool {
	if h == 0 {
		is := !s.zero
		s.zero = true
		return is
	}
	i, found := s.find(h)
	if found {
		return false
	}
	if 4*(s.taken+1) > 3*len(s.slots) {
		s.grow(max(16, len(s.slots)*3/2))
		i, _ = s.find(h)
	}
	s.slots[i] = h
	s.taken++
	return true
}

// find returns the slot of a hash, or the one where it belongs.
func (s *hashes) find(h uint64) (slot int, found bool) {
	n := len(s.slots)
	if n == 0 {
		return 0, false
	}
	spread, _ := bits.Mul64(h*0x9e3779b97f4a7c15, uint64(n))
	for i := int(spread); ; {
		if v := s.slots[i]; v == h || v == 0 {
			return i, v == h
		}
		if i++; i == n {
			i = 0
		}
	}
}

func (s *hashes) grow(n int) {
	old := s.slots
	s.slots = make([]uint64, n)
	for _, h := range old {
		if h != 0 {
			i, _ := s.find(h)
			s.slots[i] = h
		}
	}
}
