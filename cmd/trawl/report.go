package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/engine"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

// What a product's report is, the catalogue says (catalog.Reports); only the
// verb has a product's name.
const reportsOf = "wiz"

// Between two looks at a report that is being made there is a wait, which grows.
const (
	reportPoll = 5 * time.Second // at most
	reportSoon = reportPoll / 10 // at first
)

func (a *app) wizCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   reportsOf,
		Short: "What only Wiz has: reports",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	report := &cobra.Command{
		Use:   "report",
		Short: "Order files of records from the product, and download them",
		Long: "A report is a file of records that the product makes to order. create makes one, rerun makes its\n" +
			"file anew; both wait until it is ready and download it. Both write to the tenant: its audit log\n" +
			"shows them. The file of an audit report can be put into the log with `trawl import`.",
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	report.AddCommand(a.reportListCommand(), a.reportCreateCommand(), a.reportRerunCommand(), a.reportDownloadCommand())
	cmd.AddCommand(report)
	return cmd
}

// reportFlags are what the verbs that end with a file have in common.
type reportFlags struct {
	out     string
	noWait  bool
	timeout time.Duration
}

// check refuses a file that can't be written, before anything is ordered.
func (f *reportFlags) check() error {
	if f.out == "" || f.out == "-" || f.noWait {
		return nil
	}
	if st, err := os.Stat(f.out); err == nil && st.IsDir() {
		return misuse(fmt.Errorf("--out %s is a folder; name a file in it", f.out))
	}
	if st, err := os.Stat(filepath.Dir(f.out)); err != nil || !st.IsDir() {
		return misuse(fmt.Errorf("--out %s: there is no folder %s", f.out, filepath.Dir(f.out)))
	}
	return nil
}

func (f *reportFlags) add(cmd *cobra.Command, waits bool) {
	cmd.Flags().StringVarP(&f.out, "out", "o", "", "`FILE` to write, - for the standard output (default the report's name, where there is no such file)")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 30*time.Minute, "how long to wait for the file")
	if waits {
		cmd.Flags().BoolVar(&f.noWait, "no-wait", false, "order it, and leave the file for trawl wiz report download")
	}
}

func (a *app) reportListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list CONNECTION",
		Short: "List the reports that there are",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.reporter(args[0])
			if err != nil {
				return err
			}
			defer r.close()
			return r.list(cmd.Context())
		},
	}
	a.formatFlag(cmd)
	return cmd
}

func (a *app) reportCreateCommand() *cobra.Command {
	var f reportFlags
	var kind, name, format, since, until string
	cmd := &cobra.Command{
		Use:     "create CONNECTION",
		Short:   "Make a report, wait for its file and download it",
		Example: "  trawl wiz report create wiz-prod --since 90d -o audit.csv\n  trawl import wiz-prod/audit audit.csv",
	}
	f.add(cmd, true)
	cmd.Flags().StringVar(&kind, "kind", "audit", "what the report is of")
	cmd.Flags().StringVar(&name, "name", "", "name of the report (default one with the time)")
	cmd.Flags().StringVar(&format, "as", "csv", "csv or json")
	cmd.Flags().StringVar(&since, "since", "", "beginning of the records: a `TIME`, a date, or how long ago, like 90d")
	cmd.Flags().StringVar(&until, "until", "", "end of the records, likewise")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(); err != nil {
			return err
		}
		if format != "csv" && format != "json" {
			return misuse(fmt.Errorf("--as is %q; it can be csv or json", format))
		}
		now := time.Now()
		names := map[string]any{"format": strings.ToUpper(format), "name": cmp.Or(name, "trawl "+kind+" "+now.UTC().Format("2006-01-02 150405"))}
		for flag, text := range map[string]string{"since": since, "until": until} {
			if text == "" {
				continue
			}
			at, err := moment("--"+flag, text, now)
			if err != nil {
				return err
			}
			names[flag] = at.UTC().Format("2006-01-02T15:04:05.000000Z")
		}
		r, err := a.reporter(args[0])
		if err != nil {
			return err
		}
		defer r.close()
		of, ok := r.spec.Kinds[kind]
		if !ok {
			return misuse(fmt.Errorf("--kind is %q; there can be reports of: %s", kind, strings.Join(slices.Sorted(maps.Keys(r.spec.Kinds)), ", ")))
		}
		names["type"] = of.Type
		query := r.spec.Create
		query.GraphQL.Variables = merged(query.GraphQL.Variables, of.Variables)
		made, err := r.order(cmd.Context(), "report", query, names)
		if err != nil {
			return err
		}
		if err := r.finish(cmd.Context(), made, report{}, &f); err != nil || f.noWait {
			return err
		}
		if of.Source != "" && f.out != "-" && !a.quiet {
			fmt.Fprintf(a.stderr, "to put its records into the log: trawl import %s/%s %s\n", args[0], of.Source, f.out)
		}
		return nil
	}
	return cmd
}

