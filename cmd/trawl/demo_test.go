package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/deliver"
	"github.com/trawlsec/trawl/internal/engine"
	"github.com/trawlsec/trawl/internal/fetch"
)

// demoState is a status and a tally like those of a demo that has run a while.
func demoState(t *testing.T) (engine.Status, *tally) {
	t.Helper()
	feed := func(source string, state collect.State, reason string) engine.FeedStatus {
		return engine.FeedStatus{Status: collect.Status{Connection: "demo-wiz", Source: source, State: state, Reason: reason}}
	}
	s := engine.Status{
		Running:     true,
		Feeds:       []engine.FeedStatus{feed("audit", collect.StateIdle, ""), feed("issues", collect.StateRetrying, strings.Repeat("a long reason ", 20))},
		Connections: []engine.ConnectionStatus{{Name: "demo-wiz", Product: "wiz", Answers: engine.Answers{fetch.OK: 40}}},
		Outputs:     []engine.OutputStatus{{Status: deliver.Status{Output: "documents", State: deliver.StateOK, Documents: 600}}},
	}
	all := newTally()
	for i := range 300 {
		minute := (i * 7) % 60 // not in the order of time
		for _, source := range []string{"wiz/audit", "wiz/issues"} {
			line := fmt.Sprintf(`{"@timestamp":"2026-01-01T10:%02d:00.%03dZ","event":{"action":"action-%d"},"user":{"name":"Søren 日本 %s"},"trawl":{"uid":"%s-%d","source":%q}}`,
				minute, i, i%30, strings.Repeat("x", 100), source, i, source)
			if err := all.add([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s, all
}

func TestFrameFits(t *testing.T) {
	t.Parallel()
	s, full := demoState(t)
	for _, all := range []*tally{full, newTally()} {
		for _, width := range []int{20, 80, 100, 160} {
			step := 1
			if underRace {
				step = 4
			}
			for height := 1; height <= 60; height += step {
				for _, colour := range []bool{false, true} {
					lines := frame(s, all, width, height, colour)
					if len(lines) > height {
						t.Fatalf("%d lines on a screen of %d", len(lines), height)
					}
					for _, line := range lines {
						if n := visible(line); n > width {
							t.Fatalf("%d characters on a screen of %d: %s", n, width, line)
						}
					}
					text := strings.Join(lines, "\n")
					if height >= 3 && (!strings.Contains(text, "demo-wiz/audit") || !strings.Contains(text, "demo-wiz/issues")) {
						t.Fatalf("at %dx%d the feeds are not there:\n%s", width, height, text)
					}
				}
			}
		}
	}
}

func TestFrameFills(t *testing.T) {
	t.Parallel()
	s, all := demoState(t)
	for _, height := range []int{24, 30, 45} {
		lines := frame(s, all, 100, height, false)
		if len(lines) < height-1 {
			t.Errorf("%d lines on a screen of %d", len(lines), height)
		}
		text := strings.Join(lines, "\n")
		for _, want := range []string{"Trawl demo", "demo-wiz/audit", "wiz answered: ok 40", "600 delivered", "more kinds", "NEWEST"} {
			if !strings.Contains(text, want) {
				t.Errorf("at height %d there is no %q in\n%s", height, want, text)
			}
		}
	}
}

func TestNewestByTime(t *testing.T) {
	t.Parallel()
	_, all := demoState(t)
	if len(all.last) != mostShown {
		t.Fatalf("%d documents are kept", len(all.last))
	}
	for i := range all.last[1:] {
		if all.last[i+1].at.Before(all.last[i].at) {
			t.Fatalf("%s is before %s", all.last[i+1].at, all.last[i].at)
		}
	}
	// Five records of each source fall into each minute.
	if first, last := all.last[0].at, all.last[mostShown-1].at; last.Minute() != 59 || first.Minute() != 56 {
		t.Errorf("the newest are from %s to %s", first, last)
	}
}

// TestProgressLine: a feed that is not well is named in it, shortly.
func TestProgressLine(t *testing.T) {
	t.Parallel()
	s, _ := demoState(t)
	line := progressLine(s, 10*time.Second)
	if !strings.HasPrefix(line, "0 of 2 feeds read   0 records   600 delivered (60/s)   0 pages pending   10s   demo-wiz/issues retrying: a long reason") || len(line) > 300 {
		t.Error(line)
	}
	s.Feeds[1].State = collect.StateCollecting
	if line := progressLine(s, time.Second); strings.Contains(line, "issues") {
		t.Error(line)
	}
}
