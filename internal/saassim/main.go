package saassim

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const usage = `saassim simulates a Wiz tenant.

	saassim [flags]                          serves until interrupted
	saassim -wait FILE                       returns once a server has written FILE
	saassim -admin FILE METHOD PATH [BODY]   sends a request to the server that wrote FILE (see Admin)

Flags:
`

// Main is the saassim command: it runs with the arguments of the process and
// ends it. A test script uses it as a process of its own.
func Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := Command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case errors.As(err, new(misuse)):
		fmt.Fprintln(os.Stderr, "saassim:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "saassim:", err)
		os.Exit(1)
	}
}

// misuse is a mistake in the command's flags.
type misuse struct{ error }

// Command is what Main does, until the context ends.
func Command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	fs := flag.NewFlagSet("saassim", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
		fmt.Fprintf(stderr, "\n%s\n", FaultsHelp())
	}
	var (
		o        = Options{}
		addr     = fs.String("addr", "127.0.0.1:0", "`address` of the tenant")
		adminAt  = fs.String("admin-addr", "127.0.0.1:0", "`address` of the admin requests")
		addrFile = fs.String("addr-file", "", "`file` to write the addresses and credentials to, as NAME=VALUE lines")
		addrDir  = fs.String("addr-dir", "", "`folder` to write each of them to, as a file of its own")
		audit    = fs.Int("audit", 0, "`number` of audit log entries to begin with")
		issues   = fs.Int("issues", 0, "`number` of issues to begin with")
		since    = fs.String("since", "24h", "the begin of their times: a `time`, or how long ago")
		static   = fs.Int("static", 0, "`number` of entries of a static audit log, in place of -audit")
		faults   = fs.String("faults", "", "what goes wrong: a `list` as ParseFaults reads it")
		liveA    = fs.Float64("live", 0, "audit log entries a second from now on")
		liveI    = fs.Float64("live-issues", 0, "issue events a second from now on")
		clock    = fs.String("now", "", "a `time` at which the tenant's calendar stands still")
		wait     = fs.String("wait", "", "wait for a server's `file`")
		admin    = fs.String("admin", "", "send an admin request to the server of a `file`")
	)
	fs.Uint64Var(&o.Seed, "seed", 1, "`number` that decides everything random")
	fs.StringVar((*string)(&o.Order), "order", string(NewestFirst), "`order` of audit log entries: newest-first, oldest-first, shuffled")
	fs.StringVar((*string)(&o.Cursors), "cursors", string(OffsetCursors), "`kind` of cursors: offset, snapshot")
	fs.StringVar((*string)(&o.Schema), "schema", string(CurrentSchema), "`age` of the schema: current, legacy")
	fs.BoolVar(&o.Inclusive, "inclusive", false, "after and before include their own instant")
	fs.IntVar(&o.AuditCap, "cap", 10_000, "most `results` of an audit query; -1 for no limit")
	fs.Float64Var(&o.Rate, "rate", 0, "most GraphQL `requests` a second; 0 for no limit")
	fs.DurationVar(&o.TokenLifetime, "token-lifetime", 24*time.Hour, "how long a token lives")
	fs.BoolVar(&o.AuditReads, "audit-reads", false, "sign-ins and queries leave audit log entries themselves")
	fs.BoolVar(&o.Gzip, "gzip", false, "compress answers")
	scopes := fs.String("scopes", ScopeAudit+" "+ScopeIssues, "`scopes` of the service account")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return misuse{err}
	}
	switch {
	case *wait != "":
		return waitFor(ctx, *wait)
	case *admin != "":
		return askAdmin(ctx, *admin, fs.Args(), stdout)
	case fs.NArg() > 0:
		return misuse{fmt.Errorf("unexpected argument %q", fs.Arg(0))}
	}

	if *clock != "" {
		t, err := parseTime(*clock, time.Now())
		if err != nil {
			return misuse{fmt.Errorf("-now: %w", err)}
		}
		o.Clock = func() time.Time { return t }
	}
	now := o.withDefaults().Clock()
	from, err := parseTime(*since, now)
	if err != nil {
		return misuse{fmt.Errorf("-since: %w", err)}
	}
	if o.Faults, err = ParseFaults(*faults); err != nil {
		return misuse{err}
	}
	o.Scopes = strings.Fields(*scopes)
	if *static > 0 {
		o.Static = &Static{Records: *static, From: from, To: now}
	}
	w, err := New(o)
	if err != nil {
		return misuse{err}
	}
	w.AddAudit(Batch{N: *audit, From: from, To: now})
	w.AddIssues(Batch{N: *issues, From: from, To: now})
	return serve(ctx, w, *addr, *adminAt, *addrFile, *addrDir, Live{*liveA, *liveI}, stdout)
}

// serve runs a tenant and its admin requests until the context ends, having
// said where they are.
func serve(ctx context.Context, w *Wiz, addr, adminAddr, file, dir string, live Live, stdout io.Writer) (err error) {
	tenant, err := Serve(addr, w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tenant.Close()) }()
	admin, err := Serve(adminAddr, w.Admin())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.Close()) }()

	values := [][2]string{
		{"api_url", tenant.GraphQLURL()}, {"token_url", tenant.TokenURL()}, {"admin_url", admin.URL},
		{"client_id", w.opts.ClientID}, {"client_secret", w.opts.ClientSecret},
	}
	var lines strings.Builder
	for _, v := range values {
		fmt.Fprintf(&lines, "%s=%s\n", v[0], v[1])
		if dir != "" {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return fmt.Errorf("write addresses: %w", err)
			}
			if err := os.WriteFile(filepath.Join(dir, v[0]), []byte(v[1]), 0o600); err != nil {
				return fmt.Errorf("write addresses: %w", err)
			}
		}
	}
	if file == "" {
		fmt.Fprint(stdout, lines.String())
	} else if err := writeWhole(file, lines.String()); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	if err := w.Run(ctx, live); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// writeWhole makes a file appear with all that is in it.
func writeWhole(name, text string) error {
	if err := os.WriteFile(name+".tmp", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

// waitFor returns when the file is there, or fails after ten seconds.
func waitFor(ctx context.Context, file string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(file); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", file, ctx.Err())
		case <-tick.C:
		}
	}
}

// askAdmin sends one admin request and copies its answer.
func askAdmin(ctx context.Context, file string, args []string, stdout io.Writer) error {
	if len(args) < 2 || len(args) > 3 {
		return misuse{errors.New("-admin FILE METHOD PATH [BODY]")}
	}
	if err := waitFor(ctx, file); err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("admin request: %w", err)
	}
	base := ""
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "admin_url="); ok {
			base = strings.TrimSpace(v)
		}
	}
	req, err := http.NewRequestWithContext(ctx, args[0], base+args[1], strings.NewReader(strings.Join(args[2:], "")))
	if err != nil {
		return fmt.Errorf("admin request: %w", err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("admin request: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(stdout, resp.Body); err != nil {
		return fmt.Errorf("admin request: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("admin request %s %s: %s", args[0], args[1], resp.Status)
	}
	return nil
}
