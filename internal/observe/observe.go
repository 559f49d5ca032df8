// Package observe keeps the matrix as it is observed: which event types were
// really seen in each feed, which of their attributes were really filled, how
// late records became visible and how far back the product answered.
//
// An [Observer] is a reader of the log like an output's. What it saw of a feed
// is one entry of the log's state, together with the sequence of the last page
// that is in it: that is written at once or not at all, so every page counts
// once, whenever the process is killed. Only after that are the pages
// acknowledged.
//
// Where an output maps records, it shows them to the observer as it does (see
// [Observer.Show]), so that nobody has to read them again. Pages that no output
// has shown, because it was behind, ahead or not there, the observer reads
// itself.
//
// The observer holds up nobody. What outputs show is dropped when it is behind.
// When it fails for good, or for long, it gives up its place in the log, so that
// the log can be trimmed; what was trimmed by the time it works again is missing
// in its counts, which it notes.
package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// Reader is the observer's name among the log's readers. No output can have it.
const Reader = ":observe"

const (
	stateKey  = "observe/"
	mostShown = 1024 // pages that outputs have shown and that are not counted yet
	readPages = 8    // asked of the log at once

	readPatience = 500 * time.Millisecond
)

// Log is what an observer needs of the log; see OnLog.
type Log interface {
	OpenReader(ctx context.Context, name string) (PageReader, error)
	Readers(ctx context.Context) ([]string, error)
	DeleteReader(ctx context.Context, name string) error
	Stats(ctx context.Context) (pagelog.Stats, error)
	Pages(ctx context.Context, f pagelog.Feed, after uint64, yield func(pagelog.Page) error) error
	States
	PutState(ctx context.Context, key string, data []byte, rev uint64) (uint64, error)
}

// PageReader is what an observer needs of a *pagelog.Reader.
type PageReader interface {
	Next(ctx context.Context, limit int, wait time.Duration) ([]*pagelog.Delivery, error)
	Ack(ctx context.Context, seq uint64) error
	Seek(ctx context.Context, seq uint64) error
	Pending(ctx context.Context) (pages int, done uint64, err error)
	Close(ctx context.Context)
}

// OnLog is the Log of a log.
func OnLog(l *pagelog.Log) Log { return onLog{l} }

type onLog struct{ *pagelog.Log }

func (l onLog) OpenReader(ctx context.Context, name string) (PageReader, error) {
	return l.Reader(ctx, name)
}

// States is the part of a Log that is only looked at.
type States interface {
	Keys(ctx context.Context, prefix string) ([]string, error)
	State(ctx context.Context, key string) (data []byte, rev uint64, err error)
}

// Options of an observer.
type Options struct {
	Log Log
	// Source returns a feed's source. Pages of a feed that it has none for are
	// passed over.
	Source func(pagelog.Feed) (*catalog.Source, error)
	Shown  bool // an output shows pages
	Logger *slog.Logger

	Save     time.Duration // how long what was seen may be in memory only; 0: 5 s
	Quiet    time.Duration // how long an output may show nothing before the log is looked at; 0: 2 s
	Patience time.Duration // how long it may fail before its place in the log is given up; 0: 10 min
	Retry    time.Duration // how long it waits after a failure; 0: 5 s
}

// Observer counts what is in the log's pages. Start begins that; the other
// methods may be called from any goroutine.
type Observer struct {
	opts   Options
	shown  chan *Tally
	drains chan drain

	plansMu sync.Mutex
	plans   map[*catalog.Source]*plan

	mu      sync.Mutex // guards what others look at
	feeds   map[pagelog.Feed]*kept
	problem string
	ended   chan struct{} // closed when it has stopped; nil: never started

	// For what Start begins alone.
	reader PageReader
	at     uint64    // all pages up to it are in feeds
	ahead  uint64    // the reader goes on behind it, or behind what is acknowledged
	due    time.Time // when what is counted and not stored is to be; zero: there is nothing
}

