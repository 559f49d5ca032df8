package output

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRotateBySize(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		size    int64
		batches []Batch
		want    []string // the finished files, then the one being written
	}{
		{"never", 0, []Batch{batch(1, "one"), batch(2, "two")}, []string{"one\ntwo\n"}},
		{"exactly full", 8, []Batch{batch(1, "one"), batch(2, "two")}, []string{"one\ntwo\n"}},
		{"one too many", 7, []Batch{batch(1, "one"), batch(2, "two")}, []string{"one\n", "two\n"}},
		{"within a batch", 8, []Batch{batch(9, "one", "two", "three", "four", "five")}, []string{"one\ntwo\n", "three\n", "four\n", "five\n"}},
		{"documents larger than a file", 2, []Batch{batch(1, "one"), batch(2, "two", "three")}, []string{"one\n", "two\n", "three\n"}},
		{"pages without documents", 4, []Batch{batch(1), batch(2, "one"), batch(3), batch(4, "two")}, []string{"one\n", "two\n"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			fx, _, err := openFixture(t, t.TempDir(), func(o *Options) { o.Rotate.Size = test.size })
			must(t, err)
			for _, b := range test.batches {
				fx.write(t, b)
			}
			names, err := filepath.Glob(strings.TrimSuffix(fx.path, ".ndjson") + "-*Z-??????.ndjson")
			must(t, err)
			var got []string
			for _, name := range append(names, fx.path) {
				got = append(got, read(t, name))
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("files differ (-want +got):\n%s", d)
			}
		})
	}
}

// TestRotateByAge also shows that an idle output finishes its file, and that
// the age survives a restart.
func TestRotateByAge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		hourly := func(o *Options) { o.Rotate.Age = time.Hour }
		finished := func() int {
			names, err := filepath.Glob(filepath.Join(dir, "events-*"))
			must(t, err)
			return len(names)
		}
		fx, _, err := openFixture(t, dir, hourly)
		must(t, err)
		time.Sleep(2 * time.Hour) // an empty file does not age
		must(t, fx.Keep(t.Context()))
		fx.write(t, batch(1, "one"))
		time.Sleep(40 * time.Minute)
		fx.write(t, batch(2, "two"))
		must(t, fx.Close())
		fx, _, err = openFixture(t, dir, hourly)
		must(t, err)
		must(t, fx.Keep(t.Context()))
		if n := finished(); n != 0 {
			t.Fatalf("%d files finished too soon", n)
		}
		time.Sleep(20 * time.Minute)
		fx.write(t, batch(3, "three"))
		if n, got := finished(), read(t, fx.path); n != 1 || got != "three\n" {
			t.Errorf("%d files finished, want 1; the current one holds %q", n, got)
		}
		time.Sleep(time.Hour)
		must(t, fx.Keep(t.Context()))
		if n, got := finished(), read(t, fx.path); n != 2 || got != "" {
			t.Errorf("%d files finished, want 2; the current one holds %q", n, got)
		}
		must(t, fx.Close())
	})
}

func TestFinishedName(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	for path, want := range map[string]string{
		"/d/events.ndjson":    "/d/events-20260102T020405Z-000007.ndjson",
		"/d/events":           "/d/events-20260102T020405Z-000007",
		"/d/.events":          "/d/.events-20260102T020405Z-000007",
		"/d.d/events.log.txt": "/d.d/events.log-20260102T020405Z-000007.txt",
	} {
		if got := finishedName(path, at, 7); got != want {
			t.Errorf("finished %s is %s, want %s", path, got, want)
		}
	}
}

// TestOrderOfDurability holds what a test with SIGKILL can't show: that a
// position reaches the disk only after what it tells of.
func TestOrderOfDurability(t *testing.T) {
	t.Parallel()
	s := newScenario(t.TempDir(), 12)
	s.opts.Rotate, s.opts.Compress = Rotate{Size: 2000}, compressGzip
	d := &faultyDisk{disk: osDisk{}}
	s.disk = d
	must(t, s.deliver(t.Context()))
	s.check(t)
	dirty := map[string]bool{} // names with something that is not durable
	for i, line := range d.trace {
		what, name, _ := strings.Cut(line, " ")
		switch what {
		case "write":
			dirty[name] = true
		case "sync":
			delete(dirty, name)
		case "create":
			dirty["directory of "+name] = true
		case "rename":
			switch {
			case name != "archive.json":
			case dirty["archive.json.tmp"]:
				t.Errorf("step %d: position renamed before it was synced", i)
			case dirty["events.ndjson"]:
				t.Errorf("step %d: position stored before its documents were synced", i)
			case dirty["directory of events.ndjson"]:
				t.Errorf("step %d: position stored before the file's name was synced", i)
			}
			if strings.HasSuffix(name, ".gz") && dirty[filepath.Base(tempName(strings.TrimSuffix(name, ".gz"), ".gz"))] {
				t.Errorf("step %d: compressed file renamed before it was synced", i)
			}
		case "syncdir":
			if name == "out" {
				delete(dirty, "directory of events.ndjson")
			}
		}
	}
	if len(d.trace) < 50 {
		t.Errorf("only %d steps traced", len(d.trace))
	}
}

// TestForget sees that the system is told to let go of all but the end.
func TestForget(t *testing.T) {
	t.Parallel()
	s := newScenario(t.TempDir(), 0)
	s.opts.Rotate.Size = 40 << 20
	d := &faultyDisk{disk: osDisk{}}
	f := newFile(s.opts, s.opts.Path, d)
	_, err := f.Open(t.Context())
	must(t, err)
	defer func() { must(t, f.Close()) }()
	line := strings.Repeat("x", 3<<20)
	for seq := range uint64(25) {
		must(t, f.Write(t.Context(), batch(seq+1, line)))
		if kept := f.pos.Offset - f.cached; kept >= cacheKeep+cacheStep || f.cached > max(0, f.pos.Offset-cacheKeep) {
			t.Fatalf("after page %d: %d bytes written, %d let go", seq+1, f.pos.Offset, f.cached)
		}
	}
	if f.pos.Counter != 1 || d.forgotten < 32<<20 {
		t.Errorf("%d files finished, %d bytes let go", f.pos.Counter, d.forgotten)
	}
}
