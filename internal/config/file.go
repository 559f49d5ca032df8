package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// file is trawl.yaml as it is written. The comments are its reference: the JSON
// Schema has them.
type file struct {
	DataDir     string                    `yaml:"data_dir,omitempty"`    // state, log, lake; created with mode 0700
	Listen      string                    `yaml:"listen,omitempty"`      // host:port of /healthz, /readyz, /metrics and the console; "" for none
	ListenTLS   *listenTLSFile            `yaml:"listen_tls,omitempty"`  // TLS on that address; absent: none
	CatalogDir  string                    `yaml:"catalog_dir,omitempty"` // a folder with product folders of your own
	Log         logFile                   `yaml:"log,omitempty"`         // where pages are kept
	Connections map[string]connectionFile `yaml:"connections"`           // accounts to collect from, by a name of your choice
	Outputs     map[string]outputFile     `yaml:"outputs"`               // where to deliver, by a name of your choice
}

type listenTLSFile struct {
	CertFile string `yaml:"cert_file"` // certificate and those between it and the root, as PEM; read again when it changes
	KeyFile  string `yaml:"key_file"`  // its private key, as PEM
}

type logFile struct {
	URL      Secret           `yaml:"url,omitempty"`       // nats://a:4222,nats://b:4222; "" for the embedded log
	MaxBytes Size             `yaml:"max_bytes,omitempty"` // how much the log may hold before collection waits: 10GiB
	MaxAge   catalog.Duration `yaml:"max_age,omitempty"`   // how long pages stay for replay and for telling duplicates: 168h
}

type connectionFile struct {
	Product  string                  `yaml:"product"`              // a product of the catalogue: wiz
	Settings map[string]settingValue `yaml:"settings,omitempty"`   // the product's own settings; trawl catalog show PRODUCT lists them
	Rate     rateFile                `yaml:"rate_limit,omitempty"` // the budget of requests, instead of the product's
	HTTP     httpFile                `yaml:"http,omitempty"`       // how requests are sent
	Sources  map[string]feedFile     `yaml:"sources,omitempty"`    // what to collect; where this is absent, all of the product's sources that are not optional
}

type rateFile struct {
	PerSecond *float64 `yaml:"requests_per_second,omitempty"` // requests a second
	Burst     *int     `yaml:"burst,omitempty"`               // requests at once
}

type httpFile struct {
	ProxyURL Secret           `yaml:"proxy_url,omitempty"` // http://user:password@host:port
	CAFile   string           `yaml:"ca_file,omitempty"`   // certificates to trust besides the system's, as PEM
	Timeout  catalog.Duration `yaml:"timeout,omitempty"`   // of a request with its answer: 60s
	MaxBody  Size             `yaml:"max_body,omitempty"`  // the largest answer: 64MiB
}

type feedFile struct {
	Start    Start              `yaml:"start,omitempty"`     // where to begin: absent for the present, an age (24h, 30d), or a time (2025-09-12T21:00:09Z)
	Interval *catalog.Duration  `yaml:"interval,omitempty"`  // between two readings, instead of the source's
	Overlap  *catalog.Duration  `yaml:"overlap,omitempty"`   // read again each time, instead of the source's
	PageSize *int               `yaml:"page_size,omitempty"` // records a page, instead of the source's
	Revisit  []catalog.Duration `yaml:"revisit,omitempty"`   // ages at which windows are read again, instead of the source's; [] for none
	Snapshot *catalog.Duration  `yaml:"snapshot,omitempty"`  // between two whole readings of a state, instead of the source's; 0s for none
	Filter   map[string]any     `yaml:"filter,omitempty"`    // merged into the request, in the product's own terms
	Push     *pushFile          `yaml:"push,omitempty"`      // take the records that the product sends to /ingest/<connection>/<product>/<source>
	Pull     *bool              `yaml:"pull,omitempty"`      // whether the API is asked: true; false for what only comes by push
}

type pushFile struct {
	Bearer  *rawText   `yaml:"bearer,omitempty"`   // the token of Authorization: Bearer
	Basic   *basicFile `yaml:"basic,omitempty"`    // user and password of Authorization: Basic
	HMAC    *hmacFile  `yaml:"hmac,omitempty"`     // a signature of the body
	MaxBody Size       `yaml:"max_body,omitempty"` // the largest body, packed and unpacked: 16MiB
}

type basicFile struct {
	Username string  `yaml:"username"` // as the product sends it
	Password rawText `yaml:"password"` //
}

type hmacFile struct {
	Secret    rawText `yaml:"secret"`              // the key of the signature
	Header    string  `yaml:"header"`              // that holds the signature: X-Signature
	Prefix    string  `yaml:"prefix,omitempty"`    // before the signature: sha256=
	Algorithm string  `yaml:"algorithm,omitempty"` // sha256 or sha512
	Encoding  string  `yaml:"encoding,omitempty"`  // hex or base64
}

