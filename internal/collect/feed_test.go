package collect

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOnceReadsEverythingOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 95, time.Now(), 50*time.Minute)...)
		f := open(t, api, log, nil)
		if err := f.Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		wantAll(t, api, log)
		var lanes []string
		for _, l := range f.Status().Lanes {
			lanes = append(lanes, l.Lane)
		}
		if !slices.Equal(lanes, []string{"live", "revisit", "backfill", "push"}) {
			t.Errorf("lanes %q", lanes)
		}
		if s := f.Status(); s.Counts.Records != 95 || s.Counts.Pages != 10 || s.State != StateIdle || s.Watermark.Before(time.Now().Add(-time.Second)) {
			t.Errorf("status = %+v", s)
		}
		// A second run reads the overlap again and adds nothing.
		time.Sleep(time.Minute)
		again := open(t, api, log, nil)
		if err := again.Once(t.Context()); err != nil {
			t.Fatalf("second Once: %v", err)
		}
		wantAll(t, api, log)
		if s := again.Status(); s.Counts.Duplicates == 0 || s.Counts.Records != 95 {
			t.Errorf("status of the second run = %+v", s)
		}
	})
}

func TestStart(t *testing.T) {
	for name, c := range map[string]struct {
		start func(time.Time) (time.Time, bool)
		want  int
	}{
		"none: nothing of the past":       {func(time.Time) (time.Time, bool) { return time.Time{}, false }, 0},
		"a duration":                      {func(now time.Time) (time.Time, bool) { return now.Add(-10 * time.Hour), true }, 10},
		"older than the product's memory": {func(now time.Time) (time.Time, bool) { return now.Add(-1000 * time.Hour), true }, 24},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &tenant{}, newMemoryLog()
				for h := range 100 {
					api.add(event{ID: fmt.Sprint(h), Time: time.Now().Add(-time.Duration(h)*time.Hour - 30*time.Minute)})
				}
				f := open(t, api, log, func(o *Options) {
					o.Start = c.start
					o.Source = source(func(s *catalog.Source) { s.Window.Retention = catalog.Duration(24 * time.Hour) })
				})
				if err := f.Once(t.Context()); err != nil {
					t.Fatalf("Once: %v", err)
				}
				if got := len(log.delivered()); got != c.want {
					t.Errorf("%d records, want %d", got, c.want)
				}
				// What comes after the start arrives, whatever the start was, also after a restart.
				time.Sleep(time.Minute)
				api.add(event{ID: "new", Time: time.Now()})
				time.Sleep(time.Minute)
				if err := open(t, api, log, func(o *Options) { o.Start = c.start }).Once(t.Context()); err != nil {
					t.Fatalf("second Once: %v", err)
				}
				if log.delivered()["new"] != 1 {
					t.Error("the record after the start is missing")
				}
			})
		})
	}
}

