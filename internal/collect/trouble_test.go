package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// runFor runs a feed for so long.
func runFor(t *testing.T, f *Feed, d time.Duration) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	if err := f.Run(ctx); err != nil {
		t.Fatalf("Run: %v", err)
	}
}

// TestEndlessWalk: an API that gives the same records under ever new cursors
// is not followed for ever.
func TestEndlessWalk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 30, time.Now(), 50*time.Minute)...)
		n := 0
		api.fault = func(_ fetch.Request, p *fetch.Page) error {
			n++
			p.More, p.Cursor = true, jsontext.Value(fmt.Sprintf(`"%d"`, n))
			return nil
		}
		f := open(t, slow{api, 4 * time.Second}, log, nil)
		runFor(t, f, 48*time.Hour)
		s := f.Status()
		if !slices.ContainsFunc(s.Runs, func(r Run) bool { return r.State == StateStuck }) {
			t.Errorf("after %d requests the feed is %s, and its runs are %+v", n, s.State, s.Runs)
		}
	})
}

// TestRefusedDepth: an API that refuses to go deeper into a query than so far,
// without a declared cap, is asked for shorter slices.
func TestRefusedDepth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 200, time.Now(), 50*time.Minute)...)
		api.fault = func(r fetch.Request, _ *fetch.Page) error {
			if string(r.Cursor) >= "50" {
				return &fetch.Error{Class: fetch.Permanent, Message: "offset is too large"}
			}
			return nil
		}
		f := open(t, slow{api, time.Second}, log, nil)
		runFor(t, f, time.Hour)
		wantAll(t, api, log)
	})
}

// TestRefusedCursors: where every second page is refused even of the shortest
// slice, the feed stops and says so.
func TestRefusedCursors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		at := time.Now().Add(-30 * time.Minute)
		for i := range 30 {
			api.add(event{ID: fmt.Sprint(i), Time: at})
		}
		api.fault = func(r fetch.Request, _ *fetch.Page) error {
			if r.Cursor != nil {
				return &fetch.Error{Class: fetch.Permanent, Message: "bad cursor"}
			}
			return nil
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		if err := open(t, slow{api, time.Second}, log, nil).Run(ctx); !isStopped(err) {
			t.Errorf("Run = %v after %d requests", err, api.calls)
		}
	})
}

// TestBackfillAfterPause: a backfill goes on when its feed is resumed.
func TestBackfillAfterPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 100, time.Now().Add(-2*time.Hour), 10*time.Hour)...)
		f := open(t, slow{api, time.Second}, log, nil)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.Run(ctx) }()
		if _, err := f.StartBackfill(t.Context(), time.Now().Add(-13*time.Hour), time.Now().Add(-time.Hour), 2); err != nil {
			t.Errorf("start: %v", err)
		}
		time.Sleep(2500 * time.Millisecond)
		if err := f.Do(t.Context(), Pause); err != nil {
			t.Errorf("pause: %v", err)
		}
		time.Sleep(time.Hour)
		if n := len(log.delivered()); n == 0 || n == 100 {
			t.Errorf("%d records before the pause", n)
		}
		if err := f.Do(t.Context(), Resume); err != nil {
			t.Errorf("resume: %v", err)
		}
		time.Sleep(time.Hour)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
		wantAll(t, api, log)
	})
}

// TestRewindAfterUnknownWrite: a page that was written, though its writer did
// not hear of it, is not delivered again after a rewind.
func TestRewindAfterUnknownWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 95, time.Now(), 50*time.Minute)...)
		log.after = unheard
		f := open(t, api, log, nil)
		if err := f.Once(t.Context()); err == nil {
			t.Error("Once succeeded")
		}
		log.after = nil
		if err := f.Do(t.Context(), Rewind(time.Now().Add(-time.Hour))); err != nil {
			t.Fatalf("rewind: %v", err)
		}
		if err := f.Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		wantAll(t, api, log)
	})
}

