package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/trawlsec/trawl/internal/engine"
)

// tally counts the documents of an output file by what happened.
type tally struct {
	documents int
	twice     int
	counts    map[[3]string]int // source, action, outcome
	ids       map[string]int    // source and event id
	uids      map[string]struct{}
	samples   [][]byte // three documents
	last      []string // the newest ones, for the screen
}

func newTally() *tally {
	return &tally{counts: map[[3]string]int{}, ids: map[string]int{}, uids: map[string]struct{}{}}
}

// document is what the demo looks at.
type document struct {
	Timestamp string `json:"@timestamp"`
	Event     struct {
		ID, Action, Outcome, Reason string
	}
	User, Host, Cloud struct{ Name string }
	Rule              struct{ Name string }
	Source            struct{ IP string }
	Trawl             struct{ UID, Source, Severity string }
}

// add counts one line.
func (t *tally) add(line []byte) error {
	var d document
	if err := json.Unmarshal(line, &d); err != nil {
		return fmt.Errorf("read document %d: %w", t.documents+1, err)
	}
	t.documents++
	if _, ok := t.uids[d.Trawl.UID]; ok {
		t.twice++
	}
	t.uids[d.Trawl.UID] = struct{}{}
	t.ids[d.Trawl.Source+"\x00"+d.Event.ID]++
	outcome := cmp.Or(d.Event.Outcome, d.Trawl.Severity, "-")
	t.counts[[3]string{d.Trawl.Source, cmp.Or(d.Event.Action, "-"), outcome}]++
	if n := t.documents; n == 1 || n == 7 || d.Trawl.Source == "wiz/issues" && len(t.samples) == 2 {
		if len(t.samples) < 3 {
			t.samples = append(t.samples, slices.Clone(line))
		}
	}
	what := d.Event.Action
	if d.Rule.Name != "" {
		what += ": " + d.Rule.Name
	}
	t.last = append(t.last, fmt.Sprintf("%-27s  %-10s  %-8s  %-22s  %-15s  %s", d.Timestamp, d.Trawl.Source, outcome, cut(cmp.Or(d.User.Name, d.Host.Name, "-"), 22), cmp.Or(d.Source.IP, "-"), what))
	if len(t.last) > 8 {
		t.last = t.last[len(t.last)-8:]
	}
	return nil
}

// write prints the most frequent kinds.
func (t *tally) write(w io.Writer, most int) {
	kinds := make([][3]string, 0, len(t.counts))
	for k := range t.counts {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b [3]string) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), -cmp.Compare(t.counts[a], t.counts[b]), slices.Compare(a[:], b[:]))
	})
	out := &table{header: []string{"SOURCE", "COUNT", "OUTCOME/SEVERITY", "ACTION"}}
	shown, rest, of := map[string]int{}, map[string]int{}, map[string]int{}
	for i, k := range kinds {
		if shown[k[0]]++; shown[k[0]] <= most {
			out.add(k[0], fmt.Sprint(t.counts[k]), k[2], k[1])
		} else {
			rest[k[0]] += t.counts[k]
			of[k[0]]++
		}
		if last := i == len(kinds)-1 || kinds[i+1][0] != k[0]; last && rest[k[0]] > 0 {
			out.add(k[0], fmt.Sprint(rest[k[0]]), "", fmt.Sprintf("%d more kinds", of[k[0]]))
		}
	}
	out.write(w)
}

// readTally counts a whole output file.
func readTally(path string) (*tally, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read what arrived: %w", err)
	}
	defer f.Close()
	t := newTally()
	_, err = t.follow(bufio.NewReaderSize(f, 1<<20), nil)
	return t, err
}

// follow counts the lines of r until its end; rest is the beginning of a line
// that was read before, and of the one that is not whole yet.
func (t *tally) follow(r *bufio.Reader, rest []byte) ([]byte, error) {
	for {
		line, err := r.ReadBytes('\n')
		rest = append(rest, line...)
		if errors.Is(err, io.EOF) {
			return rest, nil
		}
		if err != nil {
			return rest, fmt.Errorf("read what arrived: %w", err)
		}
		if err := t.add(rest[:len(rest)-1]); err != nil {
			return nil, err
		}
		rest = rest[:0]
	}
}

// showLive shows what arrives in an output file until ctx ends: the whole
// screen of a terminal, or a line now and then elsewhere.
func (a *app) showLive(ctx context.Context, e *engine.Engine, path string) {
	screen := terminal(a.stdout) > 0
	every := 2 * time.Second
	if screen {
		every = 500 * time.Millisecond
	}
	t := newTally()
	var r *bufio.Reader
	var rest []byte
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if r == nil {
			f, err := os.Open(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				fmt.Fprintln(a.stderr, "trawl: "+err.Error())
				return
			}
			defer f.Close()
			r = bufio.NewReader(f)
		}
		var err error
		if rest, err = t.follow(r, rest); err != nil {
			fmt.Fprintln(a.stderr, "trawl: "+err.Error())
			return
		}
		s, err := e.Status(ctx)
		if err != nil {
			continue
		}
		if !screen {
			fmt.Fprintf(a.stdout, "%s  %d documents  newest: %s\n", time.Now().UTC().Format(time.TimeOnly), t.documents, newest(t.last))
			continue
		}
		fmt.Fprint(a.stdout, "\x1b[H\x1b[2J")
		fmt.Fprintf(a.stdout, "Trawl demo: a simulated Wiz tenant that fails now and then. Ctrl-C ends it.\n\n")
		writeStatus(a.stdout, s)
		fmt.Fprintln(a.stdout)
		t.write(a.stdout, 6)
		fmt.Fprintf(a.stdout, "\nnewest of %d documents\n", t.documents)
		for _, line := range t.last {
			fmt.Fprintln(a.stdout, cut(line, terminal(a.stdout)))
		}
	}
}

func newest(lines []string) string {
	if len(lines) == 0 {
		return "-"
	}
	return lines[len(lines)-1]
}
