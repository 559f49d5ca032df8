package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// table is a listing for people: columns as wide as their longest cell, and
// the last one cut so that a row fits the terminal.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write prints the table. On a terminal the header is bold and the last column
// is cut to fit; elsewhere nothing is cut.
func (t *table) write(w io.Writer) {
	width := terminal(w)
	widths := make([]int, len(t.header))
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], visible(cell))
		}
	}
	line := func(row []string) string {
		var b strings.Builder
		for i, cell := range row {
			if i == len(row)-1 {
				b.WriteString(cell)
				break
			}
			b.WriteString(cell + strings.Repeat(" ", widths[i]-visible(cell)+2))
		}
		return strings.TrimRight(cut(b.String(), width), " ")
	}
	header := line(t.header)
	if colours(w) {
		header = "\x1b[1m" + header + "\x1b[0m"
	}
	fmt.Fprintln(w, header)
	for _, row := range t.rows {
		fmt.Fprintln(w, line(row))
	}
}

// visible is how many characters of a text are seen: all but the escape
// sequences of colours.
func visible(s string) int {
	n := 0
	scan(s, func(int) bool { n++; return true })
	return n
}

// cut shortens a line to width visible characters; 0: not at all.
func cut(line string, width int) string {
	if width == 0 || visible(line) <= width {
		return line
	}
	n, end := 0, len(line)
	scan(line, func(at int) bool {
		if n++; n >= width {
			end = at
		}
		return n < width
	})
	cut := line[:end] + "…"
	if strings.Contains(cut, "\x1b[") {
		cut += "\x1b[0m"
	}
	return cut
}

// scan calls yield with the position of each visible character.
func scan(s string, yield func(at int) bool) {
	escape := false
	for i, r := range s {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			if !yield(i) {
				return
			}
		}
	}
}

// colours reports whether a stream is a terminal whose user has nothing
// against colours.
func colours(w io.Writer) bool {
	return terminal(w) > 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// writeJSON prints one JSON document.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// asks reports whether a person can be asked: stdin and stderr are terminals.
func (a *app) asks() bool { return terminal(a.stdin) > 0 && terminal(a.stderr) > 0 }
