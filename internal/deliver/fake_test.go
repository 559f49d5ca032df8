package deliver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/output"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// fakeLog is a log in memory. It is a reader too, the output's own.
type fakeLog struct {
	fakeReader
	mu      sync.Mutex
	pages   []*pagelog.Delivery
	trimmed uint64 // pages up to it are gone
	grown   chan struct{}
	fail    func(call string) error // may be nil
	dead    []pagelog.DeadLetter    // by Seq
	deadSeq uint64
	state   map[string][]byte
	revs    map[string]uint64
	readers map[string]*fakeReader
	calls   []string // ack 3, dead 3/1
}

// fakeReader reads a fakeLog. Its methods are called with nothing held.
type fakeReader struct {
	log   *fakeLog
	name  string
	next  uint64 // everything up to it was returned
	acked uint64
}

var audit = pagelog.Feed{Connection: "wiz-prod", Source: "audit"}

// newLog holds n pages of the given number of records.
func newLog(n, records int) *fakeLog {
	l := &fakeLog{grown: make(chan struct{}), state: map[string][]byte{}, revs: map[string]uint64{}, readers: map[string]*fakeReader{}}
	l.fakeReader = fakeReader{log: l, name: "archive"}
	for i := range n {
		l.append(audit, page(i+1, records)...)
	}
	return l
}

func page(seq, records int) (all [][]byte) {
	for i := range records {
		all = append(all, fmt.Appendf(nil, `{"id":"%d-%d"}`, seq, i))
	}
	return all
}

func (l *fakeLog) append(feed pagelog.Feed, records ...[]byte) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq := uint64(len(l.pages) + 1)
	l.pages = append(l.pages, &pagelog.Delivery{Page: pagelog.Page{Feed: feed, Seq: seq, Records: records}})
	close(l.grown)
	l.grown = make(chan struct{})
	return seq
}

func (l *fakeLog) failure(call string) error {
	if l.fail == nil {
		return nil
	}
	return l.fail(call)
}

func (r *fakeReader) Next(ctx context.Context, limit int, wait time.Duration) ([]*pagelog.Delivery, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for l := r.log; ; {
		l.mu.Lock()
		if err := l.failure("next"); err != nil {
			l.mu.Unlock()
			return nil, err
		}
		r.next = max(r.next, l.trimmed)
		if n := min(uint64(limit), uint64(len(l.pages))-r.next); n > 0 {
			r.next += n
			pages := l.pages[r.next-n : r.next]
			l.mu.Unlock()
			return pages, nil
		}
		grown := l.grown
		l.mu.Unlock()
		select {
		case <-grown:
		case <-timer.C:
			return nil, nil
		case <-ctx.Done():
			return nil, fmt.Errorf("read log: %w", ctx.Err())
		}
	}
}

// call notes a call, unless it is to fail; l.mu is held.
func (l *fakeLog) call(what string, args ...any) error {
	if err := l.failure(what); err != nil {
		return err
	}
	l.calls = append(l.calls, what+" "+fmt.Sprint(args...))
	return nil
}

func (r *fakeReader) Ack(_ context.Context, seq uint64) error {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	what := "ack"
	if r.name != "archive" {
		what = "ack of replay"
	}
	err := r.log.call(what, seq)
	if err == nil {
		r.acked = seq
	}
	return err
}

func (r *fakeReader) Pending(context.Context) (int, uint64, error) {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	return len(r.log.pages) - int(r.acked), r.acked, r.log.failure("pending")
}

func (r *fakeReader) Seek(_ context.Context, seq uint64) error {
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	err := r.log.call("seek", r.name, " ", seq)
	if err == nil {
		r.acked, r.next = seq, seq
	}
	return err
}

func (r *fakeReader) Close(context.Context) {}

func (l *fakeLog) OpenReader(_ context.Context, name string) (Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failure("open reader"); err != nil {
		return nil, err
	}
	r := &fakeReader{log: l, name: name}
	if before := l.readers[name]; before != nil {
		r.acked, r.next = before.acked, before.acked
	}
	l.readers[name] = r
	return r, nil
}

func (l *fakeLog) DeleteReader(_ context.Context, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.call("delete reader", name)
	if err == nil {
		delete(l.readers, name)
	}
	return err
}

