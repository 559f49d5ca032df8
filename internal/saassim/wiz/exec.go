package wiz

import (
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/vektah/gqlparser/v2/ast"
)

// object is a value that a selection can be applied to. field returns nil, a
// string, int, float64, bool, time.Time, []string, jsontext.Value, object, list or hole.
type object interface {
	typename() string
	field(name string) any
}

// asker is an object with fields that take arguments.
type asker interface {
	ask(name string, args map[string]any) any
}

// list is a list of objects, made as they are needed.
type list struct {
	n  int
	at func(i int) object
	// whole, where it is there, writes all the elements at once, joined by
	// commas; it returns false when it cannot for this selection.
	whole func(dst []byte, sel *selection) ([]byte, bool)
}

// hole is a place in a template that is filled in later. It is written as a
// JSON string of a zero byte, which no JSON has, and the byte itself.
type hole byte

// thing is an object that is nothing but its fields; "__typename" is one.
type thing map[string]any

func (t thing) typename() string      { return t["__typename"].(string) }
func (t thing) field(name string) any { return t[name] }

func things(items ...thing) list {
	return list{n: len(items), at: func(i int) object { return items[i] }}
}

// selection is what is asked of an object, by its type.
type selection struct{ byType map[string][]step }

// step is one field to write.
type step struct {
	key   string // name or alias, quoted, with a colon
	name  string
	field *ast.Field // for its arguments
	sub   *selection // nil where the field is a leaf
}

// compiler turns the selections of a query into steps.
type compiler struct {
	schema    *ast.Schema
	vars      map[string]any
	varies    bool // a variable was looked at
	namesOnly bool // the root's fields are enough
}

// steps merges the selections that apply to an object type, in the order in
// which their fields first appear.
func (c *compiler) steps(t *ast.Definition, sets []ast.SelectionSet) []step {
	type gathered struct {
		field *ast.Field
		sets  []ast.SelectionSet
	}
	var order []string
	byKey := map[string]*gathered{}
	var gather func(set ast.SelectionSet)
	gather = func(set ast.SelectionSet) {
		for _, s := range set {
			switch s := s.(type) {
			case *ast.Field:
				if !c.included(s.Directives) {
					continue
				}
				got := byKey[s.Alias]
				if got == nil {
					got = &gathered{field: s}
					byKey[s.Alias], order = got, append(order, s.Alias)
				}
				got.sets = append(got.sets, s.SelectionSet)
			case *ast.FragmentSpread:
				if c.included(s.Directives) && c.applies(t, s.Definition.TypeCondition) {
					gather(s.Definition.SelectionSet)
				}
			case *ast.InlineFragment:
				if c.included(s.Directives) && c.applies(t, s.TypeCondition) {
					gather(s.SelectionSet)
				}
			}
		}
	}
	for _, set := range sets {
		gather(set)
	}
	steps := make([]step, 0, len(order))
	for _, alias := range order {
		got := byKey[alias]
		st := step{key: strconv.Quote(alias) + ":", name: got.field.Name, field: got.field}
		if st.name != "__typename" && !c.namesOnly {
			if inner := c.schema.Types[got.field.Definition.Type.Name()]; inner.IsCompositeType() {
				st.sub = &selection{byType: map[string][]step{}}
				for _, possible := range c.schema.GetPossibleTypes(inner) {
					st.sub.byType[possible.Name] = c.steps(possible, got.sets)
				}
			}
		}
		steps = append(steps, st)
	}
	return steps
}

func (c *compiler) applies(t *ast.Definition, condition string) bool {
	return condition == "" || condition == t.Name || slices.Contains(t.Interfaces, condition)
}

// included follows @skip and @include. Where only the names of the root are
// wanted the variables are not known, and everything is included.
func (c *compiler) included(directives ast.DirectiveList) bool {
	for _, d := range directives {
		if c.namesOnly || d.Name != "skip" && d.Name != "include" {
			continue
		}
		arg := d.Arguments.ForName("if")
		c.varies = c.varies || arg.Value.Kind == ast.Variable
		v, _ := arg.Value.Value(c.vars)
		if yes, _ := v.(bool); yes == (d.Name == "skip") {
			return false
		}
	}
	return true
}

// writer writes objects as JSON.
type writer struct {
	vars map[string]any
	drop map[string]bool // fields of an AuditLogEntry that are left out without a word
}

func (w *writer) object(dst []byte, o object, sel *selection) []byte {
	typ := o.typename()
	var drop map[string]bool
	if typ == "AuditLogEntry" {
		drop = w.drop
	}
	dst = append(dst, '{')
	for _, st := range sel.byType[typ] {
		if drop[st.name] {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(dst, st.key...)
		if st.name == "__typename" {
			dst = appendString(dst, typ)
			continue
		}
		if a, ok := o.(asker); ok && len(st.field.Definition.Arguments) > 0 {
			dst = w.value(dst, a.ask(st.name, st.field.ArgumentMap(w.vars)), st.sub)
			continue
		}
		dst = w.value(dst, o.field(st.name), st.sub)
	}
	return append(dst, '}')
}

func (w *writer) value(dst []byte, v any, sel *selection) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case string:
		return appendString(dst, v)
	case bool:
		return strconv.AppendBool(dst, v)
	case float64:
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	case int:
		return strconv.AppendInt(dst, int64(v), 10)
	case time.Time:
		return appendTime(dst, v)
	case jsontext.Value:
		return append(dst, v...)
	case hole:
		return append(dst, '"', 0, byte(v), '"')
	case []string:
		dst = append(dst, '[')
		for i, s := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, s)
		}
		return append(dst, ']')
	case list:
		return w.list(dst, v, sel)
	case object:
		return w.object(dst, v, sel)
	}
	panic("a field has a value that cannot be written")
}

func (w *writer) list(dst []byte, l list, sel *selection) []byte {
	dst = append(dst, '[')
	if l.whole != nil && w.drop == nil {
		if all, ok := l.whole(dst, sel); ok {
			return append(all, ']')
		}
	}
	for i := range l.n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = w.element(dst, l.at(i), sel)
	}
	return append(dst, ']')
}

// element writes an object of a list, from memory where the same selection of
// it was written before.
func (w *writer) element(dst []byte, o object, sel *selection) []byte {
	keeper, ok := o.(interface{ kept() *rendering })
	if !ok || w.drop != nil {
		return w.object(dst, o, sel)
	}
	r := keeper.kept()
	if b := r.get(sel); b != nil {
		return append(dst, b...)
	}
	from := len(dst)
	dst = w.object(dst, o, sel)
	r.put(sel, dst[from:])
	return dst
}

// timeLayout gives times as the product does: microseconds, without the zeros
// at their end.
const timeLayout = "2006-01-02T15:04:05.999999Z"

func appendTime(dst []byte, t time.Time) []byte {
	dst = append(dst, '"')
	dst = t.UTC().AppendFormat(dst, timeLayout)
	return append(dst, '"')
}

func appendString(dst []byte, s string) []byte {
	out, err := jsontext.AppendQuote(dst, s)
	if err != nil { // only for text that is not UTF-8, which the simulator never makes
		panic(err)
	}
	return out
}
