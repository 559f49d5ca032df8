package box

import (
	"cmp"
	"crypto"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// What a tenant accepts where Options leaves it open.
const (
	DefaultClientID     = "simulatedboxapplication000000000"
	DefaultClientSecret = "simulated-secret-not-a-real-one-"
	DefaultEnterpriseID = "801234567"
	DefaultAudience     = "https://api.box.com/oauth2/token"
)

// Where a tenant answers.
const (
	APIPath   = "/2.0"
	TokenPath = "/oauth2/token"
)

// ScopeReports is the scope that the enterprise's events ask for, among others
// that an application can have.
const ScopeReports = "manage_enterprise_properties"

// Positions is how next_stream_position is written.
type Positions string

// The ways in which it has been seen.
const (
	MixedPositions  Positions = "mixed" // now this way, now that
	NumberPositions Positions = "number"
	StringPositions Positions = "string"
)

// Options describes a tenant. The zero value is one without events that
// behaves as the vendor's documents say, with what they leave open as told in
// the package comment.
type Options struct {
	Seed   uint64
	Clock  func() time.Time // the tenant's calendar. nil: time.Now
	Faults saassim.Faults
	Gzip   bool

	ClientID, ClientSecret string
	EnterpriseID           string
	Keys                   map[string]crypto.PublicKey // of the application, by their ids. nil: it cannot sign in by JWT
	Audience               string                      // that a JWT must be for. "": DefaultAudience
	ClockSkew              time.Duration               // how far the server's clock, which judges a JWT, is ahead
	Unauthorized           bool                        // no administrator has allowed the application
	Scopes                 []string                    // of the application. nil: ScopeReports
	NoReports              bool                        // who acts lacks the permission to run reports
	TokenLifetime          time.Duration               // 0: an hour

	Users         int            // people in the enterprise. 0: 40
	Zone          *time.Location // in which times are written. nil: seven hours behind UTC
	PerMinute     int            // requests to the API a minute of each user. 0: 1000; negative: no limit
	Positions     Positions      // "": MixedPositions
	Wide          bool           // positions have 20 digits, which no signed number of 64 bits can hold
	Inclusive     bool           // created_after and created_before include their own instant
	StreamDelay   time.Duration  // after which an event is in the stream, or up to twice that. 0: 12 seconds
	StreamTwice   float64        // share of the events that are in the stream twice. 0: 0.02; negative: none
	IndexDelay    time.Duration  // after which an event is in the log, half more or less. 0: a minute
	KeepStream    time.Duration  // 0: two weeks
	KeepLog       time.Duration  // 0: 365 days
	KeepPositions time.Duration  // how long a position of the stream is good. 0: two weeks
}

// Tenant is a simulated Box enterprise.
type Tenant struct {
	*saassim.Tenant
	opts Options
	once saassim.Once // the JWTs that have been used

	mu     sync.RWMutex // guards what follows
	gen    *generator
	used   map[string]*saassim.Budget // of each subject that tokens act for
	log    saassim.Journal[*event]    // admin_logs
	stream saassim.Feed[*event]       // admin_logs_streaming
	byN    map[int]*event
}

// New returns a tenant. It fails when the options contradict each other.
func New(o Options) (*Tenant, error) {
	o = o.withDefaults()
	if o.Positions != MixedPositions && o.Positions != NumberPositions && o.Positions != StringPositions {
		return nil, fmt.Errorf("simulated tenant: positions %q are none of mixed, number, string", o.Positions)
	}
	b := &Tenant{opts: o, byN: map[int]*event{}, gen: newGenerator(o), used: map[string]*saassim.Budget{}}
	var err error
	b.Tenant, err = saassim.NewTenant(saassim.Product{
		Name:    "box",
		Sources: []saassim.Source{{Name: "events", Add: b.AddEvents}},
		Faults:  []saassim.Fault{saassim.ShortPage, saassim.DeadCursor, saassim.Lost, saassim.MissingKeys, saassim.Shift},
		Truth:   b.truth, Answer: b.answer, Error: fails, Limit: b.limited,
	}, saassim.Settings{Seed: o.Seed, Clock: o.Clock, Gzip: o.Gzip, Faults: o.Faults})
	if err != nil {
		return nil, fmt.Errorf("simulated tenant: %w", err)
	}
	return b, nil
}

func (o Options) withDefaults() Options {
	const day = 24 * time.Hour
	o.ClientID = cmp.Or(o.ClientID, DefaultClientID)
	o.ClientSecret = cmp.Or(o.ClientSecret, DefaultClientSecret)
	o.EnterpriseID = cmp.Or(o.EnterpriseID, DefaultEnterpriseID)
	o.Audience = cmp.Or(o.Audience, DefaultAudience)
	o.Positions = cmp.Or(o.Positions, MixedPositions)
	o.TokenLifetime = cmp.Or(o.TokenLifetime, time.Hour)
	o.StreamDelay = cmp.Or(o.StreamDelay, 12*time.Second)
	o.IndexDelay = cmp.Or(o.IndexDelay, time.Minute)
	o.KeepStream = cmp.Or(o.KeepStream, 14*day)
	o.KeepLog = cmp.Or(o.KeepLog, 365*day)
	o.KeepPositions = cmp.Or(o.KeepPositions, 14*day)
	o.Users = cmp.Or(o.Users, 40)
	o.PerMinute = cmp.Or(o.PerMinute, 1000)
	o.StreamTwice = cmp.Or(o.StreamTwice, 0.02)
	if o.Scopes == nil {
		o.Scopes = []string{ScopeReports}
	}
	if o.Zone == nil {
		o.Zone = time.FixedZone("", -7*60*60)
	}
	return o
}

// answer answers a request.
func (b *Tenant) answer(c *saassim.Call) {
	switch c.R.URL.Path {
	case TokenPath:
		b.signIn(c)
	case APIPath + "/events":
		b.events(c)
	default:
		refuse(c, http.StatusNotFound, "not_found", "Not Found")
	}
}

// limited counts a request, and answers it if it is one too many.
func (b *Tenant) limited(c *saassim.Call) bool {
	if b.opts.PerMinute < 0 {
		return false
	}
	b.mu.Lock()
	budget := b.used[c.Grant.Subject]
	if budget == nil {
		budget = &saassim.Budget{Limit: b.opts.PerMinute, Window: time.Minute}
		b.used[c.Grant.Subject] = budget
	}
	_, ends, ok := budget.Take(c.Entry.Time)
	b.mu.Unlock()
	if !ok {
		c.Throttle(saassim.Throttle, ends.Sub(c.Entry.Time))
	}
	return !ok
}

// fails answers with a status that has no reason in the request.
func fails(c *saassim.Call, status int) {
	code, message := map[int]string{
		http.StatusTooManyRequests: "rate_limit_exceeded", http.StatusInternalServerError: "internal_server_error",
		http.StatusBadGateway: "bad_gateway", http.StatusServiceUnavailable: "unavailable",
	}[status], http.StatusText(status)
	if status == http.StatusTooManyRequests {
		message = "Request rate limit exceeded, please try again later"
	}
	refuse(c, status, code, message)
}

// refuse answers with the error of the API.
func refuse(c *saassim.Call, status int, code, message string) {
	c.JSON(status, map[string]any{
		"type": "error", "status": status, "code": code, "message": message, "context_info": nil,
		"help_url": "http://developers.box.com/docs/#errors", "request_id": c.T.NoiseText(8),
	})
}
