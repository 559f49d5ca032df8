package pagelog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// cursor reads a stream's messages in order, each once, over a consumer of the
// server that acknowledges nothing and may go away at any time: it is then
// made anew behind the last message that came.
type cursor struct {
	l       *Log
	stream  string // "" is that of pages
	filter  string // "" is every subject
	headers bool   // without bodies
	batch   int    // messages fetched at once by each; 0: many
	next    uint64 // the first sequence still wanted

	consumer jetstream.Consumer
	count    uint64 // messages this consumer has delivered
	pending  uint64 // messages behind the last one, as of then
}

// idleConsumer is how long the server keeps a consumer nobody asks.
const idleConsumer = 5 * time.Minute

type message struct {
	jetstream.Msg
	seq uint64
}

// open makes the consumer unless there is one.
func (c *cursor) open(ctx context.Context) error {
	if c.consumer != nil {
		return nil
	}
	consumer, err := c.l.consumer(ctx, cmp.Or(c.stream, pagesName), jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   max(c.next, 1),
		FilterSubject: c.filter,
		HeadersOnly:   c.headers,
	})
	if err != nil {
		return err
	}
	c.consumer, c.count, c.pending = consumer, 0, consumer.CachedInfo().NumPending
	return nil
}

// consumer makes a consumer of a stream that leaves no trace.
func (l *Log) consumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	cfg.AckPolicy = jetstream.AckNonePolicy
	cfg.MemoryStorage = true
	cfg.Replicas = 1
	cfg.InactiveThreshold = idleConsumer
	return ask(ctx, l, func(ctx context.Context) (jetstream.Consumer, error) { return l.js.CreateConsumer(ctx, stream, cfg) })
}

func (l *Log) dropConsumer(ctx context.Context, c jetstream.Consumer) {
	// It would also end by itself.
	_, _ = ask(ctx, l, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, l.js.DeleteConsumer(ctx, c.CachedInfo().Stream, c.CachedInfo().Name)
	})
}

// fetch returns the next messages, at most n, without waiting. None with
// pending above 0 means that this time they could not be had.
func (c *cursor) fetch(ctx context.Context, n int) ([]message, error) {
	return c.pull(ctx, func() (jetstream.MessageBatch, error) { return c.consumer.FetchNoWait(n) })
}

// await returns the next message, waiting for it until ctx is done.
func (c *cursor) await(ctx context.Context) ([]message, error) {
	return c.pull(ctx, func() (jetstream.MessageBatch, error) {
		return c.consumer.Fetch(1, jetstream.FetchContext(ctx))
	})
}

// awaitFor is await for at most d; none in that time is no error.
func (c *cursor) awaitFor(ctx context.Context, d time.Duration) ([]message, error) {
	waiting, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	got, err := c.await(waiting)
	if err != nil && waiting.Err() != nil {
		err = ctx.Err()
	}
	return got, err
}

// certain returns the next messages, about n; none says for certain that there
// were none. The server may be slow: an answer that comes too late looks like
// none, and only a new consumer knows.
func (c *cursor) certain(ctx context.Context, n int) ([]message, error) {
	limit := time.Now().Add(c.l.limit)
	for wait := time.Duration(0); ; wait = min(max(2*wait, time.Second), c.l.timeout) {
		// What comes without a wait would never ask.
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		fresh := c.consumer == nil
		if err := c.open(ctx); err != nil {
			return nil, err
		}
		if fresh && c.pending == 0 {
			return nil, nil
		}
		var got []message
		var err error
		if wait == 0 {
			got, err = c.fetch(ctx, n)
		} else {
			got, err = c.awaitFor(ctx, wait)
		}
		if err != nil || len(got) > 0 {
			return got, err
		}
		c.close(ctx)
		if wait == 0 {
			continue
		}
		if err := c.stuck(ctx); err != nil {
			return nil, err
		}
		if time.Now().After(limit) {
			return nil, fmt.Errorf("no answer from sequence %d on, though the log ends later", c.next)
		}
	}
}

func (c *cursor) pull(ctx context.Context, ask func() (jetstream.MessageBatch, error)) ([]message, error) {
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	batch, err := ask()
	if err != nil {
		c.consumer = nil
		return nil, err
	}
	var got []message
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			return nil, err
		}
		if c.consumer == nil {
			continue // behind a gap; drained so that the batch ends
		}
		if meta.Sequence.Consumer != c.count+1 {
			// One was sent to a request that had given up. Begin again behind
			// the last that came.
			c.consumer = nil
			continue
		}
		c.count, c.pending = meta.Sequence.Consumer, meta.NumPending
		c.next = meta.Sequence.Stream + 1
		got = append(got, message{msg, meta.Sequence.Stream})
	}
	switch err := batch.Error(); {
	case err == nil, errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrNoMessages):
	case ctx.Err() != nil:
		if len(got) == 0 {
			return nil, ctx.Err()
		}
	default:
		c.consumer = nil
		if len(got) == 0 && !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, jetstream.ErrConsumerDeleted) &&
			!errors.Is(err, jetstream.ErrNoHeartbeat) {
			return nil, err
		}
	}
	return got, nil
}

