package main

import (
	"bufio"
	gobytes "bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// table is a listing for people: columns as wide as their longest cell. Where
// the terminal is too narrow, the columns named in spare are left out, the first
// of them first, and then the ends of the lines are.
type table struct {
	header []string
	rows   [][]string
	spare  []string
}

// add adds a row. Cells may hold anything: what they would do to a terminal,
// but for the colours of paint, they do not.
func (t *table) add(cells ...string) {
	row := make([]string, len(cells))
	for i, cell := range cells {
		text, colour := unpaint(cell)
		row[i] = harmless(text)
		if colour != "" {
			row[i] = colour + row[i] + reset
		}
	}
	t.rows = append(t.rows, row)
}

// harmless makes a text that comes from elsewhere fit for a terminal and a line:
// what would move the cursor, clear the screen or turn the direction of the
// writing stands there as it is written in code, like \x1b.
func harmless(s string) string {
	if !strings.ContainsFunc(s, unseen) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unseen(r) {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unseen(r rune) bool { return !unicode.IsGraphic(r) }

// write prints the table. On a terminal the header is bold; elsewhere nothing
// is left out.
func (t *table) write(w io.Writer) {
	t.print(w, terminal(w), colours(w))
}

// print prints the table for a terminal of that width; 0: for no terminal.
func (t *table) print(w io.Writer, width int, bold bool) {
	widths := t.widths()
	for _, name := range t.spare {
		if width == 0 || total(widths) <= width {
			break
		}
		widths[slices.Index(t.header, name)] = -1
	}
	for i, row := range append([][]string{t.header}, t.rows...) {
		line := cut(t.line(row, widths), width)
		if i == 0 && bold {
			line = "\x1b[1m" + line + "\x1b[0m"
		}
		fmt.Fprintln(w, line)
	}
}

// widths are those of the columns; -1 stands for one that is left out.
func (t *table) widths() []int {
	widths := make([]int, len(t.header))
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], visible(cell))
		}
	}
	return widths
}

// total is the width of a line, two spaces between its columns.
func total(widths []int) int {
	sum := -2
	for _, n := range widths {
		if n >= 0 {
			sum += n + 2
		}
	}
	return sum
}

// line lays out one row.
func (t *table) line(row []string, widths []int) string {
	var b strings.Builder
	for i, cell := range row {
		if widths[i] >= 0 {
			b.WriteString(cell + strings.Repeat(" ", widths[i]-visible(cell)+2))
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// visible is how many columns of a terminal a text takes: the escape sequences
// of colours take none, and the characters of East Asian scripts two.
func visible(s string) int {
	n := 0
	scan(s, func(_, columns int) bool { n += columns; return true })
	return n
}

// cut shortens a line to width columns; 0: not at all.
func cut(line string, width int) string {
	if width == 0 || visible(line) <= width {
		return line
	}
	n, end := 0, len(line)
	scan(line, func(at, columns int) bool {
		if n += columns; n >= width {
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

// scan calls yield with the position of each visible character, and with how
// many columns it takes.
func scan(s string, yield func(at, columns int) bool) {
	escape := false
	for i, r := range s {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			if !yield(i, columns(r)) {
				return
			}
		}
	}
}

// columns is how many columns of a terminal a character takes.
func columns(r rune) int {
	switch kind := width.LookupRune(r).Kind(); {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0 // drawn over the character before
	case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// colours reports whether a stream is a terminal whose user has nothing
// against colours.
func colours(w io.Writer) bool {
	return terminal(w) > 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// writeJSON prints one JSON document. What would do something to a terminal is
// written as JSON has it, like \u009b, which means the same.
func writeJSON(w io.Writer, v any) error {
	var text gobytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	safe := text.Bytes()
	if gobytes.ContainsFunc(safe, inString) {
		safe = nil
		for _, r := range text.String() {
			if !inString(r) {
				safe = utf8.AppendRune(safe, r)
				continue
			}
			for _, unit := range utf16.Encode([]rune{r}) {
				safe = fmt.Appendf(safe, `\u%04x`, unit)
			}
		}
	}
	if _, err := w.Write(safe); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// inString tells of a character that is not seen and that JSON has in strings
// only, as all are but the line breaks.
func inString(r rune) bool { return r != '\n' && unseen(r) }

// asks reports whether a person can be asked: stdin and stderr are terminals.
func (a *app) asks() bool { return terminal(a.stdin) > 0 && terminal(a.stderr) > 0 }

// sure asks a person whether to go on, if there is one to be asked.
func (a *app) sure(ctx context.Context, format string, args ...any) (yes, asked bool) {
	if !a.asks() {
		return false, false
	}
	fmt.Fprintf(a.stderr, format+" Go on? [y/N] ", args...)
	answer, _ := answered(ctx, bufio.NewReader(a.stdin))
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", true
}

// answered reads a line that a person writes, or gives up when ctx ends: who
// presses Ctrl-C at a question means the whole.
func answered(ctx context.Context, in *bufio.Reader) (line string, err error) {
	done := make(chan struct{})
	var written string
	var failed error
	go func() {
		defer close(done)
		written, failed = in.ReadString('\n') // goes on until the process ends
	}()
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-done:
		return written, failed
	}
}
