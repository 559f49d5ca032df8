package pagelog

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// both runs a test on an embedded log and on one in a server of its own.
func both(t *testing.T, test func(t *testing.T, o Options)) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, Options{Dir: t.TempDir(), Logger: quiet})
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		test(t, Options{URL: runServer(t).ClientURL(), Logger: quiet})
	})
}

func openWith(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestFence(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		first := appendPages(t, l, audit, Live, 1, 1, 0)
		if _, err := l.Append(t.Context(), page(Feed{"wiz-prod", "issues"}, Live, 1, 1, 10), 0, 0); err != nil { // other feeds do not disturb
			t.Fatal(err)
		}
		push := page(audit, Push, 1, 1, 10)
		for _, newest := range []uint64{0, first + 1} {
			if _, err := l.Append(t.Context(), push, 0, newest); !errors.Is(err, ErrFenced) {
				t.Errorf("in another lane, without knowing of the first: %v", err)
			}
		}
		other, err := l.Append(t.Context(), push, 0, first)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(t.Context(), page(audit, Live, 2, 1, 10), first, first); !errors.Is(err, ErrFenced) {
			t.Errorf("without knowing of the other lane: %v", err)
		}
		second, err := l.Append(t.Context(), page(audit, Live, 2, 1, 10), first, other)
		if err != nil {
			t.Fatal(err)
		}
		for _, after := range []uint64{0, first, other, second + 1} {
			if _, err := l.Append(t.Context(), page(audit, Live, 3, 1, 10), after, after); !errors.Is(err, ErrFenced) {
				t.Errorf("behind %d: %v", after, err)
			}
		}
		if _, err := l.Append(t.Context(), page(audit, Live, 3, 1, 10), second, second); err != nil {
			t.Errorf("behind the last: %v", err)
		}
		if n := len(headers(t, l, audit)); n != 4 {
			t.Errorf("%d pages", n)
		}
	})
}

// TestFenceRace lets many writers start from the same place: one gets in.
func TestFenceRace(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		after := uint64(0)
		for round := range 5 {
			var wg sync.WaitGroup
			won := make(chan uint64, 8)
			for range 8 {
				wg.Go(func() {
					seq, err := l.Append(t.Context(), page(audit, Live, round, 2, 50), after, after)
					if err == nil {
						won <- seq
					} else if !errors.Is(err, ErrFenced) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if len(won) != 1 {
				t.Fatalf("%d writers got in", len(won))
			}
			after = <-won
		}
	})
}

func TestFeedsSideBySide(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		r := openReader(t, l, "r")
		var wg sync.WaitGroup
		for _, source := range []string{"a", "b", "c", "d"} {
			wg.Go(func() {
				after := uint64(0)
				for i := range 25 {
					seq, err := l.Append(t.Context(), page(Feed{"c", source}, Live, i, 2, 50), after, after)
					if err != nil {
						t.Error(err)
						return
					}
					after = seq
				}
			})
		}
		wg.Wait()
		got := seqs(readAll(t, r))
		if len(got) != 100 || !slices.IsSorted(got) {
			t.Errorf("%d pages: %v", len(got), got)
		}
	})
}

func TestFull(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		o.MaxBytes = 1 << 20
		l := openWith(t, o)
		r := openReader(t, l, "r")
		var after uint64
		var err error
		n := 0
		for ; err == nil && n < 1000; n++ {
			var seq uint64
			if seq, err = l.Append(t.Context(), noise(1, 50_000), after, after); err == nil {
				after = seq
			}
		}
		if !errors.Is(err, ErrFull) {
			t.Fatalf("after %d pages: %v", n, err)
		}
		full, err := l.Stats(t.Context())
		if err != nil || full.Bytes > o.MaxBytes || full.Bytes < o.MaxBytes*9/10 || full.MaxBytes != o.MaxBytes {
			t.Errorf("%+v, %v", full, err)
		}
		// A page in parts is refused too and leaves nothing behind.
		if _, err := l.Append(t.Context(), noise(1, 3<<20), after, after); !errors.Is(err, ErrFull) {
			t.Errorf("large page: %v", err)
		}
		if s, err := l.Stats(t.Context()); err != nil || s.Bytes != full.Bytes || s.Pages != full.Pages {
			t.Errorf("%+v, was %+v, %v", s, full, err)
		}
		// State does not need the room.
		if _, err := l.PutState(t.Context(), "k", []byte("v"), 0); err != nil {
			t.Error(err)
		}
		// What is read and acknowledged makes room.
		ds := readAll(t, r)
		if len(ds) != n-1 {
			t.Errorf("%d of %d pages", len(ds), n-1)
		}
		if err := ds[len(ds)-1].Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.Trim(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(t.Context(), noise(1, 50_000), after, after); err != nil {
			t.Error(err)
		}
	})
}

