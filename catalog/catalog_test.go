package catalogfiles_test

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	catalogfiles "github.com/trawlsec/trawl/catalog"
	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
)

var update = flag.Bool("update", false, "write the documents of all samples as they are now")

func load(t testing.TB) *catalog.Catalogue {
	t.Helper()
	c, err := catalog.Load(catalogfiles.FS)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every sample of every source becomes the document beside it.
func TestSamples(t *testing.T) {
	t.Parallel()
	for _, product := range load(t).Products() {
		for _, source := range product.SourceList() {
			t.Run(source.FullName(), func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(product.ID, "testdata", source.ID)
				m, err := ecs.Compile(source)
				if err != nil {
					t.Fatal(err)
				}
				samples, err := ecs.RunSamples(m, os.DirFS(dir))
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				if len(samples) == 0 {
					t.Errorf("%s has no samples", dir)
				}
				for _, s := range samples {
					if *update && s.Got != nil {
						if err := os.WriteFile(filepath.Join(dir, s.Name+".expected.json"), s.Got, 0o644); err != nil {
							t.Error(err)
						}
						continue
					}
					for _, d := range s.Differences {
						t.Errorf("%s: %s", s.Name, d)
					}
				}
			})
		}
	}
}
