package deliver

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	catalogfiles "github.com/trawlsec/trawl/catalog"
	"github.com/trawlsec/trawl/internal/output"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// endless is a log whose pages all have the same records.
type endless struct {
	*fakeLog
	page pagelog.Page
	most uint64
	seq  uint64
}

func (l *endless) Next(ctx context.Context, limit int, wait time.Duration) ([]*pagelog.Delivery, error) {
	var out []*pagelog.Delivery
	for len(out) < limit && l.seq < l.most {
		l.seq++
		d := &pagelog.Delivery{Page: l.page}
		d.Page.Seq = l.seq
		out = append(out, d)
	}
	if out == nil {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return out, nil
}

func (l *endless) Ack(_ context.Context, seq uint64) error { return nil }

// samples are the catalogue's own audit records, those that are in order.
func samples(tb testing.TB) (records [][]byte) {
	tb.Helper()
	names, err := catalogfiles.FS.ReadDir("wiz/testdata/audit")
	must(tb, err)
	for _, e := range names {
		if strings.HasSuffix(e.Name(), ".expected.json") || strings.HasPrefix(e.Name(), "odd_") {
			continue
		}
		b, err := catalogfiles.FS.ReadFile("wiz/testdata/audit/" + e.Name())
		must(tb, err)
		records = append(records, b)
	}
	return records
}

// BenchmarkDeliver delivers pages of 500 audit records from memory to a file,
// everything synced. One operation is one page.
func BenchmarkDeliver(b *testing.B) {
	records := samples(b)
	mapper, err := wiz()
	must(b, err)
	for _, schema := range []string{"ecs", "raw"} {
		b.Run(schema, func(b *testing.B) {
			l := &endless{fakeLog: newLog(0, 0), page: pagelog.Page{Feed: audit, Fetched: time.Now(), Stored: time.Now()}, most: uint64(b.N)}
			for i := range 500 {
				l.page.Records = append(l.page.Records, records[i%len(records)])
			}
			dir := b.TempDir()
			path := filepath.Join(dir, "events.ndjson")
			out, err := output.New(output.Options{Name: "bench", Type: "file", Path: path, Dir: filepath.Join(dir, "state")})
			must(b, err)
			d, err := New(b.Context(), Options{
				Name: "bench", Reader: l, Output: out, Log: l, Raw: schema == "raw",
				Mapper: func(pagelog.Feed) (Mapper, error) { return mapper, nil },
			})
			must(b, err)
			ctx, stop := context.WithCancel(b.Context())
			ended := make(chan error)
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu()
			go func() { ended <- d.Run(ctx) }()
			must(b, d.Drain(ctx, l.most))
			used := cpu() - before
			b.StopTimer()
			stop()
			must(b, <-ended)
			documents := float64(b.N) * 500
			info, err := os.Stat(path)
			must(b, err)
			b.SetBytes(info.Size() / int64(b.N))
			b.ReportMetric(documents/b.Elapsed().Seconds(), "docs/s")
			b.ReportMetric(float64(used.Nanoseconds())/documents, "cpu-ns/doc")
		})
	}
}

// cpu is what the process has used so far.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
