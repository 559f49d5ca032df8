//go:build !(linux || darwin || freebsd)

package pagelog

import (
	"errors"
	"fmt"
	"os"
)

// lockDir refuses: two processes on one directory would destroy the log, and
// this system has no lock that ends with its process.
func lockDir(dir string) (*os.File, error) {
	return nil, fmt.Errorf("lock %s: the embedded log needs Linux, macOS or FreeBSD: %w", dir, errors.ErrUnsupported)
}

func unlockDir(f *os.File) error { return f.Close() }

func freeSpace(dir string) (uint64, error) { return 0, errors.ErrUnsupported }
