package observe

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/emm"
)

// Report is the matrix as it was observed, beside what is documented.
type Report struct {
	Now      time.Time `json:"now"`
	Running  bool      `json:"running"`           // what a running Trawl has seen, not only what is stored
	Problem  string    `json:"problem,omitempty"` // why not all is counted
	Products []Product `json:"products"`
}

// Product is what was seen of a product through all its feeds.
type Product struct {
	ID     string       `json:"product"`
	Name   string       `json:"name"`
	Scores Scores       `json:"scores"`
	Feeds  []FeedReport `json:"feeds"`
}

// FeedReport is what was seen of a feed, and where that differs from what is
// documented of its source.
type FeedReport struct {
	Feed       string    `json:"feed"`   // okta-prod/system_log
	Source     string    `json:"source"` // okta/system_log
	SourceName string    `json:"source_name"`
	Placed     bool      `json:"placed"`         // the source has a place in the matrix; findings have not, and are in no score
	Since      time.Time `json:"since,omitzero"` // when counting began
	AsOf       time.Time `json:"as_of,omitzero"` // all before was read
	Records    int64     `json:"records"`
	Unlisted   int64     `json:"unlisted"` // of them, without a place in the matrix
	Timeless   int64     `json:"timeless"` // of them, without a time that can be
	Gone       int64     `json:"gone"`     // that a state was found to lack
	First      time.Time `json:"first_seen,omitzero"`
	Last       time.Time `json:"last_seen,omitzero"`

	Lateness  Lateness  `json:"lateness"`
	Retention Retention `json:"retention"`
	Types     []Seen    `json:"event_types"` // in the matrix's order
	Kinds     []Unknown `json:"kinds"`       // of records without a place, the most frequent first
	Others    int64     `json:"others"`      // records without a place that are of none of the kinds

	NeverSeen     []string `json:"never_seen"`     // documented event types
	NotDocumented []string `json:"not_documented"` // event types that were seen, and that the source is not known to log
	Dark          []Dark   `json:"dark"`
	Notes         []Note   `json:"notes"`
	Words         []string `json:"words"` // the differences, and what else one should know
}

// Seen is an event type that was seen.
type Seen struct {
	Category   string    `json:"category"`
	EventType  string    `json:"event_type"`
	Name       string    `json:"name"`
	Documented bool      `json:"documented"`
	Count      int64     `json:"count"`
	First      time.Time `json:"first_seen,omitzero"`
	Last       time.Time `json:"last_seen,omitzero"`
	Filled     int       `json:"filled"` // attributes that at least one record fills
	Applicable int       `json:"applicable"`
	Attributes []Fill    `json:"attributes"` // those that apply, in the matrix's order
	Empty      []string  `json:"empty"`      // those that are documented, and that no record fills
	Lateness   Lateness  `json:"lateness"`
}

// Fill says in how many records an attribute has a value.
type Fill struct {
	Key        string  `json:"attribute"`
	Documented bool    `json:"documented"`
	Records    int64   `json:"records"`
	Share      float64 `json:"share"` // of the records of its event type
}

// Percent is the share as text: neither 0 nor 100 % unless it is.
func (f Fill) Percent() string {
	switch percent := 100 * f.Share; {
	case f.Records > 0 && percent < 1:
		return "<1 %"
	case percent > 99 && f.Share < 1:
		return ">99 %"
	default:
		return fmt.Sprintf("%.0f %%", percent)
	}
}

// Unknown is a kind of records that have no place in the matrix.
type Unknown struct {
	Value string    `json:"value"` // by which most events are told, such as the action
	Count int64     `json:"count"`
	First time.Time `json:"first_seen,omitzero"`
	Last  time.Time `json:"last_seen,omitzero"`
}

// Dark is an event type that was regular and is seen no more; see darkSince.
type Dark struct {
	EventType string    `json:"event_type"`
	Since     time.Time `json:"since"`         // the day after the last on which it was seen
	SeenOn    int       `json:"seen_on_days"`  // of the 56 before
	Pause     int       `json:"longest_pause"` // days without one, between those on which it was seen
	SilentFor int       `json:"silent_days"`
}

// Input is what a report is made of.
type Input struct {
	Now     time.Time
	Running bool
	Problem string
	Feeds   []*Feed
	Sources []Configured
	Read    map[string]Read // by the feed's name
}

// Read says how a feed was read.
type Read struct {
	To    time.Time     `json:"to,omitzero"` // to its end; what is later may have anything in it
	Asked time.Duration `json:"asked_ns"`    // how far back the product answered for
	Reach time.Duration `json:"reach_ns"`    // how old the oldest record was that it answered with
}

// Configured is a feed of the configuration.
type Configured struct {
	Connection string
	Source     *catalog.Source
	Interval   time.Duration // between two rounds of its live lane
}

// Make makes a report of the feeds that are configured, those of which nothing
// was seen too.
func Make(in Input) Report {
	r := Report{Now: in.Now, Running: in.Running, Problem: in.Problem, Products: []Product{}}
	sums := map[string]*sums{}
	for _, c := range in.Sources {
		f := newFeed(c.Connection, c.Source.ID)
		if i := slices.IndexFunc(in.Feeds, func(f *Feed) bool { return f.Connection == c.Connection && f.Source == c.Source.ID }); i >= 0 {
			f = in.Feeds[i]
		}
		id := c.Source.Product.ID
		i := slices.IndexFunc(r.Products, func(p Product) bool { return p.ID == id })
		if i < 0 {
			i = len(r.Products)
			r.Products = append(r.Products, Product{ID: id, Name: c.Source.Product.Name})
			sums[id] = newSums()
		}
		made := makeFeed(f, c, in.Read[f.Name()], in.Now)
		r.Products[i].Feeds = append(r.Products[i].Feeds, made)
		sums[id].add(f, &made, c)
	}
	for i := range r.Products {
		r.Products[i].Scores = sums[r.Products[i].ID].scores()
	}
	slices.SortFunc(r.Products, func(a, b Product) int { return cmp.Compare(a.ID, b.ID) })
	return r
}

