package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/catalog"
)

// initOptions are the flags of `trawl init`.
type initOptions struct {
	out        string
	connection string
	set        []string
	force      bool
	catalogDir string
}

func (a *app) initCommand() *cobra.Command {
	var o initOptions
	cmd := &cobra.Command{
		Use:   "init [PRODUCT]...",
		Short: "Write a commented trawl.yaml for the products named",
		Long: "Writes a configuration with a connection for each product, its sources (optional ones as comments)\n" +
			"and an output. On a terminal it asks for what it needs; elsewhere flags say it. A secret is never\n" +
			"written: the file refers to an environment variable or a file that holds it.",
		Example: `  $ trawl init wiz --set region=us1
  wrote trawl.yaml

  Next:
    export WIZ_CLIENT_ID=...       # Client id of the service account
    export WIZ_CLIENT_SECRET=...   # Client secret of the service account
    trawl check
    trawl run --once`,
	}
	_, dir := a.catalogDirFlag(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&o.out, "output", "o", "trawl.yaml", "`FILE` to write; - for the standard output")
	flags.StringVar(&o.connection, "connection", "", "`NAME` of the connection (default the product's)")
	flags.StringArrayVar(&o.set, "set", nil, "a setting, as `KEY=VALUE`; may be given several times")
	flags.BoolVar(&o.force, "force", false, "write over a file that is there")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cat, err := loadCatalogue(*dir)
		if err != nil {
			return misuse(err)
		}
		o.catalogDir, a.builtIn = *dir, *dir == ""
		return a.init(cmd.Context(), cat, args, o)
	}
	return cmd
}

// seenFrom is a folder as a configuration at a path refers to it: relative to
// the path's folder where it is below that, so that both can be moved together.
func seenFrom(path, folder string) string {
	full, err := filepath.Abs(folder)
	if folder == "" || err != nil {
		return folder
	}
	if from, err := filepath.Abs(filepath.Dir(path)); err == nil && path != "-" {
		if rel, err := filepath.Rel(from, full); err == nil && filepath.IsLocal(rel) {
			return "./" + filepath.ToSlash(rel)
		}
	}
	return full
}

func (a *app) init(ctx context.Context, cat *catalog.Catalogue, args []string, o initOptions) error {
	if err := mayWrite(o); err != nil {
		return err
	}
	ask := &asker{app: a, in: bufio.NewReader(a.stdin)}
	products, err := chosenProducts(ctx, cat, args, ask)
	if err != nil {
		return err
	}
	plan := initPlan{catalogDir: seenFrom(o.out, o.catalogDir)}
	for _, p := range products {
		plan.connections = append(plan.connections, plannedConnection{name: p.ID, product: p, settings: map[string]string{}})
	}
	if err := plan.apply(o); err != nil {
		return err
	}
	if err := plan.ask(ctx, ask, o); err != nil {
		return err
	}
	for i := range plan.connections {
		plan.connections[i].signIn()
	}
	text := plan.yaml()
	if o.out == "-" {
		_, err := a.stdout.Write(text)
		return err
	}
	if err := writeNew(o.out, text, o.force); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "wrote %s\n", o.out)
	if !a.quiet {
		fmt.Fprint(a.stderr, plan.next(o.out))
	}
	return nil
}

// mayWrite refuses early what writeNew would refuse after all questions.
func mayWrite(o initOptions) error {
	if _, err := os.Lstat(o.out); err == nil && o.out != "-" && !o.force {
		return misuse(fmt.Errorf("%s is there already; --force writes over it, -o writes elsewhere", o.out))
	}
	return nil
}

func writeNew(path string, text []byte, force bool) error {
	mode := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		mode = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, mode, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return misuse(fmt.Errorf("%s is there already; --force writes over it, -o writes elsewhere", path))
	}
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if _, err := f.Write(text); err != nil {
		return errors.Join(fmt.Errorf("write configuration: %w", err), f.Close())
	}
	return f.Close()
}

func chosenProducts(ctx context.Context, cat *catalog.Catalogue, args []string, ask *asker) ([]*catalog.Product, error) {
	var known []string
	for _, p := range cat.Products() {
		known = append(known, p.ID)
	}
	if len(args) == 0 {
		if !ask.app.asks() {
			return nil, misuse(fmt.Errorf("name the products to collect from; there are: %s", strings.Join(known, ", ")))
		}
		answer, err := ask.until(ctx, "Products to collect from ("+strings.Join(known, ", ")+")", "", func(answer string) error {
			_, err := productsOf(cat, strings.FieldsFunc(answer, isSeparator))
			return err
		})
		if err != nil {
			return nil, err
		}
		args = strings.FieldsFunc(answer, isSeparator)
	}
	products, err := productsOf(cat, args)
	if err != nil {
		return nil, misuse(err)
	}
	return products, nil
}

func isSeparator(r rune) bool { return r == ' ' || r == ',' }

