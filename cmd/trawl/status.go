package main

import (
	"context"
	"fmt"
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
				return a.showStatus(s)
			})
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it anew every second until stopped")
	a.formatFlag(cmd)
	return cmd
}

// watchStatus shows the status anew every second until ctx ends: on the whole
// of a terminal, or one after the other elsewhere.
func (a *app) watchStatus(ctx context.Context, cfg *config.Config) error {
	var whole *screen
	if a.format == "table" && drawable(a.stdout) {
		whole = openScreen(a.stdout)
		defer whole.close()
	}
	for {
		err := a.withEngine(ctx, cfg, func(e console.Engine) error {
			s, err := e.Status(ctx)
			switch {
			case err != nil:
				return err
			case whole != nil:
				lines := statusLines(s, terminal(a.stdout), colours(a.stdout))
				whole.draw(lines[:min(len(lines), terminalHeight(a.stdout))])
			default:
				return a.showStatus(s)
			}
			return nil
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		pause(ctx, time.Second)
	}
}

// showStatus prints a status once.
func (a *app) showStatus(s engine.Status) error {
	if a.format == "json" {
		return writeJSON(a.stdout, s)
	}
	_, err := fmt.Fprintln(a.stdout, strings.Join(statusLines(s, terminal(a.stdout), colours(a.stdout)), "\n"))
	return err
}

// statusLines are a status for people, on a terminal of that width; 0: on none.
func statusLines(s engine.Status, width int, colour bool) []string {
	out := []string{"not running: what is stored is shown", ""}
	if s.Running {
		out[0] = "running since " + when(s.Started)
	}
	remark := func(format string, args ...any) {
		out = append(append(out, ""), wrap(fmt.Sprintf(format, args...), width)...)
	}
	out = append(out, lines(feedTable(s, colour), width, colour)...)
	for _, f := range s.Feeds {
		name := f.Connection + "/" + f.Source
		if f.Reason != "" {
			remark("%s: %s", name, f.Reason)
		}
		if b := f.Backfill; b != nil && b.Done < 1 {
			remark("%s: backfill from %s to %s, %.0f %% done, %d records", name, when(b.Since), when(b.Until), 100*b.Done, b.Records)
		}
		if w := f.Whole; w != nil && w.Trouble != "" && f.Reason == "" {
			remark("%s: not read whole: %s", name, w.Trouble)
		}
	}
	if whole := wholeTable(s); len(whole.rows) > 0 {
		out = append(append(out, ""), lines(whole, width, colour)...)
	}
	if s.Running {
		connections := &table{header: []string{"CONNECTION", "PRODUCT", "ANSWERS SINCE THE START"}}
		for _, c := range s.Connections {
			connections.add(c.Name, c.Product, answers(c))
		}
		out = append(append(out, ""), lines(connections, width, colour)...)
	}
	out = append(append(out, ""), lines(outputTable(s, colour), width, colour)...)
	for _, o := range s.Outputs {
		if text := outputReason(o, s.Now); text != "" {
			remark("%s: %s", o.Output, text)
		}
		if r := o.Replay; running(r) {
			remark("%s: replay asked for at %s, %.0f %% done, %s delivered", o.Output, when(r.Asked), 100*r.Done(), count(int(r.Delivered), "document"))
		}
		if o.DeadLetters > 0 {
			remark("%s: %s; `trawl dead list --output %s` says why", o.Output, count(o.DeadLetters, "dead letter"), o.Output)
		}
	}
	remark("log: %s, %s of %s", count(s.Log.Pages, "page"), bytes(s.Log.Bytes), bytes(s.Log.MaxBytes))
	return out
}

// feedTable lists the feeds.
func feedTable(s engine.Status, colour bool) *table {
	feeds := &table{header: []string{"FEED", "STATE", "LAG", "LAST SUCCESS", "COMPLETE TO", "RECORDS", "DUPLICATES", "LATE", "LATENESS P50/P99/MOST", "REQUESTS", "THROTTLED"},
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
		requests, throttles := "-", "-" // only a running process counts
		if s.Running {
			requests, throttles = fmt.Sprint(f.Requests), fmt.Sprint(f.Throttles)
		}
		state := "-"
		if !unread(f.Status) {
			state = paint(colour, string(f.State), f.Healthy())
		}
		feeds.add(f.Connection+"/"+f.Source, state, lag, when(f.LastSuccess), when(f.CompleteTo),
			fmt.Sprint(f.Counts.Records), fmt.Sprint(f.Counts.Duplicates), fmt.Sprint(f.Counts.Late), lateness, requests, throttles)
	}
	return feeds
}

// unread tells that a feed has not been read to any end yet, and that nothing is
// known to be wrong with it: it is neither well nor ill.
func unread(f collect.Status) bool {
	return f.State == collect.StateIdle && f.Watermark.IsZero() && f.LastSuccess.IsZero()
}

// wholeTable lists the feeds that are read whole on a schedule.
func wholeTable(s engine.Status) *table {
	whole := &table{header: []string{"READ WHOLE", "EVERY", "LAST", "RECORDS", "GONE", "GONE IN ALL", "NEXT"}, spare: []string{"EVERY", "GONE IN ALL"}}
	for _, f := range s.Feeds {
		w := f.Whole
		if w == nil {
			continue
		}
		records, gone, next := "-", "-", when(w.Next)
		if !w.Last.Began.IsZero() {
			records, gone = fmt.Sprint(w.Last.Records), fmt.Sprint(w.Last.Gone)
		}
		if w.Now != nil {
			next = "under way, " + count(int(w.Now.Records), "record")
		}
		whole.add(f.Connection+"/"+f.Source, short(w.Every), when(w.Last.Ended), records, gone, fmt.Sprint(f.Counts.Gone), next)
	}
	return whole
}

// outputTable lists the outputs.
func outputTable(s engine.Status, colour bool) *table {
	outputs := &table{header: []string{"OUTPUT", "STATE", "DELIVERED", "PENDING PAGES", "DEAD LETTERS"}}
	for _, o := range s.Outputs {
		state, delivered := string(o.State), "-" // only a running process delivers, and counts
		if s.Running {
			state, delivered = paint(colour, state, o.State == deliver.StateOK), fmt.Sprint(o.Documents)
		}
		outputs.add(o.Output, state, delivered, fmt.Sprint(o.PendingPages), fmt.Sprint(o.DeadLetters))
	}
	return outputs
}

// outputReason says what is wrong with an output, what that means and what is
// to be done; "" if nothing is wrong.
func outputReason(o engine.OutputStatus, now time.Time) string {
	switch o.State {
	case deliver.StateRetrying:
		return fmt.Sprintf("%s; it has been failing for %s and is tried again; what it lacks stays in the log", o.Reason, short(now.Sub(o.Since)))
	case deliver.StateFailed:
		return fmt.Sprintf("%s; it was given up %s ago: mend it, then start trawl again; what it lacks stays in the log", o.Reason, short(now.Sub(o.Since)))
	}
	return o.Reason
}

// wrap breaks a text between words into lines of at most width characters, all
// but the first indented; a width of 0 is no limit.
func wrap(text string, width int) []string {
	lines := []string{""}
	for i, word := range strings.Split(text, " ") {
		line := &lines[len(lines)-1]
		switch {
		case i == 0:
			*line = word
		case width > 0 && visible(*line)+1+visible(word) > width:
			lines = append(lines, "  "+word)
		default:
			*line += " " + word
		}
	}
	return lines
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

const green, red, reset = "\x1b[32m", "\x1b[31m", "\x1b[0m"

// unpaint takes off what paint put on a text, and says which colour that was.
func unpaint(cell string) (text, colour string) {
	for _, colour := range []string{green, red} {
		if text, ok := strings.CutPrefix(cell, colour); ok {
			return strings.TrimSuffix(text, reset), colour
		}
	}
	return cell, ""
}

// paint makes good green and bad red.
func paint(colour bool, text string, good bool) string {
	switch {
	case !colour:
		return text
	case good:
		return green + text + reset
	default:
		return red + text + reset
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
