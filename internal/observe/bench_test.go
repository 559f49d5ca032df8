package observe

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	catalogfiles "github.com/trawlsec/trawl/catalog"
	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// BenchmarkObserving measures what observing adds to mapping: a page of a
// source's samples is mapped with it and without, by turns, so that both suffer
// alike from what else the machine does. Of all turns it reports what the fastest
// tenth took at most, and the difference, for a record.
func BenchmarkObserving(b *testing.B) {
	c, err := catalog.Load(catalogfiles.FS)
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"appomni/audit", "box/events", "okta/system_log", "wiz/audit"} {
		b.Run(name, func(b *testing.B) {
			src, err := c.Source(name)
			if err != nil {
				b.Fatal(err)
			}
			plain, err := ecs.Compile(src)
			if err != nil {
				b.Fatal(err)
			}
			sighted, err := ecs.Compile(src, ecs.WithSight())
			if err != nil {
				b.Fatal(err)
			}
			o := New(Options{Source: func(pagelog.Feed) (*catalog.Source, error) { return src, nil }})
			d := &pagelog.Delivery{Page: pagelog.Page{Records: pageOf(b, src), Fetched: time.Now()}}
			f := newFeed("bench", src.ID)
			var sight ecs.Sight
			dst := make([]byte, 0, 1<<20)
			run := func(observing bool) float64 {
				began := time.Now()
				m, t, s := plain, (*Tally)(nil), (*ecs.Sight)(nil)
				if observing {
					m, t, s = sighted, o.Show(d), &sight
				}
				for _, record := range d.Page.Records {
					dst = m.AppendSight(dst[:0], record, ecs.Meta{Connection: "bench"}, s)
					if observing {
						t.Add(s)
					}
				}
				if observing {
					f.merge(t)
					t.release()
				}
				return float64(time.Since(began).Nanoseconds()) / float64(len(d.Page.Records))
			}
			var with, without []float64
			for b.Loop() {
				with, without = append(with, run(true)), append(without, run(false))
			}
			slices.Sort(with)
			slices.Sort(without)
			w, wo := with[len(with)/10], without[len(without)/10]
			b.ReportMetric(w, "ns/observed")
			b.ReportMetric(wo, "ns/mapped")
			b.ReportMetric(w-wo, "ns/record")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// pageOf is a page of 500 records: the samples of a source, as often as needed.
func pageOf(b *testing.B, s *catalog.Source) (records [][]byte) {
	dir := filepath.Join("..", "..", "catalog", s.Product.ID, "testdata", s.ID)
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		b.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, ".expected.json") })
	if len(names) == 0 {
		b.Fatal(fmt.Errorf("no samples in %s", dir))
	}
	for i := range 500 {
		record, err := os.ReadFile(names[i%len(names)])
		if err != nil {
			b.Fatal(err)
		}
		records = append(records, record)
	}
	return records
}
