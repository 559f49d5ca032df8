package pagelog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func numbered(ds []*Delivery) (n []string) {
	for _, d := range ds {
		n = append(n, string(d.Page.Position))
	}
	return n
}

func wantNumbers(t testing.TB, ds []*Delivery, from, to int) {
	t.Helper()
	var want []string
	for i := from; i <= to; i++ {
		want = append(want, fmt.Sprintf(`{"page":%d}`, i))
	}
	if got := numbered(ds); !slices.Equal(got, want) {
		t.Errorf("pages %v, want %d..%d", got, from, to)
	}
}

// TestOrderAfterCrash reads without acknowledging all: opened anew, the reader
// begins behind what it acknowledged, in order.
func TestOrderAfterCrash(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		appendPages(t, l, audit, Live, 1, 20, 0)
		r := openReader(t, l, "a/b.c")
		ds := readAll(t, r)
		wantNumbers(t, ds, 1, 20)
		if more, err := r.Next(t.Context(), 10, 0); len(more) != 0 || err != nil {
			t.Errorf("%d pages twice, %v", len(more), err)
		}
		if err := ds[11].Ack(t.Context()); err != nil { // 1 to 12 are done
			t.Fatal(err)
		}
		if err := ds[3].Ack(t.Context()); err != nil { // and stay so
			t.Fatal(err)
		}
		if n, done, err := r.Pending(t.Context()); n != 8 || done != 12 || err != nil {
			t.Errorf("%d pending behind %d, %v", n, done, err)
		}

		// Opened beside it, in this process.
		wantNumbers(t, readAll(t, openReader(t, l, "a/b.c")), 13, 20)
		// And in the next.
		l.Close()
		l = openWith(t, o)
		r = openReader(t, l, "a/b.c")
		wantNumbers(t, readAll(t, r), 13, 20)
		wantNumbers(t, readAll(t, openReader(t, l, "another")), 1, 20)
		if names, err := l.Readers(t.Context()); err != nil || !slices.Equal(names, []string{"a/b.c", "another"}) {
			t.Errorf("%q, %v", names, err)
		}
		if err := l.DeleteReader(t.Context(), "a/b.c"); err != nil {
			t.Fatal(err)
		}
		wantNumbers(t, readAll(t, openReader(t, l, "a/b.c")), 1, 20)
	})
}

func TestAckOnlyWhatCame(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		appendPages(t, l, audit, Live, 1, 5, 0)
		r := openReader(t, l, "r")
		ds, err := r.Next(t.Context(), 2, 0)
		if err != nil || len(ds) != 2 {
			t.Fatal(len(ds), err)
		}
		if err := r.Ack(t.Context(), 3); err == nil {
			t.Error("page 3 was acknowledged unseen")
		}
		// Somebody else reads under the same name, from another process.
		other := openReader(t, l, "r")
		other.l = openOther(t, o, l)
		ds2, err := other.Next(t.Context(), 1, 0)
		if err != nil || len(ds2) != 1 {
			t.Fatal(len(ds2), err)
		}
		if err := ds2[0].Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := ds[1].Ack(t.Context()); !errors.Is(err, ErrConflict) {
			t.Errorf("%v", err)
		}
	})
}

// openOther opens the log as another process would; the embedded one, which
// only one process can open, is made to look so.
func openOther(t *testing.T, o Options, l *Log) *Log {
	if o.URL != "" {
		return openWith(t, o)
	}
	return &Log{
		js: l.js, nc: l.nc, pages: l.pages, state: l.state, logger: l.logger, path: l.path, instance: "other",
		partSize: l.partSize, timeout: l.timeout, limit: l.limit, srv: l.srv, tail: l.tail, done: l.done,
		leases: map[*Lease]struct{}{},
	}
}

