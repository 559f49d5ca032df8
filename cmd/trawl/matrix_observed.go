package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/console"
	"github.com/trawlsec/trawl/internal/observe"
)

// observed shows the matrix as it was seen, of one product or of all that are
// configured.
func (a *app) observed(ctx context.Context, product string) error {
	cfg, err := a.load(config.WithoutSecrets)
	if err != nil {
		return err
	}
	in := observe.Input{}
	var configured []string
	for _, c := range cfg.Connections {
		if !slices.Contains(configured, c.Product.ID) {
			configured = append(configured, c.Product.ID)
		}
		for _, f := range c.Feeds {
			if product == "" || product == c.Product.ID {
				in.Sources = append(in.Sources, observe.Configured{Connection: c.Name, Source: f.Source, Interval: f.Interval})
			}
		}
	}
	if product != "" && !slices.Contains(configured, product) {
		return misuse(fmt.Errorf("no connection is of product %q; there are some of %s", product, strings.Join(configured, ", ")))
	}
	return a.withEngine(ctx, cfg, func(e console.Engine) error {
		o, err := e.Observed(ctx)
		if err != nil {
			return err
		}
		in.Now, in.Running, in.Problem, in.Feeds, in.Read = o.Now, o.Running, o.Problem, o.Feeds, o.Read
		w := bufio.NewWriter(a.stdout)
		return errors.Join(a.writeObserved(w, observe.Make(in), product != ""), w.Flush())
	})
}

func (a *app) writeObserved(w io.Writer, r observe.Report, whole bool) error {
	switch a.format {
	case "json":
		return writeJSON(w, r)
	case "html":
		return r.HTML(w)
	}
	tellObserved(w, r, whole, terminal(a.stdout), colours(a.stdout))
	return nil
}

// tellObserved prints what was seen, for people; whole: with every attribute.
func tellObserved(w io.Writer, r observe.Report, whole bool, width int, colour bool) {
	if !r.Running {
		fmt.Fprintln(w, "not running: what is stored is shown")
	}
	if r.Problem != "" {
		fmt.Fprint(w, filled("", "Not all is counted: "+r.Problem, width))
	}
	for i, p := range r.Products {
		if i > 0 || !r.Running || r.Problem != "" {
			fmt.Fprintln(w)
		}
		title := p.Name
		if colour {
			title = "\x1b[1m" + title + "\x1b[0m"
		}
		fmt.Fprintln(w, title)
		tellScores(w, p.Scores, width)
		if whole {
			tellLists(w, p.Scores, width)
		}
		for _, f := range p.Feeds {
			fmt.Fprintln(w)
			tellFeed(w, f, whole, width, colour)
		}
	}
	if len(r.Products) > 0 {
		fmt.Fprintln(w)
		tellMeanings(w, r.Products[0].Scores, width)
		if !whole {
			fmt.Fprint(w, filled("", "--product NAME shows every attribute and the lists behind each number, as --format json and html do", width))
		}
	}
}

// tellScores prints the scores on a line.
func tellScores(w io.Writer, s observe.Scores, width int) {
	score := func(one observe.Score, none string) string {
		if one.Of == 0 {
			return none
		}
		return fmt.Sprintf("%d/%d", one.Has, one.Of)
	}
	scores := &table{header: []string{"COVERAGE", "FILL", "FRESHNESS", "RETENTION"}}
	scores.add(score(s.Coverage, "-"), score(s.Fill, "-"), lateness(s.Freshness.Lateness), score(s.Retention, "not tried"))
	scores.print(w, width, false)
}

// tellLists prints what the scores count and what lacks.
func tellLists(w io.Writer, s observe.Scores, width int) {
	list := func(title string, items []string) {
		if len(items) > 0 {
			fmt.Fprint(w, title, ":\n", filled("    ", strings.Join(items, ", "), width))
		}
	}
	fmt.Fprintln(w)
	list("seen", s.Coverage.Yes)
	list("never seen", s.Coverage.No)
	for _, a := range s.ByAttribute() {
		if len(a.Filled) == 0 && len(a.Empty) > 1 {
			a.Empty = []string{fmt.Sprintf("any of the %d event types that it is for", len(a.Empty))}
		}
		list(a.Attribute+" filled in no record of", a.Empty)
	}
	list("visible as soon as documented", s.Freshness.Within)
	list("visible later than documented", s.Freshness.Later)
	list("answered as far back as documented", s.Retention.Yes)
	list("did not answer as far back as documented", s.Retention.No)
}

