package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/fetch"
)

// withGaps gives a feed that has been read once, with n gaps in it: the API
// counts a record more than it gives in n seconds of the last hour.
func withGaps(t *testing.T, api *tenant, log *memoryLog, n int) (at []time.Time) {
	t.Helper()
	for i := range n {
		at = append(at, time.Now().Add(-time.Duration(15+3*i)*time.Minute))
	}
	api.fault = func(r fetch.Request, p *fetch.Page) error {
		for _, gap := range at {
			if gap.After(r.Since) && gap.Before(r.Until) {
				p.Total++
			}
		}
		return nil
	}
	f := open(t, api, log, nil)
	var incomplete *IncompleteError
	var err error
	for range 10 { // the first ones narrow them down where there are many
		if err = f.Once(t.Context()); errors.As(err, &incomplete) && len(f.Position().Gaps) >= n {
			break
		}
	}
	if got := len(f.Position().Gaps); incomplete == nil || got < n {
		t.Fatalf("Once = %v, with %d gaps, want at least %d", err, got, n)
	}
	return at
}

// TestGapsDoNotStarve: however long it takes to read gaps again, or whatever
// becomes of it, new records come first, and each gap gets its turn.
func TestGapsDoNotStarve(t *testing.T) {
	t.Parallel()
	for name, about := range map[string]func(api *tenant) error{
		"slow": func(api *tenant) error {
			api.mu.Unlock()
			time.Sleep(2 * time.Minute)
			api.mu.Lock()
			return nil
		},
		"failing": func(*tenant) error { return &fetch.Error{Class: fetch.Retry, Message: "time-out"} },
		"refused": func(*tenant) error { return &fetch.Error{Class: fetch.Permanent, Message: "too old"} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &tenant{}, newMemoryLog()
				api.add(spread("e", 60, time.Now(), 50*time.Minute)...)
				gaps := withGaps(t, api, log, 10)
				hidden := api.fault
				asked := map[time.Time]bool{}
				api.fault = func(r fetch.Request, p *fetch.Page) error {
					if err := hidden(r, p); err != nil {
						return err
					}
					for _, gap := range gaps {
						if gap.After(r.Since) && gap.Before(r.Until) && r.Until.Sub(r.Since) < time.Minute {
							asked[gap] = true
							return about(api)
						}
					}
					return nil
				}
				for i := range 180 {
					api.add(event{ID: fmt.Sprint("new", i), Time: time.Now().Add(time.Duration(i)*time.Minute + 30*time.Second).UTC()})
				}
				f := open(t, api, log, nil)
				ctx, stop := context.WithTimeout(t.Context(), 3*time.Hour)
				defer stop()
				ended := make(chan error)
				go func() { ended <- f.Run(ctx) }()
				for ctx.Err() == nil {
					time.Sleep(time.Minute + time.Second)
					known := log.delivered()
					for i := range 180 {
						at := api.events[60+i].Time
						if age := time.Since(at); age > 10*time.Minute && ctx.Err() == nil && known[fmt.Sprint("new", i)] == 0 {
							t.Errorf("after %s the log does not have record %d", age, i)
							stop()
						}
					}
				}
				if err := <-ended; err != nil {
					t.Errorf("Run: %v", err)
				}
				if len(asked) != len(gaps) {
					t.Errorf("%d of %d gaps were read again", len(asked), len(gaps))
				}
				if p := f.Position(); len(p.Gaps)+len(p.Slices) == 0 {
					t.Error("the gaps are forgotten")
				}
				// Once the API gives what it counts, they are filled.
				api.fault = nil
				for _, gap := range gaps {
					api.add(event{ID: "found" + gap.String(), Time: gap})
				}
				if err := open(t, api, log, nil).Once(t.Context()); err != nil {
					t.Fatalf("last Once: %v", err)
				}
				wantAll(t, api, log)
			})
		})
	}
}

// TestGapInOverlap: a gap that the next round reads anyway is named once.
func TestGapInOverlap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		hidden := time.Now().Add(-2 * time.Minute)
		api.fault = func(r fetch.Request, p *fetch.Page) error {
			if hidden.After(r.Since) && hidden.Before(r.Until) {
				p.Total++
			}
			return nil
		}
		f := open(t, api, log, nil)
		for round := range 5 {
			if err := f.Once(t.Context()); !errors.As(err, new(*IncompleteError)) {
				t.Fatalf("Once: %v", err)
			}
			if gaps := f.Position().Gaps; len(gaps) != 1 {
				t.Fatalf("after %d rounds the gaps are %+v", round+1, gaps)
			}
			time.Sleep(time.Minute)
		}
	})
}

