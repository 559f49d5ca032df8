package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConnectFindsWrongPaths asks an API that does not answer as the catalogue
// says, and wants to be told which path is wrong.
func TestConnectFindsWrongPaths(t *testing.T) {
	t.Parallel()
	products, err := filepath.Abs("testdata/products")
	if err != nil {
		t.Fatal(err)
	}
	counting := t.TempDir() // the same, of an API that counts
	if err := os.CopyFS(counting, os.DirFS(products)); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(counting, "acme", "events.yaml")
	text, err := os.ReadFile(source)
	if err == nil {
		err = os.WriteFile(source, []byte(strings.Replace(string(text), "  more: has_more\n", "  more: has_more\n  total: count\n", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	const one, two = `{"id":"1","at":"2026-01-31T09:00:00Z"}`, `{"id":"2","at":"2026-01-31T09:00:01Z"}`
	for _, test := range []struct {
		name, want          string
		first, second, both string // the answers to the first page, to the next one, and to a page of two
		total               bool   // whether the catalogue says where the number of records stands
	}{
		{name: "right", first: `{"items":[` + one + `],"has_more":true,"next_cursor":"c"}`, second: `{"items":[` + two + `],"has_more":false}`, want: "every feed connects"},
		{name: "quiet", first: `{"items":[],"has_more":false}`, want: "every feed connects"},
		{name: "one", first: `{"items":[` + one + `],"has_more":false}`, both: `{"items":[` + one + `],"has_more":false}`, want: "every feed connects"},
		{name: "no id", first: `{"items":[{"uid":"1"}],"has_more":false}`, want: "no id at id (record.id of acme/events)"},
		{name: "no time", first: `{"items":[{"id":"1","time":"2026"}],"has_more":false}`, want: "no time at at (record.time of acme/events)"},
		{name: "no cursor", first: `{"items":[` + one + `],"has_more":true,"cursor":"c"}`, want: `no cursor stands at "next_cursor"`},
		{name: "the same again", first: `{"items":[` + one + `],"has_more":true,"next_cursor":"c"}`, second: `{"items":[` + one + `],"has_more":true,"next_cursor":"c"}`, want: "the first one again"},
		{name: "not the last", first: `{"items":[` + one + `],"has_more":false}`, both: `{"items":[` + one + `,` + two + `],"has_more":false}`, want: "is taken for the last one"},
		{name: "total", total: true, first: `{"items":[` + one + `],"has_more":false,"count":1}`, both: `{"items":[` + one + `],"has_more":false,"count":1}`, want: "every feed connects"},
		{name: "no total", total: true, first: `{"items":[` + one + `],"has_more":false}`, want: `no number of records at "count" (paging.total of acme/events)`},
		{name: "no total where there is nothing", total: true, first: `{"items":[],"has_more":false}`, want: "every feed connects"},
		{name: "no records", first: `{"events":[],"has_more":false}`, want: "items"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				answer := test.first
				switch {
				case r.FormValue("cursor") != "":
					answer = test.second
				case r.FormValue("limit") == "2":
					answer = test.both
				}
				fmt.Fprint(w, answer)
			}))
			defer server.Close()
			catalogue := products
			if test.total {
				catalogue = counting
			}
			path := filepath.Join(t.TempDir(), "trawl.yaml")
			text := fmt.Sprintf("catalog_dir: %q\nconnections:\n  acme: {product: acme, settings: {api_url: %q, token: hush-hush}}\noutputs:\n  archive: {type: file, path: \"-\"}\n", catalogue, server.URL)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr strings.Builder
			status := run([]string{"check", "--connect", "-c", path}, strings.NewReader(""), &stdout, &stderr)
			good := strings.HasSuffix(stdout.String(), "; every feed connects\n")
			if good != (status == exitDone) || !good && !strings.HasSuffix(stdout.String(), "; feeds that do not connect: 1 of 1\n") {
				t.Errorf("status %d", status)
			}
			if !strings.Contains(stdout.String(), test.want) {
				t.Errorf("no %q in\n%s%s", test.want, stdout.String(), stderr.String())
			}
		})
	}
}
