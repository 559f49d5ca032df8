package pagelog

import (
	"math"
	"testing"
	"time"
)

// TestSpan: what was put in the log in a stretch of time.
func TestSpan(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	other := Feed{Connection: "wiz-prod", Source: "issues"}
	last := appendPages(t, l, audit, Live, 1, 4, 0)
	appendPages(t, l, other, Live, 1, 2, 0)
	appendPages(t, l, audit, Backfill, 1, 1, 0)
	appendPages(t, l, audit, Live, 5, 6, last)
	var at []time.Time // by sequence
	c := &cursor{l: l, headers: true}
	if err := c.each(t.Context(), math.MaxUint64, func(m message) error {
		meta, err := m.Metadata()
		at = append(at, meta.Timestamp)
		return err
	}); err != nil || len(at) != 9 {
		t.Fatalf("%d pages, %v", len(at), err)
	}
	all := uint64(math.MaxUint64)
	for _, c := range []struct {
		since, until time.Time
		most         uint64
		feed         Feed
		want         Span
	}{
		{time.Time{}, time.Time{}, all, Feed{}, Span{Through: all, Pages: 9, Records: 27}},
		{at[2], at[7], all, Feed{}, Span{After: 2, Through: 7, Pages: 5, Records: 15}},
		{at[2], at[7], 6, Feed{}, Span{After: 2, Through: 6, Pages: 4, Records: 12}},
		{at[2], at[7], all, audit, Span{After: 2, Through: 7, Pages: 3, Records: 9}},
		{at[2], at[7], all, other, Span{After: 2, Through: 7, Pages: 2, Records: 6}},
		{at[2], at[2], all, Feed{}, Span{After: 2, Through: 2}},
		{at[5], at[2], all, Feed{}, Span{After: 5, Through: 5}},
		{at[5], time.Time{}, 3, Feed{}, Span{After: 5, Through: 5}},
		{at[8].Add(time.Hour), time.Time{}, all, Feed{}, Span{After: 9, Through: all}},
	} {
		got, err := l.Span(t.Context(), c.since, c.until, c.most, c.feed)
		if err != nil || (got.Pages > 0) == got.First.IsZero() || got.First.After(got.Last) {
			t.Errorf("%+v: %+v, %v", c, got, err)
		}
		got.First, got.Last = time.Time{}, time.Time{}
		if got != c.want {
			t.Errorf("%s to %s: %+v, want %+v", c.since, c.until, got, c.want)
		}
	}
}

// TestPageBySequence: pages that are still in memory, that are on disk only,
// that are kept in parts, and what is no page.
func TestPageBySequence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	want := map[uint64]Page{}
	var after uint64
	for i := 1; i <= 5; i++ {
		p := page(audit, Live, i, 3, 100)
		if i == 3 {
			l.partSize = 200
			p = page(audit, Live, i, 30, 1000)
		} else {
			l.partSize = maxPart
		}
		seq, err := l.Append(t.Context(), p, after, after)
		if err != nil {
			t.Fatal(err)
		}
		want[seq], after = p, seq
	}
	for range 2 {
		for seq := range after + 2 {
			got, ok, err := l.Page(t.Context(), seq)
			p, is := want[seq]
			if err != nil || ok != is {
				t.Fatalf("page %d: %t, %v", seq, ok, err)
			}
			if ok {
				if got.Seq != seq || got.Stored.IsZero() {
					t.Errorf("page %d has sequence %d, stored at %s", seq, got.Seq, got.Stored)
				}
				samePage(t, got, p, false)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir)
	}
}

// TestPageInMemoryCompressed: the records of a page that is kept only
// compressed.
func TestPageInMemoryCompressed(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	appendPages(t, l, audit, Live, 1, 2, 0)
	l.tail.pages[0].Records = nil
	for seq := uint64(1); seq <= 2; seq++ {
		got, ok, err := l.Page(t.Context(), seq)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		samePage(t, got, page(audit, Live, int(seq), 3, 100), false)
	}
}
