package strictyaml

import (
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Unmarshaler is for types that are written in a form of their own. It notes
// what is wrong with Node.Mistake.
type Unmarshaler interface{ UnmarshalNode(n Node) }

// Decode reads the node into what the pointer points at: structs (whose fields
// are named by yaml tags), maps with string keys, slices, pointers, strings,
// integers, floats, booleans, any, and types that implement [Unmarshaler].
// Fields already set are defaults. A struct's field without omitempty in its
// tag has to be there, and if it is a string, not to be empty. Everything that
// does not fit is noted as a mistake, and the rest is read all the same.
func (n Node) Decode(into any) { n.decode(reflect.ValueOf(into).Elem()) }

func (n Node) decode(v reflect.Value) {
	if n.tooMuch() || !n.known() {
		return
	}
	n.doc.marks[joinPath(n.path)] = n.ast
	if u, ok := v.Addr().Interface().(Unmarshaler); ok {
		u.UnmarshalNode(n)
		return
	}
	kind := n.Kind()
	if kind == Null && v.Kind() != reflect.Struct {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		n.decode(v.Elem())
	case reflect.Struct:
		if n.wants(Map, kind) {
			n.decodeStruct(v)
		}
	case reflect.Map:
		if n.wants(Map, kind) {
			n.decodeMap(v)
		}
	case reflect.Slice:
		if n.wants(List, kind) {
			items := n.Items()
			v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
			for i, item := range items {
				item.decode(v.Index(i))
			}
		}
	case reflect.Interface:
		if value := n.Any(); value != nil {
			v.Set(reflect.ValueOf(value))
		}
	default:
		if n.wants(Scalar, kind) {
			n.decodeScalar(v)
		}
	}
}

// tooMuch counts the node, and tells when the document goes beyond the limits.
func (n Node) tooMuch() bool {
	if n.doc.nodes++; n.depth > maxDepth || n.doc.nodes > maxNodes {
		n.Mistake("nested too deeply, or too many aliases; write it plainly")
		n.doc.overflow = true
	}
	return n.doc.overflow
}

// known notes aliases of nothing, and tags, which have no use here.
func (n Node) known() bool {
	switch v := n.ast.(type) {
	case *ast.AliasNode:
		if n.resolve() == nil {
			n.Mistake("no anchor &%s in this file; define it, or quote the value", v.Value.GetToken().Value)
			return false
		}
	case *ast.TagNode:
		n.Mistake("the tag %s means nothing here; leave it out, and quote the value to make it text", v.GetToken().Value)
		return false
	}
	return true
}

func (n Node) wants(want, got Kind) bool {
	if want == got || (got == Null && want != Scalar) {
		return true
	}
	example := map[Kind]string{Scalar: "", List: ", as in [a, b]", Map: ", as in {key: value}"}[want]
	n.Mistake("must be %s%s; this is %s", want, example, got)
	return false
}

func (n Node) decodeStruct(v reflect.Value) {
	fields := Fields(v.Type())
	present := map[string]bool{}
	for _, m := range n.Members() {
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Key == m.Key })
		if i < 0 {
			names := make([]string, len(fields))
			for i, f := range fields {
				names[i] = f.Key
			}
			n.doc.mistake(position(m.key), strings.Join(n.path, "."), "unknown key %q; %s", m.Key, Suggest(m.Key, names))
			continue
		}
		field := v.FieldByIndex(fields[i].Index)
		m.Value.decode(field)
		empty := field.Kind() == reflect.String && field.String() == "" && m.Value.Kind() == Scalar && m.Value.Raw() == ""
		present[m.Key] = m.Value.Kind() != Null
		if fields[i].Required && empty {
			m.Value.Mistake("must not be empty")
		}
	}
	for _, f := range fields {
		if f.Required && !present[f.Key] {
			n.doc.mistake(position(n.ast), strings.Join(n.path, "."), "%q is missing; add it", f.Key)
			n.doc.failed[joinPath(n.child(f.Key, nil).path)] = true
		}
	}
}

func (n Node) decodeMap(v reflect.Value) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	for _, m := range n.Members() {
		elem := reflect.New(v.Type().Elem()).Elem()
		m.Value.decode(elem)
		v.SetMapIndex(reflect.ValueOf(m.Key).Convert(v.Type().Key()), elem)
	}
}

func (n Node) decodeScalar(v reflect.Value) {
	text, ok := n.Text()
	if !ok {
		return
	}
	bad := func(want string) { n.Mistake("must be %s, not %q", want, n.Raw()) }
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			bad("true or false")
			return
		}
		v.SetBool(text == "true")
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v.OverflowInt(i) {
			bad("a whole number")
			return
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			bad("a number")
			return
		}
		v.SetFloat(f)
	default:
		panic("strictyaml: cannot decode into " + v.Type().String()) // a mistake in the program, found by its first test
	}
}

// Any gives the node as nil, string, bool, int64, float64, []any or
// map[string]any. Only plain scalars are numbers and booleans.
func (n Node) Any() any {
	if n.tooMuch() || !n.known() {
		return nil
	}
	n.doc.marks[joinPath(n.path)] = n.ast
	switch n.Kind() {
	case Null:
		return nil
	case List:
		list := []any{}
		for _, item := range n.Items() {
			list = append(list, item.Any())
		}
		return list
	case Map:
		object := map[string]any{}
		for _, m := range n.Members() {
			object[m.Key] = m.Value.Any()
		}
		return object
	}
	text, ok := n.Text()
	if !ok {
		return nil
	}
	switch v := n.resolve().(type) {
	case *ast.BoolNode:
		return v.Value
	case *ast.IntegerNode:
		switch i := v.Value.(type) {
		case int64:
			return i
		case uint64:
			if i <= math.MaxInt64 {
				return int64(i)
			}
		}
		n.Mistake("%s is not a whole number of 64 bits; quote it to make it text", n.Raw())
		return nil
	case *ast.FloatNode:
		if !math.IsInf(v.Value, 0) {
			return v.Value
		}
		n.Mistake("%s is not a number of 64 bits; quote it to make it text", n.Raw())
		return nil
	case *ast.InfinityNode, *ast.NanNode:
		n.Mistake("%s has no form in JSON; quote it to make it text", n.Raw())
		return nil
	}
	return text
}

// Field is a field of a struct as files name it.
type Field struct {
	Key      string
	Index    []int
	Required bool // no omitempty
}

// Fields are the fields of a struct type that have a yaml tag, in its order.
func Fields(t reflect.Type) []Field {
	var fields []Field
	for _, f := range reflect.VisibleFields(t) {
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "" || key == "-" {
			continue
		}
		fields = append(fields, Field{Key: key, Index: f.Index, Required: options != "omitempty"})
	}
	return fields
}
