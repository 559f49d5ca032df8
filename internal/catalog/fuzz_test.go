package catalog_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"github.com/trawlsec/trawl/internal/catalog"
)

// FuzzLoad wants a catalogue that holds together, or mistakes that say where.
func FuzzLoad(f *testing.F) {
	product, err := os.ReadFile("testdata/acme/product.yaml")
	if err != nil {
		f.Fatal(err)
	}
	source, err := os.ReadFile("testdata/acme/events.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(product, source)
	f.Fuzz(func(t *testing.T, product, source []byte) {
		cat, err := catalog.Load(fstest.MapFS{"acme/product.yaml": {Data: product}, "acme/events.yaml": {Data: source}})
		if err != nil {
			var mistakes catalog.Mistakes
			if !errors.As(err, &mistakes) || len(mistakes) == 0 {
				t.Errorf("error %T: %v", err, err)
			}
			return
		}
		s, err := cat.Source("acme/events")
		if err != nil {
			t.Fatal(err)
		}
		w, p := s.Window, s.Paging
		if s.Product.ID != "acme" || s.Product.Rate.PerSecond <= 0 || len(w.Fields) == 0 || w.Interval <= 0 || w.Overlap <= 0 || p.Size < 1 || p.MaxSize < p.Size {
			t.Errorf("loaded %+v", s)
		}
		none := func(string) (string, bool) { return "", false }
		if _, err := s.Product.BaseURL.Choose(none, nil); err == nil && len(s.Product.BaseURL) == 0 {
			t.Error("no case, and no error")
		}
	})
}

// FuzzGlob compares with regular expressions.
func FuzzGlob(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("**?", "é")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(text) {
			_ = catalog.Glob(pattern, text) // no panic
			return
		}
		expr := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern))
		re, err := regexp.Compile(`(?s)^` + expr + `$`)
		if err != nil {
			return
		}
		if got, want := catalog.Glob(pattern, text), re.MatchString(text); got != want {
			t.Errorf("Glob(%q, %q) = %v, want %v", pattern, text, got, want)
		}
	})
}

// FuzzParseDuration wants every duration to read as it prints.
func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"5m", "180d", "1d12h", "1.5h", "-1s", "1h0m0s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := catalog.ParseDuration(s)
		if err != nil {
			return
		}
		if back, err := catalog.ParseDuration(d.String()); err != nil || back != d || d < 0 {
			t.Errorf("%q is %v, which reads as %v, %v", s, d, back, err)
		}
	})
}
