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
	AuthMissing = "missing" // no bearer token
	AuthUnknown = "unknown" // a token never given out, or revoked
	AuthExpired = "expired"
	AuthRefused = "refused" // a token request without success
)

// keptRequests is how many requests a tenant remembers.
const keptRequests = 1 << 16

// Request is one request as the tenant saw it. It holds no secret.
type Request struct {
	Time      time.Time       `json:"time"`
	Kind      string          `json:"kind"` // token, graphql, or "" for a path that does not exist
	Path      string          `json:"path"`
	UserAgent string          `json:"user_agent,omitempty"`
	Operation string          `json:"operation,omitempty"` // fields of the query's root, joined by commas
	Variables json.RawMessage `json:"variables,omitempty"` // as received
	Auth      string          `json:"auth,omitempty"`
	Status    int             `json:"status"`            // 0: no answer was made
	Records   int             `json:"records,omitempty"` // in the page that was answered
	Faults    []Fault         `json:"faults,omitempty"`  // that struck it
}

// Stats counts what a tenant has seen. The most a second counts GraphQL
// requests in any span of one second.
type Stats struct {
	Requests      int           `json:"requests"`
	GraphQL       int           `json:"graphql"`
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
	recent []time.Time // GraphQL requests of the last second
}

func newRequestLog() *requestLog {
	return &requestLog{stats: Stats{ByStatus: map[int]int{}, ByFault: map[Fault]int{}}}
}

// arrived counts a GraphQL request at the time it came.
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
	case r.Kind == "graphql":
		s.GraphQL++
	case r.Kind == "token" && r.Auth == AuthOK:
		s.SignIns++
	}
	if len(l.kept) < keptRequests {
		l.kept = append(l.kept, r)
		return
	}
	l.kept[l.next] = r
	l.next = (l.next + 1) % keptRequests
}

// Requests returns the requests answered so far in the order they were
// answered; of very many, the last 65,536.
func (w *Wiz) Requests() []Request {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(slices.Clone(l.kept[l.next:]), l.kept[:l.next]...)
}

// Stats returns the counts so far.
func (w *Wiz) Stats() Stats {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.ByStatus, s.ByFault = maps.Clone(s.ByStatus), maps.Clone(s.ByFault)
	return s
}

// ForgetRequests empties the log of requests and sets the counts to zero.
func (w *Wiz) ForgetRequests() {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept, l.next, l.recent = nil, 0, nil
	l.stats = Stats{ByStatus: map[int]int{}, ByFault: map[Fault]int{}}
}
