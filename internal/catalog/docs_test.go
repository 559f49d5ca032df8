package catalog

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const docsFile = "../../docs/catalog.md"

const docsIntro = `# The catalogue's format

A product is a folder: ` + "`product.yaml`" + `, a file for each source, and samples. This page is generated from the types in internal/catalog (` + "`go test ./internal/catalog -update`" + `); ` + "`trawl catalog schema`" + ` prints the same as a JSON Schema, which editors check and complete files with, and ` + "`trawl catalog new PRODUCT`" + ` writes the example below under your product's name. [CONTRIBUTING.md](../CONTRIBUTING.md) goes through the steps.

` + "```" + `
acme/product.yaml                        settings, sign-in, address, rate, what errors mean
acme/audit.yaml                          one source: request, paging, window, identity, mapping
acme/testdata/audit/login.json           a raw record
acme/testdata/audit/login.expected.json  the document that it must become
` + "```" + `

` + "`catalog_dir`" + ` in trawl.yaml (or ` + "`--catalog-dir`" + `) names a folder of such folders. A product of a new name is added. In the folder of a product that Trawl knows, each file takes the place of Trawl's own of that name, and the others stay. Every mistake is reported with file, line and column: an unknown key, a value of the wrong kind, a name in ` + "`${}`" + ` that nothing gives, a path that can't be read.

## Paths

Where a value stands in JSON is written as a path: ` + "`a.b`" + ` a member of a member; ` + "`a[0].b`" + ` of an element; ` + "`a[].b`" + ` of every element; ` + "`a[name=x].value`" + ` of the first element whose member ` + "`name`" + ` is ` + "`x`" + `, ` + "`a[][name=x].value`" + ` of each such element; ` + "`a.\"b.c\"`" + ` a name with a dot in it.

## Names

A text may hold ` + "`${name}`" + `: a setting of the connection, one of the product's derived names, and in requests also ` + "`since`, `until`, `cursor`, `offset`, `page`, `page_size` and `time_field`" + `. An entry of a map that is one such name and nothing else is left out where the name has no value, as ` + "`${cursor}`" + ` has none on the first page. In a JSON body such an entry keeps its type: ` + "`size: \"${page_size}\"`" + ` is sent as a number. A setting that is an address may end with a slash or not: ` + "`${api_url}/v1`" + ` has one slash there either way.

## Conditions

A condition is a map by paths, and holds when every entry does: ` + "`a.b: x`" + ` where the value is x, ` + "`a.b: [x, y]`" + ` where it is one of these, ` + "`a.b: {exists: true}`" + ` where there is one (or none, with ` + "`false`" + `), ` + "`a.b: {glob: \"x_*\"}`" + ` where it matches a pattern, or one of a list of patterns. ` + "`any: [...]`" + ` holds where one of several conditions does, ` + "`not: {...}`" + ` where a condition does not.
`

// TestDocs keeps docs/catalog.md the same as the types, the schema and the
// example.
func TestDocs(t *testing.T) {
	got := docs(t)
	if *update {
		if err := os.WriteFile(docsFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not that of the types; run go test -update, twice where the schema changed too:\n%s", docsFile, diff)
	}
}

func docs(t *testing.T) string {
	t.Helper()
	var schema struct {
		Defs map[string]definition `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	d := documentation{defs: schema.Defs}
	d.WriteString(docsIntro)
	d.section("## product.yaml", reflect.TypeFor[Product]())
	d.section("## A source's file", reflect.TypeFor[Source]())
	files, err := Template("acme")
	if err != nil {
		t.Fatal(err)
	}
	d.WriteString("\n## A full example\n")
	for _, file := range []struct{ name, language string }{{"product.yaml", "yaml"}, {"audit.yaml", "yaml"}, {"testdata/audit/login.json", "json"}} {
		fmt.Fprintf(&d, "\n`acme/%s`:\n\n```%s\n%s```\n", file.name, file.language, files[file.name])
	}
	return d.String()
}

// definition is what the schema says of a type or a key.
type definition struct {
	Description string                `json:"description"`
	Enum        []any                 `json:"enum"`
	Required    []string              `json:"required"`
	Properties  map[string]definition `json:"properties"`
}

type documentation struct {
	strings.Builder
	defs map[string]definition
	told []reflect.Type
}

// section tells a type, and then those that it refers to, each once.
func (d *documentation) section(title string, t reflect.Type) {
	if slices.Contains(d.told, t) {
		return
	}
	d.told = append(d.told, t)
	def, ok := d.defs[t.Name()]
	if t == reflect.TypeFor[Expr]() {
		def, ok = d.defs["expression"]
	}
	if !ok {
		return // written in a form of its own, which the keys tell
	}
	fmt.Fprintf(d, "\n%s\n\n%s\n\n| key | what | |\n| --- | --- | --- |\n", title, cell(def.Description))
	var inner []reflect.Type
	for _, f := range reflect.VisibleFields(t) {
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "" || key == "-" {
			continue
		}
		p := def.Properties[key]
		what := cell(p.Description)
		if len(p.Enum) > 0 {
			var words []string
			for _, w := range p.Enum {
				words = append(words, fmt.Sprintf("`%v`", w))
			}
			what = strings.TrimPrefix(what+"; one of "+strings.Join(words, ", "), "; ")
		}
		needed := ""
		if slices.Contains(def.Required, key) {
			needed = "required"
		}
		of, form := element(f.Type)
		if of.Kind() == reflect.Struct {
			inner = append(inner, of)
			form = strings.TrimSpace(strings.TrimSpace(form) + " [" + of.Name() + "](#" + strings.ToLower(of.Name()) + ")")
		}
		fmt.Fprintf(d, "| `%s` | %s | %s |\n", key, what, strings.Trim(form+", "+needed, ", "))
	}
	for _, of := range inner {
		d.section("### "+of.Name(), of)
	}
}

// onePath is the form of Paths.
const onePath = "path, or list of paths"

// element is the type within lists and maps, and how those are called.
func element(t reflect.Type) (of reflect.Type, form string) {
	switch t.Kind() {
	case reflect.Pointer:
		return element(t.Elem())
	case reflect.Slice:
		if t == reflect.TypeFor[Paths]() {
			return reflect.TypeFor[string](), onePath
		}
		of, inner := element(t.Elem())
		return of, "list of " + plural(of, inner)
	case reflect.Map:
		if t == reflect.TypeFor[Condition]() {
			return reflect.TypeFor[string](), "[condition](#conditions)"
		}
		of, inner := element(t.Elem())
		return of, "map of " + plural(of, inner)
	case reflect.String:
		return t, ""
	}
	switch t {
	case reflect.TypeFor[Duration]():
		return reflect.TypeFor[string](), "duration: 5m, 24h, 180d"
	}
	return t, map[reflect.Kind]string{reflect.Int: "number", reflect.Float64: "number", reflect.Bool: "boolean"}[t.Kind()]
}

// plural is what a list or map of these holds; what is a type of its own is
// named after it.
func plural(of reflect.Type, form string) string {
	switch {
	case of.Kind() == reflect.Struct:
		return form
	case of.Kind() == reflect.Interface:
		return "values"
	case form == "":
		return "texts"
	}
	if form == onePath {
		return "paths, or lists of paths"
	}
	kind, example, found := strings.Cut(form, ":")
	kind = strings.TrimSuffix(kind, "s") + "s"
	if found {
		kind += ":" + example
	}
	return kind
}

// cell is a text that stands in a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(text), "|", `\|`), "\n", " ")
}
