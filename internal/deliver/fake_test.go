package deliver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/output"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// fakeLog is a log in memory with one reader.
type fakeLog struct {
	mu    sync.Mutex
	pages []*pagelog.Delivery
	next  int // of pages, for Next
	acked uint64
	grown chan struct{}
	fail  func(call string) error // may be nil
	dead  []pagelog.DeadLetter
	calls []string // ack 3, dead 3/1
}

var audit = pagelog.Feed{Connection: "wiz-prod", Source: "audit"}

// newLog holds n pages of the given number of records.
func newLog(n, records int) *fakeLog {
	l := &fakeLog{grown: make(chan struct{})}
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

func (l *fakeLog) Next(ctx context.Context, limit int, wait time.Duration) ([]*pagelog.Delivery, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		l.mu.Lock()
		if err := l.failure("next"); err != nil {
			l.mu.Unlock()
			return nil, err
		}
		if n := min(limit, len(l.pages)-l.next); n > 0 {
			l.next += n
			l.mu.Unlock()
			return l.pages[l.next-n : l.next], nil
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

func (l *fakeLog) Ack(_ context.Context, seq uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failure("ack"); err != nil {
		return err
	}
	l.calls = append(l.calls, fmt.Sprint("ack ", seq))
	l.acked = seq
	return nil
}

func (l *fakeLog) Pending(context.Context) (int, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pages) - int(l.acked), l.acked, l.failure("pending")
}

func (l *fakeLog) PutDead(_ context.Context, letter pagelog.DeadLetter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failure("dead"); err != nil {
		return err
	}
	l.calls = append(l.calls, fmt.Sprintf("dead %d/%d", letter.Page, letter.Index))
	l.dead = append(l.dead, letter)
	return nil
}

func (l *fakeLog) done() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// fakeOutput keeps what it is given in memory.
type fakeOutput struct {
	last  uint64
	write func(ctx context.Context, b output.Batch) error // may be nil
	open  func() error                                    // may be nil

	mu        sync.Mutex
	documents []string
	batches   []int // documents in each
	closed    bool
}

func (o *fakeOutput) Open(context.Context) (uint64, error) {
	if o.open != nil {
		if err := o.open(); err != nil {
			return 0, err
		}
	}
	return o.last, nil
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

func (fakeMapper) Append(dst, record []byte, meta ecs.Meta) []byte {
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
		Name: "archive", Reader: l, Output: out, Dead: l,
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
	d := New(opts)
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
