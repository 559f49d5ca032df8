package emm

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trawlsec/trawl/internal/strictyaml"
)

// The limits of a folder.
const (
	maxFiles   = 20_000  // YAML files of products
	maxYAML    = 8 << 20 // bytes of one
	maxExample = 32 << 20
)

// LayoutError says that a folder is not laid out as the matrix's repository.
type LayoutError struct{ Folder string }

func (e *LayoutError) Error() string {
	return fmt.Sprintf("%s: has no folder products; give the folder of a matrix repository, with products/PRODUCT/event_sources in it", e.Folder)
}

// folder is a folder in the layout of the public repository.
type folder struct {
	fsys fs.FS
	name string // as the user calls it, for messages
	root *os.Root
}

// open opens a folder. Nothing outside of it is read, wherever links lead.
func open(dir string) (*folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	f := &folder{fsys: root.FS(), name: dir, root: root}
	if info, err := fs.Stat(f.fsys, "products"); err != nil || !info.IsDir() {
		return nil, errors.Join(&LayoutError{dir}, root.Close())
	}
	return f, nil
}

func (f *folder) close() error { return f.root.Close() }

// file is a YAML file of the folder.
type file struct {
	path  string // within the folder, with slashes: products/box/event_sources/admin.yml
	doc   *strictyaml.Document
	value any // what is in it

	against int // how many of the document's mistakes are those of its syntax and schema
}

// object is the file's mapping; nil where it is something else.
func (f *file) object() map[string]any {
	object, _ := f.value.(map[string]any)
	return object
}

// isEventSource tells whether a file is about an event source: by what it says
// of itself, or where it is.
func (f *file) isEventSource() bool {
	switch entity := f.object()["entity_name"]; entity {
	case "event_source":
		return true
	case "product":
		return false
	}
	return slices.Contains(strings.Split(path.Dir(f.path), "/"), "event_sources")
}

// home is the folder of the product that the file belongs to, from which
// examples are counted.
func (f *file) home() string {
	parts := strings.Split(path.Dir(f.path), "/")
	if i := slices.Index(parts, "event_sources"); i > 0 {
		parts = parts[:i]
	}
	return path.Join(parts...)
}

func (f *folder) called(name string) string {
	return filepath.ToSlash(filepath.Join(f.name, filepath.FromSlash(name)))
}

// read reads a YAML file. What is wrong with it is among its document's mistakes.
func (f *folder) read(name string) (*file, error) {
	text, err := f.bytes(name, maxYAML)
	if err != nil {
		return nil, err
	}
	doc := strictyaml.Parse(f.called(name), text)
	return &file{path: name, doc: doc, value: doc.Root().Any()}, nil
}

// mistakes are all that is wrong with the file; that it holds something else
// than a mapping is.
func (f *file) mistakes(called string) strictyaml.Mistakes {
	if f.object() != nil || len(f.doc.Mistakes()) > 0 {
		return f.doc.Mistakes()
	}
	return strictyaml.Mistakes{{File: called, Line: 1, Column: 1, Text: "must be a mapping, as in entity_name: event_source"}}
}

// errTooLarge says that a file is beyond the limits.
var errTooLarge = errors.New("too large")

func (f *folder) bytes(name string, limit int64) ([]byte, error) {
	info, err := fs.Stat(f.fsys, name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", f.called(name), plainError(err))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read %s: not a file", f.called(name))
	case info.Size() > limit:
		return nil, fmt.Errorf("read %s: %w, more than %d MiB", f.called(name), errTooLarge, limit>>20)
	}
	text, err := fs.ReadFile(f.fsys, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.called(name), plainError(err))
	}
	return text, nil
}

// plainError is an error without the file's name, which has been said.
func plainError(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// isYAML tells by its name whether a file is YAML.
func isYAML(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return ext == ".yml" || ext == ".yaml"
}

// products reads the YAML files of all products, in the order of their paths.
func (f *folder) products() ([]*file, error) {
	var names []string
	err := fs.WalkDir(f.fsys, "products", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir() || !isYAML(name):
			return nil
		case len(names) == maxFiles:
			return fmt.Errorf("%w, more than %d files", errTooLarge, maxFiles)
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", f.called("products"), err)
	}
	slices.Sort(names)
	files := make([]*file, len(names))
	for i, name := range names {
		if files[i], err = f.read(name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// optional reads DIR/NAME.yml or DIR/NAME.yaml; nil: there is none.
func (f *folder) optional(name string) (*file, error) {
	for _, ext := range []string{".yml", ".yaml"} {
		if _, err := fs.Stat(f.fsys, name+ext); err == nil {
			return f.read(name + ext)
		}
	}
	return nil, nil
}

// inOrder sorts sources by their paths, byte by byte.
func inOrder(a, b Resolved) int { return cmp.Compare(a.Source, b.Source) }
