package wiz

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/trawlsec/trawl/internal/saassim"
)

func TestQueriesAreChecked(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.AddAudit(saassim.Batch{N: 3})
	for _, tt := range []struct {
		name, query string
		vars        m
		want        string // part of the message; "" for a good query
	}{
		{"good", auditQuery, m{"first": 5}, ""},
		{"null variables", auditQuery, m{"first": 5, "after": nil, "filterBy": nil}, ""},
		{"a value for a list", auditQuery, m{"first": 5, "filterBy": m{"status": "SUCCESS"}}, ""},
		{"variable unknown to the query", auditQuery, m{"first": 5, "other": 1}, ""},
		{"syntax", `{ auditLogEntries(first: 1 { totalCount } }`, nil, "Expected"},
		{"unknown field", `{ auditLogEntries(first: 1) { nodes { id userEmail } } }`, nil, `Cannot query field "userEmail"`},
		{"unknown argument", `{ auditLogEntries(first: 1, orderBy: {field: ID}) { totalCount } }`, nil, `Unknown argument "orderBy"`},
		{"no selection", `{ auditLogEntries(first: 1) }`, nil, "must have a selection"},
		{"unknown filter in the query", `{ auditLogEntries(first: 1, filterBy: {action: "Login"}) { totalCount } }`, nil, `"action" is not defined`},
		{"unknown filter in a variable", auditQuery, m{"first": 1, "filterBy": m{"sourceIp": "192.0.2.1"}}, `"sourceIp" is not defined`},
		{"updatedAt is no filter", issueQuery, m{"first": 1, "filterBy": m{"updatedAt": m{}}}, `"updatedAt" is not defined`},
		{"unknown enum value", issueQuery, m{"first": 1, "filterBy": m{"status": []string{"CLOSED"}}}, "CLOSED is not a value of enum IssueStatus"},
		{"enum in small letters", issueQuery, m{"first": 1, "filterBy": m{"status": []string{"open"}}}, "not a value of enum"},
		{"first as text", auditQuery, m{"first": "5"}, "Int cannot represent 5"},
		{"first with a fraction", auditQuery, m{"first": 5.5}, "Int cannot represent 5.5"},
		{"first beyond 32 bits", auditQuery, m{"first": 1 << 40}, "Int cannot represent"},
		{"after as number", auditQuery, m{"first": 5, "after": 500}, "String cannot represent 500"},
		{"order without a direction", issueQuery, m{"first": 1, "orderBy": m{"field": "ID"}}, `"direction" of IssueOrder is required`},
		{"mutation", `mutation { updateIssue { id } }`, nil, `"updateIssue" on type "Mutation"`},
		{"variable without a definition", `{ auditLogEntries(first: $n) { totalCount } }`, nil, `"$n" is not defined`},
	} {
		code, a := c.ask(tt.query, tt.vars)
		switch {
		case tt.want == "" && (code != 200 || len(a.Errors) > 0):
			t.Errorf("%s: %d %v", tt.name, code, a.Errors)
		case tt.want != "" && (code != 400 || len(a.Errors) == 0 || !strings.Contains(a.Errors[0].Message, tt.want) || a.Errors[0].Extensions.Code == ""):
			t.Errorf("%s: %d %v, want %q", tt.name, code, a.Errors, tt.want)
		}
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, query string
		opts        Options
		want        string // the error, answered with 200
	}{
		{"no first", `{ auditLogEntries { totalCount } }`, Options{}, "first is required"},
		{"first 0", `{ auditLogEntries(first: 0) { totalCount } }`, Options{}, "between 1 and 5000"},
		{"first too large", `{ auditLogEntries(first: 5001) { totalCount } }`, Options{}, "between 1 and 5000"},
		{"first too large for issues", `{ issuesV2(first: 501) { totalCount } }`, Options{}, "between 1 and 500"},
		{"first too large, lowered", `{ issuesV2(first: 501) { totalCount } }`, Options{ClampPages: true}, ""},
		{"cursor of nothing", `{ auditLogEntries(first: 1, after: "abc") { totalCount } }`, Options{}, "invalid cursor"},
		{"time without a zone", `{ auditLogEntries(first: 1, filterBy: {timestamp: {after: "2026-11-21T10:00:00"}}) { totalCount } }`, Options{}, "is not a DateTime"},
		{"duration without a unit", `{ auditLogEntries(first: 1, filterBy: {timestamp: {inLast: {amount: 5}}}) { totalCount } }`, Options{}, "needs a unit"},
		{"introspection", `{ __schema { types { name } } }`, Options{}, "introspection is not served"},
		{"no such entry", `{ auditLogEntry(id: "x") { id } }`, Options{}, "Resource not found"},
		{"no such issue", `{ issue(id: "x") { id } }`, Options{}, "Resource not found"},
	} {
		c := newTester(t, tt.opts)
		code, a := c.ask(tt.query, nil)
		if tt.want == "" {
			if code != 200 || len(a.Errors) > 0 {
				t.Errorf("%s: %d %v", tt.name, code, a.Errors)
			}
		} else if code != 200 || len(a.Errors) != 1 || !strings.Contains(a.Errors[0].Message, tt.want) {
			t.Errorf("%s: %d %v, want %q", tt.name, code, a.Errors, tt.want)
		}
	}
}

