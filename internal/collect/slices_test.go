package collect

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/fetch"
)

// TestHardSlices are the ways in which an API keeps a slice from being read in
// one walk.
func TestHardSlices(t *testing.T) {
	t.Parallel()
	repeatOnce := func() func(r fetch.Request, p *fetch.Page) error {
		n := 0
		return func(r fetch.Request, p *fetch.Page) error {
			if n++; n == 3 && p.More {
				p.Cursor = r.Cursor
			}
			return nil
		}
	}
	for name, set := range map[string]func(*tenant){
		"cap with a true total":      func(a *tenant) { a.cap = 40 },
		"cap with a saturated total": func(a *tenant) { a.cap, a.saturated = 40, true },
		"cap without a total":        func(a *tenant) { a.cap, a.noTotal = 40, true },
		"cursor repeated":            func(a *tenant) { a.fault = repeatOnce() },
		"cursor repeated, no total":  func(a *tenant) { a.noTotal = true; a.fault = repeatOnce() },
		"more pages but no cursor once": func(a *tenant) {
			n := 0
			a.fault = func(_ fetch.Request, p *fetch.Page) error {
				n++
				if n == 2 {
					p.More, p.Cursor = true, nil
				}
				return nil
			}
		},
		"page without records, and more": func(a *tenant) {
			n := 0
			a.fault = func(r fetch.Request, p *fetch.Page) error {
				if n++; n%2 == 0 {
					p.Records, p.More = nil, true
					p.Cursor = jsontext.Value(fmt.Sprint(len(string(r.Cursor)))) // wherever it leads
					if r.Cursor != nil {
						p.Cursor = append(jsontext.Value(" "), r.Cursor...)
					}
				}
				return nil
			}
		},
		"a page is repeated": func(a *tenant) {
			var last fetch.Page
			n := 0
			a.fault = func(_ fetch.Request, p *fetch.Page) error {
				if n++; n == 4 {
					p.Records = last.Records
				}
				last = *p
				return nil
			}
		},
		"pages shift because records appear": func(a *tenant) {
			n := 0
			a.fault = func(_ fetch.Request, _ *fetch.Page) error {
				if n++; n < 10 {
					a.events = append(a.events, event{ID: fmt.Sprint("shift", n), Time: time.Now().Add(-time.Minute), visible: time.Now()})
				}
				return nil
			}
		},
		"records vanish from a page": func(a *tenant) {
			n := 0
			a.fault = func(_ fetch.Request, p *fetch.Page) error {
				if n++; n == 2 {
					p.Records = p.Records[:3]
				}
				return nil
			}
		},
		"more than a query yields, which it says": func(a *tenant) {
			a.cap, a.noTotal, a.flagged = 40, true, true
		},
		"a body too large at first": func(a *tenant) {
			a.fault = func(r fetch.Request, _ *fetch.Page) error {
				if r.Size > 4 {
					return &fetch.Error{Class: fetch.TooLarge}
				}
				return nil
			}
		},
		"time-outs deep in a long slice": func(a *tenant) {
			a.fault = func(r fetch.Request, _ *fetch.Page) error {
				if len(r.Cursor) > 0 && string(r.Cursor) >= "50" && r.Until.Sub(r.Since) > 40*time.Minute {
					return &fetch.Error{Class: fetch.Retry}
				}
				return nil
			}
		},
		"the cursor expires": func(a *tenant) {
			n := 0
			a.fault = func(r fetch.Request, _ *fetch.Page) error {
				if n++; n == 3 {
					return &fetch.Error{Class: fetch.Permanent}
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &tenant{}, newMemoryLog()
				api.add(spread("e", 200, time.Now(), 50*time.Minute)...)
				set(api)
				f := open(t, api, log, func(o *Options) {
					o.Source = source(func(s *catalog.Source) {
						if !api.flagged {
							s.Paging.Cap = api.cap
						}
					})
				})
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- f.Run(ctx) }()
				time.Sleep(2 * time.Hour)
				stop()
				if err := <-ended; err != nil {
					t.Fatalf("Run: %v", err)
				}
				wantAll(t, api, log)
				if s := f.Status(); len(s.Gaps) > 0 || time.Since(s.Watermark) > 6*time.Minute {
					t.Errorf("status = %+v", s)
				}
			})
		})
	}
}

// TestGap: a total that is never reached is not taken for an end; the slice is
// narrowed down, named, and read again each round, and the rest goes on.
func TestGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 60, time.Now(), 50*time.Minute)...)
		hidden := time.Now().Add(-20 * time.Minute)
		hiding := true
		api.fault = func(r fetch.Request, p *fetch.Page) error {
			if hiding && hidden.After(r.Since) && hidden.Before(r.Until) {
				p.Total++
			}
			return nil
		}
		f := open(t, api, log, nil)
		err := f.Once(t.Context())
		var incomplete *IncompleteError
		if !errors.As(err, &incomplete) || incomplete.First.Until.Sub(incomplete.First.Since) > 2*time.Second ||
			hidden.Before(incomplete.First.Since) || hidden.After(incomplete.First.Until) {
			t.Fatalf("Once = %v", err)
		}
		wantAll(t, api, log)
		if s := f.Status(); s.State != StateIncomplete || time.Since(s.Watermark) > time.Second {
			t.Errorf("status = %+v", s)
		}
		hiding = false
		time.Sleep(time.Minute)
		api.add(event{ID: "found", Time: hidden})
		if err := open(t, api, log, nil).Once(t.Context()); err != nil {
			t.Fatalf("second Once: %v", err)
		}
		wantAll(t, api, log)
	})
}

// TestStuck: an API that answers for ever without getting anywhere is a fault
// with a name, costs a bounded number of requests, and loses nothing once it is
// mended.
func TestStuck(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(n int, p *fetch.Page){
		"same cursor":     func(_ int, p *fetch.Page) { p.Cursor = jsontext.Value(`"again"`) },
		"empty pages":     func(n int, p *fetch.Page) { p.Records, p.Cursor = nil, jsontext.Value(strconv.Itoa(n)) },
		"repeated pages":  func(n int, p *fetch.Page) { p.Cursor = jsontext.Value(strconv.Itoa(n)) },
		"without cursors": func(_ int, p *fetch.Page) { p.Cursor = nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &tenant{}, newMemoryLog()
				api.add(spread("e", 60, time.Now(), 50*time.Minute)...)
				first, _ := api.Page(t.Context(), fetch.Request{Since: time.Now().Add(-time.Hour), Until: time.Now(), Size: 10, Source: source(nil)})
				api.calls = 0
				api.fault = func(_ fetch.Request, p *fetch.Page) error {
					p.Records, p.More = first.Records, true
					again(api.calls, p)
					return nil
				}
				f := open(t, api, log, nil)
				err := f.Once(t.Context())
				if !errors.As(err, new(*StuckError)) || f.Status().State != StateStuck || api.calls > 400 {
					t.Fatalf("Once = %v after %d calls, state %s", err, api.calls, f.Status().State)
				}
				api.fault = nil
				if err := f.Once(t.Context()); err != nil {
					t.Fatalf("Once after it was mended: %v", err)
				}
				wantAll(t, api, log)
			})
		})
	}
}
