package pagelog

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The embedded server keeps each block it has written in memory for ten seconds
// after the last write, unless nobody read from it in that time: then its
// buffer serves for the next block. A block is 8 MiB, so at full speed that is
// the difference between some 50 MB and several hundred. Two things would read
// from it: the server, to look up the last page of a subject when one is
// published behind it; and readers, which follow closely. Both are answered
// from memory here, which is sound because only this process can write.

const (
	// tailSize is more than a block of the server's, so that what is no longer
	// here lies in a block that is no longer written.
	tailSize = 9 << 20
	// tailRaw is how much is also kept uncompressed, for readers close behind.
	tailRaw = 4 << 20

	// diskReserve is left free by pages, for readers to get on and make room.
	diskReserve = 64 << 20
)

// tail is the end of an embedded log: its only writer, and its last pages.
type tail struct {
	writing sync.Mutex        // one page at a time
	last    uint64            // of the stream
	lasts   map[string]uint64 // of its subjects and of all lanes of its feeds, as far as they were asked for; nil: ask for last too

	mu    sync.Mutex
	base  uint64 // all pages above it are in pages
	pages []*tailPage
	size  int           // of all pages without their records
	raw   int           // of all records kept
	wake  chan struct{} // closed and replaced when base or pages change
}

type tailPage struct {
	stored // records are nil if kept only in body
	subj   string
	body   []byte
	rest   int // bytes of the rest, about
}

func newTail(last uint64) *tail { return &tail{base: last, wake: make(chan struct{})} }

// write writes a page behind the one at after, and keeps it: framed, its records,
// and a copy of the rest. The caller's records may be a few out of a large
// answer, which would be kept whole.
func (t *tail) write(ctx context.Context, l *Log, p *Page, msg *nats.Msg, framed, body []byte, after, newest uint64) (uint64, error) {
	records, err := cutFramed(framed, len(p.Records))
	if err != nil {
		return 0, err
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	seq, err := t.writeLocked(ctx, l, msg, body, lanes(p.Feed), after, newest)
	if err != nil {
		t.lasts = nil // perhaps something was written
		return 0, err
	}
	if len(msg.Header[hdrParts]) > 0 {
		t.leave(seq)
		return seq, nil
	}
	e := &tailPage{
		stored: stored{Page: *p, after: after, size: len(framed)},
		subj:   msg.Subject, body: slices.Clone(msg.Data),
		rest: 8*len(p.Hashes) + len(p.Position) + 512,
	}
	e.Seq, e.Records = seq, records
	e.Hashes, e.Position = slices.Clone(p.Hashes), slices.Clone(p.Position)
	t.add(e)
	return seq, nil
}

func (t *tail) writeLocked(ctx context.Context, l *Log, msg *nats.Msg, body []byte, feed string, after, newest uint64) (uint64, error) {
	if t.lasts == nil {
		info, err := l.info(ctx, l.pages)
		if err != nil {
			return 0, err
		}
		t.last, t.lasts = info.State.LastSeq, map[string]uint64{}
	}
	for subj, want := range map[string]uint64{msg.Subject: after, feed: newest} {
		last, ok := t.lasts[subj]
		if !ok {
			m, err := l.lastOf(ctx, l.pages, subj)
			if err != nil {
				return 0, err
			}
			if m != nil {
				last = m.Sequence
			}
			t.lasts[subj] = last
		}
		if last != want {
			return 0, ErrFenced
		}
	}
	if err := l.room(len(body)); err != nil {
		return 0, err
	}
	put := func(msg *nats.Msg) (seq uint64, err error) {
		if seq, err = l.publish(ctx, l.pages, msg, jetstream.WithExpectLastSequence(t.last)); err == nil {
			t.last = seq
		}
		return seq, err
	}
	seq, err := l.writeParts(ctx, msg, body, put, put)
	if err == nil {
		t.lasts[msg.Subject], t.lasts[feed] = seq, seq
	}
	return seq, err
}

// room returns ErrFull where an embedded log's disk has no room for n bytes and
// the reserve: the server would take a full disk for a broken one.
func (l *Log) room(n int) error {
	if l.free == nil {
		return nil
	}
	free, err := l.free(l.path)
	if err == nil && free < uint64(n)+diskReserve {
		err = fmt.Errorf("%d bytes left on the disk: %w", free, ErrFull)
	}
	return err
}

// leave leaves everything up to seq, a page kept in parts, to the server.
func (t *tail) leave(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.wake)
	t.wake = make(chan struct{})
	t.base, t.pages, t.size, t.raw = seq, nil, 0, 0
}

// add makes a page available to readers.
func (t *tail) add(e *tailPage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.wake)
	t.wake = make(chan struct{})
	t.pages = append(t.pages, e)
	t.size += len(e.body) + e.rest
	t.raw += e.size
	for t.size > tailSize {
		t.dropFirst()
	}
	for _, old := range t.pages {
		if t.raw <= tailRaw {
			break
		}
		if old.Records != nil {
			old.Records = nil
			t.raw -= old.size
		}
	}
}

// dropFirst leaves the first page to the server. t.mu is held.
func (t *tail) dropFirst() {
	old := t.pages[0]
	if old.Records != nil {
		t.raw -= old.size
	}
	t.size -= len(old.body) + old.rest
	t.base = old.Seq
	t.pages[0] = nil
	t.pages = t.pages[1:]
}

// forget leaves pages up to seq to the server.
func (t *tail) forget(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.pages) > 0 && t.pages[0].Seq <= seq {
		t.dropFirst()
	}
}

// after returns the page following sequence seq. Without one, base says up to
// which sequence the server is to be asked; if that is not above seq there is
// nothing yet, and wake is closed when that may have changed.
func (t *tail) after(seq uint64) (p *tailPage, base uint64, wake <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq < t.base {
		return nil, t.base, nil
	}
	i := sort.Search(len(t.pages), func(i int) bool { return t.pages[i].Seq > seq })
	if i == len(t.pages) {
		return nil, t.base, t.wake
	}
	e := *t.pages[i] // its records may be dropped from here on
	return &e, t.base, nil
}
