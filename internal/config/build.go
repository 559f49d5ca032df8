package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// place is where a check notes its mistakes.
type place struct{ strictyaml.Place }

func (p place) at(path ...string) place { return place{p.At(path...)} }

// builder turns the file into the configuration, and checks it on the way.
type builder struct {
	in             expander
	now            time.Time
	withoutSecrets bool
	file           file
	config         *Config
	unvisited      catalog.Duration // the highest age of a source's own that max_age leaves no room for; 0: there is none
}

// nameForm is what connections and outputs may be called: names stand in
// subjects of the log, in file names and in labels.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

func (b *builder) build(top place) {
	f := b.file
	if f.DataDir == "" {
		top.at("data_dir").Mistake("must not be empty; write a folder, or leave the key out for ./trawl-data")
	}
	if _, port, err := net.SplitHostPort(f.Listen); f.Listen != "" && (err != nil || !isPort(port)) {
		top.at("listen").Mistake("must be host:port, as in 127.0.0.1:8686, or \"\" for none")
	}
	if t := b.config.ListenTLS; t != nil {
		b.listenTLS(top.at("listen_tls"), t)
	}
	if f.Log.MaxBytes < 1<<20 {
		top.at("log", "max_bytes").Mistake("must be at least 1MiB")
	}
	if f.Log.MaxAge <= 0 {
		top.at("log", "max_age").Mistake("must be more than 0")
	}
	for _, server := range strings.Split(f.Log.URL.Reveal(), ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if !f.Log.URL.IsZero() && (err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme)) {
			top.at("log", "url").Mistake("must be addresses of NATS servers, as in nats://a:4222,nats://b:4222, or \"\" for the embedded log")
			break
		}
	}
	if len(f.Connections) == 0 {
		top.at("connections").Mistake("needs at least one connection")
	}
	for _, name := range slices.Sorted(maps.Keys(f.Connections)) {
		at := top.at("connections", name)
		at.name(name)
		b.config.Connections = append(b.config.Connections, b.connection(at, name, f.Connections[name]))
	}
	if len(f.Outputs) == 0 {
		top.at("outputs").Mistake("needs at least one output")
	}
	paths := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(f.Outputs)) {
		at := top.at("outputs", name)
		at.name(name)
		out := b.output(at, name, f.Outputs[name])
		if other, taken := paths[out.Path]; taken && out.Path != "" {
			at.at("path").Mistake("output %s writes to this path too; give each its own", other)
		}
		paths[out.Path] = name
		b.config.Outputs = append(b.config.Outputs, out)
	}
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func (p place) name(name string) {
	if !nameForm.MatchString(name) {
		p.Mistake("%q can't be a name; use letters, digits, and _ . -", name)
	}
}

// oneOf checks a word against those known. It shows the word as it stands in the file.
func (p place) oneOf(word string, known ...string) {
	if !slices.Contains(known, word) {
		p.Mistake("%q is not known here; known: %s", p.Raw(), strings.Join(known, ", "))
	}
}

