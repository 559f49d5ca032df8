// Package command is the saassim command: a simulated tenant of one of the
// products as a process of its own, for test scripts and for trying things out.
package command

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
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

const usage = `saassim simulates a tenant of a product: %s.

	saassim [PRODUCT] [flags]                serves until interrupted; without a product, %s
	saassim -wait FILE                       returns once a server has written FILE
	saassim -admin FILE METHOD PATH [BODY]   sends a request to the server that wrote FILE (see saassim.Tenant.Admin)

Flags of %s:
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

// product is one that the command can simulate.
type product struct {
	name    string
	sources []string // as saassim.Tenant.Sources has them
	// flags defines the product's own, and returns what makes a tenant of them.
	// The times of its first records lie from since to now.
	flags func(*flag.FlagSet) func(s saassim.Settings, since, now time.Time) (*instance, error)
}

// instance is a tenant to be served.
type instance struct {
	*saassim.Tenant
	paths       [][2]string                 // the addresses that a client needs, by name: paths on the server, "" for its root
	credentials [][2]string                 // likewise by name
	beside      func(context.Context) error // what the tenant does by itself while it is served; nil: nothing
}

var products = []product{wizProduct, boxProduct, appomniProduct, oktaProduct}

// Command is what Main does, until the context ends.
func Command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var names []string
	for _, o := range products {
		names = append(names, o.name)
	}
	p := products[0]
	if len(args) > 0 && slices.Contains(names, args[0]) {
		p, args = products[slices.Index(names, args[0])], args[1:]
	}
	fs := flag.NewFlagSet("saassim", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprintf(stderr, usage, strings.Join(names, ", "), products[0].name, p.name)
		fs.PrintDefaults()
		fmt.Fprintf(stderr, "\n%s\n", saassim.FaultsHelp())
	}
	var (
		s      saassim.Settings
		addr   = fs.String("addr", "127.0.0.1:0", "`address` of the tenant")
		since  = fs.String("since", "24h", "the begin of the first records' times: a `time`, or how long ago")
		faults = fs.String("faults", "", "what goes wrong: a `list` as ParseFaults reads it")
		clock  = fs.String("now", "", "a `time` at which the tenant's calendar stands still")
		wait   = fs.String("wait", "", "wait for a server's `file`")
		admin  = fs.String("admin", "", "send an admin request to the server of a `file`")
		first  = map[string]*int{}
		live   = map[string]*float64{}
		out    = place{stdout: stdout}
	)
	fs.StringVar(&out.adminAddr, "admin-addr", "127.0.0.1:0", "`address` of the admin requests")
	fs.StringVar(&out.file, "addr-file", "", "`file` to write the addresses and credentials to, as NAME=VALUE lines")
	fs.StringVar(&out.dir, "addr-dir", "", "`folder` to write each of them to, as a file of its own")
	fs.Uint64Var(&s.Seed, "seed", 1, "`number` that decides everything random")
	fs.BoolVar(&s.Gzip, "gzip", false, "compress answers")
	for i, name := range p.sources {
		suffix := "-" + name
		if i == 0 {
			suffix = ""
		}
		first[name] = fs.Int(name, 0, "`number` of records of "+name+" to begin with")
		live[name] = fs.Float64("live"+suffix, 0, "`events` of "+name+" a second from now on")
	}
	build := p.flags(fs)
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
		return misuse{fmt.Errorf("unexpected argument %q; the products are %s", fs.Arg(0), strings.Join(names, ", "))}
	}

	now := time.Now()
	if *clock != "" {
		t, err := saassim.ParseTime(*clock, now)
		if err != nil {
			return misuse{fmt.Errorf("-now: %w", err)}
		}
		now, s.Clock = t, func() time.Time { return t }
	}
	from, err := saassim.ParseTime(*since, now)
	if err != nil {
		return misuse{fmt.Errorf("-since: %w", err)}
	}
	if s.Faults, err = saassim.ParseFaults(*faults); err != nil {
		return misuse{err}
	}
	tenant, err := build(s, from, now)
	if err != nil {
		return misuse{err}
	}
	rates := saassim.Live{}
	for _, name := range p.sources {
		tenant.Add(name, saassim.Batch{N: *first[name], From: from, To: now})
		rates[name] = *live[name]
	}
	return serve(ctx, tenant, *addr, rates, out)
}

// place is where a server says what it can be reached by.
type place struct {
	adminAddr string
	file, dir string
	stdout    io.Writer // where there is no file
}

// serve runs a tenant and its admin requests until the context ends, having
// said where they are.
func serve(ctx context.Context, t *instance, addr string, live saassim.Live, out place) (err error) {
	tenant, err := saassim.Serve(addr, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tenant.Close()) }()
	admin, err := saassim.Serve(out.adminAddr, t.Admin())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.Close()) }()
	values := [][2]string{{"admin_url", admin.URL}}
	for _, v := range t.paths {
		values = append(values, [2]string{v[0], tenant.URL + v[1]})
	}
	if err := out.write(append(values, t.credentials...)); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	if t.beside != nil {
		beside, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- t.beside(beside) }()
		defer func() {
			stop()
			if e := <-ended; !errors.Is(e, context.Canceled) {
				err = errors.Join(err, e)
			}
		}()
	}
	if err := t.Run(ctx, live); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// write says the values: in files where they are asked for, else on stdout.
func (p place) write(values [][2]string) error {
	var lines strings.Builder
	for _, v := range values {
		text := v[1]
		if !strings.Contains(text, "\n") { // a key has many lines: only as a file of its own
			fmt.Fprintf(&lines, "%s=%s\n", v[0], text)
		}
		if p.dir != "" {
			if err := os.MkdirAll(p.dir, 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(p.dir, v[0]), []byte(text), 0o600); err != nil {
				return err
			}
		}
	}
	if p.file == "" {
		_, err := io.WriteString(p.stdout, lines.String())
		return err
	}
	return writeWhole(p.file, lines.String())
}

// writeWhole makes a file appear with all that is in it.
func writeWhole(name, text string) error {
	if err := os.WriteFile(name+".tmp", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

// patience is how long something that starts is waited for, on any machine.
const patience = 2 * time.Minute

// waitFor returns when the file is there, or fails when it has waited long enough.
func waitFor(ctx context.Context, file string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
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
