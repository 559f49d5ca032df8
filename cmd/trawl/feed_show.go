package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/console"
	"github.com/trawlsec/trawl/internal/pagelog"
)

func (a *app) feedShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show FEED",
		Short:   "Show a feed's positions, the slices left to read, and its last runs",
		Example: "  trawl feed show wiz-prod/audit",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.load(config.WithoutSecrets)
			if err != nil {
				return err
			}
			if err := knownFeed(cfg, args[0]); err != nil {
				return err
			}
			return a.withEngine(cmd.Context(), cfg, func(e console.Engine) error {
				s, err := e.Status(cmd.Context())
				if err != nil {
					return err
				}
				for _, f := range s.Feeds {
					if f.Connection+"/"+f.Source != args[0] {
						continue
					}
					if a.format == "json" {
						return writeJSON(a.stdout, f)
					}
					writeFeed(a.stdout, f.Status, s.Now)
				}
				return nil
			})
		},
	}
	a.formatFlag(cmd)
	return cmd
}

// writeFeed prints everything about a feed.
func writeFeed(w io.Writer, f collect.Status, now time.Time) {
	head := fmt.Sprintf("%s/%s", f.Connection, f.Source)
	if !unread(f) {
		head += " is " + string(f.State)
	}
	if f.Reason != "" {
		head += ": " + f.Reason
	}
	fmt.Fprint(w, strings.Join(wrap(head, terminal(w)), "\n"))
	read := "nothing yet"
	if !f.Watermark.IsZero() {
		read = fmt.Sprintf("%s (%s behind)", when(f.Watermark), short(f.Lag(now)))
	}
	fmt.Fprintf(w, "\n\nread to          %s\ncomplete to      %s\nlast success     %s\n", read, when(f.CompleteTo), when(f.LastSuccess))
	if f.LatenessMax > 0 {
		fmt.Fprintf(w, "records appear   after %s (half of them), %s (99 %%), %s (the latest)\n", short(f.LatenessP50), short(f.LatenessP99), short(f.LatenessMax))
	}
	if s := f.Stream; s != nil {
		writeStream(w, s, now)
	}
	if b := f.Backfill; b != nil {
		fmt.Fprintf(w, "backfill         %s to %s, %.0f %% done\n", when(b.Since), when(b.Until), 100*b.Done)
	}
	if f.Whole != nil {
		writeWhole(w, f.Whole, f.Counts.Gone)
	}
	for _, c := range f.Changes {
		fmt.Fprintf(w, "%s changed    %s: %s\n", c.Setting, when(c.At), c.Meaning)
	}
	fmt.Fprintln(w)
	lanes := &table{header: []string{"LANE", "READ TO", "PAGES", "RECORDS", "DUPLICATES", "LATE", "SLICES", "GAPS"}, spare: []string{"PAGES"}}
	for _, l := range f.Lanes {
		name := l.Lane
		if name == string(pagelog.Push) { // an import is written there, too
			name += ", import"
		}
		lanes.add(name, when(l.Watermark), fmt.Sprint(l.Counts.Pages), fmt.Sprint(l.Counts.Records), fmt.Sprint(l.Counts.Duplicates),
			fmt.Sprint(l.Counts.Late), fmt.Sprint(len(l.Slices)), fmt.Sprint(len(l.Gaps)))
	}
	lanes.write(w)
	left := &table{header: []string{"SLICE OF", "SINCE", "UNTIL", "RECORDS", "CURSOR"}, spare: []string{"CURSOR"}}
	var gaps []string
	for _, l := range f.Lanes {
		for _, s := range l.Slices {
			left.add(l.Lane, precise(s.Since), precise(s.Until), fmt.Sprint(s.Seen), cut(string(s.Cursor), 24))
		}
		for _, s := range l.Gaps {
			gaps = append(gaps, gapLine(l.Lane, s, ""))
		}
		for _, s := range l.Missed {
			gaps = append(gaps, gapLine(l.Lane, s, "given up: "))
		}
	}
	if len(left.rows) > 0 {
		fmt.Fprintln(w)
		left.write(w)
	}
	for _, line := range gaps {
		fmt.Fprint(w, "\n", strings.Join(wrap(line, terminal(w)), "\n"), "\n")
	}
	if len(f.Runs) == 0 {
		return
	}
	fmt.Fprintln(w)
	runs := &table{header: []string{"RUN BEGAN", "TOOK", "RECORDS", "DUPLICATES", "LATE", "ENDED"}}
	for _, r := range f.Runs {
		runs.add(when(r.Began), short(r.Ended.Sub(r.Began)), fmt.Sprint(r.Records), fmt.Sprint(r.Duplicates), fmt.Sprint(r.Late), strings.TrimSuffix(string(r.State)+": "+r.Reason, ": "))
	}
	runs.write(w)
}

// gapLine is a gap, whose reason is too long for a table.
func gapLine(lane string, s collect.Slice, what string) string {
	return fmt.Sprintf("gap of %s, %s to %s: %s%s", lane, precise(s.Since), precise(s.Until), what, s.Why)
}

// writeWhole prints how a feed's whole readings stand.
func writeWhole(w io.Writer, whole *collect.WholeStatus, gone int64) {
	last := "never yet"
	if l := whole.Last; !l.Began.IsZero() {
		last = fmt.Sprintf("%s, in %s: %s, %d gone (%d in all)", when(l.Ended), short(l.Ended.Sub(l.Began)), count(int(l.Records), "record"), l.Gone, gone)
	}
	fmt.Fprintf(w, "read whole       %s; every %s\n", last, short(whole.Every))
	if n := whole.Now; n != nil {
		what := "reading"
		if n.Walk > 1 {
			what = "reading again what it missed"
		}
		if !n.Ended.IsZero() {
			what = "telling what is gone"
		}
		fmt.Fprintf(w, "whole reading    under way since %s: %s, %s so far\n", when(n.Began), what, count(int(n.Records), "record"))
	}
	if whole.Trouble != "" {
		fmt.Fprintf(w, "not complete     %s\n", whole.Trouble)
	}
}

// writeStream prints where a feed stands in the stream of its source.
func writeStream(w io.Writer, s *collect.StreamStatus, now time.Time) {
	at := "no position yet"
	if s.Position != "" {
		at = fmt.Sprintf("%s, answered %s ago", harmless(ends(s.Position)), short(now.Sub(s.At)))
	}
	if s.ByTime {
		at += "; what was there before is read by time"
	}
	fmt.Fprintf(w, "stream           %s\n", at)
	if l := s.Lost; l != nil {
		fmt.Fprintf(w, "position lost    %s: %s\n", when(l.At), l.Why)
		if !l.Until.IsZero() {
			fmt.Fprintf(w, "                 in its place %s to %s was read by time\n", when(l.Since), when(l.Until))
		}
	}
}

// ends is a text without its middle, if it is long: positions may be URLs, which
// differ at their end.
func ends(s string) string {
	r := []rune(s)
	if len(r) <= 40 {
		return s
	}
	return string(r[:12]) + "…" + string(r[len(r)-27:])
}

// precise is a moment with its fraction of a second.
func precise(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999Z") }
