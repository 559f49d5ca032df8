package collect

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/jsonscan"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// event is a record of the fake tenant.
type event struct {
	ID      string    `json:"id"`
	Time    time.Time `json:"timestamp"`
	visible time.Time
}

// tenant is an API in memory. It keeps to what is documented of Wiz's audit
// log: bounds that may exclude both ends, newest first, offsets as cursors (so
// pages shift when records appear), a cap on what one query yields.
type tenant struct {
	mu        sync.Mutex
	events    []event
	cap       int
	noTotal   bool
	saturated bool                                       // the total stops at the cap too
	flagged   bool                                       // it says that a query matches more than it yields
	fault     func(r fetch.Request, p *fetch.Page) error // may change or refuse an answer
	calls     int
}

func (t *tenant) add(events ...event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range events {
		if e.visible.IsZero() {
			e.visible = e.Time
		}
		t.events = append(t.events, e)
	}
}

func (t *tenant) Page(ctx context.Context, r fetch.Request) (*fetch.Page, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls++
	var found []event
	for _, e := range t.events {
		if e.Time.After(r.Since) && e.Time.Before(r.Until) && !e.visible.After(time.Now()) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b event) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.ID, b.ID)) })
	p := &fetch.Page{Total: len(found), Fetched: time.Now()}
	reachable := len(found)
	if t.cap > 0 {
		reachable = min(reachable, t.cap)
	}
	p.Capped = t.flagged && reachable < len(found)
	if t.saturated {
		p.Total = reachable
	}
	if t.noTotal {
		p.Total = -1
	}
	from := 0
	if r.Cursor != nil {
		from, _ = strconv.Atoi(string(r.Cursor))
	}
	to := min(from+r.Size, reachable)
	for _, e := range found[min(from, to):to] {
		b, _ := json.Marshal(e)
		p.Records = append(p.Records, b)
	}
	if to < reachable {
		p.More, p.Cursor = true, jsontext.Value(strconv.Itoa(to))
	}
	if t.fault != nil {
		if err := t.fault(r, p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// keyer reads what the fake tenant writes.
type keyer struct{}

func (keyer) KeyPlan() *jsonscan.Plan { return nil }

func (k keyer) KeyOf(record []byte, _ [][]byte) ecs.Key { return k.Key(record) }

func (keyer) Key(record []byte) ecs.Key {
	var e event
	if err := json.Unmarshal(record, &e); err != nil {
		panic(err)
	}
	sum := sha256.Sum256([]byte(e.ID))
	return ecs.Key{ID: e.ID, Time: e.Time, UID: [16]byte(sum[:16])}
}

// memoryLog keeps to the promises of pagelog.Log: fences, compare-and-set.
type memoryLog struct {
	mu    sync.Mutex
	seq   uint64
	pages []pagelog.Page
	gone  []pagelog.Page // trimmed away
	state map[string][]byte
	revs  map[string]uint64
	// before, when set, is asked before each write; an error is what the
	// caller gets, with nothing written.
	before func(what string) error
	// after is asked once the write is done: an error is a crash that the
	// writer doesn't survive to hear of its success.
	after func(what string) error
	// delay, when set, says how long a write takes of which its writer hears
	// nothing any more; 0: it is answered.
	delay func(what string) time.Duration
	limbo []func() // writes that may yet arrive
}

// lost makes a write arrive later, if it can then.
func (l *memoryLog) lost(what string, write func()) bool {
	if l.delay == nil {
		return false
	}
	d := l.delay(what)
	if d <= 0 {
		return false
	}
	at := time.Now().Add(d)
	l.limbo = append(l.limbo, func() {
		if write != nil && !time.Now().Before(at) {
			write()
			write = nil
		}
	})
	return true
}

// arrive lets late writes arrive.
func (l *memoryLog) arrive() {
	for _, write := range l.limbo {
		write()
	}
}

func newMemoryLog() *memoryLog {
	return &memoryLog{state: map[string][]byte{}, revs: map[string]uint64{}}
}

func (l *memoryLog) Append(_ context.Context, p pagelog.Page, after, newest uint64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.before != nil {
		if err := l.before("page"); err != nil {
			return 0, err
		}
	}
	l.arrive()
	behind := func() bool {
		last, _ := l.last(p.Feed, p.Lane)
		any, _ := l.last(p.Feed, "")
		return last.Seq == after && any.Seq == newest
	}
	if l.lost("page", func() {
		if behind() {
			l.put(p)
		}
	}) {
		return 0, pagelog.ErrUnknown
	}
	if !behind() {
		return 0, pagelog.ErrFenced
	}
	if len(p.Records) > pagelog.MaxRecords || len(p.Position) > pagelog.MaxPosition {
		return 0, pagelog.ErrTooLarge
	}
	seq := l.put(p)
	if l.after != nil {
		if err := l.after("page"); err != nil {
			return 0, err
		}
	}
	return seq, nil
}

// unheard is a memoryLog's after: pages are written, and their writers do not
// hear of it.
func unheard(what string) error {
	if what == "page" {
		return errors.New("no answer")
	}
	return nil
}

func (l *memoryLog) put(p pagelog.Page) uint64 {
	l.seq++
	p.Seq, p.Stored = l.seq, time.Now()
	l.pages = append(l.pages, p)
	return l.seq
}

// last is the newest page of a lane, or of all lanes.
func (l *memoryLog) last(f pagelog.Feed, lane pagelog.Lane) (pagelog.Page, bool) {
	for _, p := range slices.Backward(l.pages) {
		if p.Feed == f && (lane == "" || p.Lane == lane) {
			return p, true
		}
	}
	return pagelog.Page{}, false
}

func (l *memoryLog) Last(_ context.Context, f pagelog.Feed, lane pagelog.Lane) (pagelog.Page, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrive()
	p, ok := l.last(f, lane)
	return p, ok, nil
}

func (l *memoryLog) Headers(_ context.Context, f pagelog.Feed, yield func(pagelog.Page) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrive()
	for _, p := range l.pages {
		if p.Feed == f {
			if err := yield(p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *memoryLog) Pages(ctx context.Context, f pagelog.Feed, after uint64, yield func(pagelog.Page) error) error {
	return l.Headers(ctx, f, func(p pagelog.Page) error {
		if p.Seq <= after {
			return nil
		}
		return yield(p)
	})
}

func (l *memoryLog) State(_ context.Context, key string) ([]byte, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrive()
	return l.state[key], l.revs[key], nil
}

func (l *memoryLog) PutState(_ context.Context, key string, data []byte, rev uint64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.before != nil {
		if err := l.before("state"); err != nil {
			return 0, err
		}
	}
	l.arrive()
	data = slices.Clone(data)
	if l.lost("state", func() {
		if l.revs[key] == rev {
			l.seq++
			l.state[key], l.revs[key] = data, l.seq
		}
	}) {
		return 0, pagelog.ErrUnknown
	}
	if l.revs[key] != rev {
		return 0, pagelog.ErrConflict
	}
	l.seq++
	l.state[key], l.revs[key] = data, l.seq
	if l.after != nil {
		if err := l.after("state"); err != nil {
			return 0, err
		}
	}
	return l.seq, nil
}

// trim takes away the pages written before a time, all but the last.
func (l *memoryLog) trim(before time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.pages)-1 && l.pages[n].Stored.Before(before) {
		n++
	}
	l.gone, l.pages = append(l.gone, l.pages[:n]...), l.pages[n:]
}

// delivered counts how often each id is in the log.
func (l *memoryLog) delivered() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrive()
	n := map[string]int{}
	for _, p := range slices.Concat(l.gone, l.pages) {
		for _, r := range p.Records {
			n[keyer{}.Key(r).ID]++
		}
	}
	return n
}

// seeds is how many of so many random courses are tried.
func seeds(n uint64) uint64 {
	if underRace {
		return n / 2
	}
	return n
}

var testFeed = pagelog.Feed{Connection: "acme", Source: "audit"}

// source is one with a time field and, unless changed, a day of retention.
func source(change func(*catalog.Source)) *catalog.Source {
	s := &catalog.Source{
		ID:      "audit",
		Product: &catalog.Product{ID: "wiz"},
		Window: catalog.Window{
			Fields: []string{"timestamp"},
			Slack:  catalog.Duration(time.Millisecond),
		},
	}
	if change != nil {
		change(s)
	}
	return s
}

// open gives a feed that begins an hour ago, with pages of ten.
func open(t *testing.T, api Fetcher, log Log, change func(*Options)) *Feed {
	t.Helper()
	f, err := Open(t.Context(), options(api, log, change))
	if err != nil {
		t.Fatalf("open feed: %v", err)
	}
	return f
}

func options(api Fetcher, log Log, change func(*Options)) Options {
	o := Options{
		Feed:     testFeed,
		Source:   source(nil),
		Fetcher:  api,
		Log:      log,
		Keyer:    keyer{},
		Start:    func(now time.Time) (time.Time, bool) { return now.Add(-time.Hour), true },
		Interval: 5 * time.Minute,
		Overlap:  10 * time.Minute,
		PageSize: 10,
		Logger:   slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&o)
	}
	return o
}

// wantAll fails unless every event that was ever visible is in the log once.
func wantAll(t *testing.T, api *tenant, log *memoryLog) {
	t.Helper()
	got := log.delivered()
	api.mu.Lock()
	defer api.mu.Unlock()
	missing, twice := 0, 0
	for _, e := range api.events {
		switch n := got[e.ID]; {
		case n == 0:
			missing++
		case n > 1:
			twice++
		}
		delete(got, e.ID)
	}
	if missing > 0 || twice > 0 || len(got) > 0 {
		t.Fatalf("of %d events: %d missing, %d in the log more than once, %d unknown", len(api.events), missing, twice, len(got))
	}
}

// spread makes n events, evenly over the span that ends at end.
func spread(prefix string, n int, end time.Time, span time.Duration) []event {
	events := make([]event, n)
	for i := range events {
		events[i] = event{ID: fmt.Sprintf("%s%d", prefix, i), Time: end.Add(-time.Duration(float64(span) * float64(i+1) / float64(n+1))).UTC()}
	}
	return events
}

// randomly makes n events within the span with, for some, equal timestamps and
// a delay until they are visible of at most late.
func randomly(r *rand.Rand, prefix string, n int, end time.Time, span, late time.Duration) []event {
	events := spread(prefix, n, end, span)
	for i := range events {
		if i > 0 && r.IntN(4) == 0 {
			events[i].Time = events[i-1].Time
		}
		events[i].visible = events[i].Time
		if late > 0 && r.IntN(3) == 0 {
			events[i].visible = events[i].Time.Add(rand.N(late))
		}
	}
	return events
}

// unkeyed tells records apart by their bytes, whatever is in them.
type unkeyed struct{}

func (unkeyed) KeyPlan() *jsonscan.Plan { return nil }

func (unkeyed) KeyOf(record []byte, _ [][]byte) ecs.Key {
	sum := sha256.Sum256(record)
	return ecs.Key{UID: [16]byte(sum[:16])}
}
