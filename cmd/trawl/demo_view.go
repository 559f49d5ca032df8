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
	"strings"
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
	samples   map[string][]byte // the first document of each source
	last      []shown           // the newest ones by their time, the newest last
}

// shown is a document in one line, cells as newestHeader has them.
type shown struct {
	at    time.Time
	cells []string
}

// newestHeader is that of the table of the newest documents.
var newestHeader = []string{"NEWEST", "SOURCE", "OUTCOME", "ACTION", "WHO", "FROM"}

// mostShown is how many documents, and kinds of a source, are shown at most.
const mostShown = 40

func newTally() *tally {
	return &tally{counts: map[[3]string]int{}, ids: map[string]int{}, uids: map[string]struct{}{}, samples: map[string][]byte{}}
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
	if _, ok := t.samples[d.Trawl.Source]; !ok {
		t.samples[d.Trawl.Source] = slices.Clone(line)
	}
	what := d.Event.Action
	if d.Rule.Name != "" {
		what += ": " + d.Rule.Name
	}
	t.show(d.Timestamp, d.Trawl.Source, outcome, cut(what, 32), cut(cmp.Or(d.User.Name, d.Host.Name, "-"), 22), cmp.Or(d.Source.IP, "-"))
	return nil
}

// show keeps a document if it is among the newest; one without a readable time
// is not.
func (t *tally) show(timestamp string, cells ...string) {
	at, err := time.Parse(time.RFC3339, timestamp)
	if err != nil {
		return
	}
	i, _ := slices.BinarySearchFunc(t.last, at, func(d shown, at time.Time) int {
		return cmp.Or(d.at.Compare(at), -1) // behind those of the same time
	})
	t.last = slices.Insert(t.last, i, shown{at, append([]string{at.UTC().Format(time.TimeOnly) + "Z"}, cells...)})
	if len(t.last) > mostShown {
		t.last = slices.Delete(t.last, 0, 1)
	}
}

// kinds lists the most frequent kinds of each source, at most that many.
func (t *tally) kinds(most int) *table {
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
	return out
}

// common is a document without the record itself and the fields that only its
// product has; a line that is no such document is left as it is.
func common(line []byte) string {
	var d map[string]any
	if err := json.Unmarshal(line, &d); err != nil {
		return string(line)
	}
	if event, ok := d["event"].(map[string]any); ok {
		delete(event, "original")
		if module, ok := event["module"].(string); ok {
			delete(d, module)
		}
	}
	short, err := json.Marshal(d)
	if err != nil {
		return string(line)
	}
	return string(short)
}

// newest lists the newest documents, at most that many.
func (t *tally) newest(most int) *table {
	out := &table{header: newestHeader}
	for _, d := range t.last[max(len(t.last)-most, 0):] {
		out.add(d.cells...)
	}
	return out
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
func (a *app) showLive(ctx context.Context, e *engine.Engine, path string) error {
	every, show := 2*time.Second, a.showLine
	if drawable(a.stdout) {
		s := openScreen(a.stdout)
		defer s.close()
		every = 500 * time.Millisecond
		show = func(status engine.Status, t *tally) {
			s.draw(frame(status, t, terminal(a.stdout), terminalHeight(a.stdout), colours(a.stdout)))
		}
	}
	t := newTally()
	var r *bufio.Reader
	var rest []byte
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if r == nil {
			f, err := os.Open(path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("read what arrived: %w", err)
			}
			if err == nil {
				defer f.Close()
				r = bufio.NewReader(f)
			}
		}
		if r != nil {
			var err error
			if rest, err = t.follow(r, rest); err != nil {
				return err
			}
		}
		if s, err := e.Status(ctx); err == nil {
			show(s, t)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// showLine tells in one line what has arrived.
func (a *app) showLine(_ engine.Status, t *tally) {
	if a.quiet || len(t.last) == 0 {
		return
	}
	fmt.Fprintf(a.stdout, "%s  %d documents  newest: %s\n", time.Now().UTC().Format(time.TimeOnly), t.documents, strings.Join(t.last[len(t.last)-1].cells, "  "))
}