// TestHardSlices are the ways in which an API keeps a slice from being read in
// one walk.
func TestHardSlices(t *testing.T) {
	repeatOnce := func() func(r fetch.Request, p *fetch.Page) error {
		n := 0
		return func(r fetch.Request, p *fetch.Page) error {
			if n++; n == 3 && p.More {
				p.Cursor = r.Cursor
			}
			return nil
		}
	}
	for name, set := range map[string]func(*tenant){
		"cap with a true total":      func(a *tenant) { a.cap = 40 },
		"cap with a saturated total": func(a *tenant) { a.cap, a.saturated = 40, true },
		"cap without a total":        func(a *tenant) { a.cap, a.noTotal = 40, true },
		"cursor repeated":            func(a *tenant) { a.fault = repeatOnce() },
		"cursor repeated, no total":  func(a *tenant) { a.noTotal = true; a.fault = repeatOnce() },
		"more pages but no cursor once": func(a *tenant) {
			n := 0
			a.fault = func(_ fetch.Request, p *fetch.Page) error {
				n++
				if n == 2 {
					p.More, p.Cursor = true, nil
				}
				return nil
			}
		},
		"page without records, and more": func(a *tenant) {
			n := 0
			a.fault = func(r fetch.Request, p *fetch.Page) error {
				if n++; n%2 == 0 {
					p.Records, p.More = nil, true
					p.Cursor = jsontext.Value(fmt.Sprint(len(string(r.Cursor)))) // wherever it leads
					if r.Cursor != nil {
						p.Cursor = append(jsontext.Value(" "), r.Cursor...)
					}
				}
				return nil
			}
		},
		"a page is repeated": func(a *tenant) {
			var last fetch.Page
			n := 0
			a.fault = func(_ fetch.Request, p *fetch.Page) error {
				if n++; n == 4 {
					p.Records = last.Records
				}
				last = *p
				return nil
			}
		},
		"pages shift because records appear": func(a *tenant) {
			n := 0
			a.fault = func(_ fetch.Request, _ *fetch.Page) error {
				if n++; n < 10 {
					a.events = append(a.events, event{ID: fmt.Sprint("shift", n), Time: time.Now().Add(-time.Minute), visible: time.Now()})
				}
				return nil
			}
		},
		"records vanish from a page": func(a *tenant) {
			n := 0
			a.fault = func(_ fetch.Request, p *fetch.Page) error {
				if n++; n == 2 {
					p.Records = p.Records[:3]
				}
				return nil
			}
		},
		"more than a query yields, which it says": func(a *tenant) {
			a.cap, a.noTotal, a.flagged = 40, true, true
		},
		"a body too large at first": func(a *tenant) {
			a.fault = func(r fetch.Request, _ *fetch.Page) error {
				if r.Size > 4 {
					return &fetch.Error{Class: fetch.TooLarge}
				}
				return nil
			}
		},
		"time-outs deep in a long slice": func(a *tenant) {
			a.fault = func(r fetch.Request, _ *fetch.Page) error {
				if len(r.Cursor) > 0 && string(r.Cursor) >= "50" && r.Until.Sub(r.Since) > 40*time.Minute {
					return &fetch.Error{Class: fetch.Retry}
				}
				return nil
			}
		},
		"the cursor expires": func(a *tenant) {
			n := 0
			a.fault = func(r fetch.Request, _ *fetch.Page) error {
				if n++; n == 3 {
					return &fetch.Error{Class: fetch.Permanent}
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &tenant{}, newMemoryLog()
				api.add(spread("e", 200, time.Now(), 50*time.Minute)...)
				set(api)
				f := open(t, api, log, func(o *Options) {
					o.Source = source(func(s *catalog.Source) {
						if !api.flagged {
							s.Paging.Cap = api.cap
						}
					})
				})
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- f.Run(ctx) }()
				time.Sleep(2 * time.Hour)
				stop()
				if err := <-ended; err != nil {
					t.Fatalf("Run: %v", err)
				}
				wantAll(t, api, log)
				if s := f.Status(); len(s.Gaps) > 0 || time.Since(s.Watermark) > 6*time.Minute {
					t.Errorf("status = %+v", s)
				}
			})
		})
	}
}

// TestGap: a total that is never reached is not taken for an end; the slice is
// narrowed down, named, and read again each round, and the rest goes on.
func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 60, time.Now(), 50*time.Minute)...)
		hidden := time.Now().Add(-20 * time.Minute)
		hiding := true
		api.fault = func(r fetch.Request, p *fetch.Page) error {
			if hiding && hidden.After(r.Since) && hidden.Before(r.Until) {
				p.Total++
			}
			return nil
		}
		f := open(t, api, log, nil)
		err := f.Once(t.Context())
		var incomplete *IncompleteError
		if !errors.As(err, &incomplete) || incomplete.First.Until.Sub(incomplete.First.Since) > 2*time.Second ||
			hidden.Before(incomplete.First.Since) || hidden.After(incomplete.First.Until) {
			t.Fatalf("Once = %v", err)
		}
		wantAll(t, api, log)
		if s := f.Status(); s.State != StateIncomplete || time.Since(s.Watermark) > time.Second {
			t.Errorf("status = %+v", s)
		}
		hiding = false
		time.Sleep(time.Minute)
		api.add(event{ID: "found", Time: hidden})
		if err := open(t, api, log, nil).Once(t.Context()); err != nil {
			t.Fatalf("second Once: %v", err)
		}
		wantAll(t, api, log)
	})
}

