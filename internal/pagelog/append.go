package pagelog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// How long to wait for the server: for one answer, and for any, asking again.
const (
	answerTimeout = 5 * time.Second
	answerLimit   = 30 * time.Second
	decidePause   = 50 * time.Millisecond // before a cluster is asked again what it decided
)

// Codes by which the server refuses a write.
const (
	codeWrongLast   = jetstream.JSErrCodeStreamWrongLastSequence
	codeUnderWay    = jetstream.JSErrCodeStreamWrongLastSequenceConstant // a cluster has not decided yet
	codeNoResources = jetstream.ErrorCode(server.JSInsufficientResourcesErr)
	codeNoStorage   = jetstream.ErrorCode(server.JSStorageResourcesExceededErr)
	codeStoreFailed = jetstream.ErrorCode(server.JSStreamStoreFailedF) // full, or the disk failed
)

// Append writes a page behind the page with the sequence after of its lane
// (0: it is the first) and returns its sequence. newest is the feed's last page,
// of any lane, that the caller knows of: who does not know all of a feed's pages
// can't tell its new records. When it returns without error the page is on disk,
// and what p refers to is the caller's again.
//
// The error is ErrFenced, ErrFull, ErrTooLarge or ErrBroken, and then nothing
// was written; or ErrUnknown. Once the page is under way a cancelled ctx is not obeyed until
// the log has answered, for at most five seconds.
func (l *Log) Append(ctx context.Context, p Page, after, newest uint64) (uint64, error) {
	seq, err := l.append(ctx, &p, after, newest)
	if err != nil {
		return 0, fmt.Errorf("append page of %s %s: %w", p.Feed, p.Lane, err)
	}
	l.note(seq)
	if l.store != nil {
		l.store.wrotePage(seq, after == 0)
	}
	return seq, nil
}

func (l *Log) append(ctx context.Context, p *Page, after, newest uint64) (uint64, error) {
	if err := p.check(); err != nil {
		return 0, err
	}
	buf := scratch.Get().(*[]byte)
	defer putScratch(buf)
	var framed []byte // what the tail keeps, so it is no buffer of the pool
	if l.tail != nil {
		framed = p.appendFramed(make([]byte, 0, p.bodySize()))
		*buf = compress((*buf)[:0], framed)
	} else {
		*buf = p.appendBody((*buf)[:0])
	}

	p.Stored = time.Now().UTC().Round(0)
	msg := nats.NewMsg(subject("pages", p.Feed, p.Lane))
	msg.Header = p.header()
	msg.Header[hdrAfter] = []string{strconv.FormatUint(after, 10)}
	if l.tail != nil {
		return l.tail.write(ctx, l, p, msg, framed, *buf, after, newest)
	}
	part := func(msg *nats.Msg) (uint64, error) { return l.publish(ctx, l.pages, msg) }
	page := func(msg *nats.Msg) (uint64, error) {
		return l.publish(ctx, l.pages, msg, jetstream.WithExpectLastSequenceForSubject(newest, lanes(p.Feed)))
	}
	return l.writeParts(ctx, msg, *buf, part, page)
}

// writeParts writes a page with the given body, in parts if it is large. The
// parts come first, so that the page commits them by naming them.
func (l *Log) writeParts(ctx context.Context, msg *nats.Msg, body []byte, part, page func(*nats.Msg) (uint64, error)) (seq uint64, err error) {
	if len(body) <= l.partSize {
		msg.Data = body
		return page(msg)
	}
	var parts []uint64
	for rest := body; len(rest) > 0 && err == nil; {
		n := min(len(rest), l.partSize)
		m := nats.NewMsg("parts" + strings.TrimPrefix(msg.Subject, "pages"))
		m.Data, rest = rest[:n], rest[n:]
		if seq, err = part(m); err == nil {
			parts = append(parts, seq)
		}
	}
	if err == nil {
		msg.Header[hdrParts] = []string{strings.Trim(fmt.Sprint(parts), "[]")}
		if seq, err = page(msg); err == nil {
			return seq, nil
		}
	}
	if !errors.Is(err, ErrUnknown) {
		// Best effort: a part left behind takes space and does no harm.
		for _, seq := range parts {
			if l.deleteMsg(context.WithoutCancel(ctx), seq) != nil {
				break
			}
		}
	}
	return 0, err
}