func (b *builder) connection(at place, name string, f connectionFile) Connection {
	c := Connection{Name: name, Settings: &Settings{values: f.Settings, expand: b.in.expand}}
	c.HTTP = HTTP{ProxyURL: f.HTTP.ProxyURL, CAFile: b.in.path(f.HTTP.CAFile), Timeout: f.HTTP.Timeout.Std(), MaxBody: int64(f.HTTP.MaxBody)}
	b.http(at.at("http"), c.HTTP)
	if f.Rate.PerSecond != nil && *f.Rate.PerSecond <= 0 {
		at.at("rate_limit", "requests_per_second").Mistake("must be more than 0")
	}
	if f.Rate.Burst != nil && *f.Rate.Burst < 1 {
		at.at("rate_limit", "burst").Mistake("must be at least 1")
	}
	if b.config.Catalogue == nil || f.Product == "" {
		return c
	}
	product, err := b.config.Catalogue.Product(f.Product)
	if err != nil {
		var unknown *catalog.UnknownError
		errors.As(err, &unknown)
		at.at("product").oneOf(f.Product, unknown.Known...)
		return c
	}
	c.Product = product
	c.Rate = product.Rate
	if f.Rate.PerSecond != nil {
		c.Rate.PerSecond = *f.Rate.PerSecond
	}
	if f.Rate.Burst != nil {
		c.Rate.Burst = *f.Rate.Burst
	}
	c.Settings.known = product.Settings
	pulled := len(f.Sources) == 0
	for _, feed := range f.Sources {
		pulled = pulled || feed.Pull == nil || *feed.Pull
	}
	b.settings(at.at("settings"), product, f.Settings, pulled)
	if pulled {
		b.signIn(at.at("settings"), &c)
	}
	if len(f.Sources) == 0 {
		f.Sources = map[string]feedFile{}
		for id, source := range product.Sources {
			if !source.Optional {
				f.Sources[id] = feedFile{}
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(f.Sources)) {
		at := at.at("sources", id)
		source, ok := product.Sources[id]
		if !ok {
			at.Mistake("%s has no source of this name; known: %s", product.ID, strings.Join(slices.Sorted(maps.Keys(product.Sources)), ", "))
			continue
		}
		c.Feeds = append(c.Feeds, b.feed(at, name, source, f.Sources[id]))
	}
	return c
}

// listenTLS checks a certificate, unless this process does not serve with it.
func (b *builder) listenTLS(at place, t *TLS) {
	if b.file.Listen == "" {
		at.Mistake("has no effect without an address; set listen, or leave it out")
	}
	for key, path := range map[string]string{"cert_file": t.CertFile, "key_file": t.KeyFile} {
		if path == "" {
			at.at(key).Mistake("is missing; name a file in PEM form")
			return
		}
	}
	if b.withoutSecrets {
		return
	}
	if _, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile); err != nil {
		at.Mistake("no certificate with its key: %v", err)
	}
}

func (b *builder) http(at place, h HTTP) {
	if h.Timeout <= 0 {
		at.at("timeout").Mistake("must be more than 0")
	}
	if h.MaxBody < 1<<10 {
		at.at("max_body").Mistake("must be at least 1KiB")
	}
	u, err := url.Parse(h.ProxyURL.Reveal())
	if !h.ProxyURL.IsZero() && (err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme)) {
		at.at("proxy_url").Mistake("must be an address, as in http://proxy.example:3128")
	}
	if h.CAFile == "" {
		return
	}
	pem, err := os.ReadFile(h.CAFile)
	if err != nil {
		at.at("ca_file").Mistake("%v", err)
	} else if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		at.at("ca_file").Mistake("holds no certificate in PEM form")
	}
}

// settingsPath is a path of the kind that settings have.
var settingsPath = []string{"connections", "", "settings"}

// settings checks a connection's settings against those that its product has.
// Those required are needed only where the API is asked.
func (b *builder) settings(at place, product *catalog.Product, values map[string]settingValue, needed bool) {
	for _, name := range slices.Sorted(maps.Keys(product.Settings)) {
		setting := product.Settings[name]
		if v, ok := values[name]; needed && setting.Required && (!ok || v.kind == strictyaml.Null) {
			at.at(name).Mistake("is missing; add it%s (%s)", example(name, setting), setting.About)
		}
	}
	for name, v := range values {
		at := at.at(name)
		setting, known := product.Settings[name]
		switch {
		case !known:
			at.Mistake("%s has no setting of this name; %s", product.ID, strictyaml.Suggest(name, slices.Collect(maps.Keys(product.Settings))))
		case v.kind == strictyaml.Null:
		case setting.Type == "map":
			if v.kind != strictyaml.Map {
				at.Mistake("must be a mapping, as in {key: value}; this is %s", v.kind)
			}
			for key, text := range v.form {
				if _, err := b.expand(settingsPath, text.Reveal()); err != nil && !errors.Is(err, strictyaml.ErrLeaveOut) {
					at.at(key).Mistake("%v", err)
				}
			}
		case v.kind != strictyaml.Scalar:
			at.Mistake("must be a single value; this is %s", v.kind)
		default:
			b.setting(at, setting, v.text)
		}
	}
}

// signIn checks that one of the product's ways to sign in has what it needs.
func (b *builder) signIn(at place, c *Connection) {
	for name := range c.Settings.values {
		if _, _, err := c.Settings.Get(name); err != nil {
			return // which is told elsewhere, or does not matter
		}
	}
	auth, err := c.SignIn()
	if err != nil {
		at.Mistake("%v; `trawl catalog show %s` lists the settings", err, c.Product.ID)
		return
	}
	for _, name := range c.Product.Needs(auth, c.lookup(func(string) {})) {
		setting := c.Product.Settings[name]
		if value, _, _ := c.Settings.Get(name); setting.Required || value != "" {
			continue
		}
		at.at(name).Mistake("is missing; add it%s (%s)", example(name, setting), setting.About)
	}
}

