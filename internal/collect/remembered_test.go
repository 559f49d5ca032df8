package collect

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/fetch"
)

// trimmed runs a feed for so many hours, while the log drops what is older than
// its age.
func trimmed(t *testing.T, f *Feed, log *memoryLog, hours int) {
	t.Helper()
	stop := start(t, f)
	for range hours {
		time.Sleep(time.Hour)
		log.trim(time.Now().Add(-f.opts.MaxAge))
	}
	time.Sleep(time.Second) // not just as a round begins
	stop()
}

// TestOldGap: a gap is read again for as long as the log tells duplicates, and
// then given up and named, and none of its records is delivered twice.
func TestOldGap(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"older than the log": func(o *Options) { o.MaxAge = 48 * time.Hour },
		"older than the product's records": func(o *Options) {
			o.MaxAge = 480 * time.Hour
			o.Source.Window.Retention = catalog.Duration(36 * time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &tenant{}, newMemoryLog()
				hidden := time.Now().Add(20 * time.Minute).Truncate(time.Second)
				for i := range 30 {
					api.add(event{ID: fmt.Sprint("near", i), Time: hidden.Add(time.Duration(i) * 10 * time.Millisecond)})
				}
				api.add(every("new", 900, 13*time.Minute)...)
				var asked time.Time // for the gap
				api.fault = func(r fetch.Request, p *fetch.Page) error {
					if hidden.After(r.Since) && hidden.Before(r.Until) && !r.Low {
						asked = time.Now()
						p.Total++
					}
					return nil
				}
				f := open(t, api, log, change)
				var said bytes.Buffer
				f.log = slog.New(slog.NewTextHandler(&said, nil))
				trimmed(t, f, log, 20)
				if s := f.Status(); s.State != StateIncomplete {
					t.Errorf("with a gap it is %s: %s", s.State, s.Reason)
				}
				trimmed(t, f, log, 5*24)
				api.events = slices.DeleteFunc(api.events, func(e event) bool { return e.Time.After(f.Position().Watermark) })
				wantAll(t, api, log)
				s := f.Status()
				if s.State != StateIdle || len(s.Gaps) > 0 {
					t.Errorf("days later it is %s: %s, with the gaps %+v", s.State, s.Reason, s.Gaps)
				}
				for _, l := range s.Lanes {
					if l.Lane == "live" && (len(l.Missed) == 0 || l.Missed[0].Why == "") {
						t.Errorf("the gaps that were given up are %+v", l.Missed)
					}
				}
				if n := bytes.Count(said.Bytes(), []byte("too old to be read again")); n == 0 || n > 3 {
					t.Errorf("it was said %d times:\n%s", n, &said)
				}
				if d := asked.Sub(hidden); d < 35*time.Hour || d > 37*time.Hour {
					t.Errorf("it was read again for %s", d)
				}
			})
		})
	}
}

// TestOverlapWithinTheLog: however late records are, the overlap does not reach
// back to what the log has forgotten.
func TestOverlapWithinTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		for _, e := range every("new", 4000, 2*time.Minute) {
			e.visible = e.Time.Add(70 * time.Minute)
			api.add(e)
		}
		f := open(t, api, log, func(o *Options) { o.MaxAge = 2 * time.Hour; o.Overlap = 75 * time.Minute })
		trimmed(t, f, log, 5*24)
		if o := f.overlap(); o != 90*time.Minute {
			t.Errorf("the overlap is %s", o)
		}
		api.events = api.events[:len(log.delivered())]
		if len(api.events) < 3500 {
			t.Errorf("%d records", len(api.events))
		}
		wantAll(t, api, log)
	})
}

// TestAfterLongStop: after a stop for longer than the log remembers, nothing is
// delivered again but what the overlap may hold, which is said, and nothing that
// became visible meanwhile is missed.
func TestAfterLongStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(every("before", 200, 20*time.Minute)...)
		change := func(o *Options) {
			o.MaxAge = 48 * time.Hour
			o.Revisit = []time.Duration{time.Hour, 24 * time.Hour}
		}
		f := open(t, api, log, change)
		trimmed(t, f, log, 80)
		late := time.Now().Add(-2 * time.Minute)
		api.add(event{ID: "late", Time: late, visible: time.Now().Add(time.Minute)})
		time.Sleep(10 * 24 * time.Hour)
		log.trim(time.Now().Add(-48 * time.Hour))
		api.add(every("after", 200, 20*time.Minute)...)
		f = open(t, api, log, change)
		var said bytes.Buffer
		f.log = slog.New(slog.NewTextHandler(&said, nil))
		trimmed(t, f, log, 80)
		wantAll(t, api, log)
		if n := bytes.Count(said.Bytes(), []byte("may be delivered again")); n != 1 {
			t.Errorf("it was said %d times:\n%s", n, &said)
		}
		if _, err := f.StartBackfill(t.Context(), time.Now().Add(-20*24*time.Hour), time.Now().Add(-time.Hour), 1); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(said.Bytes(), []byte("may be delivered again")); n != 2 {
			t.Errorf("of a backfill nothing was said:\n%s", &said)
		}
	})
}

// TestBackfillOfANewFeed: what a feed reads of long ago just after it was begun
// is all in the log, however old the records are, so that nothing is said; and
// it is said once that is no longer so.
func TestBackfillOfANewFeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(every("new", 200, 20*time.Minute)...)
		f := open(t, api, log, func(o *Options) {
			o.MaxAge = 48 * time.Hour
			began := time.Now().Add(-20 * 24 * time.Hour)
			o.Start = func(time.Time) (time.Time, bool) { return began, true }
		})
		var said bytes.Buffer
		f.log = slog.New(slog.NewTextHandler(&said, nil))
		for _, c := range []struct{ hours, said int }{{1, 0}, {80, 1}} {
			trimmed(t, f, log, c.hours)
			if _, err := f.StartBackfill(t.Context(), time.Now().Add(-30*24*time.Hour), time.Now().Add(-time.Hour), 1); err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(said.Bytes(), []byte("may be delivered again")); n != c.said {
				t.Errorf("after %d hours it was said %d times:\n%s", c.hours, n, &said)
			}
			if err := f.Do(t.Context(), CancelBackfill); err != nil {
				t.Fatal(err)
			}
		}
	})
}
