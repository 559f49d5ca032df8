package main

import (
	gobytes "bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// read is a file of the scenario.
func (s *scenario) read(name string) []byte {
	s.t.Helper()
	text, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// says waits until `trawl status` says all of the texts.
func (s *scenario) says(texts ...string) {
	s.t.Helper()
	out := ""
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("when waiting for %q the last status was:\n%s", texts, out)
		}
	})
	until(s.t, fmt.Sprintf("status says %q", texts), func() bool {
		_, out, _ = s.trawl("status")
		out = strings.Join(strings.Fields(out), " ")
		for _, text := range texts {
			if !strings.Contains(out, text) {
				return false
			}
		}
		return true
	})
}

// inTheWay makes a file where an output needs a folder, until it is called.
func (s *scenario) inTheWay(name string) (away func()) {
	s.t.Helper()
	s.write(name, "")
	return func() {
		s.t.Helper()
		if err := os.Remove(s.path(name)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestOutputIsDead: an output that fails delays neither collection nor the
// other output, says so, and when it is back gets everything in the same order.
func TestOutputIsDead(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{
		sources: "{audit: {start: 25h, interval: 200ms, page_size: 100}, issues: {start: 25h, interval: 200ms, page_size: 100}}",
		outputs: "{alive: {type: file, path: events.ndjson}, dead: {type: file, path: there/events.ndjson}}",
	})
	s.tenant.AddAudit(saassim.Batch{N: 500})
	s.tenant.AddIssues(saassim.Batch{N: 50})
	mend := s.inTheWay("there")
	p := s.start(nil, "run")
	until(t, "the other output has all", func() bool { return s.delivered() == 550 })
	s.says("dead retrying 0", "dead: open output dead:", "file exists; it has been failing for", "; what it lacks stays in the log", "alive ok 550 0 0")
	s.tenant.AddAudit(saassim.Batch{N: 100, From: s.now().Add(-time.Minute)})
	until(t, "the other output has what is new", func() bool { return s.delivered() == 650 })
	mend()
	until(t, "it has all", func() bool { return countLines(t, s.path("there/events.ndjson")) == 650 })
	s.says("dead ok 650 0 0")
	if !gobytes.Equal(s.read("events.ndjson"), s.read("there/events.ndjson")) {
		t.Error("the outputs differ")
	}
	p.signal(syscall.SIGTERM)
	p.wantEnd(0, stopLimit)
	s.wantAll()
}

// TestLogIsFull: collection waits, everyone can see it, and once the output is
// back everything is delivered, once.
func TestLogIsFull(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{
		top:     "listen: " + anyPort + "\nlog: {max_bytes: 1MiB, max_age: 1s}",
		sources: "{audit: {start: 25h, interval: 200ms, overlap: 100ms, revisit: [], page_size: 500}}",
		outputs: "{archive: {type: file, path: there/events.ndjson}}",
	})
	s.tenant.AddAudit(saassim.Batch{N: 9000, From: s.now().Add(-24 * time.Hour), To: s.now().Add(-time.Hour)})
	mend := s.inTheWay("there")
	p := s.start(nil, "run")
	address := p.address()
	get := func(path string) string {
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + address + path)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return fmt.Sprintf("%d %s %v", resp.StatusCode, body, err)
	}
	s.says("wiz-prod/audit full", "wiz-prod/audit: the log is full: an output is behind", "archive retrying 0")
	for path, wants := range map[string][]string{
		"/healthz": {"503 ", `"name":"wiz-prod/audit","state":"full","reason":"the log is full:`, `"name":"archive","state":"retrying","reason":"open output archive:`, `"pending_pages":`},
		"/metrics": {`trawl_feed_state{connection="wiz-prod",source="audit",state="full"} 1`, `trawl_output_state{output="archive",state="retrying"} 1`,
			`trawl_log_max_bytes 1.048576e+06`, `trawl_delivered_total{output="archive"} 0`},
	} {
		body := get(path)
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s does not have %s:\n%s", path, want, body)
			}
		}
	}
	requests := s.requests()["auditLogEntries"]
	mend()
	until(t, "all is delivered", func() bool { return countLines(t, s.path("there/events.ndjson")) == 9000 })
	s.says("wiz-prod/audit ok", "archive ok")
	if more := s.requests()["auditLogEntries"]; more <= requests {
		t.Errorf("%d requests while the log was full, %d in all: it was not full", requests, more)
	}
	p.signal(syscall.SIGTERM)
	p.wantEnd(0, stopLimit)
	wantExactly(t, s.path("there/events.ndjson"), s.tenant)
}
