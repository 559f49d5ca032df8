// Package config reads trawl.yaml: defaults, then a strict decoding, then
// checks, with every mistake reported at once and where it stands.
package config

import (
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// Mistakes are all that is wrong with a configuration, each "file:line:column:
// what is wrong and what to do".
type Mistakes = strictyaml.Mistakes

// Config is a configuration that has been checked. Relative paths of the file
// are relative to its folder, and made so here.
type Config struct {
	Path        string // of the file
	DataDir     string // state, log, lake
	Listen      string // host:port of the console, metrics and health; "" for none
	ListenTLS   *TLS   // nil: without
	CatalogDir  string // the user's own catalogue; "" for none
	Log         Log
	Connections []Connection // by name
	Outputs     []Output     // by name
	Catalogue   *catalog.Catalogue
	Warnings    Mistakes // what is not wrong, but probably not meant
}

// TLS is how an address is served with it. The files are in PEM form and may
// change at any time.
type TLS struct{ CertFile, KeyFile string }

// Log is where pages are kept.
type Log struct {
	URL      Secret        // of a NATS cluster; empty: embedded. It may hold a password
	MaxBytes int64         // how much the log may hold
	MaxAge   time.Duration // how long pages stay for replay and for telling duplicates
}

// Connection is one configured account of a product.
type Connection struct {
	Name     string
	Product  *catalog.Product
	Settings *Settings
	Rate     catalog.RateLimit
	HTTP     HTTP
	Feeds    []Feed // by source
}

// HTTP says how a connection's requests are sent.
type HTTP struct {
	ProxyURL Secret        // empty: none but that of the environment. It may hold a password
	CAFile   string        // certificates to trust besides the system's; "" for none
	Timeout  time.Duration // of a request with its answer
	MaxBody  int64         // bytes of an answer
}

// Feed is a source of a connection.
type Feed struct {
	Connection string
	Source     *catalog.Source
	Start      Start
	Interval   time.Duration
	Overlap    time.Duration
	PageSize   int             // records a page
	Revisit    []time.Duration // ages at which windows are read again, growing
	Snapshot   time.Duration   // between two whole readings; 0: there are none
	Filter     map[string]any  // in the product's own terms; nil for none
	Push       *Push           // how the product may send records by itself; nil: not
	Pull       bool            // the API is asked
}

// Push says who may send records of a feed. Exactly one of Bearer, Basic and
// HMAC is set.
type Push struct {
	Bearer  *Reference
	Basic   *Basic
	HMAC    *HMAC
	MaxBody int64 // bytes of a request, as sent and unpacked
}

// Basic is a user with a password.
type Basic struct {
	Username string
	Password Reference
}

// HMAC is how the body of a request is signed.
type HMAC struct {
	Secret    Reference
	Header    string // that holds the signature
	Prefix    string // of the header's value, before the signature
	Algorithm string // sha256 or sha512
	Encoding  string // hex or base64
}

// Reference is a secret that is read at each use, so that one whose file
// changes is picked up.
type Reference struct {
	text   rawText
	expand func(text string) (string, error)
}

// Read gives the secret as it is now.
func (r *Reference) Read() (string, error) { return r.expand(r.text.Reveal()) }

// Name is the feed's name as users write it: wiz-prod/audit.
func (f Feed) Name() string { return f.Connection + "/" + f.Source.ID }

// Start is where a feed's first reading begins. The zero Start is the present.
type Start struct {
	ago time.Duration
	at  time.Time
}

// At is the time to begin at, if it is not the present.
func (s Start) At(now time.Time) (t time.Time, ok bool) {
	switch {
	case !s.at.IsZero():
		return s.at, true
	case s.ago > 0:
		return now.Add(-s.ago), true
	}
	return now, false
}

// String is the start as users write it; "" for the present.
func (s Start) String() string {
	switch {
	case !s.at.IsZero():
		return s.at.Format(time.RFC3339Nano)
	case s.ago > 0:
		return catalog.Duration(s.ago).String()
	}
	return ""
}

// Output is where documents are delivered.
type Output struct {
	Name     string
	Type     string // file
	Path     string // of a file; "-" for the standard output
	Schema   string // ecs or raw
	Original bool   // whether documents have event.original
	Rotate   Rotate
	Compress string // none, gzip or zstd

	MaxDocument int64 // bytes of a document, of which larger ones are dead letters; 0: any number
}

// Rotate says when a file is closed and the next one begun. Zero: never.
type Rotate struct {
	Size int64         // bytes
	Age  time.Duration //
}

// FeedCount is the number of feeds of all connections.
func (c *Config) FeedCount() int {
	n := 0
	for _, conn := range c.Connections {
		n += len(conn.Feeds)
	}
	return n
}