// TestFailingFirstPage: a slice whose first page never comes because it is too
// long for the API is cut like others, over restarts too.
func TestFailingFirstPage(t *testing.T) {
	t.Parallel()
	for _, class := range []fetch.Class{fetch.Retry, fetch.Partial} {
		for _, restarts := range []bool{false, true} {
			t.Run(fmt.Sprint(class, ", restarts: ", restarts), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					api, log := &tenant{}, newMemoryLog()
					api.add(spread("e", 200, time.Now(), 50*time.Minute)...)
					api.fault = func(r fetch.Request, _ *fetch.Page) error {
						if r.Until.Sub(r.Since) > 11*time.Minute {
							return &fetch.Error{Class: class, Message: "query takes too long"}
						}
						return nil
					}
					f := open(t, api, log, func(o *Options) { o.Overlap = time.Minute })
					if !restarts {
						runFor(t, f, 15*time.Minute)
					}
					for range 20 {
						if restarts {
							f = open(t, api, log, func(o *Options) { o.Overlap = time.Minute })
							_ = f.Once(t.Context())
						}
					}
					wantAll(t, api, log)
				})
			})
		}
	}
}

// TestOnceGoesDeep: where later pages fail and earlier ones come, one Once cuts
// the slice until it gets by; an API that is gone ends it soon.
func TestOnceGoesDeep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 200, time.Now(), 50*time.Minute)...)
		gone := false
		api.fault = func(r fetch.Request, _ *fetch.Page) error {
			if gone || string(r.Cursor) == "50" {
				return &fetch.Error{Class: fetch.Retry, Status: 504, Message: "query takes too long"}
			}
			return nil
		}
		if err := open(t, api, log, nil).Once(t.Context()); err != nil {
			t.Fatalf("Once = %v", err)
		}
		wantAll(t, api, log)
		time.Sleep(time.Minute)
		gone, api.calls = true, 0
		if err := open(t, api, log, nil).Once(t.Context()); err == nil || api.calls != 1 {
			t.Errorf("Once = %v after %d requests", err, api.calls)
		}
	})
}

// TestShortWalksOfABackfill: walks that end short count for the slice that they
// are of, however many a long backfill has.
func TestShortWalksOfABackfill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 3000, time.Now(), 90*24*time.Hour)...)
		short, walks := map[time.Time]int{}, 0
		api.fault = func(r fetch.Request, p *fetch.Page) error {
			if p.More && short[r.Since] < 2 { // the first two walks of each piece
				short[r.Since]++
				walks++
				p.Cursor = nil
			}
			return nil
		}
		f := open(t, api, log, nil)
		if _, err := f.StartBackfill(t.Context(), time.Now().Add(-91*24*time.Hour), time.Now(), 16); err != nil {
			t.Fatal(err)
		}
		if err := f.Backfill(t.Context()); err != nil || walks <= mostShort {
			t.Fatalf("Backfill = %v after %d short walks", err, walks)
		}
		wantAll(t, api, log)
	})
}

// TestLongWalkOverKnownRecords: a walk over records that the log has goes on
// after a restart about where it was.
func TestLongWalkOverKnownRecords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{noTotal: true}, newMemoryLog()
		api.add(spread("e", 1000, time.Now(), 50*time.Minute)...)
		if err := open(t, api, log, nil).Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		if err := open(t, api, log, nil).Do(t.Context(), Rewind(time.Now().Add(-time.Hour))); err != nil {
			t.Fatal(err)
		}
		for life := 0; ; life++ {
			f := open(t, slow{api, time.Second}, log, nil)
			ctx, stop := context.WithTimeout(t.Context(), 30*time.Second) // for 30 of 100 pages
			err := f.Once(ctx)
			stop()
			if err == nil {
				wantAll(t, api, log)
				return
			}
			if life > 7 {
				t.Fatalf("after %d lives it has come to %+v", life+1, f.Position().Slices)
			}
		}
	})
}

// TestLeaveGaps: what a round has not read again is first in the next one, and
// neighbours become one where there are too many.
func TestLeaveGaps(t *testing.T) {
	t.Parallel()
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	p := Position{Watermark: at(100)}
	for i := range mostGaps + 3 {
		p.Gaps = append(p.Gaps, Slice{Since: at(2 * i), Until: at(2*i + 1), Why: "it is short"})
	}
	p.begin(at(100), at(110), 1)
	if first := p.Slices[0]; first.Gap || !first.Since.Equal(at(100)) || len(p.Gaps) != 0 {
		t.Fatalf("the round begins with %+v", first)
	}
	p.done(0)
	if !p.Watermark.Equal(at(110)) {
		t.Errorf("gaps hold the watermark at %s", p.Watermark)
	}
	p.giveUp(0, "it is short", false)
	p.leaveGaps()
	if len(p.Slices) > 0 || len(p.Gaps) != mostGaps || !slices.IsSortedFunc(p.Gaps, func(a, b Slice) int { return a.Since.Compare(b.Since) }) {
		t.Errorf("%d slices and %d gaps are left: %+v", len(p.Slices), len(p.Gaps), p.Gaps)
	}
	var covered time.Duration
	for _, g := range p.Gaps {
		covered += g.Until.Sub(g.Since)
	}
	if least := time.Duration(mostGaps+3) * time.Minute; covered < least {
		t.Errorf("the gaps cover %s, want at least %s", covered, least)
	}
}
