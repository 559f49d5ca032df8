package catalog

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/jsonscan"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// checkSource checks a source, and if its product is sound, what it takes from
// it. It returns what the mapping gives to which fields.
func checkSource(doc *strictyaml.Document, file string, s *Source, sound bool) []given {
	top := place{doc.At()}
	top.at("source").isFileName(s.ID, file, "file")
	top.at("kind").isOneOf(s.Kind, kinds)
	var names []string
	if sound {
		names = s.Product.names()
		checkRequest(top.at("request"), s.Request, append(slices.Clone(names), s.pageNames()...))
	}
	if s.Stream != nil {
		checkStream(top.at("stream"), s, slices.Clone(names), sound)
	}
	top.at("records").jsonPath(s.Records)
	checkPaging(top.at("paging"), s)
	for i, n := range s.Nested {
		checkNested(top.at("nested", strconv.Itoa(i)), n, slices.Clone(names), sound)
	}
	checkWindow(top.at("window"), s)
	if s.Snapshot != nil {
		checkSnapshot(top.at("snapshot"), s)
	}
	if len(s.Record.ID) == 0 {
		top.at("record", "id").Mistake("needs at least one path")
	}
	top.at("record", "id").paths(s.Record.ID)
	top.at("record", "version").paths(s.Record.Version)
	top.at("record", "time").paths(s.Record.Time)
	if s.Kind == "log" && len(s.Record.Version) > 0 {
		top.at("record", "version").Mistake("records of a log never change; take it out, or make the kind state")
	}
	top.at("facts", "references").links(s.Facts.References)
	if s.Matrix != nil {
		checkMatrix(top.at("matrix"), s, sound)
	}
	m := mappingCheck{place: top.at("ecs"), tables: s.ECS.Tables, leaves: map[string]place{}, objects: map[string]bool{}}
	m.check(s.ECS)
	return m.given
}

func checkPaging(at place, s *Source) {
	p := s.Paging
	if p.Size < 1 {
		at.at("size").Mistake("must be at least 1")
	}
	if p.MaxSize < p.Size {
		at.at("max_size").Mistake("must be at least size, %d", p.Size)
	}
	if p.Cap < 0 || (p.Cap > 0 && p.Cap < p.Size) {
		at.at("cap").Mistake("must be at least size, %d, or left out where there is no such limit", p.Size)
	}
	for key, path := range map[string]string{"cursor": p.Cursor, "next_url": p.NextURL, "more": p.More, "total": p.Total, "capped": p.Capped} {
		at.at(key).jsonPath(path)
	}
	at.at("end").isOneOf(p.End, ends)
	var ways []string
	for _, way := range []struct {
		key string
		set bool
	}{{"cursor", p.Cursor != ""}, {"next_url", p.NextURL != ""}, {"link", p.Link != ""}, {"offset", p.Offset}, {"first_page", p.FirstPage != nil}} {
		if way.set {
			ways = append(ways, way.key)
		}
	}
	if len(ways) > 1 {
		at.at(ways[1]).Mistake("there is one way from page to page, and %s is one; take out one of the two", ways[0])
	}
	if p.More != "" && len(ways) == 0 {
		at.at("more").Mistake("needs cursor, which says where the next page begins, or next_url, link, offset or first_page")
	}
	if p.End != "" && len(ways) == 0 {
		at.at("end").Mistake("goes with cursor, next_url, link, offset or first_page; take it out")
	}
	if p.End == "no_cursor" && (p.Offset || p.FirstPage != nil) {
		at.at("end").Mistake("counting never ends by itself; take it out, and add more or total if the API has them")
	}
	if p.FirstPage != nil && *p.FirstPage < 0 {
		at.at("first_page").Mistake("must be at least 0")
	}
	if (p.NextURL != "" || p.Link != "") && (s.Request.Method != "GET" || s.Request.GraphQL != nil || s.Request.JSON != nil) {
		at.at(ways[0]).Mistake("the URL of a page is asked for with GET, so the request's method has to be GET")
	}
}

