package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trawlsec/trawl/internal/saassim"
)

// cutAt makes the test binary run the command as a child and kill it before
// the step with that number; see TestCutBetweenSteps.
const cutAt = "TRAWL_TEST_CUT_AT"

func init() {
	if at := os.Getenv(cutAt); at != "" {
		n, err := strconv.Atoi(at)
		if err == nil {
			n, err = killAt(n, os.Args[1:])
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "cut:", err)
			os.Exit(9)
		}
		fmt.Println(n)
		os.Exit(0)
	}
}

// steps are the system calls by which something outside the process changes:
// what it was about to write, sync, rename or remove before one of them is not
// written, synced, renamed or removed when it is killed there.
var steps = map[uint64]bool{
	unix.SYS_WRITE: true, unix.SYS_PWRITE64: true, unix.SYS_WRITEV: true,
	unix.SYS_FSYNC: true, unix.SYS_FDATASYNC: true, unix.SYS_FTRUNCATE: true,
	unix.SYS_RENAME: true, unix.SYS_RENAMEAT: true, unix.SYS_RENAMEAT2: true,
	unix.SYS_UNLINK: true, unix.SYS_UNLINKAT: true, unix.SYS_MKDIRAT: true, unix.SYS_LINKAT: true,
}

// killAt runs the command and kills it before its n-th step, if it gets that far
// (never for 0), and returns how many steps there were. It has to be all that
// its process does, as it waits for any child there is.
func killAt(n int, args []string) (int, error) {
	runtime.LockOSThread()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), beTrawl+"=1", cutAt+"=")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	main := cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(main, &status, 0, nil); err != nil {
		return 0, err
	}
	if err := unix.PtraceSetOptions(main, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
		return 0, err
	}
	inside := map[int]bool{} // threads within a system call
	taken := 0
	for thread, signal := main, 0; ; {
		// A thread that is gone is no error: the process is being killed.
		if err := unix.PtraceSyscall(thread, signal); err != nil && err != unix.ESRCH {
			return taken, err
		}
		var err error
		if thread, err = unix.Wait4(-1, &status, unix.WALL, nil); err != nil {
			return taken, err
		}
		signal = 0
		switch {
		case (status.Exited() || status.Signaled()) && thread == main:
			if status.Exited() && status.ExitStatus() != 0 {
				return taken, fmt.Errorf("the command ended with %d", status.ExitStatus())
			}
			return taken, nil
		case !status.Stopped():
		case status.StopSignal() == unix.SIGTRAP|0x80:
			inside[thread] = !inside[thread]
			if !inside[thread] {
				break
			}
			var regs unix.PtraceRegs
			if err := unix.PtraceGetRegs(thread, &regs); err != nil {
				break // it is being killed
			}
			if steps[regs.Orig_rax] {
				if taken++; taken == n {
					if err := unix.Kill(main, unix.SIGKILL); err != nil {
						return taken, err
					}
				}
			}
		case status.StopSignal() == unix.SIGTRAP, status.StopSignal() == unix.SIGSTOP:
			// A thread began.
		default:
			signal = int(status.StopSignal())
		}
	}
}

// cut runs the command on the scenario's configuration and kills it before its
// n-th step, if it gets that far (never for 0); it returns how many there were.
func (s *scenario) cut(n int, args ...string) int {
	s.t.Helper()
	cmd := exec.Command(os.Args[0], append(args, "--quiet", "-c", s.path("trawl.yaml"))...)
	cmd.Env = append(os.Environ(), cutAt+"="+strconv.Itoa(n))
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		if strings.Contains(said.String(), unix.EPERM.Error()) {
			s.t.Skip("processes may not be traced here")
		}
		s.t.Fatalf("%v: %s", err, said.String())
	}
	taken, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		s.t.Fatal(err)
	}
	return taken
}

// everyCut runs a scenario for each step of it, or for some of them, others each
// time: cut says how many steps there were, and is to kill before the n-th.
func everyCut(t *testing.T, stride int, cut func(t *testing.T, n int) int) {
	t.Helper()
	switch {
	case os.Getenv("TRAWL_CUTS") == "all":
		stride = 1
	case testing.Short():
		stride *= 8
	case underRace:
		stride *= 4
	}
	most := cut(t, 0)
	if most < 40 {
		t.Fatalf("only %d steps: the test does not see them all", most)
	}
	t.Logf("%d steps", most)
	for n := 1 + rand.IntN(stride); n <= most; n += stride {
		t.Run(fmt.Sprintf("step %d", n), func(t *testing.T) { cut(t, n) })
	}
}

