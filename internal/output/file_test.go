package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// batch makes a batch of the given lines that ends page last.
func batch(last uint64, lines ...string) Batch {
	b := Batch{Last: last}
	for _, line := range lines {
		b.Data = append(append(b.Data, line...), '\n')
		b.Ends = append(b.Ends, len(b.Data))
	}
	return b
}

// fixture is a file output in a directory of its own.
type fixture struct {
	*file
	path, state string
	logs        *bytes.Buffer
}

func openFixture(t *testing.T, dir string, change ...func(*Options)) (fixture, uint64, error) {
	t.Helper()
	fx := fixture{path: filepath.Join(dir, "events.ndjson"), logs: new(bytes.Buffer)}
	opts := Options{
		Name: "archive", Type: "file", Path: fx.path, Dir: filepath.Join(dir, "state"), Log: "log-1",
		Logger: slog.New(slog.NewTextHandler(fx.logs, nil)),
	}
	for _, c := range change {
		c(&opts)
	}
	fx.path, fx.state = opts.Path, filepath.Join(opts.Dir, "archive.json")
	out, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	fx.file = out.(*file)
	t.Cleanup(func() {
		if err := out.Close(); err != nil {
			t.Error(err)
		}
	})
	place, err := out.Open(t.Context())
	return fx, place.Last, err
}

func (fx fixture) write(t *testing.T, b Batch) {
	t.Helper()
	if err := fx.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func appendTo(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFound is about what may have happened to the file since a run that wrote
// the pages 1 ("one") and 2 ("two"). Then page 3 ("three") is written.
func TestFound(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		happen func(t *testing.T, path string)
		want   string
		say    string
	}{
		{"nothing", func(*testing.T, string) {}, "one\ntwo\nthree\n", ""},
		{"crash after a write", func(t *testing.T, path string) {
			appendTo(t, path, "three\nfou")
		}, "one\ntwo\nthree\n", "never acknowledged"},
		{"moved away", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".1"))
		}, "three\n", "the file is gone"},
		{"emptied", func(t *testing.T, path string) {
			must(t, os.Truncate(path, 0))
		}, "three\n", "someone else cut the file"},
		{"shortened", func(t *testing.T, path string) {
			must(t, os.Truncate(path, 6))
		}, "one\ntw\nthree\n", "someone else cut the file"},
		{"replaced by a longer one", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".1"))
			appendTo(t, path, "a stranger's line\nand another, unfinished")
		}, "a stranger's line\nand another, unfinished\nthree\n", "another file has taken the place"},
		{"replaced by a shorter one", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".1"))
			appendTo(t, path, "x\n")
		}, "x\nthree\n", "another file has taken the place"},
		{"replaced by a copy with more in it", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".1"))
			appendTo(t, path, "one\ntwo\nmine\n")
		}, "one\ntwo\nmine\nthree\n", "another file has taken the place"},
		{"overwritten", func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString("all of it is other text\n")
			must(t, errors.Join(err, f.Close()))
		}, "all of it is other text\nthree\n", "another file has taken the place"},
		{"replaced by an empty one", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".1"))
			appendTo(t, path, "")
		}, "three\n", "another file has taken the place"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			fx, last, err := openFixture(t, dir)
			must(t, err)
			if last != 0 {
				t.Fatalf("a new output has page %d", last)
			}
			fx.write(t, batch(1, "one"))
			fx.write(t, batch(2, "two"))
			must(t, fx.Close())
			test.happen(t, fx.path)

			fx, last, err = openFixture(t, dir)
			must(t, err)
			if last != 2 {
				t.Fatalf("last page is %d, want 2", last)
			}
			fx.write(t, batch(3, "three"))
			must(t, fx.Close())
			if got := read(t, fx.path); got != test.want {
				t.Errorf("file holds %q, want %q", got, test.want)
			}
			if said := fx.logs.String(); test.say == "" && said != "" || !strings.Contains(said, test.say) {
				t.Errorf("log says %q, want %q", said, test.say)
			}
		})
	}
}

// TestFoundWhileRunning is the same while the output is open.
func TestFoundWhileRunning(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		happen func(t *testing.T, path string)
		want   string
		moved  string
		say    string
	}{
		{"renamed", func(t *testing.T, path string) { must(t, os.Rename(path, path+".1")) }, "two\n", "one\n", "the file is gone"},
		{"removed", func(t *testing.T, path string) { must(t, os.Remove(path)) }, "two\n", "", "the file is gone"},
		{"renamed, and a new one made", func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".1"))
			appendTo(t, path, "a stranger's line that is longer")
		}, "a stranger's line that is longer\ntwo\n", "one\n", "another file has taken the place"},
		{"copied and emptied", func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) }, "two\n", "", "someone else cut the file"},
		{"appended to", func(t *testing.T, path string) { appendTo(t, path, "a note") }, "one\na note\ntwo\n", "", "someone else wrote to the file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			fx, _, err := openFixture(t, t.TempDir())
			must(t, err)
			fx.write(t, batch(1, "one"))
			test.happen(t, fx.path)
			fx.write(t, batch(2, "two"))
			if got := read(t, fx.path); got != test.want {
				t.Errorf("file holds %q, want %q", got, test.want)
			}
			if test.moved != "" {
				if got := read(t, fx.path+".1"); got != test.moved {
					t.Errorf("moved file holds %q, want %q", got, test.moved)
				}
			}
			if !strings.Contains(fx.logs.String(), test.say) {
				t.Errorf("log says %q, want %q", fx.logs, test.say)
			}
		})
	}
}

