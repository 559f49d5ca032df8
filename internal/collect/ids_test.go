package collect

import (
	"math/rand/v2"
	"testing"
)

func TestIDs(t *testing.T) {
	t.Parallel()
	for name, hash := range map[string]func(i uint64) uint64{
		"random":       func(uint64) uint64 { return rand.Uint64() },
		"counted":      func(i uint64) uint64 { return i },
		"one part":     func(i uint64) uint64 { return i << 40 },
		"near the top": func(i uint64) uint64 { return ^i },
		"repeated":     func(i uint64) uint64 { return i % 100 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s ids
			want := map[uint64]bool{}
			for i := range uint64(20_000) {
				h := hash(i)
				if s.has(h) != want[h] || s.add(h) == want[h] || !s.has(h) {
					t.Fatalf("hash %x: was in the set: %t", h, want[h])
				}
				want[h] = true
			}
			for h := range want {
				if !s.has(h) {
					t.Fatalf("hash %x is gone", h)
				}
			}
			for i := range uint64(20_000) {
				if h := i * 0x9e3779b97f4a7c15; s.has(h) != want[h] {
					t.Fatalf("hash %x is in the set: %t", h, !want[h])
				}
			}
		})
	}
}

func BenchmarkIDs(b *testing.B) {
	for b.Loop() {
		var s ids
		x := uint64(1)
		for range 1_000_000 {
			x = x*6364136223846793005 + 1442695040888963407
			s.add(x)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e6, "ns/id")
}
