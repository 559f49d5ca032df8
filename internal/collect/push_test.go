package collect

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/pagelog"
)

func encoded(t *testing.T, events []event) [][]byte {
	t.Helper()
	records := make([][]byte, len(events))
	for i, e := range events {
		var err error
		if records[i], err = json.Marshal(e); err != nil {
			t.Fatal(err)
		}
	}
	return records
}

// TestPush: what the product sends and what it is asked for are each in the log
// once, whichever way comes first, across restarts and failed writes.
func TestPush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		events := spread("e", 300, time.Now(), 50*time.Minute)
		api.add(events...)
		all := encoded(t, events)
		f := open(t, api, log, nil)
		if p, err := f.Push(t.Context(), all[:120], Covered{}); err != nil || p != (Pushed{New: 120}) {
			t.Fatalf("push = %+v, %v", p, err)
		}
		if err := f.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		f = open(t, api, log, nil)
		if p, err := f.Push(t.Context(), append(all[100:200:200], all[100]), Covered{}); err != nil || p != (Pushed{Known: 101}) {
			t.Fatalf("push again = %+v, %v", p, err)
		}
		if p, err := f.Push(t.Context(), nil, Covered{}); err != nil || p != (Pushed{}) {
			t.Fatalf("push of nothing = %+v, %v", p, err)
		}

		more := spread("more", 9000, time.Now(), 30*time.Minute) // several pages
		api.add(more...)
		for name, err := range map[string]error{"full": pagelog.ErrFull, "crash": errCrash} {
			writes := 0
			log.before = func(string) error {
				if writes++; writes == 2 {
					return err
				}
				return nil
			}
			if _, got := f.Push(t.Context(), encoded(t, more), Covered{}); !errors.Is(got, err) && writes > 1 {
				t.Fatalf("%s: push = %v", name, got)
			}
			log.before = nil
		}
		if _, err := f.Push(t.Context(), encoded(t, more), Covered{}); err != nil {
			t.Fatal(err)
		}
		if err := f.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantAll(t, api, log)
		if c := f.Status().Counts; c.Records != 9300 {
			t.Errorf("counts %+v", c)
		}
	})
}

// TestCovered: of a time that was read long ago, nothing is taken a second time
// from a file, and what is newer or older is.
func TestCovered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		old := func(o *Options) { o.MaxAge = 48 * time.Hour }
		f := open(t, api, log, old)
		start := time.Now()
		before := spread("before", 50, start.Add(-2*time.Hour), time.Hour) // the feed begins an hour ago
		for day := range 6 {
			api.add(spread(fmt.Sprint("day", day), 100, time.Now(), 40*time.Minute)...)
			if err := f.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
			if c, err := f.Covered(t.Context()); err != nil || day == 0 && c != (Covered{}) {
				t.Fatalf("day %d: covered = %+v, %v", day, c, err)
			}
			time.Sleep(24 * time.Hour)
			log.trim(time.Now().Add(-48 * time.Hour))
		}
		f = open(t, api, log, old)
		covered, err := f.Covered(t.Context())
		if err != nil || !covered.Since.Equal(start.Add(-time.Hour)) || covered.Until.Before(start.Add(72*time.Hour)) {
			t.Fatalf("covered = %+v, %v", covered, err)
		}
		fresh := event{ID: "fresh", Time: time.Now().UTC()}
		export := append(append(append([]event{}, before...), api.events...), fresh)
		p, err := f.Push(t.Context(), encoded(t, export), covered)
		if err != nil || p.New != len(before)+1 || p.Covered < 300 || p.Covered+p.Known != 600 {
			t.Errorf("push = %+v, %v", p, err)
		}
		api.add(before...)
		api.add(fresh)
		wantAll(t, api, log)
	})
}

// TestPushAfterTakeover: what is pushed to a process that has lost the feed, and
// does not know it yet, is in the log once, whether the other one read it before
// or reads it afterwards.
func TestPushAfterTakeover(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		events := spread("e", 40, time.Now(), 50*time.Minute)
		api.add(events...)
		loser, winner := open(t, api, log, nil), open(t, api, log, nil)
		if err := winner.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p, err := loser.Push(t.Context(), encoded(t, events), Covered{}); err != nil || p != (Pushed{Known: 40}) {
			t.Errorf("pushed after the other read them: %+v, %v", p, err)
		}
		time.Sleep(10 * time.Minute)
		more := spread("more", 15, time.Now(), 5*time.Minute)
		api.add(more...)
		if p, err := loser.Push(t.Context(), encoded(t, more[:12]), Covered{}); err != nil || p != (Pushed{New: 12}) {
			t.Errorf("pushed before the other reads them: %+v, %v", p, err)
		}
		// The other one hears of it when it writes, and knows them the next time.
		if err := winner.Once(t.Context()); !errors.Is(err, pagelog.ErrFenced) {
			t.Errorf("the first writing: %v", err)
		}
		if err := winner.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantAll(t, api, log)
	})
}
