package collect

import (
	"context"
	"errors"
	"fmt"

	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// commit writes the new records with the position behind them; without new
// records a position of which only the cursor has moved is written now and then.
func (l *lane) commit(ctx context.Context, read Slice, w *walk, page *fetch.Page, b batch, next Position, walking bool) error {
	whole := l == l.feed.snapshot
	if whole {
		if err := l.list(ctx, page, b.entries, &next); err != nil {
			return err
		}
	}
	if len(b.page.Records) == 0 {
		if l.unsaved++; walking && l.unsaved < mostUnsaved && !whole {
			l.pos = next
		} else if err := l.save(ctx, next); err != nil {
			return err
		}
	} else {
		b.page.Since, b.page.Until = read.Since, read.Until
		if err := l.appendAll(ctx, b.page, next); err != nil {
			return err
		}
		l.feed.late(b.lateness)
	}
	if walking {
		for _, h := range b.met {
			w.met.add(h)
		}
		now, _ := next.slice(read.id())
		w.cursors[string(now.Cursor)] = struct{}{}
	} else {
		delete(l.walks, read.id())
	}
	for _, e := range b.entries {
		l.feed.whole.seen.add(e.mark())
	}
	l.publish()
	return nil
}

// appendAll writes a page with the position behind it. A page of more records
// than the log takes at once is written in parts, of which only the last has
// the new position: whoever begins again between two of them reads the page
// once more, and knows the records it has.
func (l *lane) appendAll(ctx context.Context, p pagelog.Page, next Position) error {
	for len(p.Records) > pagelog.MaxRecords {
		part, here := p, l.pos.clone()
		part.Records, p.Records = p.Records[:pagelog.MaxRecords], p.Records[pagelog.MaxRecords:]
		part.Hashes, p.Hashes = p.Hashes[:pagelog.MaxRecords], p.Hashes[pagelog.MaxRecords:]
		here.Counts.Records += int64(len(part.Records))
		if err := l.appendPart(ctx, part, here); err != nil {
			return err
		}
		next.Rev = l.pos.Rev
		next.Counts.Pages = l.pos.Counts.Pages
	}
	return l.appendPart(ctx, p, next)
}

func (l *lane) appendPart(ctx context.Context, p pagelog.Page, next Position) error {
	next.Rev++
	next.Counts.Pages++
	position, err := next.encodeWithin(pagelog.MaxPosition)
	if err != nil {
		return err
	}
	p.Position = position
	seq, err := l.append(ctx, p)
	if err != nil {
		return err
	}
	l.seq, l.pos, l.unsaved = seq, next, 0
	for _, h := range p.Hashes {
		l.feed.known.add(h)
	}
	l.feed.delivered(l, p, seq)
	return nil
}

// append writes one page. It is refused unless the feed knows every page that
// the log has of it, of whatever lane and by whatever process: so no record
// comes in twice, even while two processes both believe that the feed is theirs.
// When the log is full the error is pagelog.ErrFull, and nothing was written.
func (l *lane) append(ctx context.Context, p pagelog.Page) (uint64, error) {
	hold, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	f := l.feed
	newest := f.ends.newest()
	seq, err := uint64(0), pagelog.ErrFenced
	if l.seq == f.ends[l.name] { // else its position is from before a page that another process wrote
		seq, err = f.opts.Log.Append(hold, p, l.seq, newest)
	}
	if err != nil {
		if !errors.Is(err, pagelog.ErrFull) {
			l.stale, f.unsure = true, true
			f.whole, f.unlisted = nil, unlisted{}
			if errors.Is(err, pagelog.ErrUnknown) {
				f.unanswered = newUnanswered(p, l.seq, newest)
			}
		}
		return 0, fmt.Errorf("commit page of feed %s: %w", f.opts.Feed, err)
	}
	f.ends[l.name] = seq
	return seq, nil
}
