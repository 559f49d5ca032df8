package deliver

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(child(dir)) // the process that kill_test.go kills
	}
	goleak.VerifyTestMain(m)
}
