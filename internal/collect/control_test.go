package collect

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// slow is an API that takes its time, or until it is told to stop.
type slow struct {
	*tenant
	takes time.Duration
}

func (s slow) Page(ctx context.Context, r fetch.Request) (*fetch.Page, error) {
	timer := time.NewTimer(s.takes)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
	}
	return s.tenant.Page(ctx, r)
}

// TestOnceStops: Once ends with the page in hand when it is asked to stop,
// however quick the API is.
func TestOnceStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := slow{&tenant{}, time.Second}, newMemoryLog()
		api.add(spread("e", 95, time.Now(), 50*time.Minute)...)
		ctx, stop := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer stop()
		if err := open(t, api, log, nil).Once(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Once = %v", err)
		}
		if n := len(log.pages); n != 3 {
			t.Errorf("%d pages were read, want the two before and the one in hand", n)
		}
		if err := open(t, api, log, nil).Once(t.Context()); err != nil {
			t.Fatalf("second Once: %v", err)
		}
		wantAll(t, api.tenant, log)
	})
}

// TestCommandsDoNotWait: a change takes seconds even while a page takes long,
// as it does when the API throttles, and while the log is full.
func TestCommandsDoNotWait(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*slow, *memoryLog){
		"slow API": func(a *slow, _ *memoryLog) { a.takes = 15 * time.Minute },
		"full log": func(_ *slow, l *memoryLog) {
			l.before = func(what string) error {
				if what == "page" {
					return pagelog.ErrFull
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &slow{tenant: &tenant{}}, newMemoryLog()
				api.add(spread("e", 95, time.Now(), 50*time.Minute)...)
				set(api, log)
				f := open(t, api, log, nil)
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- f.Run(ctx) }()
				time.Sleep(10 * time.Second)
				asked := time.Now()
				if err := f.Do(t.Context(), Pause); err != nil {
					t.Errorf("pause: %v", err)
				}
				if d := time.Since(asked); d > 6*time.Second {
					t.Errorf("it took %s to pause the feed", d)
				}
				time.Sleep(time.Hour)
				if s := f.Status().State; s != StatePaused {
					t.Errorf("the feed is %s", s)
				}
				api.takes, log.before = 0, nil
				if err := f.Do(t.Context(), Resume); err != nil {
					t.Errorf("resume: %v", err)
				}
				time.Sleep(time.Minute)
				wantAll(t, api.tenant, log)
				stop()
				if err := <-ended; err != nil {
					t.Errorf("Run = %v", err)
				}
			})
		})
	}
}

// TestDamaged: a position that can't be read keeps the feed from opening until
// it is reset.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*memoryLog){
		"state entry": func(l *memoryLog) { l.state["feed/acme/audit/live"] = []byte(`{"position":7}`) },
		"page":        func(l *memoryLog) { l.pages[len(l.pages)-1].Position = []byte(`{"rev":`) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &tenant{}, newMemoryLog()
				api.add(spread("e", 30, time.Now(), 50*time.Minute)...)
				if err := open(t, api, log, nil).Once(t.Context()); err != nil {
					t.Fatalf("Once: %v", err)
				}
				damage(log)
				o := options(api, log, nil)
				var damaged *DamagedError
				if _, err := Open(t.Context(), o); !errors.As(err, &damaged) {
					t.Fatalf("Open = %v", err)
				}
				if err := ResetDamaged(t.Context(), log, testFeed); err != nil {
					t.Fatalf("reset: %v", err)
				}
				if err := open(t, api, log, nil).Once(t.Context()); err != nil {
					t.Fatalf("Once: %v", err)
				}
				for id, n := range log.delivered() {
					if n != 2 { // as a reset has it
						t.Errorf("%s was delivered %d times", id, n)
					}
				}
			})
		})
	}
}

