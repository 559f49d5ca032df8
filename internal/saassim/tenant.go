package saassim

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// What a tenant accepts where Options leaves it open. The lengths are those of
// real credentials (53 and 64 characters).
const (
	DefaultClientID     = "trawlsimulatedserviceaccount0000000000000000000000000"
	DefaultClientSecret = "simulated-secret-not-a-real-one-00000000000000000000000000000000"
	DefaultAudience     = "wiz-api"
)

// Scopes that the tenant checks. ScopeAll stands for every scope that begins
// with "read:", and so not for ScopeAudit.
const (
	ScopeAudit           = "admin:audit"
	ScopeIssues          = "read:issues"
	ScopeServiceAccounts = "read:service_accounts"
	ScopeAll             = "read:all"
)

// Order is the order of audit log entries, of which Wiz documents nothing.
type Order string

// The orders a tenant can have.
const (
	NewestFirst Order = "newest-first"
	OldestFirst Order = "oldest-first"
	Shuffled    Order = "shuffled" // the same for every page of a walk, unrelated to time
)

// Cursors is what a page cursor holds on to.
type Cursors string

// The two kinds of cursor.
const (
	OffsetCursors   Cursors = "offset"   // a count of records: pages shift when records appear before it
	SnapshotCursors Cursors = "snapshot" // the result of the first page's query, as it was then
)

// Schema is the age of the tenant's GraphQL schema.
type Schema string

// The two ages of the audit log's schema.
const (
	CurrentSchema Schema = "current" // performer, actionType, filters actionV2 and sourceIP
	LegacySchema  Schema = "legacy"  // user and serviceAccount only, filters action and sourceIp
)

// Options describes a tenant. The zero value is a tenant without records that
// behaves as the vendor's documents say, with what they leave open as told in
// the package comment.
type Options struct {
	Seed  uint64           // of everything drawn at random; the same seed and calls give the same records and faults
	Clock func() time.Time // the tenant's calendar: what is visible, and what "inLast" means. nil: time.Now

	ClientID, ClientSecret, Audience string
	TokenHeaders                     map[string]string // headers that a token request must have
	TokenParams                      map[string]string // form values that a token request must have besides the usual ones
	TokenLifetime                    time.Duration     // 0: 24 hours
	Scopes                           []string          // of the service account. nil: ScopeAudit and ScopeIssues
	DataCentre                       string            // the token's dc claim. "": us1

	RefusedStatus    int // HTTP status for a bad credential. 0: 401
	DeniedStatus     int // HTTP status for a missing scope. 0: 200, with a GraphQL error
	ValidationStatus int // HTTP status for a query that does not fit the schema. 0: 400

	Schema          Schema        // "": CurrentSchema
	Users           int           // people in the tenant. 0: 40
	ServiceAccounts int           // programs in the tenant. 0: 12
	Order           Order         // "": NewestFirst
	Cursors         Cursors       // "": OffsetCursors
	Inclusive       bool          // after and before include their own instant
	AuditCap        int           // results of one audit query. 0: 10,000; negative: no limit
	SaturateCount   bool          // totalCount stops at the cap as well
	Retention       time.Duration // of audit log entries. 0: 180 days; negative: for ever
	MaxAuditPage    int           // 0: 5000
	MaxIssuePage    int           // 0: 500
	ClampPages      bool          // a first beyond the maximum is lowered, not refused
	AuditReads      bool          // sign-ins and queries leave audit log entries themselves
	Static          *Static       // a large audit log that exists by arithmetic, in place of the one in memory

	Rate       float64 // GraphQL requests a second; 0: no limit
	Burst      int     // 0: the rate, rounded up
	RateAnswer Fault   // one of the Throttle faults: how going too fast is answered. "": Throttle
	Gzip       bool    // compress answers for clients that accept it
	Faults     Faults  // what goes wrong, and how often
}

// Wiz is a simulated Wiz tenant: an http.Handler with a token endpoint at
// /oauth/token and the API at /graphql. Its methods may be called from several
// goroutines at once.
type Wiz struct {
	opts    Options
	schema  *graph
	limiter *rate.Limiter // nil: no limit
	tokens  *tokenStore
	faults  *faultState
	log     *requestLog
	numeric atomic.Bool   // number cursors have been given out, so they are taken back
	nonce   atomic.Uint64 // makes two cursors of one place differ

	mu        sync.RWMutex // guards what follows
	gen       *generator
	audit     []*auditEntry // by time; a reader may keep the slice, so it is only appended to or replaced
	auditByID map[string]*auditEntry
	lastSeen  time.Time // when the last of the entries becomes visible
	issues    []*issue  // in order of creation
	snapshots snapshots
	static    *staticSet
}

