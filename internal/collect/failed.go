package collect

import (
	"context"
	"errors"
	"slices"

	"github.com/trawlsec/trawl/internal/fetch"
)

// failed decides what a failed page of a slice means. nil: the position was
// changed so that reading can go on.
func (l *lane) failed(ctx context.Context, read Slice, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.pos.find(read.id())
	if i < 0 || !l.pos.Slices[i].is(&read) {
		return nil
	}
	var answer *fetch.Error
	if !errors.As(err, &answer) || ctx.Err() != nil {
		return err
	}
	slice := &l.pos.Slices[i]
	next := l.pos.clone()
	next.Slices[i].Fails++
	switch answer.Class {
	case fetch.TooLarge:
		if l.size <= 1 {
			return &Stopped{Feed: l.feed.opts.Feed, Err: err}
		}
		l.smaller()
		next.Slices[i].restart()
	case fetch.Permanent:
		// The product may have forgotten a cursor that is older than a restart;
		// or it goes only so deep into a query, and shorter slices get by.
		switch {
		case slice.Cursor != nil && slice.Walks == 0:
			next.again(i)
		case slice.Cursor != nil && next.cut(i, leastIncomplete):
		case slice.Gap:
			next.giveUp(i, err.Error(), slice.Capped)
		default:
			return &Stopped{Feed: l.feed.opts.Feed, Err: err}
		}
		l.feed.log.Warn("page refused: the slice is read again, in smaller pieces if need be", "since", slice.Since, "until", slice.Until, "error", err)
	case fetch.Forbidden, fetch.Auth:
		return &Stopped{Feed: l.feed.opts.Feed, Err: err}
	default:
		return l.failedAgain(ctx, i, next, answer.Class, err)
	}
	delete(l.walks, slice.id())
	return l.save(ctx, next)
}

// failedAgain notes that the page at hand of the slice at i failed in passing,
// and cuts the slice where that page fails again and again: shorter slices get
// by. A gap is left to the next round, so that it holds up nothing new.
func (l *lane) failedAgain(ctx context.Context, i int, next Position, class fetch.Class, err error) error {
	slice, limit := next.Slices[i], failsBeforeCut
	if slice.Cursor == nil {
		limit = firstBeforeCut
	}
	cut := class != fetch.Throttle && slice.Fails >= limit && next.cut(i, leastIncomplete)
	pieces := 1
	if cut {
		l.feed.log.Warn("slice fails at the same place: cut in two", "since", slice.Since, "until", slice.Until, "error", err)
		delete(l.walks, slice.id())
		pieces = 2
		for k := i; slice.Cursor == nil && k < i+2; k++ { // which may be too long still
			next.Slices[k].Fails = limit - 1
		}
	}
	if slice.Gap {
		next.Gaps = append(next.Gaps, next.Slices[i:i+pieces]...)
		next.Slices = slices.Delete(next.Slices, i, i+pieces)
		next.boundGaps()
		l.feed.log.Warn("gap not read again in this round", "since", slice.Since, "until", slice.Until, "error", err)
		return l.save(ctx, next)
	}
	saved := l.save(ctx, next)
	if cut && slice.Cursor != nil {
		return saved
	}
	return errors.Join(err, saved) // what is left of it waits a little, too
}

// larger doubles the pages that are asked for, up to the configured size.
func (l *lane) larger() { l.size = min(2*l.size, l.feed.opts.PageSize) }

// smaller halves the pages that are asked for.
func (l *lane) smaller() {
	l.size = max(l.size/2, 1)
	l.feed.log.Warn("page larger than http.max_body: asking for smaller ones", "page_size", l.size)
}
