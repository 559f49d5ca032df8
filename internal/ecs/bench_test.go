package ecs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
)

// records reads the samples of a source, but for the odd ones.
func records(b *testing.B, source *catalog.Source) [][]byte {
	b.Helper()
	files, err := filepath.Glob(filepath.Join("../../catalog", source.Product.ID, "testdata", source.ID, "*.json"))
	if err != nil {
		b.Fatal(err)
	}
	var all [][]byte
	for _, f := range files {
		if strings.HasSuffix(f, ".expected.json") || strings.Contains(f, "odd_") {
			continue
		}
		record, err := os.ReadFile(f)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, record)
	}
	return all
}

func BenchmarkAppend(b *testing.B) {
	for _, source := range sources(b) {
		b.Run(source.FullName(), func(b *testing.B) {
			m, err := ecs.Compile(source)
			if err != nil {
				b.Fatal(err)
			}
			all := records(b, source)
			size := 0
			for _, r := range all {
				size += len(r)
			}
			dst := make([]byte, 0, 1<<20)
			for _, r := range all { // the first time compiles rules and fills caches
				dst = m.Append(dst[:0], r, ecs.Meta{})
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				for _, r := range all {
					dst = m.Append(dst[:0], r, ecs.Meta{Connection: "prod"})
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(all)), "ns/record")
			b.ReportMetric(float64(size)/float64(len(all)), "bytes/record")
		})
	}
}

// BenchmarkSight is BenchmarkAppend with what the matrix asks for, and what See
// takes alone.
func BenchmarkSight(b *testing.B) {
	for _, source := range sources(b) {
		m, err := ecs.Compile(source, ecs.WithSight())
		if err != nil {
			b.Fatal(err)
		}
		only, err := ecs.Compile(source, ecs.OnlySight())
		if err != nil {
			b.Fatal(err)
		}
		all := records(b, source)
		var sight ecs.Sight
		perRecord := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(all)), "ns/record")
		}
		b.Run("append/"+source.FullName(), func(b *testing.B) {
			dst := make([]byte, 0, 1<<20)
			b.ReportAllocs()
			for b.Loop() {
				for _, r := range all {
					dst = m.AppendSight(dst[:0], r, ecs.Meta{Connection: "prod"}, &sight)
				}
			}
			perRecord(b)
		})
		b.Run("see/"+source.FullName(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, r := range all {
					only.See(r, &sight)
				}
			}
			perRecord(b)
		})
	}
}

func BenchmarkKey(b *testing.B) {
	source := sources(b)[0]
	m, err := ecs.Compile(source)
	if err != nil {
		b.Fatal(err)
	}
	record := records(b, source)[0]
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if m.Key(record).Time.IsZero() {
			b.Fatal("no time")
		}
	}
}