// New returns a tenant. It fails when the options contradict each other.
func New(opts Options) (*Wiz, error) {
	opts = opts.withDefaults()
	if err := opts.check(); err != nil {
		return nil, fmt.Errorf("simulated tenant: %w", err)
	}
	schema, err := loadGraph(opts.Schema)
	if err != nil {
		return nil, fmt.Errorf("simulated tenant: %w", err)
	}
	w := &Wiz{
		opts:      opts,
		schema:    schema,
		tokens:    newTokenStore(opts.Seed),
		faults:    newFaultState(opts.Seed, opts.Faults),
		log:       newRequestLog(),
		gen:       newGenerator(rand.New(rand.NewPCG(opts.Seed, 1)), opts),
		auditByID: map[string]*auditEntry{},
	}
	if opts.Rate > 0 {
		w.limiter = rate.NewLimiter(rate.Limit(opts.Rate), opts.Burst)
	}
	w.numeric.Store(w.faults.has(NumericCursor))
	if opts.Static != nil {
		w.static = newStaticSet(*opts.Static, opts.Seed, w.gen)
	}
	return w, nil
}

func (o Options) withDefaults() Options {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	num := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	def(&o.ClientID, DefaultClientID)
	def(&o.ClientSecret, DefaultClientSecret)
	def(&o.Audience, DefaultAudience)
	def(&o.DataCentre, "us1")
	def((*string)(&o.Schema), string(CurrentSchema))
	def((*string)(&o.Order), string(NewestFirst))
	def((*string)(&o.Cursors), string(OffsetCursors))
	def((*string)(&o.RateAnswer), string(Throttle))
	num(&o.RefusedStatus, http.StatusUnauthorized)
	num(&o.DeniedStatus, http.StatusOK)
	num(&o.ValidationStatus, http.StatusBadRequest)
	num(&o.Users, 40)
	num(&o.ServiceAccounts, 12)
	num(&o.AuditCap, 10_000)
	num(&o.MaxAuditPage, 5000)
	num(&o.MaxIssuePage, 500)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.TokenLifetime == 0 {
		o.TokenLifetime = 24 * time.Hour
	}
	if o.Retention == 0 {
		o.Retention = 180 * 24 * time.Hour
	}
	if o.Scopes == nil {
		o.Scopes = []string{ScopeAudit, ScopeIssues}
	}
	if o.Burst == 0 {
		o.Burst = max(1, int(o.Rate+0.999))
	}
	return o
}

func (o Options) check() error {
	switch {
	case o.Schema != CurrentSchema && o.Schema != LegacySchema:
		return fmt.Errorf("schema %q is neither current nor legacy", o.Schema)
	case o.Order != NewestFirst && o.Order != OldestFirst && o.Order != Shuffled:
		return fmt.Errorf("order %q is none of newest-first, oldest-first, shuffled", o.Order)
	case o.Cursors != OffsetCursors && o.Cursors != SnapshotCursors:
		return fmt.Errorf("cursors %q are neither offset nor snapshot", o.Cursors)
	case !o.RateAnswer.throttles():
		return fmt.Errorf("rate answer %q is not a throttle fault", o.RateAnswer)
	case o.Users < 1 || o.ServiceAccounts < 1:
		return fmt.Errorf("a tenant needs a user and a service account")
	}
	if err := o.Faults.check(); err != nil {
		return err
	}
	if o.Static != nil {
		return o.Static.check(o)
	}
	return nil
}

// SetFaults replaces what goes wrong, from the next request and the next
// record on. It fails on a fault that does not exist and then changes nothing.
func (w *Wiz) SetFaults(f Faults) error {
	if err := f.check(); err != nil {
		return err
	}
	if _, ok := f[NumericCursor]; ok {
		w.numeric.Store(true)
	}
	w.faults.replace(f)
	return nil
}

// RevokeTokens makes every token given out so far worthless.
func (w *Wiz) RevokeTokens() { w.tokens.revokeAll() }

// now is the tenant's time, in UTC.
func (w *Wiz) now() time.Time { return w.opts.Clock().UTC() }

// ServeHTTP answers as the tenant does.
func (w *Wiz) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	c := &call{w: w, rw: rw, r: r, entry: Request{Time: time.Now(), Path: r.URL.Path}}
	defer c.note()
	switch r.URL.Path {
	case "/oauth/token":
		c.signIn()
	case "/graphql":
		c.graphql()
	default:
		c.json(http.StatusNotFound, map[string]any{"message": "no such path"})
	}
}
