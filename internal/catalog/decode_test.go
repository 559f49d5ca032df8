package catalog_test

import (
	"testing"

	catalogfiles "github.com/trawlsec/trawl/catalog"
	"github.com/trawlsec/trawl/internal/catalog"
)

func TestLoadEmbedded(t *testing.T) {
	t.Parallel()
	cat, err := catalog.Load(catalogfiles.FS)
	if err != nil {
		t.Fatal(err)
	}
	source, err := cat.Source("wiz/audit")
	if err != nil {
		t.Fatal(err)
	}
	if source.FullName() != "wiz/audit" || source.Product.Name != "Wiz" {
		t.Errorf("source = %q of %q", source.FullName(), source.Product.Name)
	}
}
