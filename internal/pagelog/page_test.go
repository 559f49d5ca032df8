package pagelog

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
)

// roundTrip writes a page and reads it back without a log.
func roundTrip(t testing.TB, p Page) *stored {
	t.Helper()
	h := p.header()
	h[hdrAfter] = []string{"17"}
	h[hdrID] = []string{"id"}
	s, err := parseHeader(subject("pages", p.Feed, p.Lane), h)
	if err != nil {
		t.Fatal(err)
	}
	if s.after != 17 || s.id != "id" {
		t.Errorf("after %d id %q", s.after, s.id)
	}
	if err := s.readBody(p.appendBody(nil)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPageCodec(t *testing.T) {
	t.Parallel()
	small := page(audit, Live, 1, 1, 10)
	tests := map[string]func(p *Page){
		"as it is":     func(*Page) {},
		"no position":  func(p *Page) { p.Position = nil },
		"odd position": func(p *Page) { p.Position = []byte(`["<&> \u2028 ü", 1e400, {"a":1,"a":2}]`) },
		"zero times": func(p *Page) {
			p.Since, p.Until, p.Fetched, p.FirstTime, p.LastTime = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
		},
		"times far off":   func(p *Page) { p.FirstTime, p.LastTime = time.Unix(-1<<40, 1).UTC(), time.Unix(1<<40, 999999999).UTC() },
		"newlines":        func(p *Page) { p.Records[0] = []byte("{\n  \"a\": \"\r\n\"\n}\n") },
		"not UTF-8":       func(p *Page) { p.Records[0] = []byte{0, 255, '\n', 0xc3} },
		"an empty record": func(p *Page) { p.Records[0] = nil },
		"extreme hash":    func(p *Page) { p.Hashes[0] = math.MaxUint64 },
		"big counts":      func(p *Page) { p.Counts = Counts{math.MaxInt, math.MaxInt, math.MaxInt} },
		"odd names":       func(p *Page) { p.Feed = Feed{Connection: "a.b *>\t=ü/", Source: "."} },
		"gone":            func(p *Page) { p.Lane, p.Gone = Snapshot, true },
		"most records": func(p *Page) {
			p.Records, p.Hashes = make([][]byte, MaxRecords), make([]uint64, MaxRecords)
			p.Position = []byte(`"` + strings.Repeat("x", MaxPosition-2) + `"`)
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			p := small
			p.Records, p.Hashes = bytesClone(small.Records), append([]uint64(nil), small.Hashes...)
			change(&p)
			if err := p.check(); err != nil {
				t.Fatal(err)
			}
			samePage(t, roundTrip(t, p).Page, p, false)
		})
	}
}

func bytesClone(b [][]byte) (c [][]byte) {
	for _, r := range b {
		c = append(c, bytes.Clone(r))
	}
	return c
}

func TestPageRefused(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	tests := map[string]struct {
		change func(p *Page)
		is     error
	}{
		"no records":            {func(p *Page) { p.Records, p.Hashes = nil, nil }, nil},
		"hash missing":          {func(p *Page) { p.Hashes = p.Hashes[1:] }, nil},
		"no connection":         {func(p *Page) { p.Connection = "" }, nil},
		"no source":             {func(p *Page) { p.Source = "" }, nil},
		"endless name":          {func(p *Page) { p.Source = strings.Repeat("x", 201) }, nil},
		"no lane":               {func(p *Page) { p.Lane = "" }, nil},
		"unknown lane":          {func(p *Page) { p.Lane = "dead" }, nil},
		"position not JSON":     {func(p *Page) { p.Position = []byte("{") }, nil},
		"position on two lines": {func(p *Page) { p.Position = []byte("{\n}") }, nil},
		"position with space":   {func(p *Page) { p.Position = []byte(" {}") }, nil},
		"negative count":        {func(p *Page) { p.Counts.Late = -1 }, nil},
		"long position":         {func(p *Page) { p.Position = []byte(`"` + strings.Repeat("x", MaxPosition) + `"`) }, ErrTooLarge},
		"many records":          {func(p *Page) { p.Records, p.Hashes = make([][]byte, MaxRecords+1), make([]uint64, MaxRecords+1) }, ErrTooLarge},
		"many bytes":            {func(p *Page) { p.Records[0] = make([]byte, MaxPageSize) }, ErrTooLarge},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := page(audit, Live, 1, 2, 10)
			test.change(&p)
			_, err := l.Append(t.Context(), p, 0, 0)
			if err == nil || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v", err)
			}
		})
	}
	if s, err := l.Stats(t.Context()); err != nil || s.LastSeq != 0 {
		t.Errorf("something was written: %+v, %v", s, err)
	}
}

