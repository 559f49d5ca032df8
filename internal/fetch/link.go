package fetch

import "strings"

// link finds the target of the first link with a relation in Link headers, as
// RFC 8288 has them:
//
//	<https://host/path?a=1,2>; title="a, \"b\""; rel="self next", <...>; rel=last
//
// What does not fit that form ends the header that it is in: what stands before
// counts.
func link(headers []string, rel string) (target string, ok bool) {
	for _, header := range headers {
		p := linkParser{rest: header}
		for {
			target, rels, ok := p.link()
			if !ok {
				break
			}
			for name := range strings.FieldsSeq(rels) {
				if strings.EqualFold(name, rel) {
					return target, true
				}
			}
		}
	}
	return "", false
}

// linkParser reads what is left of a header.
type linkParser struct{ rest string }

// link reads the next link; ok is false at the end, and where there is none.
func (p *linkParser) link() (target, rels string, ok bool) {
	for p.space(); p.take(','); p.space() { // empty elements are allowed
	}
	if !p.take('<') {
		return "", "", false
	}
	target, p.rest, ok = strings.Cut(p.rest, ">")
	if !ok {
		return "", "", false
	}
	named := false
	for p.space(); p.take(';'); p.space() {
		p.space()
		name := p.token()
		p.space()
		value := ""
		if p.take('=') {
			p.space()
			if value, ok = p.value(); !ok {
				return "", "", false
			}
		}
		if strings.EqualFold(name, "rel") && !named { // a second one does not count
			rels, named = value, true
		}
	}
	if p.rest != "" && p.rest[0] != ',' {
		return "", "", false
	}
	return strings.TrimSpace(target), rels, true
}

func (p *linkParser) space() { p.rest = strings.TrimLeft(p.rest, " \t") }

func (p *linkParser) take(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// token reads up to what ends a name or a value without quotes.
func (p *linkParser) token() string {
	n := strings.IndexAny(p.rest, " \t,;=\"<>")
	if n < 0 {
		n = len(p.rest)
	}
	token := p.rest[:n]
	p.rest = p.rest[n:]
	return token
}

// value reads a value, with quotes or without; ok is false where quotes are not
// closed.
func (p *linkParser) value() (string, bool) {
	if !p.take('"') {
		return p.token(), true
	}
	var b strings.Builder
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return b.String(), true
		case c == '\\' && i+1 < len(p.rest):
			i++
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}
