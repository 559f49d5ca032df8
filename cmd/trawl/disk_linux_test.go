package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trawlsec/trawl/internal/saassim"
)

// TestDiskFull fills the disk under a running Trawl: nearly, so that it waits
// and says so, and wholly, so that it ends and says so. With room again
// everything is delivered.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := newScenario(t, setup{
		top:     "listen: \"\"\ndata_dir: small/data\nlog: {max_bytes: 4GiB}",
		sources: "{audit: {start: 25h, interval: 10s, page_size: 100}, issues: {start: 25h, interval: 10s, page_size: 100}}",
		outputs: "{archive: {type: file, path: small/events.ndjson}}",
	})
	if err := os.Mkdir(s.path("small"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("trawl-test", s.path("small"), "tmpfs", 0, "size=160m"); errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skip("file systems may not be mounted here")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(s.path("small"), 0); err != nil {
			t.Error(err)
		}
	})
	output := s.path("small/events.ndjson")
	records := 0
	add := func() {
		records += 300
		s.tenant.AddAudit(saassim.Batch{N: 300, From: s.now().Add(-5 * time.Minute)})
	}
	delivered := func() bool { return countLines(t, output) == records }

	add()
	running := s.start(nil, "run")
	until(t, "everything is delivered", delivered)

	s.fill("small/filler", 40<<20) // less than the log leaves free
	add()
	until(t, "the feed says that it waits for room", func() bool {
		_, out, _ := s.trawl("status")
		return strings.Contains(strings.Join(strings.Fields(out), " "), "the disk is nearly full")
	})
	s.remove("small/filler")
	until(t, "everything is delivered", delivered)

	s.fill("small/filler", 0)
	add()
	running.wantEnd(1, longest)
	if said := running.said.String(); !strings.Contains(said, "no space left on device; nothing is lost: make room there and start again") {
		t.Error("it does not say why it ended")
	}
	if status, _, stderr := s.trawl("run", "--once"); status != 1 || !strings.Contains(stderr, "no space left on device") {
		t.Errorf("with a full disk run --once ended with %d: %s", status, stderr)
	}
	s.remove("small/filler")
	s.once(0)
	wantExactly(t, output, s.tenant)
}

func (s *scenario) remove(name string) {
	s.t.Helper()
	if err := os.Remove(s.path(name)); err != nil {
		s.t.Fatal(err)
	}
}

// fill writes a file until no more than so many bytes of the disk are free.
func (s *scenario) fill(name string, leave int64) {
	s.t.Helper()
	var disk unix.Statfs_t
	if err := unix.Statfs(s.dir+"/small", &disk); err != nil {
		s.t.Fatal(err)
	}
	f, err := os.Create(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(disk.Bavail)*disk.Bsize-leave); err != nil {
		s.t.Fatal(err)
	}
}