func checkNested(at place, n Nested, names []string, sound bool) {
	if sound {
		checkRequest(at.at("request"), n.Request, append(names, nestedNames...))
	}
	if n.Request.Filter != "" {
		at.at("request", "filter").Mistake("a feed's filter is for the records, not for lists within them; take it out")
	}
	for key, path := range map[string]string{"at": n.At, "in": n.In, "records": n.Records, "cursor": n.Cursor, "more": n.More} {
		at.at(key).jsonPath(path)
		if p, err := jsonscan.ParsePath(path); path == "." || err == nil && p.Many() {
			at.at(key).Mistake("must lead to one place below another, as in pageInfo.hasNextPage")
		}
	}
	if n.Size < 1 {
		at.at("size").Mistake("must be at least 1")
	}
	if n.Most < n.Size {
		at.at("most").Mistake("must be at least size, %d", n.Size)
	}
}

func checkWindow(at place, s *Source) {
	w := s.Window
	if w.Layout != "" && !soundLayout(w.Layout) {
		at.at("layout").Mistake("%q is neither unix nor unix_ms, nor a Go time layout down to the second, as in 2006-01-02T15:04:05Z07:00", w.Layout)
	}
	if s.OnlyWhole() {
		if s.Snapshot.Field != "" && w.Layout == "" {
			at.at("layout").Mistake("is missing: it says how since and until are written; add it")
		}
		for key, set := range map[string]bool{"interval": w.Interval > 0, "overlap": w.Overlap > 0, "revisit": len(w.Revisit) > 0, "retention": w.Retention > 0} {
			if set {
				at.at(key).Mistake("goes with fields: without them the source is only read whole, every %v; take it out", s.Snapshot.Every)
			}
		}
		return
	}
	if w.Layout == "" { // which every window has
		at.Mistake("is missing; add it, or a snapshot if nothing can be asked for by time")
		return
	}
	if len(w.Fields) == 0 {
		at.at("fields").Mistake("needs at least one of the API's time fields; a state that can't be asked for by time takes a snapshot instead")
	}
	for i, f := range w.Fields {
		if f == "" || slices.Contains(w.Fields[:i], f) {
			at.at("fields", strconv.Itoa(i)).Mistake("must be a field's name, and no field twice")
		}
	}
	at.at("interval").span(w.Interval, "interval: 5m", "it is the time between two readings")
	at.at("overlap").span(w.Overlap, "overlap: 10m", "records become visible late, so each reading goes back a little")
	for i, age := range w.Revisit {
		if age <= w.Overlap || (i > 0 && age <= w.Revisit[i-1]) {
			at.at("revisit", strconv.Itoa(i)).Mistake("ages have to grow, and to be more than overlap, %v", w.Overlap)
		}
	}
}

// pageNames are what the source's request may use in ${} beside the product's
// names.
func (s *Source) pageNames() []string {
	if !s.OnlyWhole() || s.Snapshot.Field != "" {
		return pageNames
	}
	return slices.DeleteFunc(slices.Clone(pageNames), func(name string) bool { return slices.Contains(timeNames, name) })
}

func checkSnapshot(at place, s *Source) {
	if s.Kind == "log" {
		at.Mistake("records of a log do not vanish; take it out, or make the kind state")
	}
	if s.Snapshot.Every <= 0 {
		at.at("every").Mistake("must be more than 0")
	}
}

// soundLayout tells whether a moment written by the layout can be told again.
func soundLayout(layout string) bool {
	if layout == layoutUnix || layout == layoutUnixMilli {
		return true
	}
	// A moment with a different number in each part, so that a layout that drops one shows.
	moment := time.Date(2025, 9, 12, 21, 43, 58, 0, time.UTC)
	back, err := time.Parse(layout, moment.Format(layout))
	return err == nil && back.Equal(moment)
}

// The forms of the words of a mapping.
var (
	fieldForm   = regexp.MustCompile(`^@?[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*$`)
	relatedForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	asTypes     = []string{"keyword", "long", "double", "boolean", "date", "ip", "email", "url", "user_agent", "domain", "json"}
	objectTypes = []string{"url", "user_agent"} // these fill several fields below the one they are given to
)

