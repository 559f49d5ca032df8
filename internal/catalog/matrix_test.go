package catalog_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
)

const goodMatrix = `
matrix:
  collection: [api]
  attributes:
    all: {timestamp: created, username: [who.name, who.id], target_username: whom}
    authorization: {ip_address: ip, username: by}
  events:
    - category: authentication
      event_type: account_login
      match: {kind: login}
      attributes: {username: , failure_context: "reasons[].text"}
      examples: [login]
    - {category: authorization, event_type: create_user, match: {kind: {glob: new*}}}
    - {category: authentication, event_type: account_login, match: {kind: again}}
    - {category: activity_audit, event_type: read_resource}
`

// withMatrix loads the product with a matrix added to its source.
func withMatrix(t *testing.T, matrix string) (*catalog.Catalogue, error) {
	t.Helper()
	read := func(file string) string {
		text, err := os.ReadFile("testdata/acme/" + file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	return catalog.Load(fstest.MapFS{
		"acme/product.yaml":               {Data: []byte(read("product.yaml") + "collection:\n  - {id: api, name: API, about: Asked, references: []}\n")},
		"acme/events.yaml":                {Data: []byte(read("events.yaml") + matrix)},
		"acme/testdata/events/login.json": {Data: []byte("{}")},
	})
}

func TestMatrixResolved(t *testing.T) {
	t.Parallel()
	cat, err := withMatrix(t, goodMatrix)
	if err != nil {
		t.Fatal(err)
	}
	source, err := cat.Source("acme/events")
	if err != nil {
		t.Fatal(err)
	}
	login := map[string]catalog.Paths{"timestamp": {"created"}, "failure_context": {"reasons[].text"}}
	for i, want := range []map[string]catalog.Paths{
		login,
		{"timestamp": {"created"}, "username": {"by"}, "ip_address": {"ip"}, "target_username": {"whom"}},
		login,
		{"timestamp": {"created"}, "username": {"who.name", "who.id"}},
	} {
		if diff := cmp.Diff(want, source.Matrix.Resolved(i)); diff != "" {
			t.Errorf("event %d:\n%s", i, diff)
		}
	}
}

// TestMatrixMistakes makes one mistake after another.
func TestMatrixMistakes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ old, new, want string }{
		"collection":       {"[api]", "[apy]", `matrix.collection.0: "apy" is not known here; did you mean "api"?`},
		"no collection":    {"[api]", "[]", `matrix.collection: needs at least one`},
		"layer":            {"    authorization: {ip", "    authorisation: {ip", `matrix.attributes.authorisation: "authorisation" is not known here; did you mean "authorization"?`},
		"attribute":        {"{timestamp: created,", "{timestmp: created,", `matrix.attributes.all.timestmp: the matrix has no attribute "timestmp"; did you mean "timestamp"?`},
		"path":             {"{timestamp: created,", "{timestamp: 'a[b',", `matrix.attributes.all.timestamp: path "a[b":`},
		"no path":          {"[who.name, who.id]", "[]", `matrix.attributes.all.username: needs a path`},
		"category":         {"category: activity_audit", "category: activity", `matrix.events.3.category: "activity" is not known here; known: activity_audit, authentication`},
		"event type":       {"event_type: create_user", "event_type: create_usr", `matrix.events.1.event_type: "create_usr" is not known here; did you mean "create_user"?`},
		"wrong category":   {"event_type: create_user", "event_type: read_resource", `matrix.events.1.event_type: read_resource is not of category authorization, but of activity_audit`},
		"takes all":        {", match: {kind: again}", "", `matrix.events.2: without match it takes all records`},
		"empty condition":  {"{kind: again}", "{}", `matrix.events.2.match: an empty condition always holds`},
		"attributes again": {"match: {kind: again}", "match: {kind: again}, attributes: {}", `matrix.events.2.attributes: account_login has its attributes from event 1 of the list`},
		"for others":       {"failure_context:", "resource_name: x, failure_context:", `matrix.events.0.attributes.resource_name: is not for account_login; it is for create_resource`},
		"takes nothing":    {"{username: ,", "{session_id: ,", `matrix.events.0.attributes.session_id: takes nothing away: neither all nor authentication gives it`},
		"example":          {"[login]", "[logn]", `matrix.events.0.examples.0: there is no sample testdata/events/logn.json`},
		"undocumented":     {"examples: [login]", "examples: [login]\n      undocumented: true", `matrix.events.0.undocumented: an example documents it`},
		"unknown key":      {"examples: [login]", "sample: login", `matrix.events.0: unknown key "sample"`},
		"no events":        {goodMatrix, "\nmatrix: {collection: [api], events: []}\n", `matrix.events: needs at least one event`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(goodMatrix, tc.old) {
				t.Fatalf("no %q in the matrix", tc.old)
			}
			_, err := withMatrix(t, strings.Replace(goodMatrix, tc.old, tc.new, 1))
			var mistakes catalog.Mistakes
			if !errors.As(err, &mistakes) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v\nwant %s", err, tc.want)
			}
		})
	}
	_, err := catalog.Load(catalog.Dir("testdata"), fstest.MapFS{"acme/product.yaml": {Data: []byte(string(edited(t, "product.yaml", "links:", "collection:\n  - {id: a, name: A, about: a, references: []}\n  - {id: a, name: B, about: b, references: [{title: x, url: y}]}\nlinks:")))}})
	if err == nil || !strings.Contains(err.Error(), "collection.1.id: another way of collection has this id") || !strings.Contains(err.Error(), "collection.1.references.0.url: must be an address") {
		t.Errorf("collections: %v", err)
	}
}
