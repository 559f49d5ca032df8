package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionInfo is what `trawl version` tells.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitzero"`
	Time     string `json:"time,omitzero"`     // of the commit
	Modified bool   `json:"modified,omitzero"` // the tree had changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			if a.format == "json" {
				return writeJSON(a.stdout, v)
			}
			commit := v.Commit
			if v.Modified {
				commit += " with changes"
			}
			_, err := fmt.Fprintf(a.stdout, "trawl %s\ncommit %s\n%s %s\n", v.Version, cmp.Or(commit, "unknown"), v.Go, v.Platform)
			return err
		},
	}
	a.formatFlag(cmd)
	return cmd
}

// builtVersion is set by the linker (see the Makefile).
var builtVersion string

// version is the program's own, for logs and requests.
func version() string { return readVersion().Version }

func readVersion() versionInfo {
	v := versionInfo{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		v.Version = cmp.Or(builtVersion, v.Version)
		return v
	}
	v.Version = cmp.Or(builtVersion, info.Main.Version, v.Version)
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}
