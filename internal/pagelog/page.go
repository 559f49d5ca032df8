package pagelog

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go"
)

// Limits of one page, and of one entry. Headers of a JetStream message may take 64 KiB, and the
// position and the hashes are headers.
const (
	MaxRecords  = 4096      // records
	MaxPosition = 16 << 10  // bytes of Position
	MaxPageSize = 128 << 20 // bytes of all records together, uncompressed
	MaxState    = 512 << 10 // bytes of an entry of the state
)

// Feed names a source of a connection.
type Feed struct {
	Connection, Source string // "wiz-prod", "audit"
}

func (f Feed) String() string { return f.Connection + "/" + f.Source }

// Lane is one of the ways in which a feed is read.
type Lane string

// The lanes of a feed.
const (
	Live     Lane = "live"
	Revisit  Lane = "revisit"
	Backfill Lane = "backfill"
	Push     Lane = "push" // of records that nobody asked the product for: it sent them, or they were imported
	Snapshot Lane = "snapshot"
)

// Page is what is committed at once: new records of one answer of an API, and
// where to go on after them.
type Page struct {
	Feed
	Lane         Lane
	Position     []byte    // JSON on one line, the caller's own; may be nil
	Since, Until time.Time // the slice
	Fetched      time.Time
	Records      [][]byte // raw; nil where only headers were read
	Hashes       []uint64 // one a record
	FirstTime    time.Time
	LastTime     time.Time // earliest and latest time of the records
	Counts       Counts
	Gone         bool // the records are not of the product, but say which of its records are gone

	// Set when read.
	Seq    uint64    // the page's sequence in the log
	Stored time.Time // when it was put there, on the clock of the process that did
}

// Counts says what became of the records of the answer a page came from.
type Counts struct {
	Received, Duplicates, Late int
}

// Headers of a page's message.
const (
	hdrFormat   = "Trawl-Format"   // "1"
	hdrID       = "Trawl-Id"       // of this write; a repeated publish has the same
	hdrAfter    = "Trawl-After"    // sequence of the page before it on its subject
	hdrPosition = "Trawl-Position" // JSON
	hdrTimes    = "Trawl-Times"    // since until fetched first last stored
	hdrCounts   = "Trawl-Counts"   // received duplicates late
	hdrSize     = "Trawl-Size"     // bytes of the body before compression
	hdrHashes   = "Trawl-Hashes"   // 8 bytes each, little endian, base64
	hdrParts    = "Trawl-Parts"    // sequences of the body's parts, if it was cut
	hdrGone     = "Trawl-Gone"     // "1" where the records say what is gone
)

const format = "1"

func subject(kind string, f Feed, lane Lane) string {
	return kind + "." + escape(f.Connection, false) + "." + escape(f.Source, false) + "." + string(lane)
}

// lanes are the subjects of all of a feed's pages.
func lanes(f Feed) string { return subject("pages", f, "*") }

func checkFeed(f Feed) error {
	for _, name := range []string{f.Connection, f.Source} {
		if name == "" || len(name) > 200 {
			return fmt.Errorf("feed %q: names are 1 to 200 bytes", f)
		}
	}
	return nil
}

func checkLane(lane Lane) error {
	switch lane {
	case Live, Revisit, Backfill, Push, Snapshot:
		return nil
	}
	return fmt.Errorf("lane %q is not one of live, revisit, backfill, push, snapshot", lane)
}

// parseSubject is the inverse of subject.
func parseSubject(s string) (kind string, f Feed, lane Lane, err error) {
	t := strings.Split(s, ".")
	if len(t) != 4 {
		return "", f, "", fmt.Errorf("subject %q is not a page's", s)
	}
	if f.Connection, err = unescape(t[1]); err != nil {
		return "", f, "", err
	}
	if f.Source, err = unescape(t[2]); err != nil {
		return "", f, "", err
	}
	if err = checkFeed(f); err != nil {
		return "", f, "", err
	}
	lane = Lane(t[3])
	return t[0], f, lane, checkLane(lane)
}

