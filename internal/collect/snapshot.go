package collect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trawlsec/trawl/internal/pagelog"
)

// mostUnlisted is how many delivered records wait to be written into a roll.
const mostUnlisted = 8192

// unlisted are the records that were delivered and do not stand in a roll yet.
// They are in the log, so this can be thrown away at any time.
type unlisted struct {
	entries []entry
	to      uint64 // of the pages up to this sequence
	all     bool   // and these are all pages; else they are still to be read from the log
}

func (f *Feed) entryOf(record []byte) entry { return newEntry(f.opts.Keyer.KeyOf(record, nil)) }

// delivered notes the records of a page that was written. commit is held.
func (f *Feed) delivered(l *lane, p pagelog.Page, seq uint64) {
	if f.snapshot == nil {
		return
	}
	for i := 0; i < len(p.Records) && !p.Gone; i++ {
		e := f.entryOf(p.Records[i])
		if f.unlisted.all && l != f.snapshot { // which lists its own
			f.unlisted.entries = append(f.unlisted.entries, e)
		}
		if r := f.whole; r != nil {
			r.since.add(e.hash)
			r.seen.add(e.mark())
		}
	}
	if f.unlisted.all {
		f.unlisted.to = seq
	}
}

// fold writes what was delivered and is not in a roll yet into that of the
// reading under way, or else into that of what is known to be there. The lane's
// mu and commit are held; the caller stores w.
func (l *lane) fold(ctx context.Context, w *Whole) (err error) {
	f := l.feed
	defer func() {
		if err != nil {
			f.unlisted = unlisted{}
		}
	}()
	to := l.roll(w.Base)
	if w.underWay() {
		if err := l.resumeWhole(ctx); err != nil {
			return err
		}
		to = f.whole.met
	} else if err := to.each(ctx, max(to.Runs-1, 0), func(int, int, entry) bool { return true }); err != nil {
		return l.rollError(err)
	}
	for done := false; !done; {
		if !f.unlisted.all {
			if err := f.readUnlisted(ctx, max(w.Folded, f.forget.Load())); err != nil {
				return err
			}
		}
		if _, err := to.add(ctx, f.unlisted.entries); err != nil {
			f.whole = nil
			return l.listError(err)
		}
		w.Folded = f.unlisted.to
		if done = f.unlisted.all; !done {
			f.unlisted.entries = nil
		}
	}
	if w.underWay() {
		w.Now.Met = to.Roll
	} else {
		w.Base = to.Roll
	}
	return nil
}

// readUnlisted reads from the log what was delivered in pages behind a
// sequence, or the first of it.
func (f *Feed) readUnlisted(ctx context.Context, after uint64) error {
	enough := errors.New("enough")
	u := unlisted{to: after, all: true}
	err := f.opts.Log.Pages(ctx, f.opts.Feed, after, func(p pagelog.Page) error {
		if len(u.entries) >= mostUnlisted {
			return enough
		}
		for i := 0; i < len(p.Records) && !p.Gone; i++ {
			u.entries = append(u.entries, f.entryOf(p.Records[i]))
		}
		u.to = p.Seq
		return nil
	})
	switch {
	case err == enough:
		u.all = false
	case err != nil:
		return fmt.Errorf("read what feed %s delivered: %w", f.opts.Feed, err)
	}
	f.unlisted = u
	return nil
}

