package emm

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/trawlsec/trawl/internal/strictyaml"
)

// schemaNames are the kinds of files that have a schema: schema/NAME.yml.
var schemaNames = []string{"categories", "event_types", "attributes", "product", "event_source"}

//go:embed schema/*.json
var ownSchemas embed.FS

// schema is a JSON Schema, made ready.
type schema struct {
	compiled *jsonschema.Schema
	document any // as it was decoded, to find what it knows
}

// schemas are those of the folder, and of this package where it has none. What
// is wrong with one of the folder's is among its document's mistakes.
func (f *folder) schemas() (map[string]schema, strictyaml.Mistakes, error) {
	all := map[string]schema{}
	var mistakes strictyaml.Mistakes
	for _, name := range schemaNames {
		file, err := f.optional("schema/" + name)
		if err != nil {
			return nil, nil, err
		}
		if file != nil {
			made, err := compile(name, file.value)
			if err != nil && len(file.doc.Mistakes()) == 0 {
				file.doc.At().Mistake("is no JSON Schema: %v", err)
			}
			if len(file.doc.Mistakes()) == 0 {
				all[name] = made
				continue
			}
			mistakes = append(mistakes, file.doc.Mistakes()...)
		}
		if all[name], err = ownSchema(name); err != nil {
			return nil, nil, err
		}
	}
	return all, mistakes, nil
}

func ownSchema(name string) (schema, error) {
	text, err := ownSchemas.ReadFile("schema/" + name + ".json")
	if err != nil {
		return schema{}, err
	}
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		return schema{}, err
	}
	return compile(name, document)
}

// noLoader keeps schemas from reading anything else.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("refers to %s, which is outside of it", url)
}

func compile(name string, document any) (schema, error) {
	object, ok := document.(map[string]any)
	if !ok {
		return schema{}, errors.New("it is not a mapping")
	}
	// The public schemas give themselves the id of JSON Schema's own schema, which
	// would make every reference within them one into that.
	delete(object, "$id")
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	url := "mem:///" + name
	if err := c.AddResource(url, document); err != nil {
		return schema{}, err
	}
	compiled, err := c.Compile(url)
	if err != nil {
		return schema{}, err
	}
	return schema{compiled, document}, nil
}

// check notes what a file has that its schema does not allow.
func (s schema) check(f *file) {
	var invalid *jsonschema.ValidationError
	if err := s.compiled.Validate(f.value); errors.As(err, &invalid) {
		s.tell(f.doc.At(), invalid)
	}
}

// tell notes an error of the validator in words, at the place of what is wrong.
func (s schema) tell(top strictyaml.Place, e *jsonschema.ValidationError) {
	at := top.At(e.InstanceLocation...)
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, key := range k.Missing {
			at.Mistake("%q is missing; add it", key)
		}
	case *kind.AdditionalProperties:
		for _, key := range k.Properties {
			at.At(key).Key().Mistake("unknown key %q; %s", key, strictyaml.Suggest(key, s.properties(e.SchemaURL)))
		}
	case *kind.PropertyNames:
		at.At(k.Property).Key().Mistake("%q is not a key; use a-z, 0-9 and _, a letter first", k.Property)
	case *kind.Type:
		at.Mistake("must be %s; this is %s", words(k.Want), typeWords[k.Got])
	case *kind.Enum:
		var known []string
		for _, want := range k.Want {
			known = append(known, fmt.Sprint(want))
		}
		at.Mistake("%q is not known here; %s", fmt.Sprint(k.Got), strictyaml.Suggest(fmt.Sprint(k.Got), known))
	case *kind.Pattern:
		at.Mistake("%q must match %s", k.Got, k.Want)
	case *kind.UniqueItems:
		at.At(strconv.Itoa(k.Duplicates[1])).Mistake("is the same as number %d of this list; keep one", k.Duplicates[0]+1)
	case *kind.MinItems:
		at.Mistake("needs at least %d; this has %d", k.Want, k.Got)
	case *kind.OneOf, *kind.AnyOf:
		s.tellForms(top, e)
	default:
		if len(e.Causes) == 0 {
			at.Mistake("%s", e.BasicOutput().Errors[0].Error)
		}
		for _, cause := range e.Causes {
			s.tell(top, cause)
		}
	}
}

// tellForms notes that a value has none of the forms that it may have: what
// keeps it from the one it comes nearest to, or which there are.
func (s schema) tellForms(top strictyaml.Place, e *jsonschema.ValidationError) {
	var wanted []string
	got := ""
	for _, cause := range leaves(e.Causes) {
		t, ok := cause.ErrorKind.(*kind.Type)
		if !ok || len(cause.InstanceLocation) > len(e.InstanceLocation) {
			s.tell(top, cause)
			return
		}
		got = typeWords[t.Got]
		for _, want := range t.Want {
			if !slices.Contains(wanted, want) {
				wanted = append(wanted, want)
			}
		}
	}
	if len(wanted) == 0 {
		top.At(e.InstanceLocation...).Mistake("has several of the forms that it may have one of")
		return
	}
	top.At(e.InstanceLocation...).Mistake("must be %s; this is %s", words(wanted), got)
}

// leaves are the errors behind errors, the deepest in the file first.
func leaves(errs []*jsonschema.ValidationError) []*jsonschema.ValidationError {
	var all []*jsonschema.ValidationError
	for _, e := range errs {
		if len(e.Causes) == 0 {
			all = append(all, e)
		} else {
			all = append(all, leaves(e.Causes)...)
		}
	}
	slices.SortStableFunc(all, func(a, b *jsonschema.ValidationError) int {
		return len(b.InstanceLocation) - len(a.InstanceLocation)
	})
	return all
}

var typeWords = map[string]string{
	"null": "nothing", "boolean": "true or false", "number": "a number", "integer": "a whole number",
	"string": "a text", "array": "a list", "object": "a mapping",
}

func words(types []string) string {
	named := make([]string, len(types))
	for i, t := range types {
		named[i] = typeWords[t]
	}
	return strings.Join(named, " or ")
}

// properties are the names that an object's schema knows.
func (s schema) properties(url string) []string {
	_, pointer, _ := strings.Cut(url, "#")
	at := s.document
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		object, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		if part != "" {
			at = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
		}
	}
	object, _ := at.(map[string]any)
	properties, _ := object["properties"].(map[string]any)
	var names []string
	for name := range properties {
		names = append(names, name)
	}
	return names
}
