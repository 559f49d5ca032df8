package collect

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/fetch"
)

// TestRevisit: what appears later than the overlap reaches is found by a
// revisit, counted as late, and a revisit that finds nothing is proof.
func TestRevisit(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// TestOverlapFollowsLateness: where records appear later than the configured
// overlap, the overlap grows, as far as the first revisit.
func TestOverlapFollowsLateness(t *testing.T) {
	t.Parallel()
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

// TestOwnLagIsNotLateness: what comes hours late because nobody asked says
// nothing of how late the product shows its records.
func TestOwnLagIsNotLateness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		f := open(t, api, log, nil)
		for i := range 6 * 60 { // one a minute, as time passes
			at := time.Now().Add(time.Duration(i) * time.Minute)
			api.add(event{ID: fmt.Sprint(i), Time: at, visible: at})
		}
		for range 3 {
			if err := f.Once(t.Context()); err != nil {
				t.Fatalf("Once: %v", err)
			}
			time.Sleep(3 * time.Hour)
		}
		s := f.Status()
		if s.LatenessMax > f.opts.Interval || f.lateness.Count() < leastLate || f.overlap() != f.opts.Overlap {
			t.Errorf("%d records, the last %s late; overlap %s", f.lateness.Count(), s.LatenessMax, f.overlap())
		}
	})
}