// TestSettingsChange: what other settings mean for a position is said, once,
// and remembered.
func TestSettingsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		with := func(s Settings) func(*Options) { return func(o *Options) { o.Settings = s } }
		was, is := Settings{Start: "1h", Filter: "a", Request: "q"}, Settings{Start: "2h", Filter: "b", Request: "q"}
		for i, step := range []struct {
			settings Settings
			want     []string
		}{{was, nil}, {was, nil}, {is, []string{"filter", "start"}}, {is, []string{"filter", "start"}}, {Settings{Start: "2h", Filter: "b", Request: "r"}, []string{"filter", "start", "request"}}} {
			f := open(t, api, log, with(step.settings))
			var got []string
			for _, c := range f.Status().Changes {
				got = append(got, c.Setting)
			}
			if !slices.Equal(got, step.want) {
				t.Errorf("opened %d times: %q changed, want %q", i+1, got, step.want)
			}
			time.Sleep(time.Minute)
			if err := f.Once(t.Context()); err != nil {
				t.Fatalf("Once: %v", err)
			}
		}
	})
}

// TestHugePage: a page of more records than the log takes at once is written in
// parts, and a crash between them neither loses nor repeats a record.
func TestHugePage(t *testing.T) {
	for _, crashAt := range []int{0, 2, 3, 4} {
		t.Run(fmt.Sprint("crash at write ", crashAt), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &tenant{}, newMemoryLog()
				api.add(spread("e", 10_000, time.Now(), 50*time.Minute)...)
				big := func(o *Options) { o.PageSize = 10_000 }
				writes := 0
				log.after = func(string) error {
					if writes++; writes == crashAt {
						return errCrash
					}
					return nil
				}
				if err := open(t, api, log, big).Once(t.Context()); (err != nil) != (crashAt > 0) {
					t.Fatalf("Once = %v", err)
				}
				f := open(t, api, log, big)
				if err := f.Once(t.Context()); err != nil {
					t.Fatalf("second Once: %v", err)
				}
				wantAll(t, api, log)
				if s := f.Status(); s.Counts.Records != 10_000 || s.Counts.Pages != 3 {
					t.Errorf("counts = %+v", s.Counts)
				}
			})
		})
	}
}

// TestStuck: an API that answers for ever without getting anywhere is a fault
// with a name, costs a bounded number of requests, and loses nothing once it is
// mended.
func TestStuck(t *testing.T) {
	for name, again := range map[string]func(n int, p *fetch.Page){
		"same cursor":     func(_ int, p *fetch.Page) { p.Cursor = jsontext.Value(`"again"`) },
		"empty pages":     func(n int, p *fetch.Page) { p.Records, p.Cursor = nil, jsontext.Value(strconv.Itoa(n)) },
		"repeated pages":  func(n int, p *fetch.Page) { p.Cursor = jsontext.Value(strconv.Itoa(n)) },
		"without cursors": func(_ int, p *fetch.Page) { p.Cursor = nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &tenant{}, newMemoryLog()
				api.add(spread("e", 60, time.Now(), 50*time.Minute)...)
				first, _ := api.Page(t.Context(), fetch.Request{Since: time.Now().Add(-time.Hour), Until: time.Now(), Size: 10, Source: source(nil)})
				api.calls = 0
				api.fault = func(_ fetch.Request, p *fetch.Page) error {
					p.Records, p.More = first.Records, true
					again(api.calls, p)
					return nil
				}
				f := open(t, api, log, nil)
				err := f.Once(t.Context())
				if !errors.As(err, new(*StuckError)) || f.Status().State != StateStuck || api.calls > 400 {
					t.Fatalf("Once = %v after %d calls, state %s", err, api.calls, f.Status().State)
				}
				api.fault = nil
				if err := f.Once(t.Context()); err != nil {
					t.Fatalf("Once after it was mended: %v", err)
				}
				wantAll(t, api, log)
			})
		})
	}
}

