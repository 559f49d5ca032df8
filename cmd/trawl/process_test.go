package main

import (
	gobytes "bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// process is the command running by itself, so that it can get signals.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	said   spoken
	ended  chan struct{}
	status int
}

// spoken is what a process has printed so far.
type spoken struct {
	mu   sync.Mutex
	text gobytes.Buffer
}

func (s *spoken) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *spoken) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// start runs the command on the scenario's configuration. It is killed when
// the test ends, if it has not ended before.
func (s *scenario) start(stdout io.Writer, args ...string) *process {
	s.t.Helper()
	var p *process
	s.t.Cleanup(func() { // after the process has ended
		s.mu.Lock()
		defer s.mu.Unlock()
		if p != nil {
			s.said.WriteString(p.said.String())
		}
	})
	p = startTrawl(s.t, stdout, append(args, "-c", s.path("trawl.yaml"))...)
	return p
}

// startTrawl runs the command as a process of its own.
func startTrawl(t *testing.T, stdout io.Writer, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], args...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), beTrawl+"=1")
	p.cmd.Stdout, p.cmd.Stderr = stdout, &p.said
	if stdout == nil {
		p.cmd.Stdout = &p.said
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the status says it
		p.status = p.cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("trawl %s said:\n%s", strings.Join(args, " "), p.said.String())
		}
	})
	return p
}

// anyPort is an address to listen on that no other test has. Which port it is
// is known once something listens there.
const anyPort = "127.0.0.1:0"

// address is where the process listens, once it does.
func (p *process) address() (address string) {
	p.t.Helper()
	until(p.t, "it says where it listens", func() bool {
		_, after, found := strings.Cut(p.said.String(), "msg=monitoring address=http://")
		address, _, _ = strings.Cut(after, "\n")
		return found && strings.HasSuffix(after, "\n") || isClosed(p.ended)
	})
	return address
}

func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// wantEnd waits for the process to end, with that status and within the limit.
func (p *process) wantEnd(status int, limit time.Duration) {
	p.t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		p.t.Fatalf("it did not end within %s", limit)
	}
	if p.status != status {
		p.t.Errorf("exit status %d, want %d", p.status, status)
	}
}

// until waits for something to be true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	limit := time.NewTimer(longest)
	defer limit.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-limit.C:
			t.Fatalf("never: %s", what)
		}
	}
}

// asked reports whether the tenant was asked for records.
func (s *scenario) asked() bool { return s.requests()["auditLogEntries"] > 0 }

// longest is what a test waits for anything: when it counts as hanging, on any
// machine.
const longest = 5 * time.Minute

// stopLimit is when stopping counts as hanging. Ten seconds are meant, but no
// test holds a busy machine to that. What hangs in tests of stopping hangs
// longer than this.
const stopLimit = 2 * time.Minute

func TestStopOnce(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{})
	s.faults("slow:1s") // so that the signal comes before the end
	s.tenant.AddAudit(saassim.Batch{N: 3000})
	p := s.start(nil, "run", "--once", "--quiet")
	until(t, "a request", s.asked)
	p.signal(syscall.SIGTERM)
	p.wantEnd(1, stopLimit)
	if got, want := p.said.String(), "trawl: stopped before everything was collected and delivered; the next run goes on from here\n"; got != want {
		t.Errorf("it said %q", got)
	}
	s.faults("")
	s.once(0)
	s.wantAll()
}

// TestStopWhileTheAPIHangs, and leave at once when asked again.
func TestStopWhileTheAPIHangs(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"one signal": false, "two": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, setup{connection: "http: {timeout: 1h}"})
			s.faults("hang")
			s.tenant.AddAudit(saassim.Batch{N: 30})
			p := s.start(nil, "run")
			until(t, "it is at work", func() bool {
				_, out, _ := s.trawl("status")
				return strings.Contains(out, "wiz-prod/audit   collecting")
			})
			p.signal(os.Interrupt)
			if again {
				until(t, "it is still there, or not any more", func() bool {
					return p.cmd.Process.Signal(os.Interrupt) != nil || isClosed(p.ended)
				})
				p.wantEnd(1, stopLimit)
			} else {
				p.wantEnd(0, stopLimit)
			}
			s.faults("")
			s.once(0)
			s.wantAll()
		})
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestStopWhileTheOutputBlocks: whoever reads the standard output does not.
func TestStopWhileTheOutputBlocks(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{outputs: `{out: {type: file, path: "-"}}`})
	s.tenant.AddAudit(saassim.Batch{N: 2000})
	unread, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unread.Close()
	p := s.start(stdout, "run")
	if err := stdout.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "all is collected", func() bool {
		_, out, _ := s.trawl("status", "--format", "json")
		return strings.Contains(out, `"records": 2000`)
	})
	p.signal(syscall.SIGTERM)
	p.wantEnd(0, stopLimit)
	s.replace("trawl.yaml", `path: "-"`, "path: events.ndjson")
	s.once(0)
	s.wantAll()
}

