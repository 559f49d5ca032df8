package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/console"
	"github.com/trawlsec/trawl/internal/engine"
)

func (a *app) backfillCommand() *cobra.Command {
	var since, until string
	var concurrency int
	var cancel bool
	cmd := &cobra.Command{
		Use:   "backfill FEED [--since T]",
		Short: "Collect a past range of a feed",
		Long: "Reads a past range of one feed, several slices at once within the connection's rate limit and\n" +
			"behind its live feeds. Records that the log has are not delivered again. While `trawl run` is\n" +
			"running on the same data_dir the work is done there, and this command shows how it goes; ending\n" +
			"it does not end the backfill. A backfill that was interrupted goes on with `trawl backfill FEED`,\n" +
			"or by itself with the next `trawl run`.",
		Example: "  trawl backfill wiz-prod/audit --since 2160h\n" +
			"  trawl backfill wiz-prod/audit --since 2026-01-01T00:00:00Z --until 2026-02-01T00:00:00Z --concurrency 8\n" +
			"  trawl backfill wiz-prod/audit            # wait for the one that is under way\n" +
			"  trawl backfill wiz-prod/audit --cancel",
		RunE: func(cmd *cobra.Command, args []string) error {
			feed := args[0]
			var options []config.Option
			if cancel {
				options = append(options, config.WithoutSecrets)
			}
			cfg, err := a.load(options...)
			if err != nil {
				return err
			}
			if err := knownFeed(cfg, feed); err != nil {
				return err
			}
			if cancel {
				return a.withEngine(cmd.Context(), cfg, func(e console.Engine) error {
					s, err := e.Status(cmd.Context())
					if err != nil {
						return err
					}
					if b, _, _ := backfillStatus(s, feed); b == nil || b.Done >= 1 {
						fmt.Fprintf(a.stderr, "feed %s: no backfill is under way\n", feed)
						return nil
					}
					if err := e.Change(cmd.Context(), feed, "cancel-backfill", time.Time{}); err != nil {
						return err
					}
					fmt.Fprintf(a.stderr, "feed %s: backfill cancelled; what it brought stays\n", feed)
					return nil
				})
			}
			if since == "" {
				if until != "" || cmd.Flags().Changed("concurrency") {
					return misuse(errors.New("--until and --concurrency are of a new backfill; say with --since where it begins"))
				}
				return a.backfill(cmd.Context(), cfg, feed, nil)
			}
			from, to, err := period(since, until)
			if err != nil {
				return err
			}
			if concurrency < 1 || concurrency > collect.MostConcurrent {
				return misuse(fmt.Errorf("--concurrency is %d, and must be between 1 and %d", concurrency, collect.MostConcurrent))
			}
			return a.backfill(cmd.Context(), cfg, feed, func(e console.Engine) error {
				return a.startBackfill(cmd.Context(), e, feed, from, to, concurrency)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&since, "since", "", "beginning of the range: a `TIME` like 2026-01-31T09:00:00Z, a date, or how long ago, like 60d")
	flags.StringVar(&until, "until", "", "end of the range, likewise (default now)")
	flags.IntVar(&concurrency, "concurrency", 4, fmt.Sprintf("slices read at once, at most %d", collect.MostConcurrent))
	flags.BoolVar(&cancel, "cancel", false, "give up the feed's backfill")
	exclude(cmd, "cancel", "since")
	return cmd
}

// period reads --since and --until; without the latter it ends now.
func period(since, until string) (from, to time.Time, err error) {
	now := time.Now()
	if from, err = moment("--since", since, now); err != nil {
		return from, to, err
	}
	to = now
	if until != "" {
		if to, err = moment("--until", until, now); err != nil {
			return from, to, err
		}
	}
	if to.Before(from) {
		return from, to, misuse(fmt.Errorf("the end, --until %s, lies before the beginning, --since %s", cmp.Or(until, "now"), since))
	}
	return from, to, nil
}

// moment reads a time, a date, or a duration before now.
func moment(flag, text string, now time.Time) (time.Time, error) {
	start, err := config.ParseStart(text)
	if err != nil {
		return time.Time{}, misuse(fmt.Errorf("%s: %w", flag, err))
	}
	at, _ := start.At(now) // an age of nothing is now
	return at, nil
}

// backfill watches a backfill in the running Trawl, or does it here when there
// is none. start begins it; nil: it is under way.
func (a *app) backfill(ctx context.Context, cfg *config.Config, feed string, start func(console.Engine) error) (err error) {
	if start == nil {
		start = func(e console.Engine) error {
			s, err := e.Status(ctx)
			if b, _, _ := backfillStatus(s, feed); err == nil && (b == nil || b.Done >= 1) {
				err = misuse(fmt.Errorf("feed %s: no backfill is under way; say with --since what to read", feed))
			}
			return err
		}
	}
	client, err := console.Dial(ctx, cfg.DataDir)
	if err == nil {
		if err := start(client); err != nil {
			return err
		}
		return a.watchBackfill(ctx, client, feed, nil)
	}
	if !errors.Is(err, console.ErrNotRunning) {
		return err
	}
	logger, err := a.logger()
	if err != nil {
		return err
	}
	e, closing, err := takeOver(ctx, cfg, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	if err := start(e); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- e.Backfill(ctx, feed) }()
	return a.watchBackfill(ctx, e, feed, done)
}

func (a *app) startBackfill(ctx context.Context, e console.Engine, feed string, since, until time.Time, concurrency int) error {
	begins, err := e.StartBackfill(ctx, feed, since, until, concurrency)
	if err != nil {
		return err
	}
	if !a.quiet && begins.Sub(since) > time.Second {
		fmt.Fprintf(a.stderr, "%s: the product keeps records since %s; what lies before cannot be read\n", feed, when(begins))
	}
	return nil
}

// watchBackfill shows how a backfill goes until it is done. done is that of
// watch.
func (a *app) watchBackfill(ctx context.Context, e console.Engine, feed string, done <-chan error) error {
	s, err := e.Status(ctx)
	if err != nil {
		return err
	}
	first, _, _ := backfillStatus(s, feed)
	interrupted, err := a.watch(ctx, e, done, func(s engine.Status, since time.Duration, width int) (line string, over bool, err error) {
		b, state, reason := backfillStatus(s, feed)
		if b == nil {
			return "", false, nil
		}
		if first == nil {
			first = b
		}
		if b.Done >= 1 {
			over = true
			if len(b.Gaps) > 0 {
				err = fmt.Errorf("backfill %s: the API did not give %d slice(s) to their end, the first from %s to %s: %s",
					feed, len(b.Gaps), when(b.Gaps[0].Since), when(b.Gaps[0].Until), b.Gaps[0].Why)
			}
		}
		line = backfillLine(feed, b, first, since, width)
		if reason != "" && state != collect.StateCollecting {
			line += "   " + string(state)
		}
		return line, over, err
	})
	switch {
	case interrupted && done == nil:
		fmt.Fprintf(a.stderr, "the backfill of %s goes on in the running trawl; `trawl backfill %s --cancel` ends it\n", feed, feed)
		return nil
	case interrupted:
		return errors.Join(err, fmt.Errorf("backfill %s: interrupted; `trawl backfill %s` goes on with it, and so does the next `trawl run`", feed, feed))
	}
	return err
}

func backfillStatus(s engine.Status, feed string) (*collect.Backfill, collect.State, string) {
	for _, f := range s.Feeds {
		if f.Connection+"/"+f.Source == feed {
			return f.Backfill, f.State, f.Reason
		}
	}
	return nil, "", ""
}

// backfillLine is a bar with the rate and an estimate: first is how it stood
// when it was first looked at.
func backfillLine(feed string, b, first *collect.Backfill, since time.Duration, width int) string {
	return fmt.Sprintf("%s%s  %3.0f %%  %d records (%.0f/s)%s", progressBar(b.Done, width), feed, 100*b.Done, b.Records,
		float64(b.Records-first.Records)/since.Seconds(), timeLeft(b.Done, first.Done, since))
}
