package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

func (a *app) catalogCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "catalog",
		Short: "Show the products that Trawl knows, and check your own",
		Long: "The catalogue holds all that Trawl knows of a product: how to sign in, what to ask, how the\n" +
			"answer becomes documents. It comes with the program; a folder of your own adds to it, or\n" +
			"replaces parts (catalog_dir in the configuration, --catalog-dir here).",
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.catalogListCommand(), a.catalogShowCommand(), a.catalogLintCommand(), a.catalogTestCommand(), a.catalogNewCommand(), schemaCommand(a, "the catalogue's files", catalog.Schema))
	return cmd
}

// catalogDirFlag adds --catalog-dir. load gives the catalogue with it or,
// without it, with the catalog_dir of the configuration that -c names.
func (a *app) catalogDirFlag(cmd *cobra.Command) (load func() (*catalog.Catalogue, error), dir *string) {
	dir = cmd.Flags().String("catalog-dir", "", "`FOLDER` with products of your own (default that of the configuration given with -c)")
	return func() (*catalog.Catalogue, error) {
		own := *dir
		if own == "" {
			var err error
			if own, err = a.configuredDir(); err != nil {
				return nil, err
			}
		}
		cat, err := loadCatalogue(own)
		if err != nil {
			return nil, misuse(err)
		}
		a.builtIn = own == ""
		return cat, nil
	}, dir
}

// configuredDir is the catalog_dir of the configuration that -c names, "" for none.
func (a *app) configuredDir() (string, error) {
	if a.config == "" {
		return "", nil
	}
	var dir string
	_, err := config.Load(a.config, func(own string) (*catalog.Catalogue, error) {
		dir = own
		return loadCatalogue("")
	}, config.WithoutSecrets)
	var mistakes config.Mistakes
	if err != nil && !errors.As(err, &mistakes) {
		return "", misuse(err) // what else is wrong in it is for trawl check
	}
	return dir, nil
}

func schemaCommand(a *app, of string, schema func() []byte) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of " + of + ", for editors",
		RunE: func(*cobra.Command, []string) error {
			_, err := a.stdout.Write(schema())
			return err
		},
	}
}

// listedSource is a source in `trawl catalog list`.
type listedSource struct {
	Source    string           `json:"source"`
	Product   string           `json:"product"`
	Name      string           `json:"name"`
	Kind      string           `json:"kind"`
	Optional  bool             `json:"optional,omitempty"` // read only where it is named
	About     string           `json:"about"`
	Scopes    []string         `json:"scopes,omitempty"`
	Interval  catalog.Duration `json:"interval"`
	Retention catalog.Duration `json:"retention,omitzero"`
	Snapshot  catalog.Duration `json:"snapshot,omitzero"` // between two whole readings
}

func (a *app) catalogListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the sources of all products",
		Example: `  $ trawl catalog list
  SOURCE          NAME        KIND   EVERY  REACHES  READ      ABOUT
  wiz/audit       Audit log   log    5m     180d     yes       What users and service accounts did in the Wiz tenant, ...
  wiz/detections  Detections  state  5m     unknown  if named  What threat detection rules matched, whether or not ...`,
	}
	load, _ := a.catalogDirFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		cat, err := load()
		if err != nil {
			return err
		}
		listed := []listedSource{}
		t := &table{header: []string{"SOURCE", "NAME", "KIND", "EVERY", "REACHES", "READ", "ABOUT"}}
		for _, p := range cat.Products() {
			for _, s := range p.SourceList() {
				listed = append(listed, listedSource{
					Source: s.FullName(), Product: p.ID, Name: s.Name, Kind: s.Kind, Optional: s.Optional, About: s.About, Scopes: s.Scopes,
					Interval: s.Interval(), Retention: s.Window.Retention, Snapshot: s.Snapshot.Period(),
				})
				t.add(s.FullName(), s.Name, s.Kind, s.Interval().String(), reach(s), readWhen(s), s.About)
			}
		}
		if a.format == "json" {
			return writeJSON(a.stdout, listed)
		}
		t.write(a.stdout)
		return nil
	}
	a.formatFlag(cmd)
	return cmd
}

// readWhen says whether a source is read without being named.
func readWhen(s *catalog.Source) string {
	if s.Optional {
		return "if named"
	}
	return "yes"
}

// reach is how far back a source can be asked.
func reach(s *catalog.Source) string {
	switch {
	case s.OnlyWhole():
		return "all"
	case s.Window.Retention == 0:
		return "unknown"
	}
	return s.Window.Retention.String()
}

