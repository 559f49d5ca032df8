// Package output holds the places that documents are delivered to, one file
// each.
package output

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Output is where a reader of the log puts documents. One goroutine calls it,
// in this order: Open, any number of Write, Close. After any error but a
// *PermanentError, Open and Write may be called again with the same arguments.
type Output interface {
	// Open makes the output ready and returns how far it is by its own memory;
	// the zero Place says that it has none. What an earlier run left behind
	// that place is taken out.
	Open(ctx context.Context) (Place, error)
	// Write returns nil once the batch is durable, a *RefusedError when all of
	// it is durable but for the documents named there, and any other error
	// when the batch is to be written again. It leaves b.Data alone once it
	// has returned, unless ctx ended meanwhile. An output that remembers its
	// place refuses nothing: a crash right after Write would forget it.
	Write(ctx context.Context, b Batch) error
	// Close gives back what Open took. It may be called without Open and twice.
	Close() error
}

// Keeper is an output that has something to do when nothing is delivered.
type Keeper interface {
	// Keep is called now and then between two calls of Write.
	Keep(ctx context.Context) error
}

// Place is how far an output has got.
type Place struct {
	Last     uint64 // the last page that is wholly and durably in it; 0: none
	Replay   string // the replay that it was given a batch of last; "" for none
	Replayed uint64 // Last of the last batch of that replay that is wholly in it
}

// Batch is documents that follow those of the batch before it: of one or more
// whole pages, in the order of the log, or of a replay, in an order of its own.
// Batches of a replay come between those of the log, and batches of one replay
// after all of the replay before.
type Batch struct {
	Replay string // "" for the pages of the log
	Last   uint64 // sequence of the last page; within a replay, a number that rises from batch to batch
	Data   []byte // the documents as NDJSON: each on one line that ends with \n
	Ends   []int  // where in Data each document ends, its newline included

	// An output that stops in the middle of a batch may be given its rest in
	// another, with fewer documents or more between the same records. Steps
	// are, of each document, how many records lie between the batch before
	// and the document's end; nil: 1, 2, 3… Size is their number in the whole
	// batch; 0: as many as there are documents.
	Steps []uint64
	Size  uint64
}

// step is how far the batch is with its i-th document.
func (b Batch) step(i int) uint64 {
	if b.Steps == nil {
		return uint64(i) + 1
	}
	return b.Steps[i]
}

// size is how far it is with the last.
func (b Batch) size() uint64 {
	if b.Size == 0 {
		return uint64(len(b.Ends))
	}
	return b.Size
}

// Document is the i-th document without its newline. It aliases b.Data.
func (b Batch) Document(i int) []byte {
	start := 0
	if i > 0 {
		start = b.Ends[i-1]
	}
	return b.Data[start : b.Ends[i]-1]
}

// Refusal is one document that an output will not take however often it is
// tried.
type Refusal struct {
	Index  int // in the batch
	Reason string
}

// RefusedError names the documents of a batch that were refused for good. The
// others are delivered.
type RefusedError struct {
	Refusals []Refusal // by rising Index
}

func (e *RefusedError) Error() string {
	if len(e.Refusals) == 0 {
		return "documents refused"
	}
	return fmt.Sprintf("%d documents refused, the first because: %s", len(e.Refusals), e.Refusals[0].Reason)
}

// PermanentError is a failure of the whole output that trying again does not
// mend: a person has to change something first.
type PermanentError struct {
	Output string
	Err    error
}

func (e *PermanentError) Error() string { return fmt.Sprintf("output %s: %v", e.Output, e.Err) }
func (e *PermanentError) Unwrap() error { return e.Err }

// Options configure an output. Those of types it is not of are ignored.
type Options struct {
	Name   string // as in the configuration
	Type   string // file
	Dir    string // where outputs keep what they must remember: data_dir/outputs
	Log    string // identity of the log that sequences of pages belong to; "" is an identity too
	Logger *slog.Logger

	Path     string // file: where; "-" is standard output
	Rotate   Rotate // file
	Compress string // file: what finished files are compressed with: none (or ""), gzip, zstd
}

// Rotate says when a file is finished and a new one begun. Zero values: never.
type Rotate struct {
	Size int64         // bytes that a file has at most, unless one document alone has more
	Age  time.Duration // since the first document of the file was written
}

// New makes an output of the type that opts name, without touching anything
// outside the process yet.
func New(opts Options) (Output, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	opts.Logger = opts.Logger.With("output", opts.Name)
	switch opts.Type {
	case "file":
		return newFileOrStream(opts)
	default:
		return nil, fmt.Errorf("output %s: there is no type %q; there is file", opts.Name, opts.Type)
	}
}

// newFileOrStream tells regular files, which can be cut and synced, from
// everything else that has a path.
func newFileOrStream(opts Options) (Output, error) {
	switch opts.Path {
	case "":
		return nil, fmt.Errorf("output %s: path is not set", opts.Name)
	case "-", "/dev/stdout":
		return &stream{name: opts.Name, std: os.Stdout}, nil
	case "/dev/stderr":
		return &stream{name: opts.Name, std: os.Stderr}, nil
	}
	info, err := os.Stat(opts.Path)
	switch {
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("output %s: %s is a directory; give the path of a file in it", opts.Name, opts.Path)
	case err == nil && !info.Mode().IsRegular():
		return &stream{name: opts.Name, path: opts.Path}, nil
	}
	switch opts.Compress {
	case "", compressNone, compressGzip, compressZstd:
	default:
		return nil, fmt.Errorf("output %s: compress %q is none of none, gzip and zstd", opts.Name, opts.Compress)
	}
	if opts.Name == "" || opts.Name != filepath.Base(opts.Name) || strings.HasPrefix(opts.Name, ".") {
		return nil, fmt.Errorf("output %q: the name can't be that of a file", opts.Name)
	}
	path, err := filepath.Abs(opts.Path)
	if err != nil {
		return nil, fmt.Errorf("output %s: %w", opts.Name, err)
	}
	return newFile(opts, path, osDisk{}), nil
}
