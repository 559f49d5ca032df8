// Command trawl collects the audit logs and findings of SaaS products. Each
// verb stands in a file of its own; `trawl help` lists them.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	catalogfiles "github.com/trawlsec/trawl/catalog"
	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// The exit statuses.
const (
	exitDone    = 0
	exitFailed  = 1 // a feed, an output, a check or a record failed
	exitMisused = 2 // flags or configuration
)

func main() {
	collectSeldom()
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole command, with its exit status. SIGINT and SIGTERM ask it to
// stop; the second one ends it at once.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer func() {
		signal.Stop(signals)
		close(signals)
	}()
	go func() {
		for range signals { // until run ends
			if ctx.Err() != nil {
				os.Exit(exitFailed)
			}
			cancel()
		}
	}()

	return newApp(stdin, stdout, stderr).execute(ctx, args)
}

// execute carries out a command line, and returns the status to exit with.
func (a *app) execute(ctx context.Context, args []string) int {
	root := a.command()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errReported):
		return exitFailed
	}
	a.report(err)
	if isMisuse(err) {
		return exitMisused
	}
	return exitFailed
}

// report tells of an error. Mistakes in files stand a line each, beginning with
// file:line:column, which editors know how to follow.
func (a *app) report(err error) {
	var mistakes strictyaml.Mistakes
	if errors.As(err, &mistakes) {
		fmt.Fprintln(a.stderr, mistakes)
		return
	}
	for _, err := range several(err) {
		text := strings.TrimSuffix(err.Error(), "\n")
		if a.builtIn && errors.As(err, new(*catalog.UnknownError)) {
			text += "; to find those of a folder of your own, name it with --catalog-dir, or a configuration with -c"
		}
		fmt.Fprintln(a.stderr, "trawl: "+text)
	}
}

// several are the errors that were joined into one.
func several(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, err := range joined.Unwrap() {
		all = append(all, several(err)...)
	}
	return all
}

// app is what the verbs share: the streams and the flags that all of them take.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr *liveLine

	config    string
	quiet     bool
	format    string
	logFormat string
	logLevel  string
	builtIn   bool // the catalogue that was looked at is Trawl's own, without a folder over it

	progressEvery time.Duration // of the lines where stderr is no terminal; 0: progressElsewhere
	reportEvery   time.Duration // between two looks at a report; 0: as usual
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, stdout: stdout, stderr: &liveLine{w: stderr}}
}

// command is the whole command tree.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "trawl",
		Short: "Collect the audit logs and findings of SaaS products, and lose none",
		Long: "Trawl pulls the audit logs and security findings of SaaS products, loses none of them,\n" +
			"turns each record into an ECS document and delivers it.\n\n" +
			"Start with `trawl demo`, which needs no account, or with `trawl init`.",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			_, err := a.logger() // refuses wrong flags, whether or not the verb logs
			return err
		},
		CompletionOptions: cobra.CompletionOptions{
			HiddenDefaultCmd: true,
		},
	}
	root.SetVersionTemplate("trawl {{.Version}}\n")
	root.Flags().Bool("version", false, "print the version") // else in other words, with -v
	flags := root.PersistentFlags()
	flags.StringVarP(&a.config, "config", "c", "", "configuration `FILE` (default ./trawl.yaml, then $XDG_CONFIG_HOME/trawl/trawl.yaml)")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "no progress, and of the log only warnings")
	flags.StringVar(&a.logFormat, "log-format", "text", "log lines as text or json")
	flags.StringVar(&a.logLevel, "log-level", "info", "least level that is logged: debug, info, warn or error")
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(helpCommand(root))
	root.AddGroup(
		&cobra.Group{ID: "start", Title: "Getting started:"},
		&cobra.Group{ID: "collect", Title: "Collecting:"},
		&cobra.Group{ID: "data", Title: "Records and products:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("start", a.demoCommand(), a.initCommand(), a.checkCommand())
	add("collect", a.runCommand(), a.backfillCommand(), a.importCommand(), a.statusCommand(), a.feedCommand(), a.deadCommand(), a.replayCommand())
	add("data", a.normalizeCommand(), a.catalogCommand(), a.matrixCommand(), a.emmCommand(), a.wizCommand(), a.configCommand())
	root.AddCommand(a.versionCommand())
	markMisuse(root)
	return root
}

// markMisuse makes wrong arguments, and flags that are missing or contradict
// each other, exit with the status of misuse. Which arguments a verb takes is
// what its usage line says.
func markMisuse(cmd *cobra.Command) {
	args := cmd.Args
	if args == nil && !cmd.HasSubCommands() {
		args = argumentsOf(cmd.Use)
	}
	if args != nil {
		cmd.Args = func(cmd *cobra.Command, given []string) error {
			if err := cmp.Or(args(cmd, given), missingFlags(cmd), clashingFlags(cmd)); err != nil {
				return misuse(fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath()))
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		markMisuse(c)
	}
}

// missingFlags names the flags that a verb cannot do without.
func missingFlags(cmd *cobra.Command) error {
	var missing []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, required := f.Annotations[cobra.BashCompOneRequiredFlag]; required && !f.Changed {
			what, _ := pflag.UnquoteUsage(f)
			missing = append(missing, strings.TrimSpace("--"+f.Name+" "+what))
		}
	})
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("missing: %s", strings.Join(missing, " and "))
}

