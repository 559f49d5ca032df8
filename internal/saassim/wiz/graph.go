package wiz

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
)

//go:embed schema/*.graphql
var schemaFiles embed.FS

// keptPlans bounds the parsed queries that are kept; a client uses few.
const keptPlans = 64

// graph is a GraphQL schema, and the queries already checked against it.
type graph struct {
	schema *ast.Schema
	mu     sync.Mutex
	plans  map[planKey]*plan
}

type planKey struct{ query, operation string }

// plan is a query ready to be executed.
type plan struct {
	op     *ast.OperationDefinition
	root   []step
	fields string // names of the root's fields, joined by commas
	varies bool   // a directive looks at a variable, so root holds for one request only
}

func loadGraph(age Schema) (*graph, error) {
	sources := []*ast.Source{validator.Prelude}
	names := []string{"wiz", "issues", "vulnerabilities", "findings", "detections", "audit_" + string(age)}
	if age == CurrentSchema {
		names = append(names, "reports")
	}
	for _, name := range names {
		b, err := schemaFiles.ReadFile("schema/" + name + ".graphql")
		if err != nil {
			return nil, fmt.Errorf("load schema: %w", err)
		}
		sources = append(sources, &ast.Source{Name: name, Input: string(b)})
	}
	schema, err := validator.LoadSchema(sources...)
	if err != nil {
		return nil, fmt.Errorf("load schema: %w", err)
	}
	return &graph{schema: schema, plans: map[planKey]*plan{}}, nil
}

// plan parses a query, checks it against the schema and reads its variables,
// or says all that is wrong with it. With lax, a number will do for a String.
func (g *graph) plan(query, operation string, rawVars json.RawMessage, lax bool) (*plan, map[string]any, []gqlError) {
	key := planKey{query, operation}
	g.mu.Lock()
	p := g.plans[key]
	g.mu.Unlock()
	if p == nil {
		var errs []gqlError
		if p, errs = g.parse(query, operation); errs != nil {
			return nil, nil, errs
		}
	}
	vars, err := g.variables(p.op, rawVars, lax)
	if err != nil {
		return nil, nil, []gqlError{{Message: err.Error(), Code: codeBadInput}}
	}
	if p.root == nil {
		c := compiler{schema: g.schema, vars: vars}
		fresh := &plan{op: p.op, fields: p.fields}
		fresh.root = c.steps(g.rootOf(p.op), []ast.SelectionSet{p.op.SelectionSet})
		fresh.varies = c.varies
		if p = fresh; !p.varies {
			g.mu.Lock()
			if len(g.plans) >= keptPlans {
				clear(g.plans)
			}
			g.plans[key] = p
			g.mu.Unlock()
		}
	}
	return p, vars, nil
}

func (g *graph) parse(query, operation string) (*plan, []gqlError) {
	doc, err := parser.ParseQuery(&ast.Source{Input: query})
	if err != nil {
		return nil, []gqlError{located(err, codeParse)}
	}
	if list := validator.ValidateWithRules(g.schema, doc, nil); len(list) > 0 {
		var errs []gqlError
		for _, e := range list {
			errs = append(errs, located(e, codeValidation))
		}
		return nil, errs
	}
	op := doc.Operations.ForName(operation)
	if op == nil {
		return nil, []gqlError{{Message: fmt.Sprintf("operation %q not found", operation), Code: codeBadInput}}
	}
	if g.rootOf(op) == nil {
		return nil, []gqlError{{Message: "only queries and mutations are served", Code: codeValidation}}
	}
	c := compiler{schema: g.schema, namesOnly: true}
	var names []string
	for _, s := range c.steps(g.rootOf(op), []ast.SelectionSet{op.SelectionSet}) {
		names = append(names, s.name)
	}
	return &plan{op: op, fields: strings.Join(names, ",")}, nil
}

// rootOf is the type at which an operation begins; nil where there is none.
func (g *graph) rootOf(op *ast.OperationDefinition) *ast.Definition {
	switch op.Operation {
	case ast.Query:
		return g.schema.Query
	case ast.Mutation:
		return g.schema.Mutation
	}
	return nil
}

// located turns a parser's or validator's error into the API's.
func located(err error, code string) gqlError {
	e := gqlError{Message: err.Error(), Code: code}
	if g := (*gqlerror.Error)(nil); errors.As(err, &g) {
		e.Message = g.Message
		for _, l := range g.Locations {
			e.Locations = append(e.Locations, location{l.Line, l.Column})
		}
	}
	return e
}