// ownFields are set in every document by the program itself.
var ownFields = []string{"event.original", "event.created", "event.ingested", "event.module", "data_stream.dataset", "trawl.uid", "trawl.connection", "trawl.source", "emm.category", "emm.event_type"}

// mappingCheck checks a mapping and gathers the fields that it sets.
type mappingCheck struct {
	place
	tables  Tables
	leaves  map[string]place // fields with a value of their own → one place that sets it
	objects map[string]bool  // fields that are filled with several below them
	given   []given
}

func (c *mappingCheck) check(m Mapping) {
	for i, block := range m.When {
		at := c.at("when", strconv.Itoa(i))
		at.at("if").condition(block.If)
		if len(block.Fields)+len(block.Constants) == 0 {
			at.Mistake("sets nothing; give it fields or constants")
		}
		c.fields(at.at("fields"), block.Fields)
		c.constants(at.at("constants"), block.Constants)
	}
	for i, lookup := range m.Lookups {
		at := c.at("lookups", strconv.Itoa(i))
		at.at("of").jsonPath(lookup.Of)
		if len(lookup.Cases) == 0 {
			at.at("cases").Mistake("needs at least one case")
		}
		for j, lc := range lookup.Cases {
			at := at.at("cases", strconv.Itoa(j))
			if len(lc.Match) == 0 {
				at.at("match").Mistake("needs at least one glob")
			}
			if len(lc.Set) == 0 {
				at.at("set").Mistake("needs at least one field")
			}
			c.constants(at.at("set"), lc.Set)
		}
	}
	c.fields(c.at("fields"), m.Fields)
	c.constants(c.at("constants"), m.Constants)
	for key, fields := range m.Related {
		at := c.at("related", key)
		if !relatedForm.MatchString(key) {
			at.Mistake("%q is not a key of related; write ip, user, hash or hosts", key)
		}
		for i, field := range fields {
			if !c.sets(field) {
				at.at(strconv.Itoa(i)).Mistake("nothing sets %s; %s", field, strictyaml.Suggest(field, slices.Collect(maps.Keys(c.leaves))))
			}
		}
	}
	for i, text := range m.Nulls {
		if text == "" {
			c.at("nulls", strconv.Itoa(i)).Mistake("is no value anyway; take it out")
		}
	}
	c.conflicts()
}

// sets reports whether the field, or an object that it is within, has a value.
func (c *mappingCheck) sets(field string) bool {
	for name := field; name != ""; {
		if _, ok := c.leaves[name]; ok || c.objects[name] {
			return true
		}
		i := strings.LastIndexByte(name, '.')
		if i < 0 {
			break
		}
		name = name[:i]
	}
	return false
}

// conflicts finds fields that have a value of their own and fields below them.
func (c *mappingCheck) conflicts() {
	for field, at := range c.leaves {
		for i, r := range field {
			if r != '.' {
				continue
			}
			if _, leaf := c.leaves[field[:i]]; leaf {
				at.Mistake("%s has a value of its own, so there can be nothing below it; rename one of them", field[:i])
			}
		}
	}
}

func (c *mappingCheck) fields(at place, fields map[string]Expr) {
	for field, e := range fields {
		at := at.at(field)
		c.field(at, field, slices.Contains(objectTypes, e.As))
		c.expr(at, e)
		c.given = append(c.given, given{place: at, field: field, expr: &e, table: c.tables[e.Table]})
	}
}

func (c *mappingCheck) field(at place, field string, object bool) {
	if !fieldForm.MatchString(field) {
		at.Mistake("%q is not a field; write names joined by dots, as in source.ip", field)
	}
	if slices.Contains(ownFields, field) {
		at.Mistake("every document has this field already; take it out")
	}
	if object {
		c.objects[field] = true
	} else {
		c.leaves[field] = at
	}
}

