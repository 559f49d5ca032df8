// Command bench measures `trawl run --once` end to end: a simulated tenant
// serves audit records from memory on loopback, Trawl collects them into its
// log and a file with every write synced, and a plain program downloads the
// same pages and does encoding/json Unmarshal and Marshal of each. All of them
// are processes of their own, so that each one's CPU and memory are its own.
// It prints what `make bench` shows.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/trawlsec/trawl/internal/saassim/wiz"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	serve := flag.Int("serve", 0, "serve `N` audit records until stdin closes (used by the benchmark itself)")
	baseline := flag.String("baseline", "", "download all pages from `URL` the plain way (used by the benchmark itself)")
	sizes := flag.String("records", "200000,2000000", "how many records, comma separated; the baseline runs for the first")
	idle := flag.Duration("idle", 30*time.Second, "how long to watch an idle process; 0: not at all")
	profile := flag.String("cpuprofile", "", "have trawl write a CPU profile of the first run to `FILE`")
	observing := flag.Int("observing", 0, "only compare the CPU time of `N` runs with that of N that do not observe the matrix")
	flag.Parse()
	switch {
	case *serve > 0:
		return serveRecords(*serve)
	case *baseline != "":
		return plain(*baseline)
	}
	dir, err := os.MkdirTemp("", "trawl-bench-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the benchmark's own program: %w", err)
	}
	if *observing > 0 {
		return compareObserving(dir, self, strings.Split(*sizes, ",")[0], *observing)
	}
	return measure(dir, self, strings.Split(*sizes, ","), *idle, *profile)
}

// The window in which the records lie.
var (
	windowStart = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	windowEnd   = windowStart.Add(30 * 24 * time.Hour)
)

// serveRecords plays the tenant and prints its address.
func serveRecords(n int) error {
	tenant, err := wiz.New(wiz.Options{
		Static:    &wiz.Static{Records: n, From: windowStart, To: windowEnd},
		AuditCap:  -1,
		Retention: -1,
		Clock:     func() time.Time { return windowEnd.Add(time.Hour) },
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("serve records: %w", err)
	}
	fmt.Println("http://" + listener.Addr().String())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return http.Serve(listener, tenant) //nolint:gosec // on loopback, for the length of a benchmark
}

// usage is what a process cost.
type usage struct {
	wall, cpu time.Duration
	peak      int64 // bytes
}

// measured runs a command to its end.
func measured(cmd *exec.Cmd) (usage, error) {
	began := time.Now()
	out, err := cmd.CombinedOutput()
	u := usage{wall: time.Since(began)}
	if err != nil {
		return u, fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, out)
	}
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.peak = r.Maxrss << 10
	}
	return u, nil
}

func measure(dir, self string, sizes []string, idle time.Duration, profile string) error {
	trawl, err := build(dir, "trawl")
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d cores, %s\n\n", runtime.Version(), runtime.NumCPU(), time.Now().UTC().Format("2006-01-02"))
	fmt.Printf("%-26s %10s %10s %10s %12s %12s\n", "", "records", "seconds", "CPU s", "records/s", "peak memory")
	show := func(name string, n int, u usage) {
		fmt.Printf("%-26s %10d %10.2f %10.2f %12.0f %9d MB\n", name, n, u.wall.Seconds(), u.cpu.Seconds(), float64(n)/u.wall.Seconds(), u.peak>>20)
	}
	var ratio float64
	for i, size := range sizes {
		n, err := strconv.Atoi(size)
		if err != nil {
			return fmt.Errorf("-records: %w", err)
		}
		url, stop, err := startServer(self, n)
		if err != nil {
			return err
		}
		work := filepath.Join(dir, "work"+size)
		u, err := runTrawl(trawl, work, url, n, profile)
		if err != nil {
			stop()
			return err
		}
		profile = ""
		show("trawl run --once", n, u)
		if i == 0 {
			b, err := measured(exec.Command(self, "-baseline", url))
			if err != nil {
				stop()
				return err
			}
			show("Unmarshal and Marshal", n, b)
			ratio = u.cpu.Seconds() / b.cpu.Seconds()
		}
		stop()
		if err := os.RemoveAll(work); err != nil {
			return fmt.Errorf("clean up: %w", err)
		}
	}
	fmt.Printf("\nCPU of trawl / CPU of the plain program: %.2f\n", ratio)
	if idle > 0 {
		return watchIdle(trawl, filepath.Join(dir, "idle"), self, idle)
	}
	return nil
}

