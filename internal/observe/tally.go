package observe

import (
	"slices"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/emm"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// attributes are the keys of the matrix's attributes, as ecs.Sight numbers them.
var attributes = sync.OnceValue(func() []string { return emm.Matrix().AttributeKeys() })

// Times that an event can't have: the clock of its record is wrong.
const aheadOfClock = 24 * time.Hour

var longAgo = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// plan says under which event type the events of a source's matrix are counted.
type plan struct {
	mapper *ecs.Mapper
	types  []string  // keys of event types
	of     []int     // by index of the event: index in types
	free   sync.Pool // of *Tally, whose pages are counted
}

func newPlan(source *catalog.Source, mapper *ecs.Mapper) *plan {
	p := &plan{mapper: mapper}
	if source.Matrix == nil {
		return p
	}
	index := map[string]int{}
	for _, e := range source.Matrix.Events {
		i, known := index[e.EventType]
		if !known {
			i = len(p.types)
			index[e.EventType] = i
			p.types = append(p.types, e.EventType)
		}
		p.of = append(p.of, i)
	}
	return p
}

// Tally is what a page adds to its feed: what is seen in its records is added one
// by one, and then it is ended.
type Tally struct {
	plan       *plan
	feed       pagelog.Feed
	seq, after uint64 // no page lies between the two
	stored     time.Time
	fetched    time.Time
	standing   collect.Standing
	live       bool // of the live lane

	records, timeless, gone, others int64
	types                           []delta // as plan.types; the last is of records without a place
	kinds                           map[string]*Kind

	done func(*Tally)
}

// delta is what a page adds to an event type.
type delta struct {
	count       int64
	first, last time.Time
	filled      []masked
	varied      *Filled // records that are in none of filled, which has mostMasks; nil: none
	lateness    collect.Lateness
	days        []dayCount
	today       int // of days, the one that was used last
}

const mostMasks = 32

// masked counts records that fill the same attributes, which many of an event
// type do.
type masked struct {
	attributes uint64 // as ecs.Sight has them
	count      int64
}

// dayCount counts the records of a day.
type dayCount struct{ on, count int64 }

// newTally begins a page. The error says that its position is damaged.
func newTally(p *plan, page *pagelog.Page, after uint64) (*Tally, error) {
	standing, err := collect.StandingOf(page)
	if err != nil {
		return nil, err
	}
	t, _ := p.free.Get().(*Tally)
	if t == nil {
		t = &Tally{types: make([]delta, len(p.types)+1)}
	}
	t.plan, t.feed, t.seq, t.after, t.stored, t.fetched = p, page.Feed, page.Seq, after, page.Stored, page.Fetched
	t.standing, t.live = standing, page.Lane == pagelog.Live
	if page.Gone {
		t.gone = int64(len(page.Records))
	}
	return t, nil
}

// release makes room for another page: this one is counted.
func (t *Tally) release() {
	for i := range t.types {
		if d := &t.types[i]; d.count > 0 {
			*d = delta{filled: d.filled[:0], days: d.days[:0]}
		}
	}
	clear(t.kinds)
	*t = Tally{plan: t.plan, types: t.types, kinds: t.kinds}
	t.plan.free.Put(t)
}

// Add counts a record.
func (t *Tally) Add(s *ecs.Sight) {
	if t.gone > 0 {
		return
	}
	t.records++
	i := len(t.plan.types)
	if s.Event >= 0 {
		i = t.plan.of[s.Event]
	}
	d := &t.types[i]
	d.count++
	d.fill(s.Filled)
	at := s.Time
	if at.Before(longAgo) || at.Sub(t.fetched) > aheadOfClock {
		t.timeless++
		at = time.Time{}
	} else {
		d.at(at)
		if t.standing.Fresh {
			d.lateness.Add(t.standing.Delay(at, t.fetched))
		}
	}
	if s.Event < 0 && len(s.Kind) > 0 {
		t.kind(s.Kind, at)
	} else if s.Event < 0 {
		t.others++
	}
}

// fill counts the attributes of a record.
func (d *delta) fill(attributes uint64) {
	for i := range d.filled {
		if d.filled[i].attributes == attributes {
			d.filled[i].count++
			return
		}
	}
	if len(d.filled) < mostMasks {
		d.filled = append(d.filled, masked{attributes, 1})
		return
	}
	if d.varied == nil {
		d.varied = &Filled{}
	}
	d.varied.add(attributes, 1)
}

// at counts a time.
func (d *delta) at(at time.Time) {
	if d.first.IsZero() || at.Before(d.first) {
		d.first = at
	}
	if at.After(d.last) {
		d.last = at
	}
	on := day(at)
	if len(d.days) == 0 || d.days[d.today].on != on {
		d.today = slices.IndexFunc(d.days, func(c dayCount) bool { return c.on == on })
		if d.today < 0 {
			d.today = len(d.days)
			d.days = append(d.days, dayCount{on: on})
		}
	}
	d.days[d.today].count++
}

// kind counts a record without a place under the value that it has.
func (t *Tally) kind(text []byte, at time.Time) {
	text = text[:min(len(text), kindBytes)]
	k := t.kinds[string(text)]
	if k == nil {
		if len(t.kinds) >= mostKinds {
			t.others++
			return
		}
		if t.kinds == nil {
			t.kinds = map[string]*Kind{}
		}
		k = &Kind{}
		t.kinds[string(text)] = k
	}
	k.Count++
	k.First, k.Last = earlier(k.First, at), later(k.Last, at)
}

// End hands the page over.
func (t *Tally) End() { t.done(t) }

// read counts the records of a page that nobody else has read.
func (t *Tally) read(page *pagelog.Page) {
	var s ecs.Sight
	for _, record := range page.Records {
		t.plan.mapper.See(record, &s)
		t.Add(&s)
	}
}
