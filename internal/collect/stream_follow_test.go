package collect

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// start runs a feed beside the test; stop ends it.
func start(t *testing.T, f *Feed) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// every makes an event each so often from now on, n times.
func every(prefix string, n int, d time.Duration) []event {
	events := make([]event, n)
	for i := range events {
		events[i] = event{ID: fmt.Sprint(prefix, i), Time: time.Now().Add(time.Duration(i+1) * d).UTC()}
	}
	return events
}

// TestStreamIsFollowed: a new feed takes the position, reads by time up to
// then, and from then on only follows; each position comes back exactly as it
// was given, over restarts too.
func TestStreamIsFollowed(t *testing.T) {
	t.Parallel()
	for _, since := range []bool{false, true} {
		t.Run(fmt.Sprint("begins by a time: ", since), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := newStreamer(), newMemoryLog()
				api.since = since
				api.stream(12*time.Second, 12*time.Second, spread("past", 95, time.Now().Add(-time.Minute), 50*time.Minute)...)
				api.stream(12*time.Second, 48*time.Hour, every("new", 3000, 7*time.Second)...) // not to be had by time
				byTime := 0
				api.fault = func(fetch.Request, *fetch.Page) error { byTime++; return nil }
				change := func(o *Options) {
					followed(o)
					if since {
						o.Source.Stream.Start = ""
					}
				}
				settled := 0
				for range 6 {
					stop := start(t, open(t, api, log, change))
					time.Sleep(time.Hour)
					stop()
					if settled == 0 {
						settled = byTime
					}
				}
				time.Sleep(time.Minute)
				if err := open(t, api, log, change).Once(t.Context()); err != nil {
					t.Fatalf("Once: %v", err)
				}
				wantAll(t, api.tenant, log)
				if n := open(t, api, log, change).Status().Counts.Late; n > 0 {
					t.Errorf("%d records count as late", n)
				}
				if settled == 0 || byTime > settled {
					t.Errorf("%d requests by time in the first hour, and %d after it", settled, byTime-settled)
				}
				if api.asked[0] != "" {
					t.Errorf("the first position asked for is %s", api.asked[0])
				}
				kinds := map[byte]int{}
				for _, p := range api.asked[1:] {
					if _, ok := api.given[p]; !ok {
						t.Fatalf("position %q was never given", p)
					}
					kinds[p[0]]++
				}
				if kinds['"'] == 0 || kinds['1'] == 0 {
					t.Errorf("the positions were not of two types: %v", kinds)
				}
			})
		})
	}
}

// TestStreamBegins: nothing falls between what is read by time and what the
// stream gives, however long the first takes, and without a revisit.
func TestStreamBegins(t *testing.T) {
	t.Parallel()
	for _, since := range []bool{false, true} {
		for name, late := range map[string]time.Duration{"at once": 0, "soon": 20 * time.Second, "just in the overlap": 9 * time.Minute} {
			t.Run(fmt.Sprint("begins by a time: ", since, ", visible ", name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					api, log := newStreamer(), newMemoryLog()
					api.since = since
					for i, e := range slices.Concat(spread("past", 600, time.Now(), 20*time.Minute), every("new", 2000, time.Second)) {
						if i%2 == 0 {
							api.stream(0, late, e)
						} else {
							api.stream(late, late, e)
						}
					}
					f := open(t, unhurried{api, time.Second}, log, func(o *Options) {
						followed(o)
						if since {
							o.Source.Stream.Start = ""
						}
					})
					stop := start(t, f)
					time.Sleep(time.Hour)
					stop()
					wantAll(t, api.tenant, log)
					if s := f.Status(); s.State != StateIdle || s.Stream.Lost != nil {
						t.Errorf("status = %+v, stream = %+v", s, s.Stream)
					}
				})
			})
		}
	}
}

// TestStreamWatermark: it moves to when the last page was asked for, and what
// the stream gives a little late is not late.
func TestStreamWatermark(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := newStreamer(), newMemoryLog()
		api.stream(30*time.Second, 30*time.Second, every("new", 500, 11*time.Second)...)
		f := open(t, unhurried{api, 20 * time.Second}, log, followed)
		stop := start(t, f)
		time.Sleep(90 * time.Minute)
		s := f.Status()
		if lag := time.Since(s.Watermark); lag < 20*time.Second || lag > 20*time.Second+time.Minute+20*time.Second {
			t.Errorf("it lags by %s", lag)
		}
		if s.Counts.Late != 0 || s.Counts.Duplicates > 60 {
			t.Errorf("counts = %+v", s.Counts)
		}
		if s.Stream == nil || s.Stream.Position == "" || time.Since(s.Stream.At) > 2*time.Minute || s.Stream.ByTime {
			t.Errorf("stream = %+v", s.Stream)
		}
		stop()
		time.Sleep(5 * time.Minute)
		if err := open(t, api, log, followed).Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		wantAll(t, api.tenant, log)
		time.Sleep(time.Minute)
		if f = open(t, unhurried{api, 20 * time.Second}, log, followed); f.Once(t.Context()) != nil {
			t.Fatal("Once failed")
		}
		if w := f.Status().Watermark; !w.Equal(time.Now().Add(-20 * time.Second)) {
			t.Errorf("the watermark is at %s, and the last page was asked for 20 s before %s", w, time.Now())
		}
	})
}

