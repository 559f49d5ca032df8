package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"runtime/pprof"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/console"
	"github.com/trawlsec/trawl/internal/engine"
	"github.com/trawlsec/trawl/internal/ingest"
)

func (a *app) runCommand() *cobra.Command {
	var once bool
	var profile string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Collect and deliver until stopped",
		Long: "Reads every feed of the configuration at its interval and delivers to every output, until\n" +
			"SIGINT or SIGTERM: then the page in hand is finished and what is delivered is acknowledged.\n" +
			"It can be stopped at any moment, also with SIGKILL, and goes on where it was.",
		Example: "  trawl run\n  trawl run --once   # bring every feed to the present, deliver, exit",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			logger, err := a.logger()
			if err != nil {
				return err
			}
			stop, err := profileCPU(profile)
			if err != nil {
				return err
			}
			return errors.Join(a.collect(cmd.Context(), cfg, logger, once), stop())
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "bring every feed to the present, deliver everything, exit")
	cmd.Flags().StringVar(&profile, "cpuprofile", "", "write a CPU profile to `FILE`")
	_ = cmd.Flags().MarkHidden("cpuprofile")
	return cmd
}

// profileCPU writes a CPU profile until stop is called; for an empty path it
// does nothing.
func profileCPU(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("write CPU profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("write CPU profile: %w", err), f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// collect runs the engine with everything around it: the control socket, the
// address for monitoring, progress for people.
func (a *app) collect(ctx context.Context, cfg *config.Config, logger *slog.Logger, once bool) (err error) {
	e, closing, err := takeOver(ctx, cfg, logger)
	switch {
	case err == nil:
	case ctx.Err() == nil || !errors.Is(err, context.Canceled):
		return err
	case once:
		return engine.ErrStopped
	default:
		return nil // stopped before it had begun
	}
	defer func() { err = errors.Join(err, closing()) }()
	if once {
		progress := a.startProgress(e)
		err := e.Once(ctx)
		progress.stop()
		if err != nil {
			return err
		}
		return a.summary(ctx, e)
	}
	handler := http.NewServeMux()
	handler.Handle("/", console.Handler(e))
	handler.Handle("/ingest/", ingest.Handler(cfg.Connections, e, logger))
	stopServing, err := serve(cfg.Listen, cfg.ListenTLS, handler, logger)
	if err != nil {
		return err
	}
	defer stopServing()
	logger.Info("trawl started", "version", version(), "feeds", cfg.FeedCount(), "outputs", len(cfg.Outputs), "data_dir", cfg.DataDir)
	err = e.Run(ctx)
	logger.Info("trawl stopped")
	return err
}

// summary says in one line what a run brought. What an output refused is an
// error.
func (a *app) summary(ctx context.Context, e *engine.Engine) error {
	s, err := e.Status(ctx)
	if err != nil {
		return err
	}
	var received, gone, documents int64
	var refused []error
	paused := 0
	for _, f := range s.Feeds {
		received += f.Counts.Records
		gone += f.Counts.Gone
		if f.State == collect.StatePaused {
			paused++
		}
	}
	for _, o := range s.Outputs {
		documents += o.Documents
		if o.Refused > 0 {
			refused = append(refused, fmt.Errorf("output %s refused %s for good; `trawl dead list --output %s` says why", o.Output, count(int(o.Refused), "document"), o.Output))
		}
	}
	feeds := count(len(s.Feeds)-paused, "feed") + " up to date"
	if paused > 0 {
		feeds += fmt.Sprintf(", %d paused", paused)
	}
	vanished := ""
	if gone > 0 {
		vanished = fmt.Sprintf(" and %d gone", gone)
	}
	if !a.quiet {
		fmt.Fprintf(a.stderr, "%s: %d records%s in all, %d documents delivered now\n", feeds, received, vanished, documents)
	}
	return errors.Join(refused...)
}

// collectSeldom is for a process that starts, which most verbs never do more
// than: the catalogue is small, and what reading it leaves behind is not worth
// looking through it ten times. A log and records, which may be large, are read
// after collectEarlier.
func collectSeldom() { collectGarbage(400) }

// collectEarlier makes the collector of garbage begin a little earlier than
// usual, unless the operator has set it: pages are short-lived, and a process
// that is quiet most of the day should be small. A limit in bytes would not do:
// beyond it, with many ids to remember, the collector would never rest.
func collectEarlier() { collectGarbage(75) }

func collectGarbage(percent int) {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(percent)
	}
}

func userAgent() string { return "trawl/" + version() }