func (a *app) reportRerunCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rerun CONNECTION ID",
		Short: "Make the file of a report anew, wait for it and download it",
	}
	return a.onReport(cmd, true, func(ctx context.Context, r *reporter, id string) (made, before report, err error) {
		if before, err = r.read(ctx, id); err == nil {
			made, err = r.order(ctx, "rerun of report", r.spec.Rerun, map[string]any{"id": id})
		}
		return made, before, err
	})
}

func (a *app) reportDownloadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "download CONNECTION ID",
		Short: "Wait for the file of a report and download it",
	}
	return a.onReport(cmd, false, func(ctx context.Context, r *reporter, id string) (found, before report, err error) {
		found, err = r.read(ctx, id)
		return found, report{}, err
	})
}

// onReport makes a verb of one that ends with the file of a report that there
// is; before is as in finish.
func (a *app) onReport(cmd *cobra.Command, orders bool, do func(ctx context.Context, r *reporter, id string) (one, before report, err error)) *cobra.Command {
	var f reportFlags
	f.add(cmd, orders)
	cmd.Args = cobra.ExactArgs(2)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(); err != nil {
			return err
		}
		r, err := a.reporter(args[0])
		if err != nil {
			return err
		}
		defer r.close()
		one, before, err := do(cmd.Context(), r, args[1])
		if err != nil {
			return err
		}
		return r.finish(cmd.Context(), one, before, &f)
	}
	return cmd
}

// report is a product's report as it stands.
type report struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Type     string `json:"type"`
	State    string `json:"state"` // the API's word
	Progress string `json:"progress,omitempty"`
	RunAt    string `json:"run_at,omitempty"`
	Failure  string `json:"failure,omitempty"`

	means string // done, failed, expired or nothing
	run   string // id of the last run
	url   string
}

// reporter orders the reports of a connection.
type reporter struct {
	name   string // of the connection
	a      *app
	spec   *catalog.Reports
	client *fetch.Client
	order1 *fetch.Client // what makes something is not tried again: it may have been made
}

func (a *app) reporter(connection string) (*reporter, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(cfg.Connections, func(c config.Connection) bool { return c.Name == connection })
	if i < 0 {
		var known []string
		for _, c := range cfg.Connections {
			known = append(known, c.Name)
		}
		return nil, misuse(fmt.Errorf("connection %q is not configured; there are: %s", connection, strings.Join(known, ", ")))
	}
	c := &cfg.Connections[i]
	if c.Product.Reports == nil {
		return nil, misuse(fmt.Errorf("connection %s: the catalogue knows of no reports of %s", connection, c.Product.Name))
	}
	r := &reporter{name: connection, a: a, spec: c.Product.Reports}
	options := fetch.Options{Logger: slog.New(slog.DiscardHandler), UserAgent: userAgent(), Tries: connectTries}
	if r.client, err = engine.NewClient(c, options); err != nil {
		return nil, err
	}
	options.Tries = 1
	if r.order1, err = engine.NewClient(c, options); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *reporter) close() {
	r.client.Close()
	r.order1.Close()
}

