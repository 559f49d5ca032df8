package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/trawlsec/trawl/internal/catalog"
)

// connectionName checks the name of a connection.
func connectionName(name string) error {
	if !connectionForm.MatchString(name) {
		return errors.New("a name has letters, digits, and _ . -")
	}
	return nil
}

var connectionForm = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

const initHead = `# The configuration of Trawl. ` + "`trawl check` finds every mistake in it; `trawl config schema`" + `
# prints its JSON Schema, for editors. Relative paths are relative to the folder of
# this file. ${env:NAME} and ${file:PATH} work in every value, so no secret needs
# to stand here; the file of a secret is read again when it changes.

data_dir: ./trawl-data       # state, log
listen: 127.0.0.1:8686       # /healthz, /readyz, /metrics; "" for none
`

const initLog = `
log:
  url: ""                    # "" is the embedded log; else nats://a:4222,nats://b:4222
  max_bytes: 10GiB           # what it may hold before collection waits
  max_age: 168h              # how long pages stay for replay and for telling duplicates

connections:
`

const initOutputs = `
outputs:
  archive:
    type: file
    path: ./events.ndjson    # - is the standard output
    schema: ecs              # or raw: the records as received
    # original: false        # leave event.original out
    # rotate: {size: 1GiB, age: 24h}
    # compress: zstd         # or gzip
`

// yaml is the file.
func (p *initPlan) yaml() []byte {
	var b strings.Builder
	b.WriteString(initHead)
	if p.catalogDir != "" {
		fmt.Fprintf(&b, "catalog_dir: %s\n", quoted(p.catalogDir))
	}
	b.WriteString(initLog)
	for i, c := range p.connections {
		if i > 0 {
			b.WriteString("\n")
		}
		c.yaml(&b)
	}
	b.WriteString(initOutputs)
	return []byte(b.String())
}

func (c plannedConnection) yaml(b *strings.Builder) {
	fmt.Fprintf(b, "  %s:\n    product: %s   # %s: %s\n    settings:\n", quoted(c.name), c.product.ID, c.product.Name, oneLine(c.product.About))
	for _, key := range c.product.Order {
		s := c.product.Settings[key]
		fmt.Fprintf(b, "      # %s\n", oneLine(s.About))
		value, written := c.value(key)
		switch {
		case written:
			fmt.Fprintf(b, "      %s: %s\n", key, quoted(value))
		case s.Type == "map":
			fmt.Fprintf(b, "      # %s: {}\n", key)
		case s.Secret:
			fmt.Fprintf(b, "      # %s: ${env:%s}\n", key, c.variable(key))
		default:
			fmt.Fprintf(b, "      # %s: %s\n", key, quoted(s.Default+s.Example))
		}
	}
	r := c.product.Rate
	fmt.Fprintf(b, "    # rate_limit: {requests_per_second: %g, burst: %d}\n", r.PerSecond, r.Burst)
	b.WriteString("    # http: {proxy_url: \"\", ca_file: \"\", timeout: 60s, max_body: 64MiB}\n    sources:\n")
	told := map[string]bool{}
	for _, s := range c.product.SourceList() {
		var text strings.Builder
		writeSource(&text, s, told)
		for line := range strings.Lines(text.String()) {
			if s.Optional { // for whoever wants it to uncomment
				line = "      # " + strings.TrimPrefix(line, "      ")
			}
			b.WriteString(line)
		}
	}
}

// writeSource writes the options of a source. told are those that have been
// explained.
func writeSource(b *strings.Builder, s *catalog.Source, told map[string]bool) {
	fmt.Fprintf(b, "      %s:   # %s: %s%s\n", s.ID, s.Name, oneLine(s.About), needs(s))
	option := func(text, about string) {
		key, _, _ := strings.Cut(text, ":")
		if told[key] {
			about = "" // once is enough
		}
		told[key] = true
		if text+about == "" {
			return
		}
		line := fmt.Sprintf("        %-25s # %s", text, about)
		b.WriteString(strings.TrimRight(line, "# ") + "\n")
	}
	if !s.OnlyWhole() {
		windowOptions(s, option)
	}
	if s.Snapshot != nil {
		option(fmt.Sprintf("# snapshot: %v", s.Snapshot.Every), "between two whole readings, which tell what is gone")
	}
	option(fmt.Sprintf("# page_size: %d", s.Paging.Size), fmt.Sprintf("records a request, %d at most", s.Paging.MaxSize))
	if s.Request.Filter != "" {
		option("# filter: {}", "what to read, in the product's own terms; absent for all")
	}
}