// kept is a feed and the revision of its entry.
type kept struct {
	*Feed
	rev   uint64
	dirty bool
}

// drain asks for everything that the log has.
type drain struct {
	ctx     context.Context // of who waits
	through uint64
	done    chan error
}

// New makes an observer.
func New(o Options) *Observer {
	for d, usual := range map[*time.Duration]time.Duration{
		&o.Save: 5 * time.Second, &o.Quiet: 2 * time.Second, &o.Patience: 10 * time.Minute, &o.Retry: 5 * time.Second,
	} {
		if *d == 0 {
			*d = usual
		}
	}
	return &Observer{
		opts: o, shown: make(chan *Tally, mostShown), drains: make(chan drain),
		plans: map[*catalog.Source]*plan{}, feeds: map[pagelog.Feed]*kept{},
	}
}

// Show is called by an output for a page that it maps: what it sees in the
// records is to be added one by one. It is nil for a page that is not counted.
func (o *Observer) Show(d *pagelog.Delivery) *Tally {
	p, err := o.plan(d.Page.Feed)
	if err != nil {
		return nil
	}
	t, err := newTally(p, &d.Page, d.After)
	if err != nil {
		return nil // Start finds the same, and say it
	}
	t.done = o.take
	return t
}

// take puts a page where it is counted, or drops it: then it is read.
func (o *Observer) take(t *Tally) {
	select {
	case o.shown <- t:
	default:
	}
}

// plan is how records of a feed are counted.
func (o *Observer) plan(f pagelog.Feed) (*plan, error) {
	source, err := o.opts.Source(f)
	if err != nil {
		return nil, err
	}
	o.plansMu.Lock()
	defer o.plansMu.Unlock()
	if p := o.plans[source]; p != nil {
		return p, nil
	}
	mapper, err := ecs.Compile(source)
	if err != nil {
		return nil, err
	}
	p := newPlan(source, mapper)
	o.plans[source] = p
	return p, nil
}

// Feeds is what was seen so far, by name, and what keeps the observer from
// seeing more; "" if nothing does.
func (o *Observer) Feeds() (feeds []*Feed, problem string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range o.feeds {
		feeds = append(feeds, k.clone())
	}
	sortFeeds(feeds)
	return feeds, o.problem
}

// Stored reads what was seen, where no observer runs. An entry that cannot be
// read is told in problem, and passed over.
func Stored(ctx context.Context, log States) (feeds []*Feed, problem string, err error) {
	keys, err := log.Keys(ctx, stateKey)
	if err != nil {
		return nil, "", fmt.Errorf("look at what was seen: %w", err)
	}
	for _, key := range keys {
		data, _, err := log.State(ctx, key)
		if err != nil {
			return nil, "", fmt.Errorf("look at what was seen: %w", err)
		}
		f, err := decode(data)
		if err != nil {
			problem = (&damagedError{key, err}).Error()
			continue
		}
		feeds = append(feeds, f)
	}
	sortFeeds(feeds)
	return feeds, problem, nil
}

func sortFeeds(feeds []*Feed) {
	slices.SortFunc(feeds, func(a, b *Feed) int { return strings.Compare(a.Name(), b.Name()) })
}

// splitKey gives the names of the feed that an entry is of.
func splitKey(key string) (connection, source string) {
	connection, source, _ = strings.Cut(key[len(stateKey):], "/")
	return connection, source
}

// damagedError says that an entry cannot be read.
type damagedError struct {
	key string
	err error
}

func (e *damagedError) Error() string {
	return fmt.Sprintf("what was seen of %s cannot be read: %v", e.key[len(stateKey):], e.err)
}
func (e *damagedError) Unwrap() error { return e.err }

var errStopped = errors.New("observe: it was stopped")

