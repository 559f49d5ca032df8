package wiz

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/trawlsec/trawl/internal/saassim"
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
	ScopeVulnerabilities = "read:vulnerabilities"
	ScopeConfiguration   = "read:cloud_configuration"
	ScopeDetections      = "read:detections"
	ScopeHealth          = "read:system_health_issues"
	ScopeReadReports     = "read:reports"
	ScopeCreateReports   = "create:reports"
	ScopeUpdateReports   = "update:reports"
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
	TokenSays                        time.Duration     // what the answer to a sign-in says of it. 0: TokenLifetime
	Scopes                           []string          // of the service account. nil: those of all records
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
	MaxIssuePage    int           // of issues, and of all findings but vulnerabilities. 0: 500

	MaxVulnerabilityPage int // 0: 5000
	FindingCap           int // results of one query of configuration findings. 0: 10,000; negative: no limit
	DetectionCap         int // results of one query of detections, of which nobody knows. 0: no limit

	ClampPages bool    // a first beyond the maximum is lowered, not refused
	AuditReads bool    // sign-ins and queries leave audit log entries themselves
	Static     *Static // a large audit log that exists by arithmetic, in place of the one in memory

	ReportTime     time.Duration // from the order of a report to its file. 0: 2 seconds
	ReportLifetime time.Duration // for which a file is kept, of which nobody knows. 0: 7 days
	LinkLifetime   time.Duration // of a file's address, of which nobody knows. 0: an hour

	Rate       float64        // GraphQL requests a second; 0: no limit
	Burst      int            // 0: the rate, rounded up
	RateAnswer saassim.Fault  // one of the Throttle faults: how going too fast is answered. "": Throttle
	Gzip       bool           // compress answers for clients that accept it
	Faults     saassim.Faults // what goes wrong, and how often
}

// Tenant is a simulated Wiz tenant: an http.Handler with a token endpoint at
// /oauth/token, the API at /graphql, and the files of reports under /files/. Its methods may be called from several
// goroutines at once.
type Tenant struct {
	*saassim.Tenant
	opts    Options
	schema  *graph
	limiter *rate.Limiter // nil: no limit
	numeric atomic.Bool   // number cursors have been given out, so they are taken back
	nonce   atomic.Uint64 // makes two cursors of one place differ

	mu        sync.RWMutex // guards what follows
	gen       *generator
	audit     saassim.Journal[*auditEntry]
	auditByID map[string]*auditEntry
	issues    []*issue                    // in order of creation
	more      *generator                  // of findings
	findings  map[*findingKind][]*finding // in order of creation
	snapshots snapshots
	static    *staticSet
	reports   []*report // in the order in which they were made

	storeKey []byte // signs the addresses of files
}

// Where a tenant answers.
const (
	GraphQLPath = "/graphql"
	TokenPath   = "/oauth/token"
	FilesPath   = "/files/" // of reports; in the product this is a store on another host
)

