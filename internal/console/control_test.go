package console

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/collect"
)

func sorted(states []collect.State) []collect.State { return slices.Sorted(slices.Values(states)) }

// control starts the socket; it is stopped with the test, or before.
func control(t *testing.T, dir string, e Engine) (stop func()) {
	t.Helper()
	end, err := Control(dir, e)
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(end)
	t.Cleanup(stop)
	return stop
}

func dial(t *testing.T, dir string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestControl(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("before: %v", err)
	}
	f := &fake{status: working()}
	stop := control(t, dir, f)
	c := dial(t, dir)
	if c.PID != os.Getpid() {
		t.Errorf("process %d", c.PID)
	}
	s, err := c.Status(t.Context())
	if d := cmp.Diff(working(), s); d != "" || err != nil {
		t.Errorf("status: %v %s", err, d)
	}
	o, err := c.Observed(t.Context())
	wanted, _ := f.Observed(t.Context())
	if d := cmp.Diff(wanted, o); d != "" || err != nil {
		t.Errorf("observed: %v %s", err, d)
	}
	to := time.Date(2026, 1, 31, 9, 0, 0, 123456789, time.FixedZone("", 3600))
	if err := errors.Join(c.Change(t.Context(), "wiz-prod/audit", "pause", time.Time{}), c.Change(t.Context(), "wiz-prod/audit", "rewind", to)); err != nil {
		t.Errorf("change: %v", err)
	}
	begins, err := c.StartBackfill(t.Context(), "wiz-prod/audit", at(0), at(1), 3)
	if err != nil || !begins.Equal(at(0).Add(time.Hour)) {
		t.Errorf("backfill = %s, %v", begins, err)
	}
	want := []string{"pause wiz-prod/audit", "rewind wiz-prod/audit 2026-01-31T08:00:00.123456789Z", "backfill wiz-prod/audit 2026-02-06T13:00:00Z 2026-02-06T13:00:01Z"}
	if d := cmp.Diff(want, f.asked); d != "" {
		t.Error(d)
	}
	f.err = errors.New("feed wiz-prod/audit: no such luck")
	for what, err := range map[string]error{
		"change":   c.Change(t.Context(), "wiz-prod/audit", "resume", time.Time{}),
		"backfill": second(c.StartBackfill(t.Context(), "wiz-prod/audit", at(0), at(1), 3)),
		"status":   second(c.Status(t.Context())),
	} {
		if err == nil || err.Error() != f.err.Error() {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Control(dir, f); !errors.Is(err, ErrRunning) {
		t.Errorf("a second one: %v", err)
	}
	stop()
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after: %v", err)
	}
	for what, err := range map[string]error{
		"change": c.Change(t.Context(), "wiz-prod/audit", "pause", time.Time{}),
		"status": second(c.Status(t.Context())),
	} {
		if !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s after: %v", what, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestControlIsPrivate: nobody but the owner reaches the socket.
func TestControlIsPrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	control(t, dir, &fake{})
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.Type() != fs.ModeSocket && info.Mode().Perm()&0o077 != 0 { // of the socket the directory decides
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestControlAfterKill: what a process that was killed left behind is in
// nobody's way.
func TestControlAfterKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "control"), 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "control", "socket")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(l.Close(), writeAddress(filepath.Join(dir, controlFile), controlAddress{Socket: socket, PID: 1})); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Dial: %v", err)
	}
	control(t, dir, &fake{status: working()})
	if s, err := dial(t, dir).Status(t.Context()); err != nil || !s.Running {
		t.Errorf("status: %v %+v", err, s)
	}
}

// TestControlLongPath: a socket's path may be about a hundred bytes long, a
// directory's is not so limited.
func TestControlLongPath(t *testing.T) {
	t.Setenv("TMPDIR", os.TempDir())
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	stop := control(t, dir, &fake{status: working()})
	if _, err := dial(t, dir).Status(t.Context()); err != nil {
		t.Error(err)
	}
	stop()
}

func TestDialBadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, controlFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), dir); err == nil || errors.Is(err, ErrNotRunning) {
		t.Errorf("Dial: %v", err)
	}
}

// TestControlWithCommandUnderWay: stopping does not wait for a change that
// takes long, and one who gives up ends what was asked.
func TestControlWithCommandUnderWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	began, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	stop := control(t, dir, &fake{block: make(chan struct{}), began: began, gone: gone})
	c := dial(t, dir)
	failed := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ask := func() { failed <- c.Change(ctx, "wiz-prod/audit", "pause", time.Time{}) }
	go ask()
	<-began
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	<-gone
	ctx = t.Context()
	go ask()
	<-began
	stop() // would never return if it waited
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "it ended before it answered") {
		t.Errorf("the change: %v", err)
	}
	<-gone
}
