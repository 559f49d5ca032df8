// Package catalog is what Trawl knows of SaaS products: the types of the
// catalogue's files, their strict decoding and their validation. A product is a
// folder: product.yaml, and one file for each source beside it.
package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trawlsec/trawl/internal/strictyaml"
)

// Mistakes are all that is wrong with a catalogue, each "file:line:column: what
// is wrong and what to do". Load's error is of this type.
type Mistakes = strictyaml.Mistakes

// Catalogue holds the products that are known.
type Catalogue struct {
	products map[string]*Product
	warnings Mistakes
}

// Warnings are what is not wrong in the catalogue's files, but probably not
// meant, each with its place and what to do.
func (c *Catalogue) Warnings() Mistakes { return c.warnings }

// UnknownError says that a product or a source is not in the catalogue, and
// which are.
type UnknownError struct {
	Kind  string // product or source
	Name  string
	Known []string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("unknown %s %q; %s", e.Kind, e.Name, strictyaml.Suggest(e.Name, e.Known))
}

// Products are all products, by id.
func (c *Catalogue) Products() []*Product {
	return slices.SortedFunc(maps.Values(c.products), func(a, b *Product) int { return cmp.Compare(a.ID, b.ID) })
}

// Product finds a product by its id. The error is an *UnknownError.
func (c *Catalogue) Product(id string) (*Product, error) {
	if p, ok := c.products[id]; ok {
		return p, nil
	}
	return nil, &UnknownError{Kind: "product", Name: id, Known: slices.Sorted(maps.Keys(c.products))}
}

// Source finds a source by its full name, wiz/audit. The error is an
// *UnknownError.
func (c *Catalogue) Source(name string) (*Source, error) {
	product, id, _ := strings.Cut(name, "/")
	if p, ok := c.products[product]; ok {
		if s, ok := p.Sources[id]; ok {
			return s, nil
		}
	}
	var known []string
	for _, p := range c.Products() {
		for _, s := range p.SourceList() {
			known = append(known, s.FullName())
		}
	}
	return nil, &UnknownError{Kind: "source", Name: name, Known: known}
}

// SourceList is the product's sources, by id.
func (p *Product) SourceList() []*Source {
	return slices.SortedFunc(maps.Values(p.Sources), func(a, b *Source) int { return cmp.Compare(a.ID, b.ID) })
}

// Dir is a catalogue on disk, or a single product's folder. Mistakes then name
// files by their path.
func Dir(dir string) fs.FS {
	if _, err := os.Stat(filepath.Join(dir, "product.yaml")); err == nil {
		if full, err := filepath.Abs(dir); err == nil {
			return named{FS: os.DirFS(filepath.Dir(full)), name: filepath.Join(dir, ".."), only: filepath.Base(full)}
		}
	}
	return named{FS: os.DirFS(dir), name: dir}
}

type named struct {
	fs.FS
	name string
	only string // the only product folder to look at; "" for all
}

// file is one file of the catalogue, wherever it comes from.
type file struct {
	fsys fs.FS
	path string // within fsys: wiz/audit.yaml
	name string // for people
}

// Load reads catalogues: folders of products. A file in a later one takes the
// place of the file of the same name in an earlier one, so a folder can add a
// source to a product, or replace one. The error is a Mistakes, or says what
// could not be read.
func Load(fsys ...fs.FS) (*Catalogue, error) {
	files := map[string]map[string]file{} // product folder → file name
	for _, f := range fsys {
		if err := collect(f, files); err != nil {
			return nil, err
		}
	}
	cat := &Catalogue{products: map[string]*Product{}}
	var mistakes Mistakes
	for folder, members := range files {
		product, ms, warnings, err := loadProduct(folder, members)
		if err != nil {
			return nil, err
		}
		mistakes = append(mistakes, ms...)
		cat.warnings = append(cat.warnings, warnings...)
		cat.products[folder] = product
	}
	if err := mistakes.Err(); err != nil {
		return nil, err
	}
	cat.warnings = cat.warnings.Sorted()
	return cat, nil
}

