package collect

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/fetch"
)

// TestTwiceInTheAPI: records that the API has and counts twice are delivered
// once, and nothing is missing for that.
func TestTwiceInTheAPI(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		events := spread("e", 60, time.Now(), 50*time.Minute)
		api.add(events...)
		api.add(events[:25]...)
		f := open(t, api, log, nil)
		for range 3 {
			if err := f.Once(t.Context()); err != nil {
				t.Fatalf("Once = %v", err)
			}
		}
		if s := f.Status(); s.State != StateIdle || s.Counts.Records != 60 || api.calls > 150 {
			t.Errorf("after %d requests: %+v", api.calls, s)
		}
	})
}

// TestMiscount: an API that always counts more than it has is incomplete, and
// holds up nothing new.
func TestMiscount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 60, time.Now(), 50*time.Minute)...)
		wrong := true
		api.fault = func(_ fetch.Request, p *fetch.Page) error {
			if wrong {
				p.Total += 3
			}
			return nil
		}
		f := open(t, api, log, nil)
		for round := range 20 {
			api.calls = 0
			if err := f.Once(t.Context()); !errors.As(err, new(*IncompleteError)) {
				t.Fatalf("Once = %v", err)
			}
			if s := f.Status(); s.State != StateIncomplete || time.Since(s.Watermark) > time.Second {
				t.Errorf("status = %+v", s)
			}
			if round > 0 && api.calls > 200 {
				t.Errorf("round %d made %d requests", round, api.calls)
			}
			wantAll(t, api, log)
			time.Sleep(time.Minute)
			api.add(event{ID: fmt.Sprint("new ", round), Time: time.Now().Add(-time.Second)})
		}
		wrong = false
		if err := f.Once(t.Context()); err != nil {
			t.Fatalf("Once after it was mended: %v", err)
		}
		wantAll(t, api, log)
	})
}

// TestCapGone: more records of one moment than the product is known to yield
// are all there is, where it counts them and gives as many.
func TestCapGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{cap: 40}, newMemoryLog()
		at := time.Now().Add(-20 * time.Minute)
		for i := range 50 {
			api.add(event{ID: fmt.Sprint("e", i), Time: at})
		}
		f := open(t, api, log, func(o *Options) {
			o.Source = source(func(s *catalog.Source) { s.Paging.Cap = 40 })
		})
		if err := f.Once(t.Context()); !errors.As(err, new(*IncompleteError)) {
			t.Fatalf("Once = %v, state %s", err, f.Status().State)
		}
		api.cap = 0
		time.Sleep(time.Minute)
		if err := f.Once(t.Context()); err != nil || f.Status().State != StateIdle {
			t.Fatalf("Once = %v, state %s", err, f.Status().State)
		}
		wantAll(t, api, log)
	})
}
