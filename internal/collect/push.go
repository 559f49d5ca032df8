package collect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// StateReceiving is the state of a feed that is not read, but takes what the
// product sends.
const StateReceiving State = "receiving"

// Receiving notes that nobody reads the feed, and that it takes what is pushed:
// its last success is when something came last.
func (f *Feed) Receiving() {
	f.setState(StateReceiving, "takes what the product sends")
	f.push.mu.Lock()
	came := f.push.saved.LastSuccess
	f.push.mu.Unlock()
	f.came(came)
}

// came notes when something was pushed to a feed that is not read.
func (f *Feed) came(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status.State == StateReceiving {
		f.status.LastSuccess = later(f.status.LastSuccess, at)
	}
}

// Pushed says what became of records that came by themselves.
type Pushed struct {
	New     int `json:"new"`               // written to the log
	Known   int `json:"known"`             // the log had them, or they came twice
	Covered int `json:"covered,omitempty"` // left out: see Covered
	Untimed int `json:"untimed,omitempty"` // of all these: without a time that can be read
}

// Covered is a time of which a feed has read everything, though the log does
// not remember it any more: records of it that are not known are left out, as
// they were most likely delivered long ago. The zero Covered is none.
type Covered struct {
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

func (c Covered) has(t time.Time) bool { return !t.IsZero() && !t.Before(c.Since) && t.Before(c.Until) }

// Push puts records into the log that nobody asked the product for: those that
// it sends by itself, and those of a file. It returns once they are on disk.
// Records that the log has are not written again. The memory of records is the
// caller's again afterwards. A log without room is pagelog.ErrFull; after any
// error the same records may be pushed again.
func (f *Feed) Push(ctx context.Context, records [][]byte, covered Covered) (Pushed, error) {
	l := f.push
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := l.takeIn(ctx, records, covered)
	for again := 0; errors.Is(err, pagelog.ErrFenced) && again < 3; again++ {
		// Another process came before: one that imports, or that has taken the
		// connection over meanwhile. What it wrote is known now.
		p, err = l.takeIn(ctx, records, covered)
	}
	if err != nil {
		return Pushed{}, fmt.Errorf("push to feed %s: %w", f.opts.Feed, err)
	}
	return p, nil
}

func (l *lane) takeIn(ctx context.Context, records [][]byte, covered Covered) (Pushed, error) {
	f := l.feed
	if err := l.fresh(ctx); err != nil {
		return Pushed{}, err
	}
	f.commit.Lock()
	defer f.commit.Unlock()
	if err := f.freshIDs(ctx); err != nil {
		return Pushed{}, err
	}
	page := &fetch.Page{Fetched: f.now().UTC(), Total: -1}
	untimed := 0
	for _, r := range records {
		key := f.opts.Keyer.KeyOf(r, nil)
		if key.Time.IsZero() {
			untimed++
		}
		if !covered.has(key.Time) || f.known.has(key.Hash()) {
			page.Records = append(page.Records, r)
		}
	}
	next := l.pos.clone()
	b := l.pick(page, &walk{}, &next, false)
	p := Pushed{New: len(b.page.Records), Known: b.page.Counts.Duplicates, Covered: len(records) - len(page.Records), Untimed: untimed}
	if p.New == 0 {
		l.pos.Counts = next.Counts // stored with the next page
	} else {
		b.page.Since, b.page.Until = b.page.FirstTime, b.page.LastTime
		if err := l.appendAll(ctx, b.page, next); err != nil {
			return Pushed{}, err
		}
	}
	l.publish()
	f.came(page.Fetched)
	return p, nil
}

// Covered is the time that the feed has read to its end and of which the log
// has dropped pages since.
func (f *Feed) Covered(ctx context.Context) (Covered, error) {
	p := f.Position()
	written := f.Status().Counts.Pages
	var kept int64
	var oldest time.Time
	err := f.opts.Log.Headers(ctx, f.opts.Feed, func(p pagelog.Page) error {
		if kept++; kept == 1 {
			oldest = p.Stored
		}
		return nil
	})
	if err != nil {
		return Covered{}, fmt.Errorf("read what the log has of feed %s: %w", f.opts.Feed, err)
	}
	if kept >= written || p.Floor.IsZero() {
		return Covered{}, nil
	}
	return Covered{Since: p.Floor, Until: earlier(oldest, p.Watermark)}, nil
}
