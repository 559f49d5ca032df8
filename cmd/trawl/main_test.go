package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/trawlsec/trawl/internal/saassim/command"
)

var update = flag.Bool("update", false, "rewrite what scripts compare with")

// TestMain lets scripts call the program, and a simulated tenant.
func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "8") // they wait more than they compute
	_ = os.Setenv(raceOptions, withoutRest)
	testscript.Main(m, map[string]func(){
		"trawl":   func() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
		"saassim": command.Main,
	})
}

// raceOptions is a variable that the race detector reads: processes are to end
// at once, where they would rest for a second, as there are hundreds of them.
const raceOptions, withoutRest = "GORACE", "atexit_sleep_ms=0"

// TestScripts runs testdata/script/*.txtar: each is a session at the prompt,
// with the files it needs and what it has to show.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Condition: func(name string) (bool, error) {
			if name != "race" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return underRace, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"status": wantStatus},
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/home")
			e.Setenv("NO_COLOR", "")
			e.Setenv(raceOptions, withoutRest)
			return nil
		},
	})
}

// wantStatus is "status N command...": the command has to end with status N.
func wantStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [arg...]")
	}
	got := 0
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}
