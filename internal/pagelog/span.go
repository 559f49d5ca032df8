package pagelog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Span is a stretch of the log and what is in it.
type Span struct {
	After, Through uint64 // sequences: behind the one, up to the other
	Pages, Records int
	First, Last    time.Time // when the first and the last of the pages were put there
}

// Span returns what was put in the log in [since, until), up to the sequence
// most, of one feed or, if that is the zero Feed, of all. A zero until is no
// bound.
func (l *Log) Span(ctx context.Context, since, until time.Time, most uint64, feed Feed) (Span, error) {
	s, err := l.span(ctx, since, until, most, feed)
	if err != nil {
		return Span{}, fmt.Errorf("look for pages in the log: %w", err)
	}
	return s, nil
}

func (l *Log) span(ctx context.Context, since, until time.Time, most uint64, feed Feed) (s Span, err error) {
	if s.After, err = l.seqBefore(ctx, since); err != nil {
		return s, err
	}
	s.Through = uint64(math.MaxUint64)
	if !until.IsZero() {
		if s.Through, err = l.seqBefore(ctx, until); err != nil {
			return s, err
		}
	}
	if s.Through = min(s.Through, most); s.Through <= s.After {
		s.Through = s.After
		return s, nil
	}
	c := &cursor{l: l, headers: true, next: s.After + 1, filter: "pages.>"}
	if feed != (Feed{}) {
		c.filter = feedFilter(feed)
	}
	return s, c.each(ctx, s.Through, func(m message) error {
		p, err := l.decode(m.Subject(), m.Headers(), m.seq)
		if err != nil {
			return err
		}
		if s.Pages == 0 {
			s.First = p.Stored
		}
		s.Pages++
		s.Records += len(p.Hashes)
		s.Last = p.Stored
		return nil
	})
}

// Page returns the page with a sequence, if the log still has it. Its records
// may be shared with readers and must not be changed.
func (l *Log) Page(ctx context.Context, seq uint64) (Page, bool, error) {
	p, err := l.page(ctx, seq)
	if err != nil {
		return Page{}, false, fmt.Errorf("read page %d: %w", seq, err)
	}
	if p == nil {
		return Page{}, false, nil
	}
	return p.Page, true, nil
}

func (l *Log) page(ctx context.Context, seq uint64) (*stored, error) {
	if seq == 0 {
		return nil, nil
	}
	if l.tail != nil {
		switch e, base, _ := l.tail.after(seq - 1); {
		case e != nil && e.Seq != seq, e == nil && seq > base:
			return nil, nil
		case e != nil && e.Records == nil:
			return &e.stored, l.fill(&e.stored, e.body)
		case e != nil:
			return &e.stored, nil
		}
	}
	msg, err := l.getMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && isPart(msg.Subject) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return l.readPage(ctx, msg.Subject, msg.Header, msg.Sequence, msg.Data)
}
