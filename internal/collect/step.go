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
	mostEmptyPages  = 100                  // in a row, in one walk
	mostRepeats     = 50                   // pages in a row, in one walk, with nothing that it had not met
	mostShort       = 150                  // walks of a slice and what it is cut into that end before their slice does; or pages for nothing in them
	failsBeforeCut  = 2                    // a slice that fails so often at the same page is cut,
	firstBeforeCut  = 3                    // and if that is its first page, so often
	mostDoubted     = 15                   // in place of mostShort, for walks short of a total by an API whose totals were found wrong
	mostUnsaved     = 20                   // pages without new records before the position is written nevertheless
)

// shortWalks counts walks that ended before their slice did, by the slice that
// they were cut from. One that ended with many pages for nothing counts as many.
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

// asked is a page that is asked for.
type asked struct {
	Slice
	sent    time.Time // when, on this machine's clock
	at      time.Time // likewise, on the product's clock at the latest
	present bool      // of the stream: it is to tell the present position
	size    int       // of the stream: records asked for
}

// step reads one page of a slice, or of the stream, moves the position
// accordingly and commits both. A slice that is no longer there, or was moved
// meanwhile, is left alone.
func (l *lane) step(ctx context.Context, at sliceID) error {
	read, request, err := l.ask(ctx, at)
	if err != nil || request == nil {
		return err
	}
	hold, release := withGrace(ctx, pageGrace)
	page, err := l.feed.opts.Fetcher.Page(hold, *request)
	release()
	switch {
	case err != nil && at == streamID:
		return l.failedStream(ctx, read, err)
	case err != nil:
		return l.failed(ctx, read.Slice, err)
	}
	defer page.Release()
	l.feed.dated(read.sent, page.Date)
	read.at = l.feed.clock.at(read.sent)
	err = l.withRoom(ctx, func() error { return l.digest(ctx, read, page) })
	if err == nil {
		l.feed.flush(ctx, mostUnlisted)
	}
	return err
}

// ask makes the request for the next page of a slice; nil: there is none to make.
func (l *lane) ask(ctx context.Context, at sliceID) (asked, *fetch.Request, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fresh(ctx); err != nil {
		return asked{}, nil, err
	}
	slice, ok := l.pos.slice(at)
	if !ok {
		return asked{}, nil, nil
	}
	if l == l.feed.snapshot {
		l.feed.commit.Lock()
		err := l.resumeWhole(ctx)
		l.feed.commit.Unlock()
		if err != nil {
			return asked{}, nil, err
		}
	}
	if slice.Gap {
		if l.gapRead && l.feed.now().Sub(l.began) >= l.feed.opts.Interval { // the next round is due
			next := l.pos.clone()
			next.leaveGaps()
			return asked{}, nil, l.save(ctx, next)
		}
		l.gapRead = true
	}
	read := asked{Slice: slice, sent: l.feed.now()}
	read.at = l.feed.clock.at(read.sent)
	request := l.request(slice, l.size)
	if at == streamID {
		return l.askStream(ctx, read, &request)
	}
	return read, &request, nil
}

// request asks for a page of a slice or of the stream.
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
	switch {
	case s.Field == streamField:
		r.Stream = true
		return r
	case l == l.feed.snapshot:
		r.Field = opts.Source.Snapshot.Field
	default:
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
func (l *lane) digest(ctx context.Context, read asked, page *fetch.Page) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, ok := l.pos.slice(read.id()); !ok || !at.is(&read.Slice) {
		return nil
	}
	w := l.walkOf(&read.Slice)
	l.feed.commit.Lock()
	defer l.feed.commit.Unlock()
	if err := l.feed.freshIDs(ctx); err != nil {
		return err
	}
	next, stream := l.pos.clone(), read.Field == streamField
	batch := l.pick(page, w, &next, stream)
	if !stream && l != l.feed.snapshot {
		next.answered(read.Since, page.Fetched, batch.oldest)
	}
	short, empty, repeats := maps.Clone(l.short), w.empty, w.repeats
	var walking bool // nothing but the cursor has moved
	var stuck error
	if stream {
		walking, stuck = l.follow(&next, w, read, page, &batch)
	} else {
		i := next.find(read.id())
		if s := &next.Slices[i]; s.Cursor == nil && read.at.Before(s.Until) {
			s.Mark = read.at
		}
		if err := l.move(&next, i, w, page, len(batch.met)); err != nil {
			return err
		}
		now, ok := next.slice(read.id())
		walking = ok && now.Walks == read.Walks
	}
	before := l.pos.Stream
	if err := l.commit(ctx, read.Slice, w, page, batch, next, walking); err != nil {
		l.short, w.empty, w.repeats = short, empty, repeats
		return err
	}
	met := len(batch.met)
	if stream {
		l.moved(before)
		l.renew, l.fails = false, 0
		met = len(batch.page.Records) // it is not to give what is known, as an overlap does
	}
	if l == l.feed.main() {
		l.feed.round.note(page, met, batch.newest)
	}
	return stuck
}

// batch is what a page holds that the log does not.
type batch struct {
	page     pagelog.Page
	newest   time.Time       // event time, of all records
	oldest   time.Time       // likewise; zero: none has a time
	median   time.Time       // likewise; of the stream only
	lateness []time.Duration // of the new records
	met      []uint64        // hashes of the records that the walk had not met, new or known; in a whole reading, of their ids
	entries  []entry         // in a whole reading, what its roll lacks
}

