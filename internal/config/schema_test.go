package config

import (
	"os"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/strictyaml/schemagen"
)

// TestSchema keeps the schema the same as the types.
func TestSchema(t *testing.T) {
	t.Parallel()
	text := func(pattern string) schemagen.Schema {
		return schemagen.Schema{"type": []string{"string", "integer"}, "pattern": pattern}
	}
	single := []string{"string", "number", "boolean"}
	g := schemagen.Generator{
		References: true,
		Types: map[reflect.Type]schemagen.Schema{
			reflect.TypeFor[catalog.Duration](): text(`^(([0-9]+d)?([0-9.]+(ns|us|µs|ms|s|m|h))*|.*\$\{.*)$`),
			reflect.TypeFor[Size]():             text(`^([0-9.]+ ?([KMGT]i?B|kB|B)?|.*\$\{.*)$`),
			reflect.TypeFor[Start]():            {"type": "string"},
			reflect.TypeFor[Secret]():           {"type": "string"},
			reflect.TypeFor[settingValue]():     {"type": append(single, "object", "null"), "additionalProperties": schemagen.Schema{"type": single}},
		},
		Words: map[string][]string{"outputFile.type": outputTypes, "outputFile.schema": outputSchemas, "outputFile.compress": compressions},
	}
	got, err := g.Generate("trawl.yaml", ".", map[string]reflect.Type{"trawl.yaml": reflect.TypeFor[file]()})
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
