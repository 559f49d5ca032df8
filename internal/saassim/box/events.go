package box

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// The streams of the enterprise; every other one is a user's own.
const (
	adminLogs = "admin_logs"
	streaming = "admin_logs_streaming"
)

const (
	defaultLimit = 100
	maxLimit     = 500
)

// AddEvents makes events and returns their ids in the order of their times.
// They are in the stream, and later in the log, once their time has come; what
// is made after somebody looked at the stream comes in behind that.
func (b *Tenant) AddEvents(batch saassim.Batch) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, g := &b.opts, b.gen
	moments := b.Spread(g.Dice, batch)
	slices.SortFunc(moments, func(x, y saassim.Moment) int { return x.At.Compare(y.At) })
	fresh := make([]*event, len(moments))
	type entrance struct {
		at time.Time
		e  *event
	}
	var entrances []entrance
	for i, m := range moments {
		e := g.event(m.At)
		e.indexed = m.Visible.Add(o.IndexDelay/2 + g.upTo(o.IndexDelay))
		if _, lost := b.Draw(saassim.Lost); !lost {
			at := e.at.Add(o.StreamDelay + g.upTo(o.StreamDelay))
			entrances = append(entrances, entrance{at, e})
			if g.Chance(o.StreamTwice) {
				entrances = append(entrances, entrance{at.Add(g.upTo(time.Minute)), e})
			}
		}
		fresh[i], b.byN[e.n] = e, e
	}
	slices.SortStableFunc(entrances, func(x, y entrance) int { return x.at.Compare(y.at) })
	for _, n := range entrances {
		at := b.stream.Put(n.at, n.e)
		if n.e.streamed.IsZero() {
			n.e.streamed = at
		}
	}
	ids := make([]string, len(fresh))
	for i, e := range fresh {
		g.stored(e, cmp.Or(e.streamed, e.indexed))
		ids[i] = e.id
	}
	b.log.Insert(fresh)
	return ids
}

// upTo draws a span of time.
func (g *generator) upTo(d time.Duration) time.Duration {
	return time.Duration(g.Float64() * float64(d))
}

// truth yields the events by time.
func (b *Tenant) truth(yield func(saassim.Truth) bool) {
	b.mu.RLock()
	log := b.log
	b.mu.RUnlock()
	for _, e := range log.All() {
		if !yield(saassim.Truth{Source: "box/events", ID: e.id, Time: e.at, VisibleAt: e.indexed, StreamAt: e.streamed}) {
			return
		}
	}
}

// events answers the request of that name.
func (b *Tenant) events(c *saassim.Call) {
	q := c.R.URL.Query()
	name := q.Get("stream_type")
	c.API()
	c.Entry.Operation, c.Entry.Query = cmp.Or(name, "all"), c.R.URL.RawQuery
	if !c.Is(http.MethodGet) {
		return
	}
	c.Authorize("Bearer")
	if c.Struck() || !b.allowed(c, name == adminLogs || name == streaming) {
		return
	}
	p := pageAsked{types: list(q.Get("event_type"))}
	var err error
	if p.limit, err = limit(q); err != nil {
		refuse(c, http.StatusBadRequest, "invalid_limit", err.Error())
		return
	}
	if p.from, err = b.readPosition(q.Get("stream_position")); err == nil {
		switch name {
		case adminLogs:
			err = b.readLog(c, q, p)
		case streaming:
			err = b.readStream(c, p)
		case "", "all", "changes", "sync":
			b.readOwn(c, p)
		default:
			err = fmt.Errorf("stream_type %q is none of all, changes, sync, %s, %s", name, adminLogs, streaming)
		}
	}
	if err != nil {
		refuse(c, http.StatusBadRequest, "bad_request", err.Error())
	}
}

// pageAsked is what a request asks for.
type pageAsked struct {
	limit int
	types []string // none: all
	from  position
}

func (p pageAsked) wants(e *event) bool { return len(p.types) == 0 || slices.Contains(p.types, e.kind) }

// limit reads the size of a page. One that is too large is lowered.
func limit(q url.Values) (int, error) {
	s := q.Get("limit")
	if s == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("limit is not a valid number")
	}
	return min(n, maxLimit), nil
}

// list reads a list with commas.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// readLog answers with a page of admin_logs: events by time, in a window.
func (b *Tenant) readLog(c *saassim.Call, q url.Values, p pageAsked) error {
	now := b.Now()
	during := saassim.Window{WithAfter: b.opts.Inclusive, WithBefore: b.opts.Inclusive}
	for name, end := range map[string]*time.Time{"created_after": &during.After, "created_before": &during.Before} {
		if s := q.Get(name); s != "" {
			var err error
			if *end, err = time.Parse(time.RFC3339, s); err != nil {
				return fmt.Errorf("%s is not a date-time: %q", name, s)
			}
		}
	}
	during.AtLeast(now.Add(-b.opts.KeepLog))
	b.mu.RLock()
	log, last := b.log, b.byN[p.from.place]
	b.mu.RUnlock()
	found := log.Select(now, during, p.wants)
	switch {
	case p.from.now:
		if len(found) > 0 {
			last = found[len(found)-1]
		}
		found = nil
	case p.from.start:
		last = nil
	case p.from.stream || last == nil:
		return fmt.Errorf("stream_position is not valid")
	default:
		found = found[sort.Search(len(found), func(i int) bool { return after(found[i], last) }):]
	}
	page := found[:cut(c, p.limit, len(found))]
	if len(page) > 0 {
		last = page[len(page)-1]
	}
	next := position{start: true} // so it is without events
	if last != nil && (len(page) > 0 || p.from.now) {
		next = position{place: last.n}
	}
	b.show(c, page, next)
	return nil
}

