package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/console"
	"github.com/trawlsec/trawl/internal/engine"
	"github.com/trawlsec/trawl/internal/pagelog"
)

const (
	mostIDs     = 1000 // that can be named at once
	lettersOnce = 1000 // read at once
)

func (a *app) deadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "List, show, replay or drop dead letters",
		Long: "Dead letters are the documents that an output refused for good, and the records that no document\n" +
			"could be made of, kept with the reason. Each has an id like archive/1234/5: the output, the page in\n" +
			"the log and the record in it. Works whether or not `trawl run` is running.",
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.deadListCommand(), a.deadShowCommand(), a.deadReplayCommand(), a.deadDropCommand())
	return cmd
}

// deadChoice is which letters a verb is about.
type deadChoice struct {
	filter pagelog.DeadFilter
	all    bool
}

// flags adds the flags that choose letters; changing: also the one for all.
func (c *deadChoice) flags(cmd *cobra.Command, changing bool) {
	flags := cmd.Flags()
	flags.StringVar(&c.filter.Output, "output", "", "only those of one output; its `NAME`")
	flags.StringVar(&c.filter.Feed, "feed", "", "only those of one `FEED`, like wiz-prod/audit")
	flags.StringVar(&c.filter.Reason, "reason", "", "only those whose reason is like a `PATTERN`, in which * is any text and ? any character")
	if changing {
		flags.BoolVar(&c.all, "all", false, "all there are")
	}
}

// of is the filter with the letters named by the arguments.
func (c *deadChoice) of(args []string) (pagelog.DeadFilter, error) {
	f := c.filter
	switch {
	case len(args) > mostIDs:
		return f, misuse(fmt.Errorf("%d ids are more than the %d that can be named at once; choose with --output, --feed or --reason", len(args), mostIDs))
	case len(args) == 0 && f.Output == "" && f.Feed == "" && f.Reason == "" && !c.all:
		return f, misuse(errors.New("say which: an ID of `trawl dead list`, --output, --feed, --reason, or --all"))
	case c.all && (len(args) > 0 || f.Output != "" || f.Feed != "" || f.Reason != ""):
		return f, misuse(errors.New("--all is all there are; leave it out to choose some"))
	}
	for _, id := range args {
		if _, _, _, err := pagelog.ParseLetterID(id); err != nil {
			return f, misuse(err)
		}
	}
	f.IDs = args
	return f, nil
}

func (a *app) deadListCommand() *cobra.Command {
	var choice deadChoice
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List dead letters, those refused last at the end",
		Example: "  trawl dead list\n  trawl dead list --output archive --reason '*max_document*'\n  trawl dead list --format json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load(config.WithoutSecrets)
			if err != nil {
				return err
			}
			return a.withEngine(cmd.Context(), cfg, func(e console.Engine) error {
				letters, err := allLetters(cmd.Context(), e, choice.filter)
				if err != nil {
					return err
				}
				if a.format == "json" {
					return writeJSON(a.stdout, letters)
				}
				t := &table{header: []string{"ID", "FEED", "REFUSED", "TRIES", "SIZE", "REASON"}, spare: []string{"SIZE", "TRIES", "FEED", "REFUSED"}}
				for _, l := range letters {
					t.add(l.ID, l.Feed, when(l.Refused), fmt.Sprint(l.Tries), bytes(int64(l.Bytes)), l.Reason)
				}
				if len(letters) == 0 {
					fmt.Fprintln(a.stderr, "no dead letters")
					return nil
				}
				t.write(a.stdout)
				return nil
			})
		},
	}
	choice.flags(cmd, false)
	a.formatFlag(cmd)
	return cmd
}

// allLetters reads letters without their documents.
func allLetters(ctx context.Context, e console.Engine, f pagelog.DeadFilter) ([]engine.Letter, error) {
	all := []engine.Letter{} // in JSON not null
	for {
		some, err := e.DeadLetters(ctx, f, lettersOnce)
		if all = append(all, some...); err != nil || len(some) < lettersOnce {
			return all, err
		}
		f.After = some[len(some)-1].Seq
	}
}

func (a *app) deadShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show a dead letter with its document, and what a replay would offer",
		Example: "  trawl dead show archive/1234/5\n  trawl dead show archive/1234/5 --format json | jq .document",
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, _, _, err := pagelog.ParseLetterID(args[0]); err != nil {
				return misuse(err)
			}
			cfg, err := a.load(config.WithoutSecrets)
			if err != nil {
				return err
			}
			return a.withEngine(cmd.Context(), cfg, func(e console.Engine) error {
				l, err := e.DeadLetter(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if a.format == "json" {
					return writeJSON(a.stdout, struct {
						engine.Letter
						Document any `json:"document"`
						Record   any `json:"record,omitempty"`
					}{l, asJSON(l.Document), asJSON(l.Record)})
				}
				showLetter(a.stdout, l)
				return nil
			})
		},
	}
	a.formatFlag(cmd)
	return cmd
}

