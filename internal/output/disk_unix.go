//go:build unix

package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// identity is the device and inode of a file: what stays the same when a file
// is renamed and differs when another takes its place.
func identity(info fs.FileInfo) (dev, inode uint64) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev), uint64(st.Ino)
	}
	return 0, 0
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lock is advisory: it keeps out other processes of Trawl. File systems that
// have no locks are used without.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("lock %s: %w", f.Name(), errLocked)
	}
	return nil
}

// unlock does what closing alone would not while a process is being started,
// which for a moment holds a copy of every descriptor.
func unlock(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
}

// dup gives a second descriptor for a standard stream. Writing to a closed
// pipe through it is an error, where writing to the stream itself would end
// the process by SIGPIPE.
func dup(f *os.File) (*os.File, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var copied int
	var dupErr error
	if err := conn.Control(func(fd uintptr) {
		if copied, dupErr = syscall.Dup(int(fd)); dupErr == nil {
			syscall.CloseOnExec(copied)
		}
	}); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, fmt.Errorf("dup %s: %w", f.Name(), dupErr)
	}
	return os.NewFile(uintptr(copied), f.Name()), nil
}

const openNonblock = syscall.O_NONBLOCK