// TestReaderOfStdoutLeaves: what it did not read is delivered to the next.
func TestReaderOfStdoutLeaves(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{outputs: `{out: {type: file, path: "-"}}`})
	s.tenant.AddAudit(saassim.Batch{N: 2000})
	unread, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := unread.Close(); err != nil {
		t.Fatal(err)
	}
	p := s.start(stdout, "run", "--once", "--quiet")
	if err := stdout.Close(); err != nil {
		t.Fatal(err)
	}
	p.wantEnd(1, stopLimit)
	if got := p.said.String(); !strings.Contains(got, "the program that read /dev/stdout has closed it") {
		t.Errorf("it said:\n%s", got)
	}
	s.replace("trawl.yaml", `path: "-"`, "path: events.ndjson")
	s.once(0)
	s.wantAll()
}

// TestListen: the address for monitoring answers while Trawl runs; one that is
// taken is an error in plain words.
func TestListen(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	s := newScenario(t, setup{top: "listen: " + address})
	s.tenant.AddAudit(saassim.Batch{N: 50})
	status, _, said := s.trawl("run")
	if status != 1 || !strings.Contains(said, "trawl: listen on "+address+" (`listen` in the configuration): ") || !strings.Contains(said, "address already in use") {
		t.Errorf("run = %d:\n%s", status, said)
	}
	s.once(0) // which needs no address
	s.replace("trawl.yaml", address, anyPort)
	p := s.start(nil, "run")
	address = p.address()
	get := func(path string) (int, string) {
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + address + path)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return resp.StatusCode, string(body)
	}
	until(t, "healthy", func() bool { code, _ := get("/healthz"); return code == 200 })
	for path, want := range map[string]string{
		"/readyz": "ready\n", "/healthz": `"status":"ok"`, "/api/status": `"running":true`,
		"/metrics": "\ntrawl_records_total{connection=\"wiz-prod\",source=\"audit\"} 50\n",
	} {
		if code, body := get(path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s = %d %s", path, code, body)
		}
	}
	p.signal(syscall.SIGTERM)
	p.wantEnd(0, stopLimit)
	if code, body := get("/readyz"); code == 200 && body == "ready\n" {
		t.Errorf("after the end: %d %s", code, body)
	}
}

// TestTogether: one process at a time works on a data_dir, and the others reach
// it, or wait for it, or say why not.
func TestTogether(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{sources: "{audit: {start: 25h, interval: 200ms}}"})
	s.tenant.AddAudit(saassim.Batch{N: 50})
	p := s.start(nil, "run")
	until(t, "it is there", func() bool { _, out, _ := s.trawl("status"); return strings.Contains(out, "running since") })
	for _, args := range [][]string{{"run"}, {"run", "--once"}} {
		status, _, said := s.trawl(args...)
		if status != 1 || !strings.Contains(said, "a trawl is running here already (process ") {
			t.Errorf("%s = %d:\n%s", args, status, said)
		}
	}
	feed := func(want int, says string, args ...string) {
		t.Helper()
		status, _, said := s.trawl(append([]string{"feed"}, args...)...)
		if status != want || !strings.Contains(said, says) {
			t.Errorf("feed %s = %d:\n%s", args, status, said)
		}
	}
	state := func(want string) {
		t.Helper()
		until(t, "audit is "+want, func() bool { _, out, _ := s.trawl("status"); return strings.Contains(out, "wiz-prod/audit  "+want) })
	}
	feed(0, "feed wiz-prod/audit: paused\n", "pause", "wiz-prod/audit")
	state("paused")
	feed(0, "feed wiz-prod/audit: resumed\n", "resume", "wiz-prod/audit")
	state("ok")
	feed(1, "is in the future", "rewind", "wiz-prod/audit", "--to", time.Now().Add(time.Hour).Format(time.RFC3339))
	feed(0, "the next round reads from ", "rewind", "wiz-prod/audit", "--to", time.Now().Add(-30*time.Hour).Format(time.RFC3339))
	feed(2, "reset delivers everything of wiz-prod/audit again; say --yes to mean it", "reset", "wiz-prod/audit")
	feed(2, `feed "wiz-prod/adit" is not configured; there are: wiz-prod/audit`, "pause", "wiz-prod/adit")
	until(t, "all is there", func() bool { return s.delivered() == 50 })
	s.wantAll()
	feed(0, "it begins anew", "reset", "wiz-prod/audit", "--yes")
	until(t, "all is there twice", func() bool { return s.delivered() == 100 })

	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if status, out, said := s.trawl("status"); status != 0 || !strings.HasPrefix(out, "not running: what is stored is shown\n") || !strings.Contains(out, "100") {
		t.Errorf("status after a kill = %d:\n%s%s", status, out, said)
	}
	// Those who only look keep no run from starting.
	stop := make(chan struct{})
	var looking sync.WaitGroup
	for range 3 {
		looking.Go(func() {
			for !isClosed(stop) {
				if status, _, said := s.trawl("status"); status != 0 {
					t.Errorf("status = %d:\n%s", status, said)
				}
			}
		})
	}
	for range 3 {
		s.once(0)
	}
	close(stop)
	looking.Wait()
}

