package collect

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/pagelog"
)

// TestStandingOf: what is read of a position is what was written, and what
// can't be read is damage.
func TestStandingOf(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 1, 12, 0, 0, 123456000, time.UTC)
	later := Position{
		Rev: 3, ForgetTo: 18446744073709551615, Watermark: at, Round: at.Add(-time.Hour), Floor: at.Add(-time.Minute), Interval: 5 * time.Minute,
		Slices: []Slice{{Since: at, Until: at, Cursor: []byte(`"watermark"`)}},
	}
	first := Position{Watermark: at, Round: at, Floor: at}
	for name, tt := range map[string]struct {
		lane pagelog.Lane
		pos  Position
		want Standing
	}{
		"live":           {pagelog.Live, later, Standing{true, 18446744073709551615, at, true, at.Add(-time.Hour), 5 * time.Minute}},
		"the first time": {pagelog.Live, first, Standing{true, 0, at, false, at, 0}},
		"revisit":        {pagelog.Revisit, first, Standing{true, 0, at, true, at, 0}},
		"backfill":       {pagelog.Backfill, later, Standing{true, 18446744073709551615, at, false, at.Add(-time.Hour), 5 * time.Minute}},
		"snapshot":       {pagelog.Snapshot, later, Standing{true, 18446744073709551615, at, false, at.Add(-time.Hour), 5 * time.Minute}},
		"push":           {pagelog.Push, Position{}, Standing{true, 0, time.Time{}, false, time.Time{}, 0}},
	} {
		text, err := json.Marshal(tt.pos)
		if err != nil {
			t.Fatal(err)
		}
		got, err := StandingOf(&pagelog.Page{Lane: tt.lane, Position: text})
		if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(Standing{})); d != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
	if got, err := StandingOf(&pagelog.Page{Lane: pagelog.Live}); got != (Standing{}) || err != nil {
		t.Errorf("without a position: %+v, %v", got, err)
	}
	for _, text := range []string{`{`, `{"watermark":7}`, `{"forget_to":-1}`, `{"forget_to":"x"}`, `{"interval":"5m"}`, `{"floor":"yesterday"}`} {
		if got, err := StandingOf(&pagelog.Page{Lane: pagelog.Live, Position: []byte(text)}); err == nil {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

// TestDelay: what was asked for in vain came an interval after that at most, what
// was not asked for before an interval after its time.
func TestDelay(t *testing.T) {
	t.Parallel()
	round := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	fetched := round.Add(8 * time.Hour)
	for at, want := range map[time.Time]time.Duration{
		round.Add(-time.Minute):     6 * time.Minute,
		round:                       5 * time.Minute,
		fetched.Add(-time.Minute):   time.Minute,
		fetched.Add(10 * time.Hour): -10 * time.Hour, // its clock is wrong
	} {
		if got := (&Standing{round: round, interval: 5 * time.Minute}).Delay(at, fetched); got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
		if got := (&Standing{round: round}).Delay(at, fetched); got != fetched.Sub(at) {
			t.Errorf("%s, without an interval: %s", at, got)
		}
	}
}
