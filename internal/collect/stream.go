package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trawlsec/trawl/internal/fetch"
)

// The live lane of a source with a stream follows an opaque position that the
// API gives, in place of a window of time. Whenever there is no good position
// (the feed is new, or the API has forgotten or refused it, or goes astray) the
// present one is taken first and kept; then everything up to that moment is
// read by time, in ordinary slices, and after that the stream is followed from
// the position. So nothing falls between the two, and what both give is told by
// its id. What a stream never gives is found by the revisits, which read by time.

// Stream is where a live lane stands in the stream of its source.
type Stream struct {
	Cursor []byte    `json:"cursor,omitempty"` // the position: raw JSON, in base64 so that no byte changes; none: it has to be taken
	At     time.Time `json:"at,omitzero"`      // when the API last gave it, or answered to it
	Due    bool      `json:"due,omitempty"`    // the round under way has not followed it to its end
	Taken  bool      `json:"taken,omitempty"`  // it was taken in the round under way
	Behind bool      `json:"behind,omitempty"` // what lies after the watermark has to be read by time as well
	Again  time.Time `json:"again,omitzero"`   // when it was taken: the time around that is read once more, later
	Still  int       `json:"still,omitempty"`  // rounds in a row that found it give known records and not move
	Losses int       `json:"losses,omitempty"` // positions lost since a round last went well
	Lost   *Lost     `json:"lost,omitempty"`   // the last one that was
}

// Lost is a position of a stream that was no good any more.
type Lost struct {
	At    time.Time `json:"at"`
	Why   string    `json:"why"`
	Since time.Time `json:"since,omitzero"` // in its place, records from here
	Until time.Time `json:"until,omitzero"` // to here are read by time; zero: there is no new one yet
}

// streamField marks a reading of the stream, and streamID is its id.
const streamField = -1

var streamID = sliceID{field: streamField}

const (
	mostKnownPages = 50      // in a row, before a stream is taken for one that has begun anew
	mostStill      = 3       // see Stream.Still
	mostFails      = 5       // in a row at a position, before the present one is asked for
	mostCursor     = 8 << 10 // bytes of a position
	mostLosses     = 3       // see Stream.Losses: before they are a fault
	mostWhy        = 300     // bytes of a reason
)

// first is what to read next: the present position where there is none, what is
// to be read by time, the stream, and gaps.
func (p *Position) first() (sliceID, bool) {
	due := p.Stream != nil && p.Stream.Due
	switch {
	case due && (p.Stream.Cursor == nil || p.own() == 0):
		return streamID, true
	case len(p.Slices) > 0:
		return p.Slices[0].id(), true
	}
	return sliceID{}, false
}

// slice is a copy of what has that id, if it is still to be read.
func (p *Position) slice(id sliceID) (Slice, bool) {
	if id == streamID {
		if p.Stream == nil || !p.Stream.Due {
			return Slice{}, false
		}
		return Slice{Since: p.Round, Until: p.Round, Field: streamField, Cursor: p.Stream.Cursor}, true
	}
	i := p.find(id)
	if i < 0 {
		return Slice{}, false
	}
	return p.Slices[i], true
}

// planStream plans the round that follows the stream; since and now bound what
// is read by time, where that is needed.
func (l *lane) planStream(next *Position, since, now time.Time) {
	if next.Stream == nil {
		next.Stream = &Stream{}
	}
	s, f := next.Stream, l.feed
	s.At = earlier(s.At, now) // the clock may have been set back
	s.Due, s.Taken = true, false
	l.expire(s, now)
	settled := f.overlap()
	switch {
	case s.Cursor == nil: // what is to be read by time follows from when it is taken
	case s.Behind && now.After(since):
		s.Behind = false
		next.begin(since, now, len(f.opts.Source.Window.Fields))
	case !s.Again.IsZero() && now.Sub(s.Again) >= settled:
		// Records that were neither in the stream after the position was taken, nor
		// to be found by time so soon.
		from, to := later(later(s.Again.Add(-settled), f.remembered(now)), later(next.Floor, f.oldest(now))), s.Again.Add(settled)
		s.Again = time.Time{}
		if to.After(from) {
			next.begin(from, to, len(f.opts.Source.Window.Fields))
		}
	default:
		next.begin(time.Time{}, time.Time{}, 0)
	}
}

// expire gives up a position that the product has forgotten.
func (l *lane) expire(s *Stream, now time.Time) {
	keeps := l.feed.opts.Source.Stream.Keeps.Std()
	if age := now.Sub(s.At); s.Cursor != nil && keeps > 0 && age > keeps {
		s.lose(now, fmt.Sprintf("it was last used %s ago, and the product keeps one for %s", age.Round(time.Minute), keeps))
	}
}

