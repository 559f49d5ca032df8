package ecs_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	catalogfiles "github.com/trawlsec/trawl/catalog"
	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
)

// TestGone: what is gone has a document with what all of its source have, and a
// key of its own for each time that it vanishes.
func TestGone(t *testing.T) {
	t.Parallel()
	c, err := catalog.Load(catalogfiles.FS)
	if err != nil {
		t.Fatal(err)
	}
	issues, err := c.Source("wiz/issues")
	if err != nil {
		t.Fatal(err)
	}
	m, err := ecs.Compile(issues, ecs.WithoutOriginal())
	if err != nil {
		t.Fatal(err)
	}
	after := time.Date(2026, 1, 30, 9, 0, 0, 0, time.UTC)
	at := after.Add(24*time.Hour + 123456789)
	record := ecs.GoneRecord("a \"b\"\n\xff", after, at)
	doc := m.Append(nil, record, ecs.Meta{Connection: "wiz-prod", Created: at, Ingested: at.Add(time.Second)})
	want := map[string]any{
		"@timestamp":  "2026-01-31T09:00:00.123456Z",
		"data_stream": map[string]any{"dataset": "wiz.issues"},
		"event": map[string]any{
			"action": "gone", "created": "2026-01-31T09:00:00.123456Z", "dataset": "Issues", "id": "a \"b\"\n\ufffd", "ingested": "2026-01-31T09:00:01.123456Z",
			"kind": "alert", "module": "wiz", "type": []any{"end"},
		},
		"message":  "a \"b\"\n\ufffd is no longer there",
		"observer": map[string]any{"vendor": "Wiz"},
		"trawl": map[string]any{
			"connection": "wiz-prod", "gone": map[string]any{"after": "2026-01-30T09:00:00.000000Z"}, "source": "wiz/issues",
			"uid": decode(t, string(doc)).(map[string]any)["trawl"].(map[string]any)["uid"],
		},
	}
	if diff := cmp.Diff(want, decode(t, string(doc))); diff != "" {
		t.Error(diff)
	}
	key := m.Key(record)
	if key.ID != "a \"b\"\n\ufffd" || !key.Time.Equal(at.Truncate(time.Microsecond)) {
		t.Errorf("key %+v", key)
	}
	seen := map[[16]byte]string{}
	for what, uid := range map[string][16]byte{
		"gone": key.UID, "gone later": m.Key(ecs.GoneRecord("a \"b\"\n\xff", after, at.Add(time.Second))).UID,
		"with another beginning": m.Key(append([]byte(" "), record...)).UID, "another gone": m.Key(ecs.GoneRecord("b", after, at)).UID, "there": m.Key([]byte(`{"id":"b"}`)).UID,
	} {
		if other, twice := seen[uid]; twice {
			t.Errorf("%s and %s have one key", what, other)
		}
		seen[uid] = what
	}
	if again := m.Key(ecs.GoneRecord("a \"b\"\n\xff", after, at)); again.UID != key.UID {
		t.Error("the same has two keys")
	}
}

// TestGoneOfAnyMapping: whatever a source gives by itself, its gone documents
// say that they are.
func TestGoneOfAnyMapping(t *testing.T) {
	t.Parallel()
	src := acme(catalog.Mapping{Constants: map[string]any{"event.action": "seen", "event.type": []any{"info"}, "message": "there", "event.kind": "asset", "acme.x": 1}})
	src.Kind = "state"
	m, err := ecs.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 31, 9, 0, 0, 0, time.UTC)
	doc := decode(t, string(m.Append(nil, ecs.GoneRecord("x", at, at), ecs.Meta{}))).(map[string]any)
	event := doc["event"].(map[string]any)
	if event["action"] != "gone" || event["kind"] != "asset" || doc["message"] != "x is no longer there" || fmt.Sprint(doc["acme"]) != "map[x:1]" || doc["error"] != nil {
		t.Errorf("%v", doc)
	}
}