// after tells whether an event comes behind another in the log.
func after(e, other *event) bool {
	if d := e.at.Compare(other.at); d != 0 {
		return d > 0
	}
	return e.id > other.id
}

// cut is how many of those that are left make a page.
func cut(c *saassim.Call, limit, left int) int {
	n := min(limit, left)
	if n > 1 {
		if _, ok := c.Hit(saassim.ShortPage); ok {
			n /= 2
		}
	}
	return n
}

// readStream answers with a page of the stream: events as they were processed,
// some twice. It knows no windows.
func (b *Tenant) readStream(c *saassim.Call, p pageAsked) error {
	now := b.Now()
	b.mu.Lock()
	entries := b.stream.Read(now)
	oldest := sort.Search(len(entries), func(i int) bool { return !entries[i].At.Before(now.Add(-b.opts.KeepStream)) })
	from := max(oldest, p.from.place)
	dead := now.Sub(p.from.made) > b.opts.KeepPositions
	switch {
	case p.from.start:
		from, dead = oldest, false
	case p.from.now:
		from, dead = len(entries), false
	case !p.from.stream || from > len(entries):
		b.mu.Unlock()
		return fmt.Errorf("stream_position is not valid")
	}
	var page []*event
	var ends []int // where the stream goes on behind each of them
	next := from
	for ; next < len(entries) && len(page) < p.limit; next++ {
		if e := entries[next].Record; p.wants(e) {
			page, ends = append(page, e), append(ends, next+1)
		}
	}
	b.mu.Unlock()
	if !p.from.start && !p.from.now {
		if _, ok := c.Hit(saassim.DeadCursor); ok {
			dead = true
		}
	}
	if dead {
		return fmt.Errorf("stream_position is too old")
	}
	if n := cut(c, p.limit, len(page)); n < len(page) {
		page, next = page[:n], ends[n-1]
	}
	b.show(c, page, position{stream: true, place: next, made: now})
	return nil
}

// readOwn answers with the events of who asks: what the request does by default.
func (b *Tenant) readOwn(c *saassim.Call, p pageAsked) {
	_, id, _ := strings.Cut(c.Grant.Subject, ":")
	b.mu.RLock()
	log, last := b.log, b.byN[p.from.place]
	b.mu.RUnlock()
	var page []*event
	if !p.from.now {
		page = log.Select(b.Now(), saassim.Window{}, func(e *event) bool {
			return e.by == id && e.forItself != nil && (p.from.start || last == nil || after(e, last))
		})
	}
	page = page[:min(len(page), p.limit)]
	next := position{place: p.from.place}
	if len(page) > 0 {
		next.place = page[len(page)-1].n
	}
	b.write(c, page, next, func(e *event) []byte { return e.forItself })
}

func (b *Tenant) show(c *saassim.Call, page []*event, next position) {
	missing := false
	if len(page) > 0 {
		_, missing = c.Hit(saassim.MissingKeys)
	}
	b.write(c, page, next, func(e *event) []byte {
		if !missing {
			return e.json
		}
		var d map[string]json.RawMessage
		if err := json.Unmarshal(e.json, &d); err != nil {
			panic(err) // it was made here
		}
		delete(d, "created_by")
		delete(d, "ip_address")
		return saassim.Raw(d)
	})
}

func (b *Tenant) write(c *saassim.Call, page []*event, next position, one func(*event) []byte) {
	body := fmt.Appendf(nil, `{"chunk_size":%d,"next_stream_position":%s,"entries":[`, len(page), b.writePosition(next))
	for i, e := range page {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, one(e)...)
	}
	c.Page(len(page), append(body, "]}"...))
}

// position is a place in one of the streams.
type position struct {
	start, now bool      // one of the two words
	stream     bool      // a place in the stream, else behind an event of the log
	place      int       // how many entries of the stream have been read, or the event's number
	made       time.Time // when it was given out; zero for the log
}

// The parts of a position's number. It looks like those of the documents, which
// lie a little above 2^60: the second it was made, the kind and the place.
const (
	positionBase  = uint64(1) << 60
	positionWide  = 10_000_000_000_000_000_000
	placeBits     = 30
	streamBit     = uint64(1) << placeBits
	positionEpoch = 1577836800 // the beginning of 2020
)

// writePosition writes a position as JSON: a number or a string of digits.
func (b *Tenant) writePosition(p position) string {
	text := "0"
	if !p.start {
		v := positionBase | uint64(p.place)
		if p.stream {
			seconds := uint64(max(0, p.made.Unix()-positionEpoch))
			v |= streamBit | seconds<<(placeBits+1)
		}
		if b.opts.Wide {
			v += positionWide
		}
		text = strconv.FormatUint(v, 10)
	}
	quoted := b.opts.Positions == StringPositions
	if b.opts.Positions == MixedPositions {
		b.mu.Lock()
		quoted = b.gen.Chance(0.5)
		b.mu.Unlock()
	}
	if quoted {
		return strconv.Quote(text)
	}
	return text
}

// readPosition reads what a request says: nothing and 0 are the beginning.
func (b *Tenant) readPosition(s string) (position, error) {
	switch s {
	case "", "0":
		return position{start: true}, nil
	case "now":
		return position{now: true}, nil
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err == nil && b.opts.Wide {
		v -= positionWide // what was smaller is now too large
	}
	if err != nil || v < positionBase || v >= positionBase<<1 {
		return position{}, fmt.Errorf("stream_position is not valid")
	}
	p := position{stream: v&streamBit != 0, place: int(v & (streamBit - 1))}
	if p.stream {
		p.made = time.Unix(int64((v^positionBase)>>(placeBits+1))+positionEpoch, 0)
	}
	return p, nil
}
