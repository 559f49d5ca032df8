package collect

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/fetch"
)

// TestFaultsWithNames: what no single answer shows.
func TestFaultsWithNames(t *testing.T) {
	t.Parallel()
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
		"the product stops logging for a while, and is asked often": {func(o *Options) { o.Interval = time.Second }, func(t *testing.T, w *world) {
			live(t, w, 10*time.Minute)
			time.Sleep(4 * time.Minute)
			if err := w.feed.Once(t.Context()); err != nil {
				t.Fatalf("Once: %v", err)
			}
			if s := w.feed.Status(); s.State != StateIdle {
				t.Errorf("after four minutes: %s, %s", s.State, s.Reason)
			}
			time.Sleep(2 * time.Minute)
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
		"a round that began in time takes far longer than the ones before, which grew": {func(o *Options) {
			o.Interval, o.PageSize = time.Second, 1
		}, func(t *testing.T, w *world) {
			n := 0
			w.api.fault = func(r fetch.Request, _ *fetch.Page) error {
				took := time.Duration(0)
				if r.Cursor == nil {
					n++
					took = min(time.Second<<n, 50*time.Second)
				}
				if n > 6 {
					took = time.Minute
				}
				w.api.mu.Unlock()
				time.Sleep(took)
				w.api.mu.Lock()
				return nil
			}
			live(t, w, 6*time.Minute)
		}, StateBehind},
		"a first round that takes longer than the time it reads": {func(o *Options) { o.PageSize = 1 }, func(t *testing.T, w *world) {
			began := time.Now()
			w.api.fault = func(fetch.Request, *fetch.Page) error {
				w.api.mu.Unlock()
				if s := w.feed.Status(); s.State == StateBehind && time.Since(began) < 50*time.Minute {
					t.Errorf("behind after %s: %s", time.Since(began), s.Reason)
				}
				time.Sleep(5 * time.Minute)
				w.api.mu.Lock()
				return nil
			}
			live(t, w, 2*time.Hour)
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
