package collect

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/pagelog"
)

// lane is one of the ways in which a feed is read, with a position of its own.
type lane struct {
	feed *Feed
	name pagelog.Lane

	mu        sync.Mutex // guards what follows; not held while a page is asked for
	pos       Position
	saved     savedState
	stateRev  uint64 // of the state entry; 0: there is none
	seq       uint64 // of the lane's last page in the log
	walks     map[sliceID]*walk
	size      int       // records a page
	began     time.Time // of the last round
	target    time.Time // likewise, on the product's clock
	horizon   time.Time // where it ends: the latest that the product's clock can have shown
	gapRead   bool      // a page of a gap was asked for in this round
	short     shortWalks
	miscounts bool // the API's totals were found to count more than there is
	fails     int  // of the stream, in a row
	renew     bool // the present position is to be asked for, though there is one
	unsaved   int  // pages since the position was written
	stale     bool // a write failed, so that the log may hold more than is known here
}

// walk is what is known of a slice that is being read, besides its position.
type walk struct {
	met     ids                 // records met
	cursors map[string]struct{} // cursors given
	empty   int                 // pages in a row without a record
	total   int                 // the most that the API counted
	repeats int                 // pages in a row with nothing but records met before
	resumed bool                // it goes on in the middle, and met lacks what was before
}