// TestUnknownWriteOfAnotherLane: what one lane wrote without hearing of it is
// known to the others.
func TestUnknownWriteOfAnotherLane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 95, time.Now(), 50*time.Minute)...)
		log.after = unheard
		f := open(t, api, log, nil)
		if _, err := f.StartBackfill(t.Context(), time.Now().Add(-time.Hour), time.Now(), 1); err != nil {
			t.Fatal(err)
		}
		if err := f.Backfill(t.Context()); err == nil {
			t.Error("Backfill succeeded")
		}
		log.after = nil
		if err := f.Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		wantAll(t, api, log)
	})
}

// TestRewindKeepsGaps: a rewind to after a gap, while the gap is being read
// again, does not make it forgotten.
func TestRewindKeepsGaps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 60, time.Now(), 50*time.Minute)...)
		hidden, hiding := time.Now().Add(-40*time.Minute), true
		api.add(event{ID: "hidden", Time: hidden})
		api.fault = func(r fetch.Request, p *fetch.Page) error {
			if hiding {
				for i, record := range p.Records {
					if strings.Contains(string(record), "hidden") {
						p.Records = append(p.Records[:i:i], p.Records[i+1:]...)
						break
					}
				}
			}
			return nil
		}
		f := open(t, api, log, nil)
		if err := f.Once(t.Context()); !errors.As(err, new(*IncompleteError)) {
			t.Fatalf("Once: %v", err)
		}
		time.Sleep(time.Minute)
		if err := f.plan(t.Context()); err != nil { // the round has begun, and the gap is being read
			t.Fatal(err)
		}
		if err := f.Do(t.Context(), Rewind(time.Now().Add(-5*time.Minute))); err != nil {
			t.Fatal(err)
		}
		hiding = false
		if err := f.Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		wantAll(t, api, log)
	})
}

// TestClockJumps: a clock that was ahead for a while and is set right loses
// nothing, and does not make the feed wait until it has caught up.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 60, time.Now(), 50*time.Minute)...)
		var ahead atomic.Int64 // nanoseconds
		f := open(t, api, log, func(o *Options) {
			o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())).Round(0) }
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.Run(ctx) }()
		time.Sleep(7 * time.Minute)
		ahead.Store(int64(24 * time.Hour))
		time.Sleep(30 * time.Minute)
		ahead.Store(0)
		api.add(spread("later", 60, time.Now().Add(time.Hour), time.Hour)...)
		time.Sleep(2 * time.Hour)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
		wantAll(t, api, log)
		if p := f.Position(); p.Watermark.After(time.Now()) {
			t.Errorf("the watermark is at %s, and it is %s", p.Watermark, time.Now())
		}
	})
}

// TestOnceWhileClockGoesBack: Once ends after the round it planned, also when
// the clock was set back meanwhile.
func TestOnceWhileClockGoesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 60, time.Now(), 50*time.Minute)...)
		asked := 0
		f := open(t, slow{api, time.Second}, log, func(o *Options) {
			o.Now = func() time.Time {
				if asked++; asked > 2 {
					return time.Now().Add(-5 * time.Minute)
				}
				return time.Now()
			}
		})
		asked = 1
		if err := f.Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		if api.calls > 20 {
			t.Errorf("%d requests", api.calls)
		}
	})
}

// TestRevisitAfterLongStop: what the product has forgotten meanwhile is not
// asked for.
func TestRevisitAfterLongStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const retention = 24 * time.Hour
		api, log := &tenant{}, newMemoryLog()
		api.fault = func(r fetch.Request, _ *fetch.Page) error {
			if r.Since.Before(time.Now().Add(-retention - time.Minute)) {
				return &fetch.Error{Class: fetch.Permanent, Message: "too old"}
			}
			return nil
		}
		change := func(o *Options) {
			o.Revisit = []time.Duration{time.Hour}
			o.Source = source(func(s *catalog.Source) { s.Window.Retention = catalog.Duration(retention) })
		}
		runFor(t, open(t, api, log, change), 3*time.Hour)
		time.Sleep(10 * 24 * time.Hour)
		f := open(t, api, log, change)
		runFor(t, f, 3*time.Hour)
		if p := f.Status().CompleteTo; time.Since(p) > 2*time.Hour {
			t.Errorf("it was read again up to %s, and it is %s", p, time.Now())
		}
	})
}

