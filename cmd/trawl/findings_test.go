package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/wiz"
)

// findingSources are read in small pages, so that there are many.
const findingSources = "{vulnerabilities: {start: 25h, page_size: 70}, configuration_findings: {start: 25h, page_size: 40}, detections: {start: 25h, page_size: 30}}"

// finding is what is compared of the document of one.
type finding struct {
	Time  time.Time `json:"@timestamp"`
	Event struct{ ID, Action string }
	Error struct{ Message string }
	Trawl struct{ Source, UID, Severity string }
	Wiz   struct {
		Detection struct {
			Type   string
			Events struct {
				Total     int
				Truncated bool
				List      []struct{ ID string }
			}
		}
	}
}

// findings are the documents of the output file.
func (s *scenario) findings() []finding {
	s.t.Helper()
	return readDocuments[finding](s)
}

// wantFindings compares what was delivered with everything that existed: each
// finding, in the state that it is in now, and each detection with all of its
// events.
func (s *scenario) wantFindings() {
	s.t.Helper()
	s.wantAll()
	latest, types := map[string]finding{}, map[string]int{}
	for _, f := range s.findings() {
		if f.Error.Message != "" || f.Trawl.Severity == "" {
			s.t.Errorf("%s %s: %q, severity %q", f.Trawl.Source, f.Event.ID, f.Error.Message, f.Trawl.Severity)
		}
		key := f.Trawl.Source + " " + f.Event.ID
		if !f.Time.Before(latest[key].Time) {
			latest[key] = f
		}
		types[f.Wiz.Detection.Type]++
	}
	if types["MATCH_ONLY"] == 0 || types["GENERATED_THREAT"] == 0 {
		s.t.Errorf("documents by type of detection: %v", types)
	}
	for t := range s.tenant.Truth() {
		if got := latest[t.Source+" "+t.ID]; t.ReplacedAt.IsZero() && !got.Time.Equal(t.Time) {
			s.t.Errorf("%s %s is of %s, delivered is one of %s", t.Source, t.ID, t.Time, got.Time)
		}
	}
	most := 0
	for id, want := range s.tenant.Events() {
		events := latest["wiz/detections "+id].Wiz.Detection.Events
		var got []string
		for _, e := range events.List {
			got = append(got, e.ID)
		}
		if d := cmp.Diff(want, got); d != "" || events.Truncated || events.Total != len(want) {
			s.t.Errorf("detection %s: %d events, truncated %v (-want +got)\n%s", id, events.Total, events.Truncated, d)
		}
		most = max(most, len(want))
	}
	if most < 120 {
		s.t.Errorf("the longest list of events has %d", most)
	}
}

// TestFindings: findings of all kinds are delivered in each state, detections of
// both types and with all of their events, and nothing is asked for twice that
// need not be.
func TestFindings(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]string{"calm": "", "chaos": "chaos"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, setup{tenant: wiz.Options{FindingCap: 100, DetectionCap: 150}, sources: findingSources})
			s.faults(faults)
			for source, n := range map[string]int{"vulnerabilities": 400, "configuration_findings": 300, "detections": 200} {
				if underRace {
					n /= 2
				}
				s.tenant.AddFindings(source, saassim.Batch{N: n})
			}
			if said := s.once(0); faults == "" && strings.Contains(said, "feed is not well") {
				t.Errorf("run --once said:\n%s", said)
			}
			s.wantFindings()

			asked := s.requests()["detection"]
			if asked == 0 {
				t.Error("no further page of events was asked for")
			}
			s.once(0)
			s.wantFindings()
			if again := s.requests()["detection"]; faults == "" && again != asked {
				t.Errorf("%d requests for events that were there already", again-asked)
			}

			for source, n := range map[string]int{"vulnerabilities": 60, "configuration_findings": 60, "detections": 40} {
				s.tenant.ChangeFindings(source, n)
				s.tenant.AddFindings(source, saassim.Batch{N: 20, From: s.now().Add(-time.Second), To: s.now()})
			}
			s.once(0)
			s.wantFindings()
			for _, r := range s.tenant.Requests() {
				if r.Operation == "detections" && !strings.Contains(string(r.Variables), `"MATCH_ONLY"`) {
					t.Errorf("detections were asked for without their types: %s", r.Variables)
				}
			}
		})
	}
}

// TestDetectionsGone: a detection that goes between the page that has it and the
// rest of its events is delivered with what there was, and says so.
func TestDetectionsGone(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{sources: "{detections: {start: 25h, page_size: 100}}"})
	s.tenant.AddFindings("detections", saassim.Batch{N: 60})
	s.after = func() {
		if s.requests()["detections"] == 1 {
			s.tenant.RemoveFindings("detections", 60)
		}
	}
	s.once(0)
	short := 0
	for _, f := range s.findings() {
		events, want := f.Wiz.Detection.Events, ""
		if events.Total > 20 {
			want = "triggeringEvents: has more elements than were read"
			short++
		}
		if f.Error.Message != want || len(events.List) != min(events.Total, 20) {
			t.Errorf("%q, %d events of %d", f.Error.Message, len(events.List), events.Total)
		}
	}
	if short == 0 {
		t.Error("no detection has many events")
	}
}

// TestFindingsGone: what cannot be asked for by time is read whole, and what is
// gone from it, or from the posture as a whole, is told once.
func TestFindingsGone(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{
		tenant:  wiz.Options{FindingCap: 60},
		sources: "{vulnerabilities: {start: 25h, snapshot: 10ms}, configuration_findings: {start: 25h, page_size: 40, snapshot: 10ms}, system_health_issues: {page_size: 20, snapshot: 10ms}}",
	})
	sources := []string{"vulnerabilities", "configuration_findings", "system_health_issues"}
	for _, source := range sources {
		s.tenant.AddFindings(source, saassim.Batch{N: 150})
	}
	s.once(0)
	s.wantAll()
	want := map[string]int{}
	for _, source := range sources {
		for _, id := range s.tenant.RemoveFindings(source, 20) {
			want["wiz/"+source+" "+id] = 1
		}
	}
	for range 3 {
		s.once(0)
	}
	s.wantAll()
	seen, got := map[string]bool{}, map[string]int{}
	for _, f := range s.findings() {
		key := f.Trawl.Source + " " + f.Event.ID
		if f.Event.Action == "gone" {
			got[key]++
		} else {
			seen[key] = true
		}
	}
	for key := range want {
		if !seen[key] {
			delete(want, key) // it was deleted, and so hidden, from the beginning
		}
	}
	if d := cmp.Diff(want, got); d != "" || len(want) < 50 {
		t.Errorf("of %d (-gone +told as gone)\n%s", len(want), d)
	}
}
