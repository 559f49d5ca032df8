package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the test binary be the command when it is asked to.
func TestMain(m *testing.M) {
	if os.Getenv("SAASSIM_TEST_COMMAND") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func process(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], args...)
	c.Env = append(os.Environ(), "SAASSIM_TEST_COMMAND=1")
	return c
}

func TestProcess(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "addr")
	server := process(t, "-addr-file", file, "-audit", "3")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if out, err := process(t, "-wait", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := process(t, "-admin", file, "GET", "/admin/truth").Output()
	if n := strings.Count(string(out), "wiz/audit"); err != nil || n != 3 {
		t.Errorf("%d entries, %v", n, err)
	}
	if err := server.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := server.Wait(); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]int{"-h": 0, "-order=sideways": 2, "-addr=192.0.2.1:80": 1} {
		err := process(t, arg).Run()
		code := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if code != want {
			t.Errorf("%s: exit status %d, want %d (%v)", arg, code, want, err)
		}
	}
}
