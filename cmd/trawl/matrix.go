package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/emm"
)

// matrixFormats are what `trawl matrix` writes, the usual first.
var matrixFormats = []string{"table", "json", "html", "emm"}

func (a *app) matrixCommand() *cobra.Command {
	var product, event, out string
	var observed bool
	cmd := &cobra.Command{
		Use:   "matrix",
		Short: "Show what each product's logs tell, by the Event Maturity Matrix",
		Long: "Shows which kinds of activity each product logs, event types down and products across. 10/12\n" +
			"means that of twelve attributes that apply to such an event the logs have ten. --product tells\n" +
			"of one product: how it is collected, what is kept how long, and where each attribute stands;\n" +
			"--event shows an event type with its examples.\n\n" +
			"As html the matrix is one file, to read, send and print. As emm it is YAML in the format of the\n" +
			"public matrix, in a folder given with --out, which `trawl emm validate` accepts.\n\n" +
			"--observed shows the matrix as it was seen in what was really collected by the feeds of the\n" +
			"configuration, whether or not `trawl run` is running: how often each event type came, which\n" +
			"attributes were really filled, how late and how far back, and where that differs from what is\n" +
			"documented. With --product it has every attribute.",
		Example: "  trawl matrix\n  trawl matrix --product okta --event add_to_group\n  trawl matrix --format html > matrix.html\n  trawl matrix --format emm --out matrix && trawl emm validate matrix\n  trawl matrix --observed\n  trawl matrix --observed --product okta",
	}
	load, _ := a.catalogDirFlag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&product, "product", "", "tell of this `PRODUCT` only")
	flags.StringVar(&event, "event", "", "tell of this event `TYPE` of the product only, with its examples")
	flags.StringVar(&a.format, "format", matrixFormats[0], "table, json, html or emm")
	flags.BoolVar(&observed, "observed", false, "show what was seen in the records that were collected")
	flags.StringVar(&out, "out", "", "`FOLDER` to write the files of --format emm to")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		switch {
		case !slices.Contains(matrixFormats, a.format):
			return misuse(fmt.Errorf("--format is %q; it can be table, json, html or emm", a.format))
		case out != "" && a.format != "emm":
			return misuse(errors.New("--out goes with --format emm; write the others to a file with >"))
		case observed && (a.format == "emm" || event != ""):
			return misuse(errors.New("--observed goes with --product and --format table, json or html"))
		case event != "" && product == "":
			return misuse(errors.New("--event needs --product"))
		}
		if _, known := emm.Matrix().EventType(event); event != "" && !known {
			return misuse(unknownEvent(event))
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if observed {
			return a.observed(cmd.Context(), product)
		}
		cat, err := load()
		if err != nil {
			return err
		}
		products := cat.Products()
		if product != "" {
			p, err := cat.Product(product)
			if err != nil {
				return misuse(err)
			}
			products = products[:1:1]
			products[0] = p
		}
		matrix := []emm.Product{}
		for _, p := range products {
			documented, err := p.InMatrix()
			if err != nil {
				return err
			}
			if len(documented.Sources) > 0 || product != "" {
				matrix = append(matrix, documented)
			}
		}
		w := bufio.NewWriter(a.stdout)
		err = a.writeMatrix(w, matrix, product, event, out)
		return errors.Join(err, w.Flush())
	}
	return cmd
}

func (a *app) writeMatrix(w io.Writer, matrix []emm.Product, product, event, out string) error {
	width := terminal(a.stdout)
	switch {
	case a.format == "json":
		return writeJSON(w, emm.Document(matrix))
	case a.format == "html":
		return emm.HTML(w, matrix)
	case a.format == "emm":
		return a.writeFiles(w, matrix, out)
	case event != "":
		return tellEvent(w, matrix[0], event, width)
	case product != "":
		return a.tellProduct(w, matrix[0], width)
	}
	tellMatrix(w, matrix, width, colours(a.stdout))
	return nil
}

// writeFiles writes the matrix in the public format: to a folder, or one file
// after the other.
func (a *app) writeFiles(w io.Writer, matrix []emm.Product, out string) error {
	n := 0
	for _, p := range matrix {
		files, err := p.Files()
		if err != nil {
			return err
		}
		for _, f := range files {
			if out == "" {
				if strings.HasSuffix(f.Name, ".yml") { // examples are no YAML
					fmt.Fprintf(w, "--- # %s\n%s", f.Name, f.Text)
				}
				continue
			}
			n++
			name := filepath.Join(out, filepath.FromSlash(f.Name))
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				return fmt.Errorf("write matrix: %w", err)
			}
			if err := os.WriteFile(name, f.Text, 0o644); err != nil {
				return fmt.Errorf("write matrix: %w", err)
			}
		}
	}
	if out != "" && !a.quiet {
		fmt.Fprintf(a.stderr, "wrote %s to %s\n", count(n, "file"), out)
	}
	return nil
}
