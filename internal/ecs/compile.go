package ecs

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

// node is a member of the document: an object with members, or a field.
type node struct {
	key      []byte // quoted, with its colon and, of an object, the bracket
	fixed    []byte // key, value and comma, where the value is always the same
	only     int    // the span that alone can give the field a value; -1: there are more ways to one
	field    *field
	children []node
}

// field is a document field and what may give its value, the first first.
type field struct {
	givers []giver
	gather int // where in state.written related.* finds the value; -1: it is not gathered
}

// giver is one of the parts of a mapping that may give a field's value.
type giver struct {
	when     int      // the When block it stands in, or -1
	lookup   int      // the lookup it stands in, or -1
	cases    [][]byte // of a lookup, what each case gives
	constant []byte
	expr     *expr
	own      func(st *state, dst []byte) ([]byte, bool)
}

// builder compiles a mapping.
type builder struct {
	m        *Mapper
	src      *catalog.Source
	original bool // documents have event.original
	sight    bool // attributes of the matrix are looked at
	document bool // documents are made

	paths    []jsonscan.Path
	spans    map[string]int // by path
	lists    []jsonscan.Path
	fields   map[string]*field
	mistakes []error
}

// mistake notes what is wrong, of which field or path.
func (b *builder) mistake(where, format string, args ...any) {
	b.mistakes = append(b.mistakes, fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...)))
}

func (b *builder) build() (*Mapper, error) {
	b.spans = map[string]int{}
	b.fields = map[string]*field{}
	b.keys()
	b.m.nulls = b.src.ECS.Nulls
	if b.document {
		b.mapping(b.src.ECS)
		b.nested(b.src.Nested)
		b.own()
	}
	b.classify(b.src.Matrix)
	if b.document {
		b.related(b.src.ECS.Related)
		b.tree()
	}
	if len(b.mistakes) > 0 {
		return nil, fmt.Errorf("compile the mapping of %s: %w", b.src.FullName(), errors.Join(b.mistakes...))
	}
	b.m.spans = len(b.paths)
	b.m.plan = jsonscan.CompileLists(b.paths, b.lists)
	b.m.keys = jsonscan.Compile(b.paths[:b.m.keySpans]...)
	return b.m, nil
}

// keys puts the paths of Key first, so that one way of reading them serves both plans.
func (b *builder) keys() {
	add := func(what, path string) int {
		p, err := jsonscan.ParsePath(path)
		if err != nil {
			b.mistake(what, "%v", err)
		}
		if p.Many() {
			b.mistake(what, "%s may lead to many values", p)
		}
		b.paths = append(b.paths, p) // each with a span of its own, as the versions stand in a row
		return len(b.paths) - 1
	}
	rec := b.src.Record
	for _, path := range rec.ID {
		add("record id", path)
	}
	b.m.ids = len(b.paths)
	b.m.version[0] = len(b.paths)
	for _, path := range rec.Version {
		add("record version", path)
	}
	b.m.version[1] = len(b.paths)
	b.m.time = expr{field: "@timestamp", kind: kindDate, complaint: kinds["date"].complaint}
	for _, path := range rec.Time {
		b.m.time.from = append(b.m.time.from, source{span: add("record time", path)})
	}
	b.m.keySpans = len(b.paths)
	for i, p := range b.paths {
		b.spans[p.String()] = i
	}
	for _, p := range b.paths[:b.m.keySpans] {
		b.parents(p)
	}
}

// nested notes where a record says that it lacks a part of a list.
func (b *builder) nested(lists []catalog.Nested) {
	for _, n := range lists {
		p, err := jsonscan.ParsePath(n.At + "." + n.More)
		if err != nil {
			b.mistake("nested "+n.At, "%v", err)
			continue
		}
		b.m.unread = append(b.m.unread, unread{b.span(p), n.At})
	}
}

// span returns where the plan puts the value at a path without [].
func (b *builder) span(p jsonscan.Path) int {
	if i, ok := b.spans[p.String()]; ok {
		return i
	}
	b.paths = append(b.paths, p)
	b.spans[p.String()] = len(b.paths) - 1
	return len(b.paths) - 1
}

// source makes a path ready. A lenient one does not mind what stands in its way.
func (b *builder) source(where, path string, lenient bool) source {
	p, err := jsonscan.ParsePath(path)
	if err != nil {
		b.mistake(where, "%v", err)
		return source{}
	}
	if !lenient {
		b.parents(p)
	}
	if !p.Many() {
		return source{span: b.span(p)}
	}
	parents := p.Parents()
	made := source{span: b.span(parents[len(parents)-1].Path), many: true, rest: p.Rest()}
	same := func(list jsonscan.Path) bool { return list.String() == path }
	if made.list = slices.IndexFunc(b.lists, same); made.list < 0 {
		made.list = len(b.lists)
		b.lists = append(b.lists, p)
	}
	return made
}

