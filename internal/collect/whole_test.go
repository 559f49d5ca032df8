package collect

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

const day = 25 * time.Hour // a little more than the interval of whole readings

// TestVanish: what is gone is told once, what changed without its time doing so
// is delivered, and what comes back is news; over any number of days, whether or
// not the log still has what was delivered.
func TestVanish(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){"windows": nil, "only whole": onlyWhole} {
		for _, trimmed := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					api, log := &posture{}, newMemoryLog()
					ids := names("f", 30)
					api.add(ids...)
					time.Sleep(time.Minute)
					next := func(since int, want ...string) int {
						t.Helper()
						time.Sleep(day)
						if trimmed {
							log.trim(time.Now())
						}
						once(t, api, log, change)
						return wantLines(t, log, since, want...)
					}
					once(t, api, log, change)
					time.Sleep(time.Hour) // past the overlap
					once(t, api, log, change)
					at := wantLines(t, log, 0, lineOf("", ids, " 1")...)
					at = next(at)

					api.remove(ids[3], ids[29], ids[15])
					api.edit(1, ids[7])
					at = next(at, "-f003", "-f029", "-f015", "f007 2")
					at = next(at)

					api.edit(-1, ids[7]) // as it was
					api.change(func(m map[string]finding) {
						m[ids[3]] = finding{Version: 1, Created: time.Now().Add(-100 * time.Hour), Changed: time.Now().Add(-100 * time.Hour)}
						m[ids[15]] = finding{Version: 2, Created: time.Now().Add(-100 * time.Hour), Changed: time.Now().Add(-100 * time.Hour)}
					})
					at = next(at, "f007 1", "f003 1", "f015 2")
					at = next(at)

					api.remove(ids[3])
					at = next(at, "-f003")
					api.remove(ids...)
					gone := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == ids[3] || id == ids[29] })
					at = next(at, lineOf("-", gone, "")...)
					api.add("new")
					time.Sleep(time.Second)
					next(at, "new 1")
					f := openPosture(t, api, log, change)
					used := 0
					for key, data := range log.state {
						if strings.Contains(key, "/roll/") && len(data) > 0 {
							used++
						}
					}
					if used != 1 {
						t.Errorf("%d runs are kept of one finding", used)
					}
					s := f.Status()
					if s.Counts.Gone != 32 || s.Whole == nil || s.Whole.Last.Gone != 0 || s.Whole.Last.Records != 1 {
						t.Errorf("counts %+v, whole %+v", s.Counts, s.Whole)
					}
				})
			})
		}
	}
}

// TestVanishesBetweenReadings: what other lanes deliver is known to have been
// there, and what they deliver while a reading is under way is not missed by it.
func TestVanishesBetweenReadings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &posture{}, newMemoryLog()
		api.add(names("f", 30)...)
		time.Sleep(time.Minute)
		once(t, api, log, nil)
		time.Sleep(time.Hour)
		api.add("short", "shorter")
		time.Sleep(time.Second)
		at := wantLines(t, log, 0, lineOf("", names("f", 30), " 1")...)
		once(t, api, log, nil) // the next whole reading is not due
		at = wantLines(t, log, at, "short 1", "shorter 1")
		api.remove("short")
		time.Sleep(time.Hour)
		once(t, api, log, nil)
		at = wantLines(t, log, at)

		// While the reading is under way one appears, is delivered, and vanishes.
		time.Sleep(day)
		f := openPosture(t, api, log, nil)
		api.fault = func(r fetch.Request, _ *fetch.Page) error {
			if r.Field == "createdAt" && r.Cursor != nil {
				api.fault = nil
				api.mu.Unlock()
				defer api.mu.Lock()
				api.add("during")
				time.Sleep(time.Second)
				other := f.Position().clone()
				if err := f.live.plan(t.Context()); err != nil {
					t.Fatal(err)
				}
				for at, reading := f.live.next(); reading; at, reading = f.live.next() {
					if err := f.live.step(t.Context(), at); err != nil {
						t.Fatal(err)
					}
				}
				if other.Rev == f.Position().Rev {
					t.Fatal("nothing was read")
				}
				api.remove("during")
			}
			return nil
		}
		if err := f.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		at = wantLines(t, log, at, "-short", "during 1")
		time.Sleep(day)
		once(t, api, log, nil)
		wantLines(t, log, at, "-during")
	})
}

