package observe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/trawlsec/trawl/internal/pagelog"
)

// counted counts a page that an output has shown, after those before it.
func (o *Observer) counted(ctx context.Context, t *Tally) error {
	switch {
	case t.seq <= o.at:
		return nil
	case t.after <= o.at:
		return o.count(ctx, t)
	}
	for o.at < t.seq {
		if more, err := o.read(ctx, time.Second); err != nil || !more {
			return err
		}
	}
	return nil
}

// read counts pages that nobody has shown, and tells whether there were any.
func (o *Observer) read(ctx context.Context, wait time.Duration) (bool, error) {
	if o.at > o.ahead { // what is acknowledged need not be read
		if err := o.save(ctx); err != nil {
			return false, err
		}
	}
	pages, err := o.reader.Next(ctx, readPages, wait)
	if err != nil {
		if ctx.Err() != nil {
			return false, nil // run sees that it is to end
		}
		return false, fmt.Errorf("observe: %w", err)
	}
	for _, d := range pages {
		o.ahead = d.Page.Seq
		if d.Page.Seq <= o.at {
			continue
		}
		p, err := o.plan(d.Page.Feed)
		if err != nil { // it is no longer configured: nobody can say what its records are
			o.moved(d.Page.Seq)
			continue
		}
		t, err := newTally(p, &d.Page, d.After)
		if err != nil {
			return false, &pagelog.DamagedError{Seq: d.Page.Seq, Problem: "position of a page", Err: err}
		}
		t.read(&d.Page)
		if err := o.count(ctx, t); err != nil {
			return false, err
		}
	}
	return len(pages) > 0, nil
}

// count adds a page to its feed, unless it is there.
func (o *Observer) count(ctx context.Context, t *Tally) error {
	o.mu.Lock()
	k := o.feeds[t.feed]
	o.mu.Unlock()
	if k == nil {
		k = &kept{Feed: newFeed(t.feed.Connection, t.feed.Source)}
	}
	if t.seq <= k.Seq {
		o.moved(t.seq)
		return nil
	}
	if t.standing.Forgotten > k.Forgotten {
		return o.anew(ctx, k, t)
	}
	o.mu.Lock()
	k.merge(t)
	k.dirty = true
	o.feeds[t.feed] = k
	o.mu.Unlock()
	o.moved(t.seq)
	t.release()
	return nil
}

// anew begins the counts of a feed again that was reset: all that it had is
// collected again. Pages of large answers have no position, so some may have
// been counted before it was known: all since the reset are read again.
func (o *Observer) anew(ctx context.Context, k *kept, t *Tally) error {
	f := newFeed(k.Connection, k.Source)
	f.Forgotten, f.Notes = t.standing.Forgotten, slices.Clone(k.Notes)
	if k.Records > 0 {
		f.note(t.fetched, "the feed was reset, so the counts began anew; there were %d records before", k.Records)
	}
	reached := errors.New("reached")
	err := o.opts.Log.Pages(ctx, t.feed, f.Forgotten, func(page pagelog.Page) error {
		if page.Seq > t.seq {
			return reached
		}
		again, err := newTally(t.plan, &page, 0)
		if err != nil {
			return err
		}
		again.read(&page)
		f.merge(again)
		again.release()
		return nil
	})
	if err != nil && !errors.Is(err, reached) {
		return fmt.Errorf("observe: %w", err)
	}
	f.Seq = t.seq
	o.mu.Lock()
	o.feeds[t.feed] = &kept{Feed: f, rev: k.rev, dirty: true}
	o.mu.Unlock()
	o.moved(t.seq)
	return nil
}

// moved notes that all pages up to seq are counted.
func (o *Observer) moved(seq uint64) {
	o.at = max(o.at, seq)
	if o.due.IsZero() {
		o.due = time.Now().Add(o.opts.Save)
	}
}
