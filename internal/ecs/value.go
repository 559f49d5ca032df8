package ecs

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/jsonscan"
)

// kind is what a value is written as.
type kind byte

const (
	kindKeyword kind = iota
	kindLong
	kindDouble
	kindBoolean
	kindDate
	kindIP
	kindEmail
	kindDomain
	kindJSON
	kindAgent // a part of a user agent
	kindURL   // a part of a URL
)

// kinds are the words of catalog.Expr.As, and what is said of a value that does
// not fit.
var kinds = map[string]struct {
	kind      kind
	complaint string
}{
	"":           {kindKeyword, ""},
	"keyword":    {kindKeyword, ""},
	"long":       {kindLong, "is not a whole number of 64 bits"},
	"double":     {kindDouble, "is not a number"},
	"boolean":    {kindBoolean, "is not true or false"},
	"date":       {kindDate, "is not a time"},
	"ip":         {kindIP, "is not an IP address"},
	"email":      {kindEmail, "is not an e-mail address"},
	"domain":     {kindDomain, "is not a host name"},
	"json":       {kindJSON, "is not JSON"},
	"user_agent": {kindAgent, ""},
	"url":        {kindURL, "is not a URL"},
}

// expr is a catalog.Expr, made ready.
type expr struct {
	field     string // the document's, for complaints
	from      []source
	template  []part // in place of from
	kind      kind
	complaint string
	extract   *extract
	plain     bool // a keyword and nothing else
	part      int  // of a user agent or URL
	list      bool
	table     map[string]string
	other     string // for values that the table lacks: "" complains, "=" keeps the value
	lower     bool
	upper     bool
	sort      bool
	lenient   bool
}

// source is a path: where the plan finds it. One with [] is a list of the plan,
// and span is the array of its first [].
type source struct {
	span int
	many bool
	list int
	rest jsonscan.Path // from that array on
}

// each yields all values that a path with [] reaches, in order, until yield
// returns false.
func (st *state) each(src *source, yield func(raw []byte) bool) {
	reached, ok := st.lists.Reached(src.list)
	if !ok {
		src.rest.Each(st.out[src.span], yield)
		return
	}
	for _, at := range reached {
		if !yield(st.record[at.From:at.To:at.To]) {
			return
		}
	}
}

// first is the first value that a path with [] reaches; if all are none, the last.
func (st *state) first(src *source) (raw []byte) {
	st.each(src, func(value []byte) bool {
		raw = value
		return st.none(value)
	})
	return raw
}

// part is a piece of a text with paths in it.
type part struct {
	literal string
	source  source // where literal is ""
}

// expr writes the value of an expression, if it has one.
func (st *state) expr(dst []byte, e *expr) ([]byte, bool) {
	if e.template != nil {
		text, ok := st.fill(e)
		if ok && e.extract != nil {
			text, ok = e.extract.first(text)
		}
		if !ok {
			return dst, false
		}
		return st.convert(dst, e, text, nil)
	}
	for i := range e.from {
		src := &e.from[i]
		raw := st.out[src.span]
		if raw == nil {
			continue
		}
		var ok bool
		switch {
		case e.plain && st.clean && len(raw) > len(`""`) && raw[0] == '"' && !src.many:
			return append(dst, raw...), true // what scalar would do, as it is by far the most common
		case e.list:
			dst, ok = st.list(dst, e, src, raw)
		case src.many:
			st.each(src, func(raw []byte) bool {
				dst, ok = st.scalar(dst, e, raw)
				return !ok
			})
		default:
			dst, ok = st.scalar(dst, e, raw)
		}
		if ok {
			return dst, true
		}
	}
	return dst, false
}

// fill puts the values of paths into a text.
func (st *state) fill(e *expr) ([]byte, bool) {
	st.filled = st.filled[:0]
	for i := range e.template {
		p := &e.template[i]
		st.filled = append(st.filled, p.literal...)
		if p.literal != "" {
			continue
		}
		raw := st.out[p.source.span]
		if p.source.many {
			raw = st.first(&p.source)
		}
		text := st.textOf(raw)
		if len(text) == 0 {
			if !isEmpty(raw) {
				st.misfit(e, raw, "is not a single value")
			}
			return nil, false
		}
		st.filled = append(st.filled, text...)
	}
	return st.filled, true
}

