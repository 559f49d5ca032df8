package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/console"
	"github.com/trawlsec/trawl/internal/deliver"
	"github.com/trawlsec/trawl/internal/engine"
)

func (a *app) replayCommand() *cobra.Command {
	var output, since, until, feed string
	var cancel, dry bool
	cmd := &cobra.Command{
		Use:   "replay --output NAME --since T",
		Short: "Deliver again what the log still holds",
		Long: "Gives an output again what was put in the log since a time and has been delivered to it, beside\n" +
			"what is new and behind it. Documents are made anew of their records, so a changed mapping\n" +
			"counts. The log holds pages for log.max_age.\n\n" +
			"What the output has already comes a second time, under the same trawl.uid. A replay that was\n" +
			"interrupted goes on where it was, with the next `trawl run` or with `trawl replay --output NAME`.",
		Example: "  trawl replay --output archive --since 24h\n" +
			"  trawl replay --output archive --since 2026-01-31T09:00:00Z --until 2026-01-31T12:00:00Z --feed wiz-prod/audit\n" +
			"  trawl replay --output archive --since 7d --dry-run   # only say how much that is\n" +
			"  trawl replay --output archive                        # wait for the one that is under way\n" +
			"  trawl replay --output archive --cancel",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load(config.WithoutSecrets)
			if err != nil {
				return err
			}
			if err := knownOutput(cfg, output); err != nil {
				return err
			}
			if cancel {
				return a.cancelReplay(cmd.Context(), cfg, output)
			}
			if since == "" {
				return a.replay(cmd.Context(), cfg, func(e console.Engine) ([]string, error) {
					s, err := e.Status(cmd.Context())
					switch {
					case err != nil:
						return nil, err
					case !replaying(s, output):
						return nil, misuse(fmt.Errorf("output %s: no replay is under way; say with --since what to replay", output))
					}
					return []string{output}, nil
				})
			}
			r := engine.ReplayRequest{Output: output, Feed: feed, Plan: dry}
			if r.Since, r.Until, err = period(since, until); err != nil {
				return err
			}
			if dry {
				return a.withEngine(cmd.Context(), cfg, func(e console.Engine) error {
					plan, err := e.StartReplay(cmd.Context(), r)
					if err == nil {
						fmt.Fprintln(a.stdout, planned(plan))
					}
					return err
				})
			}
			return a.replay(cmd.Context(), cfg, func(e console.Engine) ([]string, error) {
				plan, err := e.StartReplay(cmd.Context(), r)
				if err != nil {
					return nil, err
				}
				if !a.quiet || plan.Pages == 0 {
					fmt.Fprintln(a.stderr, planned(plan))
				}
				if plan.Pages == 0 {
					return nil, nil
				}
				return []string{output}, nil
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&output, "output", "", "`NAME` of the output in the configuration")
	flags.StringVar(&since, "since", "", "replay what was put in the log since a `TIME`: one like 2026-01-31T09:00:00Z, a date, or how long ago, like 60d")
	flags.StringVar(&until, "until", "", "and before a time, likewise (default now)")
	flags.StringVar(&feed, "feed", "", "only of one `FEED`, like wiz-prod/audit")
	flags.BoolVar(&dry, "dry-run", false, "only say how much would be delivered")
	flags.BoolVar(&cancel, "cancel", false, "give up what is left of the output's replay")
	_ = cmd.MarkFlagRequired("output")
	exclude(cmd, "cancel", "since")
	exclude(cmd, "cancel", "dry-run")
	return cmd
}

// planned says what a replay delivers, and what that means.
func planned(p engine.ReplayPlan) string {
	if p.Pages == 0 {
		return fmt.Sprintf("%s: nothing to replay; what was put in the log since %s%s and is delivered is nothing", p.Output, when(p.Since), ofFeed(p.Feed))
	}
	return fmt.Sprintf("%s: %s with %s%s, put in the log from %s to %s; what the output has of them already comes a second time, under the same trawl.uid",
		p.Output, count(p.Pages, "page"), count(p.Records, "record"), ofFeed(p.Feed), when(p.First), when(p.Last))
}

func ofFeed(feed string) string {
	if feed == "" {
		return ""
	}
	return " of " + feed
}

func running(r *deliver.Replay) bool { return r != nil && r.State == deliver.ReplayRunning }

// replaying reports whether a replay of an output is under way.
func replaying(s engine.Status, output string) bool {
	return slices.ContainsFunc(s.Outputs, func(o engine.OutputStatus) bool { return o.Output == output && running(o.Replay) })
}

func (a *app) cancelReplay(ctx context.Context, cfg *config.Config, output string) error {
	return a.withEngine(ctx, cfg, func(e console.Engine) error {
		s, err := e.Status(ctx)
		if err != nil {
			return err
		}
		if !replaying(s, output) {
			fmt.Fprintf(a.stderr, "%s: no replay is under way\n", output)
			return nil
		}
		r, err := e.CancelReplay(ctx, output)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stderr, "%s: replay given up at %.0f %%; %s were delivered, and stay\n", output, 100*r.Done(), count(int(r.Delivered), "document"))
		return nil
	})
}

// replay starts replays in the running Trawl and watches them, or does them
// here when there is none. start returns the outputs that are to be watched.
func (a *app) replay(ctx context.Context, cfg *config.Config, start func(console.Engine) ([]string, error)) (err error) {
	client, err := console.Dial(ctx, cfg.DataDir)
	if err == nil {
		outputs, err := start(client)
		return errors.Join(err, a.watchReplays(ctx, client, outputs, nil))
	}
	if !errors.Is(err, console.ErrNotRunning) {
		return err
	}
	if cfg, err = a.load(); err != nil { // with what delivering needs
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
	outputs, err := start(e)
	if len(outputs) == 0 {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- e.FinishReplays(ctx, outputs) }()
	return errors.Join(err, a.watchReplays(ctx, e, outputs, done))
}

// watchReplays shows how the replays of outputs go until they are over, and
// says what came of them. done is that of watch.
func (a *app) watchReplays(ctx context.Context, e console.Engine, outputs []string, done <-chan error) error {
	if len(outputs) == 0 {
		return nil
	}
	first := map[string]float64{} // how far each was when it was first looked at
	interrupted, err := a.watch(ctx, e, done, func(s engine.Status, since time.Duration, width int) (string, bool, error) {
		var lines []string
		for _, o := range s.Outputs {
			r := o.Replay
			if !running(r) || !slices.Contains(outputs, o.Output) {
				continue
			}
			if _, ok := first[o.Output]; !ok {
				first[o.Output] = r.Done()
			}
			refused := ""
			if r.Refused > 0 {
				refused = fmt.Sprintf(", %d refused", r.Refused)
			}
			line := fmt.Sprintf("%s  %3.0f %%  %s delivered%s%s", o.Output, 100*r.Done(), count(int(r.Delivered), "document"), refused, timeLeft(r.Done(), first[o.Output], since))
			if o.State != deliver.StateOK {
				line += fmt.Sprintf("  %s: %s", o.State, o.Reason)
			}
			lines = append(lines, line)
			if len(outputs) == 1 {
				lines[0] = progressBar(r.Done(), width) + lines[0]
			}
		}
		return strings.Join(lines, "; "), len(lines) == 0, nil
	})
	switch {
	case interrupted && done == nil:
		fmt.Fprintf(a.stderr, "the replay goes on in the running trawl; `trawl replay --output %s --cancel` ends it\n", outputs[0])
		return nil
	case interrupted:
		return errors.Join(err, fmt.Errorf("interrupted; the replay goes on with the next `trawl run`, or with `trawl replay --output %s`", outputs[0]))
	case errors.Is(err, console.ErrNotRunning):
		return errors.New("the running trawl ended; the replay goes on when it is started again")
	}
	s, lookErr := e.Status(context.WithoutCancel(ctx))
	errs := []error{err, lookErr}
	for _, o := range s.Outputs {
		if o.Replay != nil && slices.Contains(outputs, o.Output) {
			errs = append(errs, a.replayEnd(*o.Replay))
		}
	}
	return errors.Join(errs...)
}

// replayEnd says what came of a replay. What was refused is an error.
func (a *app) replayEnd(r deliver.Replay) error {
	text := fmt.Sprintf("%s: %s delivered", r.Output, count(int(r.Delivered), "document"))
	again := ""
	if r.Dead != nil {
		again = " again"
	}
	switch {
	case r.State == deliver.ReplayRunning:
		return fmt.Errorf("%s so far; the replay goes on with the next `trawl run`, or with `trawl replay --output %s`", text, r.Output)
	case r.State == deliver.ReplayCancelled:
		return fmt.Errorf("%s, then the replay was given up", text)
	case r.State == deliver.ReplayFailed:
		return fmt.Errorf("%s, then the replay failed: %s", text, r.Reason)
	case r.Refused > 0:
		return fmt.Errorf("%s, %d refused%s; `trawl dead list --output %s` says why", text, r.Refused, again, r.Output)
	case !a.quiet:
		fmt.Fprintln(a.stderr, text)
	}
	return nil
}
