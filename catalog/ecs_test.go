package catalogfiles_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/ecsfields"
)

// The documents of all samples are ECS: each field outside the product's own
// has a name, a type and a value that the published schema knows.
func TestDocumentsAreECS(t *testing.T) {
	t.Parallel()
	for _, product := range load(t).Products() {
		files, err := fs.Glob(os.DirFS("."), product.ID+"/testdata/*/*.expected.json")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(filepath.FromSlash(file))
			if err != nil {
				t.Fatal(err)
			}
			var doc map[string]any
			if err := json.Unmarshal(text, &doc); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			for _, complaint := range oddFields(doc, product.ID) {
				t.Errorf("%s: %s", file, complaint)
			}
		}
	}
}

// oddFields says which fields of a document are not as ECS has them.
func oddFields(doc map[string]any, product string) []string {
	var odd []string
	var walk func(name string, value any)
	walk = func(name string, value any) {
		f, known := ecsfields.Find(name)
		if object, ok := value.(map[string]any); ok && !known {
			for key, member := range object {
				walk(strings.TrimPrefix(name+"."+key, "."), member)
			}
			return
		}
		root, _, _ := strings.Cut(name, ".")
		switch {
		case slices.Contains([]string{product, "trawl", "emm"}, root):
		case !known:
			odd = append(odd, name+" is no field of ECS")
		default:
			odd = append(odd, oddValue(name, f, value)...)
		}
	}
	walk("", doc)
	return append(odd, oddTypes(doc)...)
}

func oddValue(name string, f ecsfields.Field, value any) []string {
	list, isList := value.([]any)
	if f.List && !isList {
		return []string{name + " is no list"}
	}
	if !isList {
		list = []any{value}
	}
	var odd []string
	for _, item := range list {
		text, isText := item.(string)
		number, isNumber := item.(float64)
		fits := false
		switch f.Type {
		case "keyword":
			fits = isText && (f.Values == nil || slices.Contains(f.Values, text))
		case "ip":
			_, err := netip.ParseAddr(text)
			fits = err == nil
		case "date":
			_, err := time.Parse(time.RFC3339, text)
			fits = err == nil
		case "long":
			fits = isNumber && number == float64(int64(number))
		case "double":
			fits = isNumber
		case "boolean":
			_, fits = item.(bool)
		case "geo_point":
			point, _ := item.(map[string]any)
			_, lat := point["lat"].(float64)
			_, lon := point["lon"].(float64)
			fits = lat && lon && len(point) == 2
		case "object":
			_, fits = item.(map[string]any)
		}
		if !fits {
			odd = append(odd, fmt.Sprintf("%s: %v is no %s of ECS", name, item, f.Type))
		}
	}
	return odd
}

// oddTypes looks at how event.type goes with event.category.
func oddTypes(doc map[string]any) []string {
	event, _ := doc["event"].(map[string]any)
	categories, _ := event["category"].([]any)
	types, _ := event["type"].([]any)
	var odd []string
	for _, t := range types {
		if !slices.ContainsFunc(categories, func(c any) bool {
			return slices.Contains(ecsfields.EventTypes(fmt.Sprint(c)), fmt.Sprint(t))
		}) {
			odd = append(odd, fmt.Sprintf("event.type %v does not go with event.category %v", t, categories))
		}
	}
	return odd
}

// What is not ECS is found.
func TestOddFields(t *testing.T) {
	t.Parallel()
	var doc map[string]any
	if err := json.Unmarshal([]byte(`{
		"@timestamp": "2025-02-06", "acme": {"any": {}}, "emm": {"category": "x"}, "labels": {"a": "b"},
		"source": {"ip": "192.0.2.1:8", "port": 1.5, "adress": "x", "geo": {"location": {"lat": 1}}},
		"user": {"roles": "admin", "name": 7}, "event": {"category": ["iam"], "type": ["user", "start"], "outcome": "ok", "start": 5}}`), &doc); err != nil {
		t.Fatal(err)
	}
	got := oddFields(doc, "acme")
	slices.Sort(got)
	want := []string{
		"@timestamp: 2025-02-06 is no date of ECS",
		"event.outcome: ok is no keyword of ECS",
		"event.start: 5 is no date of ECS",
		"event.type start does not go with event.category [iam]",
		"source.adress is no field of ECS",
		"source.geo.location: map[lat:1] is no geo_point of ECS",
		"source.ip: 192.0.2.1:8 is no ip of ECS",
		"source.port: 1.5 is no long of ECS",
		"user.name: 7 is no keyword of ECS",
		"user.roles is no list",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