// savedState is a lane's entry in the state bucket. Paused, Lateness,
// Habits and Runs are the feed's and stand in the live lane's entry.
type savedState struct {
	Position    Position  `json:"position"`
	Paused      bool      `json:"paused,omitempty"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	Lateness    Lateness  `json:"lateness"`
	Habits      Habits    `json:"habits"`
	Runs        []Run     `json:"runs,omitempty"`

	Settings Settings         `json:"settings,omitzero"` // with which the position was reached
	Changes  []SettingsChange `json:"changes,omitempty"` // the last ones
}

func newLane(f *Feed, name pagelog.Lane) *lane {
	return &lane{feed: f, name: name, size: f.opts.PageSize, walks: map[sliceID]*walk{}}
}

// stateKey is where the lane's entry stands in the log's state bucket.
func (l *lane) stateKey() string {
	f := l.feed.opts.Feed
	return "feed/" + f.Connection + "/" + f.Source + "/" + string(l.name)
}

// load takes the later of the last page's position and the state entry's.
func (l *lane) load(ctx context.Context) error {
	feed := l.feed.opts.Feed
	data, rev, err := l.feed.opts.Log.State(ctx, l.stateKey())
	if err != nil {
		return fmt.Errorf("read state of feed %s: %w", feed, err)
	}
	settings, changes := l.saved.Settings, l.saved.Changes // of this process, where it has looked
	l.saved, l.stateRev, l.seq = savedState{}, rev, 0
	if rev > 0 {
		if err := json.Unmarshal(data, &l.saved); err != nil {
			return &DamagedError{Feed: feed, What: "state entry of its " + string(l.name) + " lane", Err: err}
		}
	}
	then := l.saved.Settings
	if settings != (Settings{}) {
		l.saved.Settings, l.saved.Changes = settings, changes
	}
	l.pos = l.saved.Position
	last, ok, err := l.feed.opts.Log.Last(ctx, feed, l.name)
	if err != nil {
		return fmt.Errorf("read last page of feed %s: %w", feed, err)
	}
	if ok {
		l.seq = last.Seq
	}
	if ok && last.Seq > l.pos.ForgetTo {
		p, err := decodePosition(last.Position)
		if err != nil {
			return &DamagedError{Feed: feed, What: fmt.Sprintf("page %d", last.Seq), Err: err}
		}
		if p.Rev > l.pos.Rev {
			l.pos = p
			if p.idle() {
				l.saved.LastSuccess = last.Fetched
			}
		}
	}
	if l.name == pagelog.Live {
		l.feed.paused.Store(l.saved.Paused)
	}
	// Where the catalogue has fewer time fields than before: the watermark is
	// not later than what these slices held.
	gone := func(s Slice) bool { return s.Field >= len(l.feed.opts.Source.Window.Fields) }
	if l.name != pagelog.Snapshot {
		l.pos.Slices, l.pos.Gaps = slices.DeleteFunc(l.pos.Slices, gone), slices.DeleteFunc(l.pos.Gaps, gone)
	}
	// A cursor belongs to the query that gave it.
	now, changed := l.feed.opts.Settings, then != (Settings{})
	if changed && (then.Filter != now.Filter || then.Request != now.Request) {
		for i := range l.pos.Slices {
			l.pos.again(i)
		}
		for i := range l.pos.Gaps {
			l.pos.Gaps[i].restart()
		}
		if then.Filter != now.Filter {
			l.pos.refilter()
		}
	}
	if s := l.pos.Stream; changed && s != nil && s.Cursor != nil && (then.Filter != now.Filter || then.Stream != now.Stream) {
		s.lose(l.feed.now().UTC(), "a setting of the feed changed, and a position belongs to the request that gave it")
	}
	if l.feed.opts.Source.Stream == nil {
		l.pos.Stream = nil
	}
	l.feed.forget.Store(max(l.feed.forget.Load(), l.pos.ForgetTo))
	clear(l.walks)
	for i := range l.pos.Slices {
		if s := &l.pos.Slices[i]; s.Cursor != nil {
			w := l.walkOf(s)
			w.cursors[string(s.Cursor)], w.resumed = struct{}{}, true
		}
	}
	l.stale = false
	return nil
}

// walkOf is the walk of a slice, begun if need be.
func (l *lane) walkOf(s *Slice) *walk {
	w := l.walks[s.id()]
	if w == nil {
		w = &walk{met: ids{}, cursors: map[string]struct{}{}}
		l.walks[s.id()] = w
	}
	return w
}

// reload brings the lane and the ids to what the log says after a write whose
// outcome is not known.
func (l *lane) reload(ctx context.Context) error {
	f := l.feed
	f.commit.Lock()
	defer f.commit.Unlock()
	if err := f.writeAgain(ctx); err != nil {
		return err
	}
	if err := l.load(ctx); err != nil {
		return err
	}
	if l == f.snapshot {
		f.whole = nil
	}
	return f.loadIDs(ctx, l)
}

// remember notes the records of a page of the log that was read in a walk
// under way.
func (l *lane) remember(p pagelog.Page) {
	if l == l.feed.snapshot { // which tells records by their ids
		return
	}
	for i := range l.pos.Slices {
		s := &l.pos.Slices[i]
		if s.Cursor == nil || !p.Since.Equal(s.Since) || !p.Until.Equal(s.Until) {
			continue
		}
		then, err := decodePosition(p.Position)
		if err != nil {
			continue
		}
		if k := then.find(s.id()); k >= 0 && then.Slices[k].Walks == s.Walks {
			for _, h := range p.Hashes {
				l.walkOf(s).met.add(h)
			}
		}
	}
}

// next is the slice to read, if there is one.
func (l *lane) next() (sliceID, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pos.first()
}

// plan begins a round of the live lane, which reads up to now.
func (l *lane) plan(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fresh(ctx); err != nil {
		return err
	}
	opts, log := l.feed.opts, l.feed.log
	now := l.feed.product()
	l.horizon = l.feed.clock.latest(l.feed.now())
	next := l.pos.clone()
	oldest := l.feed.oldest(now)
	if next.Watermark.IsZero() {
		start, ok := opts.Start(now)
		if !ok {
			start = now
		}
		start = start.UTC().Truncate(time.Microsecond)
		next.Floor, next.Created = later(start, oldest), now
		if start.Before(oldest) {
			log.Warn("start is before what the product keeps; reading from there", "start", start, "kept_from", oldest)
		}
		next.Watermark = next.Floor
	}
	if ahead := next.Watermark.Sub(now); ahead > clockNoise {
		// The clock was set back, or turned out to be ahead. What was read under the
		// false time is told by the records, whose times are the product's.
		if next.Floor.After(now) {
			next.Floor = earlier(l.feed.clock.at(next.Created), now)
		}
		next.Watermark = later(earlier(l.feed.newest(), now), next.Floor)
		log.Warn("the clock went back: reading again from the newest record on", "by_at_least", ahead, "from", next.Watermark)
	}
	since := l.feed.reach(&next, now)
	if known := l.feed.remembered(now); since.Before(known) && next.Created.Before(known) && next.Counts.Records > 0 {
		log.Warn("the log does not know any more what was delivered of so long ago: records of before may be delivered again", "reading_from", since, "known_from", known)
	}
	l.giveUpGaps(&next, now)
	if oldest.After(next.Watermark) {
		log.Error("the feed stood still for longer than the product keeps records; what lies between is lost",
			"from", next.Watermark, "to", oldest)
	}
	next.Round, next.Interval = next.Watermark, opts.Interval
	before, missed := l.pos.Stream, l.pos.Missed
	switch {
	case opts.Source.Stream != nil:
		l.planStream(&next, since, now)
	case now.After(since):
		next.begin(since, l.horizon, len(opts.Source.Window.Fields))
	}
	l.newRound(l.feed.now())
	l.target = now
	if err := l.save(ctx, next); err != nil {
		return err
	}
	l.moved(before)
	l.tellMissed(missed)
	return nil
}

// oldest is how far back the product keeps records; zero: not known.
func (f *Feed) oldest(now time.Time) time.Time {
	if r := f.opts.Source.Window.Retention.Std(); r > 0 {
		return now.Add(-r)
	}
	return time.Time{}
}

// reach is where a round begins that reads by time.
func (f *Feed) reach(p *Position, now time.Time) time.Time {
	return later(p.Watermark.Add(-f.overlap()), later(p.Floor, f.oldest(now)))
}

// newRound forgets what is known of the round before.
func (l *lane) newRound(now time.Time) {
	clear(l.walks)
	l.began, l.gapRead, l.short = now, false, nil
}

// fresh makes sure that the lane knows what the log holds.
func (l *lane) fresh(ctx context.Context) error {
	if !l.stale {
		return nil
	}
	return l.reload(ctx)
}

// save writes a position that moved without a page.
func (l *lane) save(ctx context.Context, next Position) error {
	next.Rev++
	state := l.saved
	state.Position = next
	if next.idle() && !l.pos.idle() { // else there was nothing to read
		state.LastSuccess = l.feed.now().UTC()
	}
	return l.put(ctx, state)
}

func (l *lane) put(ctx context.Context, state savedState) error {
	if l.name == pagelog.Live {
		l.feed.mu.Lock()
		state.Lateness, state.Habits = l.feed.lateness, l.feed.habits
		state.LastSuccess = later(state.LastSuccess, l.feed.status.LastSuccess)
		state.Habits.Keys, state.Runs = maps.Clone(state.Habits.Keys), slices.Clone(l.feed.runs)
		l.feed.mu.Unlock()
	}
	data, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode state of feed %s: %w", l.feed.opts.Feed, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	rev, err := l.feed.opts.Log.PutState(ctx, l.stateKey(), data, l.stateRev)
	if err != nil {
		l.stale = true
		return fmt.Errorf("write state of feed %s: %w", l.feed.opts.Feed, err)
	}
	l.saved, l.stateRev, l.pos, l.unsaved = state, rev, state.Position, 0
	l.publish()
	return nil
}