func (c *mappingCheck) expr(at place, e Expr) {
	if (len(e.From) == 0) == (e.Text == "") {
		at.Mistake("needs either from or text")
	}
	at.at("from").paths(e.From)
	parts, err := Parts(e.Text)
	if err != nil {
		at.at("text").Mistake("%v", err)
	}
	for _, part := range parts {
		at.at("text").jsonPath(part.Name)
	}
	if re, err := regexp.Compile(e.Extract); err != nil {
		at.at("extract").Mistake("%v", err)
	} else if re.NumSubexp() > 1 {
		at.at("extract").Mistake("has %d groups; one gives the value: make the others (?: )", re.NumSubexp())
	}
	if e.Extract != "" && strings.HasPrefix(e.As, "json") {
		at.at("extract").Mistake("what is found is a text; take as: %s out", e.As)
	}
	at.at("as").isOneOf(strings.TrimSuffix(e.As, "[]"), asTypes)
	at.at("case").isOneOf(e.Case, []string{"lower", "upper"})
	if e.Table != "" && c.tables[e.Table] == nil {
		at.at("table").Mistake("there is no table %q; %s", e.Table, strictyaml.Suggest(e.Table, slices.Collect(maps.Keys(c.tables))))
	}
	if e.Else != "" && e.Table == "" {
		at.at("else").Mistake("goes with table only; take it out")
	}
	if e.Sort && !strings.HasSuffix(e.As, "[]") {
		at.at("sort").Mistake("only lists are sorted; make it as: %s[]", e.As)
	}
}

func (c *mappingCheck) constants(at place, constants map[string]any) {
	for field, value := range constants {
		at := at.at(field)
		c.field(at, field, false)
		c.given = append(c.given, given{place: at, field: field, constant: value, beside: constants})
		switch v := value.(type) {
		case string, bool, int64, float64:
		case []any:
			for i, item := range v {
				if _, ok := item.(string); !ok {
					at.at(strconv.Itoa(i)).Mistake("a list holds texts only; quote it")
				}
			}
		default:
			at.Mistake("must be a text, a number, true, false, or a list of texts")
		}
	}
}

// condition checks one condition; see Condition for the forms.
func (p place) condition(c Condition) {
	if len(c) == 0 {
		p.Mistake("an empty condition always holds; put the fields under fields and constants instead")
	}
	for key, value := range c {
		at := p.at(key)
		switch key {
		case "any":
			list, ok := value.([]any)
			if !ok || len(list) == 0 {
				at.Mistake("any takes a list of conditions")
			}
			for i, item := range list {
				at.at(strconv.Itoa(i)).subCondition(item)
			}
		case "not":
			at.subCondition(value)
		default:
			at.jsonPath(key)
			at.operand(value)
		}
	}
}

func (p place) subCondition(value any) {
	if c, ok := value.(map[string]any); ok {
		p.condition(c)
		return
	}
	p.Mistake("must be a condition, as in {status: OPEN}")
}

// operand checks what a path is compared with.
func (p place) operand(value any) {
	switch v := value.(type) {
	case string, bool, int64, float64:
	case []any:
		for i, item := range v {
			switch item.(type) {
			case string, bool, int64, float64:
			default:
				p.at(strconv.Itoa(i)).Mistake("must be a single value")
			}
		}
	case map[string]any:
		if exists, ok := v["exists"]; ok && len(v) == 1 {
			if _, isBool := exists.(bool); !isBool {
				p.at("exists").Mistake("must be true or false")
			}
			return
		}
		if glob, ok := v["glob"]; ok && len(v) == 1 {
			p.at("glob").globs(glob)
			return
		}
		p.Mistake("must be {exists: true}, {exists: false} or {glob: pattern}")
	default:
		p.Mistake("must be a value, a list of values, {exists: true} or {glob: pattern}")
	}
}

func (p place) globs(value any) {
	patterns, ok := value.([]any)
	if !ok {
		patterns = []any{value}
	}
	for _, pattern := range patterns {
		if _, ok := pattern.(string); !ok {
			p.Mistake("must be a text or a list of texts")
		}
	}
}