func TestHTTPOfTheAPI(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{ValidationStatus: 200})
	for _, tt := range []struct {
		name, method, path, contentType, body string
		status                                int
	}{
		{"get", "GET", "/graphql", "application/json", "", 405},
		{"another path", "POST", "/graphql/", "application/json", `{"query":"{__typename}"}`, 404},
		{"form", "POST", "/graphql", saassim.FormType, `query={__typename}`, 415},
		{"not JSON", "POST", "/graphql", "application/json", `{`, 400},
		{"a list", "POST", "/graphql", "application/json", `[]`, 400},
		{"validation in a 200", "POST", "/graphql", "application/json", `{"query":"{nothing}"}`, 200},
		{"too large", "POST", "/graphql", "application/json", `{"query":"` + strings.Repeat(" ", 1<<20) + `"}`, 413},
		{"good", "POST", "/graphql", "application/json; charset=utf-8", `{"query":"query A {__typename} query B {__typename}","operationName":"B"}`, 200},
		{"which of two", "POST", "/graphql", "application/json", `{"query":"query A {__typename} query B {__typename}"}`, 200},
	} {
		r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
		r.Header.Set("Content-Type", tt.contentType)
		r.Header.Set("Authorization", "Bearer "+c.token)
		if rec := c.do(r); rec.Code != tt.status {
			t.Errorf("%s: %d, want %d: %s", tt.name, rec.Code, tt.status, rec.Body)
		}
	}
}

func TestOnlyWhatIsAskedComesBack(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	id := c.AddAudit(saassim.Batch{N: 1})[0]
	query := `query Q($yes: Boolean!) {
	  __typename
	  one: auditLogEntry(id: "` + id + `") { id, again: id, ...more }
	  two: auditLogEntries(first: 1) { nodes { id @skip(if: $yes) status @include(if: $yes) performer { ... on UserSnapshot { id } ... on ServiceAccountSnapshot { id } } } __typename }
	}
	fragment more on AuditLogEntry { action performer { __typename } }`
	for _, yes := range []bool{true, false, true} {
		var d m
		c.get(query, m{"yes": yes}, &d)
		one, two := d["one"].(m), d["two"].(m)
		node := two["nodes"].([]any)[0].(m)
		if d["__typename"] != "Query" || two["__typename"] != "AuditLogEntryConnection" || len(d) != 3 {
			t.Errorf("root %v", d)
		}
		if one["id"] != id || one["again"] != id || one["action"] == nil || len(one) != 4 || len(one["performer"].(m)) != 1 {
			t.Errorf("one %v", one)
		}
		_, hasID := node["id"]
		_, hasStatus := node["status"]
		if hasID == yes || hasStatus != yes || len(node) != 2 || node["performer"].(m)["id"] == "" {
			t.Errorf("yes=%v: node %v", yes, node)
		}
	}
	rec := c.post(`{ auditLogEntries(first: 1) { nodes { status id } } }`, nil)
	if body := rec.Body.String(); strings.Index(body, `"status"`) > strings.Index(body, `"id"`) {
		t.Errorf("fields are not in the order asked for: %s", body)
	}
}

func TestLegacySchema(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{Schema: LegacySchema})
	c.AddAudit(saassim.Batch{N: 200})
	const query = `query Q($f: AuditLogEntryFilters) { auditLogEntries(first: 200, filterBy: $f) { nodes { id action requestId status timestamp actionParameters userAgent sourceIP serviceAccount { id name } user { id name } } } }`
	var d struct{ AuditLogEntries page }
	c.get(query, m{"f": m{"action": "Login", "sourceIp": nil}}, &d)
	if len(d.AuditLogEntries.Nodes) == 0 {
		t.Fatal("no sign-ins")
	}
	for _, n := range d.AuditLogEntries.Nodes {
		if n["action"] != "Login" || n["user"] != nil && n["serviceAccount"] != nil {
			t.Errorf("node %v", n)
		}
	}
	if code, _ := c.ask(query, m{"f": m{"actionV2": []string{"Login"}}}); code != 400 {
		t.Errorf("actionV2: %d, want 400", code)
	}
	if code, _ := c.ask(`{ auditLogEntries(first: 1) { nodes { performer { id } } } }`, nil); code != 400 {
		t.Errorf("performer: %d, want 400", code)
	}
}

