package output

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var samplePosition = position{
	Version: positionVersion, Log: "log", Path: "/var/\"odd\"\n/events.ndjson", Offset: math.MaxInt64,
	reach: reach{Last: math.MaxUint64, Ahead: 3}, Replay: &replayed{"again", reach{Last: 7, Ahead: math.MaxUint64}},
	Device: 7, Inode: math.MaxUint64, Tail: hashTail([]byte("tail")), Born: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC),
	Counter: 12, Rotate: "/var/x", Compress: []string{"/var/y", "/var/z"},
}

func TestPositionVersion(t *testing.T) {
	t.Parallel()
	b, err := samplePosition.encode()
	must(t, err)
	if _, err := decodePosition(b); err != nil {
		t.Fatal(err)
	}
	b = reseal(t, strings.Replace(string(b), `"version":1`, `"version":2`, 1))
	if _, err := decodePosition(b); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("version 2: %v", err)
	}
}

// FuzzDecodePosition: whatever the file holds, it is refused or means exactly
// what is written back.
func FuzzDecodePosition(f *testing.F) {
	for _, p := range []position{samplePosition, {Version: positionVersion, Path: "/x"}} {
		b, err := p.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
		f.Add(b[:len(b)-crcLen], true)
	}
	f.Add([]byte(`{"version":1,"path":"/x","offset":-1`), true)
	f.Add([]byte(`{"version":1,"path":"/x","last":1e3`), true)
	f.Add([]byte(`{"version":1,"path":"/x","ahead":-1`), true)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal { // or the checksum would keep the rest from being tried
			b = appendCRC(b)
		}
		p, err := decodePosition(b)
		if err != nil {
			return
		}
		again, err := p.encode()
		if err != nil {
			t.Fatalf("%+v is not encoded: %v", p, err)
		}
		q, err := decodePosition(again)
		if err != nil {
			t.Fatalf("%s is not decoded: %v", again, err)
		}
		if d := cmp.Diff(p, q, cmp.AllowUnexported(position{}, replayed{})); d != "" {
			t.Fatalf("positions differ:\n%s", d)
		}
		if p.Offset < 0 {
			t.Fatalf("accepted %+v", p)
		}
	})
}

// reseal gives a changed position file a checksum that matches.
func reseal(t *testing.T, s string) []byte {
	t.Helper()
	return appendCRC([]byte(s[:len(s)-crcLen]))
}
