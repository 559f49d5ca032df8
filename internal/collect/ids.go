package collect

// ids is the set of 64-bit hashes of the records that a feed has in the log.
// Two different records of a feed share a hash with a probability below one in
// a hundred thousand for ten million records.
type ids map[uint64]struct{}

func (s ids) has(h uint64) bool {
	_, ok := s[h]
	return ok
}

func (s ids) add(h uint64) { s[h] = struct{}{} }
