package observe

import (
	"slices"
	"strings"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/emm"
)

// Scores sum a product up. Each says what it counts, and has the list of it.
type Scores struct {
	Coverage  Score     `json:"coverage"`
	Fill      Score     `json:"fill"`
	Freshness Freshness `json:"freshness"`
	Retention Score     `json:"retention"`
}

// Score is how many of something there are; nothing is weighed.
type Score struct {
	Has   int      `json:"has"`
	Of    int      `json:"of"`
	Means string   `json:"means"`
	Yes   []string `json:"yes"` // those that count
	No    []string `json:"no"`  // those that lack
}

// FilledIn says of which event types that were seen records fill an attribute,
// and of which none does.
type FilledIn struct {
	Attribute     string
	Filled, Empty []string
}

// ByAttribute is the list behind Fill, in the matrix's order of attributes.
func (s Scores) ByAttribute() []FilledIn {
	var made []FilledIn
	of := func(names []string, attribute string) (types []string) {
		for _, name := range names {
			if eventType, a, _ := strings.Cut(name, "."); a == attribute {
				types = append(types, eventType)
			}
		}
		return types
	}
	for _, key := range attributes() {
		if in := (FilledIn{key, of(s.Fill.Yes, key), of(s.Fill.No, key)}); len(in.Filled)+len(in.Empty) > 0 {
			made = append(made, in)
		}
	}
	return made
}

// Freshness is how late half of the records, and all but one in a hundred, became
// visible.
type Freshness struct {
	Lateness
	Means  string     `json:"means"`
	Types  []FreshOne `json:"types"`  // by feed and event type
	Within []string   `json:"within"` // feeds that are as fast as documented
	Later  []string   `json:"later"`  // feeds that are not; those are in neither list of which it is not documented, or can't be told
}

// FreshOne is the lateness of an event type in a feed.
type FreshOne struct {
	Name string `json:"name"` // okta-prod/system_log account_login
	Lateness
}

// What the scores mean.
const (
	meansCoverage  = "event types that were seen, of those that the product is documented to log"
	meansFill      = "attributes that at least one record fills, of those that apply to the event types that were seen"
	meansFreshness = "how long after their time records were first seen: half of them within the one, all but one in a hundred within the other; the wait for the feed's next round is in it, a feed's first round, backfills and what is pushed are not"
	meansRetention = "feeds that answered with records nearly as old as documented (nine tenths), of those that were asked for ones so old"
)

// sums gathers the scores of a product over its feeds.
type sums struct {
	documented, seen []string            // event types
	filled           map[string][]string // attributes, by event type
	late             collect.Lateness
	told             []string // what is documented of it
	fresh            Freshness
	retention        Score
}

func newSums() *sums {
	return &sums{
		filled: map[string][]string{}, fresh: Freshness{Means: meansFreshness, Types: []FreshOne{}, Within: []string{}, Later: []string{}},
		retention: Score{Means: meansRetention, Yes: []string{}, No: []string{}},
	}
}

func (s *sums) add(f *Feed, r *FeedReport, c Configured) {
	for key := range documentedTypes(c.Source) {
		if !slices.Contains(s.documented, key) {
			s.documented = append(s.documented, key)
		}
	}
	for _, t := range r.Types {
		if !slices.Contains(s.seen, t.EventType) {
			s.seen = append(s.seen, t.EventType)
		}
		for _, a := range t.Attributes {
			if a.Records > 0 && !slices.Contains(s.filled[t.EventType], a.Key) {
				s.filled[t.EventType] = append(s.filled[t.EventType], a.Key)
			}
		}
		s.fresher(r.Feed+" "+t.EventType, &f.Types[t.EventType].Lateness, c)
	}
	if !r.Placed {
		return
	}
	s.fresher(r.Feed+", without a place", &f.Unlisted.Lateness, c)
	told := r.Lateness.DocumentedText
	if told == "" && r.Lateness.Documented > 0 {
		told = roughly(r.Lateness.Documented)
	}
	if told != "" && !slices.Contains(s.told, told) {
		s.told = append(s.told, told)
	}
	switch r.Lateness.Difference {
	case Same:
		s.fresh.Within = append(s.fresh.Within, r.Feed)
	case Later:
		s.fresh.Later = append(s.fresh.Later, r.Feed)
	}
	switch r.Retention.Difference {
	case Same:
		s.retention.Yes = append(s.retention.Yes, r.Feed)
	case Less:
		s.retention.No = append(s.retention.No, r.Feed)
	}
}

// fresher adds what was measured of one kind of records of a feed.
func (s *sums) fresher(name string, l *collect.Lateness, c Configured) {
	if l.Count() > 0 {
		s.fresh.Types = append(s.fresh.Types, FreshOne{name, makeLateness(l, c.Source, c.Interval)})
		s.late.Merge(l)
	}
}

func (s *sums) scores() Scores {
	sc := Scores{
		Coverage:  Score{Means: meansCoverage, Yes: []string{}, No: []string{}},
		Fill:      Score{Means: meansFill, Yes: []string{}, No: []string{}},
		Freshness: s.fresh, Retention: s.retention,
	}
	for _, t := range emm.Matrix().EventTypes {
		seen := slices.Contains(s.seen, t.Key)
		switch {
		case !slices.Contains(s.documented, t.Key):
		case seen:
			sc.Coverage.Yes = append(sc.Coverage.Yes, t.Key)
		default:
			sc.Coverage.No = append(sc.Coverage.No, t.Key)
		}
		if !seen {
			continue
		}
		for _, a := range emm.Matrix().Applicable(t.Key) {
			if name := t.Key + "." + a.Key; slices.Contains(s.filled[t.Key], a.Key) {
				sc.Fill.Yes = append(sc.Fill.Yes, name)
			} else {
				sc.Fill.No = append(sc.Fill.No, name)
			}
		}
	}
	sc.Freshness.Lateness = Lateness{
		Records: s.late.Count(), P50: s.late.Quantile(0.5), P99: s.late.Quantile(0.99), Most: s.late.Most, DocumentedText: strings.Join(s.told, "; "),
	}
	for _, score := range []*Score{&sc.Coverage, &sc.Fill, &sc.Retention} {
		score.Has, score.Of = len(score.Yes), len(score.Yes)+len(score.No)
	}
	return sc
}