// Drain returns when all pages up to through are counted and stored, or with
// the reason why they are not.
func (o *Observer) Drain(ctx context.Context, through uint64) error {
	d := drain{ctx, through, make(chan error, 1)}
	o.mu.Lock()
	ended := o.ended
	o.mu.Unlock()
	if ended == nil {
		return errStopped
	}
	select {
	case o.drains <- d:
	case <-ended:
		return errStopped
	case <-ctx.Done():
		return fmt.Errorf("observe: %w", ctx.Err())
	}
	select {
	case err := <-d.done:
		return err
	case <-ended:
		return errStopped
	case <-ctx.Done():
		return fmt.Errorf("observe: %w", ctx.Err())
	}
}

// Start counts until stop is called, which stores what there is then, if that
// takes less than a second. The end of ctx does not end it, and failures do not.
func (o *Observer) Start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	o.mu.Lock()
	o.ended = ended
	o.mu.Unlock()
	go func() {
		defer close(ended)
		o.insist(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// insist runs again after a failure.
func (o *Observer) insist(ctx context.Context) {
	var failing time.Time
	said := ""
	for ctx.Err() == nil {
		err := o.run(ctx, func() { failing, said = time.Time{}, "" })
		if ctx.Err() != nil {
			if err != nil {
				o.opts.Logger.Warn("what was seen last is not stored; it is counted at the next start", "error", err)
			}
			return
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		o.setProblem(err.Error())
		say := "the observed matrix is behind; trying again"
		if permanent(err) || time.Since(failing) >= o.opts.Patience {
			say = "the observed matrix is not kept: its place in the log is given up, so that the log can be trimmed"
			if err := o.opts.Log.DeleteReader(ctx, Reader); err != nil {
				say = "the observed matrix is not kept"
			}
		}
		if said != say && !errors.Is(err, pagelog.ErrConflict) { // of which there may be many, where processes share a log
			said = say
			o.opts.Logger.Warn(say, "error", err)
		}
		o.rest(ctx, err)
	}
}

// permanent tells whether trying again would not help.
func permanent(err error) bool {
	var damaged *pagelog.DamagedError
	var later *laterError
	return errors.As(err, &damaged) || errors.As(err, &later) || errors.Is(err, pagelog.ErrTooLarge)
}

// rest waits after a failure. Who waits for a drain is told.
func (o *Observer) rest(ctx context.Context, err error) {
	timer := time.NewTimer(o.opts.Retry)
	defer timer.Stop()
	for {
		select {
		case d := <-o.drains:
			d.done <- err
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (o *Observer) setProblem(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.problem = text
}

// run reads what is stored and counts until something fails. It calls well
// each time that what was seen is stored.
func (o *Observer) run(ctx context.Context, well func()) error {
	if err := o.load(ctx); err != nil {
		return err
	}
	defer func() { o.reader.Close(context.WithoutCancel(ctx)) }()
	o.setProblem("")
	idle := time.NewTimer(0)
	defer idle.Stop()
	more := true
	for {
		wait := o.opts.Quiet
		if more || !o.opts.Shown {
			wait = 0
		}
		more = false
		if !o.due.IsZero() {
			wait = min(wait, max(time.Until(o.due), 0))
		}
		idle.Reset(wait)
		select {
		case t := <-o.shown:
			if err := o.counted(ctx, t); err != nil {
				return err
			}
		case d := <-o.drains:
			err := o.everything(ctx, d)
			d.done <- err
			if err != nil && d.ctx.Err() == nil {
				return err
			}
		case <-idle.C:
			if o.due.IsZero() || time.Now().Before(o.due) {
				var err error
				if more, err = o.read(ctx, o.readWait()); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return o.last(ctx)
		}
		if !o.due.IsZero() && !time.Now().Before(o.due) {
			if err := o.save(ctx); err != nil {
				return err
			}
			well()
		}
	}
}

// readWait is how long the log is waited for: not at all where outputs show
// pages, and not so long elsewhere that a drain would notice.
func (o *Observer) readWait() time.Duration {
	switch {
	case o.opts.Shown:
		return 0
	case o.due.IsZero():
		return readPatience
	}
	return min(max(time.Until(o.due), 0), readPatience)
}

// last counts what outputs have shown and stores it, when it is stopped.
func (o *Observer) last(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	for {
		select {
		case t := <-o.shown:
			if t.after <= o.at && t.seq > o.at {
				if err := o.count(ctx, t); err != nil {
					return err
				}
			}
			continue
		default:
		}
		return o.save(ctx)
	}
}

// load reads the entries, and opens the reader.
func (o *Observer) load(ctx context.Context) error {
	known, err := o.opts.Log.Readers(ctx)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	keys, err := o.opts.Log.Keys(ctx, stateKey)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	feeds := map[pagelog.Feed]*kept{}
	for _, key := range keys {
		data, rev, err := o.opts.Log.State(ctx, key)
		if err != nil {
			return fmt.Errorf("observe: %w", err)
		}
		f, err := decode(data)
		var later *laterError
		if errors.As(err, &later) {
			return &damagedError{key, err}
		}
		if err != nil { // nothing can be had of it, and it must not keep the rest from being counted
			f = newFeed(splitKey(key))
			f.note(time.Now(), "the counts began anew: %v", &damagedError{key, err})
		}
		feeds[pagelog.Feed{Connection: f.Connection, Source: f.Source}] = &kept{Feed: f, rev: rev}
	}
	if o.reader, err = o.opts.Log.OpenReader(ctx, Reader); err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	_, done, err := o.reader.Pending(ctx)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	if !slices.Contains(known, Reader) && len(feeds) > 0 {
		if err := o.returned(ctx, feeds); err != nil {
			return err
		}
	}
	o.at, o.ahead, o.due = done, done, time.Time{}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.feeds = feeds
	return nil
}

// returned notes what the log may have lost while the observer had no place in
// it.
func (o *Observer) returned(ctx context.Context, feeds map[pagelog.Feed]*kept) error {
	stats, err := o.opts.Log.Stats(ctx)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	var through uint64
	for _, k := range feeds {
		through = max(through, k.Seq)
	}
	if stats.FirstSeq <= through+1 {
		return nil
	}
	for _, k := range feeds {
		k.note(time.Now(), "nothing was counted for a while after %s, and the log has given up pages since: they are missing in the counts", k.Stored.UTC().Format(time.RFC3339))
		k.dirty = true
	}
	return nil
}

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

// save stores what was seen, and then acknowledges the pages.
func (o *Observer) save(ctx context.Context) error {
	o.mu.Lock()
	feeds := slices.Collect(maps.Values(o.feeds))
	o.mu.Unlock()
	for _, k := range feeds {
		if !k.dirty {
			continue
		}
		data, err := k.encode()
		if err != nil {
			return err
		}
		rev, err := o.opts.Log.PutState(ctx, stateKey+k.Name(), data, k.rev)
		if err != nil {
			return fmt.Errorf("observe: %w", err)
		}
		k.rev, k.dirty = rev, false
	}
	done := o.reader.Ack
	if o.at > o.ahead { // outputs have shown what is not to be read any more
		done = o.reader.Seek
	}
	if err := done(ctx, o.at); err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	o.ahead, o.due = max(o.ahead, o.at), time.Time{}
	return nil
}

// everything counts all that the log has, and stores it.
func (o *Observer) everything(ctx context.Context, d drain) error {
	for {
		select {
		case t := <-o.shown:
			if err := o.counted(ctx, t); err != nil {
				return err
			}
			continue
		default:
		}
		if o.at >= d.through {
			return o.save(ctx)
		}
		more, err := o.read(d.ctx, 50*time.Millisecond)
		if err != nil {
			return err
		}
		if more {
			continue
		}
		if err := o.save(ctx); err != nil {
			return err
		}
		pending, _, err := o.reader.Pending(d.ctx) // what is left up to there may not be pages
		if err != nil || pending == 0 {
			return err
		}
		if err := d.ctx.Err(); err != nil {
			return fmt.Errorf("observe: %w", err)
		}
	}
}