// tellMeanings says what the scores mean.
func tellMeanings(w io.Writer, s observe.Scores, width int) {
	for _, line := range []string{
		"coverage: " + s.Coverage.Means, "fill: " + s.Fill.Means, "freshness: " + s.Freshness.Means, "retention: " + s.Retention.Means,
	} {
		fmt.Fprint(w, filled("", line, width))
	}
}

// tellFeed prints what was seen of a feed.
func tellFeed(w io.Writer, f observe.FeedReport, whole bool, width int, colour bool) {
	title := fmt.Sprintf("%s (%s): %s", f.Feed, f.SourceName, count(int(f.Records), "record"))
	if f.Records > 0 {
		title += fmt.Sprintf(" of %s to %s, counted since %s", when(f.First), when(f.Last), when(f.Since))
	}
	if f.Gone > 0 {
		title += fmt.Sprintf(", %d gone", f.Gone)
	}
	fmt.Fprint(w, filled("", title, width))
	if len(f.Types) > 0 {
		fmt.Fprintln(w)
		seen := &table{header: []string{"EVENT TYPE", "RECORDS", "FIRST SEEN", "LAST SEEN", "FILLED", "LATENESS P50/P99"}, spare: []string{"FIRST SEEN", "LATENESS P50/P99"}}
		for _, t := range f.Types {
			seen.add(t.EventType, fmt.Sprint(t.Count), when(t.First), when(t.Last), fmt.Sprintf("%d/%d", t.Filled, t.Applicable), lateness(t.Lateness))
		}
		seen.print(w, width, colour)
	}
	if facts := compared(f); len(facts.rows) > 0 {
		fmt.Fprintln(w)
		facts.print(w, width, colour)
		fmt.Fprintln(w)
	}
	if whole && len(f.Types) > 0 {
		fmt.Fprintln(w)
		tellFill(w, f, width, colour)
	}
	if whole && f.Unlisted > 0 && f.Placed {
		fmt.Fprintln(w)
		kinds := &table{header: []string{"WITHOUT A PLACE", "RECORDS", "FIRST SEEN", "LAST SEEN"}, spare: []string{"FIRST SEEN"}}
		for _, k := range f.Kinds {
			kinds.add(k.Value, fmt.Sprint(k.Count), when(k.First), when(k.Last))
		}
		if f.Others > 0 {
			kinds.add("others", fmt.Sprint(f.Others), "-", "-")
		}
		kinds.print(w, width, colour)
	}
	for _, line := range f.Words {
		text := filled("    ", line, width)
		fmt.Fprint(w, "  - ", text[len("    "):])
	}
}

// compared lays what was measured of a feed beside what is documented.
func compared(f observe.FeedReport) *table {
	t := &table{header: []string{"", "MEASURED", "DOCUMENTED"}}
	documented := func(d time.Duration, text string) string {
		switch {
		case d > 0:
			return catalog.Duration(d).String()
		case text != "":
			return text
		}
		return "not documented"
	}
	if l := f.Lateness; l.Records > 0 {
		t.add("visible after (p50/p99)", lateness(l), documented(l.Documented, l.DocumentedText))
	}
	if r := f.Retention; r.Reach > 0 {
		t.add("answers back to", short(r.Reach)+" of "+short(r.Asked)+" asked", documented(r.Documented, r.DocumentedText))
	}
	return t
}

// tellFill prints the share of records that fill each attribute that is
// documented, or there all the same.
func tellFill(w io.Writer, f observe.FeedReport, width int, colour bool) {
	fill := &table{header: []string{"EVENT TYPE", "ATTRIBUTE", "FILLED"}}
	for _, t := range f.Types {
		name := t.EventType
		for _, a := range t.Attributes {
			share := a.Percent()
			switch {
			case a.Records == 0 && !a.Documented:
				continue // nobody says that it is there, and it is not
			case a.Records == 0:
				share = "never"
			case !a.Documented && t.Documented:
				share += " though not documented"
			}
			fill.add(name, a.Key, share)
			name = ""
		}
	}
	fill.print(w, width, colour)
}

func lateness(l observe.Lateness) string {
	if l.Records == 0 {
		return "-"
	}
	return short(l.P50.Round(time.Second/10)) + "/" + short(l.P99.Round(time.Second/10))
}
