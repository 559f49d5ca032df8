package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/emm"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

func (a *app) emmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "emm",
		Short: "Check and resolve a folder of the public Event Maturity Matrix",
		Long: "The Event Maturity Matrix is published as a repository of YAML files: a taxonomy, and for each\n" +
			"product what its logs tell of which events. These verbs work on a folder laid out like it.\n" +
			"`trawl matrix` has the matrix of Trawl's own catalogue.",
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.emmValidateCommand(), a.emmResolveCommand())
	return cmd
}

// emmReport is what `trawl emm validate` found.
type emmReport struct {
	OK       bool                 `json:"ok"`
	Products int                  `json:"products"`
	Sources  int                  `json:"event_sources"`
	Mappings int                  `json:"mappings"`
	Examples int                  `json:"examples"`
	Faults   []strictyaml.Mistake `json:"faults"`
	Warnings []strictyaml.Mistake `json:"warnings"`
}

func (a *app) emmValidateCommand() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "validate FOLDER",
		Short: "Find every fault in a folder of the matrix",
		Long: "Checks the files of the taxonomy, of products and of event sources: against the JSON Schemas in\n" +
			"the folder's schema (or Trawl's own where it has none), every key, the category of every event\n" +
			"type, and that examples exist and have a value at the paths of their mapping's attributes. Every\n" +
			"fault is told with file, line and column; the exit status is 1 if there is one. Warnings are\n" +
			"about what is probably not meant; with --strict they count as faults.",
		Example: `  $ trawl emm validate event-maturity-matrix
  event-maturity-matrix/products/acme/event_sources/audit.yml:31:17: mappings.2.event_type: there is no event type "add_grop"; did you mean "add_to_group"?
  trawl: 1 fault in 1 event source of 1 product`,
		RunE: func(_ *cobra.Command, args []string) error {
			in, err := emm.Validate(args[0])
			if err != nil {
				return folderError(err)
			}
			report := emmReport{
				OK: len(in.Faults) == 0, Products: in.Products, Sources: in.Sources, Mappings: in.Mappings, Examples: in.Examples,
				Faults: append([]strictyaml.Mistake{}, in.Faults...), Warnings: append([]strictyaml.Mistake{}, in.Warnings...),
			}
			where := fmt.Sprintf(" in %s of %s", count(report.Sources, "event source"), count(report.Products, "product"))
			return a.tellFound(report, found{report.Faults, report.Warnings, strict, "fault", where,
				fmt.Sprintf("no faults%s: %s, %s", where, count(report.Mappings, "mapping"), count(report.Examples, "example"))})
		},
	}
	a.checkFlags(cmd, &strict)
	return cmd
}

func (a *app) emmResolveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resolve FOLDER",
		Short: "Print the mappings of all event sources with their defaults resolved",
		Long: "Prints one JSON object a line for each event source, sorted by its file: its mappings, with the\n" +
			"attributes that the defaults of the event source and of the category give them. A mapping's own\n" +
			"come last, and null takes an attribute away. What can't be understood is told on the standard\n" +
			"error, and makes the exit status 1; `trawl emm validate` tells more.",
		Example: `  $ trawl emm resolve event-maturity-matrix | jq -r '.mappings[] | .category + "/" + .event_type' | sort | uniq -c`,
		RunE: func(_ *cobra.Command, args []string) error {
			sources, mistakes, err := emm.Resolve(args[0])
			if err != nil {
				return folderError(err)
			}
			w := bufio.NewWriter(a.stdout)
			var line []byte
			for _, s := range sources {
				if line, err = s.AppendLine(line[:0]); err != nil {
					return err
				}
				w.Write(append(line, '\n')) // Flush tells of its errors
			}
			if err := w.Flush(); err != nil {
				return fmt.Errorf("write event sources: %w", err)
			}
			return mistakes.Err()
		},
	}
}

// folderError is misuse where it is the wrong folder.
func folderError(err error) error {
	var layout *emm.LayoutError
	if errors.As(err, &layout) || errors.Is(err, os.ErrNotExist) {
		return misuse(err)
	}
	return err
}
