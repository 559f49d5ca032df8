package ingest

import (
	"slices"
	"sync"
)

// strangers are the senders whose signature can be checked only once their body
// has come. They have places of their own, so that nobody without a credential
// keeps out those who have one; and where all are taken, a newcomer gets one
// from whoever has most of them. So a slow sender can stay only for as long as
// nobody else wants to send, and a crowd from one address displaces itself.
type strangers struct {
	mu   sync.Mutex
	most int
	here []*stranger // the longest there first
}

// stranger is a sender that has a place.
type stranger struct {
	from    string // its address, without the port
	giveWay func() // ends its sending; called at most once
	out     bool   // it had to go
	known   bool   // its signature was good: it need not go any more
}

// enter gives a sender a place; nil: all are taken by senders that are known.
func (s *strangers) enter(from string, giveWay func()) *stranger {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.here) >= s.most {
		places := map[string]int{from: 1}
		for _, x := range s.here {
			places[x.from]++
		}
		goes := -1
		for i, x := range s.here {
			if !x.known && (goes < 0 || places[x.from] > places[s.here[goes].from]) {
				goes = i
			}
		}
		if goes < 0 {
			return nil
		}
		x := s.here[goes]
		x.out = true
		s.here = slices.Delete(s.here, goes, goes+1)
		x.giveWay()
	}
	x := &stranger{from: from, giveWay: giveWay}
	s.here = append(s.here, x)
	return x
}

// keep lets a sender that turned out to be known have its place until it leaves;
// false: it had to go before.
func (s *strangers) keep(x *stranger) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.known = !x.out
	return x.known
}

// leave gives a place back. It may be called again.
func (s *strangers) leave(x *stranger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.here = slices.DeleteFunc(s.here, func(other *stranger) bool { return other == x })
}

// displaced tells whether a sender had to go.
func (s *strangers) displaced(x *stranger) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return x.out
}
