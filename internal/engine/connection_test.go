package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/wiz"
)

// TestRefusedCredential: it stops all feeds of the connection, which try again
// together after a while and go on once it is mended.
func TestRefusedCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	w.timing.retry = 300 * time.Millisecond
	w.faults("signin401")
	e := w.open(parts{})
	stop := w.start(e)
	s := w.until(e, "both feeds refused", states(collect.StateAuth, collect.StateAuth))
	if s.Healthy() {
		t.Error("healthy")
	}
	if r := s.Feeds[0].Reason + s.Feeds[1].Reason; !strings.Contains(r, "check client_id and client_secret") {
		t.Errorf("reasons: %s", r)
	}
	w.until(e, "three tries", func(s Status) bool { return s.Connections[0].Answers[fetch.Auth] >= 3 })
	w.faults("")
	s = w.until(e, "all delivered", func(s Status) bool { return s.Healthy() && s.Outputs[0].Documents == 330 })
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	w.wantAll("events.ndjson", 1)
	n, refused := strings.Count(w.log.String(), "connection stopped: its credential was refused"), s.Connections[0].Answers[fetch.Auth]
	if n < 2 || n > int(refused) {
		t.Errorf("of %d refusals it was told %d times", refused, n)
	}
}

// TestPatience: a refusal that was a mishap is over soon, one that stays is
// tried again rarely.
func TestPatience(t *testing.T) {
	t.Parallel()
	p := patience{most: 16 * time.Minute}
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 16, 16} {
		if got := p.next(time.Second); got != want*time.Minute {
			t.Errorf("waits %s, want %d minutes", got, want)
		}
	}
	if got := p.next(time.Hour); got != time.Minute {
		t.Errorf("waits %s after an hour of work", got)
	}
}

// TestPersonWakes: a change of a feed by a person makes stopped feeds try at
// once, where they would have waited.
func TestPersonWakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	w.faults("signin401")
	e := w.open(parts{})
	w.start(e)
	w.until(e, "both feeds refused", states(collect.StateAuth, collect.StateAuth))
	w.faults("")
	if err := e.Change(t.Context(), "wiz-prod/issues", "resume", time.Time{}); err != nil {
		t.Fatal(err)
	}
	w.until(e, "all delivered", func(s Status) bool { return s.Healthy() && s.Outputs[0].Documents == 330 })
}

// TestStoppedFeed: a request that the API refuses is asked once, stops no
// other feed, and is asked again when a person says so.
func TestStoppedFeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	e := w.open(parts{sources: "{audit: {start: 25h, interval: 50ms, filter: {nonsense: [x]}}, issues: {start: 25h, interval: 50ms}}"})
	w.start(e)
	s := w.until(e, "audit stopped, issues read", func(s Status) bool {
		return s.Feeds[0].State == collect.StateStopped && s.Outputs[0].Documents == 30 && s.Feeds[1].Requests > 5
	})
	if r := s.Feeds[0].Reason; !strings.Contains(r, "query TrawlAuditLog") || !strings.Contains(r, `field "nonsense" is not defined`) {
		t.Errorf("reason: %s", r)
	}
	if n := w.asked(400); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	for _, c := range []struct {
		verb string
		want collect.State
	}{{"pause", collect.StatePaused}, {"resume", collect.StateStopped}} {
		if err := e.Change(t.Context(), "wiz-prod/audit", c.verb, time.Time{}); err != nil {
			t.Fatal(err)
		}
		w.until(e, "audit is "+string(c.want), func(s Status) bool { return s.Feeds[0].State == c.want })
	}
	if n := w.asked(400); n != 2 {
		t.Errorf("it was asked %d times", n)
	}
}

// TestStoppedFeedAgain: a refusal may have come from what stands between, so
// the feed is tried again without anybody's help.
func TestStoppedFeedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	w.timing.retry = 300 * time.Millisecond
	e := w.open(parts{sources: "{audit: {start: 25h, interval: 50ms, filter: {nonsense: [x]}}}"})
	w.start(e)
	w.until(e, "three tries", func(s Status) bool { return s.Connections[0].Answers[fetch.Permanent] >= 3 })
}

// TestForbiddenFeed: a missing scope concerns its feed only, which goes on once
// the scope is there.
func TestForbiddenFeed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{Scopes: []string{wiz.ScopeIssues}})
	w.timing.retry = 100 * time.Millisecond
	e := w.open(parts{})
	w.start(e)
	s := w.until(e, "audit forbidden, issues read", func(s Status) bool {
		return s.Feeds[0].State == collect.StateForbidden && s.Feeds[1].Healthy() && s.Outputs[0].Documents == 30
	})
	if r := s.Feeds[0].Reason; !strings.Contains(r, wiz.ScopeAudit) {
		t.Errorf("reason: %s", r)
	}
	w.until(e, "it is tried again", func(s Status) bool { return s.Connections[0].Answers[fetch.Forbidden] > 2 })
}