// TestStreamSaysNothing: a position that says nothing (Box's 0) neither rewinds
// nor skips, whether records come with it or not.
func TestStreamSaysNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := newStreamer(), newMemoryLog()
		api.stream(0, 48*time.Hour, every("new", 1000, 10*time.Second)...)
		n := 0
		api.misbehave = func(r fetch.Request, p *fetch.Page, _ int) error {
			if n++; r.Cursor != nil && n%3 != 0 {
				p.Cursor = nil
			}
			return nil
		}
		f := open(t, api, log, followed)
		stop := start(t, f)
		time.Sleep(4 * time.Hour)
		stop()
		wantAll(t, api.tenant, log)
		if s := f.Status(); s.Stream.Lost != nil {
			t.Errorf("stream = %+v", s.Stream)
		}
		for _, p := range api.asked[1:] {
			if p == "" {
				t.Fatal("the present position was asked for again")
			}
		}
	})
}

// TestStreamByTheirIDs: what comes by the stream and by time, in whatever order
// and however often, is in the log once.
func TestStreamByTheirIDs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := newStreamer(), newMemoryLog()
		events := every("new", 2000, 5*time.Second)
		for i, e := range events {
			switch i % 4 {
			case 0:
				api.stream(0, 0, e)
			case 1:
				api.stream(90*time.Minute, 0, e) // after the revisit has found it
			case 2:
				api.stream(0, 50*time.Minute, e)
			default:
				api.add(e) // never in the stream
			}
		}
		api.misbehave = func(_ fetch.Request, p *fetch.Page, from int) error {
			for i := range min(from, 3) {
				p.Records = append(p.Records, record(api.arrivals[from-1-i].event))
			}
			slices.Reverse(p.Records)
			return nil
		}
		f := open(t, api, log, func(o *Options) {
			followed(o)
			o.Revisit = []time.Duration{time.Hour}
		})
		stop := start(t, f)
		time.Sleep(5 * time.Hour)
		wantAll(t, api.tenant, log)
		s := f.Status()
		if s.Counts.Late < 900 || s.Stream.Lost != nil {
			t.Errorf("counts = %+v, stream = %+v", s.Counts, s.Stream)
		}
		time.Sleep(2 * time.Hour)
		if s := f.Status(); time.Since(s.CompleteTo) > 2*time.Hour {
			t.Errorf("complete to %s, and it is %s", s.CompleteTo, time.Now())
		}
		stop()
	})
}

// TestStreamPositionTools: a rewind reads by time, to the present, and goes on
// with the stream from where it was; a reset begins anew; a paused feed stays.
func TestStreamPositionTools(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := newStreamer(), newMemoryLog()
		api.add(spread("before", 60, time.Now().Add(-2*time.Hour), 50*time.Minute)...) // the start
		api.stream(0, 0, every("new", 1000, 20*time.Second)...)
		f := open(t, api, log, followed)
		stop := start(t, f)
		time.Sleep(time.Hour)
		if err := f.Do(t.Context(), Rewind(time.Now().Add(-5*time.Hour))); err != nil {
			t.Fatal(err)
		}
		if s := f.Status().Stream; s.Position == "" {
			t.Errorf("after the rewind the stream is at %+v", s)
		}
		time.Sleep(time.Hour)
		if got := log.delivered(); got["before0"] != 1 || got["before59"] != 1 {
			t.Errorf("the past is not in the log after a rewind: %v", got["before0"])
		}
		asked, _ := api.positions()
		if slices.Contains(asked[1:], "") {
			t.Error("the rewind gave the position up")
		}
		if err := f.Do(t.Context(), Pause); err != nil {
			t.Fatal(err)
		}
		asked, _ = api.positions()
		time.Sleep(time.Hour)
		if later, _ := api.positions(); len(later) != len(asked) {
			t.Error("a paused feed asks")
		}
		if err := f.Do(t.Context(), Resume); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Hour)
		wantAll(t, api.tenant, log)
		if s := f.Status().Stream; s.Lost != nil {
			t.Errorf("stream = %+v", s)
		}
		if err := f.Do(t.Context(), Reset); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if asked, _ = api.positions(); !slices.Contains(asked[1:], "") {
			t.Error("a reset feed goes on from the old position")
		}
		stop()
	})
}

