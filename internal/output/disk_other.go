//go:build !unix

package output

import (
	"io/fs"
	"os"
)

func identity(fs.FileInfo) (dev, inode uint64) { return 0, 0 }

func syncDir(string) error { return nil }

func lock(*os.File) error { return nil }

func unlock(*os.File) {}

func dup(f *os.File) (*os.File, error) {
	return f, nil // and Close must not close it: see stream
}

const openNonblock = 0
