package main

import (
	"bufio"
	gobytes "bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// asReceived takes JSON as APIs send it, and changes nothing in it.
var asReceived = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true), jsontext.PreserveRawStrings(true)}

// recordReader takes records from a stream of JSON: values one after the other,
// whatever is between them, and those in arrays. It holds one record at a time.
type recordReader struct {
	in      *meter
	decoder *jsontext.Decoder
	limit   int64 // bytes of a record
	count   int   // records so far
}

func newRecordReader(in io.Reader, limit int64) *recordReader {
	m := &meter{in: bufio.NewReaderSize(in, batchBytes)}
	if mark, _ := m.in.Peek(3); string(mark) == "\xef\xbb\xbf" {
		m.skipped, _ = m.in.Discard(3)
	}
	return &recordReader{in: m, decoder: jsontext.NewDecoder(m, asReceived...), limit: limit}
}

// next gives the next record, valid until the call after, or io.EOF.
func (r *recordReader) next() ([]byte, error) {
	for {
		r.in.allowed = r.decoder.InputOffset() + r.limit + 1 // a number ends where the next byte begins
		switch kind := r.decoder.PeekKind(); {
		case kind == '[' && r.decoder.StackDepth() == 0, kind == ']':
			if _, err := r.decoder.ReadToken(); err != nil {
				return nil, r.failed(err)
			}
			continue
		}
		record, err := r.decoder.ReadValue()
		switch {
		case err == io.EOF:
			return nil, io.EOF
		case err != nil:
			return nil, r.failed(err)
		case int64(len(record)) > r.limit:
			return nil, r.failed(errTooLarge)
		}
		r.count++
		return record, nil
	}
}

// wouldWait reports whether everything that the input gave has been used.
func (r *recordReader) wouldWait() bool {
	return r.in.in.Buffered() == 0 && len(gobytes.TrimLeft(r.decoder.UnreadBuffer(), " \t\r\n,")) == 0
}

// failed says where the input broke off.
func (r *recordReader) failed(err error) error {
	at := r.decoder.InputOffset()
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		at = max(at, syntax.ByteOffset)
	}
	unread := r.decoder.UnreadBuffer()
	if syntax == nil { // then where the next record begins
		at += int64(len(unread) - len(gobytes.TrimLeft(unread, " \t\r\n,")))
	}
	passed := min(at-r.decoder.InputOffset(), int64(len(unread)))
	line := 1 + r.in.lines - gobytes.Count(unread[passed:], []byte("\n"))
	place := fmt.Sprintf("at byte offset %d, line %d, after %s", at+int64(r.in.skipped), line, count(r.count, "record"))
	switch {
	case errors.Is(err, errTooLarge):
		return fmt.Errorf("stdin: the record %s is larger than %d bytes; raise --max-record", place, r.limit)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("stdin: not JSON %s: it ends within a value", place)
	case syntax != nil:
		return fmt.Errorf("stdin: not JSON %s: %w", place, syntax.Err)
	}
	return fmt.Errorf("stdin: read %s: %w", place, err)
}

var errTooLarge = errors.New("record too large")

// meter counts what it passes on, and stops at a limit.
type meter struct {
	in      *bufio.Reader
	read    int64 // bytes passed on
	allowed int64 // bytes that may be, in all
	lines   int   // ends of lines passed on
	skipped int   // bytes before them
}

func (m *meter) Read(p []byte) (int, error) {
	if left := m.allowed - m.read; int64(len(p)) > left {
		p = p[:left]
	}
	if len(p) == 0 {
		return 0, errTooLarge
	}
	n, err := m.in.Read(p)
	m.read += int64(n)
	m.lines += gobytes.Count(p[:n], []byte("\n"))
	return n, err
}

// appendLine appends a record as one line: it is compacted if it has several.
func appendLine(dst, record []byte) []byte {
	if gobytes.IndexByte(record, '\n') < 0 {
		return append(dst, record...)
	}
	value := jsontext.Value(gobytes.Clone(record))
	if value.Compact(asReceived...) != nil {
		return append(dst, record...) // can't be: it has been read as JSON
	}
	return append(dst, value...)
}