// variables reads the values of an operation's variables as strictly as the
// GraphQL specification has it; values of variables that the operation does
// not have are ignored.
func (g *graph) variables(op *ast.OperationDefinition, raw json.RawMessage, lax bool) (map[string]any, error) {
	var given map[string]any
	if len(raw) > 0 {
		dec := json.NewDecoder(strings.NewReader(string(raw)))
		dec.UseNumber()
		if err := dec.Decode(&given); err != nil {
			return nil, fmt.Errorf("variables must be an object")
		}
	}
	vars := map[string]any{}
	for _, def := range op.VariableDefinitions {
		v, ok := given[def.Variable]
		if !ok {
			if def.DefaultValue != nil {
				d, err := def.DefaultValue.Value(nil)
				if err != nil {
					return nil, fmt.Errorf("variable $%s: %w", def.Variable, err)
				}
				vars[def.Variable] = d
			} else if def.Type.NonNull {
				return nil, fmt.Errorf("variable $%s of type %s is required", def.Variable, def.Type)
			}
			continue
		}
		if n, ok := v.(json.Number); ok && lax && def.Type.NamedType == "String" {
			v = n.String()
		}
		value, err := g.coerce(def.Type, v)
		if err != nil {
			return nil, fmt.Errorf("variable $%s got an invalid value: %w", def.Variable, err)
		}
		vars[def.Variable] = value
	}
	return vars, nil
}

// coerce turns a decoded JSON value into one of the type, with numbers as
// int64 and float64.
func (g *graph) coerce(t *ast.Type, v any) (any, error) {
	if v == nil {
		if t.NonNull {
			return nil, fmt.Errorf("%s cannot be null", t)
		}
		return nil, nil
	}
	if t.Elem != nil {
		items, ok := v.([]any)
		if !ok {
			items = []any{v} // one value stands for a list of it
		}
		out := make([]any, len(items))
		for i, item := range items {
			value, err := g.coerce(t.Elem, item)
			if err != nil {
				return nil, fmt.Errorf("at %d: %w", i, err)
			}
			out[i] = value
		}
		return out, nil
	}
	def := g.schema.Types[t.NamedType]
	switch def.Kind {
	case ast.InputObject:
		return g.coerceInput(def, v)
	case ast.Enum:
		if s, ok := v.(string); ok && def.EnumValues.ForName(s) != nil {
			return s, nil
		}
		return nil, fmt.Errorf("%v is not a value of enum %s", v, def.Name)
	default:
		return coerceScalar(def.Name, v)
	}
}

func (g *graph) coerceInput(def *ast.Definition, v any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s must be an object", def.Name)
	}
	out := map[string]any{}
	for _, name := range sortedKeys(m) {
		field := def.Fields.ForName(name)
		if field == nil {
			return nil, fmt.Errorf("field %q is not defined by type %s", name, def.Name)
		}
		value, err := g.coerce(field.Type, m[name])
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", name, err)
		}
		out[name] = value
	}
	for _, field := range def.Fields {
		if _, given := m[field.Name]; !given && field.Type.NonNull && field.DefaultValue == nil {
			return nil, fmt.Errorf("field %q of %s is required", field.Name, def.Name)
		}
	}
	return out, nil
}

func coerceScalar(name string, v any) (any, error) {
	wrong := fmt.Errorf("%s cannot represent %v", name, v)
	switch name {
	case "Int":
		if n, ok := v.(json.Number); ok {
			if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil && i >= math.MinInt32 && i <= math.MaxInt32 {
				return i, nil
			}
		}
		return nil, wrong
	case "Float":
		if n, ok := v.(json.Number); ok {
			if f, err := n.Float64(); err == nil {
				return f, nil
			}
		}
		return nil, wrong
	case "Boolean":
		if b, ok := v.(bool); ok {
			return b, nil
		}
		return nil, wrong
	case "ID":
		if n, ok := v.(json.Number); ok {
			if _, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
				return n.String(), nil
			}
			return nil, wrong
		}
	}
	// String, DateTime and the scalars of the API that are names.
	if s, ok := v.(string); ok {
		return s, nil
	}
	return nil, wrong
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