// cluster is a NATS server for logs that several engines share.
func cluster(t *testing.T) (url string) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("no server")
	}
	return s.ClientURL()
}

// heldLease is one that its holder does not lose, however busy the machine.
const heldLease = time.Minute

// TestLease: of two engines on one log one collects, the other stands by and
// takes over, and nothing enters the log twice.
func TestLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	w.timing.lease, w.timing.patience = heldLease, time.Second
	p := parts{top: "log: {url: '" + cluster(t) + "'}"}
	first := w.open(p)
	w.timing.lease = 3 * time.Second // for which the others wait
	second := w.open(p)
	stop := w.start(first)
	w.until(first, "all collected", func(s Status) bool { return s.Feeds[0].Counts.Records+s.Feeds[1].Counts.Records == 330 })
	if err := second.Once(t.Context()); !errors.Is(err, pagelog.ErrHeld) || !strings.Contains(err.Error(), "another trawl collects it") {
		t.Errorf("Once beside another: %v", err)
	}
	third := w.open(p)
	stopThird := w.start(third)
	s := w.until(third, "stands by", states(collect.StateStandby, collect.StateStandby))
	if !s.Feeds[0].Healthy() {
		t.Error("standing by is not healthy")
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	w.tenant.AddAudit(saassim.Batch{N: 50, From: time.Now().Add(-time.Minute)})
	w.until(third, "took over", func(s Status) bool { return s.Feeds[0].Counts.Records+s.Feeds[1].Counts.Records == 380 })
	if err := stopThird(); err != nil {
		t.Logf("Run: %v", err)
	}
	twice := map[uint64]int{}
	for _, source := range []string{"audit", "issues"} {
		err := third.log.Headers(t.Context(), pagelog.Feed{Connection: "wiz-prod", Source: source}, func(p pagelog.Page) error {
			for _, h := range p.Hashes {
				twice[h]++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(twice) != 380 {
		t.Errorf("%d records are in the log, want 380", len(twice))
	}
	for h, n := range twice {
		if n > 1 {
			t.Errorf("record %x is in the log %d times", h, n)
		}
	}
}

// TestOnceWaitsForDeadHolder: a lease whose holder died is waited for.
func TestOnceWaitsForDeadHolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	url := cluster(t)
	dead, err := pagelog.Open(t.Context(), pagelog.Options{URL: url, Logger: w.options().Logger})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dead.Lease(t.Context(), "connection/wiz-prod", 2*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := dead.Close(); err != nil { // gives back nothing
		t.Fatal(err)
	}
	if err := w.open(parts{top: "log: {url: '" + url + "'}"}).Once(t.Context()); err != nil {
		t.Errorf("Once: %v", err)
	}
	w.wantAll("events.ndjson", 1)
}

// TestLostLease: when another takes the lease, the feeds stop until it is free.
func TestLostLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	w.timing.lease = 6 * time.Second
	e := w.open(parts{})
	w.start(e)
	w.until(e, "all collected", func(s Status) bool { return s.Outputs[0].Documents == 330 })
	lost := func() int { return strings.Count(w.log.String(), "connection's lease was lost") }
	before := lost() // none, unless the machine slept
	steal(t, e)
	w.until(e, "it noticed", func(Status) bool { return lost() > before })
	w.tenant.AddAudit(saassim.Batch{N: 10, From: time.Now().Add(-time.Minute)})
	w.until(e, "it has the lease again", func(s Status) bool { return s.Outputs[0].Documents == 340 })
	w.wantAll("events.ndjson", 1)
}

// steal writes another holder into the lease's entry.
func steal(t *testing.T, e *Engine) {
	t.Helper()
	const key = "lease/connection/wiz-prod"
	for {
		_, rev, err := e.log.State(t.Context(), key)
		if err == nil {
			_, err = e.log.PutState(t.Context(), key, []byte(`{"by":"another","id":"another","ttl":500000000}`), rev)
		}
		if errors.Is(err, pagelog.ErrConflict) {
			continue // it was renewed in between
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
}

// TestAnswersAreCounted by source and by connection.
func TestAnswersAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	w.faults("throttle=1x:10ms")
	e := w.open(parts{})
	if err := e.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := e.Status(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	all, feeds := s.Connections[0].Answers, s.Feeds[0].Requests+s.Feeds[1].Requests
	if all[fetch.Throttle] != 1 || s.Feeds[0].Throttles+s.Feeds[1].Throttles != 1 || all[fetch.OK] < feeds || all.total() != feeds+1 {
		t.Errorf("answers %v; of feeds %d", all, feeds)
	}
}