func TestNextWaits(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		r := openReader(t, l, "r")
		if ds, err := r.Next(t.Context(), 1, 20*time.Millisecond); len(ds) != 0 || err != nil {
			t.Fatal(len(ds), err)
		}
		type result struct {
			ds  []*Delivery
			err error
		}
		got := make(chan result)
		for i := 1; i <= 5; i++ {
			go func() {
				ds, err := r.Next(t.Context(), 10, time.Minute)
				got <- result{ds, err}
			}()
			appendPages(t, l, audit, Live, i, i, uint64(i-1))
			res := <-got
			if res.err != nil {
				t.Fatal(res.err)
			}
			wantNumbers(t, res.ds, i, i)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			ds, err := r.Next(ctx, 10, time.Minute)
			got <- result{ds, err}
		}()
		cancel()
		if res := <-got; len(res.ds) != 0 || !errors.Is(res.err, context.Canceled) {
			t.Error(len(res.ds), res.err)
		}
		if o.URL == "" { // closing ends a wait
			go func() {
				ds, err := r.Next(t.Context(), 10, time.Minute)
				got <- result{ds, err}
			}()
			l.Close()
			if res := <-got; !errors.Is(res.err, ErrClosed) {
				t.Error(len(res.ds), res.err)
			}
		}
	})
}

// TestReaderFarBehind lets a reader fall out of what is kept in memory and
// catch up again, while pages go on coming.
func TestReaderFarBehind(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		near, far := openReader(t, l, "near"), openReader(t, l, "far")
		var after uint64
		var got []*Delivery
		const n = 60
		for i := range n {
			p := noise(3, 200_000)
			if i%17 == 5 {
				p = noise(1, 2<<20) // in parts
			}
			p.Position = fmt.Appendf(nil, `{"page":%d}`, i+1)
			seq, err := l.Append(t.Context(), p, after, after)
			if err != nil {
				t.Fatal(err)
			}
			after = seq
			ds, err := near.Next(t.Context(), 1, time.Minute)
			if err != nil || len(ds) != 1 {
				t.Fatal(len(ds), err)
			}
			wantNumbers(t, ds, i+1, i+1)
			if i%10 == 9 {
				for len(got) < i-5 {
					ds, err := far.Next(t.Context(), 4, 0)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, ds...)
				}
			}
		}
		got = append(got, readAll(t, far)...)
		wantNumbers(t, got, 1, n)
		for _, d := range got {
			if len(d.Page.Records) != len(d.Page.Hashes) || len(d.Page.Records[0]) < 200_000 {
				t.Fatalf("page %d lost its records", d.Page.Seq)
			}
		}
		if l.tail != nil && (l.tail.size > tailSize || l.tail.raw > tailRaw+3*200_000) {
			t.Errorf("%d bytes kept, %d of records", l.tail.size, l.tail.raw)
		}
	})
}

func TestNextIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		var after uint64
		for i := range 6 {
			p := page(audit, Live, i+1, 1, 3<<20)
			seq, err := l.Append(t.Context(), p, after, after)
			if err != nil {
				t.Fatal(err)
			}
			after = seq
		}
		r := openReader(t, l, "r")
		var sizes []int
		for {
			ds, err := r.Next(t.Context(), 100, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(ds) == 0 {
				break
			}
			sizes = append(sizes, len(ds))
		}
		if !slices.Equal(sizes, []int{2, 2, 2}) {
			t.Errorf("%v", sizes)
		}
	})
}

