// Package schemagen writes the JSON Schema of files that strictyaml reads, from
// their Go types and the comments on the fields. Tests use it, to keep the
// schemas that the program carries the same as the types.
package schemagen

import (
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/trawlsec/trawl/internal/strictyaml"
)

// Schema is a JSON Schema, or a part of one.
type Schema = map[string]any

// Generator knows what the types do not say.
type Generator struct {
	Types      map[reflect.Type]Schema // types that are written in a form of their own
	Words      map[string][]string     // "Type.key" → the words that it takes
	Like       map[string]string       // a type that has the comments of another, by their names
	References bool                    // values may be ${env:X}, so numbers may be texts

	comments map[string]string // "Type.Field" → its comment; "Type" → the type's
	defs     Schema
}

// Generate gives a schema that is any of the root types, by their titles; also
// are types that only Types refers to. dir is the folder of the types' source.
func (g *Generator) Generate(title, dir string, roots map[string]reflect.Type, also ...reflect.Type) ([]byte, error) {
	if err := g.readComments(dir); err != nil {
		return nil, err
	}
	g.defs = Schema{}
	anyOf := []Schema{}
	for _, name := range slices.Sorted(maps.Keys(roots)) {
		t := roots[name]
		anyOf = append(anyOf, g.of(t))
		g.defs[t.Name()].(Schema)["title"] = name
	}
	for _, t := range also {
		g.of(t)
	}
	schema := Schema{"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, "$defs": g.defs}
	if len(anyOf) == 1 {
		schema["$ref"] = anyOf[0]["$ref"]
	} else {
		schema["anyOf"] = anyOf
	}
	text, err := json.MarshalIndent(schema, "", "  ")
	return append(text, '\n'), err
}

// of gives the schema of a type. Structs are defined once and referred to.
func (g *Generator) of(t reflect.Type) Schema {
	if s, ok := g.Types[t]; ok {
		return maps.Clone(s)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.of(t.Elem())
	case reflect.Struct:
		g.define(t)
		return Schema{"$ref": "#/$defs/" + t.Name()}
	case reflect.Map:
		return Schema{"type": "object", "additionalProperties": g.of(t.Elem())}
	case reflect.Slice:
		return Schema{"type": "array", "items": g.of(t.Elem())}
	case reflect.Interface:
		return Schema{}
	case reflect.String:
		return Schema{"type": []string{"string", "number", "boolean"}}
	case reflect.Bool:
		return g.scalar("boolean")
	case reflect.Int, reflect.Int64:
		return g.scalar("integer")
	case reflect.Float64:
		return g.scalar("number")
	}
	panic(fmt.Sprintf("schemagen: no schema for %v", t))
}

func (g *Generator) scalar(kind string) Schema {
	if g.References {
		return Schema{"anyOf": []Schema{{"type": kind}, {"type": "string", "pattern": `\$\{`}}}
	}
	return Schema{"type": kind}
}

func (g *Generator) define(t reflect.Type) {
	if _, ok := g.defs[t.Name()]; ok {
		return
	}
	properties := Schema{}
	def := Schema{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
	g.defs[t.Name()] = def // before its fields, which may refer to it
	commented := cmp.Or(g.Like[t.Name()], t.Name())
	if comment := g.comments[commented]; comment != "" {
		def["description"] = comment
	}
	required := []string{}
	for _, f := range strictyaml.Fields(t) {
		field := t.FieldByIndex(f.Index)
		property := g.of(field.Type)
		if words := g.Words[t.Name()+"."+f.Key]; words != nil {
			property = Schema{"enum": words}
		}
		if comment := g.comments[commented+"."+field.Name]; comment != "" {
			property["description"] = comment
		}
		properties[f.Key] = property
		if f.Required {
			required = append(required, f.Key)
			def["type"] = "object"
		}
	}
	if len(required) > 0 {
		def["required"] = required
	}
}

// readComments gathers the comments of all structs and their fields in a folder.
func (g *Generator) readComments(dir string) error {
	g.comments = map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, decl := range parsed.Decls {
			types, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range types.Specs {
				if t, ok := spec.(*ast.TypeSpec); ok {
					g.readType(t, types.Doc)
				}
			}
		}
	}
	return nil
}

func (g *Generator) readType(t *ast.TypeSpec, doc *ast.CommentGroup) {
	g.comments[t.Name.Name] = oneLine(doc.Text())
	s, ok := t.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range s.Fields.List {
		for _, name := range f.Names {
			g.comments[t.Name.Name+"."+name.Name] = oneLine(f.Comment.Text())
		}
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
