package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/raw"
)

func (a *app) normalizeCommand() *cobra.Command {
	var source, most string
	var asRaw, original bool
	cmd := &cobra.Command{
		Use:   "normalize --source SOURCE",
		Short: "Make documents of raw records: records on stdin, documents on stdout",
		Long: "Reads records as JSON from the standard input, one a line, in an array, or one after the other\n" +
			"in any layout, and writes a document a line, in their order. Needs no configuration, and the\n" +
			"result depends on the records alone. Input that is not JSON ends it with exit status 1, after\n" +
			"all records before that have been written.",
		Example: `  $ echo '{"id":"1","action":"Login","status":"SUCCESS","timestamp":"2025-02-06T13:39:25.3Z"}' |
      trawl normalize --source wiz/audit --original=false | jq -c .event
  {"action":"Login","category":["authentication"],"id":"1",...}`,
	}
	load, _ := a.catalogDirFlag(cmd)
	cmd.Flags().StringVar(&source, "source", "", "`SOURCE` of the records, like wiz/audit")
	cmd.Flags().StringVar(&most, "max-record", "64MiB", "largest record that is read")
	cmd.Flags().BoolVar(&original, "original", true, "have the record itself in event.original")
	cmd.Flags().BoolVar(&asRaw, "raw", false, "write the records themselves, one a line, instead of documents")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if source == "" {
			return misuse(errors.New("--source is missing; `trawl catalog list` lists the sources"))
		}
		limit, err := config.ParseSize(most)
		if err != nil || limit < 1 {
			return misuse(fmt.Errorf("--max-record is %q; write 64MiB, 5MB or a number of bytes", most))
		}
		cat, err := load()
		if err != nil {
			return err
		}
		s, err := cat.Source(source)
		if err != nil {
			return misuse(err)
		}
		var options []ecs.Option
		if !original {
			options = append(options, ecs.WithoutOriginal())
		}
		mapper, err := ecs.Compile(s, options...)
		if err != nil {
			return fmt.Errorf("mapping of %s: %w", source, err)
		}
		convert := func(dst, record []byte) []byte { return mapper.Append(dst, record, ecs.Meta{}) }
		if asRaw {
			convert = raw.AppendLine
		}
		if terminal(a.stdin) > 0 && !a.quiet {
			fmt.Fprintln(a.stderr, "reading records from the terminal; Ctrl-D ends them")
		}
		collectEarlier() // records may be large
		return normalize(cmd.Context(), a.stdin, a.stdout, int64(limit), convert)
	}
	return cmd
}

// batchBytes is how much of the input one goroutine converts at a time.
const batchBytes = 256 << 10

// batch is a run of records on its way through a goroutine.
type batch struct {
	records []byte
	ends    []int // where each record ends in records
	out     []byte
	err     error         // what ended the input after these records
	done    chan struct{} // out is there
}

// normalize converts the records of an input, in their order. A goroutine reads,
// some convert, and this one writes; batches pass through two queues, one to be
// converted by whoever is free, one to be written in order. No more batches
// exist at a time than the queues hold.
func normalize(ctx context.Context, in io.Reader, out io.Writer, limit int64, convert func(dst, record []byte) []byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := runtime.GOMAXPROCS(0)
	work, ordered := make(chan *batch, workers), make(chan *batch, workers)
	free := make(chan *batch, 4*workers)
	go func() {
		defer close(work)
		defer close(ordered)
		readBatches(in, limit, free, func(b *batch) bool {
			for _, queue := range []chan *batch{work, ordered} {
				select {
				case queue <- b:
				case <-ctx.Done():
					return false
				}
			}
			return true
		})
	}()
	for range workers {
		go func() {
			for b := range work {
				start := 0
				for _, end := range b.ends {
					b.out = append(convert(b.out, b.records[start:end]), '\n')
					start = end
				}
				close(b.done)
			}
		}()
	}
	w := bufio.NewWriterSize(out, 1<<20)
	interrupted := func() error { return errors.Join(errors.New("interrupted"), w.Flush()) }
	for {
		select {
		case <-ctx.Done():
			return interrupted()
		case b, more := <-ordered:
			if !more && ctx.Err() != nil { // the input did not end: nobody reads it any more
				return interrupted()
			}
			if !more {
				return w.Flush()
			}
			<-b.done
			if _, err := w.Write(b.out); err != nil {
				return fmt.Errorf("write documents: %w", err)
			}
			if b.err != nil {
				return errors.Join(b.err, w.Flush())
			}
			select {
			case free <- b:
			default:
			}
		}
		if len(ordered) > 0 {
			continue
		}
		// Nothing is waiting: whoever reads the output gets what there is.
		if err := w.Flush(); err != nil {
			return fmt.Errorf("write documents: %w", err)
		}
	}
}

// readBatches gathers records into batches and sends them until the input ends
// or send says so. A batch is sent when it is full, or when reading on would
// wait for input.
func readBatches(in io.Reader, limit int64, free <-chan *batch, send func(*batch) bool) {
	r := raw.NewJSON(in, limit)
	for {
		b := emptyBatch(free)
		for len(b.records) < batchBytes && b.err == nil {
			record, err := r.Next()
			if err == io.EOF {
				send(b)
				return
			}
			if err != nil {
				b.err = fmt.Errorf("stdin: %w", err)
				if errors.As(err, new(*raw.TooLargeError)) {
					b.err = fmt.Errorf("%w; raise --max-record", b.err)
				}
				break
			}
			b.records = append(b.records, record...)
			b.ends = append(b.ends, len(b.records))
			if r.WouldWait() {
				break
			}
		}
		if !send(b) || b.err != nil {
			return
		}
	}
}

func emptyBatch(free <-chan *batch) *batch {
	select {
	case b := <-free:
		*b = batch{records: b.records[:0], ends: b.ends[:0], out: b.out[:0], done: make(chan struct{})}
		if cap(b.records)+cap(b.out) > 16*batchBytes { // had a huge record
			b.records, b.out = nil, nil
		}
		return b
	default:
		return &batch{done: make(chan struct{})}
	}
}
