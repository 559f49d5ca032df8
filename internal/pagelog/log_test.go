package pagelog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPageComesBackAsItWas(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "log")
	l := open(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info, err)
	}
	if _, ok, err := l.Last(t.Context(), audit, Live); ok || err != nil {
		t.Fatalf("last page of an empty log: %v, %v", ok, err)
	}
	before := time.Now()
	want := page(audit, Live, 1, 500, 800)
	seq, err := l.Append(t.Context(), want, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if seq != 1 {
		t.Errorf("first sequence is %d", seq)
	}

	last, ok, err := l.Last(t.Context(), audit, Live)
	if err != nil || !ok {
		t.Fatalf("last page: %v, %v", ok, err)
	}
	samePage(t, last, want, true)
	hs := headers(t, l, audit)
	if len(hs) != 1 {
		t.Fatalf("%d headers", len(hs))
	}
	samePage(t, hs[0], want, true)
	ds := readAll(t, openReader(t, l, "archive"))
	if len(ds) != 1 {
		t.Fatalf("%d pages", len(ds))
	}
	got := ds[0].Page
	samePage(t, got, want, false)
	if got.Seq != seq || got.Stored.Before(before.Add(-time.Second)) || got.Stored.After(time.Now().Add(time.Second)) {
		t.Errorf("sequence %d stored %s", got.Seq, got.Stored)
	}
}

func TestCloseTwiceAndAfter(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	r := openReader(t, l, "r")
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Append(t.Context(), page(audit, Live, 1, 1, 10), 0, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if _, err := l.PutState(t.Context(), "k", nil, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("put state: %v", err)
	}
	if _, err := r.Next(t.Context(), 1, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("next: %v", err)
	}
	if _, _, err := l.Last(t.Context(), audit, Live); !errors.Is(err, ErrClosed) {
		t.Errorf("last: %v", err)
	}
	if _, err := l.Lease(t.Context(), "x", time.Minute); !errors.Is(err, ErrClosed) {
		t.Errorf("lease: %v", err)
	}
}

func TestOneProcessADirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	_, err := Open(t.Context(), Options{Dir: dir, Logger: quiet})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "process ") {
		t.Fatalf("second open: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestURLErrorHidesPassword(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"nats://user:hunter2@127.0.0.1:1", "nats://user:hunter2@host:port", "nats://user:hunter2@[::1", "nats://hunter2@%zz"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := Open(ctx, Options{URL: u, Logger: quiet})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}