func TestErrorsThatStop(t *testing.T) {
	for class, want := range map[fetch.Class]State{
		fetch.Auth:      StateAuth,
		fetch.Forbidden: StateForbidden,
		fetch.Permanent: StateStopped,
	} {
		t.Run(string(class), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &tenant{}, newMemoryLog()
				api.fault = func(fetch.Request, *fetch.Page) error { return &fetch.Error{Class: class, Message: "no"} }
				f := open(t, api, log, nil)
				err := f.Run(t.Context())
				var stopped *Stopped
				if !errors.As(err, &stopped) || f.Status().State != want || api.calls != 1 {
					t.Errorf("Run = %v after %d calls, state %s", err, api.calls, f.Status().State)
				}
			})
		})
	}
}

func TestFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 35, time.Now(), 50*time.Minute)...)
		stale := open(t, api, log, nil)
		if err := open(t, api, log, nil).Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		if err := stale.Once(t.Context()); !errors.Is(err, pagelog.ErrFenced) && !errors.Is(err, pagelog.ErrConflict) {
			t.Errorf("the stale worker wrote: %v", err)
		}
		wantAll(t, api, log)
	})
}

// TestWriteWithUnknownOutcome: a write that was done but whose success was not
// heard of must neither stall the feed nor repeat a record.
func TestWriteWithUnknownOutcome(t *testing.T) {
	for _, what := range []string{"page", "state"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &tenant{}, newMemoryLog()
				api.add(spread("e", 35, time.Now(), 50*time.Minute)...)
				times := 0
				log.after = func(written string) error {
					if times++; written == what && times < 4 {
						return errCrash
					}
					return nil
				}
				f := open(t, api, log, nil)
				ctx, stop := context.WithTimeout(t.Context(), time.Hour)
				defer stop()
				if err := f.Run(ctx); err != nil {
					t.Fatalf("Run: %v", err)
				}
				wantAll(t, api, log)
				if s := f.Status(); s.State != StateIdle {
					t.Errorf("status = %+v", s)
				}
			})
		})
	}
}

func TestPositionTools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 35, time.Now(), 3*time.Hour)...)
		f := open(t, api, log, nil)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		synctest.Wait()
		hour := len(log.delivered())
		if hour == 0 || hour == 35 {
			t.Fatalf("%d records of the last hour", hour)
		}
		if err := f.Do(ctx, Rewind(time.Now().Add(-24*time.Hour))); err != nil {
			t.Fatalf("rewind: %v", err)
		}
		synctest.Wait()
		wantAll(t, api, log)
		if err := f.Do(ctx, Pause); err != nil {
			t.Fatalf("pause: %v", err)
		}
		calls := api.calls
		time.Sleep(time.Hour)
		if api.calls != calls || f.Status().State != StatePaused {
			t.Errorf("a paused feed made %d calls, state %s", api.calls-calls, f.Status().State)
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatalf("Run: %v", err)
		}
		f = open(t, api, log, nil) // a pause survives a restart
		if f.Status().State != StatePaused {
			t.Errorf("state after a restart: %s", f.Status().State)
		}
		if err := f.Do(t.Context(), Resume); err != nil {
			t.Fatalf("resume: %v", err)
		}
		if err := f.Do(t.Context(), Reset); err != nil {
			t.Fatalf("reset: %v", err)
		}
		f = open(t, api, log, func(o *Options) {
			o.Start = func(now time.Time) (time.Time, bool) { return now.Add(-24 * time.Hour), true }
		})
		if err := f.Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		for id, n := range log.delivered() {
			if n != 2 {
				t.Fatalf("record %s is in the log %d times after a reset, want 2", id, n)
			}
		}
	})
}

