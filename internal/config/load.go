package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// NotFoundError says that there is no configuration, and where it was looked for.
type NotFoundError struct{ Tried []string }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("no configuration: there is no %s; write one with `trawl init`, or name one with -c", strings.Join(e.Tried, " and no "))
}

// Find gives the path of the configuration: the one named, else ./trawl.yaml,
// else trawl/trawl.yaml under $XDG_CONFIG_HOME (by default ~/.config). The error
// is a *NotFoundError.
func Find(named string) (string, error) {
	candidates := []string{named}
	if named == "" {
		candidates = []string{"trawl.yaml"}
		home := os.Getenv("XDG_CONFIG_HOME")
		if user, err := os.UserHomeDir(); err == nil && home == "" {
			home = filepath.Join(user, ".config")
		}
		if home != "" {
			candidates = append(candidates, filepath.Join(home, "trawl", "trawl.yaml"))
		}
	}
	for _, path := range candidates {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", &NotFoundError{Tried: candidates}
}

// Option changes what Load takes for a mistake.
type Option int

// WithoutSecrets is for looking at positions and changing them, which often
// happens where the secrets are not at hand: a ${env:} that is not set and a
// ${file:} that can't be read leave out what only collecting and delivering need.
const WithoutSecrets Option = 1

// Writable also tries whether data_dir and the files of outputs can be created
// and written to.
const Writable Option = 2

// Load reads and checks the configuration at a path. cat gives the catalogue,
// with that of the folder if one is named. The error is a Mistakes, or says
// what could not be read.
func Load(path string, cat func(dir string) (*catalog.Catalogue, error), options ...Option) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return parse(path, text, cat, os.LookupEnv, options...)
}

func parse(path string, text []byte, cat func(dir string) (*catalog.Catalogue, error), env func(string) (string, bool), options ...Option) (*Config, error) {
	in := expander{dir: filepath.Dir(path), env: env}
	doc := strictyaml.Parse(path, text)
	b := builder{in: in, now: time.Now(), withoutSecrets: slices.Contains(options, WithoutSecrets)}
	doc.Expand = b.expand
	f := defaults()
	doc.Decode(&f)
	if syntax := doc.Mistakes(); len(syntax) > 0 && doc.Root().Kind() != strictyaml.Map {
		return nil, syntax.Err()
	}
	b.file = f
	b.config = &Config{
		Path: path, DataDir: in.path(f.DataDir), Listen: f.Listen, CatalogDir: in.path(f.CatalogDir),
		Log: Log{URL: f.Log.URL, MaxBytes: int64(f.Log.MaxBytes), MaxAge: f.Log.MaxAge.Std()},
	}
	if t := f.ListenTLS; t != nil {
		b.config.ListenTLS = &TLS{CertFile: in.path(t.CertFile), KeyFile: in.path(t.KeyFile)}
	}
	catalogue, err := cat(b.config.CatalogDir)
	var mistakes Mistakes
	if err != nil && !errors.As(err, &mistakes) {
		doc.At("catalog_dir").Mistake("%v", err)
	}
	b.config.Catalogue = catalogue // nil if it has mistakes
	b.build(place{doc.At()})
	if slices.Contains(options, Writable) {
		b.checkWritable(place{doc.At()})
	}
	if err := append(mistakes, doc.Mistakes()...).Err(); err != nil {
		return nil, err
	}
	b.warn(place{doc.At()})
	b.config.Warnings = doc.Mistakes().Sorted()
	return b.config, nil
}

// expand gives a text of the file with the values in it.
func (b *builder) expand(path []string, text string) (string, error) {
	value, err := b.in.expand(text)
	var unset *unsetError
	if b.withoutSecrets && errors.As(err, &unset) && onlyForRunning(path) {
		return "", strictyaml.ErrLeaveOut
	}
	return value, err
}

// onlyForRunning tells the keys that say neither where the log is nor what the
// feeds in it are.
func onlyForRunning(path []string) bool {
	if len(path) == 0 {
		return false
	}
	switch path[0] {
	case "listen", "outputs":
		return true
	case "connections":
		return len(path) > 2 && (path[2] == "settings" || path[2] == "http")
	}
	return false
}

// path is a path of the file, relative to the file's folder if it is relative.
func (e expander) path(path string) string {
	if path == "" || path == "-" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(e.dir, path)
}
