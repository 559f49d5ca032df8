package collect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// The snapshot lane reads a state whole, again and again. What an earlier
// reading met, or any lane delivered since, and this one does not meet, is gone.
// An API may leave something out that is still there, because pages shift while
// they are read or because it is out of order for a moment; so what a reading
// misses it looks for in a second walk over everything, and tells only what both
// missed. A reading that the API did not give to its end tells of nothing.
//
// What is known to be there stands in a [roll]. A reading writes another, and
// when it has ended that one takes the place of the first. Everything that says
// where this stands is part of the lane's position, so it moves with the pages
// that it is about: a page of what is gone and how far the old roll was gone
// through are one write.

// Whole is where the whole readings of a state stand.
type Whole struct {
	Base   Roll   `json:"base"`             // what is known to be there
	Folded uint64 `json:"folded,omitempty"` // the records of pages up to this sequence stand in a roll
	Mute   bool   `json:"mute,omitempty"`   // Base is of another filter: the next reading tells of nothing gone

	Last  Reading   `json:"last,omitzero"`   // the last that was complete
	Tried time.Time `json:"tried,omitzero"`  // when the last one began
	Short string    `json:"short,omitempty"` // why that one was not complete

	Now *Reading `json:"now,omitempty"` // the one under way
}

// Reading is one whole reading.
type Reading struct {
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended,omitzero"` // all was read; then it is compared
	Records int64     `json:"records"`        // different ones that it met
	Gone    int64     `json:"gone"`           // that it missed and told

	// While it is under way:
	Met   Roll   `json:"met,omitzero"`    // what it met, and what was delivered since it began
	Since uint64 `json:"since,omitempty"` // the last page before it
	Walk  int    `json:"walk,omitempty"`  // over everything, from 1
	Mute  bool   `json:"mute,omitempty"`  // it tells of nothing gone
	Run   int    `json:"run,omitempty"`   // of the old roll, how far that was gone through: all runs before,
	Entry int    `json:"entry,omitempty"` // and of this run all entries before
}

// mostWalks is how often everything is read before what is missing is gone.
const mostWalks = 2

// mostGonePage is how many records a page of what is gone holds at most.
const mostGonePage = 1000

// beginning is before any record of any product, and ahead is by how much its
// clock may be ahead of ours.
var beginning = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)

const ahead = 24 * time.Hour

// reading is what a whole reading needs to remember while it is under way. It
// is made of the log, and can be thrown away at any time.
type reading struct {
	base, met *roll
	there     ids // what was there, by the hashes of ids
	versions  ids // hashes of the records that were
	seen      ids // what it met, or was delivered since it began, by the hashes of ids
	since     ids // hashes of the records delivered since it began

	page    *fetch.Page // of which met lacks
	pending []entry     // these
}

// mark tells an entry's record from others whatever its version.
func (e entry) mark() uint64 {
	if e.id == "" {
		return e.hash
	}
	return idHash(e.id)
}

func newEntry(key ecs.Key) entry {
	e := entry{id: key.ID, hash: key.Hash()}
	if len(e.id) > longestID {
		e.id = ""
	}
	return e
}

// holds tells whether a record is as it was when it was last met or delivered.
func (r *reading) holds(hash uint64) bool { return r.versions.has(hash) || r.since.has(hash) }

// underWay reports whether a reading is.
func (w *Whole) underWay() bool { return w != nil && w.Now != nil }

// refilter makes a reading begin anew, at once, since a filter was changed.
func (p *Position) refilter() {
	w := p.Whole
	if w == nil {
		return
	}
	w.Mute, w.Tried = true, time.Time{}
	if w.underWay() && w.Now.Ended.IsZero() {
		w.Folded = min(w.Folded, w.Now.Since)
		w.Now, p.Slices, p.Gaps = nil, nil, nil
	}
}

// wholeSlices are the slices of which a reading consists.
func (l *lane) wholeSlices(now time.Time) []Slice {
	if l.feed.opts.Source.Snapshot.Field == "" {
		return []Slice{{}}
	}
	return []Slice{{Since: beginning, Until: now.Add(ahead)}}
}

// beginWhole begins a whole reading.
func (l *lane) beginWhole(ctx context.Context) error {
	f := l.feed
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fresh(ctx); err != nil {
		return err
	}
	f.commit.Lock()
	defer f.commit.Unlock()
	next := l.pos.clone()
	if next.Whole == nil {
		next.Whole = &Whole{}
	}
	w := next.Whole
	if err := l.fold(ctx, w); err != nil {
		return err
	}
	now := f.now().UTC().Truncate(time.Microsecond)
	w.Tried, w.Short = now, ""
	w.Now = &Reading{Began: now, Met: Roll{Side: 1 - w.Base.Side}, Since: w.Folded, Walk: 1, Mute: w.Mute}
	w.Mute = false
	next.Slices, next.Gaps = l.wholeSlices(now), nil
	next.Round, _, _ = f.bounds()
	if next.Created.IsZero() {
		next.Created = now
	}
	l.newRound(now)
	if err := l.save(ctx, next); err != nil {
		f.unlisted = unlisted{}
		return err
	}
	f.unlisted.entries = nil
	return l.resumeWhole(ctx)
}

