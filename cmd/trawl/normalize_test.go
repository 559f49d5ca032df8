package main

import (
	gobytes "bytes"
	"context"
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
