package deliver

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/pagelog"
)

// TestRefusalsTold: what an output refuses is told at once, then once a minute
// with all that came meanwhile, and at the end.
func TestRefusalsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&said, nil))
		var r refusals
		told := func() (lines int, last string) {
			all := strings.Split(strings.TrimSuffix(said.String(), "\n"), "\n")
			if said.Len() == 0 {
				return 0, ""
			}
			return len(all), all[len(all)-1]
		}
		for i := range 121 {
			r.note([]pagelog.DeadLetter{{Reason: "too large"}, {Reason: "too odd"}})
			r.tell(logger, refusalsEvery)
			if n, _ := told(); n != 1+i/60 {
				t.Fatalf("after %d s: %d lines\n%s", i, n, said.String())
			}
			time.Sleep(time.Second)
		}
		r.note([]pagelog.DeadLetter{{Reason: "too late"}})
		r.tell(logger, 0)
		if n, last := told(); n != 4 || !strings.Contains(last, `documents=1 first_reason="too late"`) {
			t.Errorf("%d lines, %s", n, last)
		}
		if strings.Count(said.String(), "documents=120") != 2 || strings.Count(said.String(), "documents=2 ") != 1 {
			t.Errorf("%s", said.String())
		}
		r.note(nil)
		r.tell(logger, 0)
		if n, _ := told(); n != 4 {
			t.Errorf("nothing is told: %d lines", n)
		}
	})
}