// New returns a tenant. It fails when the options contradict each other.
func New(opts Options) (*Tenant, error) {
	opts = opts.withDefaults()
	if err := opts.check(); err != nil {
		return nil, fmt.Errorf("simulated tenant: %w", err)
	}
	schema, err := loadGraph(opts.Schema)
	if err != nil {
		return nil, fmt.Errorf("simulated tenant: %w", err)
	}
	w := &Tenant{
		opts:      opts,
		schema:    schema,
		gen:       newGenerator(saassim.NewDice(opts.Seed, 1), opts),
		auditByID: map[string]*auditEntry{},
		findings:  map[*findingKind][]*finding{},
	}
	w.more = &generator{Dice: saassim.NewDice(opts.Seed, 7), users: w.gen.users, accounts: w.gen.accounts, world: w.gen.world}
	if opts.Rate > 0 {
		w.limiter = rate.NewLimiter(rate.Limit(opts.Rate), opts.Burst)
	}
	if opts.Static != nil {
		w.static = newStaticSet(*opts.Static, opts.Seed, w.gen)
	}
	w.Tenant, err = saassim.NewTenant(saassim.Product{
		Name:    "wiz",
		Sources: w.sources(),
		Faults: []saassim.Fault{
			saassim.ThrottleBody, saassim.Errors, saassim.Partial, saassim.NullNodes, saassim.RepeatPage, saassim.EmptyPage,
			saassim.StuckCursor, saassim.NullCursor, saassim.NumericCursor, saassim.CapResults, saassim.MissingKeys,
			saassim.Duplicate, saassim.Shift, saassim.Vanish, saassim.Unordered,
			saassim.ReportFails, saassim.ReportStuck, saassim.ReportDead, saassim.ReportStale,
		},
		Truth: w.truth, Answer: w.answer, Error: w.fails, Limit: w.limited, Admin: w.admin,
	}, saassim.Settings{Seed: opts.Seed, Clock: opts.Clock, Gzip: opts.Gzip, Faults: opts.Faults})
	if err != nil {
		return nil, fmt.Errorf("simulated tenant: %w", err)
	}
	w.storeKey = w.Noise(32)
	return w, nil
}

func (o Options) withDefaults() Options {
	o.ClientID = cmp.Or(o.ClientID, DefaultClientID)
	o.ClientSecret = cmp.Or(o.ClientSecret, DefaultClientSecret)
	o.Audience = cmp.Or(o.Audience, DefaultAudience)
	o.DataCentre = cmp.Or(o.DataCentre, "us1")
	o.Schema = cmp.Or(o.Schema, CurrentSchema)
	o.Order = cmp.Or(o.Order, NewestFirst)
	o.Cursors = cmp.Or(o.Cursors, OffsetCursors)
	o.RateAnswer = cmp.Or(o.RateAnswer, saassim.Throttle)
	o.RefusedStatus = cmp.Or(o.RefusedStatus, http.StatusUnauthorized)
	o.DeniedStatus = cmp.Or(o.DeniedStatus, http.StatusOK)
	o.ValidationStatus = cmp.Or(o.ValidationStatus, http.StatusBadRequest)
	o.Users = cmp.Or(o.Users, 40)
	o.ServiceAccounts = cmp.Or(o.ServiceAccounts, 12)
	o.AuditCap = cmp.Or(o.AuditCap, 10_000)
	o.MaxAuditPage = cmp.Or(o.MaxAuditPage, 5000)
	o.MaxIssuePage = cmp.Or(o.MaxIssuePage, 500)
	o.MaxVulnerabilityPage = cmp.Or(o.MaxVulnerabilityPage, 5000)
	o.FindingCap = cmp.Or(o.FindingCap, 10_000)
	o.TokenLifetime = cmp.Or(o.TokenLifetime, 24*time.Hour)
	o.TokenSays = cmp.Or(o.TokenSays, o.TokenLifetime)
	o.Retention = cmp.Or(o.Retention, 180*24*time.Hour)
	o.ReportTime = cmp.Or(o.ReportTime, 2*time.Second)
	o.ReportLifetime = cmp.Or(o.ReportLifetime, 7*24*time.Hour)
	o.LinkLifetime = cmp.Or(o.LinkLifetime, time.Hour)
	if o.Scopes == nil {
		o.Scopes = []string{ScopeAudit, ScopeIssues, ScopeVulnerabilities, ScopeConfiguration, ScopeDetections, ScopeHealth}
	}
	o.Burst = cmp.Or(o.Burst, max(1, int(o.Rate+0.999)))
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
	case !slices.Contains([]saassim.Fault{saassim.Throttle, saassim.ThrottleDate, saassim.ThrottleBare, saassim.ThrottleBody}, o.RateAnswer):
		return fmt.Errorf("rate answer %q is not a throttle fault", o.RateAnswer)
	case o.Users < 1 || o.ServiceAccounts < 1:
		return fmt.Errorf("a tenant needs a user and a service account")
	}
	if o.Static != nil {
		return o.Static.check(o)
	}
	return nil
}

