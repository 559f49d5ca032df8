package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/pagelog"
	"github.com/trawlsec/trawl/internal/saassim/wiz"
)

// TestPushBesideAnother: what comes by itself is taken only by the process that
// collects the connection, since no other knows what that one has read; and
// while a file is imported where nothing runs, nobody else collects.
func TestPushBesideAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	w.timing.lease = heldLease
	p := parts{top: "log: {url: '" + cluster(t) + "'}", sources: "{audit: {start: 25h, interval: 100ms}, issues: {start: 25h}}"}
	options := w.options()
	options.Offline = true
	offline, err := Open(t.Context(), w.config(p), options) // before anything was read
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := offline.Close(); err != nil {
			t.Error(err)
		}
	}()
	first := w.open(p)
	w.timing.lease = 9 * time.Second // looks at it three times in that
	second := w.open(p)
	stop := w.start(first)
	w.until(first, "all collected", func(s Status) bool { return s.Feeds[0].Counts.Records == 300 })
	w.start(second)
	w.until(second, "stands by", states(collect.StateStandby, collect.StateStandby))
	record := []byte(`{"id":"pushed","timestamp":"2026-01-02T03:04:05Z","action":"Login"}`)
	for name, e := range map[string]*Engine{"standby": second, "offline": offline} {
		if pushed, err := e.Push(t.Context(), "wiz-prod/audit", [][]byte{record}, false); !errors.Is(err, ErrStandby) {
			t.Errorf("%s: %+v, %v", name, pushed, err)
		}
	}
	if pushed, err := first.Push(t.Context(), "wiz-prod/audit", [][]byte{record}, false); err != nil || pushed.New != 1 {
		t.Errorf("where it is collected: %+v, %v", pushed, err)
	}

	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.until(second, "took over", func(Status) bool { return second.connections[0].holding() == here })
	if pushed, err := second.Push(t.Context(), "wiz-prod/audit", [][]byte{record}, false); err != nil || pushed != (collect.Pushed{Known: 1}) {
		t.Errorf("after taking over: %+v, %v", pushed, err)
	}
}

// TestPushWhereNothingRuns: an import knows what was collected since it opened
// the log, and has the connection until it ends.
func TestPushWhereNothingRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	w.timing.lease, w.timing.patience = heldLease, time.Second
	p := parts{top: "log: {url: '" + cluster(t) + "'}", sources: "{audit: {start: 25h}}"}
	options := w.options()
	options.Offline = true
	offline, err := Open(t.Context(), w.config(p), options)
	if err != nil {
		t.Fatal(err)
	}
	w.timing.lease = 6 * time.Second // and a little more, for which Once waits
	e := w.open(p)
	if err := e.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	var records [][]byte
	err = e.log.Pages(t.Context(), pagelog.Feed{Connection: "wiz-prod", Source: "audit"}, 0, func(p pagelog.Page) error {
		for _, r := range p.Records {
			records = append(records, []byte(string(r)))
		}
		return nil
	})
	if err != nil || len(records) != 300 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	for range 2 {
		if pushed, err := offline.Push(t.Context(), "wiz-prod/audit", records, true); err != nil || pushed != (collect.Pushed{Known: 300}) {
			t.Errorf("%+v, %v", pushed, err)
		}
	}
	if err := e.Once(t.Context()); err == nil || !strings.Contains(err.Error(), "another trawl collects it") {
		t.Errorf("Once during an import: %v", err)
	}
	if err := offline.Close(); err != nil {
		t.Fatal(err)
	}
	w.timing.lease = heldLease
	if err := w.open(p).Once(t.Context()); err != nil {
		t.Errorf("Once after it: %v", err)
	}
}