func productsOf(cat *catalog.Catalogue, names []string) ([]*catalog.Product, error) {
	if len(names) == 0 {
		return nil, errors.New("name at least one")
	}
	var products []*catalog.Product
	for _, name := range names {
		p, err := cat.Product(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(products, p) {
			products = append(products, p)
		}
	}
	return products, nil
}

// initPlan is what will be written.
type initPlan struct {
	catalogDir  string
	connections []plannedConnection
}

type plannedConnection struct {
	name     string
	product  *catalog.Product
	settings map[string]string // those with a value of their own

	needed    []string // settings that the way to sign in needs
	elsewhere []string // those that any way needs
}

// apply takes the flags in.
func (p *initPlan) apply(o initOptions) error {
	if o.connection != "" {
		if len(p.connections) > 1 {
			return misuse(errors.New("--connection names one connection; give one product"))
		}
		if err := connectionName(o.connection); err != nil {
			return misuse(fmt.Errorf("--connection: %w", err))
		}
		p.connections[0].name = o.connection
	}
	for _, set := range o.set {
		key, value, ok := strings.Cut(set, "=")
		if !ok {
			return misuse(fmt.Errorf("--set %s: write KEY=VALUE", set))
		}
		used := false
		for _, c := range p.connections {
			setting, has := c.product.Settings[key]
			if !has {
				continue
			}
			used = true
			if err := plainSetting(key, value, setting); err != nil {
				return misuse(fmt.Errorf("--set %w", err))
			}
			c.settings[key] = value
		}
		if !used {
			return misuse(fmt.Errorf("--set %s: no such setting; there are: %s", key, strings.Join(p.settingNames(), ", ")))
		}
	}
	return nil
}

func (p *initPlan) settingNames() []string {
	names := map[string]bool{}
	for _, c := range p.connections {
		for name, s := range c.product.Settings {
			if !s.Secret && s.Type != "map" {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// plainSetting refuses values that must not be written, or would be wrong. Its
// errors do not show the value.
func plainSetting(key, value string, s catalog.Setting) error {
	refers := strings.HasPrefix(value, "${env:") || strings.HasPrefix(value, "${file:")
	switch {
	case s.Type == "map":
		return fmt.Errorf("%s: is a mapping; write it into the file", key)
	case s.Secret && !(refers && strings.HasSuffix(value, "}")):
		return fmt.Errorf("%s: a secret is never written into the configuration; set %s when trawl runs, or pass ${file:PATH}", key, variableOf(s))
	case refers:
		return nil
	}
	if err := s.Check(value); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

func variableOf(s catalog.Setting) string {
	if s.Env == "" {
		return "a variable"
	}
	return s.Env
}

// ask asks for what flags have not said: names, what is needed, and what has an
// example but no default.
func (p *initPlan) ask(ctx context.Context, ask *asker, o initOptions) error {
	if !ask.app.asks() || o.out == "-" {
		return nil
	}
	for i := range p.connections {
		c := &p.connections[i]
		if o.connection == "" {
			name, err := ask.until(ctx, "Name of the connection to "+c.product.Name, c.name, connectionName)
			if err != nil {
				return err
			}
			c.name = name
		}
		for _, key := range c.product.Order {
			s := c.product.Settings[key]
			_, said := c.settings[key]
			if said || s.Secret || s.Type == "map" || (!s.Required && s.Example == "") {
				continue
			}
			value, err := ask.setting(ctx, key, s)
			if err != nil {
				return err
			}
			if value != "" {
				c.settings[key] = value
			}
		}
	}
	return nil
}

// asker asks people on the terminal.
type asker struct {
	app *app
	in  *bufio.Reader
}

// setting asks for a setting. "" is to leave it as it is.
func (k *asker) setting(ctx context.Context, key string, s catalog.Setting) (string, error) {
	question := fmt.Sprintf("%s: %s", key, s.About)
	def := ""
	switch {
	case s.Required && s.Env != "":
		def = "${env:" + s.Env + "}"
	case s.Example != "":
		question += ", as in " + s.Example
	}
	if !s.Required {
		question += " (Enter for none)"
	}
	return k.until(ctx, question, def, func(answer string) error {
		if answer == "" && s.Required {
			return errors.New("it is needed")
		}
		if answer == "" {
			return nil
		}
		return plainSetting(key, answer, s)
	})
}

// until asks until the answer is sound. The end of the input ends it.
func (k *asker) until(ctx context.Context, question, def string, check func(string) error) (string, error) {
	if def != "" {
		question += " [" + def + "]"
	}
	for {
		fmt.Fprint(k.app.stderr, question+": ")
		line, err := answered(ctx, k.in)
		answer := strings.TrimSpace(line)
		if answer == "" {
			answer = def
		}
		if err != nil && line == "" {
			fmt.Fprintln(k.app.stderr)
			return "", errors.New("no answer; nothing written")
		}
		if err := check(answer); err != nil {
			fmt.Fprintf(k.app.stderr, "  %v\n", err)
			continue
		}
		return answer, nil
	}
}
