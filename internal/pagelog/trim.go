package pagelog

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Trim removes pages stored before `before` that every reader has acknowledged,
// but never the last page of a feed's lane, which holds its position. While the
// log knows no reader it removes nothing. It may be stopped by ctx and goes on
// the next time.
func (l *Log) Trim(ctx context.Context, before time.Time) error {
	if err := l.trim(ctx, before); err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	return nil
}

func (l *Log) trim(ctx context.Context, before time.Time) error {
	info, err := l.info(ctx, l.pages, jetstream.WithSubjectFilter(">"))
	if err != nil || info.State.Msgs == 0 {
		return err
	}
	upTo, err := l.seqBefore(ctx, before)
	if err != nil {
		return err
	}
	readers, err := l.Readers(ctx)
	if err != nil {
		return err
	}
	if len(readers) == 0 {
		return nil
	}
	for _, name := range readers {
		pos, _, err := l.position(ctx, name)
		if err != nil {
			return err
		}
		upTo = min(upTo, pos.Seq)
	}
	if upTo < info.State.FirstSeq {
		return nil
	}

	if l.store != nil {
		if err := l.store.trimming(upTo); err != nil {
			return err
		}
		l.tail.forget(upTo)
	}
	keep, err := l.keep(ctx, info, upTo)
	if err != nil {
		return err
	}
	if len(keep) == 0 {
		return l.purge(ctx, upTo)
	}
	// Up to the first one kept the server drops whole blocks; between those kept
	// it can only delete one by one.
	first := uint64(math.MaxUint64)
	for seq := range keep {
		first = min(first, seq)
	}
	if err := l.purge(ctx, first-1); err != nil {
		return err
	}
	c := &cursor{l: l, headers: true, next: first}
	return c.each(ctx, upTo, func(m message) error {
		if keep[m.seq] {
			return nil
		}
		if err := l.deleteMsg(ctx, m.seq); err != nil {
			return fmt.Errorf("delete %d: %w", m.seq, err)
		}
		return nil
	})
}

func (l *Log) purge(ctx context.Context, upTo uint64) error {
	if upTo == 0 {
		return nil
	}
	if l.closed() {
		return ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, l.limit) // it may have many files to remove
	defer cancel()
	return l.pages.Purge(ctx, jetstream.WithPurgeSequence(upTo+1))
}

// keep returns the sequences up to upTo that must stay: last pages of their
// subject with their parts, and parts whose page is not up to upTo, or not
// there yet.
func (l *Log) keep(ctx context.Context, info *jetstream.StreamInfo, upTo uint64) (map[uint64]bool, error) {
	keep := map[uint64]bool{}
	anyParts := false
	for subj := range info.State.Subjects {
		if isPart(subj) {
			anyParts = true
			continue
		}
		msg, err := l.lastOf(ctx, l.pages, subj)
		if err != nil {
			return nil, err
		}
		if msg != nil && msg.Sequence <= upTo {
			keep[msg.Sequence] = true
		}
	}
	if !anyParts {
		return keep, nil
	}

	loose := map[Feed]map[Lane][]uint64{} // parts seen since the last page of their subject
	c := &cursor{l: l, headers: true, next: info.State.FirstSeq}
	err := c.each(ctx, upTo, func(m message) error {
		kind, f, lane, err := parseSubject(m.Subject())
		if err != nil {
			return err
		}
		if loose[f] == nil {
			loose[f] = map[Lane][]uint64{}
		}
		if kind == "parts" {
			loose[f][lane] = append(loose[f][lane], m.seq)
			return nil
		}
		loose[f][lane] = nil
		if !keep[m.seq] {
			return nil
		}
		p, err := l.decode(m.Subject(), m.Headers(), m.seq)
		if err != nil {
			return err
		}
		for _, seq := range p.parts {
			keep[seq] = true
		}
		return nil
	})
	for _, lanes := range loose {
		for _, seqs := range lanes {
			for _, seq := range seqs {
				keep[seq] = true
			}
		}
	}
	return keep, err
}