// TestStreamStandby: a feed that another process has moved goes on from there,
// and one that does not know of it can write nothing.
func TestStreamStandby(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := newStreamer(), newMemoryLog()
		api.stream(0, 48*time.Hour, every("new", 1000, 10*time.Second)...)
		first, second := open(t, api, log, followed), open(t, api, log, followed)
		second.Standby()
		stop := start(t, first)
		time.Sleep(time.Hour)
		stop()
		if err := second.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop = start(t, second)
		time.Sleep(30 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := first.once(ctx); err == nil {
			t.Error("a stale feed wrote")
		}
		cancel()
		time.Sleep(90 * time.Minute)
		stop()
		wantAll(t, api.tenant, log)
	})
}

// TestStreamUnknownWrite: a page or a position that was written, though its
// writer did not hear of it, is neither lost nor repeated.
func TestStreamUnknownWrite(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{false, true} {
		t.Run(fmt.Sprint("written: ", done), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := newStreamer(), newMemoryLog()
				api.stream(0, 48*time.Hour, every("new", 1000, 10*time.Second)...)
				n := 0
				fail := func(string) error {
					if n++; n%4 == 0 {
						return pagelog.ErrUnknown
					}
					return nil
				}
				if log.before = fail; done {
					log.before, log.after = nil, fail
				}
				stop := start(t, open(t, api, log, followed))
				time.Sleep(4 * time.Hour)
				stop()
				wantAll(t, api.tenant, log)
			})
		})
	}
}

// TestStreamComesAndGoes: a catalogue in which a source has got a stream, or has
// it no more, loses nothing.
func TestStreamComesAndGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := newStreamer(), newMemoryLog()
		api.stream(0, 0, every("new", 4000, 10*time.Second)...)
		with := func(o *Options) { followed(o); o.Settings.Stream = "a" }
		other := func(o *Options) { followed(o); o.Settings.Stream = "b" }
		without := func(o *Options) {
			o.Settings.Request = "c"
			o.Source = source(func(s *catalog.Source) { s.Window.Fields = []string{"timestamp"} })
			o.Interval = time.Minute
		}
		for i, change := range []func(*Options){without, with, with, other, without, with, other} {
			f := open(t, unhurried{api, 10 * time.Second}, log, change)
			stop := start(t, f)
			time.Sleep(time.Hour)
			for p := f.Position(); p.Stream != nil && !p.Stream.Due; p = f.Position() { // in the midst of a round
				time.Sleep(time.Second)
			}
			stop()
			if got := len(f.Status().Changes); i > 2 && got == 0 {
				t.Errorf("life %d: nothing is said of the change", i)
			}
		}
		time.Sleep(8 * time.Hour)
		if err := open(t, api, log, with).Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		wantAll(t, api.tenant, log)
	})
}

// TestStreamKeepsItsPosition: while nothing comes of asking for the present
// position, the one there is stays.
func TestStreamKeepsItsPosition(t *testing.T) {
	t.Parallel()
	for name, renewed := range map[string]func(p *fetch.Page) error{
		"none is given": func(p *fetch.Page) error { p.Cursor = nil; return nil },
		"that fails":    func(*fetch.Page) error { return &fetch.Error{Class: fetch.Retry} },
		"it is refused": func(*fetch.Page) error { return &fetch.Error{Class: fetch.Permanent} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := newStreamer(), newMemoryLog()
				api.stream(0, 0, every("new", 500, 10*time.Second)...)
				f := open(t, api, log, followed)
				stop := start(t, f)
				time.Sleep(30 * time.Minute)
				down := time.Now().Add(time.Hour)
				api.behave(func(r fetch.Request, p *fetch.Page, _ int) error {
					switch {
					case time.Now().After(down):
						return nil
					case r.Cursor == nil:
						return renewed(p)
					}
					return &fetch.Error{Class: fetch.Retry}
				})
				time.Sleep(time.Hour)
				if s := f.Status().Stream; s.Lost != nil {
					t.Errorf("stream = %+v", s)
				}
				time.Sleep(time.Hour)
				stop()
				wantAll(t, api.tenant, log)
				if n := strings.Count(strings.Join(api.asked, ","), ",,"); n == 0 {
					t.Error("the present position was never asked for")
				}
			})
		})
	}
}