func (a *app) catalogShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show PRODUCT | SOURCE",
		Short: "Show what is known of a product or a source",
		Long: "Shows a product (wiz): its settings, its sources, where the facts come from. Or a source\n" +
			"(wiz/audit): what is asked, how it is paged, what documents hold. --format json has everything.",
		Example: "  trawl catalog show wiz\n  trawl catalog show wiz/audit\n  trawl catalog show wiz/audit --format json | jq -r .request.graphql.query",
	}
	load, _ := a.catalogDirFlag(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		cat, err := load()
		if err != nil {
			return err
		}
		if strings.Contains(args[0], "/") {
			s, err := cat.Source(args[0])
			if err != nil {
				return misuse(err)
			}
			return a.showSource(s)
		}
		p, err := cat.Product(args[0])
		if err != nil {
			return misuse(err)
		}
		return a.showProduct(p)
	}
	a.formatFlag(cmd)
	return cmd
}

func (a *app) showProduct(p *catalog.Product) error {
	if a.format == "json" {
		sources := map[string]*catalog.Source{}
		maps.Copy(sources, p.Sources)
		return a.writeCatalogue(p, "sources", sources)
	}
	fmt.Fprintf(a.stdout, "%s: %s, by %s\n%s\n\n", p.ID, p.Name, p.Vendor, p.About)
	sources := &table{header: []string{"SOURCE", "NAME", "ABOUT"}}
	for _, s := range p.SourceList() {
		sources.add(s.FullName(), s.Name, s.About)
	}
	sources.write(a.stdout)
	fmt.Fprintln(a.stdout)
	settings := &table{header: []string{"SETTING", "TYPE", "DEFAULT", "ABOUT"}}
	for _, name := range p.Order {
		s := p.Settings[name]
		def := s.Default
		if s.Required {
			def = "required"
		}
		settings.add(name, settingType(s), def, s.About)
	}
	settings.write(a.stdout)
	fmt.Fprintln(a.stdout)
	for i := range p.Auth {
		fmt.Fprintf(a.stdout, "signs in with %s\n", signInWords(p.Auth[i]))
	}
	fmt.Fprintf(a.stdout, "at most %g requests a second, %d at once, unless rate_limit says otherwise\n", p.Rate.PerSecond, p.Rate.Burst)
	writeLinks(a.stdout, p.Links)
	return nil
}

// signInWords says how a way to sign in goes, and when it is taken.
func signInWords(a catalog.Auth) string {
	words := "a token"
	switch a.Type {
	case "token":
		if a.Header != "" {
			words += " in the header " + a.Header
		}
	case "basic":
		words = "HTTP Basic"
	case "oauth2":
		grant := cmp.Or(a.Params["grant_type"], "client_credentials")
		words = "OAuth 2: " + grant[strings.LastIndexByte(grant, ':')+1:]
		if a.JWT != nil {
			words += ", with a signed assertion"
		}
		if a.Rotates != "" {
			words += ", where an answer may replace " + a.Rotates
		}
	}
	var when []string
	for _, name := range slices.Sorted(maps.Keys(a.If)) {
		if glob := a.If[name]; glob == "?*" {
			when = append(when, name+" is set")
		} else {
			when = append(when, name+" is "+glob)
		}
	}
	if len(when) > 0 {
		words += "; if " + strings.Join(when, " and ")
	}
	return words
}

func settingType(s catalog.Setting) string {
	switch {
	case s.Secret:
		return "secret"
	case s.Type == "":
		return "string"
	}
	return s.Type
}

