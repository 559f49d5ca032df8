package collect

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

func testRoll(log Log, r Roll) *roll { return &roll{log: log, keys: "roll/", Roll: r} }

// read are the entries of a roll as it is stored.
func read(t testing.TB, log Log, r Roll) (all []entry) {
	t.Helper()
	if err := testRoll(log, r).each(t.Context(), 0, func(_, _ int, e entry) bool { all = append(all, e); return true }); err != nil {
		t.Fatal(err)
	}
	return all
}

// uuids are n entries as most products have them.
func uuids(random *rand.ChaCha8, n int) []entry {
	entries := make([]entry, n)
	for i := range entries {
		var b [16]byte
		_, _ = random.Read(b[:])
		d := hex.EncodeToString(b[:])
		entries[i] = entry{strings.Join([]string{d[:8], d[8:12], d[12:16], d[16:20], d[20:]}, "-"), random.Uint64()}
	}
	return entries
}

// TestRoll: what is added is read back, in order, however it is cut into runs,
// and a roll goes on where another process left it.
func TestRoll(t *testing.T) {
	t.Parallel()
	random := rand.NewChaCha8([32]byte{1})
	log := newMemoryLog()
	r := testRoll(log, Roll{})
	var want []entry
	for i, n := range []int{0, 1, 500, runEntries, 3*runEntries + 7, 1, runEntries - 8} {
		add := uuids(random, n)
		if i == 2 {
			add[0].id, add[1].id, add[2].id = "", "a\x00\xffb\n", strings.Repeat("x", longestID)
		}
		want = append(want, add...)
		if rest, err := r.add(t.Context(), add); err != nil || len(rest) > 0 {
			t.Fatalf("%v, %d entries left", err, len(rest))
		}
		if got := read(t, log, r.Roll); !slices.Equal(got, want) {
			t.Fatalf("after %d entries it has %d", len(want), len(got))
		}
		next := testRoll(log, r.Roll)
		if err := next.each(t.Context(), max(next.Runs-1, 0), func(int, int, entry) bool { return true }); err != nil {
			t.Fatal(err)
		}
		r = next
	}
	if most := (len(want) + runEntries - 1) / runEntries; r.Runs > most {
		t.Errorf("%d runs for %d entries", r.Runs, len(want))
	}
	// Another roll in its place, and then none.
	small := testRoll(log, Roll{})
	if _, err := small.add(t.Context(), want[:10]); err != nil {
		t.Fatal(err)
	}
	if got := read(t, log, small.Roll); !slices.Equal(got, want[:10]) {
		t.Errorf("it has %d entries", len(got))
	}
	if err := small.clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	for key, data := range log.state {
		if len(data) > 0 {
			t.Errorf("%d bytes are left at %s", len(data), key)
		}
	}
}

// TestRollFails: entries that could not be written are returned, and written by
// the next call.
func TestRollFails(t *testing.T) {
	t.Parallel()
	log := newMemoryLog()
	r := testRoll(log, Roll{})
	all := uuids(rand.NewChaCha8([32]byte{2}), 3*runEntries)
	rest, fail := all, false
	log.before = func(string) error {
		if fail = !fail; fail {
			return errCrash
		}
		return nil
	}
	for i := 0; len(rest) > 0; i++ {
		if i > 9 {
			t.Fatal("it does not get on")
		}
		rest, _ = r.add(t.Context(), rest)
	}
	if got := read(t, log, r.Roll); !slices.Equal(got, all) {
		t.Errorf("it has %d entries, want %d", len(got), len(all))
	}
}

// TestRollSize keeps what docs/operations.md says of the size of a finding.
func TestRollSize(t *testing.T) {
	t.Parallel()
	const n = 20_000
	log := newMemoryLog()
	if _, err := testRoll(log, Roll{}).add(t.Context(), uuids(rand.NewChaCha8([32]byte{3}), n)); err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, data := range log.state {
		size += len(data)
	}
	if each := float64(size) / n; each > 28.5 {
		t.Errorf("%.1f bytes for each id, documented 28", each)
	}
}

// BenchmarkReading measures what a whole reading remembers of each finding.
func BenchmarkReading(b *testing.B) {
	entries := uuids(rand.NewChaCha8([32]byte{4}), 1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		var r reading
		var w walk // over everything, where a source is not read in slices
		for _, e := range entries {
			r.there.add(e.mark())
			r.versions.add(e.hash)
			r.seen.add(e.mark())
			w.met.add(e.mark())
		}
		slots := 0
		for _, set := range []*ids{&r.there, &r.versions, &r.seen, &w.met} {
			for i := range set.parts {
				slots += len(set.parts[i].slots)
			}
		}
		b.ReportMetric(8*float64(slots)/float64(len(entries)), "B/id")
	}
}

// BenchmarkRoll writes and reads the list of a million findings.
func BenchmarkRoll(b *testing.B) {
	entries := uuids(rand.NewChaCha8([32]byte{5}), 1_000_000)
	for b.Loop() {
		log := newMemoryLog()
		r := testRoll(log, Roll{})
		for page := range slices.Chunk(entries, 5000) {
			if _, err := r.add(context.Background(), page); err != nil {
				b.Fatal(err)
			}
		}
		n := 0
		if err := r.each(context.Background(), 0, func(int, int, entry) bool { n++; return true }); err != nil || n != len(entries) {
			b.Fatal(n, err)
		}
	}
}

func packed(raw ...byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(raw)
	_ = w.Close()
	return b.Bytes()
}

// TestBadRuns: what is not a run, or not all of one, is refused.
func TestBadRuns(t *testing.T) {
	t.Parallel()
	good := encodeRun([]entry{{"abc", 1}, {"", 2}})
	for name, data := range map[string][]byte{
		"nothing": nil, "not compressed": []byte("abcdefghijklmnopqrstuvwxyz"), "cut off": good[:len(good)-1], "no end": good[:12],
		"another checksum": append(slices.Clone(good[:len(good)-8]), 0, 0, 0, 0, good[len(good)-4], 0, 0, 0),
		"empty":            packed(), "no entries follow": packed(1), "id cut off": packed(1, 5, 'a'), "no hash": packed(1, 1, 'a'),
		"half a hash": packed(1, 1, 'a', 1, 2, 3, 4), "more hashes": packed(0, 1, 2, 3, 4, 5, 6, 7, 8), "too many": packed(0xff, 0xff, 0x03),
		"endless number": packed(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "endless": packed(make([]byte, mostRun+100)...),
		"endless id": packed(1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
	} {
		if entries, err := decodeRun(data); err == nil {
			t.Errorf("%s: taken for %d entries", name, len(entries))
		}
	}
}

func FuzzRun(f *testing.F) {
	f.Add(encodeRun([]entry{{"abc", 1}, {"", 2}}))
	f.Add(encodeRun(nil))
	f.Add(packed(1, 5, 'a'))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, run := range [][]byte{data, packed(data...)} {
			entries, err := decodeRun(run)
			if err != nil {
				continue
			}
			again, err := decodeRun(encodeRun(entries))
			if err != nil || !slices.Equal(again, entries) {
				t.Fatalf("%v: %s", err, fmt.Sprint(again, entries))
			}
		}
	})
}

// readRoll is what a feed is known to have.
func readRoll(t *testing.T, f *Feed) (all []entry) {
	t.Helper()
	err := f.snapshot.roll(f.snapshot.pos.Whole.Base).each(t.Context(), 0, func(_, _ int, e entry) bool { all = append(all, e); return true })
	if err != nil {
		t.Fatal(err)
	}
	return all
}
