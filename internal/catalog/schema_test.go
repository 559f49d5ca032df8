package catalog

import (
	"flag"
	"os"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/emm"
	"github.com/trawlsec/trawl/internal/strictyaml/schemagen"
)

var update = flag.Bool("update", false, "rewrite the schema")

// TestSchema keeps the schema the same as the types.
func TestSchema(t *testing.T) {
	t.Parallel()
	var as []string
	for _, name := range asTypes {
		as = append(as, name, name+"[]")
	}
	g := schemagen.Generator{
		Types: map[reflect.Type]schemagen.Schema{
			reflect.TypeFor[Duration]():  {"type": "string", "pattern": `^([0-9]+d)?([0-9.]+(ns|us|µs|ms|s|m|h))*$`},
			reflect.TypeFor[Condition](): {"type": "object", "minProperties": 1},
			reflect.TypeFor[Paths]():     {"anyOf": []schemagen.Schema{{"type": "string"}, {"type": "array", "items": schemagen.Schema{"type": "string"}, "minItems": 1}}},
			reflect.TypeFor[Expr]():      {"anyOf": []schemagen.Schema{{"type": "string"}, {"$ref": "#/$defs/expression"}}},
		},
		Words: map[string][]string{
			"Setting.type": settingTypes, "Auth.type": authTypes, "Paging.end": ends, "ErrorRule.class": ruleClasses, "Source.kind": kinds, "Request.method": methods,
			"MatrixEvent.category": emm.Matrix().CategoryKeys(), "MatrixEvent.event_type": emm.Matrix().EventTypeKeys(),
			"expression.as": as, "expression.case": {"lower", "upper"},
		},
		Like: map[string]string{"expression": "Expr"},
	}
	g.Types[reflect.TypeFor[Attributes]()] = schemagen.Schema{
		"type": "object", "propertyNames": schemagen.Schema{"enum": emm.Matrix().AttributeKeys()},
		"additionalProperties": schemagen.Schema{"anyOf": []schemagen.Schema{{"type": "null"}, g.Types[reflect.TypeFor[Paths]()]}},
	}
	type expression Expr // the form of Expr that is a mapping
	got, err := g.Generate("Trawl's catalogue: product.yaml, and a file for each source", ".", map[string]reflect.Type{
		"product.yaml": reflect.TypeFor[Product](), "a source's file": reflect.TypeFor[Source](),
	}, reflect.TypeFor[expression]())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("schema.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(Schema()), string(got)); diff != "" {
		t.Errorf("schema.json is not that of the types; run go test -update:\n%s", diff)
	}
}