// resumeWhole reads from the log what the reading under way has to remember.
// feed.commit is held, as it is by all that follow.
func (l *lane) resumeWhole(ctx context.Context) error {
	f, w := l.feed, l.pos.Whole
	if f.whole != nil || !w.underWay() {
		return nil
	}
	r := &reading{base: l.roll(w.Base), met: l.roll(w.Now.Met)}
	err := r.met.each(ctx, 0, func(_, _ int, e entry) bool { r.seen.add(e.mark()); return true })
	if err != nil {
		return l.rollError(err)
	}
	// What other lanes delivered lately is not in it yet.
	err = f.opts.Log.Pages(ctx, f.opts.Feed, max(w.Folded, f.forget.Load()), func(p pagelog.Page) error {
		for i := 0; i < len(p.Records) && !p.Gone; i++ {
			r.seen.add(f.entryOf(p.Records[i]).mark())
		}
		return nil
	})
	if err == nil {
		err = f.opts.Log.Headers(ctx, f.opts.Feed, func(p pagelog.Page) error {
			for i := 0; i < len(p.Hashes) && p.Seq > w.Now.Since && !p.Gone; i++ {
				r.since.add(p.Hashes[i])
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("read what feed %s delivered since its whole reading began: %w", f.opts.Feed, err)
	}
	err = r.base.each(ctx, 0, func(run, i int, e entry) bool {
		switch {
		case w.Now.Ended.IsZero():
			r.there.add(e.mark())
			r.versions.add(e.hash)
		case run > w.Now.Run || run == w.Now.Run && i >= w.Now.Entry:
			return false
		default:
			r.seen.add(e.mark()) // it was there, or was told as gone
		}
		return true
	})
	if err != nil {
		return l.rollError(err)
	}
	f.whole = r
	return nil
}

// rollError is what keeps a roll from being read.
func (l *lane) rollError(err error) error {
	if errors.As(err, new(*pagelog.DamagedError)) || errors.Is(err, context.Canceled) || errors.Is(err, pagelog.ErrClosed) {
		return fmt.Errorf("read what feed %s is known to have: %w", l.feed.opts.Feed, err)
	}
	return &DamagedError{Feed: l.feed.opts.Feed, What: "list of what it is known to have", Err: err}
}

// list writes down what a page has shown, before the position moves behind it.
func (l *lane) list(ctx context.Context, page *fetch.Page, met []entry, next *Position) error {
	r := l.feed.whole
	if r.page != page { // else it is tried again
		r.page, r.pending = page, met
	}
	var err error
	if r.pending, err = r.met.add(ctx, r.pending); err != nil {
		return l.listError(err)
	}
	next.Whole.Now.Met = r.met.Roll
	return nil
}

// listError is what keeps a roll from being written.
func (l *lane) listError(err error) error {
	if !errors.Is(err, pagelog.ErrFull) {
		l.feed.whole = nil
	}
	return fmt.Errorf("write down what feed %s is known to have: %w", l.feed.opts.Feed, err)
}

// settle does the next thing once everything was read: it begins another walk,
// tells what is gone, page by page, or ends the reading. When the log is full
// nothing has changed.
func (l *lane) settle(ctx context.Context) error {
	f := l.feed
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fresh(ctx); err != nil {
		return err
	}
	if !l.pos.Whole.underWay() || len(l.pos.Slices) > 0 {
		return nil // it was moved by hand
	}
	f.commit.Lock()
	defer f.commit.Unlock()
	if err := l.resumeWhole(ctx); err != nil {
		return err
	}
	next := l.pos.clone()
	now := next.Whole.Now
	short := len(next.Gaps) > 0
	if now.Ended.IsZero() {
		if !short && !now.Mute && now.Walk < mostWalks {
			missing, _, err := l.missing(ctx, *now, 1)
			if err != nil {
				return err
			}
			if len(missing) > 0 {
				now.Walk++
				next.Slices = l.wholeSlices(now.Began)
				clear(l.walks)
				return l.save(ctx, next)
			}
		}
		now.Ended = later(f.now().UTC().Truncate(time.Microsecond), now.Began)
		f.whole.there, f.whole.versions = ids{}, ids{}
		return l.save(ctx, next)
	}
	if now.Mute && !short {
		return l.endWhole(ctx, next)
	}
	most := mostGonePage
	if short {
		most = runEntries
	}
	missing, done, err := l.missing(ctx, *now, most)
	switch {
	case err != nil:
		return err
	case len(missing) > 0 && short:
		err = l.keep(ctx, missing, done, next)
	case len(missing) > 0:
		err = l.tell(ctx, missing, done, next)
	default:
		err = l.endWhole(ctx, next)
	}
	return err
}

// missing are the next entries of the old roll that the reading did not meet,
// each id once, at most so many, and the place behind the last of them.
func (l *lane) missing(ctx context.Context, now Reading, most int) (missing []entry, behind Reading, err error) {
	r, behind := l.feed.whole, now
	var met ids // in here
	err = r.base.each(ctx, now.Run, func(run, i int, e entry) bool {
		if run == now.Run && i < now.Entry || e.id == "" || r.seen.has(e.mark()) || !met.add(e.mark()) {
			return true
		}
		missing = append(missing, e)
		behind.Run, behind.Entry = run, i+1
		return len(missing) < most
	})
	if err != nil {
		err = l.rollError(err)
	}
	return missing, behind, err
}

// tell writes a page that says what is gone.
func (l *lane) tell(ctx context.Context, missing []entry, behind Reading, next Position) error {
	f, w := l.feed, next.Whole
	after := w.Last.Began
	if _, created, _ := f.bounds(); after.IsZero() { // what was delivered before the first reading
		after = created
	}
	p := pagelog.Page{
		Feed: f.opts.Feed, Lane: l.name, Gone: true,
		Since: after, Until: w.Now.Ended, Fetched: w.Now.Ended, FirstTime: w.Now.Ended, LastTime: w.Now.Ended,
	}
	for _, e := range missing {
		record := ecs.GoneRecord(e.id, after, w.Now.Ended)
		p.Records = append(p.Records, record)
		p.Hashes = append(p.Hashes, f.opts.Keyer.KeyOf(record, nil).Hash())
	}
	*w.Now = behind
	w.Now.Gone += int64(len(missing))
	next.Counts.Gone += int64(len(missing))
	if err := l.appendPart(ctx, p, next); err != nil {
		return err
	}
	for _, e := range missing {
		f.whole.seen.add(e.mark()) // so that it is told once
	}
	l.publish()
	return nil
}

// keep takes what a reading that is not complete did not meet over into the
// roll that it wrote: nobody knows whether it is gone.
func (l *lane) keep(ctx context.Context, missing []entry, behind Reading, next Position) error {
	r := l.feed.whole
	if _, err := r.met.add(ctx, missing); err != nil {
		l.feed.whole = nil // so that what was written is not written again
		return l.listError(err)
	}
	*next.Whole.Now = behind
	next.Whole.Now.Met = r.met.Roll
	for _, e := range missing {
		r.seen.add(e.mark())
	}
	return l.save(ctx, next)
}

// endWhole makes what a reading met what is known to be there.
func (l *lane) endWhole(ctx context.Context, next Position) error {
	f, w := l.feed, next.Whole
	now, old := *w.Now, w.Base
	w.Base, w.Now = now.Met, nil
	if len(next.Gaps) > 0 {
		w.Short = next.Gaps[0].Why
	} else {
		w.Last = Reading{Began: now.Began, Ended: now.Ended, Records: now.Records, Gone: now.Gone}
		next.Watermark = now.Began
	}
	if err := l.save(ctx, next); err != nil {
		return err
	}
	if w.Short == "" {
		f.mended()
		f.log.Info("read whole", "records", now.Records, "gone", now.Gone, "took", now.Ended.Sub(now.Began).Round(time.Millisecond))
	} else {
		f.log.Warn("the whole reading was not complete, so it tells of nothing gone", "records", now.Records, "gaps", len(next.Gaps), "reason", w.Short)
	}
	f.whole = nil
	if err := l.roll(old).clear(context.WithoutCancel(ctx)); err != nil {
		f.log.Warn("the space of an old list is not given back", "error", err)
	}
	return nil
}

// unwanted tells of a record that is new to the log whether it is not delivered
// nevertheless: what the first reading meets and is of before the feed's start.
// It is known from then on, so that it is delivered once it changes or vanishes.
func (l *lane) unwanted(key ecs.Key, next *Position) bool {
	_, _, floor := l.feed.bounds()
	return next.Whole.Last.Began.IsZero() && !l.feed.opts.Source.OnlyWhole() && !key.Time.IsZero() && key.Time.Before(floor)
}

// cameLate tells whether a record that is new to the log became visible after its
// time had been read: it is no change of what was there, nor something that came
// back, nor of before anyone looked.
func (l *lane) cameLate(key ecs.Key, next *Position) bool {
	w := next.Whole
	return !w.Last.Began.IsZero() && !w.Now.Mute && !l.feed.opts.Source.OnlyWhole() && key.Time.Before(next.Round) &&
		!l.feed.whole.there.has(newEntry(key).mark()) && !l.feed.known.has(key.Hash())
}