// TestCommandsWhileBackfillWaits: a change does not wait for room in the log
// that a backfill needs.
func TestCommandsWhileBackfillWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 100, time.Now().Add(-2*time.Hour), 10*time.Hour)...)
		f := open(t, api, log, nil)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.Run(ctx) }()
		time.Sleep(time.Minute)
		log.mu.Lock()
		log.before = func(what string) error {
			if what == "page" {
				return pagelog.ErrFull
			}
			return nil
		}
		log.mu.Unlock()
		if _, err := f.StartBackfill(t.Context(), time.Now().Add(-13*time.Hour), time.Now().Add(-time.Hour), 2); err != nil {
			t.Errorf("start: %v", err)
		}
		time.Sleep(10 * time.Minute)
		if s := f.Status().State; s != StateFull {
			t.Errorf("the feed is %s", s)
		}
		for name, change := range map[string]Change{"cancel": CancelBackfill, "pause": Pause} {
			hurry, done := context.WithTimeout(t.Context(), time.Minute)
			answered := make(chan error, 1)
			go func() { answered <- f.Do(hurry, change) }()
			select {
			case err := <-answered:
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			case <-time.After(2 * time.Minute):
				t.Errorf("%s waits", name)
				stop()
				<-answered
			}
			done()
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// TestFilterChangedInAWalk: a walk that was begun with another filter is not
// gone on with.
func TestFilterChangedInAWalk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{noTotal: true}, newMemoryLog()
		api.add(spread("e", 95, time.Now(), 50*time.Minute)...)
		narrow := func(_ fetch.Request, p *fetch.Page) error { // as if the filter let through every second record
			for i := 0; i < len(p.Records); i++ {
				p.Records = append(p.Records[:i:i], p.Records[i+1:]...)
			}
			p.Total = -1
			if api.calls == 4 {
				return &fetch.Error{Class: fetch.Retry}
			}
			return nil
		}
		api.fault = narrow
		if err := open(t, api, log, func(o *Options) { o.Settings = Settings{Filter: "narrow"} }).Once(t.Context()); err == nil {
			t.Error("Once succeeded")
		}
		api.fault = nil
		if err := open(t, api, log, func(o *Options) { o.Settings = Settings{Filter: "wide"} }).Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		wantAll(t, api, log)
	})
}

// TestLongCursors: many slices under way with long cursors do not make a
// position that the log refuses.
func TestLongCursors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 3000, time.Now().Add(-2*time.Hour), 10*time.Hour)...)
		f := open(t, padded{slow{api, time.Second}}, log, nil)
		if _, err := f.StartBackfill(t.Context(), time.Now().Add(-13*time.Hour), time.Now().Add(-time.Hour), MostConcurrent); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		if err := f.Backfill(ctx); err != nil {
			t.Fatalf("Backfill: %v", err)
		}
		wantAll(t, api, log)
	})
}

// TestRecordsLeave: a record that leaves a slice while it is read, as an issue
// does whose status changes, moves others across the pages; none is lost.
func TestRecordsLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 95, time.Now(), 50*time.Minute)...)
		api.fault = func(fetch.Request, *fetch.Page) error {
			if api.calls == 3 {
				api.events = api.events[1:] // the newest, which the first page had
			}
			return nil
		}
		if err := open(t, api, log, nil).Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		if n := len(log.delivered()); n != 95 {
			t.Errorf("%d of 95 records arrived", n)
		}
	})
}

// padded is an API with cursors of 2,000 bytes.
type padded struct{ slow }

func (p padded) Page(ctx context.Context, r fetch.Request) (*fetch.Page, error) {
	r.Cursor = jsontext.Value(strings.TrimSpace(string(r.Cursor)))
	if len(r.Cursor) == 0 {
		r.Cursor = nil
	}
	page, err := p.slow.Page(ctx, r)
	if err == nil && page.Cursor != nil {
		page.Cursor = jsontext.Value(fmt.Sprintf("%2000s", page.Cursor))
	}
	return page, err
}
