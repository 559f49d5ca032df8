package catalog

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/trawlsec/trawl/internal/strictyaml"
)

func checkRequest(at place, r Request, names []string) {
	at.at("method").isOneOf(r.Method, methods)
	at.at("path").text(r.Path, names)
	if r.Path != "" && !strings.HasPrefix(r.Path, "/") && !strings.HasPrefix(r.Path, "${") {
		at.at("path").Mistake("must begin with /: it is put behind base_url as it is; write /%s", r.Path)
	}
	for key, value := range r.Headers {
		at.at("headers", key).text(value, names)
	}
	for key, value := range r.Query {
		at.at("query", key).text(key, names)
		at.at("query", key).text(value, names)
	}
	if r.JSON != nil {
		checkBody(at, r, names)
	}
	if r.GraphQL == nil {
		if _, member := r.JSON[r.Filter]; r.JSON != nil && r.Filter != "" && r.Filter != "query" && !member {
			at.at("filter").Mistake("must be query, or a member of json; add %s: {} there", r.Filter)
		} else if r.JSON == nil && r.Filter != "" && r.Filter != "query" {
			at.at("filter").Mistake("must be query where there is no graphql or json")
		}
		return
	}
	query := at.at("graphql", "query")
	if strings.Contains(r.GraphQL.Query, "${") {
		query.Mistake("${name} is not replaced in a query; pass it as a variable")
	}
	if r.Method == "GET" {
		at.at("method").Mistake("a GraphQL query is sent with POST")
	}
	at.at("graphql", "variables").values(r.GraphQL.Variables, names)
	var operations []string
	for _, found := range operationForm.FindAllStringSubmatch(r.GraphQL.Query, -1) {
		operations = append(operations, found[1])
	}
	switch one := r.GraphQL.Operation; {
	case one == "" && len(operations) > 1:
		query.Mistake("has several operations; name the one that is meant under operation: %s", strings.Join(operations, ", "))
	case one != "" && !slices.Contains(operations, one):
		at.at("graphql", "operation").Mistake("the query has no operation %q; %s", one, strictyaml.Suggest(one, operations))
	}
	if r.Filter == "" {
		return
	}
	if declared, _ := regexp.MatchString(`\$`+regexp.QuoteMeta(r.Filter)+`\s*:`, r.GraphQL.Query); !declared {
		at.at("filter").Mistake("the query has no variable $%s", r.Filter)
	}
}

// checkBody checks a body that is JSON and not GraphQL.
func checkBody(at place, r Request, names []string) {
	if r.GraphQL != nil {
		at.at("json").Mistake("a request has one body, and graphql is one; take out one of the two")
	}
	if r.Method == "GET" {
		at.at("method").Mistake("a body is sent with POST")
	}
	at.at("json").values(r.JSON, names)
}

// operationForm finds the names of a query's operations.
var operationForm = regexp.MustCompile(`(?m)^\s*(?:query|mutation|subscription)\s+(\w+)`)

// values checks the ${names} in all keys and texts of a value.
func (p place) values(value any, names []string) {
	switch v := value.(type) {
	case string:
		p.text(v, names)
	case []any:
		for i, item := range v {
			p.at(strconv.Itoa(i)).values(item, names)
		}
	case map[string]any:
		for key, item := range v {
			p.at(key).text(key, names)
			p.at(key).values(item, names)
		}
	}
}
