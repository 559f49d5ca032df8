package output

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	compressNone = "none"
	compressGzip = "gzip"
	compressZstd = "zstd"

	compressChunk  = 1 << 20
	compressLinger = 2 * time.Second // how long Close waits for a file in hand, which is begun anew otherwise
)

var extensions = map[string]string{compressGzip: ".gz", compressZstd: ".zst"}

// compressor replaces finished files by compressed ones, beside the writing.
// What is left to do is part of the position, so that it is taken up again.
type compressor struct {
	disk   disk
	method string
	logger *slog.Logger
	quit   chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex
	todo    []string
	running bool
	stopped bool
}

func newCompressor(d disk, method string, logger *slog.Logger) *compressor {
	if method == "" {
		method = compressNone
	}
	return &compressor{disk: d, method: method, logger: logger, quit: make(chan struct{})}
}

// queue notes files, which start begins to work on.
func (c *compressor) queue(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if !slices.Contains(c.todo, name) {
			c.todo = append(c.todo, name)
		}
	}
}

func (c *compressor) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.todo) > 0 && !c.running && !c.stopped {
		c.running = true
		c.wg.Go(c.run)
	}
}

// left are those of names that are not done.
func (c *compressor) left(names []string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var left []string
	for _, name := range names {
		if slices.Contains(c.todo, name) {
			left = append(left, name)
		}
	}
	return left
}

// stop ends the work and waits for that. It may be called twice.
func (c *compressor) stop() {
	c.mu.Lock()
	first := !c.stopped
	c.stopped = true
	c.mu.Unlock()
	if first {
		timer := time.AfterFunc(compressLinger, func() { close(c.quit) })
		defer timer.Stop()
	}
	c.wg.Wait()
}

// run works until nothing is left or something fails.
func (c *compressor) run() {
	for {
		c.mu.Lock()
		if len(c.todo) == 0 {
			c.running = false
			c.mu.Unlock()
			return
		}
		name := c.todo[0]
		c.mu.Unlock()

		err := c.finish(name)

		c.mu.Lock()
		if err != nil {
			c.running = false
			c.mu.Unlock()
			if !errors.Is(err, errQuit) {
				c.logger.Warn("finished file not compressed yet", "path", name, "error", err)
			}
			return
		}
		c.todo = c.todo[1:]
		c.mu.Unlock()
	}
}

// finish takes one file from wherever an earlier try left it to its end.
func (c *compressor) finish(name string) error {
	for _, ext := range extensions {
		if err := c.disk.Remove(tempName(name, ext)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, ext := range extensions { // either: the setting may have changed meanwhile
		if _, err := c.disk.Stat(name + ext); err == nil {
			return c.remove(name)
		}
	}
	if c.method == compressNone {
		return nil
	}
	ext := extensions[c.method]
	err := c.compress(name, tempName(name, ext))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // someone took it away
	}
	if err == nil {
		err = c.disk.Rename(tempName(name, ext), name+ext)
	}
	if err == nil {
		err = c.disk.SyncDir(filepath.Dir(name))
	}
	if err != nil {
		_ = c.disk.Remove(tempName(name, ext)) // it may be what fills the disk
		return err
	}
	return c.remove(name)
}

func (c *compressor) remove(name string) error {
	if err := c.disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.disk.SyncDir(filepath.Dir(name))
}

var errQuit = errors.New("stopped")

func (c *compressor) compress(from, to string) (err error) {
	src, err := c.disk.Open(from, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	dst, err := c.disk.Open(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	encoder, err := c.encoder(dst)
	if err != nil {
		return err
	}
	buf := make([]byte, compressChunk)
	for {
		select {
		case <-c.quit:
			return errQuit
		default:
		}
		n, readErr := src.Read(buf)
		if _, err := encoder.Write(buf[:n]); err != nil {
			return err
		}
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			return readErr
		}
	}
	if err := encoder.Close(); err != nil {
		return err
	}
	return dst.Sync()
}

func (c *compressor) encoder(w io.Writer) (io.WriteCloser, error) {
	if c.method == compressGzip {
		return gzip.NewWriterLevel(w, gzip.DefaultCompression)
	}
	e, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, fmt.Errorf("set up zstd: %w", err)
	}
	return e, nil
}

// tempName is hidden, so that nobody takes it for a finished file.
func tempName(name, ext string) string {
	dir, base := filepath.Split(name)
	return dir + "." + base + ext + ".tmp"
}