// lose gives up a position.
func (s *Stream) lose(now time.Time, why string) {
	if len(why) > mostWhy {
		why = why[:mostWhy] + "…"
	}
	s.Cursor, s.Still = nil, 0
	s.Losses++
	s.Lost = &Lost{At: now, Why: why}
}

// moved says what has become of the position, once that is written.
func (l *lane) moved(before *Stream) {
	now, log := l.pos.Stream, l.feed.log
	if now == nil || now.Lost == nil || before != nil && before.Lost != nil && *before.Lost == *now.Lost {
		return
	}
	lost := now.Lost
	if lost.Until.IsZero() {
		log.Warn("the position in the stream is no good: a new one is taken, and what lies between is read by time", "reason", lost.Why)
	} else {
		log.Warn("reading by time in place of the stream", "since", lost.Since, "until", lost.Until, "reason", lost.Why)
	}
}

// askStream completes the request for a page of the stream.
func (l *lane) askStream(ctx context.Context, read asked, request *fetch.Request) (asked, *fetch.Request, error) {
	if next := l.pos.clone(); next.Stream.Cursor != nil {
		if l.expire(next.Stream, read.at); next.Stream.Cursor == nil { // while the time up to it was read
			before := l.pos.Stream
			err := l.save(ctx, next)
			l.moved(before)
			return read, nil, err
		}
	}
	read.size = max(cmp.Or(request.Size, l.feed.opts.Source.Paging.Size), 1)
	if most := l.feed.opts.Source.Paging.MaxSize; most > 0 {
		read.size = min(read.size, most)
	}
	if read.present = read.Cursor == nil || l.renew; read.present {
		request.Cursor, request.Since = nil, read.at.Add(-l.feed.overlap())
	}
	return read, request, nil
}

// follow moves the position by a page of the stream. It reports whether nothing
// but the cursor has moved; stuck is to be reported once the page is written.
//
// The round ends at a page without records, at one whose position does not
// move, or, since where there are always new ones neither may come, at one whose
// records are of after the round began.
func (l *lane) follow(next *Position, w *walk, read asked, page *fetch.Page, b *batch) (walking bool, stuck error) {
	if read.present {
		l.takePosition(next, page)
		return false, nil
	}
	s := next.Stream
	some, known := len(page.Records) > 0, len(b.page.Records) == 0
	if w.repeats++; !some || !known {
		w.repeats = 0
	}
	if w.empty++; some {
		w.empty = 0
	}
	if s.Still++; page.Moved || !known || len(page.Records) < read.size {
		s.Still = 0
	}
	w.cursors[string(read.Cursor)] = struct{}{}
	_, before := w.cursors[string(page.Cursor)]
	switch {
	case len(page.Cursor) > mostCursor:
		return false, l.astray(next, fmt.Sprintf("the API gives one of %d bytes", len(page.Cursor)))
	case page.Moved && before:
		return false, l.astray(next, "the API gives one that it gave before: they go round in a circle")
	case s.Still >= mostStill:
		return false, l.astray(next, "the API gives the same records with the same position again and again")
	case page.More && w.repeats >= mostKnownPages:
		return false, l.astray(next, fmt.Sprintf("the API gave %d pages in a row with nothing but records that are known", w.repeats))
	case page.More && w.empty >= mostEmptyPages:
		return false, l.astray(next, fmt.Sprintf("the API gave %d pages in a row without a record", w.empty))
	}
	s.Cursor, s.At = page.Cursor, later(s.At, read.at)
	upTo := read.at
	if page.More && page.Moved {
		if b.median.Before(l.target) || !some {
			return true, nil
		}
		upTo = earlier(b.median, read.at)
	}
	s.Due = false
	if !s.Taken {
		s.Losses = 0
	}
	next.Watermark = later(next.Watermark, upTo)
	return false, nil
}