// example says how a setting may be written.
func example(name string, s catalog.Setting) string {
	if s.Env == "" {
		return ""
	}
	return ", as in " + name + ": ${env:" + s.Env + "}"
}

func (b *builder) setting(at place, setting catalog.Setting, text Secret) {
	value, err := b.expand(settingsPath, text.Reveal())
	switch {
	case errors.Is(err, strictyaml.ErrLeaveOut):
	case err != nil:
		at.Mistake("%v", err)
	case value == "" && setting.Required:
		at.Mistake("must not be empty (%s)", setting.About)
	case value != "":
		if err := setting.Check(value); err != nil {
			at.Mistake("%v (%s)", err, setting.About)
		}
	}
}

func (b *builder) feed(at place, connection string, source *catalog.Source, f feedFile) Feed {
	feed := Feed{Connection: connection, Source: source, Start: f.Start, Filter: f.Filter}
	feed.PageSize = pick(f.PageSize, source.Paging.Size)
	b.snapshot(at, &feed, f)
	if source.OnlyWhole() {
		feed.Interval = feed.Snapshot
	} else {
		b.rounds(at, &feed, f)
	}
	if feed.PageSize < 1 || feed.PageSize > source.Paging.MaxSize {
		at.at("page_size").Mistake("must be 1 to %d, which is the most that %s takes", source.Paging.MaxSize, source.FullName())
	}
	if start, ok := f.Start.At(b.now); ok && start.After(b.now) {
		at.at("start").Mistake("lies in the future; leave it out to start at the present")
	}
	if len(f.Filter) > 0 && source.Request.Filter == "" {
		at.at("filter").Mistake("%s can't be filtered; leave it out", source.FullName())
	}
	feed.Pull = pick(f.Pull, true)
	feed.Push = b.push(at.at("push"), source, f.Push)
	if !feed.Pull && f.Push == nil {
		at.at("pull").Mistake("without it nothing brings records of %s; add push, or leave the key out", source.FullName())
	}
	return feed
}

// rounds checks how often a feed is read, and what of it again.
func (b *builder) rounds(at place, feed *Feed, f feedFile) {
	feed.Interval = pick(f.Interval, feed.Source.Window.Interval).Std()
	feed.Overlap = pick(f.Overlap, feed.Source.Window.Overlap).Std()
	if feed.Interval <= 0 {
		at.at("interval").Mistake("must be more than 0")
	}
	if feed.Overlap <= 0 {
		at.at("overlap").Mistake("must be more than 0: records become visible late")
	}
	b.revisit(at, feed, f.Revisit)
}

// snapshot checks how often a feed is read whole.
func (b *builder) snapshot(at place, feed *Feed, f feedFile) {
	source := feed.Source
	if source.Snapshot == nil {
		if f.Snapshot != nil {
			at.at("snapshot").Mistake("%s is never read whole, since its records do not vanish; leave it out", source.FullName())
		}
		return
	}
	feed.Snapshot = pick(f.Snapshot, source.Snapshot.Every).Std()
	if !source.OnlyWhole() {
		return
	}
	if feed.Snapshot <= 0 {
		at.at("snapshot").Mistake("must be more than 0: %s can only be read whole", source.FullName())
	}
	for key, set := range map[string]bool{"interval": f.Interval != nil, "overlap": f.Overlap != nil, "revisit": len(f.Revisit) > 0} {
		if set {
			at.at(key).Mistake("%s can only be read whole, each time; write how often as snapshot instead", source.FullName())
		}
	}
}

