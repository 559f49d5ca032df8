package collect

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// longNames are ids so long that a few hundred take more than one run of a roll;
// see lines.
func longNames(prefix string, n int) []string {
	return lineOf("", names(prefix, n), strings.Repeat(".", 1500))
}

// TestCrashWhileTelling stops the process before and after each write of the
// reading that tells what is gone. Each vanishing is in the log once, and so is
// everything else.
func TestCrashWhileTelling(t *testing.T) {
	t.Parallel()
	stride := 1
	if underRace {
		stride = 4
	}
	for _, after := range []bool{false, true} {
		for at, more := 1, true; more; at += stride {
			t.Run(fmt.Sprintf("after %v, write %d", after, at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					api, log := &posture{}, newMemoryLog()
					stay, go1, go2 := longNames("s", 200), longNames("v", 150), names("w", mostGonePage)
					big := func(o *Options) { o.PageSize = 500 }
					api.add(slices.Concat(stay, go1, go2)...)
					time.Sleep(time.Minute)
					once(t, api, log, big)
					time.Sleep(time.Hour)
					api.add("brief")
					time.Sleep(time.Second)
					once(t, api, log, big)
					had := len(log.lines())
					api.remove(slices.Concat(go1, go2, []string{"brief"})...)
					api.edit(1, stay[100])
					time.Sleep(day)

					writes := 0
					crash := func(string) error {
						if writes++; writes >= at {
							return errCrash
						}
						return nil
					}
					if after {
						log.after = crash
					} else {
						log.before = crash
					}
					_ = openPosture(t, api, log, big).Once(t.Context())
					more = writes >= at
					log.before, log.after = nil, nil
					once(t, api, log, big)
					want := slices.Concat(lineOf("-", names("v", 150), ""), lineOf("-", go2, ""), []string{"-brief", "s100 2"})
					had = wantLines(t, log, had, want...)
					time.Sleep(day)
					once(t, api, log, big)
					wantLines(t, log, had)
					if gone := openPosture(t, api, log, big).Status().Counts.Gone; gone != int64(len(want)-1) {
						t.Errorf("%d counted as gone", gone)
					}
				})
			})
		}
	}
}

// TestReadingGoesOn: a reading that was interrupted goes on with the next page,
// and what it met before is not gone.
func TestReadingGoesOn(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){"windows": nil, "only whole": onlyWhole} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, log := &posture{}, newMemoryLog()
				ids := names("f", 100)
				api.add(ids...)
				time.Sleep(time.Minute)
				once(t, api, log, change)
				had := len(log.lines())
				api.remove(ids[70])
				time.Sleep(day)
				api.asked = nil
				for range 19 { // one page each
					f := openPosture(t, api, log, change)
					n := 0
					api.fault = func(r fetch.Request, _ *fetch.Page) error {
						if r.Field == "changedAt" {
							return nil
						}
						if n++; n > 1 {
							return &fetch.Error{Class: fetch.Retry, Message: "gone"}
						}
						return nil
					}
					if err := f.Once(t.Context()); err == nil {
						t.Fatal("Once read everything")
					}
				}
				api.fault = nil
				once(t, api, log, change)
				wantLines(t, log, had, "-f070")
				walks := 0
				for i, r := range api.asked {
					if r.Cursor == nil && (i == 0 || api.asked[i-1].Cursor != nil) {
						walks++
					}
				}
				// Two walks, and where the second was interrupted it is not known any more
				// what it had met, so another.
				if walks > 3 {
					t.Errorf("it began anew %d times in %d requests", walks, len(api.asked))
				}
			})
		})
	}
}

// TestUnansweredWrites: the log does not say whether it took a write, and the
// feed goes on.
func TestUnansweredWrites(t *testing.T) {
	t.Parallel()
	for seed := range seeds(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				api, log := &posture{}, newMemoryLog()
				ids := names("f", 60)
				api.add(ids...)
				time.Sleep(time.Minute)
				once(t, api, log, nil)
				had := len(log.lines())
				api.remove(ids[:20]...)
				api.add("new")
				time.Sleep(day)
				unanswered := func(string) error {
					if random.IntN(4) == 0 {
						return pagelog.ErrUnknown
					}
					return nil
				}
				log.before, log.after = unanswered, unanswered
				f := openPosture(t, api, log, nil)
				for range 400 {
					if f.Once(t.Context()) == nil {
						break
					}
				}
				log.before, log.after = nil, nil
				if err := f.Once(t.Context()); err != nil {
					t.Fatalf("Once: %v", err)
				}
				wantLines(t, log, had, append(lineOf("-", ids[:20], ""), "new 1")...)
			})
		})
	}
}

