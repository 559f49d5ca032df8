package main

import (
	"bufio"
	gobytes "bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"
	"golang.org/x/text/encoding/unicode"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/console"
	"github.com/trawlsec/trawl/internal/raw"
)

// Records of a file are handed over in batches of so many, and so many gobytes.
const (
	importBatch = 4000
	importBytes = 8 << 20
)

func (a *app) importCommand() *cobra.Command {
	var format, most string
	cmd := &cobra.Command{
		Use:   "import FEED FILE...",
		Short: "Put the records of a product's own export into the log",
		Long: "Reads exported records from files, or from the standard input for -, and puts those into the log\n" +
			"that it does not have: JSON in any framing, or a table (CSV) whose first line names the columns,\n" +
			"parted by commas, semicolons, tabs or bars; in UTF-8 or, with a byte order mark, UTF-16; plain,\n" +
			"or packed with gzip or zstd. Records that the API gave are not repeated. What a running\n" +
			"Trawl is told this way it delivers at once; else the next `trawl run` does.\n\n" +
			"The log forgets what it had after log.max_age. Records from before that, of a time that the feed\n" +
			"has read to its end, are therefore left out and counted.",
		Example: "  trawl import wiz-prod/audit audit-export.csv\n" +
			"  zcat export-*.json.gz | trawl import wiz-prod/audit -",
	}
	cmd.Flags().StringVar(&format, "format", "auto", "auto, json or csv")
	cmd.Flags().StringVar(&most, "max-record", "16MiB", "largest record that is read")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if format != "auto" && format != "json" && format != "csv" {
			return misuse(fmt.Errorf("--format is %q; it can be auto, json or csv", format))
		}
		limit, err := config.ParseSize(most)
		if err != nil || limit < 1 || limit > 64<<20 {
			return misuse(fmt.Errorf("--max-record is %q; write a size up to 64MiB", most))
		}
		cfg, err := a.load(config.WithoutSecrets)
		if err != nil {
			return err
		}
		if err := knownFeed(cfg, args[0]); err != nil {
			return err
		}
		files := importing{feed: args[0], source: sourceOf(cfg, args[0]), format: format, limit: int64(limit)}
		running := false
		err = a.withEngine(cmd.Context(), cfg, func(e console.Engine) error {
			_, running = e.(*console.Client)
			for ; len(args) > 1; args = append(args[:1], args[2:]...) {
				if err := a.importFile(cmd.Context(), e, &files, args[1]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		a.imported(files, running)
		return nil
	}
	return cmd
}

// importing is an import under way.
type importing struct {
	feed   string
	source *catalog.Source
	format string
	limit  int64 // bytes of a record
	sum    collect.Pushed
}

// sourceOf is the source of a feed that is configured.
func sourceOf(cfg *config.Config, name string) *catalog.Source {
	for _, c := range cfg.Connections {
		for _, f := range c.Feeds {
			if f.Name() == name {
				return f.Source
			}
		}
	}
	return nil
}

// importFile hands over the records of one file. A file that breaks off is an
// error, after what was before has been taken: it can be imported again.
func (a *app) importFile(ctx context.Context, e console.Engine, im *importing, name string) (err error) {
	in := a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("import: %w", err)
		}
		defer f.Close()
		in = f
	}
	records, closing, err := im.open(in)
	defer closing()
	if err != nil {
		return fmt.Errorf("import %s: %w", name, err)
	}
	told := time.Now()
	var batch [][]byte
	size := 0
	hand := func() error {
		pushed, err := e.Push(ctx, im.feed, batch, true)
		im.sum.New += pushed.New
		im.sum.Known += pushed.Known
		im.sum.Covered += pushed.Covered
		im.sum.Untimed += pushed.Untimed
		batch, size = nil, 0
		return err
	}
	every := progressElsewhere
	if terminal(a.stderr) > 0 {
		every = progressOnTerminal
		defer a.stderr.end(false)
	}
	for {
		record, readErr := records.Next()
		if readErr == nil {
			batch = append(batch, gobytes.Clone(record))
			size += len(record)
		}
		if len(batch) >= importBatch || size >= importBytes || readErr != nil && len(batch) > 0 {
			if err := hand(); err != nil {
				if name == "-" { // cannot be read again, whatever the error would be mended by
					return fmt.Errorf("import %s: %v", name, err)
				}
				return fmt.Errorf("import %s: %w", name, err)
			}
		}
		if readErr == io.EOF {
			return nil
		}
		if readErr != nil {
			return fmt.Errorf("import %s: %w; what was before it has been taken, and the file can be imported again", name, readErr)
		}
		if !a.quiet && time.Since(told) > every {
			told = time.Now()
			line := fmt.Sprintf("%s: %d records read, %d of them new", name, im.sum.New+im.sum.Known+im.sum.Covered, im.sum.New)
			if terminal(a.stderr) > 0 {
				a.stderr.show(line)
			} else {
				fmt.Fprintln(a.stderr, line)
			}
		}
	}
}

// open finds out how a file is packed and written. closing is there with an
// error, too.
func (im *importing) open(in io.Reader) (_ raw.Reader, closing func(), err error) {
	closing = func() {}
	buffered := bufio.NewReaderSize(in, 64<<10)
	start, _ := buffered.Peek(4)
	switch {
	case gobytes.HasPrefix(start, []byte{0x1f, 0x8b}):
		unpacked, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, closing, fmt.Errorf("unpack: %w", err)
		}
		buffered = bufio.NewReaderSize(unpacked, 64<<10)
	case gobytes.Equal(start, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		unpacked, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, closing, fmt.Errorf("unpack: %w", err)
		}
		closing = unpacked.Close
		buffered = bufio.NewReaderSize(unpacked, 64<<10)
	}
	if start, _ := buffered.Peek(2); string(start) == "\xff\xfe" || string(start) == "\xfe\xff" {
		decoder := unicode.UTF16(unicode.BigEndian, unicode.ExpectBOM).NewDecoder()
		buffered = bufio.NewReaderSize(decoder.Reader(buffered), 64<<10)
	}
	format := im.format
	if format == "auto" {
		format = "csv"
		start, _ := buffered.Peek(4 << 10)
		start = gobytes.TrimLeft(gobytes.TrimPrefix(start, []byte("\xef\xbb\xbf")), " \t\r\n")
		if len(start) == 0 || start[0] == '{' || start[0] == '[' {
			format = "json"
		}
	}
	if format == "json" {
		return raw.NewJSON(buffered, im.limit), closing, nil
	}
	table, err := raw.NewCSV(buffered, im.source.Columns, im.limit)
	if err != nil {
		return nil, closing, err
	}
	// Any text is a table of a kind, and a page that says "access denied" no
	// export; nor is a table of another source one of this.
	var missing []string
	for _, wanted := range [][]string{im.source.Record.ID, im.source.Record.Time} {
		if len(wanted) > 0 && !slices.ContainsFunc(wanted, table.Has) {
			missing = append(missing, strings.Join(wanted, " or "))
		}
	}
	if len(missing) > 0 {
		why := "; rename the column in the file, or add its name to columns of the source in the catalogue"
		if len(im.source.Columns) == 0 {
			why = "; the catalogue says nothing of a table's columns for it: add columns to the source, or import JSON"
		}
		return nil, closing, fmt.Errorf("it is no table of %s: no column of its first line is %s; it has %s%s",
			im.source.FullName(), strings.Join(missing, ", and none is "), columnNames(table.Head()), why)
	}
	return table, closing, nil
}

// columnNames are the first of a table's columns, for an error.
func columnNames(head []string) string {
	const most, width = 20, 40
	var names []string
	for _, name := range head[:min(len(head), most)] {
		names = append(names, cut(harmless(strings.TrimSpace(name)), width))
	}
	text := strings.Join(names, ", ")
	if more := len(head) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// imported says in a line or two what became of the records.
func (a *app) imported(im importing, running bool) {
	if a.quiet {
		return
	}
	s := im.sum
	untimed := ""
	if s.Untimed > 0 && len(im.source.Record.Time) > 0 {
		untimed = fmt.Sprintf(", %d without a time that can be read (%s)", s.Untimed, strings.Join(im.source.Record.Time, " or "))
	}
	fmt.Fprintf(a.stderr, "%s: %s read, %d new, %d known%s\n", im.feed, count(s.New+s.Known+s.Covered, "record"), s.New, s.Known, untimed)
	if s.Covered > 0 {
		fmt.Fprintf(a.stderr, "%d left out: they are of a time that the feed has read to its end, and from before what the log remembers\n", s.Covered)
	}
	if s.New > 0 && !running {
		fmt.Fprintln(a.stderr, "the next `trawl run` delivers them")
	}
}
