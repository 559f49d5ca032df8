package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/console"
)

func (a *app) feedCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "feed",
		Short: "Show a feed, pause, resume, rewind or reset it",
		Long: "Manages the position of one feed, named like wiz-prod/audit. Works whether or not `trawl run` is\n" +
			"running; a running feed is changed between two pages.",
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var to string
	rewind := a.feedVerb("rewind", "Read again from a time on; records still known are not delivered again",
		"the next round reads from %s on", func() (time.Time, error) {
			return moment("--to", to, time.Now())
		}, nil)
	rewind.Flags().StringVar(&to, "to", "", "`TIME` to go back to: one like 2026-01-31T09:00:00Z, a date, or how long ago, like 60d")
	_ = rewind.MarkFlagRequired("to")
	var yes bool
	reset := a.feedVerb("reset", "Forget a feed's position and its ids, so that it begins anew and delivers again",
		"it begins anew", nil, func(feed string) error {
			if yes {
				return nil
			}
			sure, asked := a.sure(cmd.Context(), "%s begins anew at its start, and everything from there is delivered again.", feed)
			switch {
			case !asked:
				return misuse(fmt.Errorf("reset delivers everything of %s again; say --yes to mean it", feed))
			case !sure:
				return fmt.Errorf("feed %s not reset", feed)
			}
			return nil
		})
	reset.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.AddCommand(
		a.feedShowCommand(),
		a.feedVerb("pause", "Stop reading a feed, also after a restart", "paused", nil, nil),
		a.feedVerb("resume", "Read a paused feed again", "resumed", nil, nil),
		rewind, reset)
	return cmd
}

// feedVerb is one of the changes. at gives the time that it takes, which done,
// said afterwards, has a place for; sure asks before it is done. Both may be nil.
func (a *app) feedVerb(verb, about, done string, at func() (time.Time, error), sure func(feed string) error) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " FEED",
		Short:   about,
		Example: "  trawl feed " + verb + " wiz-prod/audit" + map[string]string{"rewind": " --to 2026-01-31T09:00:00Z"}[verb],
		RunE: func(cmd *cobra.Command, args []string) error {
			var to time.Time
			if at != nil {
				var err error
				if to, err = at(); err != nil {
					return err
				}
			}
			cfg, err := a.load(config.WithoutSecrets)
			if err != nil {
				return err
			}
			if err := knownFeed(cfg, args[0]); err != nil {
				return err
			}
			if sure != nil {
				if err := sure(args[0]); err != nil {
					return err
				}
			}
			return a.withEngine(cmd.Context(), cfg, func(e console.Engine) error {
				if err := e.Change(cmd.Context(), args[0], verb, to); err != nil {
					return err
				}
				if at != nil {
					done = fmt.Sprintf(done, when(to))
				}
				fmt.Fprintf(a.stderr, "feed %s: %s\n", args[0], done)
				return nil
			})
		},
	}
}
