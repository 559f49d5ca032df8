package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

const (
	commitTimeout = 30 * time.Second // for one write to the log
	pageGrace     = 4 * time.Second  // how long a page in hand may take once stopping was asked for
	fullRetry     = time.Second      // between two tries to write to a full log

	walksBeforeCut  = 2                    // a slice that stays short of its total is walked so often again before it is cut
	leastCapped     = 2 * time.Millisecond // slices under the product's cap are not cut smaller
	leastIncomplete = time.Second          // nor, for other reasons, than this
	mostEmptyPages  = 200                  // in a row, in one walk
	mostRepeats     = 50                   // pages in a row, in one walk, with nothing that it had not met
	mostShort       = 150                  // walks of a slice and what it is cut into that end before their slice does
	failsBeforeCut  = 2                    // a slice that fails so often at the same page is cut,
	firstBeforeCut  = 3                    // and if that is its first page, so often
	mostUnsaved     = 20                   // pages without new records before the position is written nevertheless
)

// shortWalks counts walks that ended before their slice did, by the slice that
// they were cut from.
type shortWalks map[sliceID]int

// root is the counted slice that another was cut from, or that slice itself.
func (w shortWalks) root(id sliceID) sliceID {
	for r := range w {
		if r.field == id.field && r.since <= id.since && id.until <= r.until {
			return r
		}
	}
	return id
}

// step reads one page of a slice, moves the position accordingly and commits
// both. A slice that is no longer there, or was moved meanwhile, is left alone.
func (l *lane) step(ctx context.Context, at sliceID) error {
	l.mu.Lock()
	err := l.fresh(ctx)
	i := l.pos.find(at)
	if err != nil || i < 0 {
		l.mu.Unlock()
		return err
	}
	slice, size := l.pos.Slices[i], l.size
	if l == l.feed.snapshot {
		l.feed.commit.Lock()
		err := l.resumeWhole(ctx)
		l.feed.commit.Unlock()
		if err != nil {
			l.mu.Unlock()
			return err
		}
	}
	if slice.Gap {
		if l.gapRead && l.feed.now().Sub(l.began) >= l.feed.opts.Interval { // the next round is due
			defer l.mu.Unlock()
			next := l.pos.clone()
			next.leaveGaps()
			return l.save(ctx, next)
		}
		l.gapRead = true
	}
	l.mu.Unlock()

	hold, release := withGrace(ctx, pageGrace)
	page, err := l.feed.opts.Fetcher.Page(hold, l.request(slice, size))
	release()
	if err != nil {
		return l.failed(ctx, slice, err)
	}
	defer page.Release()
	err = l.withRoom(ctx, func() error { return l.digest(ctx, slice, page) })
	if err == nil {
		l.feed.flush(ctx, mostUnlisted)
	}
	return err
}

// request asks for a page of a slice.
func (l *lane) request(s Slice, size int) fetch.Request {
	opts := l.feed.opts
	r := fetch.Request{
		Source: opts.Source,
		Cursor: s.Cursor,
		Size:   size,
		Filter: opts.Filter,
		Low:    l != l.feed.main(),
		Look:   opts.Keyer.KeyPlan(),
		Known:  l.has,
	}
	if l == l.feed.snapshot {
		r.Field = opts.Source.Snapshot.Field
	} else {
		r.Field = opts.Source.Window.Fields[s.Field]
	}
	if !s.Until.IsZero() { // it is a stretch of time
		slack := opts.Source.Window.Slack.Std()
		r.Since, r.Until = s.Since.Add(-slack), s.Until.Add(slack)
	}
	return r
}

// withRoom does something that writes to the log, again and again while the log
// is full.
func (l *lane) withRoom(ctx context.Context, write func() error) error {
	for told := false; ; told = true {
		err := write()
		switch {
		case !errors.Is(err, pagelog.ErrFull):
			if told {
				l.feed.waited(err == nil)
			}
			return err
		case !told:
			l.feed.log.Warn("feed waits", "lane", l.name, "reason", fullReason)
		}
		// Nothing is held while there is no room, so that commands are carried out.
		l.feed.noRoom(!told)
		timer := time.NewTimer(fullRetry)
		select {
		case <-ctx.Done():
			timer.Stop()
			l.feed.waited(false)
			return err
		case <-timer.C:
		}
		if l.feed.paused.Load() { // the page is read again later
			l.feed.waited(false)
			return nil
		}
	}
}

