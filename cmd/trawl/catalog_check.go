package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/jsonscan"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// lintResult is what `trawl catalog lint` found.
type lintResult struct {
	OK       bool                 `json:"ok"`
	Products int                  `json:"products"`
	Sources  int                  `json:"sources"`
	Mistakes []strictyaml.Mistake `json:"mistakes"`
	Warnings []strictyaml.Mistake `json:"warnings"`
}

func (a *app) catalogLintCommand() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "lint [FOLDER]",
		Short: "Find every mistake in a catalogue",
		Long: "Checks the catalogue that Trawl comes with, and over it a folder of products or a single\n" +
			"product's folder. Every mistake is told with file, line and column; the exit status is 1 if\n" +
			"there is one. Warnings are about what is probably not meant: a field of ECS that ECS does not\n" +
			"have, an end of pages that can't be told. With --strict they count as mistakes.",
		Example: `  $ trawl catalog lint ./products
  products/acme/events.yaml:31:13: window.interval: "5 minutes" is not a duration; write 30s, 5m, 24h or 180d
  trawl: 1 mistake`,
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := a.configuredDir()
			if err != nil {
				return err
			}
			if len(args) > 0 {
				dir = args[0]
			}
			result, err := lint(dir)
			if err != nil {
				return err
			}
			return a.tellFound(result, found{result.Mistakes, result.Warnings, strict, "mistake", "",
				fmt.Sprintf("no mistakes in %s of %s", count(result.Sources, "source"), count(result.Products, "product"))})
		},
	}
	a.checkFlags(cmd, &strict)
	return cmd
}

// found is what a check of files has found.
type found struct {
	wrong, warnings []strictyaml.Mistake
	strict          bool   // warnings count too
	what, where     string // "fault", " in 3 event sources of 1 product"
	nothing         string // said where nothing is wrong
}

// checkFlags adds the flags of a verb that checks files.
func (a *app) checkFlags(cmd *cobra.Command, strict *bool) {
	cmd.Flags().BoolVar(strict, "strict", false, "exit with status 1 for warnings too")
	a.formatFlag(cmd)
}

// tellFound prints what a check has found, a line each or as the result in JSON.
// The error is there where something is wrong.
func (a *app) tellFound(result any, f found) (err error) {
	if a.format == "json" {
		err = writeJSON(a.stdout, result)
	} else {
		for _, m := range f.wrong {
			fmt.Fprintln(a.stdout, m)
		}
		tellWarnings(a.stdout, f.warnings)
	}
	switch {
	case len(f.wrong) > 0:
		return errors.Join(err, errors.New(count(len(f.wrong), f.what)+f.where))
	case len(f.warnings) > 0 && f.strict:
		return errors.Join(err, errors.New(count(len(f.warnings), "warning")+f.where))
	case a.format != "json":
		fmt.Fprintln(a.stdout, f.nothing)
	}
	return err
}

// tellWarnings tells of what is probably not meant.
func tellWarnings(w io.Writer, warnings []strictyaml.Mistake) {
	for _, m := range warnings {
		m.Text = "warning: " + m.Text
		fmt.Fprintln(w, m)
	}
}

// lint checks the catalogue with that of a folder over it. The error says what
// could not be read.
func lint(dir string) (lintResult, error) {
	result := lintResult{Mistakes: []strictyaml.Mistake{}, Warnings: []strictyaml.Mistake{}}
	cat, err := loadCatalogue(dir)
	var mistakes catalog.Mistakes
	switch {
	case errors.As(err, &mistakes):
		result.Mistakes = mistakes
		return result, nil
	case err != nil:
		return result, misuse(err)
	}
	result.Warnings = append(result.Warnings, cat.Warnings()...)
	for _, p := range cat.Products() {
		result.Products++
		for _, s := range p.SourceList() {
			result.Sources++
			if _, err := ecs.Compile(s); err != nil {
				result.Mistakes = append(result.Mistakes, strictyaml.Mistake{File: s.FullName(), Text: err.Error()})
			}
		}
	}
	result.OK = len(result.Mistakes) == 0
	return result, nil
}

// count is a number of things: 1 mistake, 2 mistakes.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// sampleResult is what became of one sample.
type sampleResult struct {
	Source      string   `json:"source"`
	Sample      string   `json:"sample"`
	OK          bool     `json:"ok"`
	Differences []string `json:"differences,omitempty"`
}