// push checks how records may come by themselves.
func (b *builder) push(at place, source *catalog.Source, f *pushFile) *Push {
	if f == nil {
		return nil
	}
	if source.Pushed == nil {
		at.Mistake("%s can't be sent by the product; leave it out", source.FullName())
	}
	if b.file.Listen == "" {
		at.Mistake("needs an address to be sent to; set listen")
	}
	if f.MaxBody < 1<<10 || f.MaxBody > 64<<20 {
		at.at("max_body").Mistake("must be between 1KiB and 64MiB")
	}
	p := &Push{MaxBody: int64(f.MaxBody)}
	ways := 0
	secret := func(at place, text rawText) Reference {
		ways++
		if value, err := b.expand(settingsPath, text.Reveal()); err != nil && !errors.Is(err, strictyaml.ErrLeaveOut) {
			at.Mistake("%v", err)
		} else if err == nil && len(value) < leastSecret {
			at.Mistake("is too short for a secret: at least %d characters", leastSecret)
		}
		return Reference{text, b.in.expand}
	}
	if f.Bearer != nil {
		r := secret(at.at("bearer"), *f.Bearer)
		p.Bearer = &r
	}
	if f.Basic != nil {
		if strings.Contains(f.Basic.Username, ":") {
			at.at("basic", "username").Mistake("has a colon, which ends the name in what senders send; set another")
		}
		p.Basic = &Basic{f.Basic.Username, secret(at.at("basic", "password"), f.Basic.Password)}
	}
	if f.HMAC != nil {
		h := f.HMAC
		at.at("hmac", "algorithm").oneOf(h.Algorithm, "sha256", "sha512")
		at.at("hmac", "encoding").oneOf(h.Encoding, "hex", "base64")
		if strings.ContainsFunc(h.Header, notInName) {
			at.at("hmac", "header").Mistake("is no name of a header, such as X-Signature")
		}
		p.HMAC = &HMAC{secret(at.at("hmac", "secret"), h.Secret), h.Header, h.Prefix, h.Algorithm, h.Encoding}
	}
	if ways != 1 {
		at.Mistake("needs one of bearer, basic and hmac, so that nobody else can send records")
	}
	return p
}

// notInName tells what a header's name can't have (RFC 9110, section 5.6.2).
func notInName(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", c))
}

// leastSecret is how many characters make a secret hard to guess at all.
const leastSecret = 12

// revisit checks the ages at which a feed's windows are read again. Of those
// that a source has by itself, the ones that max_age leaves no room for are left
// out, which warn says.
func (b *builder) revisit(at place, feed *Feed, own []catalog.Duration) {
	ages := own
	if own == nil {
		ages = feed.Source.Window.Revisit
	}
	for i, age := range ages {
		if own != nil && (age.Std() <= feed.Overlap || (i > 0 && age <= ages[i-1])) {
			at.at("revisit", strconv.Itoa(i)).Mistake("ages have to grow, and to be more than overlap, %v", catalog.Duration(feed.Overlap))
		}
		// Beyond max_age the log no longer knows which records it had, and it takes
		// its time to read them.
		if limit := b.file.Log.MaxAge; limit > 0 && age > limit/4*3 {
			if own == nil {
				b.unvisited = max(b.unvisited, age)
				continue
			}
			at.at("revisit", strconv.Itoa(i)).Mistake("windows are read again %v later, when the log may not tell duplicates any more; raise log.max_age (%v) to %v at least, or set lower ages", age, limit, enough(age))
		}
		feed.Revisit = append(feed.Revisit, age.Std())
	}
}

// enough is the least max_age that leaves room for windows to be read again at an age.
func enough(age catalog.Duration) catalog.Duration { return (age + 2) / 3 * 4 }

// pick is the file's value if it has one.
func pick[T any](set *T, otherwise T) T {
	if set != nil {
		return *set
	}
	return otherwise
}

// The words that outputs take.
var (
	outputTypes   = []string{"file"}
	outputSchemas = []string{"ecs", "raw"}
	compressions  = []string{"none", "gzip", "zstd"}
)

func (b *builder) output(at place, name string, f outputFile) Output {
	out := Output{
		Name: name, Type: f.Type, Path: b.in.path(f.Path), Schema: f.Schema, Original: f.Original,
		Rotate: Rotate{Size: int64(f.Rotate.Size), Age: f.Rotate.Age.Std()}, Compress: f.Compress,
		MaxDocument: int64(f.MaxDocument),
	}
	if f.MaxDocument != 0 && f.MaxDocument < 1<<10 {
		at.at("max_document").Mistake("must be at least 1KiB, or absent for no limit")
	}
	switch {
	case f.Type == "stdout" || f.Type == "console" || f.Type == "-":
		at.at("type").Mistake("%q is not known here; for the standard output write type: file, path: \"-\"", at.at("type").Raw())
	case f.Type != "":
		at.at("type").oneOf(f.Type, outputTypes...)
	}
	at.at("schema").oneOf(f.Schema, outputSchemas...)
	at.at("compress").oneOf(f.Compress, compressions...)
	if f.Type != "file" {
		return out
	}
	if f.Path == "" {
		at.at("path").Mistake("is missing; write the file's path, or \"-\" for the standard output")
		out.Path = at.at("path").Raw() // with what it refers to left out
	}
	if f.Path == "-" && f.Rotate != (rotateFile{}) {
		at.at("rotate").Mistake("the standard output can't be rotated; leave it out")
	}
	return out
}