func makeFeed(f *Feed, c Configured, read Read, now time.Time) FeedReport {
	s, interval := c.Source, c.Interval
	asOf := later(read.To, f.Last) // what is pushed is nowhere read to an end
	if asOf.After(now) {
		asOf = now
	}
	r := FeedReport{
		Feed: f.Name(), Source: s.FullName(), SourceName: s.Name, Placed: s.Matrix != nil, Since: f.Began, AsOf: asOf,
		Records: f.Records, Unlisted: f.Unlisted.Count, Timeless: f.Timeless, Gone: f.Gone, First: f.First, Last: f.Last,
		Types: []Seen{}, Kinds: []Unknown{}, Others: f.Others, NeverSeen: []string{}, NotDocumented: []string{}, Dark: []Dark{}, Notes: append([]Note{}, f.Notes...),
	}
	if r.Placed {
		r.Retention = makeRetention(read, s)
	}
	all := f.Unlisted.Lateness
	documented := documentedTypes(s)
	for _, t := range emm.Matrix().EventTypes {
		told, isDocumented := documented[t.Key]
		of := f.Types[t.Key]
		if of == nil || of.Count == 0 {
			if isDocumented {
				r.NeverSeen = append(r.NeverSeen, t.Key)
			}
			continue
		}
		if !isDocumented {
			r.NotDocumented = append(r.NotDocumented, t.Key)
		}
		all.Merge(&of.Lateness)
		r.Types = append(r.Types, makeSeen(t, of, told, s, interval))
		if d, dark := darkSince(of.Days, asOf); dark {
			d.EventType = t.Key
			r.Dark = append(r.Dark, d)
		}
	}
	r.Lateness = makeLateness(&all, s, interval)
	for value, k := range f.Kinds {
		r.Kinds = append(r.Kinds, Unknown{value, k.Count, k.First, k.Last})
	}
	slices.SortFunc(r.Kinds, func(a, b Unknown) int { return cmp.Or(-cmp.Compare(a.Count, b.Count), cmp.Compare(a.Value, b.Value)) })
	r.Words = r.words()
	return r
}

// documentedTypes are the event types that a source is documented to log, with
// the attributes that it tells of each.
func documentedTypes(s *catalog.Source) map[string]map[string]catalog.Paths {
	types := map[string]map[string]catalog.Paths{}
	if s.Matrix == nil {
		return types
	}
	for i, e := range s.Matrix.Events {
		if !e.Undocumented && types[e.EventType] == nil {
			types[e.EventType] = s.Matrix.Resolved(i)
		}
	}
	return types
}

func makeSeen(t emm.EventType, of *Type, told map[string]catalog.Paths, s *catalog.Source, interval time.Duration) Seen {
	seen := Seen{
		EventType: t.Key, Name: t.Name, Documented: told != nil, Count: of.Count, First: of.First, Last: of.Last,
		Attributes: []Fill{}, Empty: []string{}, Lateness: makeLateness(&of.Lateness, s, interval),
	}
	if s.Matrix != nil {
		if i := slices.IndexFunc(s.Matrix.Events, func(e catalog.MatrixEvent) bool { return e.EventType == t.Key }); i >= 0 {
			seen.Category = s.Matrix.Events[i].Category
		}
	}
	for i, key := range attributes() {
		if !emm.Matrix().Attributes[i].AppliesTo(t.Key) {
			continue
		}
		n := of.Filled[i]
		_, documented := told[key]
		seen.Attributes = append(seen.Attributes, Fill{key, documented, n, float64(n) / float64(of.Count)})
		switch {
		case n > 0:
			seen.Filled++
		case documented:
			seen.Empty = append(seen.Empty, key)
		}
	}
	seen.Applicable = len(seen.Attributes)
	return seen
}

// What makes an event type regular, and dark.
const (
	regularDays = 5 // on which it was seen, of the keptDays up to the last
	darkDays    = 7 // and more, without one
	darkPauses  = 2 // times the longest pause so far, and more
)

// darkSince applies the rule of what has gone dark: an event type that was seen
// on at least five of 56 days, and after them not for more than seven days and more
// than twice its longest pause in them. Days count up to the one before
// that up to which the feed was read: what was not read says nothing.
func darkSince(days map[int64]int64, asOf time.Time) (Dark, bool) {
	last, on := int64(0), []int64{}
	for d := range days {
		last, on = max(last, d), append(on, d)
	}
	on = slices.DeleteFunc(on, func(d int64) bool { return d <= last-keptDays })
	if len(on) < regularDays || asOf.IsZero() {
		return Dark{}, false
	}
	slices.Sort(on)
	pause := int64(0)
	for i := 1; i < len(on); i++ {
		pause = max(pause, on[i]-on[i-1]-1)
	}
	silent := day(asOf) - 1 - last
	if silent <= darkDays || silent <= darkPauses*pause {
		return Dark{}, false
	}
	return Dark{Since: time.Unix((last+1)*86400, 0).UTC(), SeenOn: len(on), Pause: int(pause), SilentFor: int(silent)}, true
}
