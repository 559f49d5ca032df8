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
		Rev: 3, ForgetTo: 18446744073709551615, Watermark: at, Round: at.Add(-time.Hour), Floor: at.Add(-time.Minute),
		Slices: []Slice{{Since: at, Until: at, Cursor: []byte(`"watermark"`)}},
	}
	first := Position{Watermark: at, Round: at, Floor: at}
	for name, tt := range map[string]struct {
		lane pagelog.Lane
		pos  Position
		want Standing
	}{
		"live":           {pagelog.Live, later, Standing{true, 18446744073709551615, at, true}},
		"the first time": {pagelog.Live, first, Standing{true, 0, at, false}},
		"revisit":        {pagelog.Revisit, first, Standing{true, 0, at, true}},
		"backfill":       {pagelog.Backfill, later, Standing{true, 18446744073709551615, at, false}},
		"snapshot":       {pagelog.Snapshot, later, Standing{true, 18446744073709551615, at, false}},
		"push":           {pagelog.Push, Position{}, Standing{true, 0, time.Time{}, false}},
	} {
		text, err := json.Marshal(tt.pos)
		if err != nil {
			t.Fatal(err)
		}
		got, err := StandingOf(&pagelog.Page{Lane: tt.lane, Position: text})
		if d := cmp.Diff(tt.want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, d)
		}
	}
	if got, err := StandingOf(&pagelog.Page{Lane: pagelog.Live}); got != (Standing{}) || err != nil {
		t.Errorf("without a position: %+v, %v", got, err)
	}
	for _, text := range []string{`{`, `{"watermark":7}`, `{"forget_to":-1}`, `{"forget_to":"x"}`, `{"floor":"yesterday"}`} {
		if got, err := StandingOf(&pagelog.Page{Lane: pagelog.Live, Position: []byte(text)}); err == nil {
			t.Errorf("%s: %+v", text, got)
		}
	}
}