// scalar writes a single value.
func (st *state) scalar(dst []byte, e *expr, raw []byte) ([]byte, bool) {
	if st.none(raw) {
		return dst, false
	}
	k := raw[0]
	switch {
	case e.kind == kindJSON:
		return st.json(dst, e, raw)
	case k == '{' || k == '[':
		st.misfit(e, raw, "is not a single value")
		return dst, false
	case e.extract != nil:
		text, ok := e.extract.first(st.textOf(raw))
		if !ok {
			return dst, false
		}
		return st.convert(dst, e, text, raw)
	case e.kind == kindKeyword && e.table == nil && !e.lower && !e.upper:
		return st.keyword(dst, raw)
	}
	return st.convert(dst, e, st.textOf(raw), raw)
}

// keyword writes a string as it is, and the text of anything else.
func (st *state) keyword(dst, raw []byte) ([]byte, bool) {
	if st.clean && raw[0] == '"' {
		return append(dst, raw...), true
	}
	if copied, ok := jsonscan.AppendRaw(dst, raw); ok {
		return copied, true
	}
	text := st.textOf(raw)
	return jsonscan.AppendString(dst, text), len(text) > 0
}

// json writes any value as it is, but on one line.
func (st *state) json(dst []byte, e *expr, raw []byte) ([]byte, bool) {
	if !st.clean && !jsontext.Value(raw).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
		st.misfit(e, raw, e.complaint)
		return dst, false
	}
	if st.naming.twice(raw) {
		st.misfit(e, raw, "has a name twice")
		return dst, false
	}
	start := len(dst)
	dst = append(dst, raw...)
	for _, c := range []byte("\n\r") { // between tokens, as it is JSON
		for rest := dst[start:]; ; {
			i := bytes.IndexByte(rest, c)
			if i < 0 {
				break
			}
			rest[i] = ' '
			rest = rest[i+1:]
		}
	}
	return dst, true
}

// list writes a list: of the elements of an array, of all values that the path
// reaches, each once, or of all that can be extracted, each once.
func (st *state) list(dst []byte, e *expr, src *source, raw []byte) ([]byte, bool) {
	start := len(dst)
	dst = append(dst, '[')
	st.elements = st.elements[:0]
	st.once.reset()
	put := func(raw, text []byte) {
		from := len(dst)
		if len(st.elements) > 0 {
			dst = append(dst, ',')
		}
		value := len(dst)
		ok := false
		switch {
		case text != nil:
			dst, ok = st.convert(dst, e, text, raw)
		case e.kind == kindKeyword && string(raw) == `""`:
			dst, ok = append(dst, raw...), true
		default:
			dst, ok = st.scalar(dst, e, raw)
		}
		if !ok || (src.many || text != nil) && !st.once.add(dst, value) {
			dst = dst[:from]
			return
		}
		st.elements = append(st.elements, span{value, len(dst)})
	}
	add := func(raw []byte) bool {
		if e.extract == nil || raw[0] == '{' || raw[0] == '[' {
			put(raw, nil)
			return true
		}
		if st.none(raw) {
			return true
		}
		for _, text := range e.extract.all(st.textOf(raw)) {
			put(raw, text)
		}
		return true
	}
	switch {
	case src.many && e.kind != kindJSON:
		st.each(src, func(raw []byte) bool {
			if raw[0] == '[' {
				jsonscan.Elements(raw, add)
			} else {
				add(raw)
			}
			return true
		})
	case src.many:
		st.each(src, add)
	case raw[0] == '[':
		jsonscan.Elements(raw, add)
	case !isEmpty(raw):
		add(raw)
	}
	if len(st.elements) == 0 {
		return dst[:start], false
	}
	if e.sort {
		st.sort(dst[start+1:], start+1)
	}
	return append(dst, ']'), true
}

