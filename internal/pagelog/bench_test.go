package pagelog

import (
	"testing"
	"time"
)

// BenchmarkAppend commits pages of 500 records of 800 bytes, each synced to disk
// before the next.
func BenchmarkAppend(b *testing.B) {
	l := open(b, b.TempDir())
	p := page(audit, Live, 1, 500, 800)
	b.SetBytes(int64(p.bodySize()))
	var after uint64
	for b.Loop() {
		seq, err := l.Append(b.Context(), p, after, after)
		if err != nil {
			b.Fatal(err)
		}
		after = seq
	}
	perSecond := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(perSecond, "pages/s")
	b.ReportMetric(perSecond*500, "records/s")
}

// BenchmarkHeaders reads the headers of 2,000 such pages, as a start does.
func BenchmarkHeaders(b *testing.B) {
	l := open(b, b.TempDir())
	p := page(audit, Live, 1, 500, 800)
	var after uint64
	for range 2000 {
		seq, err := l.Append(b.Context(), p, after, after)
		if err != nil {
			b.Fatal(err)
		}
		after = seq
	}
	for b.Loop() {
		n := 0
		err := l.Headers(b.Context(), audit, func(Page) error { n++; return nil })
		if err != nil || n != 2000 {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkRead reads 500 such pages whole.
func BenchmarkRead(b *testing.B) {
	l := open(b, b.TempDir())
	p := page(audit, Live, 1, 500, 800)
	var after uint64
	for range 500 {
		seq, err := l.Append(b.Context(), p, after, after)
		if err != nil {
			b.Fatal(err)
		}
		after = seq
	}
	r := openReader(b, l, "r")
	b.SetBytes(int64(500 * p.bodySize()))
	for b.Loop() {
		if err := r.SeekTime(b.Context(), time.Time{}); err != nil {
			b.Fatal(err)
		}
		if n := len(readAll(b, r)); n != 500 {
			b.Fatal(n)
		}
	}
}

func BenchmarkBody(b *testing.B) {
	p := page(audit, Live, 1, 500, 800)
	body := p.appendBody(nil)
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(p.bodySize()))
		b.ReportMetric(float64(len(body))/float64(p.bodySize()), "ratio")
		var buf []byte
		for b.Loop() {
			buf = p.appendBody(buf[:0])
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(p.bodySize()))
		for b.Loop() {
			s := stored{Page: Page{Hashes: p.Hashes}, size: p.bodySize()}
			if err := s.readBody(body); err != nil {
				b.Fatal(err)
			}
		}
	})
}
