package pagelog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	aheadMessages = 4       // fetched from the server at once, of at most maxPart each
	aheadBytes    = 4 << 20 // of records after which Next returns what it has
)

// Next returns the next pages in log order, at most limit and not many
// megabytes of records, and waits up to wait for the first. None is no error.
// Pages not acknowledged are not returned again until the reader is opened
// anew; what failed is the caller's to repeat.
func (r *Reader) Next(ctx context.Context, limit int, wait time.Duration) ([]*Delivery, error) {
	pages, err := r.nextPages(ctx, limit, wait)
	if err != nil {
		return nil, fmt.Errorf("read log for %q: %w", r.name, err)
	}
	return pages, nil
}

func (r *Reader) nextPages(ctx context.Context, limit int, wait time.Duration) ([]*Delivery, error) {
	r.mu.Lock()
	if r.moved {
		r.cursor.close(ctx)
		r.restart()
	}
	r.mu.Unlock()

	until := time.Now().Add(wait)
	var out []*Delivery
	for size := 0; len(out) < limit && size < aheadBytes; {
		after := r.at
		p, err := r.next(ctx, until)
		if err != nil && len(out) == 0 {
			return nil, err
		}
		if p == nil || err != nil {
			break // an error that lasts comes again
		}
		until = time.Time{} // the first was waited for
		size += p.size
		out = append(out, &Delivery{Page: p.Page, After: after, r: r})
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.moved {
		return nil, nil // SeekTime came in between
	}
	if len(out) > 0 {
		r.delivered = out[len(out)-1].Page.Seq
	}
	return out, nil
}

// next returns the next page, nil if there is none by then.
func (r *Reader) next(ctx context.Context, until time.Time) (*stored, error) {
	for {
		if r.l.closed() {
			return nil, ErrClosed
		}
		var more []message
		var err error
		switch tail := r.l.tail; {
		case len(r.ahead) > 0:
			p, err := r.decode(ctx, r.ahead[0])
			if err != nil {
				return nil, err
			}
			r.at, r.ahead = r.ahead[0].seq, r.ahead[1:]
			if p != nil {
				return p, nil
			}
			continue // it was a part
		case tail != nil:
			e, base, wake := tail.after(r.at)
			if e != nil {
				return r.fromTail(e)
			}
			if wake != nil {
				if !r.wait(ctx, until, wake) {
					return nil, ctx.Err()
				}
				continue
			}
			if more, err = r.fetch(ctx); err == nil && len(more) == 0 {
				r.at = base // no page in between
			}
		default:
			if more, err = r.await(ctx, until); err == nil && len(more) == 0 {
				return nil, nil
			}
		}
		if err != nil {
			return nil, err
		}
		r.ahead = more
	}
}

// wait waits for more pages of an embedded log.
func (r *Reader) wait(ctx context.Context, until time.Time, wake <-chan struct{}) bool {
	left := time.Until(until)
	if left <= 0 {
		return false
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-wake:
		return true
	case <-r.l.done:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

func (r *Reader) fromTail(e *tailPage) (*stored, error) {
	if e.Records == nil {
		if err := r.l.fill(&e.stored, e.body); err != nil {
			return nil, err
		}
	}
	if err := r.seen.check(r.l, e.subj, &e.stored, anywhere); err != nil {
		return nil, err
	}
	r.at = e.Seq
	return &e.stored, nil
}

// aim makes the cursor go on where the reader is.
func (r *Reader) aim(ctx context.Context) {
	if r.cursor.next != r.at+1 {
		r.cursor.close(ctx)
		r.cursor.next = r.at + 1
	}
}

// fetch returns the next messages from the server; none says for certain that
// there were none.
func (r *Reader) fetch(ctx context.Context) ([]message, error) {
	r.aim(ctx)
	return r.cursor.certain(ctx, aheadMessages)
}

// await returns the next messages from the server, waiting for them until then.
func (r *Reader) await(ctx context.Context, until time.Time) ([]message, error) {
	r.aim(ctx)
	more, err := r.cursor.fetch(ctx, aheadMessages)
	if err != nil || len(more) > 0 {
		return more, err
	}
	if time.Until(until) <= 0 {
		return nil, ctx.Err()
	}
	more, err = r.cursor.awaitFor(ctx, time.Until(until))
	if err != nil || len(more) > 0 {
		return more, err
	}
	// Nothing came. Make sure that nothing is there.
	info, err := r.l.info(ctx, r.l.pages)
	if err != nil || info.State.LastSeq <= r.at {
		return nil, err
	}
	return r.fetch(ctx)
}

// decode returns the page of a message; nil if it is only a part of one.
func (r *Reader) decode(ctx context.Context, m message) (*stored, error) {
	if isPart(m.Subject()) {
		return nil, nil
	}
	p, err := r.l.readPage(ctx, m.Subject(), m.Headers(), m.seq, m.Data())
	if err != nil {
		return nil, err
	}
	return p, r.seen.check(r.l, m.Subject(), p, anywhere)
}

// readPage reads a page from its message.
func (l *Log) readPage(ctx context.Context, subj string, h nats.Header, seq uint64, body []byte) (*stored, error) {
	p, err := l.decode(subj, h, seq)
	if err != nil {
		return nil, err
	}
	if len(p.parts) > 0 {
		if body, err = l.joinParts(ctx, p); err != nil {
			return nil, err
		}
	}
	return p, l.fill(p, body)
}

// fill reads a page's records.
func (l *Log) fill(p *stored, body []byte) error {
	if err := p.readBody(body); err != nil {
		return &DamagedError{Path: l.path, Seq: p.Seq, Problem: fmt.Sprintf("page of %s %s", p.Feed, p.Lane), Err: err}
	}
	return nil
}

func isPart(subj string) bool { return strings.HasPrefix(subj, "parts.") }

func (l *Log) getMsg(ctx context.Context, seq uint64, opts ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	return ask(ctx, l, func(ctx context.Context) (*jetstream.RawStreamMsg, error) { return l.pages.GetMsg(ctx, seq, opts...) })
}

func (l *Log) joinParts(ctx context.Context, p *stored) ([]byte, error) {
	var body []byte
	for _, seq := range p.parts {
		msg, err := l.getMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, &DamagedError{Path: l.path, Seq: p.Seq, Problem: fmt.Sprintf("a part of this page, at %d, is gone", seq)}
		}
		if err != nil {
			return nil, err
		}
		body = append(body, msg.Data...)
	}
	return body, nil
}
