package catalog

import (
	"io/fs"
	"time"
)

// Product is all that Trawl knows of a SaaS product: the contents of
// catalog/<product>/product.yaml, and the sources in the files beside it.
type Product struct {
	ID       string             `yaml:"product"`           // folder name and first half of a source's name: wiz
	Name     string             `yaml:"name"`              // as its vendor writes it: Wiz
	Vendor   string             `yaml:"vendor"`            // who makes it
	About    string             `yaml:"about"`             // one sentence for listings
	Settings map[string]Setting `yaml:"settings"`          // what a connection may or must set
	Derived  map[string]Cases   `yaml:"derived,omitempty"` // further names, worked out from the settings
	BaseURL  Cases              `yaml:"base_url"`          // where the API is
	Headers  map[string]string  `yaml:"headers,omitempty"` // sent with every request
	Auth     Auth               `yaml:"auth"`              // how to sign in
	Rate     RateLimit          `yaml:"rate_limit"`        // the budget of a connection unless it sets its own
	Errors   []ErrorRule        `yaml:"errors,omitempty"`  // what the API's own error texts and codes mean
	Advice   map[string]string  `yaml:"advice,omitempty"`  // error class → what a person should check
	Links    []Link             `yaml:"links,omitempty"`   // where these facts come from
	Order    []string           `yaml:"-"`                 // the names of the settings as product.yaml lists them
	Sources  map[string]*Source `yaml:"-"`                 // by the second half of their names: audit
}

// Setting is one key under a connection's settings.
type Setting struct {
	About    string `yaml:"about"`              // one sentence, shown by init and check
	Type     string `yaml:"type,omitempty"`     // string (default), duration, url or map (of strings)
	Required bool   `yaml:"required,omitempty"` //
	Secret   bool   `yaml:"secret,omitempty"`   // never shown
	Default  string `yaml:"default,omitempty"`  //
	Example  string `yaml:"example,omitempty"`  // for init's comments
	Env      string `yaml:"env,omitempty"`      // the variable that init refers to
	Pattern  string `yaml:"pattern,omitempty"`  // a regular expression the whole value must match
}

// Cases is a value chosen by the first case whose conditions hold.
type Cases []Case

// Case gives a value when every setting (or derived name) in If matches its
// glob; no If always holds. In a glob, * stands for any text and ? for one
// character, so "?*" means "is set". Value may hold ${name}; Claim instead
// takes a claim of the access token, which is a JWT.
type Case struct {
	If    map[string]string `yaml:"if,omitempty"`
	Value string            `yaml:"value,omitempty"`
	Claim string            `yaml:"claim,omitempty"`
}

// Auth says how a connection signs in. Type names a driver of internal/fetch;
// the other fields are that driver's, and may hold ${name}.
type Auth struct {
	Type          string            `yaml:"type"`                     // oauth2_client_credentials or bearer
	TokenURL      string            `yaml:"token_url,omitempty"`      //
	ClientID      string            `yaml:"client_id,omitempty"`      //
	ClientSecret  string            `yaml:"client_secret,omitempty"`  //
	Token         string            `yaml:"token,omitempty"`          // bearer: the token itself
	Params        map[string]string `yaml:"params,omitempty"`         // added to the token request's form
	ExtraParams   string            `yaml:"extra_params,omitempty"`   // the setting (a map) whose entries are added to the form
	ExtraHeaders  string            `yaml:"extra_headers,omitempty"`  // the setting (a map) whose entries are added to the token request's headers
	RefreshMargin string            `yaml:"refresh_margin,omitempty"` // how long before its end a token is replaced
}

// RateLimit is a budget of requests.
type RateLimit struct {
	PerSecond float64 `yaml:"requests_per_second"`
	Burst     int     `yaml:"burst"`
}

// ErrorRule gives answers a class by what they say. The first rule that
// matches wins; an answer that no rule matches is classed by its HTTP status.
// A rule matches when every condition it states holds.
type ErrorRule struct {
	Class      string   `yaml:"class"`                 // retry, throttle, auth, forbidden, permanent
	Status     []int    `yaml:"status,omitempty"`      // HTTP statuses
	Path       string   `yaml:"path,omitempty"`        // where in the body the text stands: errors[].message
	Match      []string `yaml:"match,omitempty"`       // globs, any of them, case-insensitive
	RetryAfter string   `yaml:"retry_after,omitempty"` // where in the body the seconds to wait stand
}