// asJSON is JSON as it is and anything else as a text; nothing is nil.
func asJSON(b []byte) any {
	switch {
	case len(b) == 0:
		return nil
	case json.Valid(b):
		return json.RawMessage(b)
	}
	return string(b)
}

// showLetter prints everything about a letter.
func showLetter(w io.Writer, l engine.Letter) {
	fmt.Fprintf(w, "%s: %s\n\n", l.ID, harmless(l.Reason))
	tries := count(l.Tries, "time")
	if l.Tries > 1 {
		tries += ", first " + when(l.First)
	}
	fmt.Fprintf(w, "refused     %s by output %s (%s)\nfeed        %s\nrecord      %d of page %d\n", when(l.Refused), l.Output, tries, l.Feed, l.Index, l.Page)
	if l.UID != "" {
		fmt.Fprintf(w, "trawl.uid   %s\n", l.UID)
	}
	offers := "the document below, as the log no longer has its record"
	switch {
	case l.Logged:
		offers = "a document made anew of its record, which the log still has"
	case l.Record != nil:
		offers = "a document made of its record, which is kept below"
	}
	fmt.Fprintf(w, "size        %s\nreplay      offers %s\n\n%s\n", bytes(int64(l.Bytes)), offers, l.Document)
	if l.Logged && string(l.Record) != string(l.Document) {
		fmt.Fprintf(w, "\nits record:\n\n%s\n", l.Record)
	}
}

func (a *app) deadReplayCommand() *cobra.Command {
	var choice deadChoice
	cmd := &cobra.Command{
		Use:   "replay [ID...]",
		Short: "Offer dead letters to their outputs again",
		Long: "Offers dead letters to their outputs again, beside what is new and behind it. A letter is gone once\n" +
			"its output has it; refused again, it stays with the newer reason. Its document is made anew of the\n" +
			"record if the log still has that, so a mended mapping counts; else the document that was refused\n" +
			"is offered. Exits with 1 if any was refused again.",
		Example: "  trawl dead replay archive/1234/5\n  trawl dead replay --output archive\n  trawl dead replay --reason '*is not configured*'\n  trawl dead replay --all",
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := choice.of(args)
			if err != nil {
				return err
			}
			cfg, err := a.load(config.WithoutSecrets)
			if err != nil {
				return err
			}
			return a.replay(cmd.Context(), cfg, func(e console.Engine) (outputs []string, err error) {
				started, err := e.ReplayDead(cmd.Context(), f)
				for _, r := range started {
					outputs = append(outputs, r.Output)
				}
				if len(started) == 0 && err == nil && !a.quiet {
					fmt.Fprintln(a.stderr, "no dead letters to replay")
				}
				return outputs, err
			})
		},
	}
	choice.flags(cmd, true)
	return cmd
}

func (a *app) deadDropCommand() *cobra.Command {
	var choice deadChoice
	var yes bool
	cmd := &cobra.Command{
		Use:     "drop [ID...]",
		Short:   "Drop dead letters: their outputs will never have them",
		Example: "  trawl dead drop archive/1234/5 --yes\n  trawl dead drop --output archive --reason '*max_document*'\n  trawl dead drop --all --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := choice.of(args)
			if err != nil {
				return err
			}
			cfg, err := a.load(config.WithoutSecrets)
			if err != nil {
				return err
			}
			return a.withEngine(cmd.Context(), cfg, func(e console.Engine) error { return a.dropDead(cmd.Context(), e, f, yes) })
		},
	}
	choice.flags(cmd, true)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// dropDead drops those letters that there were when it asked.
func (a *app) dropDead(ctx context.Context, e console.Engine, f pagelog.DeadFilter, yes bool) error {
	letters, err := allLetters(ctx, e, f)
	if err != nil {
		return err
	}
	if missing := len(f.IDs) - len(letters); missing > 0 {
		return fmt.Errorf("nothing dropped: of %s there is no dead letter; `trawl dead list` shows those there are", count(missing, "id"))
	}
	if len(letters) == 0 {
		fmt.Fprintln(a.stderr, "no dead letters to drop")
		return nil
	}
	f.UpTo = letters[len(letters)-1].Seq
	if !yes {
		sure, asked := a.sure(ctx, "%s dropped, which cannot be undone.", areOrIs(len(letters), "dead letter"))
		switch {
		case !asked:
			return misuse(fmt.Errorf("%s dropped, which cannot be undone; say --yes to mean it", areOrIs(len(letters), "dead letter")))
		case !sure:
			return errors.New("nothing dropped")
		}
	}
	n, err := e.DropDead(ctx, f)
	if n > 0 || err == nil {
		fmt.Fprintf(a.stderr, "%s dropped\n", count(n, "dead letter"))
	}
	return err
}

func areOrIs(n int, thing string) string {
	if n == 1 {
		return "1 " + thing + " is"
	}
	return count(n, thing) + " are"
}
