package catalog

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Part is a piece of a text with ${name} in it: either Text or Name is set.
type Part struct{ Text, Name string }

// Parts takes a text apart at its ${name}s. What stands between the braces is
// not looked at, except that it can't be empty. An unclosed brace is an error.
func Parts(s string) ([]Part, error) {
	var parts []Part
	for {
		text, rest, found := strings.Cut(s, "${")
		if text != "" {
			parts = append(parts, Part{Text: text})
		}
		if !found {
			return parts, nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || name == "" {
			return nil, errors.New("${ has to be followed by a name and a }")
		}
		parts = append(parts, Part{Name: name})
		s = after
	}
}

// WholeName gives the name if the text is ${name} and nothing else.
func WholeName(s string) (name string, ok bool) {
	parts, err := Parts(s)
	if err != nil || len(parts) != 1 || parts[0].Name == "" {
		return "", false
	}
	return parts[0].Name, true
}

// UnsetError says that a name in ${} has no value.
type UnsetError struct{ Name string }

func (e *UnsetError) Error() string { return fmt.Sprintf("%s has no value", e.Name) }

// Expand puts the values of names in place of each ${name}. A name that lookup
// does not have is an *UnsetError. An address loses a slash at its end where one
// follows, as people write addresses with and without it.
func Expand(s string, lookup func(name string) (string, bool)) (string, error) {
	parts, err := Parts(s)
	if err != nil {
		return "", fmt.Errorf("expand %q: %w", s, err)
	}
	var b strings.Builder
	for i, p := range parts {
		b.WriteString(p.Text)
		if p.Name == "" {
			continue
		}
		value, ok := lookup(p.Name)
		if !ok {
			return "", &UnsetError{Name: p.Name}
		}
		if i+1 < len(parts) && strings.HasPrefix(parts[i+1].Text, "/") && strings.Contains(value, "://") {
			value = strings.TrimSuffix(value, "/")
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

// NeedsToken says that a value stands in the access token, which is not there yet.
type NeedsToken struct{ Claim string }

func (e *NeedsToken) Error() string {
	return fmt.Sprintf("needs the claim %q of an access token: sign in first", e.Claim)
}

// Choose gives the value of the first case whose conditions hold. lookup has
// the settings and the derived names; claim has the claims of the access token,
// and is nil before there is one: then a case that takes a claim is a
// *NeedsToken. A claim that the token lacks passes on to the next case.
func (cs Cases) Choose(lookup, claim func(name string) (string, bool)) (string, error) {
	missing := ""
	for _, c := range cs {
		if !hold(c.If, lookup) {
			continue
		}
		if c.Claim == "" {
			return Expand(c.Value, lookup)
		}
		if claim == nil {
			return "", &NeedsToken{Claim: c.Claim}
		}
		if value, ok := claim(c.Claim); ok && value != "" {
			return value, nil
		}
		missing = c.Claim
	}
	if missing != "" {
		return "", fmt.Errorf("the access token has no claim %q", missing)
	}
	return "", errors.New("no case holds")
}

// SignIn gives the way to sign in that a connection takes: the first whose
// conditions hold. lookup has the settings and the derived names.
func (p *Product) SignIn(lookup func(name string) (string, bool)) (*Auth, error) {
	for i := range p.Auth {
		if hold(p.Auth[i].If, lookup) {
			return &p.Auth[i], nil
		}
	}
	return nil, errors.New("the settings fit none of the ways to sign in")
}

// Lookup gives the values of derived names beside those of the settings.
func (p *Product) Lookup(setting func(name string) (string, bool)) func(name string) (string, bool) {
	var lookup func(name string) (string, bool)
	lookup = func(name string) (string, bool) {
		cases, derived := p.Derived[name]
		if !derived {
			return setting(name)
		}
		value, err := cases.Choose(lookup, nil)
		return value, err == nil
	}
	return lookup
}

// Needs are the settings without which there is no address to ask, or the way to
// sign in cannot be gone, in order of their names; lookup as in SignIn.
func (p *Product) Needs(a *Auth, lookup func(name string) (string, bool)) []string {
	var needs []string
	var add func(text string)
	chosen := func(cases Cases) {
		if i := slices.IndexFunc(cases, func(c Case) bool { return hold(c.If, lookup) }); i >= 0 {
			add(cases[i].Value)
		}
	}
	add = func(text string) {
		parts, _ := Parts(text) // Load has checked it
		for _, part := range parts {
			if s, ok := p.Settings[part.Name]; ok && s.Default == "" {
				needs = append(needs, part.Name)
			}
			chosen(p.Derived[part.Name])
		}
	}
	chosen(p.BaseURL)
	for _, text := range []string{a.TokenURL, a.ClientID, a.ClientSecret, a.Token} {
		add(text)
	}
	for _, text := range a.Params {
		// A setting alone is left out of the form where it has no value.
		if name, whole := WholeName(text); !whole || name == a.Rotates || p.Derived[name] != nil {
			add(text)
		}
	}
	if a.JWT != nil {
		add(a.JWT.Key)
		for _, text := range a.JWT.Claims {
			add(text)
		}
	}
	slices.Sort(needs)
	return slices.Compact(needs)
}

// Texts are those texts of a way to sign in that may hold ${name}.
func (a *Auth) Texts() []string {
	texts := append(slices.Collect(maps.Values(a.Params)), a.TokenURL, a.ClientID, a.ClientSecret, a.Token, a.RefreshMargin)
	if a.JWT != nil {
		texts = append(texts, a.JWT.Key, a.JWT.Passphrase, a.JWT.KeyID, a.JWT.Algorithm)
		texts = slices.AppendSeq(texts, maps.Values(a.JWT.Claims))
	}
	return texts
}

func hold(globs map[string]string, lookup func(name string) (string, bool)) bool {
	for name, glob := range globs {
		if value, _ := lookup(name); !Glob(glob, value) {
			return false
		}
	}
	return true
}

// Glob reports whether the pattern matches the whole text: * stands for any
// text, ? for one byte or character of UTF-8, everything else for itself.
func Glob[T string | []byte](pattern string, text T) bool {
	p, t := 0, 0
	star, from := -1, 0 // the last * and where the text after it is tried
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, t
			p++
		case p < len(pattern) && pattern[p] == '?':
			p++
			t++
			for t < len(text) && text[t]&0xc0 == 0x80 {
				t++
			}
		case p < len(pattern) && pattern[p] == text[t]:
			p++
			t++
		case star >= 0:
			from++
			p, t = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// nameForm is what settings, derived names, products and sources are called.
var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
