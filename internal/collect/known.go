package collect

import (
	"context"
	"fmt"

	"github.com/trawlsec/trawl/internal/pagelog"
)

// loadIDs rebuilds, from the headers of the feed's pages, which records the
// log has, and which of them the walks under way in the lanes have seen.
func (f *Feed) loadIDs(ctx context.Context, lanes ...*lane) error {
	last := ends{}
	err := f.opts.Log.Headers(ctx, f.opts.Feed, func(p pagelog.Page) error {
		last[p.Lane] = max(last[p.Lane], p.Seq)
		if p.Seq <= f.forget.Load() {
			return nil
		}
		for _, h := range p.Hashes {
			f.known.add(h)
		}
		for _, l := range lanes {
			if l.name == p.Lane {
				l.remember(p)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read ids of feed %s: %w", f.opts.Feed, err)
	}
	f.read, f.unsure, f.ends = f.now(), false, last
	return nil
}

// ends are the last pages of a feed's lanes, by their sequence in the log.
type ends map[pagelog.Lane]uint64

// newest is the last page of all.
func (e ends) newest() (seq uint64) {
	for _, s := range e {
		seq = max(seq, s)
	}
	return seq
}

// freshIDs makes known say what the log has, where that is not certain. Now and
// then it forgets what the log has trimmed away meanwhile, so that a feed that
// runs for long needs no more memory than one just started.
func (f *Feed) freshIDs(ctx context.Context) error {
	if f.opts.MaxAge > 0 && f.now().Sub(f.read) > f.opts.MaxAge/4 {
		f.known, f.unsure = ids{}, true
	}
	if !f.unsure {
		return nil
	}
	if err := f.writeAgain(ctx); err != nil {
		return err
	}
	return f.loadIDs(ctx)
}
