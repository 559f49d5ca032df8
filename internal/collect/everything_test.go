package collect

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// twoFields is an API whose records are found by one of two times, or by both.
type twoFields struct{ first, second *tenant }

func (a twoFields) Page(ctx context.Context, r fetch.Request) (*fetch.Page, error) {
	timer := time.NewTimer(300 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
	}
	if r.Field == "second" {
		return a.second.Page(ctx, r)
	}
	return a.first.Page(ctx, r)
}

// shared is a source of random numbers for several goroutines.
type shared struct {
	mu     sync.Mutex
	source rand.Source
}

func (s *shared) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.source.Uint64()
}

// TestEverythingAtOnce: all lanes, both time fields, faults, a log that is full
// now and then, crashes, and a person who rewinds, pauses and backfills. At the
// end the log holds each record once.
func TestEverythingAtOnce(t *testing.T) {
	t.Parallel()
	lives := 60
	if testing.Short() {
		lives = 15
	}
	for seed := range seeds(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(&shared{source: rand.NewPCG(seed, 2)})
				limit := []int{0, 40}[seed%2]
				api, log := twoFields{&tenant{cap: limit}, &tenant{cap: limit}}, newMemoryLog()
				all := &tenant{}
				add := func(events ...event) {
					all.add(events...)
					for _, e := range events {
						by := r.IntN(3)
						if by != 0 {
							api.first.add(e)
						}
						if by != 1 {
							api.second.add(e)
						}
					}
				}
				add(randomly(r, "old", 200, time.Now().Add(-time.Hour), 6*time.Hour, 0)...)
				add(randomly(r, "past", 200, time.Now(), 50*time.Minute, 0)...)
				oldest := time.Now().Add(-8 * time.Hour)
				calm := false
				fault := func(req fetch.Request, p *fetch.Page) error {
					if calm {
						return nil
					}
					switch r.IntN(25) {
					case 0, 1:
						return &fetch.Error{Class: fetch.Retry}
					case 2:
						if req.Cursor != nil {
							return &fetch.Error{Class: fetch.Permanent}
						}
					case 3:
						if p.More {
							p.Cursor = req.Cursor
						}
					case 4:
						if len(p.Records) > 0 {
							p.Records = p.Records[1:]
						}
					case 5:
						if req.Size > 6 {
							return &fetch.Error{Class: fetch.TooLarge}
						}
					}
					return nil
				}
				api.first.fault, api.second.fault = fault, fault
				options := func(o *Options) {
					o.Revisit = []time.Duration{time.Hour}
					o.Source = source(func(s *catalog.Source) {
						s.Paging.Cap, s.Window.Fields = limit, []string{"first", "second"}
					})
				}
				for life := range lives {
					log.before, log.after, log.limbo = nil, nil, nil // what a process sent and nobody took dies with it
					full, crashAt, unheard := r.IntN(3) == 0, r.IntN(60), r.IntN(2) == 0
					log.before = func(what string) error {
						if full && what == "page" && r.IntN(4) != 0 {
							return pagelog.ErrFull
						}
						if crashAt--; crashAt < 0 && !unheard {
							return errCrash
						}
						return nil
					}
					log.delay = func(string) time.Duration {
						if r.IntN(40) == 0 {
							return rand.N(5 * time.Minute)
						}
						return 0
					}
					log.after = func(string) error {
						if crashAt < 0 && unheard {
							crashAt = 30 // and goes on: an outcome that is not known
							return errCrash
						}
						return nil
					}
					f := open(t, api, log, options)
					ctx, stop := context.WithTimeout(t.Context(), time.Duration(1+r.IntN(10))*time.Minute)
					ended := make(chan error)
					go func() { ended <- f.Run(ctx) }()
					for range r.IntN(5) {
						time.Sleep(time.Duration(r.Int64N(int64(time.Minute))))
						switch r.IntN(6) {
						case 0:
							_ = f.Do(ctx, Rewind(time.Now().Add(-time.Duration(r.IntN(100))*time.Minute)))
						case 1:
							_ = f.Do(ctx, Pause)
							time.Sleep(time.Duration(r.Int64N(int64(time.Minute))))
							_ = f.Do(ctx, Resume)
						case 2, 3:
							_, _ = f.StartBackfill(ctx, oldest, time.Now().Add(-10*time.Minute), 1+r.IntN(4))
						case 4:
							_ = f.Do(ctx, CancelBackfill)
						}
					}
					if err := <-ended; err != nil && ctx.Err() == nil {
						t.Logf("life %d: %v", life, err)
					}
					stop()
					add(randomly(r, fmt.Sprint("life", life, "-"), r.IntN(12), time.Now(), 4*time.Minute, 4*time.Minute)...)
				}
				log.before, log.after, log.delay, calm = nil, nil, nil, true
				time.Sleep(9 * time.Minute) // the last late ones become visible
				f := open(t, api, log, options)
				if err := f.Do(t.Context(), Resume); err != nil {
					t.Fatal(err)
				}
				if err := f.Once(t.Context()); err != nil {
					t.Fatalf("last Once: %v", err)
				}
				got, missing := log.delivered(), 0
				for _, e := range all.events {
					if got[e.ID] == 0 && !strings.HasPrefix(e.ID, "old") {
						missing++
					}
				}
				if missing > 0 {
					t.Errorf("without the backfill %d are missing", missing)
				}
				if err := f.Do(t.Context(), CancelBackfill); err != nil {
					t.Fatal(err)
				}
				if _, err := f.StartBackfill(t.Context(), oldest, time.Now(), 3); err != nil {
					t.Fatal(err)
				}
				if err := f.Backfill(t.Context()); err != nil {
					t.Fatalf("last Backfill: %v", err)
				}
				wantAll(t, all, log)
			})
		})
	}
}
