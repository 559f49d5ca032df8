package collect

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/fetch"
)

// TestStreamPositionLost: whatever makes a position useless, what lies between
// it and the next one is read by time, and said to be.
func TestStreamPositionLost(t *testing.T) {
	t.Parallel()
	const keeps = 8 * time.Hour
	known := func(api *streamer, n int) (records [][]byte) {
		for _, x := range api.arrivals[:n] {
			records = append(records, record(x.event))
		}
		return records
	}
	for name, c := range map[string]struct {
		happens func(api *streamer)
		options func(*Options) // of the second life
		why     string
	}{
		"not used for longer than it is kept, as the catalogue knows": {
			func(*streamer) { time.Sleep(9 * time.Hour) },
			func(o *Options) { o.Source.Stream.Keeps = catalog.Duration(keeps) }, "last used 9h0m",
		},
		"not used for longer than it is kept, which the product says": {
			func(api *streamer) { api.keeps = keeps; time.Sleep(9 * time.Hour) }, nil, "refuses it: invalid stream position",
		},
		"refused":         {func(api *streamer) { api.forget() }, nil, "refuses it: invalid stream position"},
		"another filter":  {func(*streamer) {}, func(o *Options) { o.Settings.Filter = "another" }, "setting of the feed changed"},
		"another request": {func(*streamer) {}, func(o *Options) { o.Settings.Stream = "another" }, "setting of the feed changed"},
		"positions in a circle": {func(api *streamer) {
			api.untilRenewed(func(_ fetch.Request, p *fetch.Page, from int) error {
				p.Cursor = position((from/10 + 1) % 4 * 10)
				p.Records = known(api, 10)
				return nil
			})
		}, nil, "circle"},
		"endless pages of what is known": {func(api *streamer) {
			n := 0
			api.untilRenewed(func(_ fetch.Request, p *fetch.Page, _ int) error {
				n++
				p.Records, p.Cursor = known(api, 10), position(100_000+n)
				return nil
			})
		}, nil, "pages in a row with nothing but records that are known"},
		"endless pages without a record": {func(api *streamer) {
			n := 0
			api.untilRenewed(func(_ fetch.Request, p *fetch.Page, _ int) error {
				n++
				p.Records, p.Cursor, p.More = nil, position(100_000+n), true
				return nil
			})
		}, nil, "pages in a row without a record"},
		"a position that does not move": {func(api *streamer) {
			api.untilRenewed(func(r fetch.Request, p *fetch.Page, _ int) error {
				p.Records, p.Cursor = known(api, r.Size), nil
				return nil
			})
		}, nil, "the same records with the same position again and again"},
		"a position that is too long to be kept": {func(api *streamer) {
			api.untilRenewed(func(_ fetch.Request, p *fetch.Page, _ int) error {
				p.Cursor = jsontext.Value(`"` + strings.Repeat("x", 20_000) + `"`)
				return nil
			})
		}, nil, "one of 20002 bytes"},
		"requests at it that keep failing": {func(api *streamer) {
			api.untilRenewed(func(fetch.Request, *fetch.Page, int) error {
				return &fetch.Error{Class: fetch.Retry, Message: "time-out"}
			})
		}, nil, "kept failing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				api, log := newStreamer(), newMemoryLog()
				api.stream(0, 0, every("new", 3000, 20*time.Second)...)
				first := func(o *Options) { followed(o); o.Settings.Stream = "one" }
				second := func(o *Options) {
					first(o)
					if c.options != nil {
						c.options(o)
					}
				}
				f := open(t, api, log, first)
				stop := start(t, f)
				time.Sleep(30 * time.Minute)
				stop()
				caughtUp := f.Status().Watermark
				c.happens(api)
				f = open(t, api, log, second)
				stop = start(t, f)
				time.Sleep(time.Hour + time.Second)
				s := f.Status()
				if s.State != StateIdle || s.Stream.Position == "" || s.Stream.ByTime {
					t.Errorf("an hour later it is %s: %s; the stream is at %+v", s.State, s.Reason, s.Stream)
				}
				if l := s.Stream.Lost; l == nil || !strings.Contains(l.Why, c.why) || l.Since.After(caughtUp.Add(10*time.Minute)) || !l.Until.After(l.Since) {
					t.Errorf("lost = %+v, and it had been read to %s", l, caughtUp)
				}
				_, byTime := api.positions()
				time.Sleep(6 * time.Hour)
				if _, again := api.positions(); again != byTime {
					t.Errorf("an hour later it still reads by time: %d requests", again-byTime)
				}
				stop()
				time.Sleep(time.Hour) // for shorter than a position is kept
				if err := open(t, api, log, second).Once(t.Context()); err != nil {
					t.Fatalf("Once: %v", err)
				}
				if n := strings.Count(strings.Join(api.asked, ","), ",,") + 1; n > 2 {
					t.Errorf("the present position was asked for %d times", n)
				}
				api.events = slices.DeleteFunc(api.events, func(e event) bool { return e.visible.After(time.Now()) })
				wantAll(t, api.tenant, log)
			})
		})
	}
}

