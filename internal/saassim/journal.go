package saassim

import (
	"slices"
	"sort"
	"strings"
	"time"
)

// Event is a record with a time that a Journal keeps.
type Event interface {
	Key() string // its id, which orders records of one time
	Happened() time.Time
	Shows() time.Time // when queries begin to see it
}

// Journal is records by time. It may be copied while its lock is held, and the
// copy read without: what it holds is only appended to, or replaced.
type Journal[E Event] struct {
	all  []E
	last time.Time // when the last of them begins to show
}

// Insert adds records and keeps all in the order of their times. It reorders
// the slice given.
func (j *Journal[E]) Insert(fresh []E) {
	if len(fresh) == 0 {
		return
	}
	slices.SortFunc(fresh, byTime[E])
	for _, e := range fresh {
		if e.Shows().After(j.last) {
			j.last = e.Shows()
		}
	}
	if n := len(j.all); n == 0 || byTime(j.all[n-1], fresh[0]) <= 0 {
		j.all = append(j.all, fresh...) // copies are shorter, which this does not touch
		return
	}
	merged := make([]E, 0, len(j.all)+len(fresh))
	merged = append(append(merged, j.all...), fresh...)
	slices.SortStableFunc(merged, byTime[E])
	j.all = merged
}

func byTime[E Event](a, b E) int {
	if c := a.Happened().Compare(b.Happened()); c != 0 {
		return c
	}
	return strings.Compare(a.Key(), b.Key())
}

// All is every record, by time. The caller must not change it.
func (j *Journal[E]) All() []E { return j.all }

// Select is the records that show at a time, lie in a window and match (nil: all
// do). The caller must not change it.
func (j *Journal[E]) Select(now time.Time, during Window, match func(E) bool) []E {
	from := sort.Search(len(j.all), func(i int) bool { return !during.TooEarly(j.all[i].Happened()) })
	found := j.all[from:]
	found = found[:sort.Search(len(found), func(i int) bool { return !during.Has(found[i].Happened()) })]
	if match == nil && !j.last.After(now) {
		return found
	}
	out := make([]E, 0, len(found))
	for _, e := range found {
		if !e.Shows().After(now) && (match == nil || match(e)) {
			out = append(out, e)
		}
	}
	return out
}

// Window is a span of time that a query asks for; a zero end is open.
type Window struct {
	After, Before         time.Time
	WithAfter, WithBefore bool // the ends are part of it
}

// TooEarly tells whether t lies before the window begins.
func (d Window) TooEarly(t time.Time) bool {
	if d.After.IsZero() {
		return false
	}
	return t.Before(d.After) || !d.WithAfter && t.Equal(d.After)
}

// Has tells whether t lies in the window.
func (d Window) Has(t time.Time) bool {
	if d.TooEarly(t) {
		return false
	}
	return d.Before.IsZero() || t.Before(d.Before) || d.WithBefore && t.Equal(d.Before)
}

// AtLeast moves the beginning up to t.
func (d *Window) AtLeast(t time.Time) {
	if d.After.Before(t) {
		d.After = t
	}
}

// AtMost moves the end down to t.
func (d *Window) AtMost(t time.Time) {
	if d.Before.IsZero() || d.Before.After(t) {
		d.Before = t
	}
}

// Feed is records in the order in which they come in, which need not be that
// of their times. A place in it is a number that never comes to mean another
// one: what is put in later comes behind everything that was ever read.
type Feed[E any] struct {
	entries []Entry[E]
	read    time.Time // when it was last read: nothing comes in before
}

// Entry is a record's place in a feed.
type Entry[E any] struct {
	At     time.Time // when it comes in
	Record E
}

// Put lets a record come in at a time, or now if the feed has been read since.
// It returns the time.
func (f *Feed[E]) Put(at time.Time, record E) time.Time {
	if at.Before(f.read) {
		at = f.read
	}
	i := sort.Search(len(f.entries), func(i int) bool { return f.entries[i].At.After(at) })
	f.entries = slices.Insert(f.entries, i, Entry[E]{at, record})
	return at
}

// Read is what has come in by a time, oldest first. The caller must not change
// it, and must hold the lock while it looks at it.
func (f *Feed[E]) Read(now time.Time) []Entry[E] {
	if now.After(f.read) {
		f.read = now
	}
	return f.entries[:sort.Search(len(f.entries), func(i int) bool { return f.entries[i].At.After(now) })]
}

// Budget is how many requests there may be in each span of real time.
type Budget struct {
	Limit  int
	Window time.Duration
	used   int
	ends   time.Time
}

// Take uses one, and returns how many have been used in this span, when it ends,
// and whether this one was still among the allowed. It is not safe for
// concurrent use.
func (b *Budget) Take(now time.Time) (used int, ends time.Time, ok bool) {
	if !now.Before(b.ends) {
		b.used, b.ends = 0, now.Truncate(b.Window).Add(b.Window)
	}
	if b.used >= b.Limit {
		return b.used, b.ends, false
	}
	b.used++
	return b.used, b.ends, true
}
