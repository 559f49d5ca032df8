package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/console"
	"github.com/trawlsec/trawl/internal/deliver"
	"github.com/trawlsec/trawl/internal/engine"
)

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show where every feed and output stands",
		Long: "Shows each feed (state and the reason for it, lag, last success, records, duplicates dropped,\n" +
			"late records, measured lateness) and each output (delivered, pending, dead letters). Works\n" +
			"whether or not `trawl run` is running; without it, what is stored is shown.",
		Example: "  trawl status\n  trawl status --watch\n  trawl status --format json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load(config.WithoutSecrets)
			if err != nil {
				return err
			}
			if watch {
				return a.watchStatus(cmd.Context(), cfg)
			}
			return a.withEngine(cmd.Context(), cfg, func(e console.Engine) error {
				s, err := e.Status(cmd.Context())
				if err != nil {
					return err
				}
				if a.format == "json" {
					return writeJSON(a.stdout, s)
				}
				writeStatus(a.stdout, s)
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it anew every second until stopped")
	a.formatFlag(cmd)
	return cmd
}

func (a *app) watchStatus(ctx context.Context, cfg *config.Config) error {
	for {
		err := a.withEngine(ctx, cfg, func(e console.Engine) error {
			s, err := e.Status(ctx)
			if err != nil {
				return err
			}
			if a.format == "json" {
				return writeJSON(a.stdout, s)
			}
			if terminal(a.stdout) > 0 {
				fmt.Fprint(a.stdout, "\x1b[H\x1b[2J")
			}
			writeStatus(a.stdout, s)
			return nil
		})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		timer := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// withEngine calls f with the running Trawl of the configuration's data_dir
// or, where there is none, with what is stored there.
func (a *app) withEngine(ctx context.Context, cfg *config.Config, f func(console.Engine) error) (err error) {
	client, err := console.Dial(ctx, cfg.DataDir)
	if err == nil {
		return f(client)
	}
	if !errors.Is(err, console.ErrNotRunning) {
		return err
	}
	e, err := engine.Open(ctx, cfg, engine.Options{Logger: slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), Offline: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return f(e)
}

func writeStatus(w io.Writer, s engine.Status) {
	colour := colours(w)
	if s.Running {
		fmt.Fprintf(w, "running since %s\n\n", when(s.Started))
	} else {
		fmt.Fprint(w, "not running: what is stored is shown\n\n")
	}
	feedTable(s, colour).write(w)
	fmt.Fprintln(w)
	connections := &table{header: []string{"CONNECTION", "PRODUCT", "ANSWERS SINCE THE START"}}
	for _, c := range s.Connections {
		connections.add(c.Name, c.Product, answers(c))
	}
	connections.write(w)
	fmt.Fprintln(w)
	outputs := &table{header: []string{"OUTPUT", "STATE", "DELIVERED", "PENDING PAGES", "DEAD LETTERS", "REASON"}}
	for _, o := range s.Outputs {
		delivered := "-" // only a running process counts
		if s.Running {
			delivered = fmt.Sprint(o.Documents)
		}
		outputs.add(o.Output, paint(colour, string(o.State), o.State == deliver.StateOK), delivered, fmt.Sprint(o.PendingPages), fmt.Sprint(o.DeadLetters), o.Reason)
	}
	outputs.write(w)
	fmt.Fprintf(w, "\nlog: %d pages, %s of %s\n", s.Log.Pages, bytes(int64(s.Log.Bytes)), bytes(s.Log.MaxBytes))
}

// feedTable lists the feeds.
func feedTable(s engine.Status, colour bool) *table {
	feeds := &table{header: []string{"FEED", "STATE", "LAG", "LAST SUCCESS", "COMPLETE TO", "RECORDS", "DUPLICATES", "LATE", "LATENESS P50/P99/MOST", "REQUESTS", "THROTTLED", "REASON"},
		spare: []string{"THROTTLED", "REQUESTS", "LATENESS P50/P99/MOST", "COMPLETE TO", "DUPLICATES", "LATE"}}
	for _, f := range s.Feeds {
		lag := "-"
		if !f.Watermark.IsZero() {
			lag = short(f.Lag(s.Now))
		}
		lateness := "-"
		if f.LatenessMax > 0 {
			lateness = short(f.LatenessP50) + "/" + short(f.LatenessP99) + "/" + short(f.LatenessMax)
		}
		feeds.add(f.Connection+"/"+f.Source, paint(colour, string(f.State), goodFeed(f.State)), lag, when(f.LastSuccess), when(f.CompleteTo),
			fmt.Sprint(f.Counts.Records), fmt.Sprint(f.Counts.Duplicates), fmt.Sprint(f.Counts.Late), lateness, fmt.Sprint(f.Requests), fmt.Sprint(f.Throttles), f.Reason)
	}
	return feeds
}

func goodFeed(s collect.State) bool {
	return s == collect.StateIdle || s == collect.StateCollecting || s == collect.StatePaused
}

// when is a moment for people, in UTC; "-" for none.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// short is a duration with at most two units: 3d4h, 12m, 1.5s.
func short(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return d.Round(100 * time.Millisecond).String()
}

// bytes is a size for people.
func bytes(n int64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[unit])
}

// paint makes good green and bad red.
func paint(colour bool, text string, good bool) string {
	switch {
	case !colour:
		return text
	case good:
		return "\x1b[32m" + text + "\x1b[0m"
	default:
		return "\x1b[31m" + text + "\x1b[0m"
	}
}

// answers counts the answers by class.
func answers(c engine.ConnectionStatus) string {
	var parts []string
	for _, class := range slices.Sorted(maps.Keys(c.Answers)) {
		parts = append(parts, fmt.Sprintf("%s %d", class, c.Answers[class]))
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}