// sort puts the elements of a list, which stand in buf, in the order of their text.
func (st *state) sort(buf []byte, offset int) {
	elements := st.elements
	for i := range elements {
		elements[i].from -= offset
		elements[i].to -= offset
	}
	st.buf = append(st.buf[:0], buf...)
	copied := st.buf
	text := func(s span) []byte {
		raw := copied[s.from:s.to]
		if inner, escaped, ok := jsonscan.Text(raw); ok {
			if escaped {
				inner, _ = jsonscan.AppendText(nil, raw)
			}
			return inner
		}
		return raw
	}
	slices.SortStableFunc(elements, func(a, b span) int { return bytes.Compare(text(a), text(b)) })
	buf = buf[:0]
	for i, s := range elements {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = append(buf, copied[s.from:s.to]...)
	}
}

// convert writes a text as what the expression says. raw is the value that it
// stands in, or nil.
func (st *state) convert(dst []byte, e *expr, text, raw []byte) ([]byte, bool) {
	if len(text) == 0 {
		return dst, false
	}
	if e.table != nil {
		value, ok := e.table[string(text)]
		switch {
		case ok:
			st.buf = append(st.buf[:0], value...)
			text = st.buf
		case e.other == "":
			st.misfit(e, quoted(raw, text), "is not a known value")
			return dst, false
		case e.other != "=":
			st.buf = append(st.buf[:0], e.other...)
			text = st.buf
		}
		if len(text) == 0 {
			return dst, false
		}
	}
	if e.lower || e.upper {
		text = st.changeCase(text, e.upper)
	}
	ok := true
	switch e.kind {
	case kindLong:
		if text, ok = wholeNumber(text); ok {
			return append(dst, text...), true
		}
	case kindDouble:
		if isNumber(text) {
			return append(dst, text...), true
		}
	case kindBoolean:
		switch {
		case bytes.EqualFold(text, []byte("true")):
			return append(dst, "true"...), true
		case bytes.EqualFold(text, []byte("false")):
			return append(dst, "false"...), true
		}
	case kindDate:
		if t, ok := parseTime(text); ok {
			st.date = t
			return appendTime(dst, t), true
		}
	case kindIP:
		if isIPv4(text) {
			return append(append(append(dst, '"'), text...), '"'), true
		}
		if addr, ok := addressIn(text); ok {
			dst = append(dst, '"')
			dst = addr.AppendTo(dst)
			return append(dst, '"'), true
		}
	case kindEmail:
		if isEmail(text) {
			return jsonscan.AppendString(dst, text), true
		}
	case kindDomain:
		if host, ok := hostName(text); ok {
			return jsonscan.AppendString(dst, host), true
		}
	case kindAgent:
		return st.agentPart(dst, e, text)
	case kindURL:
		if dst, ok, isURL := st.urlPart(dst, e, text); isURL {
			return dst, ok
		}
	default:
		return jsonscan.AppendString(dst, text), true
	}
	st.misfit(e, quoted(raw, text), e.complaint)
	return dst, false
}

// misfit says that a value does not fit its field.
func (st *state) misfit(e *expr, raw []byte, complaint string) {
	if !e.lenient {
		st.say(e.field, raw, complaint)
	}
}

// quoted is the raw value, or text as one where there is none.
func quoted(raw, text []byte) []byte {
	if raw == nil {
		return jsonscan.AppendString(nil, text)
	}
	return raw
}

func (st *state) changeCase(text []byte, upper bool) []byte {
	ascii := true
	for _, c := range text {
		ascii = ascii && c < utf8.RuneSelf
	}
	switch {
	case !ascii && upper:
		return bytes.ToUpper(text)
	case !ascii:
		return bytes.ToLower(text)
	}
	st.buf = append(st.buf[:0], text...)
	for i, c := range st.buf {
		if upper && 'a' <= c && c <= 'z' || !upper && 'A' <= c && c <= 'Z' {
			st.buf[i] = c ^ ' '
		}
	}
	return st.buf
}
