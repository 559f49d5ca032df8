package ecs_test

import (
	"testing"

	catalogfiles "github.com/trawlsec/trawl/catalog"
	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
)

// wiz is the mapper of a Wiz source.
func wiz(t testing.TB, source string) *ecs.Mapper {
	t.Helper()
	c, err := catalog.Load(catalogfiles.FS)
	if err != nil {
		t.Fatal(err)
	}
	src, err := c.Source("wiz/" + source)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ecs.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
