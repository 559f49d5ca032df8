package deliver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	catalogfiles "github.com/trawlsec/trawl/catalog"
	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/output"
	"github.com/trawlsec/trawl/internal/pagelog"
)

const childEnv = "TRAWL_TEST_DELIVER_CHILD"

// wiz is the real mapper of Wiz's audit log.
func wiz() (*ecs.Mapper, error) {
	cat, err := catalog.Load(catalogfiles.FS)
	if err != nil {
		return nil, err
	}
	src, err := cat.Source("wiz/audit")
	if err != nil {
		return nil, err
	}
	return ecs.Compile(src)
}

// real is a deliverer from the real log to a real file, of documents that have
// at most so many bytes.
func real(ctx context.Context, dir string, l *pagelog.Log, most int64) (*Deliverer, error) {
	mapper, err := wiz()
	if err != nil {
		return nil, err
	}
	reader, err := l.Reader(ctx, "output/archive")
	if err != nil {
		return nil, err
	}
	out, err := output.New(output.Options{
		Name: "archive", Type: "file", Dir: filepath.Join(dir, "outputs"), Log: l.ID(),
		Path: filepath.Join(dir, "events.ndjson"), Rotate: output.Rotate{Size: 64 << 10},
	})
	if err != nil {
		return nil, err
	}
	return New(ctx, Options{
		Name: "archive", Reader: reader, Output: out, Log: OnLog(l), MaxDocument: most,
		Mapper: func(pagelog.Feed) (Mapper, error) { return mapper, nil },
	})
}

func openLog(ctx context.Context, dir string) (*pagelog.Log, error) {
	return pagelog.Open(ctx, pagelog.Options{Dir: filepath.Join(dir, "log"), Logger: slog.New(slog.DiscardHandler)})
}

// appendPage appends a page of a few records numbered from the page before.
func appendPage(ctx context.Context, l *pagelog.Log, after uint64, first int) (seq uint64, next int, err error) {
	p := pagelog.Page{Feed: audit, Lane: pagelog.Live, Fetched: time.Now()}
	next = first + 1 + rand.N(30)
	for n := first; n < next; n++ {
		p.Records = append(p.Records, fmt.Appendf(nil, `{"id":"%d","action":"Login","timestamp":"2026-02-06T13:39:25.30484Z"}`, n))
		p.Hashes = append(p.Hashes, uint64(n))
	}
	p.Position = fmt.Append(nil, next)
	seq, err = l.Append(ctx, p, after, after)
	return seq, next, err
}

// child delivers to a file until it is killed, and meanwhile appends pages, or
// appends some and replays.
func child(dir string, replaying bool) int {
	ctx := context.Background()
	err := func() error {
		l, err := openLog(ctx, dir)
		if err != nil {
			return err
		}
		most := int64(0)
		if replaying {
			most = mostOfReplays
		}
		d, err := real(ctx, dir, l, most)
		if err != nil {
			return err
		}
		go func() {
			if err := d.Run(ctx); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}()
		last, _, err := l.Last(ctx, audit, pagelog.Live)
		if err != nil {
			return err
		}
		first := 0
		if len(last.Position) > 0 {
			if err := json.Unmarshal(last.Position, &first); err != nil {
				return err
			}
		}
		if replaying {
			return replayForever(ctx, dir, l, d, last.Seq, first)
		}
		fmt.Println("ready")
		for seq := last.Seq; ; {
			if seq, first, err = appendPage(ctx, l, seq, first); err != nil {
				return err
			}
		}
	}()
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// kill runs the child so many times and kills it at a random moment within the
// time after it is ready.
func kill(t *testing.T, dir string, times int, within time.Duration, env ...string) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	for range times {
		cmd := exec.Command(exe)
		cmd.Env = append(append(os.Environ(), childEnv+"="+dir, "GORACE=atexit_sleep_ms=0"), env...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		if _, err := io.ReadFull(stdout, make([]byte, 6)); err != nil {
			t.Fatalf("child: %v; %v\n%s", err, cmd.Wait(), stderr.String())
		}
		timer := time.AfterFunc(rand.N(within), func() { _ = cmd.Process.Kill() })
		err = cmd.Wait()
		timer.Stop()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("child: %v\n%s", err, stderr.String())
		}
	}
}

// files are those that the output has written, in order.
func files(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "events-*"))
	must(t, err)
	return append(names, filepath.Join(dir, "events.ndjson"))
}

// TestKilled kills a process that collects into the real log and delivers from
// it to a file, again and again, and at the end compares the files with the
// log.
func TestKilled(t *testing.T) {
	t.Parallel()
	kills := 15
	if testing.Short() {
		kills = 3
	}
	dir := t.TempDir()
	kill(t, dir, kills, 200*time.Millisecond)

	ctx := t.Context()
	l, err := openLog(ctx, dir)
	must(t, err)
	defer func() { must(t, l.Close()) }()
	d, err := real(ctx, dir, l, 0)
	must(t, err)
	run, stop := context.WithCancel(ctx)
	ended := make(chan error)
	go func() { ended <- d.Run(run) }()
	stats, err := l.Stats(ctx)
	must(t, err)
	must(t, d.Drain(ctx, stats.LastSeq))
	stop()
	must(t, <-ended)

	last, _, err := l.Last(ctx, audit, pagelog.Live)
	must(t, err)
	var records int
	must(t, json.Unmarshal(last.Position, &records))
	names := files(t, dir)
	next := 0
	for _, name := range names {
		b, err := os.ReadFile(name)
		must(t, err)
		for line := range bytes.Lines(b) {
			var doc struct {
				Event struct{ ID string }
			}
			if err := json.Unmarshal(line, &doc); err != nil {
				t.Fatalf("%s: %v in %q", name, err, line)
			}
			if doc.Event.ID != fmt.Sprint(next) {
				t.Fatalf("%s: document %s, want %d", name, doc.Event.ID, next)
			}
			next++
		}
	}
	if next != records {
		t.Errorf("files hold %d documents, the log %d", next, records)
	}
	t.Logf("%d pages, %d records, %d finished files", stats.Pages, records, len(names)-1)
}

// TestDeadLettersInTheLog puts refused documents into the real log.
func TestDeadLettersInTheLog(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	l, err := openLog(ctx, t.TempDir())
	must(t, err)
	defer func() { must(t, l.Close()) }()
	_, _, err = appendPage(ctx, l, 0, 0)
	must(t, err)
	reader, err := l.Reader(ctx, "output/picky")
	must(t, err)
	out := &fakeOutput{write: func(_ context.Context, b output.Batch) error {
		return &output.RefusedError{Refusals: []output.Refusal{{Index: 0, Reason: "not today"}}}
	}}
	d := start(t, nil, out, func(o *Options) { o.Name, o.Reader, o.Log, o.Raw = "picky", reader, OnLog(l), true })
	stats, err := l.Stats(ctx)
	must(t, err)
	must(t, d.Drain(ctx, stats.LastSeq))
	must(t, d.stop())
	var got []string
	must(t, l.DeadLetters(ctx, pagelog.DeadFilter{Output: "picky"}, func(letter pagelog.DeadLetter) error {
		got = append(got, fmt.Sprintf("%s %s %s", letter.Feed, letter.Reason, letter.Document))
		return nil
	}))
	want := []string{`wiz-prod/audit not today {"id":"0","action":"Login","timestamp":"2026-02-06T13:39:25.30484Z"}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("letters differ (-want +got):\n%s", diff)
	}
}