// flush writes what was delivered into a roll, if there is as much as least. It
// needs none of the lanes' locks to be held. What fails is tried again later.
func (f *Feed) flush(ctx context.Context, least int) {
	l := f.snapshot
	if l == nil {
		return
	}
	f.commit.Lock()
	enough := !f.unlisted.all || len(f.unlisted.entries) >= least
	f.commit.Unlock()
	if !enough {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.fresh(ctx)
	if err == nil {
		f.commit.Lock()
		defer f.commit.Unlock()
		next := l.pos.clone()
		if next.Whole == nil {
			next.Whole = &Whole{}
		}
		if err = l.fold(ctx, next.Whole); err == nil {
			next.Rev++
			state := l.saved
			state.Position = next
			err = l.put(ctx, state)
		}
		f.unlisted.entries = nil // if that failed, they are read from the log
		f.unlisted.all = f.unlisted.all && err == nil
	}
	if err != nil && ctx.Err() == nil {
		f.log.Warn("what was delivered is not listed yet", "error", err)
	}
}

// wholeDue is when the next whole reading is due, if anything of it can be said:
// now, if one is under way. The first one waits until the feed was read once.
func (f *Feed) wholeDue() (at time.Time, known bool) {
	l, now := f.snapshot, f.now()
	f.mu.Lock()
	begun := !f.created.IsZero() && f.status.Slices == 0 // without a past there is nothing to read at first
	read := f.opts.Source.OnlyWhole() || !f.status.LastSuccess.IsZero() || begun
	f.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.pos.Whole
	switch {
	case w.underWay():
		return now, true
	case !read:
		return time.Time{}, false
	case w == nil || w.Tried.After(now): // the clock was set back
		return now, true
	}
	return later(w.Tried.Add(w.pause(f.opts.Snapshot)), now), true
}

// pause is how long after the beginning of the last reading the next one is due.
func (w *Whole) pause(every time.Duration) time.Duration {
	if w.Short != "" {
		return every / 4
	}
	return every
}

// readWhole does the next thing of the whole reading that is under way, or
// begins one. It reports whether one is under way then.
func (f *Feed) readWhole(ctx context.Context) (more bool, err error) {
	l := f.snapshot
	l.mu.Lock()
	underWay := l.pos.Whole.underWay()
	l.mu.Unlock()
	at, reading := l.next()
	switch {
	case !underWay:
		err = l.beginWhole(ctx)
	case reading:
		err = l.step(ctx, at)
	default:
		err = l.withRoom(ctx, func() error { return l.settle(ctx) })
	}
	f.mu.Lock()
	f.wholeTrouble = ""
	if err != nil && ctx.Err() == nil {
		f.wholeTrouble = err.Error()
	}
	f.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pos.Whole.underWay(), err
}

// snapshotDue does the whole reading that is under way or due; again: also if
// the last one was not complete.
func (f *Feed) snapshotDue(ctx context.Context, again bool) error {
	if f.snapshot == nil {
		return nil
	}
	if at, known := f.wholeDue(); (!known || at.After(f.now())) && !(again && f.wholeGaps() != nil) {
		return nil
	}
	for more := true; more && ctx.Err() == nil && !f.paused.Load(); {
		var err error
		if more, err = f.readWhole(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// runSnapshots does the whole readings that are due until ctx ends.
func (f *Feed) runSnapshots(ctx context.Context) {
	if f.snapshot == nil || f.opts.Source.OnlyWhole() {
		return
	}
	failures := 0
	var again time.Time // after a failure
	for {
		f.flush(ctx, 1)
		if !f.paused.Load() && !f.now().Before(again) {
			err := f.snapshotDue(ctx, false)
			switch {
			case err == nil:
				failures, again = 0, time.Time{}
			case ctx.Err() == nil:
				failures++
				pause := backoff(failures, f.opts.Interval)
				if isStopped(err) {
					pause = f.opts.Snapshot
				}
				again = f.now().Add(pause)
				f.log.Warn("whole reading failed, trying again", "error", err, "in", pause)
			}
		}
		wait := forever
		if f.opts.MaxAge > 0 {
			wait = f.opts.MaxAge / 4 // so that what was delivered is listed while the log has it
		}
		if at, known := f.wholeDue(); known && !f.paused.Load() {
			wait = min(wait, max(later(at, again).Sub(f.now()), time.Second))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-f.wholeWoken:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// wakeWhole lets runSnapshots look whether there is something to do.
func (f *Feed) wakeWhole() {
	select {
	case f.wholeWoken <- struct{}{}:
	default:
	}
}

// wholeGaps is the error of a feed whose last whole reading was not complete.
func (f *Feed) wholeGaps() *IncompleteError {
	if f.snapshot == nil {
		return nil
	}
	f.snapshot.mu.Lock()
	defer f.snapshot.mu.Unlock()
	p := &f.snapshot.pos
	if p.Whole == nil || p.Whole.Short == "" || len(p.Gaps) == 0 {
		return nil
	}
	return &IncompleteError{Feed: f.opts.Feed, Gaps: len(p.Gaps), First: p.Gaps[0], Whole: true}
}

// mended takes back that a whole reading was not complete.
func (f *Feed) mended() {
	f.mu.Lock()
	back := f.status.State == StateIncomplete && len(f.status.Gaps) == 0
	f.mu.Unlock()
	if back {
		f.setState(StateIdle, "")
	}
}

// unwhole names what is wrong with the whole readings of a feed.
func (f *Feed) unwhole(now time.Time) fault {
	if short := f.wholeGaps(); short != nil {
		return fault{StateIncomplete, short.reason()}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.status.Whole
	if w == nil || f.wholeTrouble == "" || now.Sub(later(w.Last.Began, f.created)) <= 2*w.Every {
		return fault{}
	}
	last := "never was"
	if !w.Last.Began.IsZero() {
		last = "was last so at " + w.Last.Began.Format(time.RFC3339)
	}
	return fault{StateIncomplete, fmt.Sprintf("it is to be read whole every %s and %s, so what is gone is not told: %s", w.Every, last, f.wholeTrouble)}
}

// errOnlyWhole refuses what takes a stretch of time.
var errOnlyWhole = errors.New("its source can't be asked for a stretch of time; each reading brings all that there is")

// advanceWhole is advance for a source that is only read whole.
func (f *Feed) advanceWhole(ctx context.Context) (wait time.Duration, err error) {
	at, _ := f.wholeDue()
	if wait := at.Sub(f.now()); wait > 0 {
		return wait, nil
	}
	if p := f.Position(); !p.Whole.underWay() {
		f.beginRun(p.Counts)
	}
	f.collecting()
	more, err := f.readWhole(ctx)
	if err == nil && !more {
		f.finished(ctx, true)
	}
	return 0, err
}

// onceWhole is once for a source that is only read whole.
func (f *Feed) onceWhole(ctx context.Context) error {
	f.beginRun(f.Position().Counts)
	f.collecting()
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if more, err = f.readWhole(ctx); err != nil {
			return err
		}
	}
	f.finished(ctx, true)
	if short := f.wholeGaps(); short != nil {
		return short
	}
	return nil
}

// WholeStatus is how the whole readings of a feed stand.
type WholeStatus struct {
	Every   time.Duration `json:"every_ns"`
	Last    Reading       `json:"last,omitzero"`     // the last that was complete
	Next    time.Time     `json:"next,omitzero"`     // when the next one is due
	Now     *Reading      `json:"now,omitempty"`     // the one under way
	Trouble string        `json:"trouble,omitempty"` // why the last one tells of nothing gone
}

// wholeOf describes the position of a snapshot lane.
func wholeOf(p *Position, every time.Duration) *WholeStatus {
	s := &WholeStatus{Every: every}
	if w := p.Whole; w != nil {
		s.Last, s.Trouble = w.Last, w.Short
		if w.underWay() {
			s.Now = &Reading{Began: w.Now.Began, Ended: w.Now.Ended, Records: w.Now.Records, Gone: w.Now.Gone, Walk: w.Now.Walk}
		} else if !w.Tried.IsZero() {
			s.Next = w.Tried.Add(w.pause(every))
		}
	}
	return s
}
