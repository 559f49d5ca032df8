package fetch

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

// Settings are a connection's settings. They are read anew for each sign-in
// and request, so that a secret file that changed takes effect.
type Settings interface {
	// Get gives a setting of a product, by default if it has one; err is why
	// it could not be read. An empty value counts as none.
	Get(name string) (value string, ok bool, err error)
	// Map gives a setting that is a map; nil where it is not set.
	Map(name string) map[string]string
}

// names gives the values of ${name} for one request or sign-in: settings,
// names that the product derives from them, and the request's own.
type names struct {
	product  *catalog.Product
	settings Settings
	claim    func(name string) (string, bool) // of the access token; nil before there is one
	own      map[string]any                   // string, int or jsontext.Value

	err error // the first setting that could not be read
	why error // the last reason for which a derived name has no value
}

// value gives a name's value as the type that it has in JSON.
func (n *names) value(name string) (any, bool) {
	if v, ok := n.own[name]; ok {
		return v, true
	}
	if _, ok := n.product.Settings[name]; ok {
		return n.setting(name)
	}
	cases, ok := n.product.Derived[name]
	if !ok {
		return nil, false
	}
	v, err := cases.Choose(n.lookup, n.claim)
	if err != nil {
		n.why = err
		return nil, false
	}
	return v, true
}

func (n *names) setting(name string) (any, bool) {
	v, ok, err := n.settings.Get(name)
	if err != nil {
		if n.err == nil {
			n.err = fmt.Errorf("read setting %s: %w", name, err)
		}
		return nil, false
	}
	if !ok || v == "" {
		v = n.product.Settings[name].Default
	}
	return v, v != ""
}

// lookup gives a name's value as text.
func (n *names) lookup(name string) (string, bool) {
	v, ok := n.value(name)
	if !ok {
		return "", false
	}
	switch v := v.(type) {
	case string:
		return v, true
	case jsontext.Value:
		if text, ok := jsonscan.String(v); ok {
			return text, true
		}
		return string(v), true
	}
	return fmt.Sprint(v), true
}

// expand gives a text with the values of its names.
func (n *names) expand(text string) (string, error) {
	s, err := catalog.Expand(text, n.lookup)
	return s, n.reason(err)
}

// optional is expand for an entry that is left out, ok false, where the whole
// text is one name without a value.
func (n *names) optional(text string) (s string, ok bool, err error) {
	s, err = n.expand(text)
	var unset *catalog.UnsetError
	if _, whole := catalog.WholeName(text); whole && errors.As(err, &unset) {
		return "", false, nil
	}
	return s, err == nil, err
}

// choose gives the value of the first case that holds.
func (n *names) choose(cs catalog.Cases) (string, error) {
	s, err := cs.Choose(n.lookup, n.claim)
	return s, n.reason(err)
}

// reason replaces the error about a name by the error behind it.
func (n *names) reason(err error) error {
	switch {
	case n.err != nil:
		return n.err
	case err != nil && n.why != nil:
		return n.why
	}
	return err
}

// claims reads an access token that is a JWT, without checking its signature:
// it comes from where the credential is sent. Other tokens have no claims.
func claims(token string) func(name string) (string, bool) {
	var members map[string]jsontext.Value
	if parts := strings.Split(token, "."); len(parts) == 3 {
		payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
		if err != nil || json.Unmarshal(payload, &members, jsontext.AllowDuplicateNames(true)) != nil {
			members = nil
		}
	}
	return func(name string) (string, bool) {
		raw, ok := members[name]
		if !ok {
			return "", false
		}
		switch jsonscan.Kind(raw) {
		case '"':
			return jsonscan.String(raw)
		case '0', 't', 'f':
			return string(raw), true
		}
		return "", false
	}
}

// settingsIn lists the settings that texts name, in order.
func settingsIn(p *catalog.Product, texts ...string) []string {
	var list []string
	for _, text := range texts {
		parts, err := catalog.Parts(text)
		if err != nil {
			continue
		}
		for _, part := range parts {
			if _, ok := p.Settings[part.Name]; ok && !slices.Contains(list, part.Name) {
				list = append(list, part.Name)
			}
		}
	}
	return list
}

// settingsFor lists the settings that could decide between cases, and are
// neither required nor have a default: those a person may have left out.
func settingsFor(p *catalog.Product, cs catalog.Cases) []string {
	return settingsOf(p, cs, func(s catalog.Setting, _ bool) bool { return s.Default == "" && !s.Required })
}

// addressOf lists the settings that make an address, and those that could: not
// those with a default that only decide which of the others do.
func addressOf(p *catalog.Product, cs catalog.Cases) []string {
	return settingsOf(p, cs, func(s catalog.Setting, inValue bool) bool { return inValue || s.Default == "" && !s.Required })
}

// settingsOf lists the settings that cases name, also by way of derived names,
// in a value or only in a condition.
func settingsOf(p *catalog.Product, cs catalog.Cases, counts func(s catalog.Setting, inValue bool) bool) []string {
	var list []string
	add := func(name string, inValue bool) {
		if s, ok := p.Settings[name]; ok && counts(s, inValue) {
			list = append(list, name)
		}
		if derived, ok := p.Derived[name]; ok {
			list = append(list, settingsOf(p, derived, counts)...)
		}
	}
	for _, c := range cs {
		for name := range c.If {
			add(name, false)
		}
		parts, _ := catalog.Parts(c.Value) // Load has checked it
		for _, part := range parts {
			add(part.Name, true)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