// TestRevisit: what appears later than the overlap reaches is found by a
// revisit, counted as late, and a revisit that finds nothing is proof.
func TestRevisit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{cap: 40}, newMemoryLog()
		api.add(spread("e", 100, time.Now(), 50*time.Minute)...)
		revisit := func(o *Options) {
			o.Revisit = []time.Duration{time.Hour, 24 * time.Hour}
			o.Source = source(func(s *catalog.Source) { s.Paging.Cap = 40 })
		}
		f := open(t, api, log, revisit)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		time.Sleep(10 * time.Hour)
		if s := f.Status(); s.Counts.Late != 0 || time.Since(s.CompleteTo) > 90*time.Minute {
			t.Errorf("before late records: status = %+v", s)
		}
		halfAnHour, halfADay := time.Now(), time.Now().Add(time.Second)
		api.add(event{ID: "late by half an hour", Time: halfAnHour, visible: halfAnHour.Add(30 * time.Minute)})
		api.add(event{ID: "late by half a day", Time: halfADay, visible: halfADay.Add(12 * time.Hour)})
		time.Sleep(10 * time.Hour)
		if s := f.Status(); s.Counts.Late != 1 {
			t.Errorf("after a record late by half an hour: status = %+v", s)
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatalf("Run: %v", err)
		}
		time.Sleep(24 * time.Hour) // nobody runs; --once catches up, revisits too
		f = open(t, api, log, revisit)
		if err := f.Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		wantAll(t, api, log)
		if s := f.Status(); s.Counts.Late != 2 || s.LatenessMax < 12*time.Hour {
			t.Errorf("after a record late by half a day: status = %+v", s)
		}
	})
}

// TestBackfill: a past range is read in several slices at once beside the live
// lane, goes on after a crash, and adds no record twice.
func TestBackfill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(4, 2))
		api, log := &tenant{cap: 40}, newMemoryLog()
		api.add(randomly(r, "past", 2000, time.Now(), 30*24*time.Hour, 0)...)
		api.add(event{ID: "too old", Time: time.Now().Add(-60 * 24 * time.Hour), visible: time.Now().Add(1000 * time.Hour)})
		inHand, most := 0, 0
		api.fault = func(req fetch.Request, p *fetch.Page) error {
			inHand++
			most = max(most, inHand)
			api.mu.Unlock()
			time.Sleep(150 * time.Millisecond)
			api.mu.Lock()
			inHand--
			if r.IntN(10) == 0 {
				return &fetch.Error{Class: fetch.Retry}
			}
			if !req.Low && time.Since(req.Since) > 24*time.Hour {
				t.Errorf("the live lane asked for %s", req.Since)
			}
			return nil
		}
		options := func(o *Options) {
			o.Source = source(func(s *catalog.Source) {
				s.Paging.Cap = 40
				s.Window.Retention = catalog.Duration(45 * 24 * time.Hour)
			})
		}
		f := open(t, api, log, options)
		since, err := f.StartBackfill(t.Context(), time.Now().Add(-100*24*time.Hour), time.Now().Add(-30*time.Minute), 4)
		if err != nil || time.Since(since) > 46*24*time.Hour {
			t.Fatalf("start backfill = %v, %v", since, err)
		}
		until := f.Status().Backfill.Until
		for life := 0; f.Status().Backfill.Done < 1; life++ {
			if life > 200 {
				t.Fatalf("after %d lives: %+v", life, f.Status().Backfill)
			}
			writes := 0
			log.after = func(string) error {
				if writes++; writes > 6 {
					return errCrash
				}
				return nil
			}
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			_ = f.Run(ctx)
			stop()
			log.after = nil
			f = open(t, api, log, options)
		}
		if most < 4 {
			t.Errorf("at most %d requests at once", most)
		}
		// The same range again: nothing is there that the log does not have.
		before := f.Status().Counts.Records
		if _, err := f.StartBackfill(t.Context(), since.Add(time.Hour), until, 3); err != nil {
			t.Fatalf("start backfill again: %v", err)
		}
		if _, err := f.StartBackfill(t.Context(), since, until.Add(-time.Hour), 3); !errors.As(err, new(*BusyError)) {
			t.Errorf("another backfill meanwhile: %v", err)
		}
		for f.Status().Backfill.Done < 1 {
			_ = f.Backfill(t.Context())
		}
		if after := f.Status().Counts.Records; after != before {
			t.Errorf("the second backfill added %d records", after-before)
		}
		if _, err := f.StartBackfill(t.Context(), since, until, 1); err != nil {
			t.Fatalf("third backfill: %v", err)
		}
		if err := f.Do(t.Context(), CancelBackfill); err != nil || f.Status().Backfill.Done != 1 {
			t.Errorf("cancel = %v, then %+v", err, f.Status().Backfill)
		}
		api.fault = nil
		if err := open(t, api, log, options).Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		api.events = api.events[:2000]
		wantAll(t, api, log)
	})
}

