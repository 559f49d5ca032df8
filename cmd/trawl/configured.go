package main

import (
	"fmt"
	"strings"

	"github.com/trawlsec/trawl/internal/config"
)

// knownFeed makes sure that the configuration has a feed of that name.
func knownFeed(cfg *config.Config, name string) error {
	var known []string
	for _, c := range cfg.Connections {
		for _, f := range c.Feeds {
			if f.Name() == name {
				return nil
			}
			known = append(known, f.Name())
		}
	}
	return misuse(fmt.Errorf("feed %q is not configured; there are: %s", name, strings.Join(known, ", ")))
}

// knownOutput makes sure that the configuration has an output of that name.
func knownOutput(cfg *config.Config, name string) error {
	var known []string
	for _, o := range cfg.Outputs {
		if o.Name == name {
			return nil
		}
		known = append(known, o.Name)
	}
	return misuse(fmt.Errorf("output %q is not configured; there are: %s", name, strings.Join(known, ", ")))
}