// build makes the program, or a variant of it.
func build(dir, name string, flags ...string) (path string, err error) {
	path = filepath.Join(dir, name)
	args := append([]string{"build", "-trimpath", "-o", path}, flags...)
	if out, err := exec.Command("go", append(args, "./cmd/trawl")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build trawl (run this from the top of the repository): %w\n%s", err, out)
	}
	return path, nil
}

// startServer runs the tenant as a process of its own.
func startServer(self string, n int) (url string, stop func(), err error) {
	cmd := exec.Command(self, "-serve", strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, fmt.Errorf("start tenant: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, fmt.Errorf("start tenant: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start tenant: %w", err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return "", nil, fmt.Errorf("start tenant: %w", err)
	}
	return strings.TrimSpace(line), func() { _ = stdin.Close(); _ = cmd.Wait() }, nil
}

// runTrawl collects everything into work and checks that it is all there.
func runTrawl(trawl, work, url string, n int, profile string) (usage, error) {
	config := fmt.Sprintf(`data_dir: data
listen: ""
connections:
  bench:
    product: wiz
    settings:
      api_url: %[1]s/graphql
      token_url: %[1]s/oauth/token
      client_id: %[2]s
      client_secret: ${env:TRAWL_BENCH_SECRET}
    rate_limit: {requests_per_second: 10000, burst: 100}
    sources:
      audit: {start: %[3]s, page_size: 500}
outputs:
  file: {type: file, path: events.ndjson}
`, url, wiz.DefaultClientID, windowStart.Add(-time.Minute).Format(time.RFC3339))
	args := []string{"run", "--once", "--quiet"}
	if profile != "" {
		args = append(args, "--cpuprofile", profile)
	}
	cmd, err := trawlCommand(trawl, work, config, args...)
	if err != nil {
		return usage{}, err
	}
	u, err := measured(cmd)
	if err != nil {
		return u, err
	}
	lines, err := countLines(filepath.Join(work, "events.ndjson"))
	if err != nil {
		return u, err
	}
	if lines != n {
		return u, fmt.Errorf("%d documents of %d records arrived", lines, n)
	}
	return u, nil
}

func trawlCommand(trawl, work, config string, args ...string) (*exec.Cmd, error) {
	if err := os.MkdirAll(work, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	file := filepath.Join(work, "trawl.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	cmd := exec.Command(trawl, append(args, "-c", file)...)
	cmd.Env = append(os.Environ(), "TRAWL_BENCH_SECRET="+wiz.DefaultClientSecret)
	return cmd, nil
}

func countLines(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("count documents: %w", err)
	}
	defer f.Close()
	n := 0
	r := bufio.NewReaderSize(f, 1<<20)
	for {
		_, err := r.ReadSlice('\n')
		switch err {
		case nil:
			n++
		case bufio.ErrBufferFull:
		case io.EOF:
			return n, nil
		default:
			return n, fmt.Errorf("count documents: %w", err)
		}
	}
}

// watchIdle runs ten feeds that have nothing to do and reports what that costs.
func watchIdle(trawl, work, self string, watch time.Duration) error {
	url, stop, err := startServer(self, 1000)
	if err != nil {
		return err
	}
	defer stop()
	var config strings.Builder
	config.WriteString("data_dir: data\nlisten: \"\"\noutputs:\n  file: {type: file, path: events.ndjson}\nconnections:\n")
	for i := range 10 {
		fmt.Fprintf(&config, `  bench%d:
    product: wiz
    settings: {api_url: %[2]s/graphql, token_url: %[2]s/oauth/token, client_id: %[3]s, client_secret: "${env:TRAWL_BENCH_SECRET}"}
    sources: {audit: {}}
`, i, url, wiz.DefaultClientID)
	}
	cmd, err := trawlCommand(trawl, work, config.String(), "run", "--quiet")
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start idle trawl: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second+watch)
	defer cancel()
	wait(ctx, 10*time.Second) // start-up is not idling
	before, _, err := processCost(cmd.Process.Pid)
	if err != nil {
		return err
	}
	wait(ctx, watch)
	after, resident, err := processCost(cmd.Process.Pid)
	if err != nil {
		return err
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("stop idle trawl: %w", err)
	}
	fmt.Printf("idle with ten feeds: %.2f %% of a core, %d MB\n", 100*(after-before).Seconds()/watch.Seconds(), resident>>20)
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// processCost reads a process's CPU time and resident memory from /proc.
func processCost(pid int) (cpu time.Duration, resident int64, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("look at idle trawl: %w", err)
	}
	// The fields after the name, which ends with the last parenthesis: utime and
	// stime are the 12th and 13th, in hundredths of a second; resident pages the 22nd.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		return n
	}
	return time.Duration(number(11)+number(12)) * 10 * time.Millisecond, number(21) * int64(os.Getpagesize()), nil
}