// pick separates the page's new records from the known ones and counts both.
func (l *lane) pick(page *fetch.Page, w *walk, next *Position, stream bool) batch {
	b := batch{page: pagelog.Page{
		Feed:    l.feed.opts.Feed,
		Lane:    l.name,
		Fetched: page.Fetched,
		Hashes:  make([]uint64, 0, len(page.Records)),
		Records: make([][]byte, 0, len(page.Records)),
	}}
	history := catchingUp(l.name, next)
	whole := l.feed.whole
	if l != l.feed.snapshot {
		whole = nil
	}
	// What a stream gives need not have been there when its time was read.
	late := next.Round
	if stream {
		late = late.Add(-l.feed.overlap())
	}
	var times []time.Time
	var inPage, idsInPage hashes
	inPage.grow(2 * len(page.Records))
	for i, record := range page.Records {
		key := l.feed.opts.Keyer.KeyOf(record, page.Found(i))
		h := key.Hash()
		b.newest = later(b.newest, key.Time)
		if !key.Time.IsZero() && (b.oldest.IsZero() || key.Time.Before(b.oldest)) {
			b.oldest = key.Time
		}
		if stream {
			times = append(times, key.Time)
		}
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
		if !history {
			b.lateness = append(b.lateness, delay(key.Time, page.Fetched, next.Round, next.Interval))
			if l.name == pagelog.Revisit || key.Time.Before(late) {
				b.page.Counts.Late++
			}
		}
	}
	if len(times) > 0 {
		slices.SortFunc(times, time.Time.Compare)
		b.median = times[len(times)/2]
	}
	b.page.Counts.Received = len(page.Records)
	next.Counts.Records += int64(len(b.page.Records))
	next.Counts.Duplicates += int64(b.page.Counts.Duplicates)
	next.Counts.Late += int64(b.page.Counts.Late)
	return b
}

// answered notes how far back the product was asked, and how old the oldest
// record was that it answered with; zero: none. A record that claims to be older
// than what was asked for is not taken at its word.
func (p *Position) answered(since, fetched, oldest time.Time) {
	asked := fetched.Sub(since)
	p.Asked = max(p.Asked, asked)
	if !oldest.IsZero() {
		p.Reach = max(p.Reach, min(fetched.Sub(oldest), asked))
	}
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
	idle := max(w.empty, w.repeats)
	switch {
	case page.More && page.Cursor == nil:
		return l.endsShort(next, i, 1, "the API says that there are more pages and gives no cursor for them")
	case page.More && repeated:
		return l.endsShort(next, i, 1, "the API gives the same cursor again")
	case page.More && w.empty >= mostEmptyPages:
		return l.endsShort(next, i, idle, fmt.Sprintf("the API gave %d pages in a row without a record", w.empty))
	case page.More && w.repeats >= mostRepeats:
		return l.endsShort(next, i, idle, fmt.Sprintf("the API gave %d pages in a row with nothing but records that it had given before", w.repeats))
	case page.More:
		s.Cursor = page.Cursor
	case capped && (page.Capped || page.Total <= limit || s.Seen < w.total): // else it gave all of more than that
		next.giveUp(i, fmt.Sprintf("the API yields %d records of a query at most, and these share one moment", cmp.Or(limit, s.Seen)), true)
	case s.Cursor == nil && s.Walks > 0 && len(page.Records) >= w.total: // all in one answer, and not for the first time: the API has some twice
		next.done(i)
	case page.Total >= 0 && s.Seen < w.total: // the most: records that left meanwhile move others across the pages
		return l.endsShort(next, i, 0, fmt.Sprintf("the API counts %d records and gave %d", w.total, s.Seen))
	default:
		if page.Total > 0 {
			l.miscounts = false
		}
		next.done(i)
		l.larger()
	}
	return nil
}

// endsShort handles a walk that ended before its slice did, for nothing in so
// many pages; 0: the API ended it, with less than it counts. Where that goes on
// and on, its count may be what is wrong: the rest of what was cut is read once
// and given up, so that it holds up nothing new.
func (l *lane) endsShort(next *Position, i, idle int, why string) error {
	s := &next.Slices[i]
	level := slog.LevelWarn
	if len(l.short) > 0 {
		level = slog.LevelDebug // the first of a round is news
	}
	l.feed.log.Log(context.Background(), level, "slice not complete", "lane", l.name, "since", s.Since, "until", s.Until, "reason", why, "walk", s.Walks+1)
	if l.short == nil {
		l.short = shortWalks{}
	}
	root, most := l.short.root(s.id()), mostShort
	switch {
	case idle > 0 || !l.miscounts:
	case s.Gap:
		most = 0
	default:
		most = mostDoubted
	}
	l.short[root] += max(idle, 1)
	switch spent := l.short[root] > most; {
	case spent && idle == 0:
		if !l.miscounts {
			l.feed.log.Warn("more records are counted than given, wherever one looks", "lane", l.name, "since", s.Since, "until", s.Until, "reason", why)
		}
		l.miscounts = true
		next.giveUp(i, why, false)
	case spent:
		l.short[root] = 0
		return &StuckError{Feed: l.feed.opts.Feed, Why: why}
	case s.Walks < walksBeforeCut:
		next.again(i)
	default:
		if !next.cut(i, leastIncomplete) {
			next.giveUp(i, why, false)
		}
	}
	return nil
}

// withGrace gives a context that ends d after ctx does, so that what is in
// hand can be finished.
func withGrace(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	hold, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return hold, func() { stop(); cancel() }
}
