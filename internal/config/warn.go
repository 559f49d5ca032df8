package config

import (
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// warn notes, as mistakes are, what is not wrong with the file but probably not
// meant.
func (b *builder) warn(top place) {
	if b.unvisited > 0 {
		top.at("log", "max_age").Mistake("windows are not read again %v later, as they would be by default, because the log may not tell duplicates any more by then; %v would do", b.unvisited, enough(b.unvisited))
	}
	for i := range b.config.Connections {
		c := &b.config.Connections[i]
		at := top.at("connections", c.Name)
		f := b.file.Connections[c.Name]
		b.warnSettings(at.at("settings"), c, f.Settings)
		if f.Sources != nil && len(f.Sources) == 0 {
			at.at("sources").Mistake("is empty, so every source of %s is read; name those that you want, or leave the key out", c.Product.ID)
		}
		for _, feed := range c.Feeds {
			if feed.Push != nil {
				warnPush(at.at("sources", feed.Source.ID), &feed, f.Sources[feed.Source.ID])
				if b.config.ListenTLS == nil && !onlyHere(b.config.Listen) {
					at.at("sources", feed.Source.ID, "push").Mistake("what is sent, with its credential, can be read by everybody on the way; set listen_tls, or listen on 127.0.0.1 behind a reverse proxy with TLS")
				}
			}
			if !feed.Pull {
				continue
			}
			if _, set := feed.Start.At(b.now); set && feed.Source.OnlyWhole() {
				at.at("sources", feed.Source.ID, "start").Mistake("has no effect: %s can only be read whole, and the first reading brings all that there is", feed.Source.FullName())
			}
			keeps := feed.Source.Window.Retention
			if start, ok := feed.Start.At(b.now); ok && keeps > 0 && start.Before(b.now.Add(-keeps.Std())) {
				at.at("sources", feed.Source.ID, "start").Mistake("%s keeps its records for %v, so the feed begins there", feed.Source.FullName(), keeps)
			}
		}
	}
}

// warnPush notes secrets that stand in the file, and what says how the API is to
// be asked where it is not.
func warnPush(at place, feed *Feed, f feedFile) {
	push := feed.Push
	secrets := map[string]*Reference{"bearer": push.Bearer}
	if push.Basic != nil {
		secrets["basic.password"] = &push.Basic.Password
	}
	if push.HMAC != nil {
		secrets["hmac.secret"] = &push.HMAC.Secret
	}
	for key, secret := range secrets {
		if secret == nil {
			continue
		}
		if value, err := secret.Read(); err == nil && value == secret.text.Reveal() {
			at.at("push").at(strings.Split(key, ".")...).Mistake(secretInFile)
		}
	}
	if feed.Pull {
		return
	}
	_, started := feed.Start.At(time.Time{})
	for key, set := range map[string]bool{
		"start": started, "interval": f.Interval != nil, "overlap": f.Overlap != nil, "page_size": f.PageSize != nil,
		"revisit": f.Revisit != nil, "snapshot": f.Snapshot != nil, "filter": f.Filter != nil,
	} {
		if set {
			at.at(key).Mistake("has no effect: with pull: false the API is not asked; leave it out")
		}
	}
}

// secretInFile is what is wrong with a secret that is no reference.
const secretInFile = "the secret itself stands in the file; write ${env:NAME} or ${file:PATH}, and change the secret if others have seen the file"

// shellVariable is how a shell, which does not read the file, is asked for a variable.
var shellVariable = regexp.MustCompile(`^\$[A-Za-z_][A-Za-z0-9_]*$`)

func (b *builder) warnSettings(at place, c *Connection, values map[string]settingValue) {
	for name, v := range values {
		setting := c.Product.Settings[name]
		value, _, err := c.Settings.Get(name)
		switch {
		case v.kind != strictyaml.Scalar || err != nil || value == "":
		case shellVariable.MatchString(v.text.Reveal()):
			at.at(name).Mistake("is taken as it stands, with its $; if it is meant to be the value of an environment variable, write ${env:NAME}")
		case setting.Secret && v.text.Reveal() == value:
			at.at(name).Mistake(secretInFile)
		case setting.Type == "url" && plainHTTP(value):
			at.at(name).Mistake("http sends the credential where everybody on the way can read it; write https")
		}
	}
	deciding, unused := addressSettings(c)
	for _, name := range unused {
		at.at(name).Mistake("has no effect, since the address is taken from %s; leave one of them out", strings.Join(deciding, " and "))
	}
}

// plainHTTP tells whether an address is that of another machine, without TLS.
func plainHTTP(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "http" && !loopback(u.Hostname())
}

// onlyHere tells whether an address to listen on is none that other machines reach.
func onlyHere(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	return err == nil && loopback(host)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// addressSettings divides the settings that are there for the address of the
// API, and are set, into those that decide it and those that it then passes by.
func addressSettings(c *Connection) (deciding, unused []string) {
	looked := map[string]bool{}
	_, _ = c.Product.BaseURL.Choose(c.lookup(func(name string) { looked[name] = true }), nil) // an address that needs the token is fine
	for _, name := range slices.Sorted(maps.Keys(namesIn(c.Product, c.Product.BaseURL))) {
		if value, set, err := c.Settings.Get(name); !set || err != nil || value == "" || !slices.Contains(c.Settings.Names(), name) {
			continue
		}
		if looked[name] {
			deciding = append(deciding, name)
		} else {
			unused = append(unused, name)
		}
	}
	if elsewhere := namesElsewhere(c.Product); len(unused) > 0 {
		unused = slices.DeleteFunc(unused, func(name string) bool { return elsewhere[name] })
	}
	return deciding, unused
}

// SignIn is the way to sign in that the connection's settings fit.
func (c *Connection) SignIn() (*catalog.Auth, error) {
	return c.Product.SignIn(c.lookup(func(string) {}))
}

// lookup gives the values of settings and derived names, and tells note which
// settings were asked for.
func (c *Connection) lookup(note func(setting string)) func(name string) (string, bool) {
	return c.Product.Lookup(func(name string) (string, bool) {
		note(name)
		value, ok, err := c.Settings.Get(name)
		return value, ok && err == nil
	})
}

// namesIn are the settings that cases may ask for, also by way of derived names.
func namesIn(p *catalog.Product, cases catalog.Cases) map[string]bool {
	names := map[string]bool{}
	add := func(name string) {
		if derived, ok := p.Derived[name]; ok {
			maps.Copy(names, namesIn(p, derived))
			return
		}
		names[name] = true
	}
	for _, c := range cases {
		for name := range c.If {
			add(name)
		}
		parts, _ := catalog.Parts(c.Value) // the catalogue has been checked
		for _, part := range parts {
			if part.Name != "" {
				add(part.Name)
			}
		}
	}
	return names
}

// namesElsewhere are the settings that signing in and headers use.
func namesElsewhere(p *catalog.Product) map[string]bool {
	cases := catalog.Cases{}
	texts := slices.Collect(maps.Values(p.Headers))
	for i := range p.Auth {
		texts = append(texts, p.Auth[i].Texts()...)
		cases = append(cases, catalog.Case{If: p.Auth[i].If})
	}
	for _, text := range texts {
		cases = append(cases, catalog.Case{Value: text})
	}
	return namesIn(p, cases)
}
