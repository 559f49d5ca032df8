package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/deliver"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/output"
	"github.com/trawlsec/trawl/internal/pagelog"
	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/wiz"
)

func TestOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	for range 2 {
		e := w.open(parts{})
		if err := e.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := e.Status(t.Context())
		if err != nil || !states(collect.StateIdle, collect.StateIdle)(s) || s.Outputs[0].PendingPages != 0 || s.Log.Pages == 0 {
			t.Errorf("status: %+v, %v", s, err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	w.wantAll("events.ndjson", 1)
}

// TestOnceStopped: Once that is stopped says so in plain words, and nothing is
// lost.
func TestOnceStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	w.faults("hang=1/3") // it can't come to an end
	e := w.open(parts{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.Once(ctx) }()
	w.until(e, "a page", func(s Status) bool { return s.Log.Pages > 0 })
	stop()
	if err := <-ended; !errors.Is(err, ErrStopped) || err.Error() != ErrStopped.Error() {
		t.Errorf("Once: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	w.faults("")
	if err := w.open(parts{}).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantAll("events.ndjson", 1)
}

// TestOnceStoppedInTrouble: stopped while a feed fails, it says which and why.
func TestOnceStoppedInTrouble(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	w.faults("error503")
	e := w.open(parts{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.Once(ctx) }()
	w.until(e, "trouble", states(collect.StateRetrying, collect.StateRetrying))
	stop()
	if err := <-ended; !errors.Is(err, ErrStopped) || !strings.Contains(err.Error(), "feed wiz-prod/issues: attempt ") || !strings.Contains(err.Error(), "HTTP 503") {
		t.Errorf("Once: %v", err)
	}
}

// TestOnceTakesNoChanges: they are refused, not kept waiting.
func TestOnceTakesNoChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	w.faults("hang")
	e := w.open(parts{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.Once(ctx) }()
	w.until(e, "collecting", states(collect.StateCollecting, collect.StateCollecting))
	for _, verb := range []string{"pause", "resume", "rewind", "reset", "cancel-backfill"} {
		if err := e.Change(t.Context(), "wiz-prod/audit", verb, time.Now()); !errors.Is(err, ErrOnce) {
			t.Errorf("%s: %v", verb, err)
		}
	}
	stop()
	if err := <-ended; !errors.Is(err, ErrStopped) {
		t.Errorf("Once: %v", err)
	}
	if err := e.Change(t.Context(), "wiz-prod/audit", "pause", time.Time{}); err != nil {
		t.Errorf("pause after it: %v", err)
	}
}

func TestChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	e := w.open(parts{})
	var unknown *UnknownFeedError
	if err := e.Change(t.Context(), "wiz-prod/adit", "pause", time.Time{}); !errors.As(err, &unknown) || len(unknown.Known) != 2 {
		t.Errorf("unknown feed: %v", err)
	}
	for _, c := range []struct {
		verb string
		to   time.Time
		says string
	}{
		{"", time.Time{}, "not one of pause"},
		{"explode", time.Time{}, "not one of pause"},
		{"rewind", time.Time{}, "not one of pause"},
		{"rewind", time.Now().Add(time.Hour), "in the future"},
	} {
		if err := e.Change(t.Context(), "wiz-prod/audit", c.verb, c.to); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q %s: %v", c.verb, c.to, err)
		}
	}
	w.start(e)
	all := func(s Status) bool {
		return s.Healthy() && s.Feeds[0].Counts.Records == 300 && s.Feeds[1].Counts.Records == 30
	}
	w.until(e, "all collected", all)
	change := func(verb string, to time.Time) {
		t.Helper()
		if err := e.Change(t.Context(), "wiz-prod/audit", verb, to); err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
	}
	change("pause", time.Time{})
	w.tenant.AddAudit(saassim.Batch{N: 5, From: time.Now().Add(-time.Second)})
	before := w.until(e, "paused", func(s Status) bool { return s.Feeds[0].State == collect.StatePaused })
	w.until(e, "rounds of the other", func(s Status) bool { return s.Feeds[1].Requests > before.Feeds[1].Requests+5 })
	if s := w.until(e, "", func(Status) bool { return true }); s.Feeds[0].Counts.Records != 300 {
		t.Errorf("a paused feed collected: %+v", s.Feeds[0])
	}
	change("resume", time.Time{})
	w.until(e, "the new ones", func(s Status) bool { return s.Feeds[0].Counts.Records == 305 })
	change("rewind", time.Now().Add(-25*time.Hour))
	w.until(e, "all read again and dropped", func(s Status) bool {
		return s.Feeds[0].Counts.Duplicates > 300 && s.Feeds[0].State == collect.StateIdle && s.Outputs[0].Documents == 335
	})
	w.wantAll("events.ndjson", 1)
	change("reset", time.Time{})
	w.until(e, "all delivered again", func(s Status) bool { return s.Outputs[0].Documents == 305+30+305 })
}

// TestDropReaders: an output that is no longer configured holds back no page.
func TestDropReaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	readers := func(p parts) []string {
		e := w.open(p)
		defer e.Close()
		names, err := e.log.Readers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		return names
	}
	two := parts{outputs: "{a: {type: file, path: a}, b: {type: file, path: b}}"}
	if got := readers(two); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("readers %q", got)
	}
	one := parts{outputs: "{b: {type: file, path: b}}"}
	looking, err := Open(t.Context(), w.config(one), Options{Logger: w.options().Logger, Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := looking.Close(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(w.log.String(), "no longer configured") {
		t.Error("looking dropped a reader")
	}
	if got := readers(one); !slices.Equal(got, []string{"b"}) {
		t.Errorf("readers %q", got)
	}
	if !strings.Contains(w.log.String(), "output is no longer configured") {
		t.Error("it was not told")
	}
}

// TestDeadOutput holds up no other and not the collection. Once says what is
// wrong, and what is missing comes once the output works.
func TestDeadOutput(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	w.timing.patience = 500 * time.Millisecond
	p := parts{outputs: "{dead: {type: file, path: there/events.ndjson}, alive: {type: file, path: events.ndjson}}"}
	if err := os.WriteFile(filepath.Join(w.dir, "there"), nil, 0o600); err != nil { // a file, where a folder belongs
		t.Fatal(err)
	}
	e := w.open(p)
	if err := e.Once(t.Context()); err == nil || !strings.Contains(err.Error(), "output dead") || strings.Contains(err.Error(), "alive") {
		t.Errorf("Once: %v", err)
	}
	w.wantAll("events.ndjson", 1)
	s, err := e.Status(t.Context())
	if err != nil || s.Outputs[1].PendingPages == 0 || s.Outputs[0].PendingPages != 0 {
		t.Errorf("status: %+v, %v", s.Outputs, err)
	}
	if err := errors.Join(e.Close(), os.Remove(filepath.Join(w.dir, "there")), os.Mkdir(filepath.Join(w.dir, "there"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := w.open(p).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantAll("there/events.ndjson", 1)
	w.wantAll("events.ndjson", 1)
}

// TestFullLog: Run waits for space and says so; Once gives up, for nobody may
// be there to see it.
func TestFullLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	w.tenant.AddAudit(saassim.Batch{N: 20000})
	w.timing.patience = time.Second
	fifo := filepath.Join(w.dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	p := parts{
		top:     "log: {max_bytes: 1MiB}",
		sources: "{audit: {start: 25h, page_size: 2000, interval: 100ms}}",
		outputs: "{blocked: {type: file, path: fifo}}", // nobody reads it
	}
	e := w.open(p)
	err := e.Once(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the log is full") || !strings.Contains(err.Error(), "output blocked") {
		t.Errorf("Once: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = w.open(p)
	stop := w.start(e)
	s := w.until(e, "full", func(s Status) bool {
		return s.Feeds[0].State == collect.StateFull && s.Outputs[0].State == deliver.StateRetrying
	})
	if s.Healthy() || !strings.Contains(s.Feeds[0].Reason, "the log is full") {
		t.Errorf("status: %+v", s)
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestStopInTime: whatever hangs, Run ends long before that would be given up.
// Within ten seconds is meant, to which no busy machine is held.
func TestStopInTime(t *testing.T) {
	t.Parallel()
	throttled := func(s Status) bool { return s.Connections[0].Answers[fetch.Throttle] > 0 }
	for name, c := range map[string]struct {
		faults, outputs string
		is              func(Status) bool
	}{
		"API hangs":         {"hang", "", states(collect.StateCollecting, collect.StateCollecting)},
		"sign-in hangs":     {"signin-throttle:10m", "", throttled},
		"API is throttling": {"throttle:10m", "", throttled},
		"output blocks":     {"", "{blocked: {type: file, path: fifo}}", func(s Status) bool { return s.Outputs[0].PendingPages > 3 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, wiz.Options{})
			w.tenant.AddAudit(saassim.Batch{N: 5000})
			w.faults(c.faults)
			if c.outputs != "" {
				fifo := filepath.Join(w.dir, "fifo")
				if err := syscall.Mkfifo(fifo, 0o600); err != nil {
					t.Fatal(err)
				}
				reader, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0) // opens it, and does not read
				if err != nil {
					t.Fatal(err)
				}
				defer reader.Close()
			}
			e := w.open(parts{outputs: c.outputs})
			stop := w.start(e)
			w.until(e, "at work", c.is)
			asked := time.Now()
			if err := stop(); err != nil {
				t.Errorf("Run: %v", err)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			if d := time.Since(asked); d > 45*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

// TestLocked: a second engine on a data_dir is refused.
func TestLocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	w.open(parts{})
	for _, offline := range []bool{false, true} {
		o := w.options()
		o.Offline = offline
		if _, err := Open(t.Context(), w.config(parts{}), o); !errors.Is(err, pagelog.ErrLocked) {
			t.Errorf("offline %t: %v", offline, err)
		}
	}
}

// TestDamagedPosition: nothing starts with it; looking shows it, and a reset
// mends it.
func TestDamagedPosition(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	e := w.open(parts{})
	if err := e.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	const key = "feed/wiz-prod/audit/live"
	_, rev, err := e.log.State(t.Context(), key)
	if err == nil {
		_, err = e.log.PutState(t.Context(), key, []byte("{"), rev)
	}
	if err := errors.Join(err, e.Close()); err != nil {
		t.Fatal(err)
	}
	var damaged *collect.DamagedError
	if _, err := Open(t.Context(), w.config(parts{}), w.options()); !errors.As(err, &damaged) {
		t.Fatalf("Open: %v", err)
	}
	o := w.options()
	o.Offline = true
	looking, err := Open(t.Context(), w.config(parts{}), o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := looking.Status(t.Context())
	if err != nil || s.Healthy() || s.Running || len(s.Feeds) != 2 {
		t.Errorf("status: %+v, %v", s, err)
	}
	i := slices.IndexFunc(s.Feeds, func(f FeedStatus) bool { return f.State == collect.StateDamaged })
	if i < 0 || s.Feeds[i].Source != "audit" || !strings.Contains(s.Feeds[i].Reason, "trawl feed reset wiz-prod/audit") {
		t.Errorf("status: %+v", s.Feeds)
	}
	if err := looking.Change(t.Context(), "wiz-prod/audit", "resume", time.Time{}); !errors.As(err, &damaged) {
		t.Errorf("resume: %v", err)
	}
	if err := errors.Join(looking.Change(t.Context(), "wiz-prod/audit", "reset", time.Time{}), looking.Close()); err != nil {
		t.Fatal(err)
	}
	if err := w.open(parts{}).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, times := range w.uids("events.ndjson") {
		n += times
	}
	if n != 2*300+30 {
		t.Errorf("%d documents", n)
	}
}

// TestPermanentOutputError: it ends its output only, and is Run's error in the
// end.
func TestPermanentOutputError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	p := parts{
		sources: "{audit: {start: 25h, interval: 100ms}, issues: {start: 25h}}",
		outputs: "{alive: {type: file, path: events.ndjson}, broken: {type: file, path: other.ndjson}}",
	}
	e := w.open(p)
	if err := errors.Join(e.Once(t.Context()), e.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "trawl-data", "outputs", "broken.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	e = w.open(p)
	stop := w.start(e)
	s := w.until(e, "the output failed", func(s Status) bool {
		return s.Outputs[1].State == deliver.StateFailed && s.Feeds[0].State == collect.StateIdle
	})
	if s.Healthy() {
		t.Error("healthy")
	}
	w.tenant.AddAudit(saassim.Batch{N: 50, From: time.Now().Add(-time.Second)})
	w.until(e, "the other output has what came since", func(s Status) bool {
		return s.Outputs[0].Documents == 50 && s.Outputs[1].PendingPages > 0
	})
	var damaged *output.DamagedError
	if err := stop(); !errors.As(err, &damaged) {
		t.Errorf("Run: %v", err)
	}
	w.wantAll("events.ndjson", 1)
}

func TestCloseTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	e := w.open(parts{})
	if err := errors.Join(e.Close(), e.Close()); err != nil {
		t.Error(err)
	}
}
