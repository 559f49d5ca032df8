// Package ecsfields knows the fields of the Elastic Common Schema: their names,
// their types, and the values of those that have few. It lets the catalogue's
// mappings, and the documents they make, be checked against what is published.
package ecsfields

import (
	_ "embed"
	"strings"
	"sync"
)

// Field is a field of ECS.
type Field struct {
	Type   string   // keyword, long, double, boolean, date, ip, geo_point; object: with anything below it
	List   bool     // ECS keeps a list there
	Values []string // all that it may hold; nil: anything
}

// Find returns the field of a name: source.ip. What is below a geo_point is
// lat and lon, and what is below an object is a keyword. ok is false where ECS
// has no such field.
func Find(name string) (f Field, ok bool) {
	s := schema()
	if f, ok = s.fields[name]; ok {
		return f, true
	}
	for i := len(name) - 1; i > 0; i-- {
		if name[i] != '.' {
			continue
		}
		switch above := s.fields[name[:i]]; {
		case above.Type == "object":
			return Field{Type: "keyword"}, true
		case above.Type == "geo_point" && (name[i:] == ".lat" || name[i:] == ".lon"):
			return Field{Type: "double"}, true
		}
	}
	return Field{}, false
}

// Under returns the names of the fields at or under a root: for user, user.id
// and so on. There are none where ECS does not use the root, so that it is free
// for other fields.
func Under(root string) []string { return schema().roots[root] }

// EventTypes returns the values of event.type that go with a value of
// event.category.
func EventTypes(category string) []string { return schema().eventTypes[category] }

//go:embed fields.txt
var text string

type fields struct {
	fields     map[string]Field
	roots      map[string][]string
	eventTypes map[string][]string // by category
}

var schema = sync.OnceValue(func() fields {
	s := fields{fields: map[string]Field{}, roots: map[string][]string{}, eventTypes: map[string][]string{}}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case len(words) > 1 && words[1] == "=":
			f := s.fields[words[0]]
			f.Values = words[2:]
			s.fields[words[0]] = f
		case len(words) > 1 && words[1] == ">":
			s.eventTypes[words[0]] = words[2:]
		case len(words) == 1:
			s.add(words[0], "")
		default:
			for _, word := range words[1:] {
				s.add(words[0], word)
			}
		}
	}
	return s
})

// add takes a word of a root's line: name:type[].
func (s fields) add(root, word string) {
	word, list := strings.CutSuffix(word, "[]")
	word, kind, typed := strings.Cut(word, ":")
	f := Field{Type: "keyword", List: list}
	if typed {
		f.Type = kind
	}
	name := root
	if word != "" {
		name += "." + word
	}
	if above, ok := strings.CutSuffix(name, ".*"); ok {
		name, f.Type = above, "object"
	}
	s.fields[name] = f
	s.roots[root] = append(s.roots[root], name)
}