// TestFullLogWhileTelling: what is gone is told once there is room.
func TestFullLogWhileTelling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &posture{}, newMemoryLog()
		ids := names("f", 60)
		api.add(ids...)
		time.Sleep(time.Minute)
		once(t, api, log, nil)
		time.Sleep(time.Hour) // past the overlap
		once(t, api, log, nil)
		had := len(log.lines())
		time.Sleep(day)
		api.remove(ids[:20]...)
		api.edit(1, ids[30:]...)
		full := time.Now().Add(10 * time.Minute)
		log.before = func(what string) error {
			if what == "page" && time.Now().Before(full) {
				return pagelog.ErrFull
			}
			return nil
		}
		f := openPosture(t, api, log, nil)
		go func() {
			time.Sleep(5 * time.Minute)
			if s := f.Status(); s.State != StateFull {
				t.Errorf("state %s (%s)", s.State, s.Reason)
			}
		}()
		if err := f.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantLines(t, log, had, append(lineOf("-", ids[:20], ""), lineOf("", ids[30:], " 2")...)...)
		if n := len(readRoll(t, f)); n != 40 {
			t.Errorf("the list of 40 has %d entries", n)
		}
	})
}

// TestManyDays changes a posture at random, for many days, while the API fails,
// shifts its pages and gives less than it counts, and the process stops anywhere.
// After each day that ended with a complete reading the log says just what has
// happened since the last one.
func TestManyDays(t *testing.T) {
	t.Parallel()
	for seed := range seeds(8) {
		for name, change := range map[string]func(*Options){"windows": nil, "only whole": onlyWhole} {
			t.Run(fmt.Sprint(name, " ", seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { manyDays(t, rand.New(rand.NewPCG(seed, 7)), change) })
			})
		}
	}
}

func manyDays(t *testing.T, random *rand.Rand, change func(*Options)) {
	api, log := &posture{}, newMemoryLog()
	told := map[string]int{} // what the log has said last: the version, or nothing if gone
	had, made := 0, 0
	once(t, api, log, change)
	for day := range 25 {
		api.change(func(m map[string]finding) {
			for id, x := range m {
				switch random.IntN(12) {
				case 0:
					delete(m, id)
				case 1:
					x.Version = 1 + random.IntN(4)
					m[id] = x
				}
			}
			for range random.IntN(40) {
				made++
				id := fmt.Sprintf("f%04d", random.IntN(made+10))
				if _, taken := m[id]; taken || told[id] > 0 {
					continue // one that is gone comes back on another day
				}
				at := time.Now().Add(-time.Duration(random.IntN(1000)) * time.Second).UTC()
				m[id] = finding{Version: 1 + random.IntN(3), Created: at, Changed: at}
			}
		})
		api.fault = func(r fetch.Request, p *fetch.Page) error {
			switch random.IntN(30) {
			case 0:
				return &fetch.Error{Class: fetch.Retry, Message: "oops"}
			case 1:
				if r.Field != "changedAt" {
					p.Total += 2
				}
			}
			return nil
		}
		crashed := false
		crash := func(string) error {
			if crashed = crashed || random.IntN(40) == 0; crashed {
				return errCrash
			}
			return nil
		}
		log.before, log.after = crash, crash
		time.Sleep(25 * time.Hour)
		if random.IntN(3) == 0 {
			log.trim(time.Now().Add(-30 * time.Hour))
		}
		complete := false
		for try := 0; !complete; try++ {
			if try == 20 { // enough of it
				api.fault, log.before, log.after = nil, nil, nil
			}
			crashed = false
			f, err := Open(t.Context(), postureOptions(api, log, change))
			if err != nil {
				continue
			}
			err = f.Once(t.Context())
			complete = err == nil
			if errors.As(err, new(*IncompleteError)) {
				time.Sleep(25 * time.Hour)
			}
		}
		var want []string
		for _, x := range api.findings {
			if told[x.ID] != x.Version {
				want = append(want, fmt.Sprint(x.ID, " ", x.Version))
			}
		}
		there := map[string]int{}
		for _, x := range api.findings {
			there[x.ID] = x.Version
		}
		for id := range told {
			if there[id] == 0 {
				want = append(want, "-"+id)
			}
		}
		t.Logf("day %d: %d findings, %d changes", day, len(there), len(want))
		had = wantLines(t, log, had, want...)
		told = there
	}
}