// parse reads what the API says of a report.
func (r *reporter) parse(raw []byte) (report, error) {
	var out report
	p := r.spec.Report
	for path, into := range map[string]*string{
		p.ID: &out.ID, p.Name: &out.Name, p.Type: &out.Type, p.State: &out.State, p.Progress: &out.Progress,
		p.Run: &out.run, p.RunAt: &out.RunAt, p.Failure: &out.Failure, p.URL: &out.url,
	} {
		at, err := jsonscan.ParsePath(path)
		if err != nil {
			return out, err // Load has checked it
		}
		at.Each(raw, func(value []byte) bool {
			if text, ok := jsonscan.String(value); ok {
				*into = text
			} else if jsonscan.Kind(value) != 'n' {
				*into = string(value)
			}
			return false
		})
	}
	out.means = r.spec.States[out.State]
	if out.ID == "" {
		return out, errors.New("the API's answer has no report in it")
	}
	return out, nil
}

func (r *reporter) list(ctx context.Context) error {
	found, err := r.client.Ask(ctx, "list of reports", r.spec.List, r.spec.Scopes, nil)
	if err != nil {
		return err
	}
	reports := []report{}
	for _, raw := range found {
		one, err := r.parse(raw)
		if err != nil {
			return err
		}
		reports = append(reports, one)
	}
	if r.a.format == "json" {
		return writeJSON(r.a.stdout, reports)
	}
	t := &table{header: []string{"ID", "TYPE", "STATE", "LAST RUN", "NAME"}, spare: []string{"TYPE", "LAST RUN"}}
	for _, one := range reports {
		t.add(one.ID, one.Type, cmp.Or(one.State, "-"), cmp.Or(one.RunAt, "-"), one.Name)
	}
	t.write(r.a.stdout)
	return nil
}

// order has a report made or made anew.
func (r *reporter) order(ctx context.Context, what string, query catalog.Query, names map[string]any) (report, error) {
	answer, err := r.order1.Ask(ctx, what, query, r.spec.Scopes, names)
	if err != nil {
		return report{}, fmt.Errorf("%w; before you try again, see with `trawl wiz report list` whether it was made", err)
	}
	if len(answer) == 0 {
		return report{}, errors.New("the API made no report and does not say why")
	}
	one, err := r.parse(answer[0])
	if err == nil {
		r.tell("report %s: ordered", one.ID)
	}
	return one, err
}

func (r *reporter) read(ctx context.Context, id string) (report, error) {
	answer, err := r.client.Ask(ctx, "report", r.spec.Read, r.spec.Scopes, map[string]any{"id": id})
	var refused *fetch.Error
	switch {
	case errors.As(err, &refused) && refused.Class == fetch.Permanent && refused.Message != "" &&
		(refused.Status == http.StatusOK || refused.Status == http.StatusBadRequest): // the API's own words; the query is ours, so what may be wrong with it is the id
		return report{}, fmt.Errorf("report %s: %s; see with `trawl wiz report list` which there are", id, refused.Message)
	case err != nil:
		return report{}, err
	case len(answer) == 0:
		return report{}, fmt.Errorf("report %s: there is none of this id; see `trawl wiz report list`", id)
	}
	return r.parse(answer[0])
}

