package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/trawlsec/trawl/internal/fetch"
)

// download writes a report's file. It appears whole, or not at all.
func (r *reporter) download(ctx context.Context, one report, f *reportFlags) (err error) {
	if f.out == "-" {
		_, err := r.copy(ctx, one, r.a.stdout)
		return err
	}
	if st, err := os.Stat(f.out); err == nil && !st.Mode().IsRegular() { // a device, or a pipe
		return r.downloadInto(ctx, one, f.out)
	}
	part, err := os.CreateTemp(filepath.Dir(f.out), ".trawl-report-*")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	path := f.out
	file := &named{w: part, name: func(first []byte) error {
		if path != "" {
			return nil
		}
		path = fileName(cmp.Or(one.Name, one.ID), first)
		if taken(path) {
			return fmt.Errorf("write report: there is a %s here already, which is left as it is; get the report with %s", shellWord(path),
				strings.TrimSuffix(r.verb("download", one.ID), "`")+" --out FILE`")
		}
		return nil
	}}
	n, err := r.copy(ctx, one, file)
	if err == nil && !file.done {
		_, err = file.Write(nil)
	}
	if err = errors.Join(cmp.Or(file.err, err), part.Close()); err != nil {
		return err
	}
	if err := os.Rename(part.Name(), path); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	r.tell("report %s: %s written to %s", one.ID, bytes(n), path)
	r.suggest(one, path)
	return nil
}

// named is a file whose name depends on how it begins.
type named struct {
	w    io.Writer
	name func(first []byte) error
	done bool  // name was called
	err  error // of name: nothing is written then
}

func (n *named) Write(p []byte) (int, error) {
	if !n.done {
		n.done, n.err = true, n.name(p)
	}
	if n.err != nil {
		return 0, n.err
	}
	return n.w.Write(p)
}

// suggest says how a report's records get into the log, where the connection
// has a feed of them.
func (r *reporter) suggest(one report, path string) {
	if strings.HasPrefix(path, "-") {
		path = "./" + path
	}
	for _, kind := range r.spec.Kinds {
		for _, feed := range r.feeds {
			if name := r.name + "/" + kind.Source; kind.Type == one.Type && feed.Name() == name {
				r.tell("to put its records into the log: trawl import %s %s", name, shellWord(path))
			}
		}
	}
}

// downloadInto writes a report's file into what is no regular file.
func (r *reporter) downloadInto(ctx context.Context, one report, path string) error {
	to, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	_, err = r.copy(ctx, one, to)
	return errors.Join(err, to.Close())
}

// copy copies a report's file. An address that has expired meanwhile is asked
// for again, once.
func (r *reporter) copy(ctx context.Context, one report, w io.Writer) (int64, error) {
	n, err := r.client.Download(ctx, one.url, w)
	if !errors.Is(err, fetch.ErrAddress) {
		return n, err
	}
	if again, readErr := r.read(ctx, one.ID); readErr == nil && again.run == one.run && again.url != "" {
		n, err = r.client.Download(ctx, again.url, w)
	}
	if errors.Is(err, fetch.ErrAddress) {
		err = fmt.Errorf("%w; make the file anew with %s, or try again with %s", err, r.verb("rerun", one.ID), r.verb("download", one.ID))
	}
	return n, err
}

// fileName is the name of a report as one of a file that is in this folder, not
// hidden, easily typed, and ends as its form does: JSON is a list or an object.
func fileName(name string, first []byte) string {
	name = strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return '-'
		case c == '/' || c == '\\' || unseen(c):
			return '_'
		}
		return c
	}, name)
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") {
		name = "_" + name[1:]
	}
	ext := ".csv"
	if len(first) > 0 && (first[0] == '[' || first[0] == '{') {
		ext = ".json"
	}
	if strings.EqualFold(filepath.Ext(name), ext) {
		return name
	}
	return name + ext
}

func taken(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// shellWord writes a text as one word of a shell's line.
func shellWord(text string) string {
	odd := func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("_-./:@%+,=", c)
	}
	if text != "" && !strings.ContainsFunc(text, odd) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
