package output

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkFile writes batches of documents of the size that Wiz's audit
// records become, everything synced.
func BenchmarkFile(b *testing.B) {
	for _, size := range []int{500, 2000} { // documents a batch: one page, four pages
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			dir := b.TempDir()
			out, err := New(Options{Name: "bench", Type: "file", Path: filepath.Join(dir, "events.ndjson"), Dir: filepath.Join(dir, "state"), Rotate: Rotate{Size: 1 << 30}})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := out.Open(b.Context()); err != nil {
				b.Fatal(err)
			}
			lines := make([]string, size)
			for i := range lines {
				lines[i] = strings.Repeat("x", 2200)
			}
			data := batch(0, lines...)
			b.SetBytes(int64(len(data.Data)))
			b.ReportAllocs()
			for b.Loop() {
				data.Last++
				if err := out.Write(b.Context(), data); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(size)/b.Elapsed().Seconds(), "docs/s")
			if err := out.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