// TestDeliveredWhileReading: what a lane delivers while a reading is under way is
// there, though the reading does not meet it; over a crash, too.
func TestDeliveredWhileReading(t *testing.T) {
	t.Parallel()
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint(crash), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &posture{}, newMemoryLog()
				api.add(names("f", 30)...)
				time.Sleep(time.Minute)
				once(t, api, log, nil)
				time.Sleep(day)
				had := len(log.lines())
				f := openPosture(t, api, log, nil)
				delivered := false
				api.fault = func(r fetch.Request, p *fetch.Page) error {
					if r.Field != "createdAt" {
						return nil
					}
					if !delivered { // now it changes, and another lane sees that
						delivered = true
						api.mu.Unlock()
						api.change(func(m map[string]finding) {
							m["f003"] = finding{Version: 2, Created: m["f003"].Created, Changed: time.Now()}
						})
						time.Sleep(time.Second)
						if err := f.live.plan(t.Context()); err != nil {
							t.Fatal(err)
						}
						for at, reading := f.live.next(); reading; at, reading = f.live.next() {
							if err := f.live.step(t.Context(), at); err != nil {
								t.Fatal(err)
							}
						}
						api.mu.Lock()
						if crash {
							return errCrash
						}
					}
					p.Total--
					p.Records = slices.DeleteFunc(p.Records, func(r []byte) bool { return strings.Contains(string(r), "f003") })
					return nil
				}
				if crash { // which leaves no time to write anything down
					for more, err := true, error(nil); more && err == nil; {
						more, err = f.readWhole(t.Context())
					}
				} else if err := f.Once(t.Context()); err != nil {
					t.Fatal(err)
				}
				once(t, api, log, nil)
				wantLines(t, log, had, "f003 2")
			})
		})
	}
}

// TestUnansweredDelivery: what was delivered though the log did not say so is
// known to have been there.
func TestUnansweredDelivery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &posture{}, newMemoryLog()
		api.add(names("f", 30)...)
		time.Sleep(time.Minute)
		f := once(t, api, log, nil)
		time.Sleep(time.Hour)
		api.add("brief")
		time.Sleep(time.Second)
		had := len(log.lines())
		log.after = func(what string) error {
			if what == "page" {
				return pagelog.ErrUnknown
			}
			return nil
		}
		if err := f.Once(t.Context()); !errors.Is(err, pagelog.ErrUnknown) {
			t.Fatalf("Once = %v", err)
		}
		log.after = nil
		if err := f.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		had = wantLines(t, log, had, "brief 1")
		api.remove("brief")
		time.Sleep(day)
		if err := f.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantLines(t, log, had, "-brief")
	})
}

// TestResumedWalk: a walk that goes on after a restart does not count again what
// it had met before, and so does not pass for one that came to its end.
func TestResumedWalk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &posture{}, newMemoryLog()
		api.add(names("f", 30)...)
		once(t, api, log, onlyWhole)
		time.Sleep(day)
		pages := 0
		api.fault = func(_ fetch.Request, p *fetch.Page) error {
			if pages++; pages == 2 {
				return errCrash
			}
			p.Total++ // it counts one that it does not give
			return nil
		}
		if err := openPosture(t, api, log, onlyWhole).Once(t.Context()); !errors.Is(err, errCrash) {
			t.Fatalf("Once = %v", err)
		}
		first := true
		api.fault = func(r fetch.Request, p *fetch.Page) error {
			if first {
				first = false
				b, _ := json.Marshal(api.findings[9]) // the last of the page before
				p.Records = append(p.Records, b)
			}
			p.Total++
			return nil
		}
		if err := openPosture(t, api, log, onlyWhole).Once(t.Context()); !errors.As(err, new(*IncompleteError)) {
			t.Errorf("Once = %v", err)
		}
	})
}

