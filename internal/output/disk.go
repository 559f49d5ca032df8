package output

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// disk is all that the file output asks of the operating system, so that tests
// can fail, or kill the process, at every single step.
type disk interface {
	Open(name string, flag int) (diskFile, error) // what it creates has mode 0600
	Stat(name string) (fs.FileInfo, error)
	Resolve(name string) (string, error) // symbolic links followed
	Rename(from, to string) error
	Remove(name string) error
	Mkdir(dir string) error   // with the parents it lacks, mode 0700, durable
	SyncDir(dir string) error // makes creations, renames and removals in dir durable
}

type diskFile interface {
	io.Reader
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	Sync() error
	Lock() error                 // keeps other processes out until Close; errLocked when one has it
	Forget(offset, length int64) // says that what is there need not stay in memory
}

var errLocked = errors.New("another process is writing to it")

type osDisk struct{}

func (osDisk) Open(name string, flag int) (diskFile, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osDisk) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }
func (osDisk) Resolve(name string) (string, error)   { return filepath.EvalSymlinks(name) }
func (osDisk) Rename(from, to string) error          { return os.Rename(from, to) }
func (osDisk) Remove(name string) error              { return os.Remove(name) }
func (osDisk) SyncDir(dir string) error              { return syncDir(dir) }

func (d osDisk) Mkdir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := d.Mkdir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				return nil // made by someone else meanwhile
			}
		}
		return err
	}
	return d.SyncDir(parent)
}

type osFile struct{ *os.File }

func (f osFile) Lock() error                 { return lock(f.File) }
func (f osFile) Forget(offset, length int64) { forget(f.File, offset, length) }

func (f osFile) Close() error {
	unlock(f.File)
	return f.File.Close()
}