func (a *app) catalogTestCommand() *cobra.Command {
	var update bool
	cmd := &cobra.Command{
		Use:   "test [FOLDER | PRODUCT | SOURCE]...",
		Short: "Map the samples of sources, and compare with what they must become",
		Long: "Each source has samples in testdata/SOURCE beside its file: NAME.json is a record, and\n" +
			"NAME.expected.json the document that it must become. --update writes the latter as they are\n" +
			"now, for folders on disk: read them before you keep them.",
		Example: `  $ trawl catalog test wiz/audit
  wiz/audit  10 samples  ok
  $ trawl catalog test --update ./products`,
	}
	load, _ := a.catalogDirFlag(cmd)
	cmd.Flags().BoolVar(&update, "update", false, "write the documents as they are now")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		sources, err := testedSources(args, load)
		if err != nil {
			return err
		}
		results := []sampleResult{}
		failed := 0
		for _, s := range sources {
			samples, err := a.runSamples(s, update)
			if err != nil {
				return err
			}
			for _, r := range samples {
				if !r.OK {
					failed++
				}
			}
			if a.format != "json" {
				a.tellSamples(s, samples)
			}
			results = append(results, samples...)
		}
		if a.format == "json" {
			err = writeJSON(a.stdout, results)
		}
		if failed > 0 {
			return errors.Join(err, fmt.Errorf("%s of %d failed", count(failed, "sample"), len(results)))
		}
		return err
	}
	a.formatFlag(cmd)
	return cmd
}

// testedSources are the sources that arguments mean: those of folders, of
// products, by their names, or all.
func testedSources(args []string, load func() (*catalog.Catalogue, error)) ([]*catalog.Source, error) {
	cat, err := load()
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		return allSources(cat, false), nil
	}
	var sources []*catalog.Source
	for _, arg := range args {
		if info, err := os.Stat(arg); err == nil && info.IsDir() {
			own, err := loadCatalogue(arg)
			if err != nil {
				return nil, misuse(err)
			}
			sources = append(sources, allSources(own, true)...)
			continue
		}
		if p, err := cat.Product(arg); err == nil {
			sources = append(sources, p.SourceList()...)
			continue
		}
		s, err := cat.Source(arg)
		if err != nil {
			return nil, misuse(err)
		}
		sources = append(sources, s)
	}
	return sources, nil
}

// allSources are the sources of a catalogue, or only those on disk.
func allSources(cat *catalog.Catalogue, onDisk bool) []*catalog.Source {
	var sources []*catalog.Source
	for _, p := range cat.Products() {
		for _, s := range p.SourceList() {
			if !onDisk || s.Dir != "" {
				sources = append(sources, s)
			}
		}
	}
	return sources
}

// runSamples maps a source's samples, and writes what they become if asked to.
func (a *app) runSamples(s *catalog.Source, update bool) ([]sampleResult, error) {
	mapper, err := ecs.Compile(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.FullName(), err)
	}
	dir, err := fs.Sub(s.Folder, "testdata/"+s.ID)
	if err != nil {
		return nil, err
	}
	samples, err := ecs.RunSamples(mapper, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", s.FullName(), err)
	}
	var results []sampleResult
	for _, sample := range samples {
		if update && sample.Got != nil {
			if err := a.writeExpected(s, sample); err != nil {
				return nil, err
			}
			sample.Differences = nil
		}
		if sample.Got != nil {
			a.warnOfError(s, sample)
		}
		results = append(results, sampleResult{Source: s.FullName(), Sample: sample.Name, OK: len(sample.Differences) == 0, Differences: sample.Differences})
	}
	return results, nil
}

// warnOfError tells of a document that says what of its record could not be
// mapped: as a sample that may be meant, and may be a mistake of the mapping.
func (a *app) warnOfError(s *catalog.Source, sample ecs.Sample) {
	path, err := jsonscan.ParsePath("error.message")
	if err != nil {
		return
	}
	var message [1][]byte
	jsonscan.Compile(path).Scan(sample.Got, message[:])
	if text, ok := jsonscan.String(message[0]); ok {
		fmt.Fprintf(a.stderr, "%s %s: warning: the document has error.message: %s\n", s.FullName(), sample.Name, text)
	}
}

func (a *app) writeExpected(s *catalog.Source, sample ecs.Sample) error {
	if s.Dir == "" {
		return misuse(fmt.Errorf("%s comes with the program: --update needs a folder", s.FullName()))
	}
	path := filepath.Join(s.Dir, "testdata", s.ID, sample.Name+".expected.json")
	if err := os.WriteFile(path, sample.Got, 0o644); err != nil {
		return fmt.Errorf("write expected document: %w", err)
	}
	if !a.quiet {
		fmt.Fprintf(a.stderr, "wrote %s\n", path)
	}
	return nil
}

// tellSamples says how a source's samples went.
func (a *app) tellSamples(s *catalog.Source, samples []sampleResult) {
	verdict := "ok"
	switch {
	case len(samples) == 0:
		verdict = "has none"
	default:
		for _, r := range samples {
			if !r.OK {
				verdict = "FAILED"
			}
		}
	}
	fmt.Fprintf(a.stdout, "%s  %s  %s\n", s.FullName(), count(len(samples), "sample"), verdict)
	for _, r := range samples {
		if r.OK {
			continue
		}
		fmt.Fprintf(a.stdout, "  %s\n", r.Sample)
		for _, d := range r.Differences {
			fmt.Fprintf(a.stdout, "    %s\n", d)
		}
	}
}
