package main

import (
	gobytes "bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"

	"github.com/trawlsec/trawl/internal/ecs"
)

func asIs(dst, record []byte) []byte { return append(dst, record...) }

// TestNormalizeOrder passes more records than one batch holds, of very
// different sizes, and wants them in order.
func TestNormalizeOrder(t *testing.T) {
	t.Parallel()
	var in, want strings.Builder
	for i := range 60_000 {
		record := fmt.Sprintf(`{"i":%d,"pad":"%s"}`, i, strings.Repeat("x", i*7919%500))
		if i%20_000 == 7 {
			record = fmt.Sprintf(`{"i":%d,"pad":"%s"}`, i, strings.Repeat("y", 3*batchBytes))
		}
		in.WriteString(record + "\n")
		want.WriteString(record + "\n")
	}
	var out strings.Builder
	if err := normalize(t.Context(), strings.NewReader(in.String()), &out, 64<<20, asIs); err != nil {
		t.Fatal(err)
	}
	if out.String() != want.String() {
		t.Error("the output is not the input")
	}
}

// TestNormalizeDoesNotWait sends the second record only after the first came out.
func TestNormalizeDoesNotWait(t *testing.T) {
	t.Parallel()
	inReader, inWriter := io.Pipe()
	outReader, outWriter := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := normalize(t.Context(), inReader, outWriter, 1000, asIs)
		_ = outWriter.Close()
		done <- err
	}()
	for i := range 3 {
		record := fmt.Sprintf(`{"i":%d}`, i)
		if _, err := io.WriteString(inWriter, record+"\n"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(record)+1)
		if _, err := io.ReadFull(outReader, got); err != nil || string(got) != record+"\n" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	if err := errors.Join(inWriter.Close(), <-done); err != nil {
		t.Error(err)
	}
}

// TestNormalizeStops leaves nothing running, whatever ends it.
func TestNormalizeStops(t *testing.T) {
	endless := func() io.Reader { return &repeat{text: []byte(`{"a":1}` + "\n")} }
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, end := range map[string]func() error{
		"stopped":      func() error { return normalize(cancelled, endless(), io.Discard, 1000, asIs) },
		"no room":      func() error { return normalize(t.Context(), endless(), fullDisk{}, 1000, asIs) },
		"broken input": func() error { return normalize(t.Context(), strings.NewReader("{"), io.Discard, 1000, asIs) },
		"input fails": func() error {
			return normalize(t.Context(), iotest.ErrReader(io.ErrClosedPipe), io.Discard, 1000, asIs)
		},
		"record too big": func() error { return normalize(t.Context(), strings.NewReader(`{"a":"12345"}`), io.Discard, 9, asIs) },
	} {
		if err := end(); err == nil {
			t.Errorf("%s: no error", name)
		}
		goleak.VerifyNone(t)
	}
}

type repeat struct {
	text []byte
	at   int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// FuzzRecords wants the same records whether the input comes in one piece or
// byte by byte, each of them JSON, and all of what Go's own decoder sees.
func FuzzRecords(f *testing.F) {
	for _, seed := range []string{
		`{"a":1}`, "{}\n{}\n", "[{}, [1], \"x\"]", "1 2\n3", "\xef\xbb\xbf[1]", "[1,2] [3]", `{"a":`, `]`, `[1`, "\"\xff\"", `{"a":1,"a":2}`, "[[[]]]", "nul", "1,2", " \n", `["`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 1000
		records, err := readAll(gobytes.NewReader(in), limit)
		bytewise, errBytewise := readAll(iotest.OneByteReader(gobytes.NewReader(in)), limit)
		if fmt.Sprint(records) != fmt.Sprint(bytewise) || (err == nil) != (errBytewise == nil) {
			t.Errorf("in one piece %q, %v; byte by byte %q, %v", records, err, bytewise, errBytewise)
		}
		for _, r := range records {
			if !json.Valid([]byte(r)) && len(r) < limit {
				t.Errorf("not JSON: %q", r)
			}
		}
		if err == nil && !gobytes.HasPrefix(in, []byte("\xef\xbb\xbf")) {
			if want := flat(in); want != nil && fmt.Sprint(want) != fmt.Sprint(records) {
				t.Errorf("got %q, want %q", records, want)
			}
		}
	})
}

func readAll(in io.Reader, limit int64) ([]string, error) {
	r := newRecordReader(in, limit)
	records := []string{}
	for {
		record, err := r.next()
		if err == io.EOF {
			return records, nil
		}
		if err != nil {
			return records, err
		}
		records = append(records, string(record))
	}
}

// flat is what Go's own decoder makes of the input, nil where it won't have it.
func flat(in []byte) []string {
	d := json.NewDecoder(gobytes.NewReader(in))
	records := []string{}
	for {
		var value json.RawMessage
		if err := d.Decode(&value); err == io.EOF {
			return records
		} else if err != nil {
			return nil
		}
		var list []json.RawMessage
		if value[0] != '[' {
			list = []json.RawMessage{value}
		} else if json.Unmarshal(value, &list) != nil {
			return nil
		}
		for _, r := range list {
			records = append(records, string(r))
		}
	}
}

func TestRecordReaderErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{"{}\n{}\nx", "stdin: not JSON at byte offset 6, line 3, after 2 records: invalid character 'x' at start of value"},
		{"\xef\xbb\xbf{}\n}", "stdin: not JSON at byte offset 6, line 2, after 1 record: invalid character '}' at start of value"},
		{"[{},\n\n{\"a\":tru}]", "stdin: not JSON at byte offset 14, line 3, after 1 record: invalid character '}' in literal true (expecting 'e')"},
		{"[{}", "stdin: not JSON at byte offset 3, line 1, after 1 record: it ends within a value"},
		{"[{}\n\n", "stdin: not JSON at byte offset 5, line 3, after 1 record: it ends within a value"},
		{"{}\n\"" + strings.Repeat("x", 50), "stdin: the record at byte offset 3, line 2, after 1 record is larger than 20 bytes; raise --max-record"},
	} {
		if _, err := readAll(strings.NewReader(tc.in), 20); err == nil || err.Error() != tc.want {
			t.Errorf("%q:\n got %v\nwant %s", tc.in, err, tc.want)
		}
	}
}

// BenchmarkNormalize is the whole verb but for the pipes.
func BenchmarkNormalize(b *testing.B) {
	cat, err := loadCatalogue("")
	if err != nil {
		b.Fatal(err)
	}
	source, err := cat.Source("wiz/audit")
	if err != nil {
		b.Fatal(err)
	}
	mapper, err := ecs.Compile(source)
	if err != nil {
		b.Fatal(err)
	}
	record := []byte(`{"id":"8517ae66-65ea-4ddc-9f77-e00920017d33","action":"Login","requestId":"8517ae66","status":"SUCCESS","timestamp":"2022-09-01T11:28:07.404058Z",` +
		`"actionParameters":{"clientID":"1111","groups":null,"name":"Integration","products":["*"],"scopes":["read:issues","admin:audit"],"userEmail":""},` +
		`"userAgent":"node","sourceIP":"192.0.2.4","serviceAccount":{"id":"service_account_id","name":"Integration"},"user":null}` + "\n")
	in := gobytes.Repeat(record, 20_000)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		err := normalize(b.Context(), gobytes.NewReader(in), io.Discard, 1<<20, func(dst, record []byte) []byte { return mapper.Append(dst, record, ecs.Meta{}) })
		if err != nil {
			b.Fatal(err)
		}
	}
}