// Link is a reference.
type Link struct {
	Title string `yaml:"title"`
	URL   string `yaml:"url"`
}

// Source is one kind of record that a product offers: catalog/<product>/<source>.yaml.
type Source struct {
	Product *Product `yaml:"-"`
	Folder  fs.FS    `yaml:"-"` // the folder that the source's file is in; its samples are under testdata/<source>
	Dir     string   `yaml:"-"` // the same folder's path on disk; "" where it comes with the program

	ID      string   `yaml:"source"`           // second half of the name: audit
	Name    string   `yaml:"name"`             // for people: Audit log
	About   string   `yaml:"about"`            //
	Kind    string   `yaml:"kind"`             // log: events, each for ever; state: findings, which change and vanish
	Scopes  []string `yaml:"scopes,omitempty"` // permissions that the credential needs
	Request Request  `yaml:"request"`          //
	Records string   `yaml:"records"`          // where in an answer the array of records stands
	Paging  Paging   `yaml:"paging"`           //
	Window  Window   `yaml:"window"`           //
	Record  Record   `yaml:"record"`           //
	Facts   Facts    `yaml:"facts"`            // retention, latency, licensing, as documented
	ECS     Mapping  `yaml:"ecs"`              //
}

// FullName is the source's name as users write it: wiz/audit.
func (s *Source) FullName() string { return s.Product.ID + "/" + s.ID }

// Request is what is sent for a page. Strings and keys may hold ${name}: a
// setting, a derived name, or one of since, until, cursor, page_size and
// time_field. An entry whose whole value is one name without a value is left
// out, with the objects that this leaves empty kept.
type Request struct {
	Method  string            `yaml:"method"`
	Path    string            `yaml:"path,omitempty"`    // appended to the base URL
	Headers map[string]string `yaml:"headers,omitempty"` //
	Query   map[string]string `yaml:"query,omitempty"`   // of the URL
	GraphQL *GraphQL          `yaml:"graphql,omitempty"` // the body, for GraphQL APIs
	Filter  string            `yaml:"filter,omitempty"`  // the variable (or "query") that a user's filter is merged into
}

// GraphQL is a query and its variables.
type GraphQL struct {
	Query     string         `yaml:"query"`
	Variables map[string]any `yaml:"variables,omitempty"`
}

// Paging says how the pages of a slice follow each other.
type Paging struct {
	Size    int    `yaml:"size"`             // records a page, unless the feed sets page_size
	MaxSize int    `yaml:"max_size"`         //
	Cursor  string `yaml:"cursor,omitempty"` // where the next page's cursor stands
	More    string `yaml:"more,omitempty"`   // where a boolean says that there are more pages; else a cursor means so
	Total   string `yaml:"total,omitempty"`  // where the number of records of the whole slice stands
	Cap     int    `yaml:"cap,omitempty"`    // how many records one query yields at most; 0: no such limit
}

// Window says how a source is asked for a stretch of time.
type Window struct {
	Fields    []string   `yaml:"fields"`              // the API's time fields; a slice is read once for each
	Layout    string     `yaml:"layout"`              // Go time layout of since and until
	Slack     Duration   `yaml:"slack"`               // how much wider to ask on both sides, as bounds may or may not be inclusive
	Interval  Duration   `yaml:"interval"`            // between two readings of the live lane
	Overlap   Duration   `yaml:"overlap"`             // read again each time
	Revisit   []Duration `yaml:"revisit,omitempty"`   // ages at which windows are read again
	Retention Duration   `yaml:"retention,omitempty"` // how far back the product answers; 0: not known
}

// Record says what makes a record itself.
type Record struct {
	ID      string   `yaml:"id"`                // path of the provider's id
	Version []string `yaml:"version,omitempty"` // paths whose values, with the id, tell one state of a finding from the next
	Time    []string `yaml:"time"`              // paths of the event time; the first that has one counts
	Expect  []string `yaml:"expect,omitempty"`  // keys that every record has, if only with null: without them something is wrong
}

// Facts are what the vendor documents about a source.
type Facts struct {
	Retention  string `yaml:"retention,omitempty"`
	Latency    string `yaml:"latency,omitempty"`
	Licensing  string `yaml:"licensing,omitempty"`
	References []Link `yaml:"references,omitempty"`
}

// Duration is a time.Duration written as 5m, 24h or 180d.
type Duration time.Duration

// Std is the standard library's form.
func (d Duration) Std() time.Duration { return time.Duration(d) }
