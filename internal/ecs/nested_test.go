package ecs_test

import (
	"testing"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
)

// TestUnread: a document says which lists of its record go on elsewhere.
func TestUnread(t *testing.T) {
	t.Parallel()
	source := acme(catalog.Mapping{Fields: map[string]catalog.Expr{"n": {From: []string{"events.nodes[].n"}, As: "long[]"}}})
	source.Nested = []catalog.Nested{{At: "events", More: "page.next"}}
	m, err := ecs.Compile(source)
	if err != nil {
		t.Fatal(err)
	}
	for events, want := range map[string]string{
		`{"nodes":[{"n":1}],"page":{"next":true}}`:  `{"error":{"message":"events: has more elements than were read"},"n":[1]}`,
		`{"nodes":[{"n":1}],"page":{"next":false}}`: `{"n":[1]}`,
		`{"nodes":[{"n":1}]}`:                       `{"n":[1]}`,
		`null`:                                      `{}`,
	} {
		if got := document(t, m, event(`"events":`+events)); got != want {
			t.Errorf("%s: got %s, want %s", events, got, want)
		}
	}
}
