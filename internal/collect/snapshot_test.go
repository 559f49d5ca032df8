package collect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/fetch"
)

// TestSchedule: while a feed runs it is read whole at its interval, the first
// time once it was read to the present, and not while it is paused.
func TestSchedule(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){"windows": nil, "only whole": onlyWhole} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &posture{}, newMemoryLog()
				ids := names("f", 30)
				api.add(ids...)
				time.Sleep(time.Minute)
				f := openPosture(t, api, log, change)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				ended := make(chan error, 1)
				go func() { ended <- f.Run(ctx) }()
				readings := func() (n int) {
					api.mu.Lock()
					defer api.mu.Unlock()
					for _, r := range api.asked {
						if r.Cursor == nil {
							n++
						}
					}
					return n
				}
				time.Sleep(time.Hour + 30*time.Second) // between two rounds, as all that follows
				wantLines(t, log, 0, lineOf("", ids, " 1")...)
				if n := readings(); n != 1 {
					t.Errorf("%d walks over everything in the first hour", n)
				}
				time.Sleep(24 * time.Hour)
				api.remove(ids[0])
				if n := readings(); n != 2 {
					t.Errorf("%d walks after a day", n)
				}
				time.Sleep(24 * time.Hour)
				wantLines(t, log, 30, "-f000")
				if n := readings(); n != 4 {
					t.Errorf("%d walks after another day, of which one is to make sure", n)
				}
				s := f.Status()
				if s.State != StateIdle || s.Whole.Last.Gone != 1 || s.Whole.Last.Records != 29 || s.Whole.Next.Sub(s.Whole.Last.Began) != 24*time.Hour || s.Counts.Gone != 1 {
					t.Errorf("status %+v, whole %+v", s, s.Whole)
				}
				if lag := s.Lag(time.Now()); change == nil && lag > 6*time.Minute || change != nil && lag > 25*time.Hour {
					t.Errorf("lag %s", lag)
				}
				if err := f.Do(ctx, Pause); err != nil {
					t.Fatal(err)
				}
				time.Sleep(72 * time.Hour)
				if n := readings(); n != 4 {
					t.Errorf("%d walks while it was paused", n-4)
				}
				if err := f.Do(ctx, Resume); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				if n := readings(); n != 5 {
					t.Errorf("%d walks once it went on", n-4)
				}
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestReadingFails: whole readings that fail hold up nothing else, and are a
// fault of the feed once they have done so for long.
func TestReadingFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &posture{}, newMemoryLog()
		api.fault = func(r fetch.Request, _ *fetch.Page) error {
			if r.Field != "changedAt" {
				return &fetch.Error{Class: fetch.Permanent, Message: "no such field"}
			}
			return nil
		}
		api.add("a")
		f := openPosture(t, api, log, nil)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		time.Sleep(time.Hour)
		api.add("b")
		time.Sleep(time.Hour + time.Second)
		wantLines(t, log, 0, "a 1", "b 1")
		if s := f.Status(); s.State != StateIdle || !strings.Contains(s.Whole.Trouble, "no such field") {
			t.Errorf("state %s, whole %+v", s.State, s.Whole)
		}
		time.Sleep(72 * time.Hour)
		if s := f.Status(); s.State != StateIncomplete || !strings.Contains(s.Reason, "no such field") || len(api.asked) > 6 {
			t.Errorf("state %s (%s) after %d requests", s.State, s.Reason, len(api.asked))
		}
		api.mu.Lock()
		api.fault = nil
		api.mu.Unlock()
		time.Sleep(25 * time.Hour)
		if s := f.Status(); s.State == StateIncomplete || s.Whole.Trouble != "" || s.Whole.Last.Records != 2 {
			t.Errorf("state %s (%s), whole %+v", s.State, s.Reason, s.Whole)
		}
		stop()
		<-ended
	})
}

// TestOnlyWholeTools: what takes a stretch of time is refused.
func TestOnlyWholeTools(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &posture{}, newMemoryLog()
		api.add("a", "b")
		f := once(t, api, log, onlyWhole)
		const says = "its source can't be asked for a stretch of time; each reading brings all that there is"
		if _, err := f.StartBackfill(t.Context(), time.Now().Add(-time.Hour), time.Now(), 1); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("StartBackfill: %v", err)
		}
		if err := f.Do(t.Context(), Rewind(time.Now().Add(-time.Hour))); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Rewind: %v", err)
		}
		had := wantLines(t, log, 0, "a 1", "b 1")
		if err := f.Once(t.Context()); err != nil { // whatever the interval
			t.Fatal(err)
		}
		had = wantLines(t, log, had)
		if err := f.Do(t.Context(), Reset); err != nil {
			t.Fatal(err)
		}
		api.remove("a")
		if err := f.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantLines(t, log, had, "b 1") // it begins as if it were new
		if s := f.Status(); len(s.Runs) != 3 || s.Watermark.IsZero() || s.LastSuccess.IsZero() {
			t.Errorf("status %+v", s)
		}
	})
}

