//go:build !unix

package pagelog

import (
	"errors"
	"fmt"
	"os"
)

// lockDir refuses: two processes on one directory would destroy the log, and
// this system has no lock that ends with its process.
func lockDir(dir string) (*os.File, error) {
	return nil, fmt.Errorf("lock %s: the embedded log needs a Unix system: %w", dir, errors.ErrUnsupported)
}
