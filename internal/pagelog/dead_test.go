package pagelog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"
)

func deadLetters(t *testing.T, l *Log, f DeadFilter) (all []DeadLetter) {
	t.Helper()
	var last uint64
	err := l.DeadLetters(t.Context(), f, func(d DeadLetter) error {
		if d.Seq <= last {
			t.Errorf("letter %s has Seq %d after %d", d.ID(), d.Seq, last)
		}
		last = d.Seq
		all = append(all, d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func deadIDs(t *testing.T, l *Log, f DeadFilter) string {
	t.Helper()
	var ids []string
	for _, d := range deadLetters(t, l, f) {
		ids = append(ids, d.ID())
	}
	return strings.Join(ids, " ")
}

func putDead(t *testing.T, l *Log, letters ...DeadLetter) {
	t.Helper()
	for _, d := range letters {
		if err := l.PutDead(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
}

// incompressible is so many bytes that do not compress, always the same.
func incompressible(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

var refusedAt = time.Date(2026, 2, 6, 13, 0, 0, 5, time.UTC)

// sampleLetters are of two outputs; one does not fit into a message.
var sampleLetters = []DeadLetter{
	{Output: "siem", Feed: audit, Page: 7, Index: 3, UID: "0a", Reason: "too long", Time: refusedAt, Document: []byte(`{"a":1}`)},
	{Output: "siem", Feed: audit, Page: 7, Index: 4, Reason: "too \"odd\"\nby far", Time: refusedAt, Raw: true, Replay: "r1",
		Fetched: refusedAt.Add(-time.Hour), Stored: refusedAt.Add(-time.Minute), Document: incompressible(3 * maxPart)},
	{Output: "a.b*c", Feed: Feed{Connection: "okta", Source: "log"}, Page: 7, Index: 3, Reason: "no", Time: refusedAt, Document: []byte{}},
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	if got := deadLetters(t, l, DeadFilter{}); got != nil {
		t.Fatalf("a new log has dead letters: %+v", got)
	}
	if n, err := l.DropDeadLetters(t.Context(), DeadFilter{}); n != 0 || err != nil {
		t.Fatalf("dropped %d, %v", n, err)
	}
	putDead(t, l, sampleLetters...)
	putDead(t, l, sampleLetters...) // the second time changes nothing
	var want []DeadLetter
	for _, d := range sampleLetters {
		d.First, d.Tries, d.Size = d.Time, 1, len(d.Document)
		want = append(want, d)
	}
	for range 2 {
		if diff := cmp.Diff(want, deadLetters(t, l, DeadFilter{}), cmp.Comparer(bytes.Equal), cmpopts.IgnoreFields(DeadLetter{}, "Seq")); diff != "" {
			t.Fatalf("letters differ (-want +got):\n%.2000s", diff)
		}
		for output, n := range map[string]int{"siem": 2, "a.b*c": 1, "other": 0, "": 3} {
			if got, last, err := l.CountDead(t.Context(), output); got != n || last == 0 || err != nil {
				t.Errorf("output %q has %d letters, the last at %d, %v", output, got, last, err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir)
	}
}

func TestDeadFilter(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	putDead(t, l, sampleLetters...)
	second := deadLetters(t, l, DeadFilter{})[1].Seq
	for _, c := range []struct {
		f    DeadFilter
		want string
	}{
		{DeadFilter{}, "siem/7/3 siem/7/4 a.b*c/7/3"},
		{DeadFilter{Output: "siem"}, "siem/7/3 siem/7/4"},
		{DeadFilter{Output: "a.b*c"}, "a.b*c/7/3"},
		{DeadFilter{Output: "sie"}, ""},
		{DeadFilter{Feed: "wiz-prod/audit"}, "siem/7/3 siem/7/4"},
		{DeadFilter{Feed: "okta/log", Output: "siem"}, ""},
		{DeadFilter{Reason: "too*"}, "siem/7/3 siem/7/4"},
		{DeadFilter{Reason: "too"}, ""},
		{DeadFilter{Reason: "?o"}, "a.b*c/7/3"},
		{DeadFilter{IDs: []string{"a.b*c/7/3", "siem/7/3", "siem/8/1", "siem/7/3"}}, "siem/7/3 a.b*c/7/3"},
		{DeadFilter{IDs: []string{"a.b*c/7/3"}, Output: "siem"}, ""},
		{DeadFilter{After: second}, "a.b*c/7/3"},
		{DeadFilter{UpTo: second}, "siem/7/3 siem/7/4"},
	} {
		if got := deadIDs(t, l, c.f); got != c.want {
			t.Errorf("%+v chooses %q, want %q", c.f, got, c.want)
		}
	}
	if err := l.DeadLetters(t.Context(), DeadFilter{IDs: []string{"siem"}}, nil); err == nil {
		t.Error("an id that is none was taken")
	}
	theirs := errors.New("theirs")
	if err := l.DeadLetters(t.Context(), DeadFilter{}, func(DeadLetter) error { return theirs }); err != theirs {
		t.Errorf("error of yield came back as %v", err)
	}
	if n, err := l.DropDeadLetters(t.Context(), DeadFilter{Reason: "too*odd*"}); n != 1 || err != nil {
		t.Errorf("dropped %d, %v", n, err)
	}
	if n, err := l.DropDeadLetters(t.Context(), DeadFilter{IDs: []string{"siem/7/3", "siem/7/4"}}); n != 1 || err != nil {
		t.Errorf("dropped %d, %v", n, err)
	}
	if got := deadIDs(t, l, DeadFilter{}); got != "a.b*c/7/3" {
		t.Errorf("left is %q", got)
	}
}

// TestRefusedAgain: a letter keeps its name, gets the newer reason and document
// and counts tries; a try that is repeated after a crash is the same one.
func TestRefusedAgain(t *testing.T) {
	t.Parallel()
	for _, sizes := range [][]int{{10, 20, 5}, {3 * maxPart, 2 * maxPart, 3 * maxPart}, {10, 3 * maxPart, 10}, {2 * maxPart, 0, 4 * maxPart}} {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			t.Parallel()
			l := open(t, t.TempDir())
			d := DeadLetter{Output: "siem", Feed: audit, Page: 9, Index: 1}
			var before DeadLetter
			for try, size := range sizes {
				d.Time, d.Reason = refusedAt.Add(time.Duration(try)*time.Hour), fmt.Sprint("reason ", try)
				d.Document = incompressible(size)
				if try > 0 {
					d.Replay = fmt.Sprint("replay ", try)
				}
				putDead(t, l, d, d)
				if before.Seq > 0 { // what was read is another letter by now
					if err := l.DropDead(t.Context(), before); err != nil {
						t.Fatal(err)
					}
				}
				want := d
				want.First, want.Tries, want.Size = refusedAt, try+1, size
				got := deadLetters(t, l, DeadFilter{})
				if diff := cmp.Diff([]DeadLetter{want}, got, cmp.Comparer(bytes.Equal), cmpopts.IgnoreFields(DeadLetter{}, "Seq")); diff != "" {
					t.Fatalf("try %d: letters differ (-want +got):\n%.2000s", try, diff)
				}
				before = got[0]
			}
			for range 2 {
				if err := l.DropDead(t.Context(), before); err != nil {
					t.Fatal(err)
				}
			}
			info, err := l.info(t.Context(), l.dead, jetstream.WithSubjectFilter(">"))
			if err != nil || info.State.Msgs != 0 {
				t.Errorf("left in the stream: %+v, %v", info.State, err)
			}
		})
	}
}

// steps is a context that is over after so many looks at it, of which there is
// one before each message that is written.
type steps struct {
	context.Context
	left int
}

func (c *steps) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return c.Context.Err()
}

// TestPutDeadCutShort: whichever of its messages is the last that is written,
// the letter there is is whole, and is the old one or the new one.
func TestPutDeadCutShort(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	l.partSize = 4 << 10
	d := DeadLetter{Output: "siem", Feed: audit, Page: 9, Reason: "old", Document: incompressible(17 << 10)}
	putDead(t, l, d)
	whole := func() DeadLetter {
		t.Helper()
		got := deadLetters(t, l, DeadFilter{})
		if len(got) != 1 || !bytes.Equal(got[0].Document, incompressible(got[0].Size)) {
			t.Fatalf("there are %d letters", len(got))
		}
		return got[0]
	}
	for round := range 4 { // parts may be left behind by the one before
		before := whole()
		next := d
		next.Reason, next.Replay, next.Document = fmt.Sprint("new ", round), fmt.Sprint(round), incompressible(19<<10+round)
		cuts := 0
		for ; ; cuts++ {
			err := l.PutDead(&steps{t.Context(), cuts}, next)
			if err == nil {
				break
			}
			if got := whole(); got.Reason != before.Reason {
				t.Fatalf("cut at %d: %v, and the letter is %q", cuts, err, got.Reason)
			}
		}
		if cuts < 5 {
			t.Fatalf("there were %d places to cut", cuts)
		}
		if got := whole(); got.Reason != next.Reason || got.Tries != before.Tries+1 {
			t.Fatalf("then the letter is %q after %d tries", got.Reason, got.Tries)
		}
	}
}

func TestDeadLetterRefused(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	for _, d := range []DeadLetter{{Page: 1}, {Output: "x"}, {Output: "x", Page: 1, Index: -1}} {
		if err := l.PutDead(t.Context(), d); err == nil {
			t.Errorf("kept %+v", d)
		}
	}
	long := DeadLetter{Output: "x", Page: 1, Reason: strings.Repeat("ä", maxReason)}
	putDead(t, l, long)
	if got := deadLetters(t, l, DeadFilter{Output: "x"}); len(got) != 1 || got[0].Reason != long.Reason[:maxReason] {
		t.Errorf("long reason kept as %d bytes", len(got[0].Reason))
	}
	l.free = func(string) (uint64, error) { return deadReserve, nil }
	if err := l.PutDead(t.Context(), DeadLetter{Output: "x", Page: 2}); !errors.Is(err, ErrFull) {
		t.Errorf("with a full disk: %v", err)
	}
}

func TestParseLetterID(t *testing.T) {
	t.Parallel()
	for _, d := range append(sampleLetters, DeadLetter{Output: "a", Page: 1 << 63, Index: 1<<31 - 1}) {
		output, page, index, err := ParseLetterID(d.ID())
		if err != nil || output != d.Output || page != d.Page || index != d.Index {
			t.Errorf("%s is %q %d %d, %v", d.ID(), output, page, index, err)
		}
	}
	for _, bad := range []string{"", "a", "a/1", "/1/2", "a/0/1", "a/1/-1", "a/1/2/", "a/x/1", "a/1/x", "a/+1/2", "a/01/2", "a/1/1e3", "a/18446744073709551616/1", "a/1/4294967296", "a/1/2 "} {
		output, page, index, err := ParseLetterID(bad)
		if err == nil {
			t.Errorf("%q was taken as %q %d %d", bad, output, page, index)
		}
	}
}

// FuzzMatches compares with regular expressions.
func FuzzMatches(f *testing.F) {
	for _, c := range [][2]string{{"*", ""}, {"a*b?c", "aXXbYc"}, {"**a", "ba"}, {"a*a*a", "aaaa"}, {"?", "ä"}, {"*.[x]", "y.[x]"}, {"", "a"}} {
		f.Add(c[0], c[1])
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 50 || len(text) > 200 {
			return
		}
		pattern, text = strings.ToValidUTF8(pattern, "?"), strings.ToValidUTF8(text, "")
		quoted := regexp.QuoteMeta(pattern)
		quoted = strings.ReplaceAll(strings.ReplaceAll(quoted, `\*`, `.*`), `\?`, `.`)
		want := regexp.MustCompile(`(?s)\A(?:` + quoted + `)\z`).MatchString(text)
		if got := matches(pattern, text); got != want {
			t.Errorf("%q is like %q: %t, want %t", text, pattern, got, want)
		}
	})
}

func TestID(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	id := l.ID()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if again := open(t, dir).ID(); id == "" || again != id {
		t.Errorf("ID is %q, then %q", id, again)
	}
	if other := open(t, t.TempDir()).ID(); other == id {
		t.Errorf("two logs have the ID %q", id)
	}
}