// mapping notes the givers of every field, in the order in which they count.
func (b *builder) mapping(m catalog.Mapping) {
	for i, block := range m.When {
		where := fmt.Sprintf("when[%d]", i)
		b.m.when = append(b.m.when, b.condition(where, block.If))
		b.exprs(block.Fields, m.Tables, i)
		b.constants(block.Constants, i)
	}
	for i, l := range m.Lookups {
		b.lookup(i, l)
	}
	b.exprs(m.Fields, m.Tables, -1)
	b.constants(m.Constants, -1)
}

func (b *builder) give(name string, g giver) {
	f := b.fields[name]
	if f == nil {
		f = &field{gather: -1}
		b.fields[name] = f
	}
	f.givers = append(f.givers, g)
}

func (b *builder) lookup(i int, l catalog.Lookup) {
	made := lookup{path: l.Of, source: b.source("lookups of "+l.Of, l.Of, l.Optional), optional: l.Optional, known: newCache[int](4096)}
	given := map[string][][]byte{}
	for c, lc := range l.Cases {
		var globs []glob
		for _, p := range lc.Match {
			globs = append(globs, makeGlob(p))
		}
		made.cases = append(made.cases, globs)
		for name, value := range lc.Set {
			if given[name] == nil {
				given[name] = make([][]byte, len(l.Cases))
			}
			given[name][c] = b.constant(name, value)
		}
	}
	b.m.lookups = append(b.m.lookups, made)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		b.give(name, giver{when: -1, lookup: i, cases: given[name]})
	}
}

func (b *builder) constants(constants map[string]any, when int) {
	for _, name := range slices.Sorted(maps.Keys(constants)) {
		b.give(name, giver{when: when, lookup: -1, constant: b.constant(name, constants[name])})
	}
}

// constant is the JSON of a constant.
func (b *builder) constant(name string, value any) []byte {
	switch v := value.(type) {
	case string:
		return jsonscan.AppendString(nil, []byte(v))
	case bool:
		return strconv.AppendBool(nil, v)
	case int, int64, uint64:
		return fmt.Append(nil, v)
	case float64:
		return strconv.AppendFloat(nil, v, 'g', -1, 64)
	case []any, []string:
		list := []byte{'['}
		for i, text := range texts(v) {
			if i > 0 {
				list = append(list, ',')
			}
			list = jsonscan.AppendString(list, []byte(text))
		}
		if len(list) > 1 {
			return append(list, ']')
		}
	}
	b.mistake(name, "%v is no constant; write a text, number, boolean or list of texts", value)
	return []byte("null")
}

func (b *builder) exprs(exprs map[string]catalog.Expr, tables catalog.Tables, when int) {
	for _, name := range slices.Sorted(maps.Keys(exprs)) {
		e := b.expr(name, exprs[name], tables)
		var parts []string
		switch e.kind {
		case kindAgent:
			parts = agentFields
		case kindURL:
			parts = urlFields
		}
		if parts == nil {
			b.give(name, giver{when: when, lookup: -1, expr: &e})
			continue
		}
		if e.list {
			b.mistake(name, "as: %s fills an object, so there is no list of it", exprs[name].As)
		}
		for i, part := range parts {
			of := e
			of.part = i
			of.field = name
			of.lenient = e.lenient || i > 0 // the first says what does not fit
			b.give(name+"."+part, giver{when: when, lookup: -1, expr: &of})
		}
	}
}

func (b *builder) expr(name string, e catalog.Expr, tables catalog.Tables) expr {
	as, list := strings.CutSuffix(e.As, "[]")
	k, ok := kinds[as]
	if !ok {
		b.mistake(name, "as: %q is none of the types of a value", e.As)
	}
	made := expr{
		field: name, kind: k.kind, complaint: k.complaint, list: list,
		other: e.Else, lower: e.Case == "lower", upper: e.Case == "upper", sort: e.Sort, lenient: e.Lenient,
	}
	if e.Table != "" {
		if made.table = tables[e.Table]; made.table == nil {
			b.mistake(name, "there is no table %q", e.Table)
		}
	}
	if e.Sort && !list {
		b.mistake(name, "only a list can be sorted")
	}
	if e.Extract != "" {
		var err error
		if made.extract, err = makeExtract(e.Extract); err != nil {
			b.mistake(name, "extract: %v", err)
		}
		if made.kind == kindJSON {
			b.mistake(name, "extract finds texts, not JSON")
		}
	}
	if e.Case != "" && !made.lower && !made.upper {
		b.mistake(name, "case: %q is neither lower nor upper", e.Case)
	}
	for _, path := range e.From {
		made.from = append(made.from, b.source(name, path, e.Lenient))
	}
	pieces, err := catalog.Parts(e.Text)
	if err != nil {
		b.mistake(name, "text: %v", err)
	}
	for _, piece := range pieces {
		p := part{literal: piece.Text}
		if piece.Name != "" {
			p.source = b.source(name, piece.Name, e.Lenient)
		}
		made.template = append(made.template, p)
	}
	if len(e.From) > 0 == (e.Text != "") {
		b.mistake(name, "needs either from or text")
	}
	made.plain = made.kind == kindKeyword && made.extract == nil && !list && made.table == nil && !made.lower && !made.upper
	if list && e.Text != "" {
		b.mistake(name, "a text is no list")
	}
	return made
}

