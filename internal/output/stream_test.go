package output

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// pipe is a stream to the write end of a pipe that stands for standard output.
func pipe(t *testing.T) (Output, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	out := &stream{name: "screen", std: w}
	t.Cleanup(func() {
		must(t, out.Close())
		_ = w.Close()
		_ = r.Close()
	})
	place, err := out.Open(t.Context())
	must(t, err)
	if place != (Place{}) {
		t.Errorf("place is %+v", place)
	}
	return out, r
}

func TestStream(t *testing.T) {
	t.Parallel()
	out, r := pipe(t)
	must(t, out.Write(t.Context(), batch(1, "one", "two")))
	must(t, out.Write(t.Context(), batch(2)))
	must(t, out.Write(t.Context(), batch(3, "three")))
	lines := bufio.NewScanner(r)
	for _, want := range []string{"one", "two", "three"} {
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("read %q, want %q", lines.Text(), want)
		}
	}
}

// TestStreamClosed also shows that no SIGPIPE ends the process.
func TestStreamClosed(t *testing.T) {
	t.Parallel()
	out, r := pipe(t)
	must(t, r.Close())
	err := out.Write(t.Context(), batch(1, "one"))
	var permanent *PermanentError
	if !errors.As(err, &permanent) || !errors.Is(err, syscall.EPIPE) || !strings.Contains(err.Error(), "has closed it") {
		t.Errorf("error is %v", err)
	}
}

// TestStreamStuck is about a reader that stopped reading.
func TestStreamStuck(t *testing.T) {
	t.Parallel()
	out, r := pipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan error)
	go func() { written <- out.Write(ctx, batch(1, strings.Repeat("x", 1<<20))) }()
	if _, err := r.Read(make([]byte, 1)); err != nil { // it has begun
		t.Fatal(err)
	}
	cancel()
	if err := <-written; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

func TestNamedPipe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(path, 0o600))
	out, err := New(Options{Name: "pipe", Type: "file", Path: path, Dir: t.TempDir()})
	must(t, err)
	defer func() { must(t, out.Close()) }()
	if _, err := out.Open(t.Context()); !errors.Is(err, syscall.ENXIO) {
		t.Fatalf("without a reader: %v", err)
	}
	for _, line := range []string{"one", "two"} {
		r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		must(t, err)
		must(t, out.Write(t.Context(), batch(1, line)))
		if got, err := bufio.NewReader(r).ReadString('\n'); err != nil || got != line+"\n" {
			t.Errorf("read %q, %v", got, err)
		}
		must(t, r.Close())
		// The next reader is waited for.
		var permanent *PermanentError
		if err := out.Write(t.Context(), batch(2, "lost")); err == nil || errors.As(err, &permanent) {
			t.Errorf("without a reader: %v", err)
		}
	}
}

func TestDevices(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]error{"/dev/null": nil, "/dev/full": syscall.ENOSPC} {
		out, err := New(Options{Name: "device", Type: "file", Path: path, Dir: t.TempDir()})
		must(t, err)
		if _, err := out.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := out.Write(t.Context(), batch(1, "one")); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
		must(t, out.Close())
	}
}

func TestStandardOutput(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"-", "/dev/stdout", "/dev/stderr"} {
		out, err := New(Options{Name: "screen", Type: "file", Path: path})
		must(t, err)
		if s, ok := out.(*stream); !ok || s.std == nil {
			t.Errorf("%s is %T", path, out)
		}
		if _, err := out.Open(t.Context()); err != nil {
			t.Error(err)
		}
		must(t, out.Close())
		must(t, out.Close())
	}
}
