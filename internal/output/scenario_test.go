package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// scenario is a log of made-up pages, a replay of as many others, and a file
// output that both go to.
type scenario struct {
	dir   string // holds out/events.ndjson, the state and what is acknowledged
	pages uint64 // in the log, and again in the replay
	opts  Options
	disk  disk
}

// rows are the log and the replay.
var rows = []string{"", "again"}

func newScenario(dir string, pages uint64) *scenario {
	s := &scenario{dir: dir, pages: pages, disk: osDisk{}}
	s.opts = Options{Name: "archive", Type: "file", Dir: filepath.Join(dir, "state", "outputs"), Path: filepath.Join(dir, "out", "events.ndjson"), Logger: discard}
	return s
}

// page appends the documents of one page: 0 to 9 of them, each of its own. Some
// records only may have a document, as settings change between two runs.
func (s *scenario) page(b Batch, seq uint64, all bool) Batch {
	r := rand.New(rand.NewPCG(seq, 7))
	for i := range r.IntN(10) {
		b.Size++
		text, kind := strings.Repeat("x", r.IntN(200)), "document"
		if r.IntN(4) == 0 {
			if kind = "perhaps"; !all {
				continue
			}
		}
		b.Data = fmt.Appendf(b.Data, `{"row":"%s","page":%d,"%s":%d,"text":"%s"}`+"\n", b.Replay, seq, kind, i, text)
		b.Ends, b.Steps = append(b.Ends, len(b.Data)), append(b.Steps, b.Size)
	}
	b.Last = seq
	return b
}

// truth is what the files must hold together of a row, in order.
func (s *scenario) truth(row string) []byte {
	b := Batch{Replay: row}
	for seq := range s.pages {
		b = s.page(b, seq+1, false)
	}
	return b.Data
}

func (s *scenario) ackFile(row string) string { return filepath.Join(s.dir, "acked"+row) }

func (s *scenario) acked(row string) uint64 {
	var seq uint64
	if b, err := os.ReadFile(s.ackFile(row)); err == nil {
		_, _ = fmt.Sscan(string(b), &seq)
	}
	return seq
}

// deliver does what a deliverer does: it reads on after the last acknowledged
// page, leaves out what the output has, writes one to four pages at a time,
// tries again what failed, and acknowledges.
func (s *scenario) deliver(ctx context.Context) error {
	out := newFile(s.opts, s.opts.Path, s.disk)
	place, err := out.Open(ctx)
	for tries := 0; err != nil; tries++ {
		var permanent *PermanentError
		if errors.As(err, &permanent) || tries > 20 {
			return errors.Join(err, out.Close())
		}
		place, err = out.Open(ctx)
	}
	next, has := map[string]uint64{}, map[string]uint64{place.Replay: place.Replayed}
	has[""] = place.Last
	for _, row := range rows {
		next[row] = max(s.acked(row), has[row]) + 1
	}
	for next[""] <= s.pages || next["again"] <= s.pages {
		row := rows[rand.N(2)]
		b, all := Batch{Replay: row}, rand.N(2) == 0
		for n := rand.N(4) + 1; n > 0 && next[row] <= s.pages; n-- {
			b = s.page(b, next[row], all)
			next[row]++
		}
		if b.Last == 0 {
			continue
		}
		for tries := 0; ; tries++ {
			if err = out.Write(ctx, b); err == nil {
				break
			}
			if tries > 20 {
				return errors.Join(err, out.Close())
			}
		}
		temp := s.ackFile(row) + ".tmp"
		if err := os.WriteFile(temp, fmt.Append(nil, b.Last), 0o600); err != nil {
			return err
		}
		if err := os.Rename(temp, s.ackFile(row)); err != nil {
			return err
		}
	}
	return out.Close()
}

// written reads back all files: the finished ones by their names, then the
// one being written.
func (s *scenario) written(t testing.TB) []byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.dir, "out", "events-*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, name := range append(names, s.opts.Path) {
		all = append(all, readAny(t, name)...)
	}
	return all
}

func readAny(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var r io.Reader = bytes.NewReader(b)
	switch filepath.Ext(name) {
	case ".gz":
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	case ".zst":
		z, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	}
	if b, err = io.ReadAll(r); err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return b
}

// check compares the files with the truth, and sees that nothing else lies
// about.
func (s *scenario) check(t testing.TB) {
	t.Helper()
	written, perhaps := map[string][]byte{}, map[string]bool{}
	for line := range bytes.Lines(s.written(t)) {
		if bytes.Contains(line, []byte(`"perhaps"`)) {
			if perhaps[string(line)] {
				t.Errorf("there twice: %s", line)
			}
			perhaps[string(line)] = true
			continue
		}
		for _, row := range rows {
			if bytes.HasPrefix(line, fmt.Appendf(nil, `{"row":"%s",`, row)) {
				written[row] = append(written[row], line...)
			}
		}
	}
	for _, row := range rows {
		if got, want := written[row], s.truth(row); !bytes.Equal(got, want) {
			t.Errorf("row %q: files hold %d bytes, want %d; %s", row, len(got), len(want), firstDifference(got, want))
		}
	}
	entries, err := os.ReadDir(filepath.Dir(s.opts.Path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasPrefix(name, "."):
			t.Errorf("%s was left behind", name)
		case name != "events.ndjson" && s.opts.Compress != "" && !strings.HasSuffix(name, extensions[s.opts.Compress]):
			t.Errorf("%s is not compressed", name)
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		if s.opts.Compress == "" && s.opts.Rotate.Size > 0 && info.Size() > s.opts.Rotate.Size {
			if b := readAny(t, filepath.Join(filepath.Dir(s.opts.Path), name)); bytes.Count(b, []byte{'\n'}) > 1 {
				t.Errorf("%s has %d bytes, more than %d", name, info.Size(), s.opts.Rotate.Size)
			}
		}
	}
}

func firstDifference(got, want []byte) string {
	g, w := bytes.SplitAfter(got, []byte{'\n'}), bytes.SplitAfter(want, []byte{'\n'})
	for i := range max(len(g), len(w)) {
		var a, b []byte
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if !bytes.Equal(a, b) {
			return fmt.Sprintf("line %d is %.80q, want %.80q", i+1, a, b)
		}
	}
	return "equal"
}
