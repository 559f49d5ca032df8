package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/saassim"
)

const (
	demoProgress = 3 * time.Second  // between two lines where there is no terminal
	demoPatience = 20 * time.Second // for reading and delivering the rest after Ctrl-C
)

func (a *app) demoCommand() *cobra.Command {
	var once bool
	var faults string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Collect from simulated accounts, here and now",
		Long: "Starts simulated accounts of several products on loopback, which fail and lie like real ones do,\n" +
			"and collects from them for real into a temporary directory. Needs no account, no configuration\n" +
			"and no network. With --once it stops when all is delivered and compares that with what they\n" +
			"had; otherwise it goes on, with new records all the while, until Ctrl-C, and compares then.\n" +
			"The directory stays. With --quiet only the result is printed.\n\n" +
			saassim.FaultsHelp(),
		Example: "  trawl demo\n  trawl demo --once\n  trawl demo --once --faults truncate=0.3,throttle=0.2",
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := saassim.ParseFaults(faults)
			if err != nil {
				return misuse(fmt.Errorf("--faults: %w", err))
			}
			return a.demo(cmd.Context(), once, f)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "stop when all is delivered, and print a summary")
	cmd.Flags().StringVar(&faults, "faults", "chaos", "how they misbehave: `LIST` like truncate=0.1,throttle=0.05; \"\" for not at all")
	return cmd
}

func (a *app) demo(ctx context.Context, once bool, faults saassim.Faults) (err error) {
	tenants, err := startDemoTenants(uint64(time.Now().UnixNano()), faults)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tenants.close()) }()
	dir, err := os.MkdirTemp("", "trawl-demo-")
	if err != nil {
		return fmt.Errorf("make the demo's directory: %w", err)
	}
	cfg, err := tenants.writeConfig(dir)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(a.demoLog(dir), nil))
	if !a.quiet {
		fmt.Fprintf(a.stderr, "Simulated accounts of %s, collected for real into %s\n", tenants, dir)
	}
	a.progressEvery = demoProgress
	if once {
		if err := a.collect(ctx, cfg, logger, true); err != nil {
			return err
		}
	} else if err := a.demoLive(ctx, cfg, logger, tenants, dir); err != nil {
		return err
	}
	return a.demoSummary(dir, tenants)
}

// demoLog is where the log lines of the demo go: a file, because the screen is
// used for the records.
func (a *app) demoLog(dir string) io.Writer {
	f, err := os.OpenFile(filepath.Join(dir, "trawl.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return io.Discard
	}
	return f // closed with the process
}

// demoSummary shows what came in and compares it with what the tenant had.
func (a *app) demoSummary(dir string, tenants demoTenants) error {
	path := filepath.Join(dir, "events.ndjson")
	tally, err := readTally(path)
	if err != nil {
		return err
	}
	w := a.stdout
	if !a.quiet {
		fmt.Fprintln(w)
		tally.kinds(12).write(w)
		fmt.Fprintln(w, "\nThe beginning of a document of each source, without event.original and the product's own fields:")
		for _, source := range slices.Sorted(maps.Keys(tally.samples)) {
			fmt.Fprintln(w, "\n  "+cut(common(tally.samples[source]), 480))
		}
		fmt.Fprintf(w, "\n%s\n", tenants.faultsMet())
	}
	existed, missing := 0, 0
	for _, tenant := range tenants {
		for t := range tenant.Truth() {
			if !t.ReplacedAt.IsZero() {
				continue // a state that an issue had before anyone asked
			}
			existed++
			if tally.ids[t.Source+"\x00"+t.ID] == 0 {
				missing++
			}
		}
	}
	earlier := ""
	if n := tally.documents - tally.twice - (existed - missing); n > 0 {
		earlier = fmt.Sprintf(" (%d of them of states that have changed since)", n)
	}
	fmt.Fprintf(w, "The tenants had %d records; %d documents arrived%s, %d missing, %d twice.\n", existed, tally.documents, earlier, missing, tally.twice)
	if !a.quiet {
		fmt.Fprintf(w, "\ndocuments      %s\nconfiguration  %s\nlog            %s\n", path, filepath.Join(dir, "trawl.yaml"), filepath.Join(dir, "trawl.log"))
		fmt.Fprintln(w, "\nLook around:")
		for _, verb := range []string{"status", "feed show demo-wiz/audit", "matrix --observed"} {
			fmt.Fprintf(w, "  trawl -c %s %s\n", filepath.Join(dir, "trawl.yaml"), verb)
		}
		fmt.Fprintf(w, "\nThe directory %s stays, %s large, until you remove it.\n", dir, bytes(sizeOf(dir)))
	}
	if missing > 0 || tally.twice > 0 {
		return fmt.Errorf("demo: %d records missing, %d twice", missing, tally.twice)
	}
	return nil
}

// sizeOf is how many bytes the files in a directory have, as far as they can
// be looked at.
func sizeOf(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil
		}
		if info, err := entry.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

// demoLive goes on until ctx ends, and shows what arrives. Then it reads and
// delivers the rest, so that what arrived can be compared with what there was.
func (a *app) demoLive(ctx context.Context, cfg *config.Config, logger *slog.Logger, tenants demoTenants, dir string) error {
	if err := a.demoRun(ctx, cfg, logger, tenants, dir); err != nil {
		return err
	}
	if !a.quiet {
		fmt.Fprintln(a.stderr, "Reading the rest, to compare; Ctrl-C again ends it at once.")
	}
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), demoPatience)
	defer cancel()
	tenants.settle(rest)
	if err := a.collect(rest, cfg, logger, true); err != nil {
		return fmt.Errorf("read the rest, to compare (the documents so far are in %s): %w", dir, err)
	}
	return nil
}

// demoRun collects while the tenant makes records, until ctx ends.
func (a *app) demoRun(ctx context.Context, cfg *config.Config, logger *slog.Logger, tenants demoTenants, dir string) (err error) {
	e, closing, err := takeOver(ctx, cfg, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var beside sync.WaitGroup
	beside.Go(func() { tenants.run(ctx) })
	var shown error
	beside.Go(func() {
		defer cancel() // without anything to see there is no demo
		shown = a.showLive(ctx, e, filepath.Join(dir, "events.ndjson"))
	})
	err = e.Run(ctx)
	cancel()
	beside.Wait()
	return errors.Join(err, shown)
}
