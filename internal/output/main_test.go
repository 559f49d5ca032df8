package output

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child()) // one of the processes that crash_test.go kills
	}
	goleak.VerifyTestMain(m)
}
