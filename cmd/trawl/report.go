package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// formats are those of reports, and what a file of each begins with.
var formats = map[string][]byte{"csv": {}, "json": []byte("[")}

// reportTime is how the products' orders write times.
const reportTime = "2006-01-02T15:04:05.000000Z"

// Between two looks at a report that is being made there is a wait, which grows.
const (
	reportPoll = 5 * time.Second // at most
	reportSoon = reportPoll / 10 // at first
	// Before an order is repeated that the API throttled without saying how long.
	reportThrottle = time.Second
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

	deadline time.Time // timeout after the check
}

// check refuses a wait that is none and a file that can't be written, before
// anything is ordered.
func (f *reportFlags) check() error {
	if f.timeout <= 0 {
		return misuse(fmt.Errorf("--timeout is %s, and must be more than 0", f.timeout))
	}
	f.deadline = time.Now().Add(f.timeout)
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
	cmd.Flags().StringVarP(&f.out, "out", "o", "", "`FILE` to write, - for the standard output (default one of the report's name here, where there is none of it)")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 30*time.Minute, "how long to wait for the file at most")
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
		Use:   "create CONNECTION",
		Short: "Make a report, wait for its file and download it",
		Long: "Orders a report of the records between --since and --until, waits for its file and downloads it.\n" +
			"Without --since it is of all records that the product has. Where the product asks to be left alone\n" +
			"for a while, the order is repeated then, until --timeout.",
		Example: "  trawl wiz report create wiz-prod --since 90d -o audit.csv\n  trawl import wiz-prod/audit audit.csv",
	}
	f.add(cmd, true)
	cmd.Flags().StringVar(&kind, "kind", "audit", "what the report is of")
	cmd.Flags().StringVar(&name, "name", "", "name of the report (default one with the time)")
	cmd.Flags().StringVar(&format, "as", "csv", "csv or json")
	cmd.Flags().StringVar(&since, "since", "", "beginning of the records: a `TIME`, a date, or how long ago, like 90d (default all that the product has)")
	cmd.Flags().StringVar(&until, "until", "", "end of the records, likewise (default now)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(); err != nil {
			return err
		}
		if formats[format] == nil {
			return misuse(fmt.Errorf("--as is %q; it can be csv or json", format))
		}
		names := map[string]any{"format": strings.ToUpper(format), "name": cmp.Or(name, "trawl-"+kind+"-"+time.Now().UTC().Format("20060102-150405"))}
		from, to, err := reportPeriod(since, until)
		if err != nil {
			return err
		}
		if since != "" {
			names["since"] = from.UTC().Format(reportTime)
		}
		if until != "" {
			names["until"] = to.UTC().Format(reportTime)
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
		if path := fileName(name, formats[format]); name != "" && f.out == "" && !f.noWait && taken(path) {
			return misuse(fmt.Errorf("there is a %s here already; say with --out which file to write", shellWord(path)))
		}
		names["type"] = of.Type
		query := r.spec.Create
		query.GraphQL.Variables = merged(query.GraphQL.Variables, of.Variables)
		made, err := r.order(cmd.Context(), "report", query, names, &f)
		if err != nil {
			return err
		}
		return r.finish(cmd.Context(), made, report{}, &f)
	}
	return cmd
}

// reportPeriod is period of what has happened; without since it has no beginning.
func reportPeriod(since, until string) (from, to time.Time, err error) {
	now := time.Now()
	if since != "" {
		from, to, err = period(since, until)
	} else if until != "" {
		to, err = moment("--until", until, now)
	}
	switch {
	case err != nil:
		return from, to, err
	case since != "" && from.Equal(to):
		err = misuse(fmt.Errorf("there is nothing between --since %s and --until %s", since, cmp.Or(until, "now")))
	case until != "" && to.After(now.Add(time.Second)): // period has read the clock later
		err = misuse(fmt.Errorf("--until %s is in the future", until))
	}
	return from, to, err
}

func (a *app) reportRerunCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rerun CONNECTION ID",
		Short: "Make the file of a report anew, wait for it and download it",
	}
	return a.onReport(cmd, true, func(ctx context.Context, r *reporter, id string, f *reportFlags) (made, before report, err error) {
		if before, err = r.read(ctx, id); err == nil {
			made, err = r.order(ctx, "rerun of report", r.spec.Rerun, map[string]any{"id": id}, f)
		}
		return made, before, err
	})
}

func (a *app) reportDownloadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "download CONNECTION ID",
		Short: "Wait for the file of a report and download it",
	}
	return a.onReport(cmd, false, func(ctx context.Context, r *reporter, id string, _ *reportFlags) (found, before report, err error) {
		found, err = r.read(ctx, id)
		return found, report{}, err
	})
}

