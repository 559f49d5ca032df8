package collect

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/fetch"
)

// dating is an API whose answers say when they were made.
type dating struct{ Fetcher }

func (d dating) Page(ctx context.Context, r fetch.Request) (*fetch.Page, error) {
	p, err := d.Fetcher.Page(ctx, r)
	if err == nil {
		p.Date = time.Now().Truncate(time.Second)
	}
	return p, err
}

// TestClockAhead: a machine whose clock is ahead of the product's, from the
// start or for a while, misses nothing, and needs no revisit for that.
func TestClockAhead(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]func(since time.Duration) time.Duration{
		"always":          func(time.Duration) time.Duration { return 45 * time.Minute },
		"by a day":        func(time.Duration) time.Duration { return 24 * time.Hour },
		"after two hours": func(d time.Duration) time.Duration { return min(d/(2*time.Hour), 1) * 45 * time.Minute },
		"for two hours":   func(d time.Duration) time.Duration { return max(0, 1-d/(2*time.Hour)) * 45 * time.Minute },
		"now and then":    func(d time.Duration) time.Duration { return d / time.Hour % 2 * 45 * time.Minute },
		"more and more":   func(d time.Duration) time.Duration { return d / 4 },
	} {
		for _, past := range []bool{false, true} {
			for _, stream := range []bool{false, true} {
				t.Run(fmt.Sprint(name, ", with a start: ", past, ", by a stream: ", stream), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						api, log := newStreamer(), newMemoryLog()
						api.stream(0, 0, every("new", 2000, 13*time.Second)...)
						begun := time.Now()
						var told atomic.Bool
						api.fault = func(r fetch.Request, _ *fetch.Page) error {
							if told.Swap(true) && name == "always" && r.Until.After(time.Now().Add(time.Second)) {
								t.Errorf("after %s it asked for what is until %s", time.Since(begun), time.Until(r.Until))
							}
							return nil
						}
						f := open(t, unhurried{dating{api}, 300 * time.Millisecond}, log, func(o *Options) {
							if stream {
								followed(o)
							}
							o.Now = func() time.Time { return time.Now().Add(ahead(time.Since(begun))).Round(0) }
							if !past {
								o.Start = func(time.Time) (time.Time, bool) { return time.Time{}, false }
							}
						})
						stop := start(t, f)
						time.Sleep(9 * time.Hour)
						stop()
						wantAll(t, api.tenant, log)
						if p := f.Position(); p.Watermark.After(time.Now()) {
							t.Errorf("the watermark is at %s, and it is %s", p.Watermark, time.Now())
						}
					})
				})
			}
		}
	}
}

// TestClockBehind: a machine whose clock is behind misses nothing when it takes
// a position.
func TestClockBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := newStreamer(), newMemoryLog()
		api.stream(0, 0, spread("past", 500, time.Now(), 50*time.Minute)...)
		api.stream(0, 0, every("new", 500, 13*time.Second)...)
		f := open(t, unhurried{dating{api}, 300 * time.Millisecond}, log, func(o *Options) {
			followed(o)
			o.Start = func(now time.Time) (time.Time, bool) { return now.Add(-24 * time.Hour), true }
			o.Now = func() time.Time { return time.Now().Add(-time.Hour).Round(0) }
		})
		stop := start(t, f)
		time.Sleep(4 * time.Hour)
		stop()
		wantAll(t, api.tenant, log)
	})
}

// TestClockBehindByTime: nor when it reads by time, whether once or for long;
// and its records are not left until its clock gets there.
func TestClockBehindByTime(t *testing.T) {
	t.Parallel()
	for _, behind := range []time.Duration{10 * time.Minute, 48 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			api, log := &tenant{}, newMemoryLog()
			begun := time.Now()
			api.add(every("new", 3000, 7*time.Second)...)
			options := func(o *Options) {
				o.Start = func(now time.Time) (time.Time, bool) { return now.Add(-time.Hour), true }
				o.Now = func() time.Time { return time.Now().Add(-behind).Round(0) }
			}
			open1 := func() *Feed { return open(t, unhurried{dating{api}, 300 * time.Millisecond}, log, options) }
			all := func(than time.Duration) {
				t.Helper()
				known := log.delivered()
				for _, e := range api.events {
					if e.Time.Before(time.Now().Add(-than)) && known[e.ID] != 1 {
						t.Fatalf("after %s, %s of %s is there %d times", time.Since(begun), e.ID, e.Time.Sub(begun), known[e.ID])
					}
				}
			}
			for range 5 {
				time.Sleep(3 * time.Minute)
				if err := open1().Once(t.Context()); err != nil {
					t.Fatal(err)
				}
				all(2 * time.Second)
			}
			f := open1()
			stop := start(t, f)
			for range 50 {
				time.Sleep(5*time.Minute + 3*time.Second)
				all(3 * time.Minute)
			}
			stop()
			if p := f.Position(); p.Watermark.After(time.Now().Add(-behind)) {
				t.Errorf("the watermark is at %s", p.Watermark)
			}
		})
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	s := func(seconds float64) time.Time { return at.Add(time.Duration(seconds * float64(time.Second))) }
	for name, c := range map[string]struct {
		answers [][3]float64 // asked, received, date
		want    float64      // seconds behind
	}{
		"no date":                             {nil, 0},
		"the same":                            {[][3]float64{{0.1, 0.3, 0}}, 0},
		"this one is behind":                  {[][3]float64{{0.1, 0.3, 600}}, 0},
		"this one is ahead":                   {[][3]float64{{600.1, 600.3, 0}}, 600.3},
		"ahead by less than can be told":      {[][3]float64{{0.9, 1.1, 0}}, 0},
		"ahead by less than the answer took":  {[][3]float64{{100, 300, 200}}, 0},
		"told more closely":                   {[][3]float64{{600.1, 603, 0}, {700.1, 700.2, 100}}, 600.2},
		"told less closely":                   {[][3]float64{{600.1, 600.2, 0}, {700.1, 900, 100}}, 600.2},
		"set right":                           {[][3]float64{{600.1, 600.2, 0}, {100.1, 100.2, 100}}, 0},
		"set back, but not enough":            {[][3]float64{{600.1, 600.2, 0}, {400.1, 400.2, 100}}, 300.2},
		"an answer of another age":            {[][3]float64{{600.1, 600.2, -3e6}}, 0},
		"after it one that is to be believed": {[][3]float64{{600.1, 600.2, -3e6}, {600.1, 600.2, 0}}, 600.2},
	} {
		var clock clock
		for _, a := range c.answers {
			clock.observe(s(a[0]), s(a[1]), s(a[2]))
		}
		clock.observe(s(0), s(0), time.Time{})
		if got := clock.behind.Seconds(); got != c.want || !clock.at(at).Equal(s(-c.want)) {
			t.Errorf("%s: %g s behind, want %g", name, got, c.want)
		}
	}
}
