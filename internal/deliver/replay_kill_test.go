package deliver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/pagelog"
)

const (
	replayingEnv  = "TRAWL_TEST_DELIVER_REPLAYING"
	mostOfReplays = 2000 // bytes of a document, while there are replays
)

// replayForever appends a few pages, of which some records are too large, and
// puts dead letters whose pages are gone; then it replays some of the one or
// the others, and begins again. What it did stands in files.
func replayForever(ctx context.Context, dir string, l *pagelog.Log, d *Deliverer, after uint64, first int) error {
	note := func(file string, what ...any) error {
		f, err := os.OpenFile(filepath.Join(dir, file), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = fmt.Fprintln(f, what...)
		return err
	}
	noteReplay := func(r Replay) error {
		if r.Dead != nil {
			return nil
		}
		return note("replays", r.ID, r.After, r.Through)
	}
	if r := d.Status().Replay; r != nil {
		if err := noteReplay(*r); err != nil { // it may have been killed before it could
			return err
		}
	}
	fmt.Println("ready")
	for {
		for range 5 {
			p := pagelog.Page{Feed: audit, Lane: pagelog.Live, Fetched: time.Now()}
			for range rand.N(30) + 1 {
				text := ""
				if rand.N(7) == 0 {
					text = strings.Repeat("large ", 1000)
				}
				p.Records = append(p.Records, fmt.Appendf(nil, `{"id":"%d%s","action":"Login","timestamp":"2026-02-06T13:39:25.30484Z","x":"%s"}`,
					first, strings.TrimSpace(text[:min(len(text), 5)]), text))
				p.Hashes = append(p.Hashes, uint64(first))
				first++
			}
			p.Position = fmt.Append(nil, first)
			var err error
			if after, err = l.Append(ctx, p, after, after); err != nil {
				return err
			}
		}
		for range rand.N(20) {
			id := time.Now().UnixNano()
			letter := pagelog.DeadLetter{Output: "archive", Feed: audit, Page: uint64(id), Reason: "not today", Document: fmt.Appendf(nil, `{"event":{"id":"letter %d"}}`, id)}
			if err := l.PutDead(ctx, letter); err != nil {
				return err
			}
			if err := note("letters", id); err != nil {
				return err
			}
		}
		if err := d.AwaitReplay(ctx); err != nil {
			return err
		}
		next := Replay{}
		done := d.Status().LastPage
		_, last, err := l.CountDead(ctx, "archive")
		if err != nil {
			return err
		}
		if rand.N(2) == 0 && last > 0 {
			next.Dead = &pagelog.DeadFilter{Output: "archive", UpTo: last}
		} else {
			next.After = done - rand.Uint64N(min(done, 50)+1)
			next.Through = done
		}
		r, err := d.StartReplay(ctx, next)
		if err != nil {
			return err
		}
		if err := noteReplay(r); err != nil {
			return err
		}
	}
}

// TestKilledWhileReplaying kills a process that collects, delivers to a file
// and replays, again and again. In the end every record is there once, and once
// more for every replay it was part of; every dead letter is there once.
func TestKilledWhileReplaying(t *testing.T) {
	t.Parallel()
	kills := 15
	if testing.Short() {
		kills = 4
	}
	dir := t.TempDir()
	const within = 600 * time.Millisecond
	kill(t, dir, kills, within, replayingEnv+"=1")
	for longer := 2 * within; ; longer *= 2 { // where the machine is too slow to get to a replay in that time
		if _, err := os.Stat(filepath.Join(dir, "replays")); err == nil {
			break
		}
		kill(t, dir, 1, longer, replayingEnv+"=1")
	}

	ctx := t.Context()
	l, err := openLog(ctx, dir)
	must(t, err)
	defer func() { must(t, l.Close()) }()
	replays := map[string][2]uint64{}
	finish := func(most int64, work func(*Deliverer)) {
		t.Helper()
		d, err := real(ctx, dir, l, most)
		must(t, err)
		if r := d.Status().Replay; r != nil && r.Dead == nil {
			replays[r.ID] = [2]uint64{r.After, r.Through}
		}
		run, stop := context.WithCancel(ctx)
		ended := make(chan error)
		go func() { ended <- d.Run(run) }()
		work(d)
		must(t, d.AwaitReplay(ctx))
		stop()
		must(t, <-ended)
	}
	finish(mostOfReplays, func(d *Deliverer) {
		stats, err := l.Stats(ctx)
		must(t, err)
		must(t, d.Drain(ctx, stats.LastSeq))
	})
	// What was refused all the time is delivered at last.
	finish(0, func(d *Deliverer) {
		_, last, err := l.CountDead(ctx, "archive")
		must(t, err)
		_, err = d.StartReplay(ctx, Replay{Dead: &pagelog.DeadFilter{Output: "archive", UpTo: last}})
		must(t, err)
	})

	lines := func(name string) (all []string) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			all = append(all, strings.TrimSpace(line))
		}
		return all
	}
	for _, line := range lines("replays") {
		var id string
		var r [2]uint64
		if _, err := fmt.Sscan(line, &id, &r[0], &r[1]); err != nil {
			t.Fatal(err)
		}
		replays[id] = r
	}
	want := map[string]int{}
	must(t, l.Pages(ctx, audit, 0, func(p pagelog.Page) error {
		times := 1
		for _, r := range replays {
			if p.Seq > r[0] && p.Seq <= r[1] {
				times++
			}
		}
		for _, record := range p.Records {
			var r struct{ ID string }
			must(t, json.Unmarshal(record, &r))
			if want[r.ID] = times; strings.HasSuffix(r.ID, "large") {
				want[r.ID] = 1
			}
		}
		return nil
	}))
	records := len(want)
	for _, id := range lines("letters") {
		want["letter "+id] = 1
	}
	got := map[string]int{}
	for _, name := range files(t, dir) {
		b, err := os.ReadFile(name)
		must(t, err)
		for line := range bytes.Lines(b) {
			var doc struct{ Event struct{ ID string } }
			if err := json.Unmarshal(line, &doc); err != nil {
				t.Fatalf("%s: %v in %q", name, err, line)
			}
			got[doc.Event.ID]++
		}
	}
	wrong := 0
	for id, n := range want {
		if got[id] != n {
			if wrong++; wrong < 10 {
				t.Errorf("%s is there %d times, want %d", id, got[id], n)
			}
		}
	}
	for id, n := range got {
		if want[id] == 0 && (n > 1 || !strings.HasPrefix(id, "letter ")) { // put, and not yet noted
			t.Errorf("%s is there %d times", id, n)
		}
	}
	if left, _, err := l.CountDead(ctx, ""); left > 0 || err != nil {
		t.Errorf("%d dead letters are left, %v", left, err)
	}
	t.Logf("%d records, %d letters, %d replays of pages, %d files", records, len(want)-records, len(replays), len(files(t, dir)))
	if len(replays) == 0 {
		t.Error("nothing was replayed")
	}
}
