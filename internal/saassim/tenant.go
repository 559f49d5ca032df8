package saassim

import (
	"context"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// Product is what makes a tenant one of a certain product. Its functions may
// be called from several goroutines at once.
type Product struct {
	Name    string   // "wiz"
	Sources []Source // the kinds of record that it has
	Faults  []Fault  // that it can have besides those that every product can
	Truth   iter.Seq[Truth]

	Answer func(*Call)               // answers a request
	Error  func(c *Call, status int) // answers with what the product says for a status of its own failures
	Limit  func(*Call) bool          // answers when the client goes too fast, and returns whether it did; nil: never
	Admin  func(*http.ServeMux)      // adds admin requests of the product's own; nil: none
}

// Source is a kind of record of a product.
type Source struct {
	Name string               // "audit"
	Add  func(Batch) []string // makes records and returns their ids in the order of their times
	Live func()               // one event in the life of the tenant; nil: one record, now
}

// Settings are those that the tenants of every product have.
type Settings struct {
	Seed   uint64           // of everything drawn at random; the same seed and calls give the same records and faults
	Clock  func() time.Time // the tenant's calendar; nil: time.Now
	Gzip   bool             // compress answers for clients that accept it
	Faults Faults           // what goes wrong, and how often
}

// Tenant is a simulated tenant of any product: an http.Handler with what a
// test or the demo needs to drive it. Its methods may be called from several
// goroutines at once.
type Tenant struct {
	product Product
	clock   func() time.Time
	gzip    bool
	known   []Fault
	faults  *faultState
	log     *requestLog
	tokens  *tokenStore
	dice    Dice // of the pace of Run only, which is called once
}

// NewTenant returns a tenant of a product. It fails on faults that do not
// exist, or not for this product.
func NewTenant(p Product, s Settings) (*Tenant, error) {
	t := &Tenant{
		product: p, clock: s.Clock, gzip: s.Gzip,
		log: newRequestLog(), tokens: newTokenStore(s.Seed), dice: NewDice(s.Seed, 3),
	}
	if t.clock == nil {
		t.clock = time.Now
	}
	for f, kind := range faultKinds {
		if kind.common || slices.Contains(p.Faults, f) {
			t.known = append(t.known, f)
		}
	}
	slices.Sort(t.known)
	t.faults = &faultState{seed: s.Seed}
	return t, t.SetFaults(s.Faults)
}

// Name is the product's.
func (t *Tenant) Name() string { return t.product.Name }

// Sources are the names of the kinds of record that the tenant has.
func (t *Tenant) Sources() []string {
	var names []string
	for _, s := range t.product.Sources {
		names = append(names, s.Name)
	}
	return names
}

// Now is the tenant's time, in UTC.
func (t *Tenant) Now() time.Time { return t.clock().UTC() }

// ServeHTTP answers as the product does.
func (t *Tenant) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	c := &Call{T: t, W: rw, R: r, Entry: Request{Time: time.Now(), Method: r.Method, Path: r.URL.Path}}
	defer c.note()
	t.product.Answer(c)
}

// Start serves the tenant on a free port of the loopback interface until the
// server is closed.
func (t *Tenant) Start() (*Server, error) { return Serve("127.0.0.1:0", t) }

// SetFaults replaces what goes wrong, from the next request and the next
// record on. It fails on a fault that the product cannot have, and then changes
// nothing.
func (t *Tenant) SetFaults(f Faults) error {
	if err := f.check(); err != nil {
		return err
	}
	for name := range f {
		if name != Chaos && !slices.Contains(t.known, name) {
			return fmt.Errorf("%s has no fault %q; it has: %s, %s", t.Name(), name, Chaos, join(t.known))
		}
	}
	t.faults.replace(f.expand(t.known))
	return nil
}

// FaultNames lists the faults that the product can have.
func (t *Tenant) FaultNames() []Fault { return slices.Clone(t.known) }

// Draw decides whether a fault that is no part of a request strikes now: when a
// record is made, or something the tenant does by itself.
func (t *Tenant) Draw(f Fault) (Setting, bool) { return t.faults.draw(f) }

// Faulty tells whether a fault is in force, however seldom it strikes.
func (t *Tenant) Faulty(f Fault) bool { return t.faults.has(f) }

// Requests returns the requests answered so far in the order they were
// answered; of very many, the last 65,536.
func (t *Tenant) Requests() []Request { return t.log.requests() }

// Stats returns the counts so far.
func (t *Tenant) Stats() Stats { return t.log.counts() }

