package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
)

func (a *app) catalogNewCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "new PRODUCT",
		Short: "Write a product to begin with, in a folder of your own",
		Long: "Writes the folder of a product that collects an audit log from a REST API: product.yaml,\n" +
			"audit.yaml, and two samples with the documents that they become. It passes lint and test as it\n" +
			"stands, and every line is meant to be changed to what your product's documentation says.",
		Example: `  $ trawl catalog new acme --dir products
  $ trawl catalog lint products && trawl catalog test products`,
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "`FOLDER` to write the product's folder into")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		product := args[0]
		if err := catalog.CheckID(product); err != nil {
			return misuse(err)
		}
		if cat, err := loadCatalogue(""); err != nil {
			return err
		} else if _, err := cat.Product(product); err == nil {
			return misuse(fmt.Errorf("there is a product %s already; choose another name, or see `trawl catalog show %s` for how yours can replace parts of it", product, product))
		}
		folder := filepath.Join(dir, product)
		if _, err := os.Lstat(folder); !errors.Is(err, fs.ErrNotExist) {
			return misuse(fmt.Errorf("%s is there already; remove it, or choose another name or --dir", folder))
		}
		if err := a.writeTemplate(folder, product); err != nil {
			return fmt.Errorf("write %s: %w", folder, err)
		}
		fmt.Fprintf(a.stderr, "\nnow change them to what the product's documentation says, and look with:\n  trawl catalog lint %[1]s\n  trawl catalog test --update %[1]s\n  trawl init %[2]s --catalog-dir %[1]s\n", dir, product)
		return nil
	}
	return cmd
}

// writeTemplate writes a product to begin with, and what its samples become.
// The folder appears as a whole, or not at all.
func (a *app) writeTemplate(folder, product string) (err error) {
	files, err := catalog.Template(product)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return err
	}
	unfinished, err := os.MkdirTemp(filepath.Dir(folder), ".trawl-new-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(unfinished)) }()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(unfinished, product, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(files[name]), 0o644); err != nil {
			return err
		}
	}
	own, err := catalog.Load(catalog.Dir(unfinished))
	if err != nil {
		return err
	}
	p, err := own.Product(product)
	if err != nil {
		return err
	}
	for _, s := range p.SourceList() {
		mapper, err := ecs.Compile(s)
		if err != nil {
			return err
		}
		samples := filepath.Join("testdata", s.ID)
		done, err := ecs.RunSamples(mapper, os.DirFS(filepath.Join(s.Dir, samples)))
		if err != nil {
			return err
		}
		for _, sample := range done {
			name := filepath.Join(samples, sample.Name+".expected.json")
			if err := os.WriteFile(filepath.Join(s.Dir, name), sample.Got, 0o644); err != nil {
				return err
			}
			files[name] = ""
		}
	}
	if err := os.Rename(filepath.Join(unfinished, product), folder); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintln(a.stderr, "wrote", filepath.Join(folder, filepath.FromSlash(name)))
	}
	return nil
}
