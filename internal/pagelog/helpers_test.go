package pagelog

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("PAGELOG_CHILD"); dir != "" {
		appendForever(dir)
	}
	goleak.VerifyTestMain(m)
}

var audit = Feed{Connection: "wiz-prod", Source: "audit"}

// quiet keeps the server's warnings out of the test's output.
var quiet = slog.New(slog.DiscardHandler)

func open(t testing.TB, dir string) *Log {
	t.Helper()
	l, err := Open(t.Context(), Options{Dir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return l
}

// page makes a page of n records of about size bytes, its number in all of them.
func page(f Feed, lane Lane, number, n, size int) Page {
	at := time.Date(2026, 2, 6, 13, 0, number, 123456789, time.UTC)
	p := Page{
		Feed: f, Lane: lane,
		Position: fmt.Appendf(nil, `{"page":%d}`, number),
		Since:    at.Add(-time.Hour), Until: at, Fetched: at.Add(time.Second),
		FirstTime: at.Add(-time.Minute), LastTime: at.Add(-time.Second),
		Counts: Counts{Received: n + 3, Duplicates: 3, Late: 1},
	}
	for i := range n {
		r := record(number, i, size)
		h := fnv.New64a()
		h.Write(r)
		p.Records = append(p.Records, r)
		p.Hashes = append(p.Hashes, h.Sum64())
	}
	return p
}

// record looks like an audit record: most of it repeats, some of it does not.
func record(page, i, size int) []byte {
	h := fnv.New128a()
	fmt.Fprint(h, page, i)
	r := fmt.Appendf(nil, `{"id":"%x","number":%d,"timestamp":"2026-02-06T13:39:25.304840Z","action":"Login","status":"SUCCESS","requestId":"%x","parameters":{"a":"`,
		h.Sum(nil), i, h.Sum([]byte{1}))
	for len(r) < size-8 {
		r = fmt.Appendf(r, "user-%d@example.com Mozilla/5.0 (X11; Linux x86_64) %d ", (page*31+i)%97, len(r))
	}
	return append(r, `"}}`...)
}

// appendPages appends pages numbered from..to behind after and returns the last
// sequence.
func appendPages(t testing.TB, l *Log, f Feed, lane Lane, from, to int, after uint64) uint64 {
	t.Helper()
	last, err := l.lastOf(t.Context(), l.pages, lanes(f))
	if err != nil {
		t.Fatal(err)
	}
	newest := uint64(0)
	if last != nil {
		newest = last.Sequence
	}
	for i := from; i <= to; i++ {
		seq, err := l.Append(t.Context(), page(f, lane, i, 3, 100), after, newest)
		if err != nil {
			t.Fatalf("page %d: %v", i, err)
		}
		after, newest = seq, seq
	}
	return after
}

// samePage compares what is kept of a page.
func samePage(t testing.TB, got, want Page, headersOnly bool) {
	t.Helper()
	ignore := []string{"Seq", "Stored"}
	if headersOnly {
		ignore = append(ignore, "Records")
	}
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(Page{}, ignore...), cmp.Comparer(bytes.Equal)); d != "" {
		t.Errorf("page (-want +got):\n%s", d)
	}
}

func readAll(t testing.TB, r *Reader) []*Delivery {
	t.Helper()
	var all []*Delivery
	for {
		got, err := r.Next(t.Context(), 100, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			return all
		}
		all = append(all, got...)
	}
}

func seqs(ds []*Delivery) (s []uint64) {
	for _, d := range ds {
		s = append(s, d.Page.Seq)
	}
	return s
}

func headers(t testing.TB, l *Log, f Feed) (pages []Page) {
	t.Helper()
	err := l.Headers(t.Context(), f, func(p Page) error {
		pages = append(pages, p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

func openReader(t testing.TB, l *Log, name string) *Reader {
	t.Helper()
	r, err := l.Reader(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(context.Background()) })
	return r
}

// blocks lists the block files of a stream.
func blocks(t testing.TB, dir, stream string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, strings.ReplaceAll(streamsDir, "$", "\\$"), stream, "msgs", "*.blk"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no block files: %v", err)
	}
	return files
}

// newPart makes a part of a body.
func newPart(f Feed, lane Lane) *nats.Msg {
	m := nats.NewMsg(subject("parts", f, lane))
	m.Data = []byte("part")
	return m
}
