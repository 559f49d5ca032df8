package collect

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/fetch"
)

// streamer is a tenant that also gives its events in a stream, in the order in
// which they arrive there, which is not that of their times; some arrive never.
// It keeps to what is documented of Box's and Okta's: positions are opaque,
// numbers of twenty digits or texts; asked for the present one it gives no
// records (or, without a start, those since a time); one that has not been used
// for long is refused; records come at least once.
type streamer struct {
	*tenant
	arrivals []arrival            // sorted by when
	given    map[string]time.Time // positions, and when they were last used
	keeps    time.Duration        // 0: for ever
	since    bool                 // the first request is made without a cursor, and gives what was recorded since a time
	asked    []string             // positions, as they were asked for

	// misbehave may change an answer, or refuse it; from is the index of its
	// first record among the arrivals.
	misbehave func(r fetch.Request, p *fetch.Page, from int) error
}

type arrival struct {
	when time.Time
	event
}

func newStreamer() *streamer { return &streamer{tenant: &tenant{}, given: map[string]time.Time{}} }

// stream adds events that are in the stream so long after their time, and are
// visible by time after another while.
func (a *streamer) stream(after, visible time.Duration, events ...event) {
	for _, e := range events {
		e.visible = e.Time.Add(visible)
		a.add(e)
		a.mu.Lock()
		a.arrivals = append(a.arrivals, arrival{e.Time.Add(after), e})
		slices.SortStableFunc(a.arrivals, func(a, b arrival) int { return a.when.Compare(b.when) })
		a.mu.Unlock()
	}
}

// position is the opaque form of an index: a number of twenty digits, or a text.
func position(i int) jsontext.Value {
	if i%3 == 1 {
		return jsontext.Value(fmt.Sprintf(`"p\u002d%d"`, i)) // which is to come back as it is
	}
	return jsontext.Value(fmt.Sprintf("18446744073709%06d", i))
}

func (a *streamer) index(cursor jsontext.Value) int {
	var i int
	text := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(string(cursor), "18446744073709"), `"p\u002d`), `"`)
	if _, err := fmt.Sscanf(text, "%d", &i); err != nil || !bytes.Equal(position(i), cursor) {
		return -1
	}
	return i
}

func (a *streamer) Page(ctx context.Context, r fetch.Request) (*fetch.Page, error) {
	if !r.Stream {
		return a.tenant.Page(ctx, r)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	now := time.Now()
	a.asked = append(a.asked, string(r.Cursor))
	present, _ := slices.BinarySearchFunc(a.arrivals, now.Add(1), func(x arrival, t time.Time) int { return x.when.Compare(t) })
	from := present
	switch {
	case r.Cursor != nil:
		from = a.index(r.Cursor)
		used, ok := a.given[string(r.Cursor)]
		if !ok || from < 0 || a.keeps > 0 && now.Sub(used) > a.keeps {
			return nil, &fetch.Error{Class: fetch.Permanent, Message: "invalid stream position"}
		}
		a.given[string(r.Cursor)] = now
	case a.since:
		for from > 0 && !a.arrivals[from-1].when.Before(r.Since) {
			from--
		}
	}
	from = min(from, present)
	to := min(from+r.Size, present)
	p := &fetch.Page{Total: -1, Fetched: now}
	for _, x := range a.arrivals[from:to] {
		p.Records = append(p.Records, record(x.event))
	}
	p.Cursor = position(to)
	if a.misbehave != nil {
		if err := a.misbehave(r, p, from); err != nil {
			return nil, err
		}
	}
	if p.Cursor == nil { // as the fetcher has it
		p.Cursor = r.Cursor
	}
	p.Moved = p.Cursor != nil && !bytes.Equal(p.Cursor, r.Cursor)
	p.More = p.Moved && (p.More || len(p.Records) > 0)
	if p.Moved {
		a.given[string(p.Cursor)] = now
	}
	return p, nil
}

// record is an event as it is given.
func record(e event) []byte {
	b, _ := json.Marshal(e)
	return b
}

// untilRenewed misbehaves until the present position is asked for.
func (a *streamer) untilRenewed(bad func(r fetch.Request, p *fetch.Page, from int) error) {
	over := false
	a.misbehave = func(r fetch.Request, p *fetch.Page, from int) error {
		if over = over || r.Cursor == nil; over {
			return nil
		}
		return bad(r, p, from)
	}
}

// behave sets how it misbehaves from now on; nil: not at all.
func (a *streamer) behave(bad func(r fetch.Request, p *fetch.Page, from int) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.misbehave = bad
}

// positions are those that were asked for so far, and byTime how many other
// requests there were.
func (a *streamer) positions() (asked []string, byTime int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked), a.calls - len(a.asked)
}

// forget makes all positions bad.
func (a *streamer) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.given)
}

// followed is a source with a stream.
func followed(o *Options) {
	o.Source = source(func(s *catalog.Source) { s.Stream = &catalog.Stream{Start: "now"} })
	o.Interval = time.Minute
}

// misbehaving gives answers as a product does on its bad days, all of which
// leave the records where they are.
func misbehaving(r *rand.Rand, a *streamer) func(fetch.Request, *fetch.Page, int) error {
	return func(req fetch.Request, p *fetch.Page, from int) error {
		switch r.IntN(24) {
		case 0, 1:
			return &fetch.Error{Class: fetch.Retry}
		case 2:
			return &fetch.Error{Class: fetch.Throttle}
		case 3: // some of before come again
			for range min(from, r.IntN(8)) {
				p.Records = append(p.Records, record(a.arrivals[from-1-r.IntN(min(from, 20))].event))
			}
		case 4, 5: // out of order
			r.Shuffle(len(p.Records), func(i, j int) { p.Records[i], p.Records[j] = p.Records[j], p.Records[i] })
		case 6: // a position that says nothing
			p.Cursor = nil
		case 7: // fewer than there are
			n := r.IntN(len(p.Records) + 1)
			p.Records, p.Cursor = p.Records[:n], position(from+n)
		case 8: // in a circle
			if from > 0 && req.Cursor != nil {
				p.Cursor = position(max(0, from-r.IntN(12)))
			}
		case 9: // refused
			if req.Cursor != nil {
				return &fetch.Error{Class: fetch.Permanent, Message: "invalid stream position"}
			}
		case 10: // no records, and a claim that there are more
			p.Records, p.Cursor, p.More = nil, position(max(from, 0)), true
		case 11:
			if req.Size > 6 {
				return &fetch.Error{Class: fetch.TooLarge}
			}
		}
		return nil
	}
}

// unhurried is an API that takes its time.
type unhurried struct {
	Fetcher
	takes time.Duration
}

func (u unhurried) Page(ctx context.Context, r fetch.Request) (*fetch.Page, error) {
	timer := time.NewTimer(u.takes)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
	}
	return u.Fetcher.Page(ctx, r)
}
