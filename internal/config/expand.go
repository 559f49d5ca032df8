package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxSecretFile bounds what ${file:} reads: a secret or a certificate, not a disk.
const maxSecretFile = 1 << 20

// expander puts values in place of ${env:X} and ${file:P}. $${ stands for ${.
type expander struct {
	dir string // that relative paths of files are relative to
	env func(name string) (string, bool)
}

// unsetError says that a variable is not set or a file can't be read.
type unsetError struct{ error }

func (e *unsetError) Unwrap() error { return e.error }

// expand gives the text with the values in it. Its errors name the variable or
// the file, and never hold a value.
func (e expander) expand(text string) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			b.WriteString(text)
			return b.String(), nil
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			b.WriteString(escaped + "${")
			text = rest
			continue
		}
		b.WriteString(before)
		reference, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", errors.New("a ${ is not closed by a }; write $${ for the two characters themselves")
		}
		value, err := e.value(reference)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		text = after
	}
}

func (e expander) value(reference string) (string, error) {
	kind, name, _ := strings.Cut(reference, ":")
	switch {
	case kind == "env" && name != "":
		value, ok := e.env(name)
		if !ok {
			return "", &unsetError{fmt.Errorf("environment variable %s is not set; set it before trawl starts", name)}
		}
		return value, nil
	case kind == "file" && name != "":
		return e.file(name)
	}
	return "", fmt.Errorf("${%s} is not known; write ${env:NAME}, ${file:PATH}, or $${ for the two characters themselves", reference)
}

// file gives a file's text without its last line break.
func (e expander) file(name string) (string, error) {
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(e.dir, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", &unsetError{fmt.Errorf("read ${file:%s}: %w", name, err)}
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", &unsetError{fmt.Errorf("read ${file:%s}: %w", name, err)}
	}
	if len(text) > maxSecretFile {
		return "", fmt.Errorf("read ${file:%s}: larger than 1 MiB", name)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}