// finish waits until a report's file is there, and downloads it. A file, or a
// failure, of the run before is none of this one: for a while after a rerun was
// ordered an API may go on telling of that.
func (r *reporter) finish(ctx context.Context, one, before report, f *reportFlags) error {
	if f.noWait {
		fmt.Fprintln(r.a.stdout, one.ID)
		return nil
	}
	deadline, wait := time.Now().Add(f.timeout), cmp.Or(r.a.reportEvery, reportSoon)
	for told := ""; ; wait = min(2*wait, reportPoll) {
		old := one.run == before.run && one.RunAt == before.RunAt && before.run != ""
		switch {
		case old:
			one.State, one.Progress = "", ""
		case one.means == "done" && one.url != "":
			return r.download(ctx, one, f)
		case one.means == "failed":
			return fmt.Errorf("report %s failed: %s", one.ID, cmp.Or(one.Failure, "the API does not say why"))
		case one.means == "expired":
			return fmt.Errorf("report %s: its file has expired; make it anew with `trawl wiz report rerun`", one.ID)
		}
		if state := strings.TrimSpace(one.State + " " + one.Progress); state != told {
			told = state
			r.tell("report %s: %s %%", one.ID, state)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("report %s was not ready within %s; go on waiting with `trawl wiz report download`", one.ID, f.timeout)
		}
		if pause(ctx, min(wait, left)); ctx.Err() != nil {
			return fmt.Errorf("report %s: interrupted; go on with `trawl wiz report download`", one.ID)
		}
		var err error
		if one, err = r.read(ctx, one.ID); err != nil {
			return err
		}
	}
}

// download writes a report's file. It appears whole, or not at all.
func (r *reporter) download(ctx context.Context, one report, f *reportFlags) (err error) {
	if f.out == "-" {
		_, err := r.copy(ctx, one, r.a.stdout)
		return err
	}
	if f.out == "" {
		f.out = fileName(cmp.Or(one.Name, one.ID))
		if _, err := os.Lstat(f.out); err == nil {
			return fmt.Errorf("write report: there is a %s here already, which is left as it is; get the report with `trawl wiz report download %s %s --out FILE`", f.out, r.name, one.ID)
		}
	}
	if st, err := os.Stat(f.out); err == nil && !st.Mode().IsRegular() { // a device, or a pipe
		return r.downloadInto(ctx, one, f.out)
	}
	part, err := os.CreateTemp(filepath.Dir(f.out), ".trawl-report-*")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	n, err := r.copy(ctx, one, part)
	if err = errors.Join(err, part.Close()); err != nil {
		return err
	}
	if err := os.Rename(part.Name(), f.out); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	r.tell("report %s: %s written to %s", one.ID, bytes(n), f.out)
	return nil
}

// downloadInto writes a report's file into what is no regular file.
func (r *reporter) downloadInto(ctx context.Context, one report, path string) error {
	to, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	_, err = r.copy(ctx, one, to)
	return errors.Join(err, to.Close())
}

// copy copies a report's file. An address that has expired meanwhile is asked
// for again, once.
func (r *reporter) copy(ctx context.Context, one report, w io.Writer) (int64, error) {
	n, err := r.client.Download(ctx, one.url, w)
	if !errors.Is(err, fetch.ErrAddress) {
		return n, err
	}
	if again, readErr := r.read(ctx, one.ID); readErr == nil && again.run == one.run && again.url != "" {
		n, err = r.client.Download(ctx, again.url, w)
	}
	if errors.Is(err, fetch.ErrAddress) {
		err = fmt.Errorf("%w; try again with `trawl wiz report download %s %s`, or make the file anew with `trawl wiz report rerun`", err, r.name, one.ID)
	}
	return n, err
}

// fileName is the name of a report as one of a file that is in this folder, and
// not hidden.
func fileName(name string) string {
	name = strings.Map(func(c rune) rune {
		if c == '/' || c == '\\' || c < ' ' {
			return '_'
		}
		return c
	}, name)
	if strings.HasPrefix(name, ".") {
		name = "_" + name[1:]
	}
	return name
}

func (r *reporter) tell(format string, args ...any) {
	if !r.a.quiet {
		fmt.Fprintf(r.a.stderr, format+"\n", args...)
	}
}

// merged is a copy of variables with more of them, at all depths.
func merged(variables, more map[string]any) map[string]any {
	out := maps.Clone(variables)
	for name, value := range more {
		inner, ok := out[name].(map[string]any)
		added, ok2 := value.(map[string]any)
		if ok && ok2 {
			out[name] = merged(inner, added)
		} else {
			out[name] = value
		}
	}
	return out
}
