package pagelog

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestTrim appends pages by a script, one letter a page on the lane of that
// letter (capitals are kept in parts), and says which are left.
func TestTrim(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		script string
		acked  []int // by each reader, how many pages of the script
		before int   // pages of the script that are old
		left   string
	}{
		{"nothing read", "aaaa", []int{0}, 4, "aaaa"},
		{"no reader", "aaaa", nil, 4, "aaaa"},
		{"nothing old", "aaaa", []int{4}, 0, "aaaa"},
		{"all but the last", "aaaa", []int{4}, 4, "...a"},
		{"what is old", "aaaa", []int{4}, 2, "..aa"},
		{"the slowest reader", "aaaaaa", []int{6, 3, 5}, 6, "...aaa"},
		{"last of each lane", "abcabaab", []int{8}, 8, "..c...ab"},
		{"a lane long quiet", "baaaaaaa", []int{8}, 6, "b.....aa"},
		{"two lanes quiet", "bacaaaaa", []int{8}, 8, "b.c....a"},
		{"quiet lane not read", "aaab", []int{3}, 4, "..ab"},
		{"parts", "AAAA", []int{4}, 4, "...A"},
		{"parts of a quiet lane", "Baaa", []int{4}, 4, "B..a"},
		{"parts among others", "aBaBaAb", []int{7}, 7, ".....Ab"},
		{"parts not read", "aAaA", []int{2}, 4, "..aA"},
		{"empty log", "", []int{0}, 0, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, o Options) {
				l := openWith(t, o)
				var before time.Time
				appended := scripted(t, l, test.script)
				for i, p := range appended {
					if i == test.before-1 {
						msg, err := l.getMsg(t.Context(), p.Seq)
						if err != nil {
							t.Fatal(err)
						}
						before = msg.Time.Add(1)
					}
				}
				for i, n := range test.acked {
					r := openReader(t, l, fmt.Sprint("reader", i))
					ds := readAll(t, r)
					if n > 0 {
						if err := ds[n-1].Ack(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
				}
				for range 2 { // the second has nothing to do
					if err := l.Trim(t.Context(), before); err != nil {
						t.Fatal(err)
					}
				}
				check := func() {
					t.Helper()
					if got := leftOf(t, l, appended, test.script); got != test.left {
						t.Errorf("%s, want %s", got, test.left)
					}
					if err := l.verifyPages(t.Context(), anywhere); err != nil {
						t.Error(err)
					}
				}
				check()
				// Nothing that is left is lost, and nothing else comes back.
				l.Close()
				l = openWith(t, o)
				check()
				for i, n := range test.acked {
					r := openReader(t, l, fmt.Sprint("reader", i))
					if got := len(readAll(t, r)); got != len(test.script)-n {
						t.Errorf("reader %d: %d pages", i, got)
					}
				}
				// Lanes go on from where they were.
				for i, p := range appended {
					last, ok, err := l.Last(t.Context(), p.Feed, p.Lane)
					if err != nil || !ok {
						t.Fatalf("page %d: %v, %v", i, ok, err)
					}
					if _, err := l.Append(t.Context(), page(p.Feed, p.Lane, 99, 1, 10), last.Seq, last.Seq); err != nil {
						t.Errorf("page %d: %v", i, err)
					}
				}
			})
		})
	}
}

func scripted(t testing.TB, l *Log, script string) (pages []Page) {
	t.Helper()
	last := map[byte]uint64{}
	for i := range len(script) {
		c := script[i]
		p := page(Feed{"c", string([]byte{c | 0x20})}, Live, i, 2, 100)
		if c < 'a' {
			big := noise(1, 1<<20)
			p.Records, p.Hashes = big.Records, big.Hashes
		}
		seq, err := l.Append(t.Context(), p, last[c|0x20], last[c|0x20])
		if err != nil {
			t.Fatal(err)
		}
		last[c|0x20], p.Seq = seq, seq
		pages = append(pages, p)
	}
	return pages
}

// leftOf reads the whole log as a new reader would and draws what is there.
func leftOf(t testing.TB, l *Log, appended []Page, script string) string {
	t.Helper()
	r := openReader(t, l, "looker")
	defer l.DeleteReader(t.Context(), "looker")
	left := []byte(script)
	there := seqs(readAll(t, r))
	if s, err := l.Stats(t.Context()); err != nil || s.Pages != len(there) {
		t.Errorf("%+v for %d pages, %v", s, len(there), err)
	}
	for i, p := range appended {
		if !slices.Contains(there, p.Seq) {
			left[i] = '.'
		}
	}
	return string(left)
}

// TestTrimOrphans leaves parts without a page, as a crash would: they are not
// read, count as nothing, and go when a later page of their lane does.
func TestTrimOrphans(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		orphan := func() {
			m := newPart(audit, Live)
			if _, err := l.publish(t.Context(), l.pages, m); err != nil {
				t.Fatal(err)
			}
			if l.tail != nil {
				l.tail.lasts = nil
			}
		}
		r := openReader(t, l, "r")
		orphan()
		after := appendPages(t, l, audit, Live, 1, 1, 0)
		orphan()
		ds := readAll(t, r)
		wantNumbers(t, ds, 1, 1)
		if err := ds[0].Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, _, err := r.Pending(t.Context()); n != 0 || err != nil {
			t.Errorf("%d pending, %v", n, err)
		}
		trim := func() {
			if err := l.Trim(t.Context(), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		trim()
		l.Close()
		l = openWith(t, o)
		after = appendPages(t, l, audit, Live, 2, 3, after)
		r = openReader(t, l, "r")
		ds = readAll(t, r)
		wantNumbers(t, ds, 2, 3)
		if err := ds[1].Ack(t.Context()); err != nil {
			t.Fatal(err)
		}
		trim()
		info, err := l.pages.Info(t.Context())
		if err != nil || info.State.Msgs != 1 || info.State.FirstSeq != after {
			t.Errorf("%+v, %v", info.State, err)
		}
	})
}