// Every issue and entry can be written whole, and as JSON.
func TestEveryFieldCanBeWritten(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{Scopes: []string{ScopeAudit, ScopeAll}})
	c.AddAudit(saassim.Batch{N: 300})
	c.AddIssues(saassim.Batch{N: 100})
	all := map[string]string{"auditLogEntries": "AuditLogEntryConnection", "issuesV2": "IssueConnection", "serviceAccounts": "ServiceAccountConnection"}
	for _, k := range findingKinds {
		c.AddFindings(k.source, saassim.Batch{N: 100})
		all[k.many] = (&connection{node: k.node}).typename()
	}
	for field, typ := range all {
		query := "{ " + field + "(first: 300) " + everything(c.schema.schema, typ, 0) + " }"
		if field != "auditLogEntries" {
			query = strings.Replace(query, "300", "100", 1)
		}
		code, a := c.ask(query, nil)
		if code != 200 || len(a.Errors) > 0 {
			t.Fatalf("%s: %d %v", field, code, a.Errors)
		}
		checkNulls(t, c.schema.schema, c.schema.schema.Types[typ], a.Data, field)
	}
}

// everything selects all fields of a type, a few levels down.
func everything(s *ast.Schema, typ string, depth int) string {
	var b strings.Builder
	b.WriteString("{ __typename ")
	if s.Types[typ].Kind == ast.Union {
		for _, member := range s.Types[typ].Types {
			b.WriteString("... on " + member + everything(s, member, depth) + " ")
		}
	}
	for _, f := range s.Types[typ].Fields {
		if strings.HasPrefix(f.Name, "__") {
			continue
		}
		if inner := s.Types[f.Type.Name()]; !inner.IsCompositeType() {
			b.WriteString(f.Name + " ")
		} else if depth < 6 {
			b.WriteString(f.Name + everything(s, inner.Name, depth+1) + " ")
		}
	}
	return b.String() + "}"
}

// checkNulls finds nulls where the schema has none.
func checkNulls(t *testing.T, s *ast.Schema, def *ast.Definition, data json.RawMessage, root string) {
	t.Helper()
	var d map[string]any
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var object func(def *ast.Definition, o map[string]any)
	var value func(where string, typ *ast.Type, v any)
	value = func(where string, typ *ast.Type, v any) {
		switch {
		case v == nil:
			if typ.NonNull && !seen[where] {
				seen[where] = true
				t.Errorf("%s is null", where)
			}
		case typ.Elem != nil:
			for _, item := range v.([]any) {
				value(where, typ.Elem, item)
			}
		case s.Types[typ.NamedType].IsCompositeType():
			o := v.(map[string]any)
			object(s.Types[o["__typename"].(string)], o)
		case s.Types[typ.NamedType].Kind == ast.Enum:
			if s.Types[typ.NamedType].EnumValues.ForName(v.(string)) == nil && !seen[where] {
				seen[where] = true
				t.Errorf("%s has the value %v", where, v)
			}
		}
	}
	object = func(def *ast.Definition, o map[string]any) {
		for name, v := range o {
			if f := def.Fields.ForName(name); f != nil && name != "__typename" {
				value(def.Name+"."+name, f.Type, v)
			}
		}
	}
	object(def, d[root].(map[string]any))
}

// The schema here says nothing that the vendor's does not. The vendor's is not
// part of the project; TRAWL_WIZ_SCHEMA names a copy.
func TestSchemaIsPartOfTheVendors(t *testing.T) {
	t.Parallel()
	path := os.Getenv("TRAWL_WIZ_SCHEMA")
	if path == "" {
		t.Skip("TRAWL_WIZ_SCHEMA is not set")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := parser.ParseSchema(&ast.Source{Name: path, Input: string(text)}) // only parsed: it has inputs without fields
	if err != nil {
		t.Fatal(err)
	}
	ours, err := loadGraph(CurrentSchema)
	if err != nil {
		t.Fatal(err)
	}
	for name, def := range ours.schema.Types {
		if def.BuiltIn || strings.HasPrefix(name, "__") {
			continue
		}
		want := theirs.Definitions.ForName(name)
		if want == nil || want.Kind != def.Kind {
			t.Errorf("%s is not a type of the vendor's", name)
			continue
		}
		for _, f := range def.Fields {
			w := want.Fields.ForName(f.Name)
			if strings.HasPrefix(f.Name, "__") {
				continue
			}
			if w == nil || w.Type.String() != f.Type.String() {
				t.Errorf("%s.%s: %s is not the vendor's", name, f.Name, f.Type)
				continue
			}
			for _, a := range f.Arguments {
				if wa := w.Arguments.ForName(a.Name); wa == nil || wa.Type.String() != a.Type.String() {
					t.Errorf("%s.%s(%s: %s) is not the vendor's", name, f.Name, a.Name, a.Type)
				}
			}
		}
		for _, v := range def.EnumValues {
			if want.EnumValues.ForName(v.Name) == nil {
				t.Errorf("%s.%s is not the vendor's", name, v.Name)
			}
		}
	}
}
