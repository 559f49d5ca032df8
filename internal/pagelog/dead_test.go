package pagelog

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func deadLetters(t *testing.T, l *Log, output string) (all []DeadLetter) {
	t.Helper()
	err := l.DeadLetters(t.Context(), output, func(d DeadLetter) error {
		if d.ID == 0 {
			t.Error("letter without an ID")
		}
		d.ID = 0
		all = append(all, d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	if got := deadLetters(t, l, ""); got != nil {
		t.Fatalf("a new log has dead letters: %+v", got)
	}
	// More than fits in one message, and does not compress.
	large := make([]byte, 3*maxPart)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range large {
		large[i] = byte(r.Uint32())
	}
	at := time.Date(2026, 2, 6, 13, 0, 0, 5, time.UTC)
	letters := []DeadLetter{
		{Output: "siem", Feed: audit, Page: 7, Index: 3, UID: "0a", Reason: "too long", Time: at, Document: []byte(`{"a":1}`)},
		{Output: "siem", Feed: audit, Page: 7, Index: 4, Reason: "too \"odd\"\nby far", Time: at, Document: large},
		{Output: "a.b*c", Feed: audit, Page: 7, Index: 3, Reason: "no", Time: at, Document: []byte{}},
	}
	for _, d := range letters {
		for range 2 { // the second time changes nothing
			if err := l.PutDead(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		if diff := cmp.Diff(letters, deadLetters(t, l, ""), cmp.Comparer(bytes.Equal)); diff != "" {
			t.Fatalf("letters differ (-want +got):\n%.2000s", diff)
		}
		if diff := cmp.Diff(letters[2:], deadLetters(t, l, "a.b*c")); diff != "" {
			t.Fatalf("letters of one output differ (-want +got):\n%s", diff)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir)
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
	if err := l.PutDead(t.Context(), long); err != nil {
		t.Fatal(err)
	}
	if got := deadLetters(t, l, "x"); len(got) != 1 || got[0].Reason != long.Reason[:maxReason] {
		t.Errorf("long reason kept as %d bytes", len(got[0].Reason))
	}
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
