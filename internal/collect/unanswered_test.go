package collect

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// firstOf is a delay of the first write of a kind.
func firstOf(what string, d time.Duration) func(string) time.Duration {
	return func(written string) time.Duration {
		if written != what {
			return 0
		}
		what = ""
		return d
	}
}

// TestLateWrite: a page that arrives in the log after its writer gave up
// waiting is there once, though others came by its records meanwhile.
func TestLateWrite(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(t *testing.T, f *Feed, all [][]byte){
		"pushed": func(t *testing.T, f *Feed, all [][]byte) {
			if p, err := f.Push(t.Context(), all, Covered{}); err != nil || p.Known == 0 {
				t.Fatalf("push = %+v, %v", p, err)
			}
		},
		"read by a backfill": func(t *testing.T, f *Feed, _ [][]byte) {
			if _, err := f.StartBackfill(t.Context(), time.Now().Add(-time.Hour), time.Now(), 1); err != nil {
				t.Fatal(err)
			}
			if err := f.Backfill(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"read again": func(t *testing.T, f *Feed, _ [][]byte) {
			if err := f.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"read again after a rewind": func(t *testing.T, f *Feed, _ [][]byte) {
			to := time.Now().Add(-2 * time.Hour)
			if err := f.Do(t.Context(), Rewind(to)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
			if p := open(t, f.opts.Fetcher, f.opts.Log, nil).Position(); !p.Watermark.Equal(to) || len(p.Slices) > 0 {
				t.Errorf("the rewind is undone: %+v", p)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &tenant{}, newMemoryLog()
				events := spread("e", 95, time.Now(), 50*time.Minute)
				api.add(events...)
				f := open(t, api, log, nil)
				log.delay = firstOf("page", time.Minute)
				var memory [][]byte // of the page in hand
				api.fault = func(_ fetch.Request, p *fetch.Page) error { memory = p.Records; return nil }
				if err := f.Once(t.Context()); !errors.Is(err, pagelog.ErrUnknown) {
					t.Fatalf("Once = %v", err)
				}
				for _, record := range memory { // it is another page's by now
					clear(record)
				}
				api.fault = nil
				meanwhile(t, f, encoded(t, events))
				time.Sleep(2 * time.Minute)
				if err := open(t, api, log, nil).Once(t.Context()); err != nil {
					t.Fatalf("last Once: %v", err)
				}
				wantAll(t, api, log)
			})
		})
	}
}

// TestLateWritesResetNothing: after a reset no page of before arrives.
func TestLateWritesResetNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		events := spread("e", 95, time.Now(), 50*time.Minute)
		api.add(events...)
		f := open(t, api, log, nil)
		log.delay = firstOf("page", time.Minute)
		if err := f.Once(t.Context()); err == nil {
			t.Fatal("Once succeeded")
		}
		if err := f.Do(t.Context(), Reset); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if err := open(t, api, log, nil).Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		twice := 0
		for _, e := range events {
			switch n := log.delivered()[e.ID]; n {
			case 1:
			case 2:
				twice++
			default:
				t.Errorf("%s is in the log %d times", e.ID, n)
			}
		}
		if twice != 10 {
			t.Errorf("%d records were delivered again, want those of the page before the reset", twice)
		}
	})
}
