package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"time"
)

const (
	cacheKeep = 4 << 20 // bytes at the end of the file that may stay in memory
	cacheStep = 1 << 20
)

// file writes documents to a regular file, each exactly once whatever happens
// in between: see position. After any failure it forgets what it knew and
// finds its way from the position on disk, as after a crash.
type file struct {
	opts     Options
	disk     disk
	logger   *slog.Logger
	want     string // configured path, absolute
	position string // name of the position file

	data     diskFile // nil: recover first
	path     string   // of data, symbolic links followed
	pos      position // as stored
	tail     []byte   // the last tailSize bytes of data
	cached   int64    // offset from which data is kept in memory by the system
	compress *compressor
}

func newFile(opts Options, path string, d disk) *file {
	return &file{
		opts: opts, disk: d, logger: opts.Logger, want: path,
		position: filepath.Join(opts.Dir, opts.Name+".json"),
		compress: newCompressor(d, opts.Compress, opts.Logger),
	}
}

func (f *file) Open(context.Context) (Place, error) {
	if err := f.recover(); err != nil {
		return Place{}, f.failed("open", err)
	}
	place := Place{Last: f.pos.Last}
	if r := f.pos.Replay; r != nil {
		place.Replay, place.Replayed = r.ID, r.Last
	}
	return place, nil
}

// Write commits a batch in as many steps as it takes files to hold it. Each
// step is: write, sync, store the position.
func (f *file) Write(ctx context.Context, b Batch) error {
	if err := f.write(ctx, b); err != nil {
		f.release()
		if ctx.Err() == nil {
			// At once, so that a full disk has its space back and nobody reads
			// half a document. Should it fail too, the next Write does it.
			_ = f.recover()
		}
		return f.failed("write", err)
	}
	return nil
}

func (f *file) write(ctx context.Context, b Batch) error {
	if err := f.ready(); err != nil {
		return err
	}
	at := f.pos.in(b.Replay)
	if b.Last <= at.Last {
		return nil // an earlier try got further than it knew
	}
	// Documents of the batch that are in files already.
	done := sort.Search(len(b.Ends), func(i int) bool { return b.step(i) > at.Ahead })
	if done == len(b.Ends) { // also where there are none: what is acknowledged must not be ahead of the position
		return f.store(f.pos.with(b.Replay, reach{b.Last, at.Ahead - min(at.Ahead, b.size())}))
	}
	for done < len(b.Ends) {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := f.fitting(b, done)
		if n == 0 || f.aged() {
			if err := f.rotate(); err != nil {
				return err
			}
			continue
		}
		start, end := 0, b.Ends[done+n-1]
		if done > 0 {
			start = b.Ends[done-1]
		}
		done += n
		next := reach{at.Last, b.step(done - 1)}
		if done == len(b.Ends) {
			next = reach{b.Last, 0}
		}
		if err := f.append(b.Data[start:end], f.pos.with(b.Replay, next)); err != nil {
			return err
		}
	}
	return nil
}

// fitting is how many documents of b from the given one on the file has room
// for. An empty file has room for at least one.
func (f *file) fitting(b Batch, from int) int {
	left := len(b.Ends) - from
	if f.opts.Rotate.Size <= 0 {
		return left
	}
	limit := f.opts.Rotate.Size - f.pos.Offset
	if from > 0 {
		limit += int64(b.Ends[from-1])
	}
	n := sort.Search(left, func(i int) bool { return int64(b.Ends[from+i]) > limit })
	if n == 0 && f.pos.Offset == 0 {
		return 1
	}
	return n
}

// append makes data durable at the end of the file, and then next with the
// new offset.
func (f *file) append(data []byte, next position) error {
	if _, err := f.data.WriteAt(data, f.pos.Offset); err != nil {
		return err
	}
	if err := f.data.Sync(); err != nil {
		return err
	}
	f.forget(f.pos.Offset + int64(len(data)))
	if len(data) >= tailSize {
		f.tail = append(f.tail[:0], data[len(data)-tailSize:]...)
	} else {
		keep := min(len(f.tail), tailSize-len(data))
		f.tail = append(f.tail[:copy(f.tail, f.tail[len(f.tail)-keep:])], data...)
	}
	if next.Born.IsZero() {
		next.Born = time.Now().UTC().Round(0)
	}
	next.Offset += int64(len(data))
	next.Tail = hashTail(f.tail)
	return f.store(next)
}

// forget lets go of the pages that the system keeps of the file, but for its
// end, which whoever follows the file reads next. Otherwise a backfill drives
// everything else out of memory, and each page is a new one, which costs more
// than to use one again.
func (f *file) forget(end int64) {
	if f.cached > end {
		f.cached = 0 // a new file
	}
	if n := end - cacheKeep - f.cached; n >= cacheStep {
		f.data.Forget(f.cached, n)
		f.cached += n
	}
}

func (f *file) store(next position) error {
	next.Compress = f.compress.left(next.Compress)
	if err := next.save(f.disk, f.position); err != nil {
		return err
	}
	f.pos = next
	return nil
}

// ready makes sure that data is still the file at path and ends where the
// position says.
func (f *file) ready() error {
	if f.data == nil {
		return f.recover()
	}
	mine, err := f.data.Stat()
	if err != nil {
		return err
	}
	there, err := f.disk.Stat(f.path)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err == nil && os.SameFile(mine, there) && mine.Size() == f.pos.Offset:
		return nil
	case err == nil && os.SameFile(mine, there) && mine.Size() > f.pos.Offset:
		f.logger.Warn("someone else wrote to the file: going on after it", "path", f.path, "bytes", mine.Size()-f.pos.Offset)
		next, err := f.adopt(f.pos, mine)
		if err != nil {
			return err
		}
		return f.store(next)
	}
	f.release()
	return f.recover()
}

// Keep finishes a file that is old enough, and compresses what could not be
// compressed before.
func (f *file) Keep(context.Context) error {
	f.compress.start()
	if f.data == nil || !f.aged() {
		return nil
	}
	err := f.ready()
	if err == nil && f.aged() {
		err = f.rotate()
	}
	if err != nil {
		f.release()
		return f.failed("rotate", err)
	}
	return nil
}

func (f *file) Close() error {
	f.compress.stop()
	f.release()
	return nil
}

// release closes the file. What was to be durable is.
func (f *file) release() {
	if f.data != nil {
		_ = f.data.Close()
		f.data = nil
	}
}

func (f *file) failed(doing string, err error) error {
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		damaged.Path = f.want
		return &PermanentError{Output: f.opts.Name, Err: damaged}
	}
	return fmt.Errorf("%s output %s: %w", doing, f.opts.Name, err)
}

// readTail reads the last tailSize bytes before offset.
func readTail(data io.ReaderAt, offset int64) ([]byte, error) {
	tail := make([]byte, min(offset, tailSize), tailSize)
	if _, err := data.ReadAt(tail, offset-int64(len(tail))); err != nil && !(errors.Is(err, io.EOF) && len(tail) == 0) {
		return nil, err
	}
	return tail, nil
}