// ForgetRequests empties the log of requests and sets the counts to zero.
func (t *Tenant) ForgetRequests() { t.log.forget() }

// RevokeTokens makes every token that was given out at sign-in worthless.
func (t *Tenant) RevokeTokens() { t.tokens.revokeAll() }

// Truth yields every record of the tenant as it stands at the call. What
// becomes visible only later is among them.
func (t *Tenant) Truth() iter.Seq[Truth] { return t.product.Truth }

// Add makes records of a source and returns their ids in the order of their
// times. It panics on a source that the product does not have.
func (t *Tenant) Add(source string, b Batch) []string {
	s, ok := t.source(source)
	if !ok {
		panic(fmt.Sprintf("%s has no source %q", t.Name(), source))
	}
	return s.Add(b)
}

func (t *Tenant) source(name string) (Source, bool) {
	i := slices.IndexFunc(t.product.Sources, func(s Source) bool { return s.Name == name })
	if i < 0 {
		return Source{}, false
	}
	return t.product.Sources[i], true
}

// Live is how fast a tenant lives: for each of its sources, events a second.
type Live map[string]float64

// Run makes records as time passes, until the context ends; it returns the
// context's error. The gaps between them are random. Their times are the
// tenant's, the pace is that of real time. It panics on a source that the
// product does not have.
func (t *Tenant) Run(ctx context.Context, live Live) error {
	var names []string
	var ends []float64 // of each source's share, in order
	total := 0.0
	for _, s := range t.product.Sources {
		total += live[s.Name]
		names, ends = append(names, s.Name), append(ends, total)
	}
	for name := range live {
		if !slices.Contains(names, name) {
			panic(fmt.Sprintf("%s has no source %q", t.Name(), name))
		}
	}
	if total <= 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	for {
		gap, which := t.dice.ExpFloat64()/total, t.dice.Float64()*total
		timer := time.NewTimer(time.Duration(math.Min(gap, 60) * float64(time.Second)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		s := t.product.Sources[slices.IndexFunc(ends, func(end float64) bool { return which < end })]
		if s.Live != nil {
			s.Live()
			continue
		}
		now := t.Now()
		s.Add(Batch{N: 1, From: now, To: now})
	}
}

// Batch says what records to make: so many, at times drawn from [From, To).
// A zero To is now, and a zero From a day before To; where From is not before
// To all have the time To.
type Batch struct {
	N        int
	From, To time.Time
	Late     time.Duration // they become visible this long after their time
	Equal    int           // so many share each time; 0: as it falls, in microseconds
}

// Moment is when something happens and when it begins to show.
type Moment struct{ At, Visible time.Time }

// Spread draws the times of a batch, in no order.
func (t *Tenant) Spread(d Dice, b Batch) []Moment {
	if b.To.IsZero() {
		b.To = t.Now()
	}
	if b.From.IsZero() {
		b.From = b.To.Add(-24 * time.Hour)
	}
	out := make([]Moment, 0, b.N)
	for len(out) < b.N {
		at, share := d.Between(b.From, b.To), max(1, b.Equal)
		if s, ok := t.Draw(Equal); ok {
			share = s.N
		}
		for range min(share, b.N-len(out)) {
			late := b.Late
			if s, ok := t.Draw(Late); ok {
				late = s.Delay
			}
			out = append(out, Moment{at, at.Add(late)})
		}
	}
	return out
}

// Truth is one record that a client had, or will have, a chance to see: an
// event, or one state of a thing that has several.
type Truth struct {
	Source    string    `json:"source"` // wiz/audit
	ID        string    `json:"id"`
	Time      time.Time `json:"time"`       // of an event, when it happened; of a state, when it began
	VisibleAt time.Time `json:"visible_at"` // from when queries see it, if the record was there by then

	// Of an event that is also in a stream:
	StreamAt time.Time `json:"stream_at,omitzero"` // when it is first there; zero: never, or there is no stream

	// Of a state:
	ReplacedAt      time.Time `json:"replaced_at,omitzero"` // when queries see the next one; zero: not yet
	Status          string    `json:"status,omitempty"`
	StatusChangedAt time.Time `json:"status_changed_at,omitzero"` // zero: null
}

// Dice draws what is made up. They are not safe for concurrent use.
type Dice struct{ *rand.Rand }

// NewDice returns dice that always fall the same way for a seed; streams of one
// seed are independent of each other.
func NewDice(seed, stream uint64) Dice { return Dice{rand.New(rand.NewPCG(seed, stream))} }
