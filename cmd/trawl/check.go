package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/ingest"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// checkResult is what `trawl check` found: mistakes, or what would run.
type checkResult struct {
	OK          bool                 `json:"ok"`
	Config      string               `json:"config,omitzero"`
	Mistakes    []strictyaml.Mistake `json:"mistakes"`
	Warnings    []strictyaml.Mistake `json:"warnings,omitempty"`
	Connections []checkedConnection  `json:"connections,omitempty"`
	Feeds       []checkedFeed        `json:"feeds,omitempty"`
	Outputs     []checkedOutput      `json:"outputs,omitempty"`
	Connect     []connectResult      `json:"connect,omitempty"` // with --connect
}

type checkedConnection struct {
	Connection string   `json:"connection"`
	Product    string   `json:"product"`
	PerSecond  float64  `json:"requests_per_second"`
	Burst      int      `json:"burst"`
	Settings   []string `json:"settings"` // the names of those set
}

type checkedFeed struct {
	Feed     string         `json:"feed"`
	Source   string         `json:"source"`
	Start    string         `json:"start,omitzero"` // absent: the present
	Interval string         `json:"interval"`
	Overlap  string         `json:"overlap"`
	PageSize int            `json:"page_size"`
	Revisit  []string       `json:"revisit"`
	Snapshot string         `json:"snapshot,omitzero"` // between two whole readings
	Whole    bool           `json:"only_whole,omitzero"`
	Filter   map[string]any `json:"filter,omitempty"`
	PushOnly bool           `json:"push_only,omitempty"` // the API is not asked: all from start to filter is without effect
	Push     string         `json:"push,omitempty"`      // where the product may send records: http://127.0.0.1:8686/ingest/...
}

type checkedOutput struct {
	Output   string `json:"output"`
	Type     string `json:"type"`
	Path     string `json:"path"`
	Schema   string `json:"schema"`
	Original bool   `json:"original"`
	Compress string `json:"compress"`
}

func (a *app) checkCommand() *cobra.Command {
	var connect bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Find every mistake in the configuration, or show what would run",
		Long: "Reads the configuration, without going to the network, and tries whether data_dir and the files\n" +
			"of outputs can be written. Every mistake is told at once, with file, line and column, and the\n" +
			"exit status is 2; otherwise what would run is shown. --connect then signs in to each connection\n" +
			"and reads a little of each feed; where that fails, it says what to do, and the exit status is 1.",
		Example: `  $ trawl check
  trawl.yaml:12:7: connections.wiz-prod.sources.audit: unknown key "intervall"; did you mean "interval"?
  $ trawl check --connect`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load(config.Writable)
			var mistakes config.Mistakes
			if errors.As(err, &mistakes) && a.format == "json" {
				return errors.Join(err, writeJSON(a.stdout, checkResult{Mistakes: mistakes}))
			}
			if err != nil {
				return err
			}
			result := checked(cfg)
			tellWarnings(a.stderr, cfg.Warnings)
			if connect {
				result.Connect, result.OK = a.checkConnect(cmd.Context(), cfg)
			}
			if err := a.tellChecked(result); err != nil {
				return err
			}
			if !result.OK {
				return errReported
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&connect, "connect", false, "also sign in and read a little of every feed")
	a.formatFlag(cmd)
	return cmd
}

// checked is what a configuration would run.
func checked(cfg *config.Config) checkResult {
	result := checkResult{OK: true, Config: cfg.Path, Mistakes: []strictyaml.Mistake{}, Warnings: cfg.Warnings}
	for _, c := range cfg.Connections {
		result.Connections = append(result.Connections, checkedConnection{
			Connection: c.Name, Product: c.Product.ID, PerSecond: c.Rate.PerSecond, Burst: c.Rate.Burst, Settings: c.Settings.Names(),
		})
		for _, f := range c.Feeds {
			feed := checkedFeed{
				Feed: f.Name(), Source: f.Source.FullName(), Start: f.Start.String(), Interval: catalog.Duration(f.Interval).String(),
				Overlap: catalog.Duration(f.Overlap).String(), PageSize: f.PageSize, Revisit: []string{}, Filter: f.Filter, PushOnly: !f.Pull,
				Whole: f.Source.OnlyWhole(),
			}
			if f.Push != nil {
				feed.Push = "http://" + cfg.Listen + ingest.Path(&f)
				if cfg.ListenTLS != nil {
					feed.Push = "https://" + cfg.Listen + ingest.Path(&f)
				}
			}
			if f.Snapshot > 0 {
				feed.Snapshot = catalog.Duration(f.Snapshot).String()
			}
			for _, age := range f.Revisit {
				feed.Revisit = append(feed.Revisit, catalog.Duration(age).String())
			}
			result.Feeds = append(result.Feeds, feed)
		}
	}
	for _, o := range cfg.Outputs {
		result.Outputs = append(result.Outputs, checkedOutput{Output: o.Name, Type: o.Type, Path: o.Path, Schema: o.Schema, Original: o.Original, Compress: o.Compress})
	}
	return result
}

func (a *app) tellChecked(r checkResult) error {
	if a.format == "json" {
		return writeJSON(a.stdout, r)
	}
	connections := &table{header: []string{"CONNECTION", "PRODUCT", "REQUESTS", "SETTINGS"}}
	for _, c := range r.Connections {
		connections.add(c.Connection, c.Product, fmt.Sprintf("%g/s, %d at once", c.PerSecond, c.Burst), strings.Join(c.Settings, ", "))
	}
	feeds := &table{header: []string{"FEED", "START", "EVERY", "OVERLAP", "PAGE", "AGAIN AFTER", "WHOLE", "FILTER"}}
	var sent []string
	for _, f := range r.Feeds {
		if f.Push != "" {
			sent = append(sent, f.Feed+" takes what is sent to "+f.Push)
		}
		if f.PushOnly {
			feeds.add(f.Feed, "-", "-", "-", "-", "-", "-", "-")
			continue
		}
		start, overlap := f.Start, f.Overlap
		if start == "" {
			start = "the present"
		}
		if f.Whole {
			start, overlap = "all there is", "-"
		}
		filter, err := strictyaml.JSON(f.Filter)
		if err != nil {
			return err
		}
		if len(f.Filter) == 0 {
			filter = nil
		}
		feeds.add(f.Feed, start, f.Interval, overlap, fmt.Sprint(f.PageSize), strings.Join(f.Revisit, ", "), f.Snapshot, string(filter))
	}
	outputs := &table{header: []string{"OUTPUT", "TYPE", "PATH", "SCHEMA", "COMPRESS"}}
	for _, o := range r.Outputs {
		schema := o.Schema
		if o.Schema == "ecs" && !o.Original {
			schema += " without event.original"
		}
		outputs.add(o.Output, o.Type, o.Path, schema, o.Compress)
	}
	for _, t := range []*table{connections, feeds, outputs} {
		t.write(a.stdout)
		fmt.Fprintln(a.stdout)
	}
	if len(sent) > 0 {
		fmt.Fprintf(a.stdout, "%s\n\n", strings.Join(sent, "\n"))
	}
	if r.Connect != nil {
		writeConnect(a.stdout, r.Connect)
		fmt.Fprintln(a.stdout)
	}
	if r.Connect != nil {
		fmt.Fprintf(a.stdout, "no mistakes in %s; %s\n", r.Config, connectSummary(r.Connect))
		return nil
	}
	fmt.Fprintf(a.stdout, "no mistakes in %s\n", r.Config)
	return nil
}
