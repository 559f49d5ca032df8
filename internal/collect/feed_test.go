package collect

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOnceReadsEverythingOnce(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// TestHugePage: a page of more records than the log takes at once is written in
// parts, and a crash between them neither loses nor repeats a record.
func TestHugePage(t *testing.T) {
	t.Parallel()
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

func TestErrorsThatStop(t *testing.T) {
	t.Parallel()
	for class, want := range map[fetch.Class]State{
		fetch.Auth:      StateAuth,
		fetch.Forbidden: StateForbidden,
		fetch.Permanent: StateStopped,
	} {
		t.Run(string(class), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &tenant{}, newMemoryLog()
				api.fault = func(fetch.Request, *fetch.Page) error { return &fetch.Error{Class: class, Message: "no"} }
				// Of a feed that has nothing to read at first, no success is told either.
				f := open(t, api, log, func(o *Options) {
					o.Start = func(time.Time) (time.Time, bool) { return time.Time{}, false }
				})
				err := f.Run(t.Context())
				var stopped *Stopped
				s := f.Status()
				if !errors.As(err, &stopped) || s.State != want || api.calls != 1 {
					t.Errorf("Run = %v after %d calls, state %s", err, api.calls, s.State)
				}
				if !s.LastSuccess.IsZero() || s.Reason != stopped.Err.Error() {
					t.Errorf("last success %s, reason %q", s.LastSuccess, s.Reason)
				}
				if s := open(t, api, log, nil).Status(); !s.LastSuccess.IsZero() {
					t.Errorf("last success of the next life: %s", s.LastSuccess)
				}
			})
		})
	}
}

func TestFenced(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

var errCrash = errors.New("crash")

// TestNothingLost runs many lives of a feed: records are made all the while,
// share timestamps and appear late, one answer in four fails or lies, and the
// process dies before or after any write. At the end the log holds each record
// once.
func TestNothingLost(t *testing.T) {
	t.Parallel()
	lives := 150
	if testing.Short() {
		lives = 30
	}
	for seed := range seeds(8) {
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