var errCrash = errors.New("crash")

// TestNothingLost runs many lives of a feed: records are made all the while,
// share timestamps and appear late, one answer in four fails or lies, and the
// process dies before or after any write. At the end the log holds each record
// once.
func TestNothingLost(t *testing.T) {
	lives := 150
	if testing.Short() {
		lives = 30
	}
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 1))
				api, log := &tenant{cap: []int{0, 40, 40, 40}[seed%4], saturated: seed%4 == 2, noTotal: seed%4 == 3}, newMemoryLog()
				api.add(randomly(r, "past", 300, time.Now(), 50*time.Minute, 0)...)
				api.fault = func(req fetch.Request, p *fetch.Page) error {
					switch r.IntN(20) {
					case 0, 1:
						return &fetch.Error{Class: fetch.Retry}
					case 2:
						return &fetch.Error{Class: fetch.Throttle}
					case 3:
						if p.More && !api.noTotal {
							p.Cursor = req.Cursor
						}
					case 4:
						if !api.noTotal && len(p.Records) > 0 {
							p.Records = p.Records[1:]
						}
					}
					return nil
				}
				options := func(o *Options) {
					o.Revisit = []time.Duration{time.Hour}
					o.Source = source(func(s *catalog.Source) { s.Paging.Cap = api.cap })
				}
				for life := range lives {
					crash := func(string) error { return nil }
					if at := r.IntN(12); at < 10 {
						crash = func(string) error {
							if at--; at < 0 {
								return errCrash
							}
							return nil
						}
					}
					log.before, log.after = nil, nil
					if r.IntN(2) == 0 {
						log.before = crash
					} else {
						log.after = crash
					}
					f := open(t, api, log, options)
					ctx, stop := context.WithTimeout(t.Context(), time.Duration(1+r.IntN(10))*time.Minute)
					_ = f.Run(ctx)
					stop()
					api.add(randomly(r, fmt.Sprint("life", life, "-"), r.IntN(12), time.Now(), 4*time.Minute, 4*time.Minute)...)
				}
				log.before, log.after, api.fault = nil, nil, nil
				time.Sleep(9 * time.Minute) // the last late ones become visible
				if err := open(t, api, log, options).Once(t.Context()); err != nil {
					t.Fatalf("last Once: %v", err)
				}
				wantAll(t, api, log)
			})
		})
	}
}

