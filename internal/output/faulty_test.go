package output

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// faultyDisk counts the steps that the file output takes and, at the one
// asked for, does what fault says in place of it. Syncing is a step but takes
// no time: what SIGKILL leaves behind does not depend on it.
type faultyDisk struct {
	disk
	mu        sync.Mutex
	steps     int
	at        int // 0: never
	times     int // how many steps from at on; 0: one
	fault     fault
	err       error
	forgotten int64
	trace     []string // what changed or was made durable, in order, with base names
}

func (d *faultyDisk) note(what, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trace = append(d.trace, what+" "+filepath.Base(name))
}

type fault string

const (
	failBefore fault = "fail before" // nothing is done
	failHalf   fault = "fail half"   // a write stops in the middle; else nothing is done
	failAfter  fault = "fail after"  // all is done, and still an error comes back
	killHalf   fault = "kill"        // SIGKILL, in the middle of a write or before anything else
)

// step runs one step. half does half of it, where it has halves.
func (d *faultyDisk) step(whole func() error, half func()) error {
	d.mu.Lock()
	d.steps++
	hit := d.at > 0 && d.steps >= d.at && d.steps < d.at+max(d.times, 1)
	d.mu.Unlock()
	if !hit {
		return whole()
	}
	switch d.fault {
	case failHalf:
		if half != nil {
			half()
		}
	case failAfter:
		if err := whole(); err != nil {
			return err
		}
	case killHalf:
		if half != nil {
			half()
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return d.err
}

func (d *faultyDisk) taken() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.steps
}

func (d *faultyDisk) Open(name string, flag int) (f diskFile, err error) {
	err = d.step(func() error {
		f, err = d.disk.Open(name, flag)
		return err
	}, nil)
	if err != nil {
		if f != nil {
			_ = f.Close()
		}
		return nil, err
	}
	if flag&os.O_CREATE != 0 {
		d.note("create", name)
	}
	return &faultyFile{f, d, name}, nil
}

func (d *faultyDisk) Stat(name string) (info fs.FileInfo, err error) {
	err = d.step(func() error {
		info, err = d.disk.Stat(name)
		return err
	}, nil)
	return info, err
}

func (d *faultyDisk) Rename(from, to string) error {
	d.note("rename", to)
	return d.step(func() error { return d.disk.Rename(from, to) }, nil)
}

func (d *faultyDisk) Remove(name string) error {
	return d.step(func() error { return d.disk.Remove(name) }, nil)
}

func (d *faultyDisk) Mkdir(dir string) error {
	return d.step(func() error { return d.disk.Mkdir(dir) }, nil)
}

func (d *faultyDisk) SyncDir(dir string) error {
	d.note("syncdir", dir)
	return d.step(nothing, nil)
}

type faultyFile struct {
	diskFile
	d    *faultyDisk
	name string
}

func (f *faultyFile) Write(b []byte) (n int, err error) {
	f.d.note("write", f.name)
	err = f.d.step(func() error {
		n, err = f.diskFile.Write(b)
		return err
	}, func() { n, _ = f.diskFile.Write(b[:len(b)/2]) })
	return n, err
}

func (f *faultyFile) WriteAt(b []byte, at int64) (n int, err error) {
	f.d.note("write", f.name)
	err = f.d.step(func() error {
		n, err = f.diskFile.WriteAt(b, at)
		return err
	}, func() { n, _ = f.diskFile.WriteAt(b[:len(b)/2], at) })
	return n, err
}

func (f *faultyFile) ReadAt(b []byte, at int64) (n int, err error) {
	err = f.d.step(func() error {
		n, err = f.diskFile.ReadAt(b, at)
		return err
	}, nil)
	return n, err
}

func (f *faultyFile) Truncate(size int64) error {
	f.d.note("write", f.name)
	return f.d.step(func() error { return f.diskFile.Truncate(size) }, nil)
}

func (f *faultyFile) Sync() error {
	f.d.note("sync", f.name)
	return f.d.step(nothing, nil)
}

func nothing() error { return nil }

func (f *faultyFile) Forget(offset, length int64) {
	f.d.forgotten += length
	f.diskFile.Forget(offset, length)
}
