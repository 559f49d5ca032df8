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

// scenario is a log of made-up pages and a file output that they go to.
type scenario struct {
	dir   string // holds out/events.ndjson, the state and what is acknowledged
	pages uint64 // in the log
	opts  Options
	disk  disk
}

func newScenario(dir string, pages uint64) *scenario {
	s := &scenario{dir: dir, pages: pages, disk: osDisk{}}
	s.opts = Options{Name: "archive", Type: "file", Dir: filepath.Join(dir, "state", "outputs"), Path: filepath.Join(dir, "out", "events.ndjson"), Logger: discard}
	return s
}

// page appends the documents of one page: 0 to 9 of them, each of its own.
func (s *scenario) page(b Batch, seq uint64) Batch {
	r := rand.New(rand.NewPCG(seq, 7))
	for i := range r.IntN(10) {
		b.Data = fmt.Appendf(b.Data, `{"page":%d,"document":%d,"text":"%s"}`+"\n", seq, i, strings.Repeat("x", r.IntN(200)))
		b.Ends = append(b.Ends, len(b.Data))
	}
	b.Last = seq
	return b
}

// truth is what the files must hold together, in order.
func (s *scenario) truth() []byte {
	var b Batch
	for seq := range s.pages {
		b = s.page(b, seq+1)
	}
	return b.Data
}

func (s *scenario) ackFile() string { return filepath.Join(s.dir, "acked") }

func (s *scenario) acked() uint64 {
	var seq uint64
	if b, err := os.ReadFile(s.ackFile()); err == nil {
		_, _ = fmt.Sscan(string(b), &seq)
	}
	return seq
}

// deliver does what a deliverer does: it reads on after the last acknowledged
// page, leaves out what the output has, writes one to four pages at a time,
// tries again what failed, and acknowledges.
func (s *scenario) deliver(ctx context.Context) error {
	out := newFile(s.opts, s.opts.Path, s.disk)
	last, err := out.Open(ctx)
	for tries := 0; err != nil; tries++ {
		var permanent *PermanentError
		if errors.As(err, &permanent) || tries > 20 {
			return errors.Join(err, out.Close())
		}
		last, err = out.Open(ctx)
	}
	for seq := s.acked() + 1; seq <= s.pages; {
		var b Batch
		for n := rand.N(4) + 1; n > 0 && seq <= s.pages; seq++ {
			if seq > last {
				b = s.page(b, seq)
				n--
			}
		}
		if b.Last == 0 {
			break
		}
		for tries := 0; ; tries++ {
			if err = out.Write(ctx, b); err == nil {
				break
			}
			if tries > 20 {
				return errors.Join(err, out.Close())
			}
		}
		temp := s.ackFile() + ".tmp"
		if err := os.WriteFile(temp, fmt.Append(nil, b.Last), 0o600); err != nil {
			return err
		}
		if err := os.Rename(temp, s.ackFile()); err != nil {
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
	if got, want := s.written(t), s.truth(); !bytes.Equal(got, want) {
		t.Errorf("files hold %d bytes, want %d; %s", len(got), len(want), firstDifference(got, want))
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