// onReport makes a verb of one that ends with the file of a report that there
// is; before is as in finish.
func (a *app) onReport(cmd *cobra.Command, orders bool, do func(ctx context.Context, r *reporter, id string, f *reportFlags) (one, before report, err error)) *cobra.Command {
	var f reportFlags
	f.add(cmd, orders)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(); err != nil {
			return err
		}
		r, err := a.reporter(args[0])
		if err != nil {
			return err
		}
		defer r.close()
		one, before, err := do(cmd.Context(), r, args[1], &f)
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
	feeds  []config.Feed
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
	r := &reporter{name: connection, feeds: c.Feeds, a: a, spec: c.Product.Reports}
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
		t.add(one.ID, one.Type, cmp.Or(one.State, "-"), ranAt(one.RunAt), one.Name)
	}
	t.write(r.a.stdout)
	return nil
}

// ranAt is a time that the API gives, as people are shown times.
func ranAt(text string) string {
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return when(at)
	}
	return cmp.Or(text, "-")
}

// order has a report made or made anew. An order that came too soon after others
// was not carried out, and is repeated; of any other that failed that is known
// only where the permission lacks.
func (r *reporter) order(ctx context.Context, what string, query catalog.Query, names map[string]any, f *reportFlags) (report, error) {
	var answer [][]byte
	for least := cmp.Or(r.a.reportEvery, reportThrottle); ; least = min(2*least, time.Minute) {
		var err error
		if answer, err = r.order1.Ask(ctx, what, query, r.spec.Scopes, names); err == nil {
			break
		}
		var refused *fetch.Error
		if !errors.As(err, &refused) {
			refused = &fetch.Error{}
		}
		switch refused.Class {
		case fetch.Auth, fetch.Forbidden:
			return report{}, err
		case fetch.Throttle:
		default:
			return report{}, fmt.Errorf("%w; before you try again, see with %s whether it was made", err, r.verb("list"))
		}
		wait := max(least, refused.RetryAfter)
		if wait > time.Until(f.deadline) {
			return report{}, fmt.Errorf("%w; nothing was ordered, as the wait would be longer than --timeout %s", err, f.timeout)
		}
		r.tell("%s: the API asks to be left alone; it is ordered again in %s", what, short(wait))
		if pause(ctx, wait); ctx.Err() != nil {
			return report{}, fmt.Errorf("%s: interrupted; nothing was ordered", what)
		}
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
		return report{}, fmt.Errorf("report %s: %s; see with %s which there are", id, refused.Message, r.verb("list"))
	case err != nil:
		return report{}, err
	case len(answer) == 0:
		return report{}, fmt.Errorf("report %s: there is none of this id; see %s", id, r.verb("list"))
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
	wait := cmp.Or(r.a.reportEvery, reportSoon)
	for told := ""; ; wait = min(2*wait, reportPoll) {
		old := one.run == before.run && one.RunAt == before.RunAt && before.run != ""
		switch {
		case old:
			one.State, one.Progress = "", ""
		case one.means == "done" && one.url != "":
			return r.download(ctx, one, f)
		case one.means == "failed":
			return fmt.Errorf("report %s failed: %s; make it anew with %s", one.ID, cmp.Or(one.Failure, "the API does not say why"), r.verb("rerun", one.ID))
		case one.means == "expired":
			return fmt.Errorf("report %s: its file has expired; make it anew with %s", one.ID, r.verb("rerun", one.ID))
		}
		if state := strings.TrimSpace(one.State + " " + one.Progress); state != told {
			told = state
			r.tell("report %s: %s %%", one.ID, state)
		}
		left := time.Until(f.deadline)
		if left <= 0 {
			return fmt.Errorf("report %s was not ready within %s; go on waiting with %s", one.ID, f.timeout, r.verb("download", one.ID))
		}
		if pause(ctx, min(wait, left)); ctx.Err() != nil {
			return fmt.Errorf("report %s: interrupted; go on with %s", one.ID, r.verb("download", one.ID))
		}
		next, err := r.read(ctx, one.ID)
		if err != nil {
			return fmt.Errorf("%w; go on with %s", err, r.verb("download", one.ID))
		}
		one = next
	}
}

// verb is a verb on the connection's reports as it can be typed.
func (r *reporter) verb(name string, ids ...string) string {
	text := "trawl " + reportsOf + " report " + name + " " + r.name
	for _, id := range ids {
		text += " " + shellWord(id)
	}
	return "`" + text + "`"
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
