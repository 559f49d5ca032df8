package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// beTrawl makes the test binary the command itself, so that it can be killed.
const beTrawl = "TRAWL_TEST_BE_TRAWL"

func init() {
	lockPatience = longest
	if os.Getenv(beTrawl) != "" {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
}

// hostile is a tenant of which one answer in four fails, and whose records
// arrive late and share their times.
const hostile = "chaos,error503=0.06,truncate=0.06,reset=0.04,partial=0.04,late=0.2:5s,equal=0.1:20"

// mostLate is the time after which everything that happened to a hostile tenant shows.
const mostLate = 10 * time.Second

// TestKill kills the process with SIGKILL at random moments while the tenant
// makes records and fails in every way that passes. In the end the file holds
// every record once. TRAWL_KILLS sets how often (default 12; 4 with -short),
// TRAWL_SOAK for how long in place of that.
func TestKill(t *testing.T) {
	t.Parallel()
	kills, soak := 12, time.Duration(0)
	if testing.Short() {
		kills = 4
	}
	if n := os.Getenv("TRAWL_KILLS"); n != "" {
		if _, err := fmt.Sscan(n, &kills); err != nil {
			t.Fatalf("TRAWL_KILLS: %v", err)
		}
	}
	if d := os.Getenv("TRAWL_SOAK"); d != "" {
		var err error
		if soak, err = time.ParseDuration(d); err != nil {
			t.Fatalf("TRAWL_SOAK: %v", err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	faults, err := saassim.ParseFaults(hostile)
	if err != nil {
		t.Fatal(err)
	}
	tenants, dir := startTenants(t, seed, faults)
	config, err := os.ReadFile(filepath.Join(dir, "trawl.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	longer := strings.Replace(string(config), "overlap: "+demoOverlap.String(), "overlap: "+mostLate.String(), 1)
	if longer == string(config) {
		t.Fatal("the overlap stays as it is")
	}
	if err := os.WriteFile(filepath.Join(dir, "trawl.yaml"), []byte(longer), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	lived := make(chan struct{})
	go func() {
		defer close(lived)
		for _, tenant := range tenants {
			for source := range tenant.live {
				tenant.live[source] *= 10
			}
		}
		tenants.run(ctx)
	}()
	began, killings := time.Now(), 0
	for ; killings < kills || time.Since(began) < soak; killings++ {
		killed := trawl(t, dir, "run")
		moment, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(1500))*time.Millisecond)
		<-moment.Done()
		cancel()
		if err := killed.Process.Kill(); err != nil {
			t.Fatalf("kill %d: %v", killings, err)
		}
		_ = killed.Wait() // it was killed
	}
	stop()
	<-lived
	t.Logf("killed %d times in %s", killings, time.Since(began).Round(time.Second))
	pause(t.Context(), mostLate)
	wantEverything(t, tenants, dir)
}

// TestTerminate asks a running process to stop: it does so, with status 0, and
// has lost nothing.
func TestTerminate(t *testing.T) {
	t.Parallel()
	tenants, dir := startTenants(t, 7, saassim.Faults{saassim.Slow: {Rate: 1, Delay: 100 * time.Millisecond}})
	running := trawl(t, dir, "run")
	waitForFile(t, filepath.Join(dir, "events.ndjson"))
	if err := running.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	hangs := time.AfterFunc(stopLimit, func() { _ = running.Process.Kill() })
	if err := running.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	hangs.Stop()
	wantEverything(t, tenants, dir)
}

// startTenants starts the tenants of the demo, and writes their configuration.
func startTenants(t *testing.T, seed uint64, faults saassim.Faults) (_ demoTenants, dir string) {
	t.Helper()
	tenants, err := startDemoTenants(seed, faults)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tenants.close(); err != nil {
			t.Error(err)
		}
	})
	dir = t.TempDir()
	if _, err := tenants.writeConfig(dir); err != nil {
		t.Fatal(err)
	}
	return tenants, dir
}

// wantEverything lets the command read the rest, without faults, and compares
// what arrived with what the tenants had.
func wantEverything(t *testing.T, tenants demoTenants, dir string) {
	t.Helper()
	var all []truthful
	for _, tenant := range tenants {
		if err := tenant.SetFaults(nil); err != nil {
			t.Fatal(err)
		}
		all = append(all, tenant)
	}
	tenants.settle(t.Context())
	if err := trawl(t, dir, "run", "--once").Wait(); err != nil {
		t.Fatalf("run --once: %v", err)
	}
	wantExactly(t, filepath.Join(dir, "events.ndjson"), all...)
	wantObserved(t, dir)
}

// trawl starts the command on the configuration in dir.
func trawl(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], append(args, "-c", filepath.Join(dir, "trawl.yaml"), "--quiet")...)
	cmd.Env = append(os.Environ(), beTrawl+"=1")
	log, err := os.OpenFile(filepath.Join(dir, "test.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			if text, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("what trawl said:\n%s", text[max(0, len(text)-4000):])
			}
		}
	})
	return cmd
}

// waitForFile waits until a file has something in it.
func waitForFile(t *testing.T, path string) {
	t.Helper()
	until(t, "something is written to "+path, func() bool {
		info, err := os.Stat(path)
		return err == nil && info.Size() > 0
	})
}

// truthful is a tenant that tells what it has.
type truthful interface {
	Truth() iter.Seq[saassim.Truth]
}

// wantExactly compares a file with everything its tenants have: each event
// once, and each finding in its last state.
func wantExactly(t *testing.T, path string, tenants ...truthful) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ids, uids := map[string]int{}, map[string]int{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var d document
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			t.Fatalf("broken document: %v: %s", err, lines.Text())
		}
		ids[d.Trawl.Source+" "+d.Event.ID]++
		uids[d.Trawl.UID]++
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	existed, missing, twice := 0, 0, 0
	for _, tenant := range tenants {
		for r := range tenant.Truth() {
			if !r.ReplacedAt.IsZero() {
				continue
			}
			existed++
			if ids[r.Source+" "+r.ID] == 0 {
				if missing++; missing <= 5 {
					t.Logf("missing: %s %s of %s, visible after %s, in the stream after %s", r.Source, r.ID,
						r.Time.UTC().Format(time.RFC3339Nano), r.VisibleAt.Sub(r.Time), max(0, r.StreamAt.Sub(r.Time)))
				}
			}
		}
	}
	for _, n := range uids {
		if n > 1 {
			twice++
		}
	}
	if missing > 0 || twice > 0 || existed == 0 {
		t.Errorf("of %d records %d are missing and %d are there more than once", existed, missing, twice)
	}
}