// call is one request being answered.
type call struct {
	*saassim.Call
	w       *Tenant
	records int // in the pages of the answer
}

func (w *Tenant) answer(sc *saassim.Call) {
	c := &call{Call: sc, w: w}
	switch path := c.R.URL.Path; {
	case path == TokenPath:
		c.signIn()
	case path == GraphQLPath:
		c.graphql()
	case strings.HasPrefix(path, FilesPath):
		c.stored()
	default:
		c.JSON(http.StatusNotFound, map[string]any{"message": "no such path"})
	}
}

func (w *Tenant) admin(mux *http.ServeMux) {
	each := func(path string, issues func(n int) []string, findings func(source string, n int) []string) {
		mux.HandleFunc(path, func(rw http.ResponseWriter, r *http.Request) {
			p := w.Params(r)
			n := p.Count("issues")
			counts := map[string]int{}
			for _, k := range findingKinds {
				counts[k.source] = p.Count(k.source)
			}
			if p.Failed(rw) {
				return
			}
			saassim.WriteLines(rw, issues(n))
			for _, k := range findingKinds {
				saassim.WriteLines(rw, findings(k.source, counts[k.source]))
			}
		})
	}
	each("POST /admin/change", w.ChangeIssues, w.ChangeFindings)
	each("POST /admin/remove", w.RemoveIssues, w.RemoveFindings)
	each("POST /admin/return", w.ReturnIssues, func(string, int) []string { return nil })
}

// issueLives makes an issue or changes one, about equally often.
func (w *Tenant) issueLives() {
	w.mu.Lock()
	change := w.gen.Chance(0.5)
	w.mu.Unlock()
	if !change || len(w.ChangeIssues(1)) == 0 {
		now := w.Now()
		w.AddIssues(saassim.Batch{N: 1, From: now, To: now})
	}
}

// sources are the kinds of record that a tenant has.
func (w *Tenant) sources() []saassim.Source {
	all := []saassim.Source{{Name: "audit", Add: w.AddAudit}, {Name: "issues", Add: w.AddIssues, Live: w.issueLives}}
	for _, k := range findingKinds {
		all = append(all, saassim.Source{
			Name: k.source,
			Add:  func(b saassim.Batch) []string { return w.AddFindings(k.source, b) },
			Live: func() { w.findingLives(k.source) },
		})
	}
	return all
}

// truth yields the audit log by time, then the issues and the findings by
// creation and each one's states in turn.
func (w *Tenant) truth(yield func(saassim.Truth) bool) {
	const audit, issues = "wiz/audit", "wiz/issues"
	w.mu.RLock()
	entries := w.audit.All()
	var states []saassim.Truth
	for _, i := range w.issues {
		for n, v := range i.versions {
			if v.gone {
				continue // the state before has its end
			}
			t := saassim.Truth{Source: issues, ID: i.id, Time: v.updated, VisibleAt: v.visible, Status: v.status, StatusChangedAt: v.statusChanged}
			if n+1 < len(i.versions) {
				t.ReplacedAt = i.versions[n+1].visible
			}
			states = append(states, t)
		}
	}
	states = append(states, w.findingTruth()...)
	w.mu.RUnlock()
	if s := w.static; s != nil {
		for i := range s.Records {
			if !yield(saassim.Truth{Source: audit, ID: string(s.appendID(nil, i)), Time: s.time(i), VisibleAt: s.time(i)}) {
				return
			}
		}
	}
	for _, e := range entries {
		if !yield(saassim.Truth{Source: audit, ID: e.id, Time: e.at, VisibleAt: e.visible}) {
			return
		}
	}
	for _, t := range states {
		if !yield(t) {
			return
		}
	}
}