// escape makes a name fit to be one token of a subject. slash leaves "/" as it
// is, which keys may hold.
func escape(name string, slash bool) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '/' && slash:
			b.WriteByte(c)
		default:
			const digits = "0123456789ABCDEF"
			b.Write([]byte{'=', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

func unescape(token string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '=' {
			b.WriteByte(token[i])
			continue
		}
		if i+3 > len(token) {
			return "", fmt.Errorf("token %q ends within an escape", token)
		}
		c, err := strconv.ParseUint(token[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("token %q: %w", token, err)
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), nil
}

// check refuses a page that could not be read back as it is.
func (p *Page) check() error {
	if err := checkFeed(p.Feed); err != nil {
		return err
	}
	if err := checkLane(p.Lane); err != nil {
		return err
	}
	switch {
	case len(p.Records) == 0:
		return errors.New("a page without records")
	case len(p.Hashes) != len(p.Records):
		return fmt.Errorf("%d hashes for %d records", len(p.Hashes), len(p.Records))
	case len(p.Records) > MaxRecords:
		return fmt.Errorf("%d records: %w", len(p.Records), ErrTooLarge)
	case len(p.Position) > MaxPosition:
		return fmt.Errorf("position of %d bytes: %w", len(p.Position), ErrTooLarge)
	case p.bodySize() > MaxPageSize:
		return fmt.Errorf("%d bytes of records: %w", p.bodySize(), ErrTooLarge)
	case p.Counts.Received < 0 || p.Counts.Duplicates < 0 || p.Counts.Late < 0:
		return fmt.Errorf("negative counts %+v", p.Counts)
	}
	if len(p.Position) > 0 {
		// A header is one line, and loses spaces at its ends.
		if strings.ContainsAny(string(p.Position), "\r\n") || strings.TrimSpace(string(p.Position)) != string(p.Position) ||
			!validJSON(p.Position) {
			return errors.New("position is not JSON on one line")
		}
	}
	return nil
}

// validJSON takes JSON as an API may write it.
func validJSON(b []byte) bool {
	return jsontext.Value(b).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// header writes everything but the body.
func (p *Page) header() nats.Header {
	times := make([]byte, 0, 128)
	for i, t := range []time.Time{p.Since, p.Until, p.Fetched, p.FirstTime, p.LastTime, p.Stored} {
		if i > 0 {
			times = append(times, ' ')
		}
		times = appendTime(times, t)
	}
	hashes := make([]byte, 0, 8*len(p.Hashes))
	for _, h := range p.Hashes {
		hashes = binary.LittleEndian.AppendUint64(hashes, h)
	}
	h := nats.Header{
		hdrFormat: {format},
		hdrTimes:  {string(times)},
		hdrCounts: {fmt.Sprintf("%d %d %d", p.Counts.Received, p.Counts.Duplicates, p.Counts.Late)},
		hdrSize:   {strconv.Itoa(p.bodySize())},
		hdrHashes: {base64.RawStdEncoding.EncodeToString(hashes)},
	}
	if len(p.Position) > 0 {
		h[hdrPosition] = []string{string(p.Position)}
	}
	if p.Gone {
		h[hdrGone] = []string{"1"}
	}
	return h
}

// stored is a page as it lies in the log: decoded headers, encoded body.
type stored struct {
	Page
	id    string
	after uint64   // sequence of the page before it on its subject
	size  int      // bytes of the body before compression
	parts []uint64 // sequences of the body's parts, if it was cut
}

// parseHeader is the inverse of header.
func parseHeader(subj string, h nats.Header) (*stored, error) {
	get := func(k string) string {
		if v := h[k]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	if v := get(hdrFormat); v != format {
		return nil, fmt.Errorf("page format %q is not known to this version of Trawl", v)
	}
	s := &stored{id: get(hdrID)}
	s.Gone = get(hdrGone) == "1"
	kind, feed, lane, err := parseSubject(subj)
	if err != nil {
		return nil, err
	}
	if kind != "pages" {
		return nil, fmt.Errorf("subject %q is not a page's", subj)
	}
	s.Feed, s.Lane = feed, lane
	if v := get(hdrPosition); v != "" {
		if !validJSON([]byte(v)) {
			return nil, errors.New("position is not JSON")
		}
		s.Position = []byte(v)
	}

	fields := strings.Split(get(hdrTimes), " ")
	into := []*time.Time{&s.Since, &s.Until, &s.Fetched, &s.FirstTime, &s.LastTime, &s.Stored}
	if len(fields) != len(into) {
		return nil, fmt.Errorf("%d times, want %d", len(fields), len(into))
	}
	for i, t := range into {
		if *t, err = parseTime(fields[i]); err != nil {
			return nil, err
		}
	}

	counts := []*int{&s.Counts.Received, &s.Counts.Duplicates, &s.Counts.Late}
	fields = strings.Split(get(hdrCounts), " ")
	if len(fields) != len(counts) {
		return nil, fmt.Errorf("%d counts, want %d", len(fields), len(counts))
	}
	for i, n := range counts {
		if *n, err = parseInt(fields[i], math.MaxInt); err != nil {
			return nil, fmt.Errorf("counts: %w", err)
		}
	}
	if s.size, err = parseInt(get(hdrSize), MaxPageSize); err != nil {
		return nil, fmt.Errorf("size: %w", err)
	}

	hashes, err := base64.RawStdEncoding.Strict().DecodeString(get(hdrHashes))
	if err != nil {
		return nil, fmt.Errorf("hashes: %w", err)
	}
	if n := len(hashes); n == 0 || n%8 != 0 || n/8 > MaxRecords {
		return nil, fmt.Errorf("%d bytes of hashes", n)
	}
	s.Hashes = make([]uint64, len(hashes)/8)
	for i := range s.Hashes {
		s.Hashes[i] = binary.LittleEndian.Uint64(hashes[8*i:])
	}

	if s.after, err = strconv.ParseUint(get(hdrAfter), 10, 64); err != nil {
		return nil, fmt.Errorf("sequence of the page before: %w", err)
	}
	if v := get(hdrParts); v != "" {
		for f := range strings.SplitSeq(v, " ") {
			seq, err := strconv.ParseUint(f, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("parts: %w", err)
			}
			s.parts = append(s.parts, seq)
		}
	}
	return s, nil
}

func parseInt(s string, most int) (int, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, err
	}
	if n > uint64(most) {
		return 0, fmt.Errorf("%d is more than %d", n, most)
	}
	return int(n), nil
}

// appendTime writes seconds and nanoseconds since 1970, because a record may
// claim any year and a page must not fail over that; the zero time is "-".
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, '-')
	}
	b = strconv.AppendInt(b, t.Unix(), 10)
	return fmt.Appendf(b, ".%09d", t.Nanosecond())
}

func parseTime(s string) (time.Time, error) {
	if s == "-" {
		return time.Time{}, nil
	}
	sec, nsec, ok := strings.Cut(s, ".")
	n, err := strconv.ParseUint(nsec, 10, 32)
	if !ok || err != nil || len(nsec) != 9 {
		return time.Time{}, fmt.Errorf("time %q is not seconds and nanoseconds", s)
	}
	i, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("time %q is not seconds and nanoseconds", s)
	}
	return time.Unix(i, int64(n)).UTC(), nil
}
