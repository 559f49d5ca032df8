package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// brook is an API with a list by time and a stream: GET /v1/events?from=&to= and
// GET /v1/stream?position=. A position is a number beyond 2^53 or a text, by
// turns, and 0 where there is nothing new.
type brook struct {
	mu        sync.Mutex
	events    []time.Time
	forgotten int // positions up to it are refused
	asked     []string
}

func (b *brook) add(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range n {
		b.events = append(b.events, time.Now().UTC().Truncate(time.Millisecond))
	}
}

func (b *brook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	type event struct {
		ID string    `json:"id"`
		At time.Time `json:"at"`
	}
	answer := struct {
		Items []event `json:"items"`
		Next  any     `json:"next"`
	}{Items: []event{}}
	q := r.URL.Query()
	if r.URL.Path == "/v1/events" {
		from, _ := time.Parse(time.RFC3339, q.Get("from"))
		to, _ := time.Parse(time.RFC3339, q.Get("to"))
		for i, at := range b.events {
			if !at.Before(from) && at.Before(to) {
				answer.Items = append(answer.Items, event{fmt.Sprint(i), at})
			}
		}
		_ = json.NewEncoder(w).Encode(answer)
		return
	}
	const base = 9007199254740993 // 2^53 + 1
	position := q.Get("position")
	b.asked = append(b.asked, position)
	from := len(b.events)
	if position != "now" {
		var err error
		if from, err = strconv.Atoi(strings.TrimPrefix(position, "p-")); err != nil || from-base < b.forgotten || from-base > len(b.events) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"message": "no such position"}`)
			return
		}
		from -= base
	}
	to := min(from+10, len(b.events))
	for i := from; i < to; i++ {
		answer.Items = append(answer.Items, event{fmt.Sprint(i), b.events[i]})
	}
	switch {
	case from == to && position != "now":
		answer.Next = 0
	case to%20 < 10:
		answer.Next = json.Number(fmt.Sprint(base + to))
	default:
		answer.Next = fmt.Sprint("p-", base+to)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

const brookProduct = `product: brook
name: Brook
vendor: Brook Inc.
about: An API with a stream
settings:
  api_url: {about: Address of the API, type: url, required: true}
  token: {about: API token, required: true, secret: true}
base_url: [{value: "${api_url}"}]
auth: [{type: token, token: "${token}"}]
rate_limit: {requests_per_second: 1000, burst: 1000}
`

const brookEvents = `source: events
name: Events
about: What happened
kind: log
request: {method: GET, path: /v1/events, query: {from: "${since}", to: "${until}"}}
stream:
  request: {method: GET, path: /v1/stream, query: {position: "${cursor}"}}
  start: now
  keeps: 14d
  ignore: ["0"]
records: items
paging: {size: 10, max_size: 10, cursor: next, end: empty}
window: {fields: [at], layout: "2006-01-02T15:04:05.000Z", slack: 1s, interval: 1s, overlap: 10m, revisit: [1h]}
record: {id: id, time: [at]}
facts: {}
ecs: {constants: {event.kind: event}}
`

// TestStream: the program follows a stream over HTTP, byte for byte, from run
// to run; reads by time when its position is forgotten, and says so.
func TestStream(t *testing.T) {
	t.Parallel()
	dir, api := t.TempDir(), &brook{}
	server := httptest.NewServer(api)
	defer server.Close()
	config := filepath.Join(dir, "trawl.yaml")
	for path, text := range map[string]string{
		filepath.Join(dir, "catalog", "brook", "product.yaml"): brookProduct,
		filepath.Join(dir, "catalog", "brook", "events.yaml"):  brookEvents,
		config: fmt.Sprintf("listen: \"\"\ncatalog_dir: catalog\nconnections:\n  brook:\n    product: brook\n    settings: {api_url: %q, token: hush-hush}\n"+
			"    sources: {events: {start: 24h}}\noutputs:\n  archive: {type: file, path: events.ndjson}\n", server.URL),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trawl := func(args ...string) string {
		t.Helper()
		var stdout, stderr strings.Builder
		if status := run(append(args, "-c", config), strings.NewReader(""), &stdout, &stderr); status != exitDone {
			t.Fatalf("%v: status %d\n%s%s", args, status, stdout.String(), stderr.String())
		}
		return stdout.String() + stderr.String()
	}
	once := func(add int) string {
		t.Helper()
		api.add(add)
		out := trawl("run", "--once")
		written, err := os.ReadFile(filepath.Join(dir, "events.ndjson"))
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]int{}
		for line := range strings.Lines(string(written)) {
			var doc struct {
				Event struct {
					ID string `json:"id"`
				} `json:"event"`
			}
			if err := json.Unmarshal([]byte(line), &doc); err != nil {
				t.Fatal(err)
			}
			ids[doc.Event.ID]++
		}
		twice := slices.DeleteFunc(slices.Collect(maps.Values(ids)), func(n int) bool { return n == 1 })
		if len(ids) != len(api.events) || len(twice) > 0 {
			t.Fatalf("%d of %d events, %d more than once\n%s", len(ids), len(api.events), len(twice), out)
		}
		return out
	}

	once(35)
	once(0)
	once(47)
	once(33)
	once(0)
	want := "now 9007199254741028 9007199254741028" + // all by time; then nothing new, twice
		" 9007199254741028 9007199254741038 9007199254741048"
	if got := strings.Join(api.asked, " "); !strings.HasPrefix(strings.ReplaceAll(got, "p-", ""), want) || strings.Count(got, "now") != 1 || !strings.Contains(got, "p-") {
		t.Errorf("positions asked for: %s", got)
	}
	last := api.asked[len(api.asked)-1]
	if out := trawl("feed", "show", "brook/events"); !strings.Contains(out, "stream           "+last+", answered ") && !strings.Contains(out, `stream           "`+last+`", answered `) {
		t.Errorf("feed show has no position %s:\n%s", last, out)
	}

	api.forgotten = len(api.events) + 1
	if out := once(21); !strings.Contains(out, "in the stream is no good") || !strings.Contains(out, "no such position") {
		t.Errorf("nothing is said of the lost position:\n%s", out)
	}
	api.forgotten = 0
	once(21)
	out := trawl("feed", "show", "brook/events")
	for _, part := range []string{"position lost ", "no such position", "in its place ", " was read by time"} {
		if !strings.Contains(out, part) {
			t.Errorf("feed show lacks %q:\n%s", part, out)
		}
	}
	if strings.Contains(out, "hush-hush") {
		t.Error("a secret is shown")
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	for position, want := range map[string]string{
		"": "",
		`"1152922976252290886115292297625229088611"`: `"11529229762…90886115292297625229088611"`,
		"18446744073709551615":                       "18446744073709551615",
		`"https://acme.okta.com/api/v1/logs?since=2026-11-21T15%3A12&after=1763737964000_1"`: `"https://acm…3A12&after=1763737964000_1"`,
	} {
		if got := ends(position); got != want {
			t.Errorf("ends(%s) = %s, want %s", position, got, want)
		}
	}
}