// windowOptions are the options of a source that is asked for by time.
func windowOptions(s *catalog.Source, option func(text, about string)) {
	option("start: 24h", "where to begin: an age (24h, 30d) or a time (2025-01-31T09:00:00Z), as far as")
	option("", "the product keeps its records; without start the feed begins at the present")
	option(fmt.Sprintf("# interval: %v", s.Window.Interval), "between two readings")
	option(fmt.Sprintf("# overlap: %v", s.Window.Overlap), "read again each time, since records become visible late")
	ages := make([]string, len(s.Window.Revisit))
	for i, age := range s.Window.Revisit {
		ages[i] = age.String()
	}
	option("# revisit: ["+strings.Join(ages, ", ")+"]", "ages at which windows are read once more; [] for none")
}

// value is what the file gives a setting, if anything.
func (c plannedConnection) value(key string) (value string, written bool) {
	if value, said := c.settings[key]; said {
		return value, true
	}
	s := c.product.Settings[key]
	if s.Required || slices.Contains(c.needed, key) || s.Secret && s.Env != "" && !slices.Contains(c.elsewhere, key) {
		return "${env:" + c.variable(key) + "}", true
	}
	return "", false
}

// signIn decides which of the product's ways to sign in the file is for: the
// one that the settings fit so far.
func (c *plannedConnection) signIn() {
	lookup := c.product.Lookup(func(name string) (string, bool) {
		value, said := c.settings[name]
		return value, said
	})
	auth, err := c.product.SignIn(lookup)
	if err != nil {
		auth = &c.product.Auth[len(c.product.Auth)-1]
	}
	c.needed = c.product.Needs(auth, lookup)
	for i := range c.product.Auth {
		c.elsewhere = append(c.elsewhere, c.product.Needs(&c.product.Auth[i], lookup)...)
	}
}

func needs(s *catalog.Source) string {
	if len(s.Scopes) == 0 {
		return ""
	}
	return "; needs " + strings.Join(s.Scopes, ", ")
}

// variable is the environment variable that a setting is read from.
func (c plannedConnection) variable(key string) string {
	if env := c.product.Settings[key].Env; env != "" {
		return env
	}
	return strings.ToUpper(c.product.ID + "_" + key)
}

// next are the steps after the file is written.
func (p *initPlan) next(path string) string {
	type step struct{ command, about string }
	var steps []step
	for _, c := range p.connections {
		for _, key := range c.product.Order {
			value, _ := c.value(key)
			for _, reference := range variables.FindAllStringSubmatch(value, -1) {
				export := step{"export " + reference[1] + "=...", oneLine(c.product.Settings[key].About)}
				if !slices.ContainsFunc(steps, func(s step) bool { return s.command == export.command }) {
					steps = append(steps, export)
				}
			}
		}
	}
	flag := ""
	if path != "trawl.yaml" {
		flag = " -c " + path
	}
	steps = append(steps, step{"trawl check" + flag, ""}, step{"trawl run --once" + flag, ""})
	width := 0
	for _, s := range steps {
		width = max(width, len(s.command))
	}
	var b strings.Builder
	b.WriteString("\nNext:\n")
	for _, s := range steps {
		line := fmt.Sprintf("  %-*s   # %s", width, s.command, s.about)
		b.WriteString(strings.TrimRight(line, " #") + "\n")
	}
	return b.String()
}

// variables are the environment variables that a value refers to.
var variables = regexp.MustCompile(`\$\{env:([^}]+)\}`)

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// quoted is a text as a YAML value, in quotes where it needs them.
func quoted(s string) string {
	if plainValue.MatchString(s) && !slices.Contains([]string{"null", "true", "false"}, strings.ToLower(s)) {
		return s
	}
	text, err := yaml.MarshalWithOptions(s, yaml.JSON())
	if err != nil {
		return fmt.Sprintf("%q", s)
	}
	return strings.TrimSpace(string(text))
}

// plainValue are texts that YAML reads as they are.
var plainValue = regexp.MustCompile(`^(\$\{[a-z]+:[A-Za-z0-9_./-]+\}|[A-Za-z./][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*|[0-9]+[a-z]+)$`)
