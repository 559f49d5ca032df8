package saassim

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

type entry struct {
	id            string
	at, indexedAt time.Time
}

func (e entry) Key() string         { return e.id }
func (e entry) Happened() time.Time { return e.at }
func (e entry) Shows() time.Time    { return e.indexedAt }

func at(second int) time.Time { return time.Unix(int64(second), 0) }

func keys(entries []entry) (out string) {
	for _, e := range entries {
		out += e.id
	}
	return out
}

func TestJournal(t *testing.T) {
	t.Parallel()
	var j Journal[entry]
	j.Insert([]entry{{"c", at(30), at(30)}, {"a", at(10), at(10)}, {"b", at(20), at(90)}})
	before := j
	j.Insert([]entry{{"f", at(40), at(40)}, {"d", at(30), at(30)}})
	j.Insert([]entry{{"e", at(15), at(15)}})
	j.Insert(nil)
	if got := keys(j.All()); got != "aebcdf" {
		t.Errorf("all: %s", got)
	}
	if got := keys(before.All()); got != "abc" {
		t.Errorf("a copy that was made earlier has %s", got)
	}
	for _, tt := range []struct {
		name   string
		now    int
		during Window
		match  func(entry) bool
		want   string
	}{
		{"what shows", 50, Window{}, nil, "aecdf"},
		{"later", 100, Window{}, nil, "aebcdf"},
		{"between", 100, Window{After: at(10), Before: at(30)}, nil, "eb"},
		{"with the beginning", 100, Window{After: at(10), Before: at(30), WithAfter: true}, nil, "aeb"},
		{"with the end", 100, Window{After: at(10), Before: at(30), WithBefore: true}, nil, "ebcd"},
		{"since", 100, Window{After: at(30)}, nil, "f"},
		{"until", 100, Window{Before: at(15)}, nil, "a"},
		{"nothing", 100, Window{After: at(30), Before: at(30)}, nil, ""},
		{"some", 100, Window{}, func(e entry) bool { return e.id < "c" }, "ab"},
	} {
		if got := keys(j.Select(at(tt.now), tt.during, tt.match)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	var d Window
	d.AtLeast(at(5))
	d.AtLeast(at(3))
	d.AtMost(at(8))
	d.AtMost(at(9))
	if d.After != at(5) || d.Before != at(8) {
		t.Errorf("window %v", d)
	}
}

// A place in a feed means the same for ever.
func TestFeed(t *testing.T) {
	t.Parallel()
	var f Feed[string]
	f.Put(at(20), "b")
	f.Put(at(10), "a")
	f.Put(at(60), "z")
	read := func(now int) (out []string) {
		for _, e := range f.Read(at(now)) {
			out = append(out, e.Record)
		}
		return out
	}
	if got := fmt.Sprint(read(50)); got != "[a b]" {
		t.Errorf("at first %s", got)
	}
	if when := f.Put(at(5), "c"); !when.Equal(at(50)) { // behind what was read
		t.Errorf("it comes in at %v", when)
	}
	f.Put(at(50), "d")
	f.Put(at(55), "e")
	if got := fmt.Sprint(read(50)); got != "[a b c d]" {
		t.Errorf("then %s", got)
	}
	if got := fmt.Sprint(read(40)); got != "[a b]" {
		t.Errorf("earlier %s", got)
	}
	if got := fmt.Sprint(read(70)); got != "[a b c d e z]" {
		t.Errorf("at last %s", got)
	}
}

func TestBudget(t *testing.T) {
	t.Parallel()
	b := Budget{Limit: 2, Window: time.Minute}
	now := time.Date(2026, 11, 21, 12, 0, 40, 0, time.UTC)
	for i, want := range []bool{true, true, false, false} {
		used, ends, ok := b.Take(now)
		if ok != want || used != min(i+1, 2) || !ends.Equal(now.Add(20*time.Second)) {
			t.Errorf("request %d: %d used until %v, %v", i, used, ends, ok)
		}
	}
	if used, _, ok := b.Take(now.Add(20 * time.Second)); !ok || used != 1 {
		t.Errorf("in the next minute: %d used, %v", used, ok)
	}
}

func TestPeople(t *testing.T) {
	t.Parallel()
	a, b := NewDice(1, 1), NewDice(1, 1)
	seen := map[string]bool{}
	for i := range 700 {
		p := a.Person(i)
		if q := b.Person(i); p.Email != q.Email || !slices.Equal(p.IPs, q.IPs) {
			t.Fatalf("%v and %v", p, q)
		}
		if seen[p.Email] || len(p.IPs) == 0 || len(p.Agents) == 0 {
			t.Errorf("person %v", p)
		}
		seen[p.Email] = true
	}
}
