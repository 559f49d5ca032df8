package ecs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/ecs"
)

// FuzzAppend checks that whatever the record is, the document is one line of
// valid JSON without duplicate names, holds the record, has the uid of the
// record's key, and is the same a second time.
func FuzzAppend(f *testing.F) {
	files, err := filepath.Glob("../../catalog/*/testdata/*/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		record, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(record)
	}
	f.Add([]byte("{\"id\":\"\xff\",\"action\":{},\"timestamp\":[],\"sourceIP\":7,\"user\":\"x\",\"userAgent\":\"\\u0000\"}"))
	f.Add([]byte("{\"id\":\"a\x01b\",\"status\":\"\\x\",\"actionParameters\":{\"scopes\":[1e999,{}],\"error\":\"\n"))
	var mappers []*ecs.Mapper
	for _, source := range sources(f) {
		m, err := ecs.Compile(source)
		if err != nil {
			f.Fatal(err)
		}
		mappers = append(mappers, m)
	}
	meta := ecs.Meta{Connection: "wiz-prod", Created: time.Unix(1e9, 0), Ingested: time.Unix(1e9, 1000)}
	f.Fuzz(func(t *testing.T, record []byte) {
		for _, m := range mappers {
			raw := m.Append(nil, record, meta)
			if !jsontext.Value(raw).IsValid(jsontext.AllowInvalidUTF8(true)) || !utf8.Valid(raw) || bytes.ContainsAny(raw, "\r\n") {
				t.Fatalf("%q is not valid, or not one line", raw)
			}
			var doc struct {
				Event struct{ Original string }
				Trawl struct{ UID string }
			}
			if err := json.Unmarshal(raw, &doc); err != nil {
				t.Fatal(err)
			}
			if want := string([]rune(string(record))); doc.Event.Original != want {
				t.Fatalf("event.original is %q, want %q", doc.Event.Original, want)
			}
			uid := m.Key(record).UID
			if doc.Trawl.UID != fmt.Sprintf("%x", uid) {
				t.Fatalf("trawl.uid is %s, the key has %x", doc.Trawl.UID, uid)
			}
			if again := m.Append(nil, record, meta); string(again) != string(raw) {
				t.Fatalf("a second time\n%s\nafter\n%s", again, raw)
			}
		}
	})
}
