package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// recover brings the file, the position on disk and the memory of both
// together, whatever an earlier process, an earlier failure or someone else
// did to them. Only bytes that are surely its own and past the position are
// ever cut.
func (f *file) recover() (err error) {
	f.release()
	defer func() {
		if err != nil {
			f.release()
		}
	}()
	old, found, err := loadPosition(f.disk, f.position)
	if err != nil {
		return err
	}
	if !found {
		if err := f.disk.Mkdir(filepath.Dir(f.position)); err != nil {
			return err
		}
	}
	if err := f.disk.Mkdir(filepath.Dir(f.want)); err != nil {
		return err
	}
	next := old
	if found && old.Log != f.opts.Log {
		f.logger.Warn("the log is another one than before: all of it is delivered", "last_page_of_the_old_log", old.Last)
		next.reach, next.Replay = reach{}, nil
	}
	next.Log = f.opts.Log
	renamed, err := f.settleRotation(&next)
	if err != nil {
		return err
	}

	missing, err := f.open()
	if err != nil {
		return err
	}
	info, err := f.data.Stat()
	if err != nil {
		return err
	}
	known := found && !renamed // the position tells of a file that should be there
	mine, err := false, error(nil)
	if known {
		if mine, err = isMine(f.data, info, old); err != nil {
			return err
		}
	}
	switch {
	case mine:
		err = f.cut(f.data, info, old)
		if err == nil {
			f.tail, err = readTail(f.data, old.Offset)
		}
		next.Device, next.Inode = identity(info)
	default:
		if known {
			if err := f.explain(old, info, missing); err != nil {
				return err
			}
		}
		next, err = f.adopt(next, info)
	}
	if err != nil {
		return err
	}
	next.Path = f.path
	if err := f.disk.SyncDir(filepath.Dir(f.path)); err != nil {
		return err
	}
	f.compress.queue(next.Compress...)
	if err := f.store(next); err != nil {
		return err
	}
	f.compress.start()
	return nil
}

// open opens the configured path, and tells whether nothing was there.
func (f *file) open() (missing bool, err error) {
	info, err := f.disk.Stat(f.want)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		missing = true
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, fmt.Errorf("%s is not a regular file any more", f.want)
	}
	if f.data, err = f.disk.Open(f.want, os.O_RDWR|os.O_CREATE); err != nil {
		return missing, err
	}
	if f.path, err = f.disk.Resolve(f.want); err != nil {
		return missing, err
	}
	return missing, f.data.Lock()
}

// isMine reports whether data is the file that p tells of, at least as long.
func isMine(data diskFile, info fs.FileInfo, p position) (bool, error) {
	dev, inode := identity(info)
	if inode != p.Inode || info.Size() < p.Offset {
		return false, nil
	}
	if p.Offset == 0 {
		// No content tells it from others. Devices, whose numbers may change
		// when a machine starts, are compared only here.
		return dev == p.Device && (inode != 0 || info.Size() == 0), nil
	}
	tail, err := readTail(data, p.Offset)
	return err == nil && hashTail(tail) == p.Tail, err
}

// cut takes out what was written after p.
func (f *file) cut(data diskFile, info fs.FileInfo, p position) error {
	if info.Size() == p.Offset {
		return nil
	}
	f.logger.Info("cut what was written but never acknowledged", "path", p.Path, "bytes", info.Size()-p.Offset)
	if err := data.Truncate(p.Offset); err != nil {
		return err
	}
	return data.Sync()
}

// adopt makes next continue at the end of data, on a line of its own.
func (f *file) adopt(next position, info fs.FileInfo) (position, error) {
	next.Offset, next.Born = info.Size(), time.Time{}
	var err error
	if f.tail, err = readTail(f.data, next.Offset); err != nil {
		return next, err
	}
	if n := len(f.tail); n > 0 && f.tail[n-1] != '\n' {
		if _, err := f.data.WriteAt([]byte{'\n'}, next.Offset); err != nil {
			return next, err
		}
		if err := f.data.Sync(); err != nil {
			return next, err
		}
		next.Offset++
		if f.tail, err = readTail(f.data, next.Offset); err != nil {
			return next, err
		}
	}
	if next.Offset > 0 {
		next.Born = time.Now().UTC().Round(0)
	}
	next.Device, next.Inode = identity(info)
	next.Tail = hashTail(f.tail)
	return next, nil
}

// explain says why the file at hand is not the one that the position tells of.
// Where the path was changed, the file at the old one is cut.
func (f *file) explain(old position, info fs.FileInfo, missing bool) error {
	dev, inode := identity(info)
	switch {
	case old.Path != f.path:
		f.logger.Warn("the path was changed: going on there", "path", f.path, "old_path", old.Path)
		return f.cutOld(old)
	case missing && old.Offset > 0:
		f.logger.Warn("the file is gone: a new one is begun", "path", f.path, "bytes_before", old.Offset)
	case missing:
	case inode == old.Inode && dev == old.Device && info.Size() < old.Offset:
		f.logger.Warn("someone else cut the file: going on at its end", "path", f.path, "bytes", info.Size(), "bytes_before", old.Offset)
	default:
		f.logger.Warn("another file has taken the place of the one written before: going on at its end, nothing of it is cut",
			"path", f.path, "bytes", info.Size(), "bytes_before", old.Offset)
	}
	return nil
}

// cutOld finishes the file at a path that is no longer configured.
func (f *file) cutOld(old position) (err error) {
	data, err := f.disk.Open(old.Path, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	if err := data.Lock(); err != nil {
		return err
	}
	info, err := data.Stat()
	if err != nil {
		return err
	}
	mine, err := isMine(data, info, old)
	if err != nil || !mine {
		return err
	}
	return f.cut(data, info, old)
}
