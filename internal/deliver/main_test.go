package deliver

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(child(dir, os.Getenv(replayingEnv) != "")) // the process that is killed
	}
	goleak.VerifyTestMain(m)
}