// TestOnlyWholeStates: errors stop the feed as they stop others.
func TestOnlyWholeStates(t *testing.T) {
	t.Parallel()
	for class, want := range map[fetch.Class]State{fetch.Auth: StateAuth, fetch.Forbidden: StateForbidden, fetch.Permanent: StateStopped} {
		synctest.Test(t, func(t *testing.T) {
			api := &posture{fault: func(fetch.Request, *fetch.Page) error { return &fetch.Error{Class: class, Message: "no"} }}
			f := openPosture(t, api, newMemoryLog(), onlyWhole)
			var stopped *Stopped
			if err := f.Run(t.Context()); !errors.As(err, &stopped) || f.Status().State != want {
				t.Errorf("Run = %v, state %s", err, f.Status().State)
			}
		})
	}
}

// TestStartOfAState: what was there before the feed's start is not delivered,
// until it changes or vanishes.
func TestStartOfAState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &posture{}, newMemoryLog()
		api.add("old", "older", "oldest")
		time.Sleep(48 * time.Hour)
		api.add("recent")
		time.Sleep(time.Minute)
		once(t, api, log, nil) // from an hour ago
		had := wantLines(t, log, 0, "recent 1")
		api.edit(1, "old")
		api.remove("older")
		time.Sleep(day)
		f := once(t, api, log, nil)
		had = wantLines(t, log, had, "old 2", "-older")
		if c := f.Status().Counts; c.Late != 0 {
			t.Errorf("%+v", c)
		}
		// One that becomes visible a day late is late.
		api.change(func(m map[string]finding) {
			m["late"] = finding{Version: 1, Created: time.Now().Add(-20 * time.Hour), Changed: time.Now().Add(-20 * time.Hour)}
		})
		time.Sleep(day)
		f = once(t, api, log, nil)
		wantLines(t, log, had, "late 1")
		if c := f.Status().Counts; c.Late != 1 {
			t.Errorf("%+v", c)
		}
	})
}

// TestFilterOfAState: what another filter does not match is not told as gone,
// also if it was changed in the middle of a reading.
func TestFilterOfAState(t *testing.T) {
	t.Parallel()
	for _, middle := range []bool{false, true} {
		t.Run(fmt.Sprint(middle), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &posture{}, newMemoryLog()
				ids := names("f", 30)
				api.add(ids...)
				time.Sleep(time.Minute)
				with := func(filter string) func(*Options) {
					return func(o *Options) { o.Settings = Settings{Filter: filter, Request: "r"} }
				}
				once(t, api, log, with("one"))
				had := len(log.lines())
				time.Sleep(day)
				if middle {
					api.fault = func(r fetch.Request, _ *fetch.Page) error {
						if r.Field == "createdAt" && len(api.asked) > 5 {
							return &fetch.Error{Class: fetch.Retry, Message: "oops"}
						}
						return nil
					}
					f := openPosture(t, api, log, with("one"))
					if err := f.Once(t.Context()); err == nil || f.snapshot.pos.Whole.Now.Records == 0 {
						t.Fatalf("Once = %v, whole %+v", err, f.snapshot.pos.Whole)
					}
					api.add("meanwhile")
					time.Sleep(time.Second)
					if err := f.Once(t.Context()); err == nil {
						t.Fatal("Once read everything")
					}
					had = wantLines(t, log, had, "meanwhile 1")
					api.fault = nil
				}
				api.remove(ids[:10]...) // the other filter does not match
				f := once(t, api, log, with("another"))
				had = wantLines(t, log, had)
				if changes := f.Status().Changes; len(changes) != 1 || !strings.Contains(changes[0].Meaning, "does not tell what it no longer does") {
					t.Errorf("%+v", changes)
				}
				api.remove(ids[10])
				time.Sleep(day)
				once(t, api, log, with("another"))
				had = wantLines(t, log, had, "-f010")
				// Another request of the catalogue's asks for the same records.
				api.remove(ids[11])
				time.Sleep(day)
				once(t, api, log, func(o *Options) { o.Settings = Settings{Filter: "another", Request: "r2"} })
				wantLines(t, log, had, "-f011")
			})
		})
	}
}