// TestStreamThatIsNoGood: where no position ever lasts, or none is given, new
// records are read by time all the while, at the pace of the interval, and the
// feed says what is wrong; it follows the stream once that is mended.
func TestStreamThatIsNoGood(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bad  func(r fetch.Request, p *fetch.Page, from int) error
		want string
	}{
		"every position is refused": {func(r fetch.Request, _ *fetch.Page, _ int) error {
			if r.Cursor != nil {
				return &fetch.Error{Class: fetch.Permanent, Message: "invalid stream position"}
			}
			return nil
		}, "invalid stream position"},
		"a position can be used once": {func() func(r fetch.Request, p *fetch.Page, _ int) error {
			used := map[string]bool{}
			return func(r fetch.Request, p *fetch.Page, _ int) error {
				if used[string(r.Cursor)] && r.Cursor != nil {
					return &fetch.Error{Class: fetch.Permanent, Message: "used up"}
				}
				used[string(r.Cursor)] = true
				return nil
			}
		}(), "used up"},
		"no position is given": {func(r fetch.Request, p *fetch.Page, _ int) error {
			p.Cursor = nil
			return nil
		}, "does not say where its stream is now"},
		"it is a circle": {func(r fetch.Request, p *fetch.Page, from int) error {
			if r.Cursor != nil {
				p.Cursor, p.More = position((from+1)%3), true
			}
			return nil
		}, "circle"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				api, log := newStreamer(), newMemoryLog()
				api.stream(0, 0, every("new", 2000, 14*time.Second)...)
				api.misbehave = c.bad
				f := open(t, api, log, followed)
				ctx, stop := context.WithTimeout(t.Context(), 4*time.Hour)
				defer stop()
				ended := make(chan error)
				go func() { ended <- f.Run(ctx) }()
				named := false
				for ctx.Err() == nil {
					time.Sleep(time.Minute)
					s := f.Status()
					named = named || s.State == StateStuck && strings.Contains(s.Reason, c.want)
					if time.Now().Minute()%5 != 0 {
						continue
					}
					known := log.delivered()
					for _, e := range api.events {
						if age := time.Since(e.Time); age > 150*time.Second && known[e.ID] == 0 && ctx.Err() == nil {
							t.Errorf("after %s the log does not have %s", age, e.ID)
							stop()
						}
					}
				}
				if err := <-ended; err != nil {
					t.Errorf("Run: %v", err)
				}
				if s := f.Status(); !named {
					t.Errorf("it is %s: %s", s.State, s.Reason)
				}
				if perRound := float64(api.calls) / (4 * 60); perRound > 40 {
					t.Errorf("%.0f requests in a round", perRound)
				}
				api.misbehave = nil
				done := start(t, f)
				time.Sleep(4 * time.Hour)
				done()
				if s := f.Status(); s.State != StateIdle && s.State != StateSilent || s.Stream.ByTime || s.Stream.Position == "" {
					t.Errorf("after it was mended it is %s: %s, at %+v", s.State, s.Reason, s.Stream)
				}
				wantAll(t, api.tenant, log)
			})
		})
	}
}

