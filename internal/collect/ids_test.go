package collect

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
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

// TestIDsAreForgotten: a feed that runs for long remembers no more than its log.
func TestIDsAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, log := &tenant{}, newMemoryLog()
		f := open(t, api, log, func(o *Options) { o.MaxAge = 48 * time.Hour })
		for day := range 10 {
			api.add(spread(fmt.Sprint("day ", day, " "), 100, time.Now(), 40*time.Minute)...)
			if err := f.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(24 * time.Hour)
			log.trim(time.Now().Add(-48 * time.Hour))
		}
		wantAll(t, api, log)
		n := 0
		for i := range f.known.parts {
			n += f.known.parts[i].taken
		}
		if n < 100 || n > 300 {
			t.Errorf("%d of 1000 ids are remembered; the log has pages with 100 to 300", n)
		}
	})
}

// BenchmarkIDs reports what the ids of a day of ten million records take.
func BenchmarkIDs(b *testing.B) {
	const n = 10_000_000
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		var s ids
		x := uint64(1)
		for range n {
			x = x*6364136223846793005 + 1442695040888963407
			s.add(x)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(&s)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/id")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/id")
}