// TestResetOfAState: what was delivered before a reset is not told as gone after
// it.
func TestResetOfAState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &posture{}, newMemoryLog()
		api.add("a", "b")
		time.Sleep(time.Second)
		f := once(t, api, log, nil)
		time.Sleep(time.Minute)
		api.add("c")
		time.Sleep(time.Second)
		if err := f.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		had := wantLines(t, log, 0, "a 1", "b 1", "c 1")
		f.unlisted.entries = append(f.unlisted.entries, entry{"c", 1}) // as if it was delivered just now
		api.remove("a", "c")
		if err := f.Do(t.Context(), Reset); err != nil {
			t.Fatal(err)
		}
		if err := f.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		had = wantLines(t, log, had, "b 1")
		api.remove("b")
		time.Sleep(day)
		if err := f.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantLines(t, log, had, "-b")
	})
}

// TestManyDelivered: what is delivered between two readings is written down as
// it comes, and told when it is gone, also if the log has dropped it by then.
func TestManyDelivered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &posture{}, newMemoryLog()
		big := func(o *Options) { o.PageSize = 2000 }
		once(t, api, log, big)
		time.Sleep(time.Hour)
		brief := names("b", 2*mostUnlisted+1)
		api.add(brief...)
		time.Sleep(time.Second)
		f := openPosture(t, api, log, big)
		most := 0
		api.fault = func(fetch.Request, *fetch.Page) error {
			f.commit.Lock()
			defer f.commit.Unlock()
			most = max(most, len(f.unlisted.entries))
			return nil
		}
		if err := f.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		api.fault = nil
		if most >= mostUnlisted {
			t.Errorf("%d were kept in memory", most)
		}
		if w := f.snapshot.pos.Whole; w.Base.Runs < 2 || len(f.unlisted.entries) > 0 {
			t.Errorf("%d runs, %d not listed", w.Base.Runs, len(f.unlisted.entries))
		}
		had := len(log.lines())
		api.remove(brief...)
		time.Sleep(day)
		log.trim(time.Now())
		once(t, api, log, big)
		wantLines(t, log, had, lineOf("-", brief, "")...)
	})
}

// TestTakenOver: a reading that another process began goes on in this one, and
// the one that lost it does no harm.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &posture{}, newMemoryLog()
		ids := names("f", 100)
		api.add(ids...)
		time.Sleep(time.Minute)
		once(t, api, log, nil)
		had := len(log.lines())
		api.remove(ids[20], ids[80])
		time.Sleep(day)
		first, second := openPosture(t, api, log, nil), openPosture(t, api, log, nil)
		api.fault = func(r fetch.Request, _ *fetch.Page) error {
			if r.Field == "createdAt" && len(api.asked)%7 == 0 {
				return &fetch.Error{Class: fetch.Retry, Message: "oops"}
			}
			return nil
		}
		for range 12 { // each in turn believes that it has the lease
			_ = first.Once(t.Context())
			if err := second.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			_ = second.Once(t.Context())
		}
		api.fault = nil
		once(t, api, log, nil)
		wantLines(t, log, had, "-f020", "-f080")
	})
}

// TestDamagedRoll: nothing is read, and nothing told, until a person decided.
func TestDamagedRoll(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(l *memoryLog, key string){
		"cut off":  func(l *memoryLog, key string) { l.state[key] = l.state[key][:20] },
		"gone":     func(l *memoryLog, key string) { delete(l.state, key) },
		"nonsense": func(l *memoryLog, key string) { l.state[key] = []byte("nonsense") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &posture{}, newMemoryLog()
				api.add(names("f", 30)...)
				once(t, api, log, onlyWhole)
				had := len(log.lines())
				f := openPosture(t, api, log, onlyWhole)
				damage(log, f.snapshot.roll(f.snapshot.pos.Whole.Base).key(0))
				api.remove(names("f", 10)...)
				time.Sleep(day)
				var damaged *DamagedError
				if err := f.Once(t.Context()); !errors.As(err, &damaged) || f.Status().State != StateDamaged {
					t.Errorf("Once = %v, state %s", err, f.Status().State)
				}
				had = wantLines(t, log, had)
				if err := f.Do(t.Context(), Reset); err != nil {
					t.Fatal(err)
				}
				if err := f.Once(t.Context()); err != nil {
					t.Fatal(err)
				}
				wantLines(t, log, had, lineOf("", names("f", 30)[10:], " 1")...)
			})
		})
	}
}