// takePosition keeps the present position, and plans to read by time up to now.
func (l *lane) takePosition(next *Position, page *fetch.Page) {
	s, f := next.Stream, l.feed
	now := later(f.product(), page.Date.UTC().Add(dateGrain)) // not before the moment that the position is of
	given := len(page.Cursor) > 0 && len(page.Cursor) <= mostCursor
	switch {
	case !given && s.Cursor != nil:
		return // it is tried again
	case !given:
		s.lose(now, "the API does not say where its stream is now")
		s.Due = false
	case s.Cursor != nil:
		s.lose(now, "what was asked for at it kept failing")
	}
	since := f.reach(next, now)
	if s.Lost != nil && s.Lost.Until.IsZero() {
		s.Lost = &Lost{At: s.Lost.At, Why: s.Lost.Why, Since: since, Until: now}
	}
	if given {
		s.Cursor, s.At, s.Taken, s.Again = page.Cursor, now, true, now
	}
	s.Behind = false
	if now.After(since) {
		next.begin(since, now, len(f.opts.Source.Window.Fields))
	}
}

// astray gives up a position that leads nowhere. A new one is taken at once,
// but not twice in a round.
func (l *lane) astray(next *Position, why string) error {
	s := next.Stream
	s.lose(l.feed.product(), why)
	if !s.Taken {
		return nil
	}
	s.Due = false
	return &StuckError{Feed: l.feed.opts.Feed, Stream: true, Why: why}
}

// failedStream decides what a failed page of the stream means. nil: the
// position was changed so that reading can go on.
func (l *lane) failedStream(ctx context.Context, read asked, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, ok := l.pos.slice(streamID); !ok || !at.is(&read.Slice) {
		return nil
	}
	var answer *fetch.Error
	if !errors.As(err, &answer) || ctx.Err() != nil {
		return err
	}
	l.renew = false
	again := read.present && read.Cursor != nil // a try that may fail
	switch answer.Class {
	case fetch.TooLarge:
		if l.size <= 1 {
			return &Stopped{Feed: l.feed.opts.Feed, Err: err}
		}
		l.smaller()
		return nil
	case fetch.Permanent:
		if again {
			return err
		}
		if read.present {
			return &Stopped{Feed: l.feed.opts.Feed, Err: err}
		}
		next, before := l.pos.clone(), l.pos.Stream
		stuck := l.astray(&next, "the API refuses it: "+cmp.Or(answer.Message, answer.Error()))
		delete(l.walks, streamID)
		if err := l.save(ctx, next); err != nil {
			return err
		}
		l.moved(before)
		return stuck
	case fetch.Forbidden, fetch.Auth:
		return &Stopped{Feed: l.feed.opts.Feed, Err: err}
	}
	// Where a position fails again and again, the present one may do.
	if l.fails++; read.Cursor != nil && answer.Class != fetch.Throttle && l.fails%mostFails == 0 {
		l.renew = true
	}
	return err
}

// forgetting names a feed whose position the product is about to forget.
func (f *Feed) forgetting(p *Position, now time.Time) fault {
	s, source := p.Stream, f.opts.Source.Stream
	if s == nil || source == nil || s.Cursor == nil || source.Keeps == 0 {
		return fault{}
	}
	age := now.Sub(s.At)
	if age <= time.Duration(retentionShare*float64(source.Keeps)) {
		return fault{}
	}
	return fault{StateLossy, fmt.Sprintf("its position in the stream was last used %s ago, and the product keeps one for %s: after that, what lies between is read by time",
		age.Round(time.Minute), source.Keeps.Std())}
}

// StreamStatus is where a feed stands in the stream of its source.
type StreamStatus struct {
	Position string    `json:"position,omitempty"` // as the API gave it; empty: it has to be taken
	At       time.Time `json:"at,omitzero"`        // when the API last gave it, or answered to it
	ByTime   bool      `json:"by_time"`            // what was there before it is being read by time
	Lost     *Lost     `json:"lost,omitempty"`     // the last position that was no good any more

	taken bool // in the round under way
}

// streamOf describes the position of a live lane; nil without a stream.
func streamOf(p *Position) *StreamStatus {
	s := p.Stream
	if s == nil {
		return nil
	}
	return &StreamStatus{Position: string(s.Cursor), At: s.At, ByTime: s.Cursor == nil || s.Behind || p.own() > 0, Lost: s.Lost, taken: s.Taken}
}

// detour says that a feed reads by time because it has lost its position.
func (s *StreamStatus) detour() string {
	switch {
	case s == nil || s.Lost == nil || !s.ByTime:
		return ""
	case s.Position == "":
		return fmt.Sprintf("its position in the stream is no good (%s): a new one is taken, and what lies between is read by time", s.Lost.Why)
	case !s.taken:
		return ""
	}
	return fmt.Sprintf("reading by time from %s to %s, because its position in the stream was no good (%s)",
		s.Lost.Since.Format(time.RFC3339), s.Lost.Until.Format(time.RFC3339), s.Lost.Why)
}
