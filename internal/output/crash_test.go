package output

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const childEnv = "TRAWL_TEST_OUTPUT_CHILD"

var discard = slog.New(slog.DiscardHandler)

// order is what a child process is asked to do.
type order struct {
	Dir      string
	Pages    uint64
	Rotate   Rotate
	Compress string
	KillAt   int // step at which it kills itself; 0: none
}

func (o order) scenario() *scenario {
	s := newScenario(o.Dir, o.Pages)
	s.opts.Rotate, s.opts.Compress = o.Rotate, o.Compress
	s.disk = &faultyDisk{disk: osDisk{}, at: o.KillAt, fault: killHalf}
	return s
}

// child is the main function of a process that delivers until it is done or
// killed.
func child() int {
	var o order
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if err := o.scenario().deliver(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// run runs a child and reports whether it was killed.
func (o order) run(ctx context.Context, t *testing.T) (killed bool) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), childEnv+"="+string(b), "GORACE=atexit_sleep_ms=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	if err != nil && ctx.Err() == nil {
		t.Fatalf("child: %v\n%s", err, stderr.Bytes())
	}
	return ctx.Err() != nil
}

var rotations = []struct {
	name     string
	rotate   Rotate
	compress string
}{
	{"plain", Rotate{}, ""},
	{"rotated", Rotate{Size: 3000}, ""},
	{"gzip", Rotate{Size: 4000}, compressGzip},
	{"zstd", Rotate{Size: 2000}, compressZstd},
}

// TestKilledAtEveryStep kills the process at its first step, its second, and
// so on; each time a new one goes on, is killed a few steps later, and a third
// one finishes.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, r := range rotations {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			stride := 1
			if testing.Short() {
				stride = 7
			}
			for at := 1; ; at += stride {
				o := order{Dir: t.TempDir(), Pages: 5, Rotate: r.rotate, Compress: r.compress, KillAt: at}
				finished := !o.run(ctx, t)
				if !finished {
					o.KillAt = rand.N(30) + 1
					o.run(ctx, t)
					o.KillAt = 0
					o.run(ctx, t)
				}
				o.scenario().check(t)
				if t.Failed() {
					t.Fatalf("killed at step %d, then %d", at, o.KillAt)
				}
				if finished {
					t.Logf("%d steps", at-1)
					return
				}
			}
		})
	}
}

// TestKilledAtAnyMoment kills processes from outside, whatever they are at.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	kills := 40
	if testing.Short() {
		kills = 5
	}
	for _, r := range rotations {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			o := order{Dir: t.TempDir(), Pages: 1 << 40, Rotate: r.rotate, Compress: r.compress}
			o.Rotate.Size *= 20
			for range kills {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond+rand.N(80*time.Millisecond))
				o.run(ctx, t)
				cancel()
			}
			o.Pages = max(o.scenario().acked(""), o.scenario().acked("again")) + 10
			o.run(t.Context(), t)
			o.scenario().check(t)
			t.Logf("%d pages", o.Pages)
		})
	}
}

// TestFaultsAtEveryStep lets every step fail, in each way that it can, or with
// the nine after it.
func TestFaultsAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, r := range rotations {
		for i, how := range []fault{failBefore, failHalf, failAfter, failBefore} {
			times := 1 + i/3*9
			t.Run(fmt.Sprintf("%s/%s/%d", r.name, how, times), func(t *testing.T) {
				t.Parallel()
				stride := 1
				if testing.Short() {
					stride = 7
				}
				for at := 1; ; at += stride {
					s := newScenario(t.TempDir(), 4)
					s.opts.Rotate, s.opts.Compress = r.rotate, r.compress
					d := &faultyDisk{disk: osDisk{}, at: at, times: times, fault: how, err: syscall.ENOSPC}
					s.disk = d
					if err := s.deliver(t.Context()); err != nil {
						t.Fatalf("step %d: %v", at, err)
					}
					s.disk = osDisk{}
					if err := s.deliver(t.Context()); err != nil { // takes up a compression that failed
						t.Fatalf("step %d, again: %v", at, err)
					}
					s.check(t)
					if t.Failed() {
						t.Fatalf("failed at step %d", at)
					}
					if d.taken() < at {
						return
					}
				}
			})
		}
	}
}