type outputFile struct {
	Type     string     `yaml:"type"`               // file
	Path     string     `yaml:"path,omitempty"`     // of the file; "-" for the standard output
	Schema   string     `yaml:"schema,omitempty"`   // ecs or raw
	Original bool       `yaml:"original,omitempty"` // whether documents have event.original: true
	Rotate   rotateFile `yaml:"rotate,omitempty"`   // when to begin a new file
	Compress string     `yaml:"compress,omitempty"` // none, gzip or zstd

	MaxDocument Size `yaml:"max_document,omitempty"` // larger documents become dead letters: 1MiB; absent: whatever their size
}

type rotateFile struct {
	Size Size             `yaml:"size,omitempty"` // when the file is this large: 1GiB
	Age  catalog.Duration `yaml:"age,omitempty"`  // when the file is this old: 24h
}

// defaults are the values of what a file leaves out.
func defaults() file {
	return file{
		DataDir: "./trawl-data",
		Listen:  "127.0.0.1:8686",
		Log:     logFile{MaxBytes: 10 << 30, MaxAge: catalog.Duration(168 * time.Hour)},
	}
}

// UnmarshalNode reads a connection over its defaults.
func (c *connectionFile) UnmarshalNode(n strictyaml.Node) {
	type plain connectionFile
	c.HTTP = httpFile{Timeout: catalog.Duration(time.Minute), MaxBody: 64 << 20}
	n.Decode((*plain)(c))
}

// UnmarshalNode reads what a product may send over its defaults.
func (p *pushFile) UnmarshalNode(n strictyaml.Node) {
	type plain pushFile
	*p = pushFile{MaxBody: 16 << 20}
	n.Decode((*plain)(p))
}

// UnmarshalNode reads a signature over its defaults.
func (h *hmacFile) UnmarshalNode(n strictyaml.Node) {
	type plain hmacFile
	*h = hmacFile{Algorithm: "sha256", Encoding: "hex"}
	n.Decode((*plain)(h))
}

// UnmarshalNode reads an output over its defaults.
func (o *outputFile) UnmarshalNode(n strictyaml.Node) {
	type plain outputFile
	*o = outputFile{Schema: "ecs", Original: true, Compress: "none"}
	n.Decode((*plain)(o))
}

// Size is a number of bytes, written as 10GiB, 64MiB, 5MB or a plain number.
type Size int64

var units = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// ParseSize reads a number of bytes: 10GiB, 1.5GB, 4096.
func ParseSize(s string) (Size, error) {
	number, unit := s, int64(1)
	for _, u := range units {
		if before, ok := strings.CutSuffix(s, u.suffix); ok {
			number, unit = strings.TrimSuffix(before, " "), u.bytes
			break
		}
	}
	if n, err := strconv.ParseUint(number, 10, 63); err == nil && n <= math.MaxInt64/uint64(unit) {
		return Size(n) * Size(unit), nil
	}
	whole, fraction, ok := strings.Cut(number, ".")
	_, errWhole := strconv.ParseUint(whole, 10, 32)
	_, errFraction := strconv.ParseUint(fraction, 10, 32)
	f, _ := strconv.ParseFloat(number, 64)
	if !ok || unit == 1 || errWhole != nil || errFraction != nil || f*float64(unit) > 1<<62 {
		return 0, fmt.Errorf("%q is not a size; write 10GiB, 64MiB, 5MB or a number of bytes", s)
	}
	return Size(f * float64(unit)), nil
}

// UnmarshalNode reads a size.
func (s *Size) UnmarshalNode(n strictyaml.Node) {
	var text string
	if n.Decode(&text); text == "" {
		return
	}
	size, err := ParseSize(text)
	if err != nil {
		n.Mistake("%q is not a size; write 10GiB, 64MiB, 5MB or a number of bytes", n.Raw())
		return
	}
	*s = size
}

// UnmarshalNode reads an age or a time.
func (s *Start) UnmarshalNode(n strictyaml.Node) {
	var text string
	if n.Decode(&text); text == "" {
		return
	}
	start, err := ParseStart(text)
	if err != nil {
		n.Mistake("%q is neither an age nor a time; write %s", n.Raw(), startForms)
		return
	}
	*s = start
}

const startForms = "24h, 30d, 2025-09-12 or 2025-09-12T21:00:09Z"

// ParseStart reads an age (24h, 30d), a date, which begins at midnight UTC, or
// a time.
func ParseStart(text string) (Start, error) {
	if age, err := catalog.ParseDuration(text); err == nil {
		return Start{ago: age.Std()}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return Start{at: at.UTC()}, nil
		}
	}
	return Start{}, fmt.Errorf("%q is neither an age nor a time; write %s", text, startForms)
}