// has tells whether a record need not be written, since it was before.
func (l *lane) has(record []byte, found [][]byte) bool {
	hash := l.feed.opts.Keyer.KeyOf(record, found).Hash()
	l.feed.commit.Lock()
	defer l.feed.commit.Unlock()
	return l.holds(hash)
}

// holds is has for a record's hash; commit is held.
func (l *lane) holds(hash uint64) bool {
	if l != l.feed.snapshot {
		return l.feed.known.has(hash)
	}
	return l.feed.whole != nil && l.feed.whole.holds(hash)
}

// digest moves the position by a page of a slice and commits both, unless the
// slice was moved meanwhile. When the log is full nothing has changed.
func (l *lane) digest(ctx context.Context, slice Slice, page *fetch.Page) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.pos.find(slice.id())
	if i < 0 || !l.pos.Slices[i].is(&slice) {
		return nil
	}
	w := l.walkOf(&slice)
	l.feed.commit.Lock()
	defer l.feed.commit.Unlock()
	if err := l.feed.freshIDs(ctx); err != nil {
		return err
	}
	next := l.pos.clone()
	batch := l.pick(page, w, &next)
	short, empty, repeats := maps.Clone(l.short), w.empty, w.repeats
	if err := l.move(&next, i, w, page, len(batch.met)); err != nil {
		return err
	}
	if err := l.commit(ctx, slice, w, page, batch, next); err != nil {
		l.short, w.empty, w.repeats = short, empty, repeats
		return err
	}
	if l == l.feed.main() {
		l.feed.round.note(page, len(batch.met), batch.newest)
	}
	return nil
}

// batch is what a page holds that the log does not.
type batch struct {
	page     pagelog.Page
	newest   time.Time       // event time, of all records
	lateness []time.Duration // of the new records
	met      []uint64        // hashes of the records that the walk had not met, new or known; in a whole reading, of their ids
	entries  []entry         // in a whole reading, what its roll lacks
}

// pick separates the page's new records from the known ones and counts both.
func (l *lane) pick(page *fetch.Page, w *walk, next *Position) batch {
	b := batch{page: pagelog.Page{
		Feed:    l.feed.opts.Feed,
		Lane:    l.name,
		Fetched: page.Fetched,
		Hashes:  make([]uint64, 0, len(page.Records)),
		Records: make([][]byte, 0, len(page.Records)),
	}}
	// What the first round of a feed and a backfill find was made before anyone
	// looked: it says nothing about how late records become visible.
	catchingUp := l.name == pagelog.Backfill || l.name == pagelog.Push || l.name == pagelog.Live && next.Round.Equal(next.Floor)
	whole := l.feed.whole
	if l != l.feed.snapshot {
		whole = nil
	}
	var inPage, idsInPage hashes
	inPage.grow(2 * len(page.Records))
	for i, record := range page.Records {
		key := l.feed.opts.Keyer.KeyOf(record, page.Found(i))
		h := key.Hash()
		b.newest = later(b.newest, key.Time)
		repeated, held := !inPage.add(h), l.holds(h)
		mark, first := h, !repeated
		if whole != nil {
			e := newEntry(key)
			mark = e.mark()
			first = idsInPage.add(mark)
			if seen := whole.seen.has(mark); !repeated && !(seen && held) {
				b.entries = append(b.entries, e)
				if !seen && first {
					next.Whole.Now.Records++
				}
			}
		}
		if first && !w.met.has(mark) && !(w.resumed && whole != nil && whole.seen.has(mark)) {
			b.met = append(b.met, mark)
		}
		if repeated || held {
			b.page.Counts.Duplicates++
			continue
		}
		if whole != nil && l.unwanted(key, next) {
			continue
		}
		b.page.Hashes = append(b.page.Hashes, h)
		b.page.Records = append(b.page.Records, record)
		if key.Time.IsZero() {
			continue
		}
		if b.page.FirstTime.IsZero() || key.Time.Before(b.page.FirstTime) {
			b.page.FirstTime = key.Time
		}
		b.page.LastTime = later(b.page.LastTime, key.Time)
		if whole != nil {
			if l.cameLate(key, next) {
				b.page.Counts.Late++
			}
			continue
		}
		if !catchingUp {
			b.lateness = append(b.lateness, page.Fetched.Sub(key.Time))
			if l.name == pagelog.Revisit || key.Time.Before(next.Round) {
				b.page.Counts.Late++
			}
		}
	}
	b.page.Counts.Received = len(page.Records)
	next.Counts.Records += int64(len(b.page.Records))
	next.Counts.Duplicates += int64(b.page.Counts.Duplicates)
	next.Counts.Late += int64(b.page.Counts.Late)
	return b
}