// TestReload: a feed that another process has read meanwhile goes on from
// where that one left it, in all lanes.
func TestReload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 95, time.Now(), 50*time.Minute)...)
		waiting := open(t, api, log, nil)
		waiting.Standby()
		if s := waiting.Status().State; s != StateStandby {
			t.Errorf("the feed is %s", s)
		}
		other := open(t, api, log, nil)
		if err := errors.Join(other.Once(t.Context()), other.Do(t.Context(), Pause)); err != nil {
			t.Fatal(err)
		}
		if err := waiting.Reload(t.Context()); err != nil {
			t.Fatalf("reload: %v", err)
		}
		if s := waiting.Status(); s.State != StatePaused || s.Counts.Records != 95 {
			t.Errorf("after the reload: %+v", s)
		}
		if err := waiting.Do(t.Context(), Resume); err != nil {
			t.Fatalf("resume: %v", err)
		}
		if err := waiting.Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		wantAll(t, api, log)
	})
}

// TestStateIsKept: what kept a feed from going on is known after a restart,
// until it goes on.
func TestStateIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.fault = func(fetch.Request, *fetch.Page) error {
			return &fetch.Error{Class: fetch.Forbidden, Op: "acme/audit page", Message: "access denied"}
		}
		if err := open(t, api, log, nil).Once(t.Context()); err == nil {
			t.Error("Once succeeded")
		}
		f := open(t, api, log, nil)
		if s := f.Status(); s.State != StateForbidden || s.Reason != "acme/audit page: access denied" || !s.LastSuccess.IsZero() {
			t.Errorf("after the failure: %+v", s)
		}
		if err := f.Do(t.Context(), Rewind(time.Now().Add(-time.Minute))); err == nil {
			t.Error("a rewind went forward")
		}
		if err := f.Do(t.Context(), Rewind(time.Now().Add(-2*time.Hour))); err != nil {
			t.Fatalf("rewind: %v", err)
		}
		if s := open(t, api, log, nil).Status(); !s.LastSuccess.IsZero() {
			t.Errorf("a rewind counts as success: %+v", s)
		}
		api.fault = nil
		if err := open(t, api, log, nil).Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		if s := open(t, api, log, nil).Status(); s.State != StateIdle || s.LastSuccess.IsZero() {
			t.Errorf("after the success: %+v", s)
		}
		time.Sleep(time.Hour)
		api.add(event{ID: "new", Time: time.Now().Add(-time.Minute)})
		if err := open(t, api, log, nil).Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		if s := open(t, api, log, nil).Status(); !s.LastSuccess.Equal(time.Now()) {
			t.Errorf("after the success with a page: %+v", s)
		}
	})
}

// TestFewerFields: a catalogue that has fewer time fields than when the
// position was written does no harm.
func TestFewerFields(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 95, time.Now(), 50*time.Minute)...)
		api.fault = func(r fetch.Request, _ *fetch.Page) error {
			if r.Field == "second" {
				return &fetch.Error{Class: fetch.Permanent}
			}
			return nil
		}
		two := func(s *catalog.Source) { s.Window.Fields = []string{"timestamp", "second"} }
		if err := open(t, api, log, func(o *Options) { o.Source = source(two) }).Once(t.Context()); err == nil {
			t.Error("Once succeeded")
		}
		if err := open(t, api, log, nil).Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		wantAll(t, api, log)
	})
}

// TestRewindBeyondRetention begins where the product's memory does.
func TestRewindBeyondRetention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := open(t, &tenant{}, newMemoryLog(), func(o *Options) {
			o.Source = source(func(s *catalog.Source) { s.Window.Retention = catalog.Duration(24 * time.Hour) })
		})
		if err := f.Do(t.Context(), Rewind(time.Now().Add(-1000*time.Hour))); err != nil {
			t.Fatalf("rewind: %v", err)
		}
		if p := f.Position(); !p.Watermark.Equal(time.Now().Add(-24 * time.Hour)) {
			t.Errorf("the feed begins at %s", p.Watermark)
		}
	})
}
