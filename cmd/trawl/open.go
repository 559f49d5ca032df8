package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/console"
	"github.com/trawlsec/trawl/internal/engine"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// Another process has data_dir for a moment when it looks at what is stored,
// and while it starts or ends. Tests wait longer, for a machine on which a
// moment is long.
var lockPatience = 5 * time.Second

const lockRetry = 50 * time.Millisecond

// takeOver opens the engine for work, and takes commands for it until closing is
// called. It is refused at once while a running Trawl has data_dir, and waits a
// little for others.
func takeOver(ctx context.Context, cfg *config.Config, logger *slog.Logger) (e *engine.Engine, closing func() error, err error) {
	if e, err = openEngine(ctx, cfg, logger); err != nil {
		return nil, nil, err
	}
	stopControl, err := console.Control(cfg.DataDir, e)
	if err != nil {
		return nil, nil, errors.Join(err, e.Close())
	}
	return e, func() error { stopControl(); return e.Close() }, nil
}

// openEngine opens the engine for work, once it is free.
func openEngine(ctx context.Context, cfg *config.Config, logger *slog.Logger) (*engine.Engine, error) {
	collectEarlier()
	deadline := time.Now().Add(lockPatience)
	for {
		if client, err := console.Dial(ctx, cfg.DataDir); err == nil {
			return nil, fmt.Errorf("%s: a trawl is running here already (process %d); see `trawl status`", cfg.DataDir, client.PID)
		}
		e, err := engine.Open(ctx, cfg, engine.Options{Logger: logger, UserAgent: userAgent()})
		if err = busy(err, cfg.DataDir); !errors.As(err, new(*busyError)) || time.Now().After(deadline) {
			return e, err
		}
		pause(ctx, lockRetry)
	}
}

// withEngine calls f with the running Trawl of the configuration's data_dir
// or, where there is none, with what is stored there.
func (a *app) withEngine(ctx context.Context, cfg *config.Config, f func(console.Engine) error) (err error) {
	deadline := time.Now().Add(lockPatience)
	logger := slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for {
		client, err := console.Dial(ctx, cfg.DataDir)
		if err == nil {
			err = f(client) // which may end just now
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, console.ErrNotRunning) {
			return err
		}
		collectEarlier()
		e, err := engine.Open(ctx, cfg, engine.Options{Logger: logger, Offline: true})
		if err == nil {
			return errors.Join(f(e), e.Close())
		}
		if err = busy(err, cfg.DataDir); !errors.As(err, new(*busyError)) || time.Now().After(deadline) {
			return err
		}
		pause(ctx, lockRetry)
	}
}

// busyError says that another process has data_dir.
type busyError struct {
	dir string
	err error
}

func (e *busyError) Error() string {
	return fmt.Sprintf("%s: another process has it open, and does not answer as a running trawl would: %v", e.dir, e.err)
}
func (e *busyError) Unwrap() error { return e.err }

// busy gives the refusal of a data_dir that is in use words for a person.
func busy(err error, dir string) error {
	if errors.Is(err, pagelog.ErrLocked) {
		return &busyError{dir, err}
	}
	return err
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