// publish writes one message and returns its sequence, or learns that it was
// not written. An answer that does not come is asked for by publishing the same
// message again: the condition in opts lets at most one of them in, and the id
// in the header tells whether it was one of ours. A part in a cluster has no
// condition; written twice, one of the two is never read.
func (l *Log) publish(ctx context.Context, stream jetstream.Stream, msg *nats.Msg, opts ...jetstream.PublishOpt) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if l.closed() {
		return 0, ErrClosed
	}
	if err := l.out.diskError(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	id := rand.Text()
	msg.Header[hdrID] = []string{id}
	opts = append(opts, jetstream.WithExpectStream(stream.CachedInfo().Config.Name))
	limit := time.Now().Add(l.limit)
	sent := false // a try was not answered, so it may have been written, or be yet
	for {
		seq, err := l.publishOnce(ctx, msg, opts)
		if err == nil {
			return seq, nil
		}
		var refused *jetstream.APIError
		switch {
		case errors.As(err, &refused) && refused.ErrorCode == codeUnderWay:
			// Another write of the subject, perhaps an earlier try of this one.
			if !sent && (ctx.Err() != nil || time.Now().After(limit)) {
				return 0, ErrFenced
			}
			select {
			case <-ctx.Done():
			case <-time.After(decidePause):
			}
		case errors.As(err, &refused) && refused.ErrorCode == codeWrongLast:
			if !sent {
				return 0, ErrFenced
			}
			last, lerr := l.lastOf(ctx, stream, msg.Subject)
			if lerr == nil {
				if last != nil && last.Header.Get(hdrID) == id {
					return last.Sequence, nil
				}
				return 0, ErrFenced
			}
			err = lerr
		case errors.As(err, &refused):
			err = l.refusal(ctx, stream, msg, refused)
			if sent {
				err = fmt.Errorf("%w: %v", ErrUnknown, err)
			}
			return 0, err
		case errors.Is(err, jetstream.ErrNoStreamResponse) && !sent:
			// Nobody was there to take it.
			return 0, fmt.Errorf("log does not answer: %w", err)
		case errors.Is(err, nats.ErrMaxPayload):
			return 0, err
		default:
			sent = true
		}
		if disk := l.out.diskError(); disk != nil {
			return 0, fmt.Errorf("%w: %w: %w", ErrUnknown, ErrBroken, disk)
		}
		if ctx.Err() != nil || time.Now().After(limit) || errors.Is(err, nats.ErrConnectionClosed) {
			return 0, fmt.Errorf("%w: %w", ErrUnknown, err)
		}
	}
}

func (l *Log) publishOnce(ctx context.Context, msg *nats.Msg, opts []jetstream.PublishOpt) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.timeout)
	defer cancel()
	ack, err := l.js.PublishMsg(ctx, msg, opts...)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// refusal tells a full log from a failed disk, for which the server has one
// code.
func (l *Log) refusal(ctx context.Context, stream jetstream.Stream, msg *nats.Msg, refused *jetstream.APIError) error {
	switch refused.ErrorCode {
	case codeNoResources, codeNoStorage:
		return fmt.Errorf("%w: %w", ErrFull, refused)
	case codeStoreFailed:
		info, err := l.info(context.WithoutCancel(ctx), stream)
		if err != nil {
			return fmt.Errorf("%w (and the log's size is unknown: %w)", refused, err)
		}
		most := info.Config.MaxBytes
		if most > 0 && info.State.Bytes+uint64(msg.Size()) > uint64(most) {
			return fmt.Errorf("%d of %d bytes used: %w", info.State.Bytes, most, ErrFull)
		}
	}
	return refused
}

func (l *Log) deleteMsg(ctx context.Context, seq uint64) error {
	_, err := ask(ctx, l, func(ctx context.Context) (struct{}, error) { return struct{}{}, l.pages.DeleteMsg(ctx, seq) })
	return err
}

// Last returns the newest page of a lane, without its records, and whether
// there is one.
func (l *Log) Last(ctx context.Context, f Feed, lane Lane) (Page, bool, error) {
	p, err := l.last(ctx, f, lane)
	if err != nil {
		return Page{}, false, fmt.Errorf("last page of %s %s: %w", f, lane, err)
	}
	if p == nil {
		return Page{}, false, nil
	}
	return p.Page, true, nil
}

func (l *Log) last(ctx context.Context, f Feed, lane Lane) (*stored, error) {
	if err := checkFeed(f); err != nil {
		return nil, err
	}
	if err := checkLane(lane); err != nil {
		return nil, err
	}
	msg, err := l.lastOf(ctx, l.pages, subject("pages", f, lane))
	if err != nil || msg == nil {
		return nil, err
	}
	return l.decode(msg.Subject, msg.Header, msg.Sequence)
}

// lastOf returns the newest message of a subject, nil if there is none.
func (l *Log) lastOf(ctx context.Context, stream jetstream.Stream, subj string) (*jetstream.RawStreamMsg, error) {
	msg, err := ask(ctx, l, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return stream.GetLastMsgForSubject(ctx, subj)
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	return msg, err
}

// decode reads a page's headers.
func (l *Log) decode(subj string, h nats.Header, seq uint64) (*stored, error) {
	p, err := parseHeader(subj, h)
	if err != nil {
		return nil, &DamagedError{Path: l.path, Seq: seq, Problem: "page cannot be read", Err: err}
	}
	p.Seq = seq
	return p, nil
}