// TestBeforeTrawl is about files that were there before Trawl wrote any.
func TestBeforeTrawl(t *testing.T) {
	t.Parallel()
	for before, want := range map[string]string{
		"":                "one\n",
		"mine\n":          "mine\none\n",
		"mine, cut off":   "mine, cut off\none\n",
		"\n":              "\none\n",
		"mine\r\nand so ": "mine\r\nand so \none\n",
	} {
		dir := t.TempDir()
		appendTo(t, filepath.Join(dir, "events.ndjson"), before)
		fx, last, err := openFixture(t, dir)
		must(t, err)
		if last != 0 {
			t.Errorf("last page is %d, want 0", last)
		}
		// Killed in the middle of the first write of all.
		must(t, fx.Close())
		appendTo(t, fx.path, "one\nan")
		fx, _, err = openFixture(t, dir)
		must(t, err)
		fx.write(t, batch(1, "one"))
		if got := read(t, fx.path); got != want {
			t.Errorf("file that held %q holds %q, want %q", before, got, want)
		}
	}
}

func TestPathChanged(t *testing.T) {
	t.Parallel()
	t.Run("to a new file", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		fx, _, err := openFixture(t, dir)
		must(t, err)
		fx.write(t, batch(1, "one"))
		must(t, fx.Close())
		appendTo(t, fx.path, "two") // never acknowledged
		next, last, err := openFixture(t, dir, func(o *Options) { o.Path = filepath.Join(dir, "deep", "down", "other.ndjson") })
		must(t, err)
		if last != 1 {
			t.Errorf("last page is %d, want 1", last)
		}
		next.write(t, batch(2, "two"))
		if old, got := read(t, fx.path), read(t, next.path); old != "one\n" || got != "two\n" {
			t.Errorf("old file holds %q, new one %q", old, got)
		}
		for _, name := range []string{"deep", "deep/down", "state"} {
			info, err := os.Stat(filepath.Join(dir, name))
			must(t, err)
			if info.Mode().Perm() != 0o700 {
				t.Errorf("%s has mode %v", name, info.Mode())
			}
		}
		if !strings.Contains(next.logs.String(), "the path was changed") {
			t.Errorf("log says %q", next.logs)
		}
	})
	t.Run("with the file moved along", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		fx, _, err := openFixture(t, dir)
		must(t, err)
		fx.write(t, batch(1, "one"))
		must(t, fx.Close())
		appendTo(t, fx.path, "two")
		must(t, os.Rename(fx.path, fx.path+".moved"))
		next, _, err := openFixture(t, dir, func(o *Options) { o.Path += ".moved" })
		must(t, err)
		next.write(t, batch(2, "two"))
		if got := read(t, next.path); got != "one\ntwo\n" {
			t.Errorf("file holds %q", got)
		}
	})
	t.Run("by a symbolic link", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		must(t, os.Mkdir(filepath.Join(dir, "real"), 0o700))
		must(t, os.Symlink("real/data.ndjson", filepath.Join(dir, "events.ndjson")))
		small := func(o *Options) { o.Rotate.Size = 4 }
		fx, _, err := openFixture(t, dir, small)
		must(t, err)
		fx.write(t, batch(1, "one"))
		fx.write(t, batch(2, "two"))
		if got := read(t, filepath.Join(dir, "real", "data.ndjson")); got != "two\n" {
			t.Errorf("file holds %q", got)
		}
		finished, err := filepath.Glob(filepath.Join(dir, "real", "data-*-000001.ndjson"))
		if err != nil || len(finished) != 1 {
			t.Errorf("finished files: %q, %v", finished, err)
		}
	})
}

func TestOtherLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fx, _, err := openFixture(t, dir)
	must(t, err)
	fx.write(t, batch(7000, "one"))
	must(t, fx.Close())
	fx, last, err := openFixture(t, dir, func(o *Options) { o.Log = "log-2" })
	must(t, err)
	if last != 0 {
		t.Errorf("page %d of another log counts as written", last)
	}
	fx.write(t, batch(1, "two"))
	if got := read(t, fx.path); got != "one\ntwo\n" {
		t.Errorf("file holds %q", got)
	}
}

func TestLockedByAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fx, _, err := openFixture(t, dir)
	must(t, err)
	other, _, err := openFixture(t, dir, func(o *Options) { o.Dir = filepath.Join(dir, "state-2") })
	if !errors.Is(err, errLocked) {
		t.Fatalf("error is %v, want %v", err, errLocked)
	}
	must(t, fx.Close())
	if _, err := other.Open(t.Context()); err != nil {
		t.Errorf("after the first has closed: %v", err)
	}
}

func TestDamagedPosition(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fx, _, err := openFixture(t, dir)
	must(t, err)
	fx.write(t, batch(1, "one"))
	must(t, fx.Close())
	good := read(t, fx.state)
	appendTo(t, fx.path, "two\n")
	for name, content := range map[string]string{
		"empty":          "",
		"cut":            good[:len(good)-2],
		"one digit":      strings.Replace(good, `"offset":4`, `"offset":8`, 1),
		"zeros":          strings.Repeat("\x00", len(good)),
		"something else": `{"hello":"world"}`,
		"twice":          good + good,
	} {
		must(t, os.WriteFile(fx.state, []byte(content), 0o600))
		_, _, err := openFixture(t, dir)
		var damaged *DamagedError
		var permanent *PermanentError
		if !errors.As(err, &damaged) || !errors.As(err, &permanent) || damaged.File != fx.state {
			t.Fatalf("%s: error is %v", name, err)
		}
		if !strings.Contains(err.Error(), fx.state) || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: message is %q", name, err)
		}
		if got := read(t, fx.path); got != "one\ntwo\n" {
			t.Fatalf("%s: file holds %q", name, got)
		}
	}
	// As the message says.
	must(t, os.Remove(fx.state))
	fx, _, err = openFixture(t, dir)
	must(t, err)
	fx.write(t, batch(3, "three"))
	if got := read(t, fx.path); got != "one\ntwo\nthree\n" {
		t.Errorf("file holds %q", got)
	}
}

// TestFullDisk fills a real file system.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	for _, stateToo := range []bool{false, true} {
		t.Run(fmt.Sprintf("state on it too: %v", stateToo), func(t *testing.T) {
			small := t.TempDir()
			if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "none", small).CombinedOutput(); err != nil {
				t.Skipf("no file system mounted: %v: %s", err, out)
			}
			defer func() {
				if out, err := exec.Command("umount", small).CombinedOutput(); err != nil {
					t.Errorf("unmount: %v: %s", err, out)
				}
			}()
			state := small
			if !stateToo {
				state = t.TempDir()
			}
			filler := filepath.Join(small, "filler")
			must(t, os.WriteFile(filler, make([]byte, 100<<10), 0o600))
			fx, _, err := openFixture(t, small, func(o *Options) { o.Dir = state })
			must(t, err)
			defer func() { must(t, fx.Close()) }()
			line := strings.Repeat("x", 999)
			var seq uint64
			var full error
			for full == nil && seq < 1000 {
				if full = fx.Write(t.Context(), batch(seq+1, line, line, line)); full == nil {
					seq++
				}
			}
			if !errors.Is(full, syscall.ENOSPC) {
				t.Fatalf("after %d pages: %v", seq, full)
			}
			if got, want := len(read(t, fx.path)), int(seq)*3000; got != want {
				t.Errorf("the full file holds %d bytes, want %d", got, want)
			}
			if err := fx.Write(t.Context(), batch(seq+1, line, line, line)); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("second try: %v", err)
			}
			must(t, os.Remove(filler))
			fx.write(t, batch(seq+1, line, line, line))
			if got, want := len(read(t, fx.path)), int(seq+1)*3000; got != want {
				t.Errorf("the file holds %d bytes, want %d", got, want)
			}
		})
	}
}

func TestWriteCancelled(t *testing.T) {
	t.Parallel()
	fx, _, err := openFixture(t, t.TempDir())
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := fx.Write(ctx, batch(1, "one")); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	fx.write(t, batch(1, "one"))
	if got := read(t, fx.path); got != "one\n" {
		t.Errorf("file holds %q", got)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, opts := range map[string]Options{
		"unknown type":    {Name: "a", Type: "pigeon"},
		"no path":         {Name: "a", Type: "file"},
		"a directory":     {Name: "a", Type: "file", Path: dir},
		"bad compression": {Name: "a", Type: "file", Path: filepath.Join(dir, "x"), Compress: "lzma"},
		"bad name":        {Name: "../a", Type: "file", Path: filepath.Join(dir, "x")},
	} {
		if out, err := New(opts); err == nil {
			t.Errorf("%s: accepted as %T", name, out)
		}
	}
}