// noise makes a page of records that do not compress.
func noise(n, size int) Page {
	p := page(audit, Live, 1, n, 10)
	for i := range p.Records {
		b := make([]byte, size)
		r := rand.NewChaCha8([32]byte{byte(i)})
		r.Read(b)
		p.Records[i] = b
	}
	return p
}

func TestLimitChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Dir: dir, Logger: quiet}
	l := openWith(t, o)
	after, err := l.Append(t.Context(), noise(1, 900_000), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	// A limit below what is there deletes nothing and lets nothing in.
	o.MaxBytes = 500_000
	l = openWith(t, o)
	if n := len(headers(t, l, audit)); n != 1 {
		t.Fatalf("%d pages", n)
	}
	if _, err := l.Append(t.Context(), noise(1, 1000), after, after); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	l.Close()
	o.MaxBytes = 2_000_000
	l = openWith(t, o)
	if _, err := l.Append(t.Context(), noise(1, 1000), after, after); err != nil {
		t.Errorf("%v", err)
	}
}

func TestHugePages(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		tail := openReader(t, l, "tail")
		pages := []Page{noise(1, 20<<20), page(audit, Live, 2, 3, 100), noise(30, 200_000), page(audit, Live, 4, 1, 8<<20)}
		var after uint64
		for i, p := range pages {
			seq, err := l.Append(t.Context(), p, after, after)
			if err != nil {
				t.Fatalf("page %d: %v", i, err)
			}
			after = seq
		}
		check := func(r *Reader) {
			t.Helper()
			for i, want := range pages {
				got, err := r.Next(t.Context(), 1, 0)
				if err != nil || len(got) != 1 {
					t.Fatalf("page %d: %d, %v", i, len(got), err)
				}
				if !slices.EqualFunc(got[0].Page.Records, want.Records, bytes.Equal) {
					t.Errorf("page %d is another", i)
				}
			}
			if more, err := r.Next(t.Context(), 1, 0); len(more) != 0 || err != nil {
				t.Errorf("%d more, %v", len(more), err)
			}
			if n, _, err := r.Pending(t.Context()); n != len(pages) || err != nil {
				t.Errorf("%d pending, %v", n, err)
			}
		}
		check(tail)
		if n := len(headers(t, l, audit)); n != len(pages) {
			t.Errorf("%d headers", n)
		}
		if s, err := l.Stats(t.Context()); err != nil || s.Pages != len(pages) {
			t.Errorf("%+v, %v", s, err)
		}
		if err := l.verifyPages(t.Context(), 0); err != nil {
			t.Error(err)
		}
		l.Close()
		l = openWith(t, o)
		check(openReader(t, l, "late"))
	})
}

func TestCancelledBefore(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Append(ctx, page(audit, Live, 1, 1, 10), 0, 0); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnknown) {
			t.Errorf("%v", err)
		}
		if s, err := l.Stats(t.Context()); err != nil || s.LastSeq != 0 {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// TestDiskNearlyFull keeps a reserve: pages and large entries are refused,
// positions and leases are not.
func TestDiskNearlyFull(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	after := appendPages(t, l, audit, Live, 1, 1, 0)
	l.free = func(string) (uint64, error) { return diskReserve + 10, nil }
	if _, err := l.Append(t.Context(), page(audit, Live, 2, 1, 10), after, after); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	if _, err := l.PutState(t.Context(), "k", nil, 0); err != nil {
		t.Error(err)
	}
	if _, err := l.PutState(t.Context(), "large", make([]byte, smallState+1), 0); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	l.free = freeSpace
	if _, err := l.PutState(t.Context(), "large", make([]byte, MaxState), 0); err != nil {
		t.Error(err)
	}
	if _, err := l.PutState(t.Context(), "larger", make([]byte, MaxState+1), 0); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
	appendPages(t, l, audit, Live, 2, 2, after)
}

// TestDiskFails has the server report a failed write, as it does once before it
// falls silent.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	after := appendPages(t, l, audit, Live, 1, 1, 0)
	l.out.Errorf("some trouble: %v", &fs.PathError{Op: "open", Err: syscall.ENOENT})
	after = appendPages(t, l, audit, Live, 2, 2, after)
	l.out.Errorf("critical %s: %v", "error", &fs.PathError{Op: "write", Path: "1.blk", Err: syscall.ENOSPC})
	if _, err := l.Append(t.Context(), page(audit, Live, 3, 1, 10), after, after); !errors.Is(err, ErrBroken) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	if _, err := l.PutState(t.Context(), "k", nil, 0); !errors.Is(err, ErrBroken) {
		t.Errorf("%v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	st, err := openStore(dir, 0, quiet)
	if err != nil || st.Closed != nil {
		t.Errorf("called a clean stop: %+v, %v", st, err)
	}
	appendPages(t, open(t, dir), audit, Live, 3, 3, after)
}