// move decides what a page means for the slice at i: read on, done, walk it
// again, cut it, or give it up as a gap.
func (l *lane) move(next *Position, i int, w *walk, page *fetch.Page, distinct int) error {
	s := &next.Slices[i]
	s.Seen += distinct
	s.Fails = 0
	if len(page.Records) > 0 {
		w.empty = 0
	} else {
		w.empty++
	}
	if distinct > 0 || len(page.Records) == 0 {
		w.repeats = 0
	} else {
		w.repeats++
	}
	w.total = max(w.total, page.Total)
	limit := l.feed.opts.Source.Paging.Cap
	capped := page.Capped || limit > 0 && (s.Seen >= limit || page.Total >= limit)
	if capped && next.cut(i, leastCapped) {
		return nil
	}
	_, repeated := w.cursors[string(page.Cursor)]
	switch {
	case page.More && page.Cursor == nil:
		return l.endsShort(next, i, "the API says that there are more pages and gives no cursor for them")
	case page.More && repeated:
		return l.endsShort(next, i, "the API gives the same cursor again")
	case page.More && w.empty >= mostEmptyPages:
		return l.endsShort(next, i, fmt.Sprintf("the API gave %d pages in a row without a record", w.empty))
	case page.More && w.repeats >= mostRepeats:
		return l.endsShort(next, i, fmt.Sprintf("the API gave %d pages in a row with nothing but records that it had given before", w.repeats))
	case page.More:
		s.Cursor = page.Cursor
	case capped:
		next.giveUp(i, fmt.Sprintf("the API yields %d records of a query at most, and these share one moment", cmp.Or(limit, s.Seen)), true)
	case page.Total >= 0 && s.Seen < w.total: // the most: records that left meanwhile move others across the pages
		return l.endsShort(next, i, fmt.Sprintf("the API counts %d records and gave %d", w.total, s.Seen))
	default:
		next.done(i)
	}
	return nil
}

// endsShort handles a walk that ended before its slice did.
func (l *lane) endsShort(next *Position, i int, why string) error {
	s := &next.Slices[i]
	level := slog.LevelWarn
	if len(l.short) > 0 {
		level = slog.LevelDebug // the first of a round is news
	}
	l.feed.log.Log(context.Background(), level, "slice not complete", "lane", l.name, "since", s.Since, "until", s.Until, "reason", why, "walk", s.Walks+1)
	if l.short == nil {
		l.short = shortWalks{}
	}
	root := l.short.root(s.id())
	if l.short[root]++; l.short[root] > mostShort {
		l.short[root] = 0
		return &StuckError{Feed: l.feed.opts.Feed, Walks: mostShort, Why: why}
	}
	if s.Walks < walksBeforeCut {
		next.again(i)
	} else if !next.cut(i, leastIncomplete) {
		next.giveUp(i, why, false)
	}
	return nil
}

// commit writes the new records with the position behind them; without new
// records only a position that changed by more than its cursor is written.
func (l *lane) commit(ctx context.Context, read Slice, w *walk, page *fetch.Page, b batch, next Position) error {
	whole := l == l.feed.snapshot
	if whole {
		if err := l.list(ctx, page, b.entries, &next); err != nil {
			return err
		}
	}
	var now *Slice
	if i := next.find(read.id()); i >= 0 {
		now = &next.Slices[i]
	}
	walking := now != nil && now.Walks == read.Walks
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

// append writes one page. When the log is full the error is pagelog.ErrFull,
// and nothing was written.
func (l *lane) append(ctx context.Context, p pagelog.Page) (uint64, error) {
	hold, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	seq, err := l.feed.opts.Log.Append(hold, p, l.seq)
	if err != nil {
		if !errors.Is(err, pagelog.ErrFull) {
			l.stale, l.feed.unsure = true, true
			l.feed.whole, l.feed.unlisted = nil, unlisted{}
		}
		return 0, fmt.Errorf("commit page of feed %s: %w", l.feed.opts.Feed, err)
	}
	return seq, nil
}

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
		l.size = max(l.size/2, 1)
		l.feed.log.Warn("page larger than http.max_body: asking for smaller ones", "page_size", l.size)
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

// withGrace gives a context that ends d after ctx does, so that what is in
// hand can be finished.
func withGrace(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	hold, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return hold, func() { stop(); cancel() }
}
