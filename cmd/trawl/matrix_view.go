package main

import (
	gobytes "bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/trawlsec/trawl/internal/emm"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// tellMatrix prints the event types down and the products across. What is wider
// than the terminal comes in several tables.
func tellMatrix(w io.Writer, matrix []emm.Product, width int, colour bool) {
	types := emm.Matrix().EventTypes
	first := 0
	for _, t := range types {
		first = max(first, len(t.Name)+2)
	}
	columns := make([]string, len(matrix))
	covers := make([]emm.Coverage, len(matrix))
	cell := len("12/12")
	for i, p := range matrix {
		columns[i], covers[i] = p.ID, p.Coverage()
		cell = max(cell, len(p.ID))
	}
	fit := len(matrix)
	if width > 0 {
		fit = max(1, (width-first)/(cell+2))
	}
	paint := func(code, text string) string {
		if colour {
			return "\x1b[" + code + "m" + text + "\x1b[0m"
		}
		return text
	}
	for from := 0; from == 0 || from < len(matrix); from += fit {
		to := min(from+fit, len(matrix))
		header := strings.Repeat(" ", first)
		for _, name := range columns[from:to] {
			header += fmt.Sprintf("  %*s", cell, name)
		}
		fmt.Fprintln(w, paint("1", header))
		for _, category := range emm.Matrix().Categories {
			fmt.Fprintln(w, paint("1", category.Name))
			for _, t := range types {
				if !slices.Contains(t.Categories, category.Key) {
					continue
				}
				line := fmt.Sprintf("  %-*s", first-2, t.Name)
				for _, c := range covers[from:to] {
					code, text := mark(c, t.Key)
					line += "  " + paint(code, fmt.Sprintf("%*s", cell, text))
				}
				fmt.Fprintln(w, strings.TrimRight(line, " "))
			}
		}
		line := fmt.Sprintf("%-*s", first, "Event types")
		for _, c := range covers[from:to] {
			line += fmt.Sprintf("  %*s", cell, fmt.Sprintf("%d/%d", len(c), len(types)))
		}
		fmt.Fprintf(w, "%s\n\n", paint("1", line))
	}
	fmt.Fprintln(w, "10/12: of twelve attributes that apply, the logs have ten; -: not logged")
	fmt.Fprintln(w, "trawl matrix --product NAME tells which, and where they stand")
}

// mark is a cell of the matrix, and its colour.
func mark(c emm.Coverage, eventType string) (colour, text string) {
	told, logged := c[eventType]
	if !logged {
		return "2", "-"
	}
	all := len(told) + len(c.Lacks(eventType))
	colour = "33"
	if 4*len(told) >= 3*all {
		colour = "32"
	}
	return colour, fmt.Sprintf("%d/%d", len(told), all)
}

// tellProduct prints a product's page.
func (a *app) tellProduct(w io.Writer, p emm.Product, width int) error {
	fmt.Fprintf(w, "%s, by %s\n%s", p.Name, p.Vendor, filled("", p.About, width))
	if len(p.Sources) == 0 {
		fmt.Fprintf(w, "\nNone of its sources has a place in the matrix.\n")
		return nil
	}
	fmt.Fprintln(w, "\nHow its logs are collected")
	for _, c := range p.Collection {
		fmt.Fprintf(w, "  %s (%s)\n%s", c.Name, c.ID, filled("    ", c.About, width))
		for _, r := range c.References {
			fmt.Fprintf(w, "    %s: %s\n", r.Title, r.URL)
		}
	}
	for _, s := range p.Sources {
		fmt.Fprintf(w, "\n%s/%s: %s\n%s", p.ID, s.ID, s.Name, filled("", s.About, width))
		for _, f := range [][2]string{{"collected by", strings.Join(s.Collection, ", ")}, {"kept", s.Retention}, {"latency", s.Latency}, {"licence", s.Licensing}} {
			if f[1] != "" {
				fmt.Fprintf(w, "  %-13s%s\n", f[0], f[1])
			}
		}
		for _, r := range s.References {
			fmt.Fprintf(w, "  %-13s%s: %s\n", "reference", r.Title, r.URL)
		}
		fmt.Fprintln(w)
		tellEvents(w, s, width)
		fmt.Fprintln(w)
		tellPaths(w, s, width)
	}
	for _, s := range p.Sources {
		for _, e := range s.Events {
			if len(e.Examples) == 0 {
				continue
			}
			fmt.Fprintf(w, "\nAn example, of %s; trawl matrix --product %s --event TYPE shows those of others\n", e.EventType, p.ID)
			return writeExample(w, e.Examples[0])
		}
	}
	return nil
}

// tellEvents lists the event types of a source, with the attributes that its
// records lack: first those that all of them do.
func tellEvents(w io.Writer, s emm.Source, width int) {
	cover := emm.Product{Sources: []emm.Source{s}}.Coverage()
	lacked := map[string]int{}
	for _, e := range s.Events {
		for _, key := range cover.Lacks(e.EventType) {
			lacked[key]++
		}
	}
	always := func(key string) bool { return lacked[key] == len(s.Events) && len(s.Events) > 1 }
	t := &table{header: []string{"EVENT TYPE", "HAS", "LACKS"}}
	for _, e := range s.Events {
		_, has := mark(cover, e.EventType)
		t.add(e.EventType, has, strings.Join(slices.DeleteFunc(cover.Lacks(e.EventType), always), " "))
	}
	t.print(w, width, false)
	var never []string
	for _, key := range emm.Matrix().AttributeKeys() {
		if always(key) {
			never = append(never, key)
		}
	}
	if len(never) > 0 {
		fmt.Fprintf(w, "\nAll of them lack\n%s", filled("  ", strings.Join(never, " "), width))
	}
}

// tellPaths lists where attributes stand, and for which event types.
func tellPaths(w io.Writer, s emm.Source, width int) {
	t := &table{header: []string{"ATTRIBUTE", "STANDS AT", "OF"}, spare: []string{"OF"}}
	for _, a := range emm.Matrix().Attributes {
		var order, applies []string
		where := map[string][]string{}
		for _, e := range s.Events {
			if a.AppliesTo(e.EventType) {
				applies = append(applies, e.EventType)
			}
			if paths := strings.Join(e.Attributes[a.Key], "\n"); paths != "" {
				if where[paths] == nil {
					order = append(order, paths)
				}
				where[paths] = append(where[paths], e.EventType)
			}
		}
		for i, paths := range order {
			name, of := a.Key, ofTypes(where[paths], applies)
			if i > 0 {
				name = ""
			}
			for j, path := range strings.Split(paths, "\n") {
				if j > 0 {
					name, path, of = "", "or "+path, ""
				}
				t.add(name, path, of)
			}
		}
	}
	t.print(w, width, false)
}

// ofTypes says in few words which of some event types are meant.
func ofTypes(these, all []string) string {
	rest := slices.DeleteFunc(slices.Clone(all), func(t string) bool { return slices.Contains(these, t) })
	switch {
	case len(rest) == 0:
		return "all that it applies to"
	case len(rest) < len(these):
		return "all but " + strings.Join(rest, " ")
	}
	return strings.Join(these, " ")
}

// tellEvent prints all that is known of an event type of a product.
func tellEvent(w io.Writer, p emm.Product, eventType string, width int) error {
	t, _ := emm.Matrix().EventType(eventType)
	found := false
	for _, s := range p.Sources {
		i := slices.IndexFunc(s.Events, func(e emm.Event) bool { return e.EventType == eventType })
		if i < 0 {
			continue
		}
		e := s.Events[i]
		if found {
			fmt.Fprintln(w)
		}
		found = true
		fmt.Fprintf(w, "%s/%s: %s / %s\n%s\n\n", p.ID, s.ID, e.Category, e.EventType, t.About)
		rows := &table{header: []string{"ATTRIBUTE", "STANDS AT", "ABOUT"}}
		for _, a := range emm.Matrix().Applicable(eventType) {
			paths := e.Attributes[a.Key]
			if len(paths) == 0 {
				rows.add(a.Key, "-", a.About)
			}
			for j, path := range paths {
				if j == 0 {
					rows.add(a.Key, path, a.About)
				} else {
					rows.add("", "or "+path, "")
				}
			}
		}
		rows.print(w, width, false)
		for _, x := range e.Examples {
			fmt.Fprintf(w, "\nExample %s\n", x.Name)
			if err := writeExample(w, x); err != nil {
				return err
			}
		}
	}
	if !found {
		cover := slices.Sorted(maps.Keys(p.Coverage()))
		return fmt.Errorf("%s logs no %s; it logs %s", p.Name, eventType, strings.Join(cover, ", "))
	}
	return nil
}

func writeExample(w io.Writer, x emm.Example) error {
	var text gobytes.Buffer
	if err := json.Indent(&text, x.Record, "  ", "  "); err != nil {
		return fmt.Errorf("example %s: %w", x.Name, err)
	}
	_, err := fmt.Fprintf(w, "  %s\n", text.Bytes())
	return err
}

// filled breaks a text into lines that fit, each behind an indent. The text may
// hold anything.
func filled(indent, text string, width int) string {
	if width == 0 {
		width = 100
	}
	var b strings.Builder
	line := indent
	for word := range strings.FieldsSeq(text) {
		word = harmless(word)
		if visible(line)+visible(word) >= width && line != indent {
			b.WriteString(line + "\n")
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	b.WriteString(line + "\n")
	return b.String()
}

func unknownEvent(eventType string) error {
	return fmt.Errorf("unknown event type %q; %s", eventType, strictyaml.Suggest(eventType, emm.Matrix().EventTypeKeys()))
}
