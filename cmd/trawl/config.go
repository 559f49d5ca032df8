package main

import (
	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/config"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the JSON Schema of trawl.yaml",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(schemaCommand(a, "trawl.yaml", config.Schema))
	return cmd
}