// TestChangesDuringOnce are refused, not kept waiting.
func TestChangesDuringOnce(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{})
	s.faults("hang")
	p := s.start(nil, "run", "--once")
	until(t, "it is at work", func() bool {
		_, out, _ := s.trawl("status")
		return strings.Contains(out, "wiz-prod/audit   collecting")
	})
	status, _, said := s.trawl("feed", "pause", "wiz-prod/audit")
	if status != 1 || said != "trawl: `trawl run --once` is at work and takes no changes; try again when it has ended\n" {
		t.Errorf("feed pause = %d: %s", status, said)
	}
	p.signal(syscall.SIGTERM)
	p.wantEnd(1, stopLimit)
}

// TestFeedOffline: positions can be changed while nothing runs.
func TestFeedOffline(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{sources: "{audit: {start: 25h}}"})
	s.tenant.AddAudit(saassim.Batch{N: 50})
	s.once(0)
	feed := func(says string, args ...string) {
		t.Helper()
		if status, _, said := s.trawl(append([]string{"feed"}, args...)...); status != 0 || !strings.Contains(said, says) {
			t.Errorf("feed %s = %d:\n%s", args, status, said)
		}
	}
	feed("paused", "pause", "wiz-prod/audit")
	s.tenant.AddAudit(saassim.Batch{N: 10, From: s.now().Add(-time.Second)})
	if said := s.once(0); !strings.Contains(said, "0 feeds up to date, 1 paused: 50 records in all, 0 documents delivered now") {
		t.Errorf("run --once said:\n%s", said)
	}
	feed("resumed", "resume", "wiz-prod/audit")
	s.once(0)
	s.wantAll()
	feed("the next round reads from ", "rewind", "wiz-prod/audit", "--to", s.now().Add(-30*time.Hour).Format(time.RFC3339))
	s.once(0)
	s.wantAll()
	feed("it begins anew", "reset", "wiz-prod/audit", "--yes")
	s.once(0)
	if n := len(s.documents()); n != 120 {
		t.Errorf("%d documents after a reset", n)
	}
}

// TestDamagedLog is refused, and says what can be done.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{})
	s.tenant.AddAudit(saassim.Batch{N: 500})
	s.once(0)
	var blocks []string
	walk(t, s.path("trawl-data"), func(path string) {
		if strings.HasSuffix(path, ".blk") {
			blocks = append(blocks, path)
		}
	})
	if len(blocks) == 0 {
		t.Fatal("no blocks")
	}
	for _, path := range blocks {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := len(text) / 3; i < min(len(text)/3+40, len(text)); i++ {
			text[i] ^= 0x55
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := s.requests()
	for _, args := range [][]string{{"run", "--once"}, {"run"}, {"status"}} {
		status, _, said := s.trawl(args...)
		if status != 1 || !strings.Contains(said, "trawl: open log: log is damaged: ") || !strings.Contains(said, "restore the log from a backup") {
			t.Errorf("%s = %d:\n%s", args, status, said)
		}
	}
	if d := s.requests(); d["auditLogEntries"] != before["auditLogEntries"] {
		t.Error("it asked the API")
	}
	if err := os.RemoveAll(s.path("trawl-data")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
