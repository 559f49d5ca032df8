package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	catalogfiles "github.com/trawlsec/trawl/catalog"
	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/pagelog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeLog is a log in memory. It is shared by observers that live one after the
// other; each looks at it through a session, which may be cut.
type fakeLog struct {
	mu      sync.Mutex
	pages   []pagelog.Page
	trimmed uint64 // pages up to it are gone
	states  map[string]entry
	rev     uint64
	readers map[string]uint64
	read    int // pages that readers were given
}

type entry struct {
	data []byte
	rev  uint64
}

func newLog() *fakeLog { return &fakeLog{states: map[string]entry{}, readers: map[string]uint64{}} }

var audit = pagelog.Feed{Connection: "wiz-prod", Source: "audit"}

// began is when the pages of tests begin.
var began = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// add appends a page of records of an action, a minute after one another.
func (l *fakeLog) add(lane pagelog.Lane, position string, actions ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq := uint64(len(l.pages) + 1)
	p := pagelog.Page{Feed: audit, Lane: lane, Seq: seq, Fetched: began.Add(time.Duration(seq) * time.Hour)}
	p.Stored, p.Since, p.FirstTime = p.Fetched, p.Fetched.Add(-2*time.Hour), p.Fetched.Add(-time.Hour)
	if position != "" {
		p.Position = []byte(position)
	}
	for i, action := range actions {
		at := p.Fetched.Add(-time.Hour + time.Duration(i)*time.Minute)
		p.Records = append(p.Records, fmt.Appendf(nil, `{"id":"%d-%d","action":"%s","timestamp":"%s","user":{"id":"u","name":"ada"},"sourceIP":"198.51.100.7"}`, seq, i, action, at.Format(time.RFC3339)))
	}
	l.pages = append(l.pages, p)
}

// following is the position of a page of the live lane in a later round.
const following = `{"rev":2,"floor":"2026-11-01T00:00:00Z","round":"2026-11-01T06:00:00Z","watermark":"2026-11-01T06:00:00Z","counts":{}}`

// session is an observer's view of a log. Before and after each write it calls
// step, whose error means that the process is no more: nothing works then.
type session struct {
	*fakeLog
	step func(what string) error
	mu   sync.Mutex
	dead error
}

func (s *session) cut(what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead == nil && s.step != nil {
		s.dead = s.step(what)
	}
	return s.dead
}

// write does a write between two steps.
func (s *session) write(what string, do func() error) error {
	if err := s.cut("before " + what); err != nil {
		return err
	}
	s.fakeLog.mu.Lock()
	err := do()
	s.fakeLog.mu.Unlock()
	if err != nil {
		return err
	}
	return s.cut("after " + what)
}

func (s *session) OpenReader(_ context.Context, name string) (PageReader, error) {
	var done uint64
	err := s.write("open reader", func() error {
		if _, ok := s.readers[name]; !ok {
			s.readers[name] = 0
		}
		done = s.readers[name]
		return nil
	})
	return &fakeReader{s: s, name: name, at: done}, err
}

func (s *session) Readers(context.Context) ([]string, error) {
	s.fakeLog.mu.Lock()
	defer s.fakeLog.mu.Unlock()
	return slices.Collect(maps.Keys(s.readers)), nil
}

func (s *session) DeleteReader(_ context.Context, name string) error {
	return s.write("delete reader", func() error { delete(s.readers, name); return nil })
}

func (s *session) Stats(context.Context) (pagelog.Stats, error) {
	s.fakeLog.mu.Lock()
	defer s.fakeLog.mu.Unlock()
	return pagelog.Stats{FirstSeq: s.trimmed + 1, LastSeq: uint64(len(s.pages))}, nil
}