func (a *app) showSource(s *catalog.Source) error {
	if a.format == "json" {
		return a.writeCatalogue(s, "product", s.Product.ID)
	}
	w := a.stdout
	fmt.Fprintf(w, "%s: %s\n%s\n\n", s.FullName(), s.Name, s.About)
	fact := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-11s %s\n", name, fmt.Sprintf(format, args...))
	}
	kind := map[string]string{"log": "events, each for ever", "state": "findings, which change and vanish"}[s.Kind]
	fact("kind", "%s: %s", s.Kind, kind)
	if s.Optional {
		fact("optional", "read only where a connection's sources name it")
	}
	if len(s.Scopes) > 0 {
		fact("permission", "%s", strings.Join(s.Scopes, ", "))
	}
	if !s.OnlyWhole() {
		fact("read", "every %v, the last %v again each time%s", s.Window.Interval, s.Window.Overlap, revisits(s.Window))
		fact("reaches", "%s back", reach(s))
		fact("by", "%s", strings.Join(s.Window.Fields, ", "))
	}
	if whole := s.Snapshot; whole != nil {
		by := ""
		if whole.Field != "" {
			by = ", in slices by " + whole.Field
		}
		fact("read whole", "every %v%s; what is gone then is told", whole.Every, by)
	}
	if s.Stream != nil {
		fact("follows", "%s", streamWords(s.Stream))
	}
	fact("pages", "%d records each (%d at most)%s%s", s.Paging.Size, s.Paging.MaxSize, pageWay(s.Paging), pageCap(s.Paging))
	for _, n := range s.Nested {
		fact("lists", "%s is read to its end, %d elements each time, %d at most", n.At, n.Size, n.Most)
	}
	fact("record", "id %s, time %s", strings.Join(s.Record.ID, " or "), strings.Join(s.Record.Time, " or "))
	latency := s.Facts.Latency
	if within := s.Facts.VisibleWithin; within > 0 {
		latency = strings.TrimPrefix(latency+"; visible within "+within.String(), "; ")
	}
	for _, documented := range [][2]string{{"retention", s.Facts.Retention}, {"latency", latency}, {"licensing", s.Facts.Licensing}} {
		if documented[1] != "" {
			fact(documented[0], "%s", documented[1])
		}
	}
	fmt.Fprintf(w, "\ndocuments\n%s", wrapList(mappedFields(s.ECS), 100))
	if s.Request.GraphQL != nil {
		fmt.Fprintf(w, "\nrequest: %s\n%s", s.Request.Method, indented(s.Request.GraphQL.Query))
	} else {
		fmt.Fprintf(w, "\nrequest: %s %s\n", s.Request.Method, s.Request.Path)
	}
	writeLinks(w, s.Facts.References)
	return nil
}

func revisits(w catalog.Window) string {
	if len(w.Revisit) == 0 {
		return ""
	}
	ages := make([]string, len(w.Revisit))
	for i, age := range w.Revisit {
		ages[i] = age.String()
	}
	return ", and what is " + strings.Join(ages, " and ") + " old"
}

func streamWords(s *catalog.Stream) string {
	words := "new records by a position that the API gives; what is older by time"
	if s.Keeps > 0 {
		words += fmt.Sprintf(", as it is after %v without a reading", s.Keeps)
	}
	return words
}

// pageWay says how the next page is asked for.
func pageWay(p catalog.Paging) string {
	switch {
	case p.Link != "":
		return ", the next by the Link header"
	case p.NextURL != "":
		return ", the next by the URL at " + p.NextURL
	case p.Offset:
		return ", the next by how many there were"
	case p.FirstPage != nil:
		return ", the next by its number"
	case p.Cursor != "":
		return ", the next by the cursor at " + p.Cursor
	}
	return ""
}

func pageCap(p catalog.Paging) string {
	if p.Cap == 0 {
		return ""
	}
	return fmt.Sprintf("; no query yields more than %d", p.Cap)
}

// mappedFields are the fields of documents that a mapping can set.
func mappedFields(m catalog.Mapping) []string {
	fields := map[string]bool{}
	note := func(exprs map[string]catalog.Expr, constants map[string]any) {
		for f := range exprs {
			fields[f] = true
		}
		for f := range constants {
			fields[f] = true
		}
	}
	note(m.Fields, m.Constants)
	for _, b := range m.When {
		note(b.Fields, b.Constants)
	}
	for _, l := range m.Lookups {
		for _, c := range l.Cases {
			note(nil, c.Set)
		}
	}
	for key := range m.Related {
		fields["related."+key] = true
	}
	return slices.Sorted(maps.Keys(fields))
}

// wrapList puts words on lines of some width.
func wrapList(words []string, width int) string {
	var b strings.Builder
	line := 0
	for i, word := range words {
		switch {
		case i == 0:
			b.WriteString("  ")
		case line+len(word)+2 > width:
			b.WriteString("\n  ")
			line = 0
		default:
			b.WriteString("  ")
		}
		b.WriteString(word)
		line += len(word) + 2
	}
	b.WriteString("\n")
	return b.String()
}

func indented(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ") + "\n"
}

func writeLinks(w io.Writer, links []catalog.Link) {
	if len(links) > 0 {
		fmt.Fprintln(w, "\nreferences")
	}
	for _, l := range links {
		fmt.Fprintf(w, "  %s: %s\n", l.Title, l.URL)
	}
}

// writeCatalogue prints a product or a source with the keys of its file, and
// one more member, which its file does not have.
func (a *app) writeCatalogue(v any, key string, extra any) error {
	raw, err := strictyaml.JSON(v)
	if err != nil {
		return err
	}
	more, err := strictyaml.JSON(map[string]any{key: extra})
	if err != nil {
		return err
	}
	joined := append(raw[:len(raw)-1:len(raw)-1], ',')
	return writeJSON(a.stdout, json.RawMessage(append(joined, more[1:]...)))
}
