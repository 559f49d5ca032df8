package saassim

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"
)

// What a request's credentials were worth (Request.Auth).
const (
	AuthOK      = "ok"
	AuthMissing = "missing" // no token, or not of the scheme
	AuthUnknown = "unknown" // a token never given out, or revoked
	AuthExpired = "expired"
	AuthRefused = "refused" // a token request without success
)

// keptRequests is how many requests a tenant remembers.
const keptRequests = 1 << 16

// Kinds of request (Request.Kind).
const (
	KindAPI   = "api"
	KindToken = "token" // a sign-in
	KindFile  = "file"  // to a store of files that the API refers to
)

// Request is one request as the tenant saw it. It holds no secret.
type Request struct {
	Time      time.Time       `json:"time"`
	Kind      string          `json:"kind"` // "" for a path that does not exist
	Method    string          `json:"method"`
	Path      string          `json:"path"`
	UserAgent string          `json:"user_agent,omitempty"`
	Operation string          `json:"operation,omitempty"` // what was asked for; of GraphQL, the fields of the query's root, joined by commas
	Query     string          `json:"query,omitempty"`     // of the URL, as received
	Variables json.RawMessage `json:"variables,omitempty"` // of a GraphQL query, as received
	Auth      string          `json:"auth,omitempty"`
	Status    int             `json:"status"`            // 0: no answer was made
	Records   int             `json:"records,omitempty"` // in the page that was answered
	Faults    []Fault         `json:"faults,omitempty"`  // that struck it
}

// Stats counts what a tenant has seen. The most a second counts requests to
// the API in any span of one second.
type Stats struct {
	Requests      int           `json:"requests"`
	API           int           `json:"api"`
	SignIns       int           `json:"sign_ins"` // successful ones
	Records       int           `json:"records"`  // in pages answered, each as often as it was
	MostPerSecond int           `json:"most_per_second"`
	ByStatus      map[int]int   `json:"by_status"`
	ByFault       map[Fault]int `json:"by_fault"`
}

type requestLog struct {
	mu     sync.Mutex
	kept   []Request // a ring once it is full
	next   int       // where the ring goes on
	stats  Stats
	recent []time.Time // requests to the API of the last second
}

func newRequestLog() *requestLog {
	return &requestLog{stats: Stats{ByStatus: map[int]int{}, ByFault: map[Fault]int{}}}
}

// arrived counts a request to the API at the time it came.
func (l *requestLog) arrived(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := 0
	for old < len(l.recent) && at.Sub(l.recent[old]) >= time.Second {
		old++
	}
	l.recent = append(l.recent[old:], at) // what is cut off goes when the slice next grows
	l.stats.MostPerSecond = max(l.stats.MostPerSecond, len(l.recent))
}

// add keeps a request that has been answered.
func (l *requestLog) add(r Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.stats
	s.Requests++
	s.ByStatus[r.Status]++
	s.Records += r.Records
	for _, f := range r.Faults {
		s.ByFault[f]++
	}
	switch {
	case r.Kind == KindAPI:
		s.API++
	case r.Kind == KindToken && r.Auth == AuthOK:
		s.SignIns++
	}
	if len(l.kept) < keptRequests {
		l.kept = append(l.kept, r)
		return
	}
	l.kept[l.next] = r
	l.next = (l.next + 1) % keptRequests
}

func (l *requestLog) requests() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(slices.Clone(l.kept[l.next:]), l.kept[:l.next]...)
}

func (l *requestLog) counts() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.ByStatus, s.ByFault = maps.Clone(s.ByStatus), maps.Clone(s.ByFault)
	return s
}

func (l *requestLog) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept, l.next, l.recent = nil, 0, nil
	l.stats = Stats{ByStatus: map[int]int{}, ByFault: map[Fault]int{}}
}