// TestCutBetweenSteps kills the process before each of the steps by which it
// commits pages and delivers documents, one run a step, and compares what there
// is after another run with everything that existed. TRAWL_CUTS=all takes every
// step; else it is some of them, others each time.
func TestCutBetweenSteps(t *testing.T) {
	t.Parallel()
	for _, run := range []string{firstRun, laterRun, goneRun} {
		t.Run(run, func(t *testing.T) {
			t.Parallel()
			everyCut(t, 5, func(t *testing.T, n int) int { return cutRun(t, run, n) })
		})
	}
}

// The runs that are cut: the first of a feed, one that finds more, and one that
// finds that some of what was there is gone.
const (
	firstRun = "the first run"
	laterRun = "a later run"
	goneRun  = "a run that finds some gone"
)

// cutRun cuts one run, and returns how many steps it took.
func cutRun(t *testing.T, run string, n int) int {
	s := newScenario(t, setup{sources: "{audit: {start: 25h, page_size: 100}, issues: {start: 25h, page_size: 20, snapshot: 1ms}}"})
	s.tenant.AddAudit(saassim.Batch{N: 350})
	s.tenant.AddIssues(saassim.Batch{N: 50})
	var gone []string
	switch run {
	case goneRun:
		s.once(0)
		gone = s.tenant.RemoveIssues(20)
		s.tenant.ChangeIssues(5)
	case laterRun:
		s.once(0)
		recent := s.now().Add(-5 * time.Minute) // within the overlap
		s.tenant.AddAudit(saassim.Batch{N: 350, From: recent})
		s.tenant.AddIssues(saassim.Batch{N: 50, From: recent})
	}
	taken := s.cut(n, "run", "--once")
	s.once(0)
	s.wantAll()
	s.wantGone(gone)
	if status, _, said := s.trawl("status"); status != 0 { // what a cut left half made can show in the run after the next
		t.Errorf("then status ended with %d: %s", status, said)
	}
	return taken
}

// TestCutReplay kills `trawl replay` before each of its steps: then it was not
// begun, or the next run ends it; in the file nothing is missing and nothing is
// there more than once more.
func TestCutReplay(t *testing.T) {
	t.Parallel()
	everyCut(t, 10, func(t *testing.T, n int) int {
		s := newScenario(t, setup{outputs: "{archive: {type: file, path: events.ndjson, rotate: {size: 100KiB}}}"})
		s.tenant.AddAudit(saassim.Batch{N: 120})
		s.once(0)
		taken := s.cut(n, "replay", "--output", "archive", "--since", "1h")
		s.once(0)
		times := map[int]int{}
		for _, count := range s.uids() {
			times[count]++
		}
		if len(times) != 1 || times[1]+times[2] != 120 || n == 0 && times[2] == 0 {
			t.Errorf("there so many times, and so many documents: %v", times)
		}
		return taken
	})
}

// TestCutDeadReplay kills `trawl dead replay` before each of its steps: no
// document is lost, and in the file none is there twice.
func TestCutDeadReplay(t *testing.T) {
	t.Parallel()
	everyCut(t, 15, func(t *testing.T, n int) int {
		s := newScenario(t, setup{outputs: "{archive: {type: file, path: events.ndjson, max_document: 4KiB}}"})
		s.tenant.AddAudit(saassim.Batch{N: 20})
		s.tenant.AddIssues(saassim.Batch{N: 12})
		s.once(1)
		if got := s.delivered(); got != 20 {
			t.Fatalf("%d documents are not too large", got)
		}
		s.replace("trawl.yaml", "4KiB", "1MiB")
		taken := s.cut(n, "dead", "replay", "--all")
		s.once(0)
		if status, _, said := s.trawl("dead", "replay", "--all"); status != 0 {
			t.Errorf("then dead replay ended with %d: %s", status, said)
		}
		s.wantAll()
		return taken
	})
}

// uids counts the documents of the output's files by their uids.
func (s *scenario) uids() map[string]int {
	s.t.Helper()
	names, err := filepath.Glob(s.path("events*.ndjson"))
	if err != nil {
		s.t.Fatal(err)
	}
	n := map[string]int{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var d document
			if err := json.Unmarshal([]byte(line), &d); err != nil {
				s.t.Fatalf("broken document: %v: %s", err, line)
			}
			n[d.Trawl.UID]++
		}
	}
	return n
}
