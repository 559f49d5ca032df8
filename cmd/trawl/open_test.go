package main

import (
	"context"
	"log/slog"
	"runtime/debug"
	"testing"

	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/console"
)

// TestCollectorNotAtRest: a log with many ids is opened with the collector of
// garbage at work, whatever the verb, also where opening fails.
func TestCollectorNotAtRest(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cfg := &config.Config{DataDir: t.TempDir()}
	a := &app{stderr: &liveLine{w: t.Output()}}
	for name, open := range map[string]func() error{
		"to work": func() error {
			_, _, err := takeOver(ctx, cfg, slog.New(slog.DiscardHandler))
			return err
		},
		"to look": func() error {
			return a.withEngine(ctx, cfg, func(console.Engine) error { return context.Canceled })
		},
	} {
		collectSeldom()
		if err := open(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if percent := debug.SetGCPercent(100); percent > 100 {
			t.Errorf("%s: the collector begins at %d %%", name, percent)
		}
	}
}
