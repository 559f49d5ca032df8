package collect

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/pagelog"
)

// TestReach: how far back the product answered is told by records that were
// known too, and stays when the feed is opened again and when it is reset. A
// record is not believed to be older than what was asked for.
func TestReach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("past", 40, time.Now(), 10*time.Hour)...)
		f := open(t, api, log, func(o *Options) {
			o.Start = func(now time.Time) (time.Time, bool) { return now.Add(-24 * time.Hour), true }
		})
		about := func(d, want time.Duration) bool { return (d - want).Abs() < 30*time.Minute }
		want := func(when string, lane pagelog.Lane, asked, reach time.Duration) {
			t.Helper()
			for _, l := range f.Status().Lanes {
				if l.Lane == string(lane) && (!about(l.Asked, asked) || !about(l.Reach, reach)) {
					t.Errorf("%s the %s lane was asked for %s and answered for %s", when, lane, l.Asked, l.Reach)
				}
			}
		}
		if err := f.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		want("at first", pagelog.Live, 24*time.Hour, 10*time.Hour)
		time.Sleep(5 * time.Hour)
		if _, err := f.StartBackfill(t.Context(), time.Now().Add(-20*time.Hour), time.Now(), 1); err != nil {
			t.Fatal(err)
		}
		for f.Status().Backfill.Done < 1 {
			if err := f.Backfill(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(log.delivered()); n != 40 {
			t.Fatalf("%d records", n)
		}
		want("of known records", pagelog.Backfill, 20*time.Hour, 15*time.Hour)
		f = open(t, api, log, nil)
		want("opened again", pagelog.Backfill, 20*time.Hour, 15*time.Hour)
		if err := f.Do(t.Context(), Reset); err != nil {
			t.Fatal(err)
		}
		want("reset", pagelog.Backfill, 20*time.Hour, 15*time.Hour)

		var p Position
		now := time.Now()
		p.answered(now.Add(-time.Hour), now, time.Unix(0, 0))
		if p.Asked != time.Hour || p.Reach != time.Hour {
			t.Errorf("asked for an hour, a record of 1970 counts as %s old", p.Reach)
		}
		p.answered(now.Add(-time.Minute), now, time.Time{})
		if p.Asked != time.Hour || p.Reach != time.Hour {
			t.Errorf("a later answer made it %s and %s", p.Asked, p.Reach)
		}
	})
}