func (l *fakeLog) PutDead(_ context.Context, letter pagelog.DeadLetter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.call("dead", letter.Page, "/", letter.Index); err != nil {
		return err
	}
	letter.Tries = 1
	if i := l.letter(letter); i >= 0 {
		letter.Tries = l.dead[i].Tries
		if l.dead[i].Replay != letter.Replay {
			letter.Tries++
		}
		l.dead = slices.Delete(l.dead, i, i+1)
	}
	l.deadSeq++
	letter.Seq = l.deadSeq
	l.dead = append(l.dead, letter)
	return nil
}

// letter finds the letter of a record; l.mu is held.
func (l *fakeLog) letter(like pagelog.DeadLetter) int {
	return slices.IndexFunc(l.dead, func(d pagelog.DeadLetter) bool { return d.ID() == like.ID() })
}

func (l *fakeLog) DropDead(_ context.Context, letter pagelog.DeadLetter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.call("drop", letter.Page, "/", letter.Index); err != nil {
		return err
	}
	if i := l.letter(letter); i >= 0 && l.dead[i].Seq == letter.Seq {
		l.dead = slices.Delete(l.dead, i, i+1)
	}
	return nil
}

func (l *fakeLog) DeadLetters(_ context.Context, f pagelog.DeadFilter, yield func(pagelog.DeadLetter) error) error {
	l.mu.Lock()
	letters, err := slices.Clone(l.dead), l.failure("dead letters")
	l.mu.Unlock()
	for _, letter := range letters {
		if err == nil && f.Matches(letter) {
			err = yield(letter)
		}
	}
	return err
}

func (l *fakeLog) Page(_ context.Context, seq uint64) (pagelog.Page, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failure("page"); err != nil || seq <= l.trimmed || seq > uint64(len(l.pages)) {
		return pagelog.Page{}, false, err
	}
	return l.pages[seq-1].Page, true, nil
}

func (l *fakeLog) State(_ context.Context, key string) ([]byte, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state[key], l.revs[key], l.failure("state")
}

func (l *fakeLog) PutState(_ context.Context, key string, data []byte, rev uint64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if rev != l.revs[key] {
		return 0, pagelog.ErrConflict
	}
	if err := l.call("put state", key); err != nil {
		return 0, err
	}
	l.state[key] = data
	l.revs[key]++
	return l.revs[key], nil
}

func (l *fakeLog) done() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// fakeOutput keeps what it is given in memory.
type fakeOutput struct {
	place output.Place
	write func(ctx context.Context, b output.Batch) error // may be nil
	open  func() error                                    // may be nil

	mu        sync.Mutex
	documents []string
	batches   []int // documents in each
	closed    bool
}

func (o *fakeOutput) Open(context.Context) (output.Place, error) {
	if o.open != nil {
		if err := o.open(); err != nil {
			return output.Place{}, err
		}
	}
	return o.place, nil
}

func (o *fakeOutput) Write(ctx context.Context, b output.Batch) error {
	var err error
	if o.write != nil {
		err = o.write(ctx, b)
	}
	var refused *output.RefusedError
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range b.Ends {
		o.documents = append(o.documents, string(b.Document(i)))
	}
	o.batches = append(o.batches, len(b.Ends))
	return err
}

func (o *fakeOutput) Close() error {
	o.closed = true
	return nil
}

func (o *fakeOutput) got() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.documents...)
}

// fakeMapper adds what it is told to a record.
type fakeMapper struct{}

func (fakeMapper) AppendSight(dst, record []byte, meta ecs.Meta, _ *ecs.Sight) []byte {
	return append(append(append(dst, meta.Connection...), ' '), record...)
}

func (fakeMapper) Key(record []byte) (k ecs.Key) {
	binary.BigEndian.PutUint64(k.UID[:], uint64(len(record)))
	return k
}

// started is a deliverer that runs.
type started struct {
	*Deliverer
	log  *fakeLog
	out  *fakeOutput
	stop func() error // and wait for the end of Run
}

func start(t *testing.T, l *fakeLog, out *fakeOutput, change ...func(*Options)) started {
	t.Helper()
	opts := Options{
		Name: "archive", Reader: l, Output: out, Log: l,
		Mapper: func(f pagelog.Feed) (Mapper, error) {
			if f != audit {
				return nil, fmt.Errorf("feed %s is not configured", f)
			}
			return fakeMapper{}, nil
		},
	}
	for _, c := range change {
		c(&opts)
	}
	d, err := New(t.Context(), opts)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = stop() })
	return started{d, l, out, stop}
}