func TestSeekTime(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		r := openReader(t, l, "r")
		if err := r.SeekTime(t.Context(), time.Now()); err != nil { // an empty log
			t.Fatal(err)
		}
		last := appendPages(t, l, audit, Live, 1, 10, 0)
		ds := readAll(t, r)
		wantNumbers(t, ds, 1, 10)
		if err := ds[9].Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		stored := func(i int) time.Time { // on the server's clock
			msg, err := l.getMsg(t.Context(), ds[i-1].Page.Seq)
			if err != nil {
				t.Fatal(err)
			}
			return msg.Time
		}
		for i := 1; i <= 10; i++ {
			if err := r.SeekTime(t.Context(), stored(i)); err != nil {
				t.Fatal(err)
			}
			if n, _, err := r.Pending(t.Context()); n != 11-i || err != nil {
				t.Errorf("%d pending at %d, %v", n, i, err)
			}
			wantNumbers(t, readAll(t, r), i, 10)
		}
		if err := r.SeekTime(t.Context(), stored(4).Add(1)); err != nil {
			t.Fatal(err)
		}
		wantNumbers(t, readAll(t, r), 5, 10)
		if err := r.SeekTime(t.Context(), stored(10).Add(1)); err != nil { // past the end
			t.Fatal(err)
		}
		appendPages(t, l, audit, Live, 11, 11, last)
		wantNumbers(t, readAll(t, r), 11, 11)
		if err := r.SeekTime(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		if err := r.Ack(t.Context(), 3); err == nil {
			t.Error("acknowledged what is to be read again")
		}
		l.Close()
		l = openWith(t, o) // the move is kept
		wantNumbers(t, readAll(t, openReader(t, l, "r")), 1, 11)
	})
}

func TestHeadersOfOneFeed(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		odd := []Feed{{"a.b", "c"}, {"a", "b.c"}, {"*", ">"}, {"a b", "ü"}, {"a=2Eb", "c"}, {"a", "B.c"}}
		for i, f := range odd {
			appendPages(t, l, f, Live, i, i, 0)
			appendPages(t, l, f, Revisit, 100+i, 100+i, 0)
		}
		for i, f := range odd {
			got := headers(t, l, f)
			if len(got) != 2 || got[0].Feed != f || got[0].Lane != Live || got[1].Lane != Revisit ||
				string(got[0].Position) != fmt.Sprintf(`{"page":%d}`, i) {
				t.Errorf("%v: %+v", f, got)
			}
			var whole []Page
			if err := l.Pages(t.Context(), f, 0, func(p Page) error { whole = append(whole, p); return nil }); err != nil || len(whole) != 2 {
				t.Fatalf("%v: %d pages, %v", f, len(whole), err)
			}
			samePage(t, whole[0], page(f, Live, i, 3, 100), false)
			var behind []Page
			if err := l.Pages(t.Context(), f, whole[0].Seq, func(p Page) error { behind = append(behind, p); return nil }); err != nil || len(behind) != 1 {
				t.Fatalf("%v: %d pages behind the first, %v", f, len(behind), err)
			}
			samePage(t, behind[0], page(f, Revisit, 100+i, 3, 100), false)
			if last, ok, err := l.Last(t.Context(), f, Revisit); !ok || err != nil || last.Feed != f {
				t.Errorf("%v: %+v, %v, %v", f, last, ok, err)
			}
		}
		if got := headers(t, l, Feed{"a", "none"}); len(got) != 0 {
			t.Errorf("%+v", got)
		}
		stop := errors.New("stop")
		n := 0
		if err := l.Headers(t.Context(), odd[0], func(Page) error { n++; return stop }); err != stop || n != 1 {
			t.Errorf("%d, %v", n, err)
		}
		if err := l.Pages(t.Context(), odd[0], 0, func(Page) error { n++; return stop }); err != stop || n != 2 {
			t.Errorf("%d, %v", n, err)
		}
	})
}

// TestPagesCancelled: who is asked to stop does not read a long log to its end.
func TestPagesCancelled(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		appendPages(t, l, audit, Live, 1, 4*aheadMessages, 0)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		err := l.Pages(ctx, audit, 0, func(Page) error { n++; cancel(); return nil })
		if !errors.Is(err, context.Canceled) || n > aheadMessages {
			t.Errorf("%d pages, %v", n, err)
		}
	})
}

// TestPagesInParts: a page that was cut comes whole.
func TestPagesInParts(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		large := noise(40, 100_000)
		if _, err := l.Append(t.Context(), large, 0, 0); err != nil {
			t.Fatal(err)
		}
		n := 0
		err := l.Pages(t.Context(), audit, 0, func(p Page) error {
			n++
			samePage(t, p, large, false)
			return nil
		})
		if n != 1 || err != nil {
			t.Errorf("%d pages, %v", n, err)
		}
	})
}