// excludes is the annotation of a flag that names those it does not go with.
const excludes = "trawl_excludes"

// exclude says that two flags do not go together.
func exclude(cmd *cobra.Command, flag, other string) {
	f := cmd.Flags().Lookup(flag)
	_ = cmd.Flags().SetAnnotation(flag, excludes, append(f.Annotations[excludes], other)) // the flag is there
}

// clashingFlags names two flags that are there and do not go together.
func clashingFlags(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		for _, other := range f.Annotations[excludes] {
			if cmd.Flags().Changed(other) {
				err = fmt.Errorf("--%s and --%s do not go together", f.Name, other)
			}
		}
	})
	return err
}

// argumentsOf checks arguments against a usage line: NAME is one, A | B either,
// NAME... one or more, and what stands in brackets may be left out.
func argumentsOf(use string) cobra.PositionalArgs {
	var needed []string
	most := 0 // -1: any number
	for _, word := range strings.Fields(strings.ReplaceAll(use, " | ", "|"))[1:] {
		if strings.HasPrefix(strings.TrimPrefix(word, "["), "-") {
			break
		}
		name := strings.Trim(word, "[].")
		if !strings.HasPrefix(word, "[") {
			needed = append(needed, strings.ReplaceAll(name, "|", " or "))
		}
		if most++; strings.Contains(word, "...") {
			most = -1
		}
	}
	return func(_ *cobra.Command, given []string) error {
		switch {
		case len(given) < len(needed):
			return fmt.Errorf("missing: %s", strings.Join(needed[len(given):], " and "))
		case most == 0 && len(given) > 0:
			return fmt.Errorf("unexpected argument %q: it takes no arguments", given[0])
		case most > 0 && len(given) > most:
			return fmt.Errorf("unexpected argument %q after %q", given[most], given[most-1])
		}
		return nil
	}
}

// unknownCommand takes no arguments, for verbs that only have verbs below them,
// and suggests the one that was probably meant.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var known []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			known = append(known, sub.Name())
		}
	}
	return fmt.Errorf("unknown command %q for %q: %s", args[0], cmd.CommandPath(), strictyaml.Suggest(args[0], known))
}

// flagError is misuse; it suggests the flag that was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" {
		known := map[string]bool{}
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known["--"+f.Name] = true })
		name := "--" + unknown.GetSpecifiedName()
		err = fmt.Errorf("unknown flag %s: %s", name, strictyaml.Suggest(name, slices.Collect(maps.Keys(known))))
	}
	return misuse(fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath()))
}

// helpCommand is cobra's, except that a topic that does not exist is misuse.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Tell more about a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil {
				return misuse(err)
			}
			if len(rest) > 0 {
				return misuse(unknownCommand(cmd, rest))
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// errReported is a failure that the verb has already told about.
var errReported = errors.New("failed")

// misuseError is a mistake in flags, arguments or configuration.
type misuseError struct{ err error }

func (e *misuseError) Error() string { return e.err.Error() }
func (e *misuseError) Unwrap() error { return e.err }

func misuse(err error) error { return &misuseError{err} }

func isMisuse(err error) bool {
	var m *misuseError
	return errors.As(err, &m)
}

// load reads the configuration; what is wrong with it is misuse.
func (a *app) load(options ...config.Option) (*config.Config, error) {
	path, err := config.Find(a.config)
	if err != nil {
		return nil, misuse(err)
	}
	cfg, err := config.Load(path, loadCatalogue, options...)
	if err != nil {
		return nil, misuse(err)
	}
	return cfg, nil
}

// formatFlag adds --format to a verb that lists something.
func (a *app) formatFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.format, "format", "table", "table or json")
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if a.format != "table" && a.format != "json" {
			return misuse(fmt.Errorf("--format is %q; it can be table or json", a.format))
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// logger writes log lines to stderr.
func (a *app) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return nil, misuse(fmt.Errorf("--log-level is %q; it can be debug, info, warn or error", a.logLevel))
	}
	if a.quiet {
		level = max(level, slog.LevelWarn)
	}
	options := &slog.HandlerOptions{Level: level}
	switch a.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(a.stderr, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(a.stderr, options)), nil
	}
	return nil, misuse(fmt.Errorf("--log-format is %q; it can be text or json", a.logFormat))
}

// terminal gives the width of a stream that is a terminal; 0 for others.
func terminal(stream any) int {
	if l, ok := stream.(*liveLine); ok {
		stream = l.w
	}
	f, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return 80
	}
	return width
}

// builtInCatalogue is the embedded one, read when it is first needed.
var builtInCatalogue = sync.OnceValues(func() (*catalog.Catalogue, error) { return catalog.Load(catalogfiles.FS) })

// loadCatalogue reads the embedded catalogue and, over it, the folder dir
// unless that is empty.
func loadCatalogue(dir string) (*catalog.Catalogue, error) {
	if dir == "" {
		return builtInCatalogue()
	}
	return catalog.Load(catalogfiles.FS, catalog.Dir(dir))
}
