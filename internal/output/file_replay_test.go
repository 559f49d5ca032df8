package output

import "testing"

// again makes a batch of a replay.
func again(replay string, last uint64, lines ...string) Batch {
	b := batch(last, lines...)
	b.Replay = replay
	return b
}

// TestReplayHasItsOwnPlace: what is written of a replay says nothing about the
// pages of the log, nor about another replay.
func TestReplayHasItsOwnPlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	place := func(want Place, change ...func(*Options)) fixture {
		t.Helper()
		fx, _, err := openFixture(t, dir, change...)
		must(t, err)
		got, err := fx.Open(t.Context())
		must(t, err)
		if got != want {
			t.Errorf("place is %+v, want %+v", got, want)
		}
		return fx
	}
	fx := place(Place{})
	fx.write(t, batch(5, "five"))
	fx.write(t, again("first", 2, "again two"))
	fx.write(t, again("first", 2, "again two")) // an earlier try got further than it knew
	fx.write(t, again("first", 3, "again three"))
	fx.write(t, batch(5, "five"))
	fx.write(t, batch(6, "six"))
	must(t, fx.Close())
	fx = place(Place{Last: 6, Replay: "first", Replayed: 3})
	fx.write(t, again("first", 3, "again three"))
	fx.write(t, again("second", 1, "and again one"))
	must(t, fx.Close())
	fx = place(Place{Last: 6, Replay: "second", Replayed: 1})
	if got, want := read(t, fx.path), "five\nagain two\nagain three\nsix\nand again one\n"; got != want {
		t.Errorf("file holds %q, want %q", got, want)
	}
	must(t, fx.Close())
	place(Place{}, func(o *Options) { o.Log = "log-2" })
}

// TestBatchWithoutDocuments: its page may be acknowledged, so the position has
// to know of it.
func TestBatchWithoutDocuments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fx, _, err := openFixture(t, dir)
	must(t, err)
	fx.write(t, Batch{Last: 4, Size: 7})
	must(t, fx.Close())
	if _, last, err := openFixture(t, dir); err != nil || last != 4 {
		t.Errorf("last page is %d, %v", last, err)
	}
}
