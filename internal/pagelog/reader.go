package pagelog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const readerKey = "reader/"

// Reader takes every page out of the log in order. It keeps its position, the
// last page that is done, in the log; a Reader opened again goes on behind it.
// One goroutine calls Next and Close; the other methods may be called from any.
type Reader struct {
	l    *Log
	name string

	// For Next.
	cursor *cursor
	ahead  []message // fetched and not yet looked at
	at     uint64    // everything up to it was returned or is no page
	seen   chain

	mu        sync.Mutex
	done      uint64 // everything up to it is done
	rev       uint64 // of the position's entry
	delivered uint64 // the last sequence returned by Next
	moved     bool   // by Seek; Next begins anew
}

// position is a reader's entry.
type position struct {
	Seq uint64 `json:"seq"`
	By  string `json:"by"` // instance of the log that wrote it
}

// Delivery is a page handed to a reader. Its records may be shared with other
// readers and must not be changed.
type Delivery struct {
	Page  Page
	After uint64 // there is no page between this sequence and the page's
	r     *Reader
}

// Ack says that this page and all before it are done; see Reader.Ack.
func (d *Delivery) Ack(ctx context.Context) error { return d.r.Ack(ctx, d.Page.Seq) }

// Reader opens the reader of that name. One that is new begins at the first
// page the log still holds; from here on Trim waits for it.
func (l *Log) Reader(ctx context.Context, name string) (*Reader, error) {
	r := &Reader{l: l, name: name}
	err := r.load(ctx)
	if err == nil && r.rev == 0 {
		if err = r.save(ctx, 0); errors.Is(err, ErrConflict) { // somebody was quicker
			err = r.load(ctx)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open reader %q: %w", name, err)
	}
	r.restart()
	return r, nil
}

// load reads the position.
func (r *Reader) load(ctx context.Context) error {
	pos, rev, err := r.l.position(ctx, r.name)
	if err != nil {
		return err
	}
	r.done, r.rev = pos.Seq, rev
	return nil
}

func (l *Log) position(ctx context.Context, name string) (pos position, rev uint64, err error) {
	data, rev, err := l.State(ctx, readerKey+name)
	if err != nil || rev == 0 {
		return pos, rev, err
	}
	if err := json.Unmarshal(data, &pos); err != nil {
		return pos, 0, &DamagedError{Path: l.path, Problem: fmt.Sprintf("position of reader %q cannot be read", name), Err: err}
	}
	return pos, rev, nil
}

// save writes the position; r.mu is held, or r is not shared yet.
func (r *Reader) save(ctx context.Context, seq uint64) error {
	data, err := json.Marshal(position{Seq: seq, By: r.l.instance})
	if err != nil {
		return err
	}
	rev, err := r.l.putState(ctx, readerKey+r.name, data, r.rev)
	if err != nil {
		return err
	}
	r.done, r.rev = seq, rev
	return nil
}

// restart makes the next page the one behind the position.
func (r *Reader) restart() {
	r.cursor = &cursor{l: r.l}
	r.ahead, r.at, r.seen = nil, r.done, chain{}
	r.delivered, r.moved = r.done, false
}

// Ack says that everything up to and including seq is done; seq is a page that
// Next returned. When it returns without error that is on disk. ErrConflict
// says that somebody else reads under this name.
func (r *Reader) Ack(ctx context.Context, seq uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq <= r.done {
		return nil
	}
	if seq > r.delivered {
		return fmt.Errorf("acknowledge for %q: page %d was not delivered, the last was %d", r.name, seq, r.delivered)
	}
	if err := r.put(ctx, seq); err != nil {
		return fmt.Errorf("acknowledge for %q: %w", r.name, err)
	}
	return nil
}

// put writes the position. After a write whose outcome was unknown the revision
// may have moved by our own doing.
func (r *Reader) put(ctx context.Context, seq uint64) error {
	err := r.save(ctx, seq)
	if !errors.Is(err, ErrConflict) {
		return err
	}
	pos, rev, lerr := r.l.position(ctx, r.name)
	if lerr != nil {
		return lerr
	}
	if pos.By != r.l.instance {
		return err
	}
	r.rev = rev
	return r.save(ctx, seq)
}

// SeekTime moves the reader to the first page stored at or after t; see Seek.
func (r *Reader) SeekTime(ctx context.Context, t time.Time) error {
	seq, err := r.l.seqBefore(ctx, t)
	if err != nil {
		return fmt.Errorf("move reader %q: %w", r.name, err)
	}
	return r.Seek(ctx, seq)
}

// Seek makes everything up to seq done and nothing behind it, backwards for a
// replay or forwards; Next goes on from there.
func (r *Reader) Seek(ctx context.Context, seq uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.put(ctx, seq); err != nil {
		return fmt.Errorf("move reader %q: %w", r.name, err)
	}
	r.moved, r.delivered = true, seq
	return nil
}

// seqBefore returns the sequence before the first message stored at or after t.
func (l *Log) seqBefore(ctx context.Context, t time.Time) (uint64, error) {
	info, err := l.info(ctx, l.pages)
	if err != nil {
		return 0, err
	}
	if info.State.Msgs == 0 || t.After(info.State.LastTime) {
		return info.State.LastSeq, nil
	}
	if !t.After(info.State.FirstTime) {
		return info.State.FirstSeq - 1, nil
	}
	consumer, err := l.consumer(ctx, pagesName, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy,
		OptStartTime:  &t,
	})
	if err != nil {
		return 0, err
	}
	defer l.dropConsumer(context.WithoutCancel(ctx), consumer)
	// The server has found the place; what it skipped is all before it.
	return consumer.CachedInfo().Delivered.Stream, nil
}

// Pending returns how many pages are not done and the sequence up to which all
// are.
func (r *Reader) Pending(ctx context.Context) (pages int, done uint64, err error) {
	r.mu.Lock()
	done = r.done
	r.mu.Unlock()
	pages, err = r.l.countAfter(ctx, done)
	if err != nil {
		err = fmt.Errorf("pending pages of %q: %w", r.name, err)
	}
	return pages, done, err
}

// countAfter counts pages. The server does it when it makes a consumer; without
// a filter it need not look into its blocks.
func (l *Log) countAfter(ctx context.Context, seq uint64) (int, error) {
	info, err := l.info(ctx, l.pages, jetstream.WithSubjectFilter("parts.>"))
	if err != nil {
		return 0, err
	}
	c := &cursor{l: l, headers: true, next: seq + 1}
	if len(info.State.Subjects) > 0 {
		c.filter = "pages.>"
	}
	if err := c.open(ctx); err != nil {
		return 0, err
	}
	defer c.close(ctx)
	return int(c.pending), nil
}

// Close ends reading; the position stays. Calling it again does nothing.
func (r *Reader) Close(ctx context.Context) { r.cursor.close(ctx) }

// Readers lists the names of all readers the log knows, open or not, sorted.
func (l *Log) Readers(ctx context.Context) ([]string, error) {
	keys, err := l.Keys(ctx, readerKey)
	for i, key := range keys {
		keys[i] = strings.TrimPrefix(key, readerKey)
	}
	return keys, err
}

// DeleteReader forgets a reader and its position, so that Trim no longer waits
// for it.
func (l *Log) DeleteReader(ctx context.Context, name string) error {
	if err := l.dropState(ctx, readerKey+name); err != nil {
		return fmt.Errorf("delete reader %q: %w", name, err)
	}
	return nil
}
