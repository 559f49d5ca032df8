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

// TestConnectFollowsStream asks an API that has a stream beside its windows, and
// wants to be told what is wrong with either.
func TestConnectFollowsStream(t *testing.T) {
	t.Parallel()
	const record = `[{"uuid":"1","published":"2026-01-31T09:00:00.000Z"}]`
	for name, test := range map[string]struct {
		window, stream, position func(w http.ResponseWriter, next string) // the answers to a window, to a stream that begins, and to one that goes on
		want                     string
	}{
		"right":       {link(record), link(record), link(`[]`), "every feed connects"},
		"quiet":       {plain(`[]`), link(`[]`), link(`[]`), "every feed connects"},
		"no position": {plain(`[]`), plain(`[]`), link(`[]`), `the stream gives no position in its Link header as "next" (paging.link of okta/system_log)`},
		"refused":     {plain(`[]`), link(`[]`), refuse(`{"errorCode":"E0000031","errorSummary":"Invalid search criteria: bad cursor"}`), "okta/system_log page of the stream: HTTP 400: Invalid search criteria: bad cursor"},
		"elsewhere":   {plain(`[]`), elsewhere, link(`[]`), "a next page at https://evil.example, which is not followed"},
		"an object":   {plain(`{"events":[]}`), link(`[]`), link(`[]`), "the answer's records at . are no list"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				answer := test.stream
				switch {
				case r.Header.Get("Authorization") != "SSWS hush-hush" || r.URL.Path != "/api/v1/logs":
					w.WriteHeader(http.StatusUnauthorized)
					return
				case r.FormValue("after") != "" && r.FormValue("until") == "":
					answer = test.position
				case r.FormValue("until") != "" && r.FormValue("after") == "":
					answer = test.window
				case r.FormValue("until") != "":
					answer = plain(`[]`)
				}
				next := *r.URL
				query := next.Query()
				query.Set("after", "17000_1")
				next.RawQuery = query.Encode()
				answer(w, "http://"+r.Host+next.String())
			}))
			defer server.Close()
			path := filepath.Join(t.TempDir(), "trawl.yaml")
			text := fmt.Sprintf("connections:\n  okta: {product: okta, settings: {org_url: %q, api_token: hush-hush}}\noutputs:\n  archive: {type: file, path: \"-\"}\n", server.URL)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr strings.Builder
			status := run([]string{"check", "--connect", "-c", path}, strings.NewReader(""), &stdout, &stderr)
			if good := test.want == "every feed connects"; good != (status == exitDone) || !strings.Contains(stdout.String(), test.want) {
				t.Errorf("status %d, no %q in\n%s%s", status, test.want, stdout.String(), stderr.String())
			}
		})
	}
}

func plain(body string) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, _ string) { fmt.Fprint(w, body) }
}

func link(body string) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, next string) {
		w.Header().Add("Link", `</self>; rel="self"`)
		w.Header().Add("Link", "<"+next+`>; rel="next"`)
		fmt.Fprint(w, body)
	}
}

func refuse(body string) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, _ string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, body)
	}
}

func elsewhere(w http.ResponseWriter, _ string) {
	w.Header().Add("Link", `<https://evil.example/api/v1/logs?after=1>; rel="next"`)
	fmt.Fprint(w, `[]`)
}