// collect notes the YAML files of all product folders.
func collect(fsys fs.FS, files map[string]map[string]file) error {
	n, _ := fsys.(named)
	folders, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return readError(n.name, err)
	}
	for _, folder := range folders {
		if !folder.IsDir() || strings.HasPrefix(folder.Name(), ".") || folder.Name() == "testdata" || (n.only != "" && folder.Name() != n.only) {
			continue
		}
		members, err := fs.ReadDir(fsys, folder.Name())
		if err != nil {
			return readError(filepath.Join(n.name, folder.Name()), err)
		}
		for _, m := range members {
			if m.IsDir() || (path.Ext(m.Name()) != ".yaml" && path.Ext(m.Name()) != ".yml") {
				continue
			}
			f := file{fsys: fsys, path: path.Join(folder.Name(), m.Name())}
			f.name = f.path
			if n.name != "" {
				f.name = filepath.Join(n.name, filepath.FromSlash(f.path))
			}
			if files[folder.Name()] == nil {
				files[folder.Name()] = map[string]file{}
			}
			files[folder.Name()][m.Name()] = f
		}
	}
	return nil
}

// readError names the folder once, and as people know it.
func readError(name string, err error) error {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return fmt.Errorf("read catalogue %s: %w", name, err)
}

// loadProduct reads one folder's files. What is wrong and what is odd in them
// is returned beside the product.
func loadProduct(folder string, files map[string]file) (product *Product, mistakes, warnings Mistakes, err error) {
	product = &Product{Sources: map[string]*Source{}}
	sound := false // whether the sources can be checked against it
	if f, ok := files["product.yaml"]; ok {
		doc, err := decode(f, product)
		if err != nil {
			return nil, nil, nil, err
		}
		if doc.Root().Kind() == strictyaml.Map {
			checkProduct(doc, folder, product)
			product.Order = keys(doc.Root(), "settings")
		}
		sound = len(doc.Mistakes()) == 0
		mistakes = append(mistakes, doc.Mistakes()...)
	} else {
		first := files[slices.Sorted(maps.Keys(files))[0]]
		mistakes = append(mistakes, strictyaml.Mistake{File: path.Dir(filepath.ToSlash(first.name)), Text: "this folder has no product.yaml; add it"})
	}
	for name, f := range files {
		if name == "product.yaml" {
			continue
		}
		if path.Ext(name) != ".yaml" {
			mistakes = append(mistakes, strictyaml.Mistake{File: f.name, Text: "the name has to end in .yaml; rename it"})
			continue
		}
		source := &Source{Product: product}
		doc, err := decode(f, source)
		if err != nil {
			return nil, nil, nil, err
		}
		if source.Folder, err = fs.Sub(f.fsys, folder); err != nil {
			return nil, nil, nil, err
		}
		if _, onDisk := f.fsys.(named); onDisk {
			source.Dir = filepath.Dir(f.name)
		}
		if doc.Root().Kind() == strictyaml.Map {
			source.ECS.Tables = source.ECS.Tables.with(product.Tables)
			fields := checkSource(doc, strings.TrimSuffix(name, ".yaml"), source, sound)
			wrong := len(doc.Mistakes())
			warn(doc, source, fields)
			warnings = append(warnings, doc.Mistakes()[wrong:]...)
			mistakes = append(mistakes, doc.Mistakes()[:wrong]...)
		} else {
			mistakes = append(mistakes, doc.Mistakes()...)
		}
		product.Sources[source.ID] = source
	}
	return product, mistakes, warnings, nil
}

// keys are those of the mapping under a key of a mapping, in the file's order.
func keys(n strictyaml.Node, key string) []string {
	var keys []string
	for _, m := range n.Members() {
		if m.Key == key {
			for _, inner := range m.Value.Members() {
				keys = append(keys, inner.Key)
			}
		}
	}
	return keys
}

func decode(f file, into any) (*strictyaml.Document, error) {
	text, err := fs.ReadFile(f.fsys, f.path)
	if err != nil {
		return nil, fmt.Errorf("read catalogue: %w", err)
	}
	doc := strictyaml.Parse(f.name, text)
	doc.Decode(into)
	return doc, nil
}
