package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// sinkProduct is a product that sends its records by itself.
const sinkProduct = `
product: acme
name: Acme
vendor: Acme
about: A product that sends its records
settings: {token: {about: Its token, required: true, secret: true}}
base_url: [{value: "https://acme.example"}]
auth: [{type: token, token: "${token}"}]
rate_limit: {requests_per_second: 1, burst: 1}
`

const sinkSource = `
source: audit
name: Audit log
about: What was done
kind: log
request: {method: GET, path: /audit, query: {since: "${since}", until: "${until}", cursor: "${cursor}"}}
records: records
paging: {size: 100, max_size: 100, cursor: next}
window: {fields: [at], layout: "2006-01-02T15:04:05Z", slack: 1s, interval: 5m, overlap: 10m}
record: {id: [id, log_id], time: [at]}
pushed: {about: An event sink}
facts: {}
ecs: {fields: {event.action: action}}
`

// TestIngest kills the process over and over while a product sends it records,
// each batch again until it is taken. In the end every record is delivered
// once, whatever the id was called.
func TestIngest(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{})
	s.mkdir("own/acme")
	s.write("own/acme/product.yaml", sinkProduct)
	s.write("own/acme/audit.yaml", sinkSource)
	s.write("token", "t0ken-of-the-sender")
	s.write("trawl.yaml", `
listen: `+anyPort+`
catalog_dir: own
connections: {acme-prod: {product: acme, sources: {audit: {pull: false, push: {bearer: "${file:token}"}}}}}
outputs: {archive: {type: file, path: events.ndjson}}
`)
	send := func(address, body string) (status int) {
		r, err := http.NewRequest("POST", "http://"+address+"/ingest/acme-prod/acme/audit", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer t0ken-of-the-sender")
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r.WithContext(t.Context()))
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); err != nil {
			return 0
		}
		return resp.StatusCode
	}
	const batches, size = 40, 25
	taken, addresses := make(chan struct{}), make(chan string)
	go func() {
		defer close(taken)
		address := ""
		for b := range batches {
			var body strings.Builder
			for i := range size {
				key := "id"
				if i%2 == 1 {
					key = "log_id"
				}
				fmt.Fprintf(&body, `{%q:"%d-%d","at":"2026-01-02T03:04:05Z","action":"x"}`+"\n", key, b, i)
			}
			for again := 0; again < 2; { // the second time it is all known
				switch send(address, body.String()) {
				case http.StatusOK:
					again++
				case 0: // nobody is there
					select {
					case address = <-addresses:
					case <-t.Context().Done():
						return
					}
				}
			}
		}
	}()
	var p *process
	for life := range 4 {
		p = s.start(nil, "run")
		select {
		case addresses <- p.address():
		case <-taken:
		}
		before := s.delivered()
		until(t, "more is delivered", func() bool { return s.delivered() > before+life*50 || s.delivered() == batches*size })
		if life < 3 {
			p.signal(syscall.SIGKILL)
			<-p.ended
		}
	}
	<-taken
	until(t, "all is delivered", func() bool { return s.delivered() >= batches*size })
	until(t, "the feed receives", func() bool {
		_, out, _ := s.trawl("status")
		return strings.Contains(out, "receiving")
	})
	p.signal(syscall.SIGTERM)
	p.wantEnd(0, stopLimit)
	seen := map[string]int{}
	for _, d := range s.documents() {
		event, _ := json.Marshal(d["event"])
		var e struct{ ID, Action string }
		if err := json.Unmarshal(event, &e); err != nil || e.Action != "x" {
			t.Fatalf("document %v", d)
		}
		seen[e.ID]++
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("record %s is there %d times", id, n)
		}
	}
	if len(seen) != batches*size {
		t.Errorf("%d records of %d", len(seen), batches*size)
	}
}
