package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/trawlsec/trawl/internal/engine"
)

// screen draws frames on a terminal's alternate screen, so that what stood on
// the terminal before is there again afterwards.
type screen struct{ w io.Writer }

// openScreen takes the terminal; close gives it back.
func openScreen(w io.Writer) *screen {
	fmt.Fprint(w, "\x1b[?1049h\x1b[?25l")
	return &screen{w}
}

// draw replaces what is shown, in one write and without clearing it first:
// nothing flickers. Below the lines the screen is cleared.
func (s *screen) draw(lines []string) {
	fmt.Fprint(s.w, "\x1b[H"+strings.Join(lines, "\x1b[K\r\n")+"\x1b[J")
}

func (s *screen) close() { fmt.Fprint(s.w, "\x1b[?25h\x1b[?1049l") }

// drawable reports whether a stream is a terminal that knows how to move its
// cursor.
func drawable(w io.Writer) bool { return terminal(w) > 0 && os.Getenv("TERM") != "dumb" }

// terminalHeight is that of a stream that is a terminal.
func terminalHeight(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if _, height, err := term.GetSize(int(f.Fd())); err == nil && height > 0 {
			return height
		}
	}
	return 24
}

// frame is what the demo shows: at most height lines of at most width
// characters. The feeds are always there; of the rest, as much as fits.
func frame(s engine.Status, t *tally, width, height int, colour bool) []string {
	feeds := lines(feedTable(s, colour), width, colour)
	lean := height < len(feeds)+6
	out := []string{}
	if !lean {
		out = append(out, cut("Trawl demo: simulated accounts that fail now and then. Ctrl-C ends it and compares.", width), "")
	}
	out = append(out, feeds...)
	var facts []string
	for _, c := range s.Connections {
		facts = append(facts, cut(c.Product+" answered: "+answers(c), width))
	}
	for _, o := range s.Outputs {
		facts = append(facts, cut(fmt.Sprintf("output %s: %s, %d delivered, %d pages pending   log: %d pages, %s",
			o.Output, o.State, o.Documents, o.PendingPages, s.Log.Pages, bytes(int64(s.Log.Bytes))), width))
	}
	if left := height - len(out); left > len(facts)+1 {
		out = append(append(out, ""), facts...)
	}
	// Half of what is left is for the kinds, the other for the newest.
	const heading = 2 // a blank line and what stands above the lines
	if most := (height-len(out))/2 - heading; most > 0 {
		if kinds := t.fitting(most+1, width, colour); len(kinds) > 0 {
			out = append(append(out, ""), kinds...)
		}
	}
	if room := height - len(out) - heading; room > 0 && len(t.last) > 0 {
		out = append(append(out, ""), lines(t.newest(room), width, colour)...)
	}
	return out[:min(len(out), max(height, 1))]
}

// fitting is the table of kinds in at most that many lines, with as many kinds
// of each source as fit; nothing when not one does.
func (t *tally) fitting(height, width int, colour bool) []string {
	for most := mostShown; most > 0; most-- {
		if table := lines(t.kinds(most), width, colour); len(table) <= height {
			return table
		}
	}
	return nil
}

// lines is a table as it stands on a terminal of that width.
func lines(t *table, width int, bold bool) []string {
	var b strings.Builder
	t.print(&b, width, bold)
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}