// TestFaultsWithNames: what no single answer shows.
func TestFaultsWithNames(t *testing.T) {
	type world struct {
		api  *tenant
		feed *Feed
		made int
	}
	// live makes a record a minute and lets the feed run for so long.
	live := func(t *testing.T, w *world, d time.Duration) {
		ctx, stop := context.WithTimeout(t.Context(), d+90*time.Second) // not just as a round begins
		defer stop()
		var maker sync.WaitGroup
		maker.Go(func() {
			time.Sleep(7 * time.Second) // never at the moment at which the feed asks
			every := time.NewTicker(time.Minute)
			defer every.Stop()
			for {
				w.made++
				w.api.add(event{ID: fmt.Sprint("live", w.made), Time: time.Now().UTC()})
				select {
				case <-ctx.Done():
					return
				case <-every.C:
				}
			}
		})
		if err := w.feed.Run(ctx); err != nil {
			t.Fatalf("Run: %v", err)
		}
		maker.Wait()
	}
	for name, c := range map[string]struct {
		options func(*Options)
		happens func(t *testing.T, w *world)
		want    State
	}{
		"nothing": {nil, func(t *testing.T, w *world) { live(t, w, 5*time.Hour) }, StateIdle},
		"the product stops logging": {nil, func(t *testing.T, w *world) {
			live(t, w, 5*time.Hour)
			time.Sleep(2 * time.Hour)
			if err := w.feed.Once(t.Context()); err != nil {
				t.Fatalf("Once: %v", err)
			}
		}, StateSilent},
		"a field that was always there is left out": {nil, func(t *testing.T, w *world) {
			live(t, w, 5*time.Hour)
			w.api.fault = func(_ fetch.Request, p *fetch.Page) error {
				for i, r := range p.Records {
					p.Records[i] = []byte(strings.Replace(string(r), `"id"`, `"extra":1,"id"`, 1))
				}
				return nil
			}
			live(t, w, time.Hour) // one that is new is no fault
			if s := w.feed.Status(); s.State != StateIdle {
				t.Errorf("with an additional field: %s, %s", s.State, s.Reason)
			}
			w.feed.opts.Keyer = unkeyed{}
			w.api.fault = func(_ fetch.Request, p *fetch.Page) error {
				for i, r := range p.Records {
					p.Records[i] = []byte(strings.Replace(string(r), `"timestamp"`, `"time"`, 1))
				}
				return nil
			}
			live(t, w, time.Hour)
		}, StateMissingFields},
		"a field that the catalogue expects is not there at the first page": {func(o *Options) {
			o.Source = source(func(s *catalog.Source) { s.Record.Expect = []string{"id", "performer"} })
		}, func(t *testing.T, w *world) { live(t, w, time.Minute) }, StateMissingFields},
		"the same records again and again": {nil, func(t *testing.T, w *world) {
			w.api.noTotal = true
			w.api.fault = func(_ fetch.Request, p *fetch.Page) error {
				for range 4 {
					p.Records = append(p.Records, p.Records...)
				}
				return nil
			}
			live(t, w, time.Hour)
		}, StateDuplicating},
		"each round takes longer than the one before": {nil, func(t *testing.T, w *world) {
			n := 0
			w.api.fault = func(r fetch.Request, _ *fetch.Page) error {
				if r.Cursor == nil {
					n++
					w.api.mu.Unlock()
					time.Sleep(time.Duration(n) * 3 * time.Minute)
					w.api.mu.Lock()
				}
				return nil
			}
			live(t, w, 10*time.Hour)
		}, StateBehind},
		"the product is about to forget": {func(o *Options) {
			o.Source = source(func(s *catalog.Source) { s.Window.Retention = catalog.Duration(10 * time.Hour) })
		}, func(t *testing.T, w *world) {
			live(t, w, time.Hour)
			time.Sleep(9 * time.Hour)
			w.api.fault = func(fetch.Request, *fetch.Page) error {
				w.api.mu.Unlock()
				time.Sleep(time.Hour)
				w.api.mu.Lock()
				return nil
			}
			live(t, w, time.Minute)
		}, StateLossy},
		"more records at one moment than a query yields": {func(o *Options) {
			o.Source = source(func(s *catalog.Source) { s.Paging.Cap = 40 })
		}, func(t *testing.T, w *world) {
			w.api.cap = 40
			at := time.Now()
			for i := range 60 {
				w.api.add(event{ID: fmt.Sprint("same", i), Time: at})
			}
			live(t, w, time.Hour)
		}, StateLossy},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{api: &tenant{}}
				w.api.add(spread("e", 60, time.Now(), 50*time.Minute)...)
				w.feed = open(t, w.api, newMemoryLog(), c.options)
				c.happens(t, w)
				s := w.feed.Status()
				if s.State != c.want || (s.Reason == "") != (c.want == StateIdle) {
					t.Errorf("state %s (%s), want %s", s.State, s.Reason, c.want)
				}
			})
		})
	}
}

// TestOverlapFollowsLateness: where records appear later than the configured
// overlap, the overlap grows, as far as the first revisit.
func TestOverlapFollowsLateness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		f := open(t, api, log, func(o *Options) { o.Revisit = []time.Duration{time.Hour} })
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Hour)
		defer stop()
		for i := range 600 { // one a minute, as time passes
			at := time.Now().Add(time.Duration(i) * time.Minute)
			api.add(event{ID: fmt.Sprint(i), Time: at, visible: at.Add(25 * time.Minute)})
		}
		if err := f.Run(ctx); err != nil {
			t.Fatalf("Run: %v", err)
		}
		if o := f.overlap(); o < 30*time.Minute || o > time.Hour {
			t.Errorf("overlap is %s", o)
		}
	})
}
