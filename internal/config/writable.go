package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// checkWritable tries to create what a run would write to, and leaves nothing
// behind.
func (b *builder) checkWritable(top place) {
	if dir := b.config.DataDir; dir != "" {
		if err := tryFolder(dir); err != nil {
			top.at("data_dir").Mistake("%v; make it writable for the user that trawl runs as, or name another folder", err)
		}
	}
	for _, o := range b.config.Outputs {
		if o.Type != "file" || o.Path == "" || o.Path == "-" {
			continue
		}
		if err := tryFile(o.Path); err != nil {
			top.at("outputs", o.Name, "path").Mistake("%v; make it writable for the user that trawl runs as, or name another path", err)
		}
	}
}

// tryFile tries whether a file can be written to, or created with its folder.
// What is neither a file nor a folder is not touched: opening it may have
// effects.
func tryFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return tryFolder(filepath.Dir(path))
	case err != nil:
		return cause("can't be written", err)
	case info.IsDir():
		return fmt.Errorf("can't be written: %s: is a folder", path)
	case !info.Mode().IsRegular():
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return cause("can't be written", err)
	}
	return f.Close()
}

// tryFolder tries whether a folder can be created, if need be, and a file in it.
func tryFolder(dir string) (err error) {
	made, err := makeFolder(dir)
	defer func() {
		for _, m := range made {
			err = errors.Join(err, os.Remove(m))
		}
	}()
	if err != nil {
		return cause("can't be created", err)
	}
	f, err := os.CreateTemp(dir, ".trawl-check-*")
	if err != nil {
		return cause("can't be written to", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// makeFolder creates a folder with those around it. made are the new ones, the
// innermost first.
func makeFolder(dir string) (made []string, err error) {
	info, err := os.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return nil, &fs.PathError{Op: "open", Path: dir, Err: errors.New("not a folder")}
	case err == nil || !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if parent := filepath.Dir(dir); parent != dir {
		if made, err = makeFolder(parent); err != nil {
			return made, err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return made, err
	}
	return append([]string{dir}, made...), nil
}

// cause says what failed without the names of temporary files.
func cause(what string, err error) error {
	var at *fs.PathError
	if !errors.As(err, &at) {
		return fmt.Errorf("%s: %w", what, err)
	}
	path := at.Path
	if strings.HasPrefix(filepath.Base(path), ".trawl-check-") {
		path = filepath.Dir(path)
	}
	return fmt.Errorf("%s: %s: %w", what, path, at.Err)
}
