package output

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
)

// aged reports whether the file is to be finished for its age.
func (f *file) aged() bool {
	return f.opts.Rotate.Age > 0 && f.pos.Offset > 0 && time.Since(f.pos.Born) >= f.opts.Rotate.Age
}

// rotate gives the file its final name and begins a new one: the intent is
// stored, the file renamed, and the rest is what recover does after a crash
// between the two.
func (f *file) rotate() error {
	next := f.pos
	for {
		next.Counter++
		next.Rotate = finishedName(f.path, time.Now(), next.Counter)
		taken, err := f.exists(next.Rotate, next.Rotate+extensions[compressGzip], next.Rotate+extensions[compressZstd])
		if err != nil {
			return err
		}
		if !taken {
			break
		}
	}
	if err := f.store(next); err != nil {
		return err
	}
	f.release()
	if err := f.disk.Rename(f.path, next.Rotate); err != nil {
		return err
	}
	return f.recover()
}

// settleRotation finds out how far an interrupted rotation got.
func (f *file) settleRotation(next *position) (renamed bool, err error) {
	if next.Rotate == "" {
		return false, nil
	}
	if renamed, err = f.exists(next.Rotate); err != nil {
		return false, err
	}
	if renamed {
		if err := f.disk.SyncDir(filepath.Dir(next.Rotate)); err != nil {
			return false, err
		}
		if f.compress.method != compressNone {
			next.Compress = append(next.Compress[:len(next.Compress):len(next.Compress)], next.Rotate)
		}
	}
	next.Rotate = ""
	return renamed, nil
}

func (f *file) exists(names ...string) (bool, error) {
	for _, name := range names {
		if _, err := f.disk.Stat(name); err == nil {
			return true, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

// finishedName is events-20260102T150405Z-000007.ndjson for events.ndjson.
func finishedName(path string, now time.Time, counter uint64) string {
	dir, base := filepath.Split(path)
	ext := filepath.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	if stem == "" { // .events
		stem, ext = base, ""
	}
	return fmt.Sprintf("%s%s-%s-%06d%s", dir, stem, now.UTC().Format("20060102T150405Z"), counter, ext)
}
