package catalog

import (
	"io/fs"
	"time"
)

// Product is all that Trawl knows of a SaaS product: the contents of
// catalog/<product>/product.yaml, and the sources in the files beside it.
type Product struct {
	ID         string             `yaml:"product"`              // folder name and first half of a source's name: wiz
	Name       string             `yaml:"name"`                 // as its vendor writes it: Wiz
	Vendor     string             `yaml:"vendor"`               // who makes it
	About      string             `yaml:"about"`                // one sentence for listings
	Settings   map[string]Setting `yaml:"settings"`             // what a connection may or must set
	Derived    map[string]Cases   `yaml:"derived,omitempty"`    // further names, worked out from the settings
	BaseURL    Cases              `yaml:"base_url"`             // where the API is
	Headers    map[string]string  `yaml:"headers,omitempty"`    // sent with every request
	Auth       []Auth             `yaml:"auth"`                 // how to sign in: the first whose conditions hold
	Rate       RateLimit          `yaml:"rate_limit"`           // how fast a connection asks unless it sets its own
	Budget     *Budget            `yaml:"budget,omitempty"`     // what the API's answers say of how much may still be asked
	Errors     []ErrorRule        `yaml:"errors,omitempty"`     // what the API's own error texts and codes mean
	Advice     map[string]string  `yaml:"advice,omitempty"`     // error class → what a person should check
	Links      []Link             `yaml:"links,omitempty"`      // where these facts come from
	Collection []Collection       `yaml:"collection,omitempty"` // the ways in which its records can be collected, which the sources name in their matrix
	Tables     Tables             `yaml:"tables,omitempty"`     // for the mappings of all its sources
	Reports    *Reports           `yaml:"reports,omitempty"`    // files of records that the product makes to order
	Order      []string           `yaml:"-"`                    // the names of the settings as product.yaml lists them
	Sources    map[string]*Source `yaml:"-"`                    // by the second half of their names: audit
}

// Reports says how files of records are ordered from a product, and where they
// are then. A report is made once, and run each time its file is made anew.
type Reports struct {
	Scopes []string              `yaml:"scopes,omitempty"` // permissions that the credential needs
	Kinds  map[string]ReportKind `yaml:"kinds"`            // what there can be a report of, by a name of our own
	Create Query                 `yaml:"create"`           // makes and runs one, of ${name}, ${type} and ${format}; the input of its kind is merged into the variables
	Rerun  Query                 `yaml:"rerun"`            // runs the report ${id} again
	Read   Query                 `yaml:"read"`             // the report ${id}
	List   Query                 `yaml:"list"`             // the reports there are
	Report ReportPaths           `yaml:"report"`           // where in a report its facts stand
	States map[string]string     `yaml:"states"`           // what the API's states mean: done, failed or expired; any other is that it is being made
}

// ReportKind is what a report holds.
type ReportKind struct {
	About     string         `yaml:"about"`               // for people
	Type      string         `yaml:"type"`                // the API's name for it
	Variables map[string]any `yaml:"variables,omitempty"` // merged into those of create; may hold ${since} and ${until}, as RFC 3339
	Source    string         `yaml:"source,omitempty"`    // second half of the name of the source whose records these are, which the file can be imported into
}

// Query is a GraphQL query, and where its result stands in the answer.
type Query struct {
	GraphQL GraphQL `yaml:"graphql"`
	At      string  `yaml:"at"`
}

