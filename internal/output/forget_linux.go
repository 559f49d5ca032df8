package output

import (
	"os"

	"golang.org/x/sys/unix"
)

// forget is a hint, so that its failure means nothing.
func forget(f *os.File, offset, length int64) {
	_ = unix.Fadvise(int(f.Fd()), offset, length, unix.FADV_DONTNEED)
}