// TestIncompleteReading tells of nothing gone, says so, and forgets nothing: the
// next complete one tells it.
func TestIncompleteReading(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Options)
		fault  func(api *posture)
		says   string
	}{
		"short": {nil, func(api *posture) {
			api.fault = func(r fetch.Request, p *fetch.Page) error {
				if r.Field != "changedAt" && !r.Since.After(api.findings[5].Created) && r.Until.After(api.findings[5].Created) {
					p.Total++
				}
				return nil
			}
		}, "the API counts"},
		"short, only whole": {onlyWhole, func(api *posture) {
			api.fault = func(_ fetch.Request, p *fetch.Page) error { p.Total++; return nil }
		}, "the API counts 29 records and gave 28"},
		"capped":             {nil, func(api *posture) { api.cap = 20 }, "the API yields 20 records of a query at most"},
		"capped, only whole": {onlyWhole, func(api *posture) { api.cap = 20 }, "the API yields 20 records of a query at most"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &posture{}, newMemoryLog()
				ids := names("f", 30)
				api.add(ids...) // at one time, so that no cut helps
				time.Sleep(time.Minute)
				capped := func(o *Options) {
					if c.change != nil {
						c.change(o)
					}
					o.Source.Paging.Cap = api.cap
				}
				once(t, api, log, c.change)
				time.Sleep(time.Hour) // past the overlap
				once(t, api, log, c.change)
				at := wantLines(t, log, 0, lineOf("", ids, " 1")...)
				api.remove(ids[3], ids[4])
				for range 2 {
					time.Sleep(day)
					c.fault(api)
					f := openPosture(t, api, log, capped)
					err := f.Once(t.Context())
					var incomplete *IncompleteError
					if !errors.As(err, &incomplete) || !incomplete.Whole || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "what is gone is not told") {
						t.Fatalf("Once = %v", err)
					}
					if s := f.Status(); s.State != StateIncomplete || !strings.Contains(s.Whole.Trouble, c.says) || s.Whole.Last.Gone != 0 {
						t.Errorf("state %s (%s), whole %+v", s.State, s.Reason, s.Whole)
					}
					at = wantLines(t, log, at)
				}
				api.fault, api.cap = nil, 0
				time.Sleep(day)
				f := once(t, api, log, c.change)
				wantLines(t, log, at, "-f003", "-f004")
				if s := f.Status(); s.State != StateIdle || s.Whole.Trouble != "" {
					t.Errorf("state %s (%s), whole %+v", s.State, s.Reason, s.Whole)
				}
			})
		})
	}
}

// TestShiftedPages: a finding that slips through between two pages, since one
// before it vanishes and another appears, is not gone, though the API gave as
// many as it counted.
func TestShiftedPages(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){"windows": nil, "only whole": onlyWhole} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &posture{}, newMemoryLog()
				ids := names("f", 30)
				for _, id := range ids {
					api.add(id)
					time.Sleep(time.Second)
				}
				once(t, api, log, change)
				at := wantLines(t, log, 0, lineOf("", ids, " 1")...)
				time.Sleep(day)
				shifted := false
				api.fault = func(r fetch.Request, p *fetch.Page) error {
					if shifted || r.Field == "changedAt" || p.Cursor == nil {
						return nil
					}
					shifted = true // after the first page: f010 becomes its last
					api.mu.Unlock()
					defer api.mu.Lock()
					api.remove(ids[2])
					api.add("new")
					return nil
				}
				once(t, api, log, change)
				if !shifted {
					t.Fatal("the pages did not shift")
				}
				at = wantLines(t, log, at, "new 1")
				time.Sleep(day)
				once(t, api, log, change)
				wantLines(t, log, at, "-f002")
			})
		})
	}
}

// TestCutReading: a reading of more than a query yields is cut by the field that
// never changes.
func TestCutReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &posture{cap: 40}, newMemoryLog()
		ids := names("f", 300)
		for _, id := range ids {
			api.add(id)
			time.Sleep(7 * time.Second)
		}
		capped := func(o *Options) { o.Source.Paging.Cap = 40 }
		once(t, api, log, capped)
		at := wantLines(t, log, 0, lineOf("", ids, " 1")...)
		api.remove(ids[100], ids[299])
		time.Sleep(day)
		f := openPosture(t, api, log, capped)
		api.fault = func(fetch.Request, *fetch.Page) error {
			for _, l := range f.Status().Lanes {
				if l.Lane == string(pagelog.Snapshot) && time.Since(l.Watermark) < 24*time.Hour {
					t.Errorf("in the middle of a reading its lane is read to %s", l.Watermark)
				}
			}
			return nil
		}
		if err := f.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantLines(t, log, at, "-f100", "-f299")
	})
}