// close tells the server that the consumer is no longer wanted.
func (c *cursor) close(ctx context.Context) {
	if c.consumer != nil {
		c.l.dropConsumer(context.WithoutCancel(ctx), c.consumer)
		c.consumer = nil
	}
}

// stuck looks into why messages that exist do not come: nil if they can be read
// after all.
func (c *cursor) stuck(ctx context.Context) error {
	filter := c.filter
	if filter == "" {
		filter = ">"
	}
	_, err := c.l.getMsg(ctx, max(c.next, 1), jetstream.WithGetMsgSubject(filter))
	var refused *jetstream.APIError
	if err == nil || !errors.As(err, &refused) {
		return err
	}
	info, ierr := c.l.info(ctx, c.l.pages)
	if ierr != nil {
		return ierr
	}
	if info.State.LastSeq < c.next {
		return nil
	}
	return &DamagedError{Path: c.l.path, Seq: c.next, Problem: "the server cannot read this message or one soon after it", Err: err}
}

// each calls yield for every message up to the present end, or to the sequence
// upTo if that comes first.
func (c *cursor) each(ctx context.Context, upTo uint64, yield func(message) error) error {
	defer c.close(ctx)
	for {
		if err := c.open(ctx); err != nil {
			return err
		}
		if c.pending == 0 || c.next > upTo {
			return nil
		}
		batch, err := c.certain(ctx, cmp.Or(c.batch, 256))
		if err != nil || len(batch) == 0 {
			return err
		}
		for _, m := range batch {
			if m.seq > upTo {
				return nil
			}
			if err := yield(m); err != nil {
				return err
			}
		}
	}
}

// chain checks that each page follows the page it was published behind.
type chain map[string]uint64 // the last sequence seen of each subject

// check takes the next page of a subject. The predecessor of the first may be
// gone, up to the sequence trimmed.
func (c chain) check(l *Log, subj string, p *stored, trimmed uint64) error {
	if prev, ok := c[subj]; ok && p.after != prev || !ok && p.after > trimmed {
		return &DamagedError{Path: l.path, Seq: p.Seq, Problem: fmt.Sprintf(
			"this page of %s %s follows one at %d, which is gone", p.Feed, p.Lane, p.after)}
	}
	c[subj] = p.Seq
	return nil
}

// anywhere is the bound of a check that begins in the middle.
const anywhere = ^uint64(0)

// Headers yields every page of a feed, oldest first, all lanes, without
// records. An error of yield ends it and is returned as it is.
func (l *Log) Headers(ctx context.Context, f Feed, yield func(Page) error) error {
	if err := checkFeed(f); err != nil {
		return err
	}
	var theirs error
	seen := chain{}
	c := &cursor{l: l, headers: true, filter: feedFilter(f)}
	err := c.each(ctx, ^uint64(0), func(m message) error {
		p, err := l.decode(m.Subject(), m.Headers(), m.seq)
		if err != nil {
			return err
		}
		if err := seen.check(l, m.Subject(), p, anywhere); err != nil {
			return err
		}
		theirs = yield(p.Page)
		return theirs
	})
	if err != nil && theirs == nil {
		return fmt.Errorf("read headers of %s: %w", f, err)
	}
	return err
}

// Pages yields the pages of a feed behind a sequence, oldest first, all lanes,
// with their records, which are the callee's. An error of yield ends it and is
// returned as it is.
func (l *Log) Pages(ctx context.Context, f Feed, after uint64, yield func(Page) error) error {
	if err := checkFeed(f); err != nil {
		return err
	}
	var theirs error
	c := &cursor{l: l, batch: aheadMessages, filter: feedFilter(f), next: after + 1}
	err := c.each(ctx, ^uint64(0), func(m message) error {
		p, err := l.readPage(ctx, m.Subject(), m.Headers(), m.seq, m.Data())
		if err != nil {
			return err
		}
		theirs = yield(p.Page)
		return theirs
	})
	if err != nil && theirs == nil {
		return fmt.Errorf("read pages of %s: %w", f, err)
	}
	return err
}

// feedFilter are the subjects of a feed's pages.
func feedFilter(f Feed) string {
	return "pages." + escape(f.Connection, false) + "." + escape(f.Source, false) + ".*"
}

// verifyPages reads the headers of all pages: each must be readable, its
// predecessor there unless trimmed, and its parts too.
func (l *Log) verifyPages(ctx context.Context, trimmed uint64) error {
	seen, parts := chain{}, map[uint64]bool{}
	c := &cursor{l: l, headers: true}
	return c.each(ctx, ^uint64(0), func(m message) error {
		if isPart(m.Subject()) {
			parts[m.seq] = true
			return nil
		}
		p, err := l.decode(m.Subject(), m.Headers(), m.seq)
		if err != nil {
			return err
		}
		for _, seq := range p.parts {
			if !parts[seq] {
				return &DamagedError{Path: l.path, Seq: p.Seq, Problem: fmt.Sprintf("a part of this page, at %d, is gone", seq)}
			}
			delete(parts, seq)
		}
		return seen.check(l, m.Subject(), p, trimmed)
	})
}
