// Package raw takes records out of streams that people and products hand over:
// JSON in whatever framing, and tables of comma-separated values.
package raw

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// asReceived takes JSON as APIs send it, and changes nothing in it.
var asReceived = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true), jsontext.PreserveRawStrings(true)}

// Reader gives records one after the other.
type Reader interface {
	// Next gives the next record, valid until the call after, or io.EOF.
	Next() ([]byte, error)
}

// JSON takes records from a stream of JSON: values one after the other,
// whatever is between them, and those in arrays. It holds one record at a time.
type JSON struct {
	in      *meter
	decoder *jsontext.Decoder
	limit   int64 // bytes of a record
	count   int   // records so far
}

// NewJSON reads records of at most limit bytes.
func NewJSON(in io.Reader, limit int64) *JSON {
	m := newMeter(in)
	return &JSON{in: m, decoder: jsontext.NewDecoder(m, asReceived...), limit: limit}
}

// Next gives the next record. Its error says where the input broke off; it is a
// *TooLargeError for a record beyond the limit.
func (r *JSON) Next() ([]byte, error) {
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

// Count is how many records there were so far.
func (r *JSON) Count() int { return r.count }

// WouldWait reports whether everything that the input gave has been used.
func (r *JSON) WouldWait() bool {
	return r.in.in.Buffered() == 0 && len(bytes.TrimLeft(r.decoder.UnreadBuffer(), " \t\r\n,")) == 0
}

// failed says where the input broke off.
func (r *JSON) failed(err error) error {
	at := r.decoder.InputOffset()
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		at = max(at, syntax.ByteOffset)
	}
	unread := r.decoder.UnreadBuffer()
	if syntax == nil { // then where the next record begins
		at += int64(len(unread) - len(bytes.TrimLeft(unread, " \t\r\n,")))
	}
	passed := min(at-r.decoder.InputOffset(), int64(len(unread)))
	line := 1 + r.in.lines - bytes.Count(unread[passed:], []byte("\n"))
	place := fmt.Sprintf("at byte offset %d, line %d, after %s", at+int64(r.in.skipped), line, records(r.count))
	switch {
	case errors.Is(err, errTooLarge):
		return &TooLargeError{Place: place, Limit: r.limit}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("not JSON %s: it ends within a value", place)
	case syntax != nil:
		return fmt.Errorf("not JSON %s: %w", place, syntax.Err)
	}
	return fmt.Errorf("read %s: %w", place, err)
}

// TooLargeError is a record beyond the limit.
type TooLargeError struct {
	Place string // at byte offset 3, line 2, after 1 record
	Limit int64  // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the record %s is larger than %d bytes", e.Place, e.Limit)
}

func records(n int) string {
	if n == 1 {
		return "1 record"
	}
	return fmt.Sprintf("%d records", n)
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

// newMeter skips a byte order mark.
func newMeter(in io.Reader) *meter {
	m := &meter{in: bufio.NewReaderSize(in, 256<<10)}
	if mark, _ := m.in.Peek(3); string(mark) == "\xef\xbb\xbf" {
		m.skipped, _ = m.in.Discard(3)
	}
	return m
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
	m.lines += bytes.Count(p[:n], []byte("\n"))
	return n, err
}

// AppendLine appends a record as one line: it is compacted if it has several.
func AppendLine(dst, record []byte) []byte {
	if bytes.IndexByte(record, '\n') < 0 {
		return append(dst, record...)
	}
	value := jsontext.Value(bytes.Clone(record))
	if value.Compact(asReceived...) != nil {
		return append(dst, record...) // can't be: it has been read as JSON
	}
	return append(dst, value...)
}
