package output

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// stream writes to what can be neither cut nor synced: standard output, a
// named pipe, a device. Documents reach it at least once.
type stream struct {
	name string
	std  *os.File // standard output or error; nil: path
	path string

	file   *os.File
	replay string // of the batch that done is about
	last   uint64
	done   int // bytes of it that are written
}

func (s *stream) Open(context.Context) (Place, error) { return Place{}, s.open() }

func (s *stream) open() (err error) {
	if s.file != nil {
		return nil
	}
	if s.std != nil {
		s.file, err = dup(s.std)
	} else {
		// Without blocking: a named pipe that nobody reads is an error.
		s.file, err = os.OpenFile(s.path, os.O_WRONLY|openNonblock, 0)
		s.done = 0
	}
	if errors.Is(err, syscall.ENXIO) {
		return fmt.Errorf("open output %s: nobody reads the named pipe %s: %w", s.name, s.path, err)
	}
	if err != nil {
		return fmt.Errorf("open output %s: %w", s.name, err)
	}
	return nil
}

// Write goes on where a try that failed stopped.
func (s *stream) Write(ctx context.Context, b Batch) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write output %s: %w", s.name, err)
	}
	if err := s.open(); err != nil {
		return err
	}
	if s.last != b.Last || s.replay != b.Replay {
		s.replay, s.last, s.done = b.Replay, b.Last, 0
	}
	type result struct {
		n   int
		err error
	}
	written := make(chan result, 1)
	go func(w *os.File, data []byte) {
		n, err := w.Write(data)
		written <- result{n, err}
	}(s.file, b.Data[s.done:])
	select {
	case r := <-written:
		s.done += r.n
		if r.err == nil {
			s.last = 0
			return nil
		}
		return s.failed(r.err)
	case <-ctx.Done(): // whoever reads does not go on; the write ends with the file or the process
		s.release()
		return fmt.Errorf("write output %s: %w", s.name, ctx.Err())
	}
}

func (s *stream) failed(err error) error {
	closed := errors.Is(err, syscall.EPIPE)
	switch {
	case closed && s.std != nil:
		return &PermanentError{Output: s.name, Err: fmt.Errorf("the program that read %s has closed it: %w", s.std.Name(), err)}
	case s.std == nil: // the next reader of the pipe begins with a whole document
		s.release()
	}
	return fmt.Errorf("write output %s: %w", s.name, err)
}

func (s *stream) Close() error {
	s.release()
	return nil
}

func (s *stream) release() {
	if s.file != nil && s.file != s.std {
		_ = s.file.Close()
	}
	s.file = nil
}
