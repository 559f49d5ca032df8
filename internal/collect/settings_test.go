package collect

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestSettingsChange: what other settings mean for a position is said, once,
// and remembered.
func TestSettingsChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		with := func(s Settings) func(*Options) { return func(o *Options) { o.Settings = s } }
		was, is := Settings{Start: "1h", Filter: "a", Request: "q"}, Settings{Start: "2h", Filter: "b", Request: "q"}
		for i, step := range []struct {
			settings Settings
			want     []string
		}{{was, nil}, {was, nil}, {is, []string{"filter", "start"}}, {is, []string{"filter", "start"}}, {Settings{Start: "2h", Filter: "b", Request: "r"}, []string{"filter", "start", "request"}}} {
			f := open(t, api, log, with(step.settings))
			var got []string
			for _, c := range f.Status().Changes {
				got = append(got, c.Setting)
			}
			if !slices.Equal(got, step.want) {
				t.Errorf("opened %d times: %q changed, want %q", i+1, got, step.want)
			}
			time.Sleep(time.Minute)
			if err := f.Once(t.Context()); err != nil {
				t.Fatalf("Once: %v", err)
			}
		}
	})
}

func TestPositionTools(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		api.add(spread("e", 35, time.Now(), 3*time.Hour)...)
		f := open(t, api, log, nil)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		synctest.Wait()
		hour := len(log.delivered())
		if hour == 0 || hour == 35 {
			t.Fatalf("%d records of the last hour", hour)
		}
		if err := f.Do(ctx, Rewind(time.Now().Add(-24*time.Hour))); err != nil {
			t.Fatalf("rewind: %v", err)
		}
		synctest.Wait()
		wantAll(t, api, log)
		if err := f.Do(ctx, Pause); err != nil {
			t.Fatalf("pause: %v", err)
		}
		calls := api.calls
		time.Sleep(time.Hour)
		if api.calls != calls || f.Status().State != StatePaused {
			t.Errorf("a paused feed made %d calls, state %s", api.calls-calls, f.Status().State)
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatalf("Run: %v", err)
		}
		f = open(t, api, log, nil) // a pause survives a restart
		if f.Status().State != StatePaused {
			t.Errorf("state after a restart: %s", f.Status().State)
		}
		if err := f.Do(t.Context(), Resume); err != nil {
			t.Fatalf("resume: %v", err)
		}
		if err := f.Do(t.Context(), Reset); err != nil {
			t.Fatalf("reset: %v", err)
		}
		f = open(t, api, log, func(o *Options) {
			o.Start = func(now time.Time) (time.Time, bool) { return now.Add(-24 * time.Hour), true }
		})
		if err := f.Once(t.Context()); err != nil {
			t.Fatalf("Once: %v", err)
		}
		for id, n := range log.delivered() {
			if n != 2 {
				t.Fatalf("record %s is in the log %d times after a reset, want 2", id, n)
			}
		}
	})
}