// TestStreamStopped: what refuses the stream as such stops the feed.
func TestStreamStopped(t *testing.T) {
	t.Parallel()
	for class, want := range map[fetch.Class]State{fetch.Auth: StateAuth, fetch.Forbidden: StateForbidden, fetch.Permanent: StateStopped} {
		synctest.Test(t, func(t *testing.T) {
			api := newStreamer()
			api.misbehave = func(fetch.Request, *fetch.Page, int) error { return &fetch.Error{Class: class, Message: "no"} }
			f := open(t, api, newMemoryLog(), followed)
			if err := f.Run(t.Context()); !isStopped(err) || f.Status().State != want {
				t.Errorf("%s: Run = %v, and it is %s", class, err, f.Status().State)
			}
		})
	}
}

// TestStreamFaults: the faults of a feed that no single answer shows.
func TestStreamFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		happens func(api *streamer)
		want    State
	}{
		"nothing":                {func(*streamer) {}, StateIdle},
		"given twice":            {func(api *streamer) { api.misbehave = replay(api, 1) }, StateIdle},
		"a product that replays": {func(api *streamer) { api.misbehave = replay(api, 40) }, StateDuplicating},
		"the stream is silent": {func(api *streamer) {
			api.misbehave = func(r fetch.Request, p *fetch.Page, _ int) error {
				p.Records, p.Cursor = nil, nil
				return nil
			}
		}, StateSilent},
		"the position is about to be forgotten": {func(api *streamer) {
			time.Sleep(6 * time.Hour)
			api.misbehave = func(fetch.Request, *fetch.Page, int) error { return &fetch.Error{Class: fetch.Retry, Message: "down"} }
		}, StateLossy},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := newStreamer(), newMemoryLog()
				api.stream(0, 0, every("new", 3000, 4*time.Second)...)
				change := func(o *Options) {
					followed(o)
					o.Interval = 5 * time.Minute
					o.Source.Stream.Keeps = catalog.Duration(8 * time.Hour)
				}
				f := open(t, api, log, change)
				stop := start(t, f)
				time.Sleep(time.Hour)
				stop()
				c.happens(api)
				stop = start(t, f)
				time.Sleep(90*time.Minute + time.Second)
				if s := f.Status(); s.State != c.want || (s.Reason == "") != (c.want == StateIdle) {
					t.Errorf("it is %s (%s), want %s", s.State, s.Reason, c.want)
				}
				stop()
			})
		})
	}
}

// replay gives records of before again, so many for each new one.
func replay(api *streamer, times int) func(fetch.Request, *fetch.Page, int) error {
	return func(r fetch.Request, p *fetch.Page, from int) error {
		if r.Cursor == nil || len(p.Records) == 0 {
			return nil
		}
		for i := range times {
			p.Records = append(p.Records, record(api.arrivals[(from+i)%max(from, 1)].event))
		}
		return nil
	}
}

// TestStreamClockGoesBack: a clock that was ahead for a while loses nothing.
func TestStreamClockGoesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := newStreamer(), newMemoryLog()
		api.stream(0, 0, every("new", 6000, 5*time.Second)...)
		var ahead atomic.Int64
		f := open(t, api, log, func(o *Options) {
			followed(o)
			o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())).Round(0) }
		})
		stop := start(t, f)
		time.Sleep(time.Hour)
		ahead.Store(int64(24 * time.Hour))
		time.Sleep(time.Hour)
		ahead.Store(0)
		time.Sleep(7 * time.Hour)
		stop()
		wantAll(t, api.tenant, log)
		if p := f.Position(); p.Watermark.After(time.Now()) || p.Stream.At.After(time.Now()) {
			t.Errorf("the watermark is at %s, the stream's at %s, and it is %s", p.Watermark, p.Stream.At, time.Now())
		}
	})
}