func (s *session) Pages(_ context.Context, f pagelog.Feed, after uint64, yield func(pagelog.Page) error) error {
	s.fakeLog.mu.Lock()
	pages := slices.Clone(s.pages[max(after, s.trimmed):])
	s.fakeLog.mu.Unlock()
	for _, p := range pages {
		if p.Feed == f {
			if err := yield(p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *session) Keys(_ context.Context, prefix string) ([]string, error) {
	s.fakeLog.mu.Lock()
	defer s.fakeLog.mu.Unlock()
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(s.states)), func(k string) bool { return !strings.HasPrefix(k, prefix) })
	return keys, nil
}

func (s *session) State(_ context.Context, key string) ([]byte, uint64, error) {
	s.fakeLog.mu.Lock()
	defer s.fakeLog.mu.Unlock()
	e := s.states[key]
	return e.data, e.rev, nil
}

func (s *session) PutState(_ context.Context, key string, data []byte, rev uint64) (next uint64, err error) {
	err = s.write("put "+key, func() error {
		if s.states[key].rev != rev {
			return pagelog.ErrConflict
		}
		s.rev++
		next = s.rev
		s.states[key] = entry{slices.Clone(data), next}
		return nil
	})
	return next, err
}

// fakeReader reads as a *pagelog.Reader does.
type fakeReader struct {
	s    *session
	name string
	at   uint64
}

func (r *fakeReader) Next(ctx context.Context, limit int, wait time.Duration) ([]*pagelog.Delivery, error) {
	r.s.fakeLog.mu.Lock()
	r.at = max(r.at, r.s.trimmed)
	pages := r.s.pages[r.at:]
	var out []*pagelog.Delivery
	for _, p := range pages[:min(limit, len(pages))] {
		out = append(out, &pagelog.Delivery{Page: p, After: r.at})
		r.at = p.Seq
	}
	r.s.read += len(out)
	r.s.fakeLog.mu.Unlock()
	if len(out) == 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return out, nil
}

func (r *fakeReader) set(seq uint64) error {
	return r.s.write("acknowledge", func() error { r.s.readers[r.name] = seq; return nil })
}

func (r *fakeReader) Ack(_ context.Context, seq uint64) error {
	if seq > r.at {
		return errors.New("not delivered")
	}
	return r.set(seq)
}

func (r *fakeReader) Seek(_ context.Context, seq uint64) error {
	r.at = seq
	return r.set(seq)
}

func (r *fakeReader) Pending(context.Context) (int, uint64, error) {
	r.s.fakeLog.mu.Lock()
	defer r.s.fakeLog.mu.Unlock()
	done := r.s.readers[r.name]
	return len(r.s.pages) - int(done), done, nil
}

func (r *fakeReader) Close(context.Context) {}

// source is Wiz's audit log.
var source = sync.OnceValues(func() (*catalog.Source, error) {
	c, err := catalog.Load(catalogfiles.FS)
	if err != nil {
		return nil, err
	}
	return c.Source("wiz/audit")
})

// observer makes an observer of a log, which saves after each page unless o says
// otherwise.
func observer(s Log, o Options) *Observer {
	o.Log, o.Logger = s, slog.New(slog.DiscardHandler)
	if o.Source == nil {
		o.Source = func(pagelog.Feed) (*catalog.Source, error) { return source() }
	}
	if o.Save == 0 {
		o.Save = time.Nanosecond
	}
	return New(o)
}

// show shows pages as an output does that had those up to after.
func show(t *testing.T, o *Observer, l *fakeLog, after uint64) {
	t.Helper()
	src, err := source()
	if err != nil {
		t.Fatal(err)
	}
	m, err := ecs.Compile(src, ecs.WithSight())
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	pages := slices.Clone(l.pages[after:])
	l.mu.Unlock()
	for _, p := range pages {
		tally := o.Show(&pagelog.Delivery{Page: p, After: after})
		after = p.Seq
		var s ecs.Sight
		for _, record := range p.Records {
			m.AppendSight(nil, record, ecs.Meta{}, &s)
			tally.Add(&s)
		}
		tally.End()
	}
}