// ReportPaths are paths within a report.
type ReportPaths struct {
	ID       string `yaml:"id"`
	Name     string `yaml:"name"`
	Type     string `yaml:"type"`
	Run      string `yaml:"run"`      // id of the last run, to tell it from the one before
	State    string `yaml:"state"`    // of the last run
	Progress string `yaml:"progress"` // of it, in percent
	Failure  string `yaml:"failure"`  // why it failed
	RunAt    string `yaml:"run_at"`   // when it began
	URL      string `yaml:"url"`      // where its file is: an address that needs no credential, and holds one
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

// Auth is a way to sign in. A product lists the ways it has; a connection
// takes the first whose conditions hold. The texts may hold ${name}: a setting
// or a derived name.
//
// With oauth2, a form with client_id, client_secret and params is posted to
// token_url, and the access_token of the answer is sent with each request. The
// form's grant_type is client_credentials, unless params has another:
// refresh_token, or urn:ietf:params:oauth:grant-type:jwt-bearer. With token,
// what is sent is the token that the settings hold.
type Auth struct {
	If            map[string]string `yaml:"if,omitempty"`             // as of Case; none always holds
	Type          string            `yaml:"type"`                     // oauth2, token or basic
	TokenURL      string            `yaml:"token_url,omitempty"`      // oauth2: where the form is posted to
	ClientID      string            `yaml:"client_id,omitempty"`      // oauth2: in the form, unless it is left out
	ClientSecret  string            `yaml:"client_secret,omitempty"`  // oauth2: in the form, unless it is left out
	Params        map[string]string `yaml:"params,omitempty"`         // oauth2: the rest of the form; an entry that is one name without a value is left out
	JWT           *JWT              `yaml:"jwt,omitempty"`            // oauth2: makes the name ${jwt} for params
	Rotates       string            `yaml:"rotates,omitempty"`        // oauth2: the secret setting that a refresh_token in an answer takes the place of
	ExtraParams   string            `yaml:"extra_params,omitempty"`   // oauth2: the setting (a map) whose entries are added to the form
	ExtraHeaders  string            `yaml:"extra_headers,omitempty"`  // oauth2: the setting (a map) whose entries are added to the headers of the form's request
	RefreshMargin string            `yaml:"refresh_margin,omitempty"` // oauth2: how long before its end an access token is replaced
	Token         string            `yaml:"token,omitempty"`          // token: the token itself
	Header        string            `yaml:"header,omitempty"`         // token: the header that it stands in; Authorization where it is left out
	Scheme        string            `yaml:"scheme,omitempty"`         // token: the word before it; where it is left out, Bearer in Authorization, none in another header
	Username      string            `yaml:"username,omitempty"`       // basic: HTTP Basic (RFC 7617) is the header Authorization
	Password      string            `yaml:"password,omitempty"`       // basic: may be empty, where a key is the username
}

// JWT is an assertion that is signed with a private key (RFC 7523), by which a
// client shows who it is: made anew for each sign-in, with a jti of its own,
// iat, and exp after its lifetime, by a clock that is set right where the
// server's Date shows that this machine's is not. It is ${jwt} in the params of
// its Auth.
type JWT struct {
	Key        string            `yaml:"key"`                  // RSA private key in PEM (PKCS #1 or PKCS #8)
	Passphrase string            `yaml:"passphrase,omitempty"` // of a key that is encrypted
	KeyID      string            `yaml:"key_id,omitempty"`     // kid in the header; left out where it is empty
	Algorithm  string            `yaml:"algorithm,omitempty"`  // RS256 (which it is where it is left out), RS384 or RS512
	Lifetime   Duration          `yaml:"lifetime,omitempty"`   // 45s where it is left out; some servers take a minute at most
	Claims     map[string]string `yaml:"claims"`               // such as iss, sub and aud
}

// RateLimit is how fast to ask.
type RateLimit struct {
	PerSecond float64 `yaml:"requests_per_second"` // on average
	Burst     int     `yaml:"burst"`               // at once, after a pause
}

// Budget names the headers by which answers say how much may still be asked, so
// that requests slow down before the API refuses them. Either header holds both
// numbers, used/limit, as in X-RateLimit: 17/2000; or remaining and limit hold
// one each. With reset, what is left is spread over the time until then; without
// it, requests become fewer as the limit comes near.
type Budget struct {
	Header    string `yaml:"header,omitempty"`    // used/limit
	Limit     string `yaml:"limit,omitempty"`     // how many in all
	Remaining string `yaml:"remaining,omitempty"` // how many are left
	Reset     string `yaml:"reset,omitempty"`     // when there are as many as limit again: Unix seconds, seconds from now, or a date
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

	ID       string   `yaml:"source"`             // second half of the name: audit
	Name     string   `yaml:"name"`               // for people: Audit log
	About    string   `yaml:"about"`              //
	Kind     string   `yaml:"kind"`               // log: events, each for ever; state: findings, which change and vanish
	Optional bool     `yaml:"optional,omitempty"` // read only where a configuration names it, as it is large or needs permissions of its own
	Scopes   []string `yaml:"scopes,omitempty"`   // permissions that the credential needs
	Request  Request  `yaml:"request"`            //
	Stream   *Stream  `yaml:"stream,omitempty"`   // how new records are followed, where the API has a way of its own for that
	Records  string   `yaml:"records"`            // where in an answer the array of records stands; . where the answer is that array
	Paging   Paging   `yaml:"paging"`             //
	Nested   []Nested `yaml:"nested,omitempty"`   // lists within a record that have pages of their own
	Window   Window   `yaml:"window,omitempty"`   // left out where nothing can be asked for by time, so that the source is only read whole
	Record   Record   `yaml:"record"`             //
	Pushed   *Pushed  `yaml:"pushed,omitempty"`   // the product can send the records by itself
	Columns  Columns  `yaml:"columns,omitempty"`  // which column of an exported table is what of a record
	Facts    Facts    `yaml:"facts"`              // retention, latency, licensing, as documented
	ECS      Mapping  `yaml:"ecs"`                //
	Matrix   *Matrix  `yaml:"matrix,omitempty"`   // which of its records are which event type of the Event Maturity Matrix; left out where none are

	Snapshot *Snapshot `yaml:"snapshot,omitempty"` // of a state: that it is also read whole
}

// FullName is the source's name as users write it: wiz/audit.
func (s *Source) FullName() string { return s.Product.ID + "/" + s.ID }

// Request is what is sent for a page. Strings and keys may hold ${name}: a
// setting, a derived name, or one of since, until, cursor, offset, page,
// page_size and time_field. An entry whose whole value is one name without a value is
// left out, with the objects that this leaves empty kept.
type Request struct {
	Method  string            `yaml:"method"`
	Path    string            `yaml:"path,omitempty"`    // appended to the base URL
	Headers map[string]string `yaml:"headers,omitempty"` //
	Query   map[string]string `yaml:"query,omitempty"`   // of the URL
	GraphQL *GraphQL          `yaml:"graphql,omitempty"` // the body, for GraphQL APIs
	JSON    map[string]any    `yaml:"json,omitempty"`    // the body, for other APIs that take JSON
	Filter  string            `yaml:"filter,omitempty"`  // what a user's filter is merged into: the query of the URL ("query"), a variable, or a member of json
}

// GraphQL is a query and its variables.
type GraphQL struct {
	Query     string         `yaml:"query"`
	Operation string         `yaml:"operation,omitempty"` // which of the query's operations is meant, where it has several
	Variables map[string]any `yaml:"variables,omitempty"`
}

// Stream says how new records are followed by a position that the API gives,
// and that nothing can be read out of, instead of a window of time: for APIs
// where records that become visible late still come in such a stream. Older
// records are read by the source's own request and its window.
type Stream struct {
	Request Request  `yaml:"request"`          // in place of the source's own: ${cursor} is the position, ${since} the time to begin at where there is none yet; ${until} has no value
	Start   string   `yaml:"start,omitempty"`  // the cursor that asks for the present position; without it the first request has no cursor
	Keeps   Duration `yaml:"keeps,omitempty"`  // for how long the API knows a position that is not used; 0: for ever
	Ignore  []string `yaml:"ignore,omitempty"` // positions that say nothing: the one before stays
}

// Paging says how the pages of a slice follow each other: by a cursor, by the
// URL of the next page (next_url or link), by the number of records so far
// (offset), or by that of the page (first_page). A URL is followed on the API's
// own address only. Where pages are counted and the answers have neither more
// nor, with offset, total, the page after the last is asked for too, and is
// known by having no records.
type Paging struct {
	Size      int      `yaml:"size"`                 // records a page, unless the feed sets page_size
	MaxSize   int      `yaml:"max_size"`             //
	Cursor    string   `yaml:"cursor,omitempty"`     // where the next page's cursor stands, which is sent as ${cursor}
	NextURL   string   `yaml:"next_url,omitempty"`   // where the URL of the next page stands, which is asked for as it is
	Link      string   `yaml:"link,omitempty"`       // the relation by which the answer's Link header gives the URL of the next page: next
	Offset    bool     `yaml:"offset,omitempty"`     // the next page is asked for by ${offset}, how many records of the slice have come so far
	FirstPage *int     `yaml:"first_page,omitempty"` // the next page is asked for by ${page}, its number; this is the number of the first
	EndValues []string `yaml:"end_values,omitempty"` // cursors or URLs that mean that there is no next page, beside null and an empty text
	End       string   `yaml:"end,omitempty"`        // what the last page is known by: no_cursor, that it has none (so where this is left out); empty, that it has no records, or the cursor by which it was asked for
	More      string   `yaml:"more,omitempty"`       // where a boolean says that there are more pages, which then counts instead of end
	Total     string   `yaml:"total,omitempty"`      // where the number of records of the whole slice stands
	Cap       int      `yaml:"cap,omitempty"`        // how many records one query yields at most; 0: no such limit
	Capped    string   `yaml:"capped,omitempty"`     // where a boolean says that a query matches more than it yields
}

// Nested is a list within a record that has pages of its own. The record holds
// the first; the others are asked for and put behind it, so that the record has
// the whole list, and says of it what the last page did. Records, Cursor and
// More lead from the page of the list, wherever that stands.
type Nested struct {
	At      string  `yaml:"at"`      // where the page of the list stands in a record: triggeringEvents
	Request Request `yaml:"request"` // asks for another page; it has the names ${id} (of the record), ${cursor} and ${page_size}
	In      string  `yaml:"in"`      // where the page of the list stands in the answer: data.detection.triggeringEvents
	Records string  `yaml:"records"` // the list itself: nodes
	Cursor  string  `yaml:"cursor"`  // the next page's cursor: pageInfo.endCursor
	More    string  `yaml:"more"`    // a boolean that says whether there are more pages: pageInfo.hasNextPage
	Size    int     `yaml:"size"`    // elements a page
	Most    int     `yaml:"most"`    // elements from which on no more pages are read; documents of longer lists say so
}

// Window says how a source is asked for a stretch of time.
type Window struct {
	Fields    []string   `yaml:"fields,omitempty"`    // the API's time fields that tell what is new; a slice is read once for each; none: the source is only read whole
	Layout    string     `yaml:"layout"`              // of since and until: a Go time layout; or unix or unix_ms, seconds or milliseconds since 1970
	Slack     Duration   `yaml:"slack"`               // how much wider to ask on both sides, as bounds may or may not be inclusive
	Interval  Duration   `yaml:"interval,omitempty"`  // between two readings of the live lane; has to be there where there are fields
	Overlap   Duration   `yaml:"overlap,omitempty"`   // how far each reading goes back, as records become visible late; has to be there where there are fields
	Revisit   []Duration `yaml:"revisit,omitempty"`   // ages at which windows are read again
	Retention Duration   `yaml:"retention,omitempty"` // how far back the product answers; 0: not known
}

// Snapshot says that a state is also read whole, which shows what is gone and
// what changed without its time doing so.
type Snapshot struct {
	Every Duration `yaml:"every"`           // between the beginnings of two readings
	Field string   `yaml:"field,omitempty"` // one of the API's time fields that never changes, by which a reading is cut into slices where a query yields so much only; without it a reading is one walk, with neither since nor until
}

// Period is Every; 0 for nil.
func (s *Snapshot) Period() Duration {
	if s == nil {
		return 0
	}
	return s.Every
}

// OnlyWhole tells whether the source can't be asked for what is new, so that it
// is read whole each time.
func (s *Source) OnlyWhole() bool { return s.Snapshot != nil && len(s.Window.Fields) == 0 }

// Interval is the time between two readings of the source, unless its feed has
// one of its own.
func (s *Source) Interval() Duration {
	if s.OnlyWhole() {
		return s.Snapshot.Every
	}
	return s.Window.Interval
}

// Pushed says how a product sends records by itself, to
// POST /ingest/<connection>/<product>/<source>.
type Pushed struct {
	About string `yaml:"about"` // what a person sets up there, for the documentation
}

// Columns are the names that columns of a table may have, by the path of what
// they hold in a record, best first where a table has several. Case, spaces and
// punctuation of names do not count; a column that is not listed becomes a
// member of its own name.
type Columns map[string][]string

// Record says what makes a record itself.
type Record struct {
	ID      Paths    `yaml:"id"`                // where the provider's id stands; of several paths the first that has a value counts
	Version Paths    `yaml:"version,omitempty"` // paths whose values, with the id, tell one state of a finding from the next
	Time    Paths    `yaml:"time"`              // where the event's time stands; of several paths the first that has one counts
	Expect  []string `yaml:"expect,omitempty"`  // keys that every record has, if only with null: without them something is wrong
}

// Paths are written as a list of paths, or as one path.
type Paths []string

// Facts are what the vendor documents about a source.
type Facts struct {
	Retention     string   `yaml:"retention,omitempty"`      // in words; as a time it is the window's
	Latency       string   `yaml:"latency,omitempty"`        // in words
	VisibleWithin Duration `yaml:"visible_within,omitempty"` // the time after its event within which a record can be read, where the vendor states one: what is measured is compared with it
	Licensing     string   `yaml:"licensing,omitempty"`      //
	References    []Link   `yaml:"references,omitempty"`     //
}

// Duration is a time.Duration written as 5m, 24h or 180d.
type Duration time.Duration

// Std is the standard library's form.
func (d Duration) Std() time.Duration { return time.Duration(d) }