func TestBadPages(t *testing.T) {
	t.Parallel()
	good := page(audit, Live, 1, 3, 100)
	set := func(k, v string) func(h nats.Header) { return func(h nats.Header) { h[k] = []string{v} } }
	headers := map[string]func(h nats.Header){
		"no format":         func(h nats.Header) { delete(h, hdrFormat) },
		"later format":      set(hdrFormat, "2"),
		"no times":          func(h nats.Header) { delete(h, hdrTimes) },
		"few times":         set(hdrTimes, "- - -"),
		"bad seconds":       set(hdrTimes, "- - - - - x.000000000"),
		"bad nanoseconds":   set(hdrTimes, "- - - - - 1.5"),
		"few counts":        set(hdrCounts, "1 2"),
		"negative count":    set(hdrCounts, "1 2 -3"),
		"huge size":         set(hdrSize, "99999999999"),
		"no size":           set(hdrSize, ""),
		"no hashes":         set(hdrHashes, ""),
		"half a hash":       set(hdrHashes, "AAAA"),
		"not base64":        set(hdrHashes, "!"),
		"no predecessor":    set(hdrAfter, ""),
		"bad parts":         set(hdrParts, "1 x"),
		"position not JSON": set(hdrPosition, "{"),
	}
	for name, change := range headers {
		t.Run(name, func(t *testing.T) {
			h := good.header()
			h[hdrAfter] = []string{"0"}
			change(h)
			if _, err := parseHeader(subject("pages", audit, Live), h); err == nil {
				t.Error("no error")
			}
		})
	}
	for _, subj := range []string{"", "pages", "pages.a.b", "pages.a.b.live.c", "parts.a.b.live", "pages.a.b.dead", "pages.=4.b.live", "pages.=ZZ.b.live", "pages..b.live"} {
		h := good.header()
		h[hdrAfter] = []string{"0"}
		if _, err := parseHeader(subj, h); err == nil {
			t.Errorf("subject %q: no error", subj)
		}
	}

	body := good.appendBody(nil)
	frame := func(records ...[]byte) []byte {
		p := Page{Records: records}
		return p.appendBody(nil)
	}
	bodies := map[string][]byte{
		"empty":           nil,
		"not a block":     []byte("hello"),
		"cut off":         body[:len(body)-1],
		"a byte flipped":  flip(body, len(body)/2),
		"checksum":        flip(body, len(body)-1),
		"too few records": frame(good.Records[:2]...),
		"too many":        frame(append(good.Records[:3:3], good.Records[0])...),
		"other length":    frame(good.Records[0], good.Records[1], good.Records[2][:50]),
	}
	for name, b := range bodies {
		t.Run(name, func(t *testing.T) {
			s := &stored{Page: Page{Hashes: good.Hashes}, size: good.bodySize()}
			if err := s.readBody(b); err == nil {
				t.Error("no error")
			}
		})
	}
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 0x10
	return b
}

// FuzzPage writes pages of arbitrary records, names and positions and wants
// them back as they were.
func FuzzPage(f *testing.F) {
	f.Add("wiz-prod", "audit", []byte(`{"a":1}`), []byte("\x05hello\x00\x01x"), int64(1), int64(2))
	f.Add("a.b", "*", []byte(`null`), []byte("\n\n\n"), int64(-1), int64(math.MaxInt64))
	f.Add("=", ">", []byte(``), bytes.Repeat([]byte("ab\r\n"), 100), int64(math.MinInt64), int64(0))
	f.Fuzz(func(t *testing.T, conn, source string, position, data []byte, a, b int64) {
		p := Page{
			Feed: Feed{conn, source}, Lane: Backfill, Position: position,
			Since: time.Unix(a>>24, a&0xffff).UTC(), Until: time.Unix(0, b).UTC(), Counts: Counts{Received: int(a & 0xffff)},
		}
		for len(data) > 0 {
			n := min(int(data[0]), len(data)-1)
			p.Records = append(p.Records, data[1:1+n])
			p.Hashes = append(p.Hashes, uint64(a)*uint64(n+1))
			data = data[1+n:]
		}
		if p.check() != nil {
			return
		}
		samePage(t, roundTrip(t, p).Page, p, false)
	})
}

// FuzzStored decodes arbitrary headers and bodies. What is accepted must come
// out the same when written and read again.
func FuzzStored(f *testing.F) {
	p := page(audit, Live, 1, 3, 100)
	h := p.header()
	get := func(k string) string { return h[k][0] }
	f.Add("pages.wiz-prod.audit.live", get(hdrPosition), get(hdrTimes), get(hdrCounts), get(hdrSize), get(hdrHashes), "0", "", p.appendBody(nil))
	f.Add("pages.=2E.a.revisit", "", "- - - - - -", "0 0 0", "1", "AAAAAAAAAAA", "9", "1 2", (&Page{Records: [][]byte{nil}}).appendBody(nil))
	f.Fuzz(func(t *testing.T, subj, position, times, counts, size, hashes, after, parts string, body []byte) {
		h := nats.Header{
			hdrFormat: {format}, hdrPosition: {position}, hdrTimes: {times}, hdrCounts: {counts},
			hdrSize: {size}, hdrHashes: {hashes}, hdrAfter: {after}, hdrParts: {parts},
		}
		s, err := parseHeader(subj, h)
		if err != nil || s.size > 1<<20 || s.readBody(body) != nil {
			return
		}
		if len(s.Records) != len(s.Hashes) || s.bodySize() != s.size && !nonCanonical(s) {
			t.Fatalf("%d records, %d hashes, size %d of %d", len(s.Records), len(s.Hashes), s.bodySize(), s.size)
		}
		if s.check() != nil {
			return // such as a position with a space at its end
		}
		again := roundTrip(t, s.Page)
		if d := cmp.Diff(s.Page, again.Page, cmpopts.EquateEmpty()); d != "" {
			t.Error(d)
		}
	})
}

// nonCanonical says whether a length could have been written shorter.
func nonCanonical(s *stored) bool { return s.bodySize() < s.size }

func TestEscape(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, name := range []string{"a", "a.b", "a=2Eb", "a b", "a*", "a>", "A", "ü", "\x00", "a/b", "=", "-_", "a\r\nb"} {
		for _, slash := range []bool{false, true} {
			token := escape(name, slash)
			if strings.ContainsAny(token, ".*> \t\r\n\x00") {
				t.Errorf("%q became %q", name, token)
			}
			back, err := unescape(token)
			if err != nil || back != name {
				t.Errorf("%q became %q became %q, %v", name, token, back, err)
			}
			if other, ok := seen[token]; ok && other != name {
				t.Errorf("%q and %q are both %q", name, other, token)
			}
			seen[token] = name
		}
	}
}
