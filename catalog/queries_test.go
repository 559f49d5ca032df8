package catalogfiles_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/trawlsec/trawl/internal/catalog"
)

var emptyInput = regexp.MustCompile(`(?m)^((?:input|type) \w+)(?: \{\s*\})?$`)

// wizSchema reads the public schema of Wiz's API, which is no part of this
// repository: TRAWL_WIZ_SCHEMA names it, or it lies beside the repository.
func wizSchema(t *testing.T) *ast.Schema {
	t.Helper()
	path := os.Getenv("TRAWL_WIZ_SCHEMA")
	if path == "" {
		path = filepath.Join("..", "..", "shared", "wiz", "schema.graphql")
		if _, err := os.Stat(path); err != nil {
			t.Skip("there is no schema; TRAWL_WIZ_SCHEMA can name one")
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// An introspected schema may have input types without fields, which the parser does not take.
	filled := emptyInput.ReplaceAll(text, []byte("$1 {\n  none: Boolean\n}"))
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: path, Input: string(filled)})
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// Every query is one that Wiz's API takes, with every variable that Trawl sends.
func TestWizQueries(t *testing.T) {
	t.Parallel()
	schema := wizSchema(t)
	product, err := load(t).Product("wiz")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range product.SourceList() {
		fields := source.Window.Fields
		if source.Snapshot != nil {
			fields = append(slices.Clone(fields), source.Snapshot.Field)
		}
		checkQuery(t, schema, source, source.Request, fields)
		for _, n := range source.Nested {
			checkQuery(t, schema, source, n.Request, []string{""})
		}
	}
}

// checkQuery checks one request of a source, with its variables for each time field.
func checkQuery(t *testing.T, schema *ast.Schema, source *catalog.Source, request catalog.Request, fields []string) {
	t.Helper()
	query, errs := gqlparser.LoadQueryWithRules(schema, request.GraphQL.Query, rules.NewDefaultRules())
	if len(errs) > 0 {
		t.Errorf("%s: %v", source.FullName(), errs)
		return
	}
	operation := query.Operations.ForName(request.GraphQL.Operation)
	if operation == nil {
		t.Errorf("%s: there is no operation %q", source.FullName(), request.GraphQL.Operation)
		return
	}
	for name := range request.GraphQL.Variables {
		if operation.VariableDefinitions.ForName(name) == nil {
			t.Errorf("%s: the query declares no $%s", source.FullName(), name)
		}
	}
	if request.Filter != "" && operation.VariableDefinitions.ForName(request.Filter) == nil {
		t.Errorf("%s: the query declares no $%s, which filters are merged into", source.FullName(), request.Filter)
	}
	for _, field := range fields {
		variables := fill(t, source, request.GraphQL.Variables, field)
		if _, err := validator.VariableValues(schema, operation, variables.(map[string]any)); err != nil {
			t.Errorf("%s by %s: %v", source.FullName(), field, err)
		}
	}
}

// fill puts sample values in place of the names in a request's variables.
func fill(t *testing.T, source *catalog.Source, value any, field string) any {
	t.Helper()
	now := time.Now().UTC()
	texts := map[string]string{
		"since":      source.Window.Format(now.Add(-time.Hour)),
		"until":      source.Window.Format(now),
		"time_field": field,
	}
	expand := func(s string) string {
		filled, err := catalog.Expand(s, func(name string) (string, bool) { v, ok := texts[name]; return v, ok })
		if err != nil {
			t.Errorf("%s: %q: %v", source.FullName(), s, err)
		}
		return filled
	}
	switch v := value.(type) {
	case string:
		switch name, _ := catalog.WholeName(v); name {
		case "page_size":
			return json.Number("500")
		case "cursor", "id":
			return name
		}
		return expand(v)
	case map[string]any:
		filled := map[string]any{}
		for key, item := range v {
			filled[expand(key)] = fill(t, source, item, field)
		}
		return filled
	case []any:
		var filled []any
		for _, item := range v {
			filled = append(filled, fill(t, source, item, field))
		}
		return filled
	}
	return value
}

// Every mutation of the API has a place among the actions of the audit log.
func TestWizMutationsArePlaced(t *testing.T) {
	t.Parallel()
	schema := wizSchema(t)
	src, m := auditMapper(t)
	for _, field := range schema.Mutation.Fields {
		if strings.HasPrefix(field.Name, "__") {
			continue
		}
		action := string(unicode.ToUpper(rune(field.Name[0]))) + field.Name[1:]
		if place, message := placeOf(t, src, m, action, nil); message != "" {
			t.Errorf("%s: %q, %s", action, place, message)
		}
	}
}

// So are the queries about reports.
func TestWizReportQueries(t *testing.T) {
	t.Parallel()
	schema := wizSchema(t)
	product, err := load(t).Product("wiz")
	if err != nil {
		t.Fatal(err)
	}
	r := product.Reports
	for name, q := range map[string]catalog.Query{"create": r.Create, "rerun": r.Rerun, "read": r.Read, "list": r.List} {
		query, errs := gqlparser.LoadQueryWithRules(schema, q.GraphQL.Query, rules.NewDefaultRules())
		if len(errs) > 0 {
			t.Errorf("%s: %v", name, errs)
			continue
		}
		variables := map[string]any{}
		for name, value := range q.GraphQL.Variables {
			variables[name] = value // texts, in place of which names stand, are of the right type already
		}
		if input, ok := variables["input"].(map[string]any); ok && name == "create" {
			filled := map[string]any{"name": "x", "type": "AUDIT_LOG", "format": "CSV"}
			if len(filled) != len(input) {
				t.Errorf("create sends %v", input)
			}
			for kind, of := range r.Kinds {
				more, _ := of.Variables["input"].(map[string]any)
				for key, value := range more {
					filled[key] = value
				}
				variables["input"] = filled
				if kind == "audit" {
					filled["auditLogParams"] = map[string]any{"filters": map[string]any{"timestamp": map[string]any{"after": "2026-01-01T00:00:00.000000Z", "before": "2026-02-01T00:00:00.000000Z"}}}
				}
			}
		}
		if _, err := validator.VariableValues(schema, query.Operations[0], variables); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