// own gives the fields that every document has.
func (b *builder) own() {
	fixed := func(text string) giver {
		return giver{when: -1, lookup: -1, constant: jsonscan.AppendString(nil, []byte(text))}
	}
	with := func(own func(*state, []byte) ([]byte, bool)) giver { return giver{when: -1, lookup: -1, own: own} }
	own := map[string]giver{
		"event.created":       with(ownCreated),
		"event.ingested":      with(ownIngested),
		"event.original":      with(ownOriginal),
		"event.module":        fixed(b.src.Product.ID),
		"data_stream.dataset": fixed(b.src.Product.ID + "." + b.src.ID),
		"trawl.uid":           with(ownUID),
		"trawl.connection":    with(ownConnection),
		"trawl.source":        fixed(b.src.FullName()),
		"error.message":       with(ownError),
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		if b.fields[name] != nil {
			b.mistake(name, "every document has this field; a mapping cannot give it")
		}
		b.give(name, own[name])
	}
	if !b.original {
		delete(b.fields, "event.original")
	}
	b.give("event.id", with(ownID))
	b.give("@timestamp", with(ownTime))
}

// related gives the fields that gather the values of others.
func (b *builder) related(related map[string][]string) {
	for _, key := range slices.Sorted(maps.Keys(related)) {
		var gathers []int
		for _, name := range related[key] {
			f := b.fields[name]
			if f == nil || strings.HasPrefix(name, "related.") {
				b.mistake("related."+key, "nothing gives %s", name)
				continue
			}
			if f.gather < 0 {
				f.gather = b.m.gathers
				b.m.gathers++
			}
			gathers = append(gathers, f.gather)
		}
		b.give("related."+key, giver{when: -1, lookup: -1, own: func(st *state, dst []byte) ([]byte, bool) {
			return st.related(dst, gathers)
		}})
	}
}

// tree orders the fields as the document holds them: by name, but related,
// which looks at others, after them, and error.message, to which all may add,
// at the end.
func (b *builder) tree() {
	names := slices.Collect(maps.Keys(b.fields))
	late := func(name string) int {
		switch {
		case name == "error.message":
			return 3
		case strings.HasPrefix(name, "error."):
			return 2
		case strings.HasPrefix(name, "related."):
			return 1
		}
		return 0
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(late(a), late(b)), slices.Compare(strings.Split(a, "."), strings.Split(b, ".")))
	})
	for _, name := range names {
		b.m.tree = b.insert(b.m.tree, name, strings.Split(name, "."), b.fields[name])
	}
	for i := range b.m.tree {
		b.m.tree[i].finish()
	}
}

// finish works out what is known of a member before any record is.
func (n *node) finish() {
	n.only = -1
	if f := n.field; f != nil {
		switch g := &f.givers[0]; {
		case len(f.givers) > 1 || g.when >= 0:
		case g.constant != nil && f.gather < 0:
			n.fixed = slices.Concat(n.key, g.constant, []byte{','})
		case g.expr != nil && len(g.expr.from) == 1:
			n.only = g.expr.from[0].span
		}
		return
	}
	n.key = append(n.key, '{')
	fixed := slices.Clone(n.key)
	for i := range n.children {
		c := &n.children[i]
		if c.finish(); c.fixed == nil {
			fixed = nil
		}
		if fixed != nil {
			fixed = append(fixed, c.fixed...)
		}
	}
	if fixed != nil {
		fixed[len(fixed)-1] = '}'
		n.fixed = append(fixed, ',')
	}
}

func (b *builder) insert(nodes []node, name string, segments []string, f *field) []node {
	if segments[0] == "" {
		b.mistake(name, "has an empty name in it")
		return nodes
	}
	key := append(jsonscan.AppendString(nil, []byte(segments[0])), ':')
	i := len(nodes) - 1 // names come in order, so it is the last or a new one
	if i < 0 || string(nodes[i].key) != string(key) {
		nodes = append(nodes, node{key: key})
		i++
		if len(segments) == 1 {
			nodes[i].field = f
			return nodes
		}
	}
	if nodes[i].field != nil || len(segments) == 1 {
		b.mistake(name, "stands within a field that has a value of its own")
		return nodes
	}
	nodes[i].children = b.insert(nodes[i].children, name, segments[1:], f)
	return nodes
}
