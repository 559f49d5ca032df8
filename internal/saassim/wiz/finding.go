package wiz

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// finding is a record that changes and may go, with all the states it has been
// in: a vulnerability or configuration finding, a detection, a health issue.
type finding struct {
	id       string
	versions []*findingVersion // oldest first; later ones become visible later, or at once
}

// findingVersion is one state of a finding. It never changes once it is made.
type findingVersion struct {
	thing             // its fields; those that are absent are null
	visible time.Time // when queries begin to see it
	began   time.Time // what its time of change says; of a detection without one, when it started
	gone    bool      // queries do not see the finding any more
	events  []thing   // of a detection: what set it off, first to last
}

// at is the state that queries see at a time, nil before there is one and once
// it is gone.
func (f *finding) at(now time.Time) *findingVersion {
	for n := len(f.versions) - 1; n >= 0; n-- {
		if v := f.versions[n]; !v.visible.After(now) {
			if v.gone {
				return nil
			}
			return v
		}
	}
	return nil
}

func (f *finding) last() *findingVersion { return f.versions[len(f.versions)-1] }

// findingKind is a kind of finding: how it is asked for, and how it lives.
type findingKind struct {
	source    string // configuration_findings
	many, one string // the queries: configurationFindings, configurationFinding
	node      string // ConfigurationFinding
	scope     string
	page      func(Options) int
	limit     func(Options) int // results of a query; 0: no limit
	filters   map[string]finder
	always    func(filterBy map[string]any) []asked // what a query asks for without saying so
	orders    map[string]string                     // value of orderBy.field → the field
	newest    string                                // the field by which they are ordered, last first, where nothing is said
	make      func(g *generator, at time.Time) *findingVersion
	change    func(g *generator, old *findingVersion, at time.Time) *findingVersion
}

// asked tells whether a finding is asked for.
type asked = func(thing) bool

// finder reads the value of a filter.
type finder func(v any, now time.Time, inclusive bool) (asked, error)

// findingKinds are all there are, by their source.
var findingKinds = []*findingKind{vulnerabilities, configurationFindings, detections, healthIssues}

func kindOf(query string) *findingKind {
	i := slices.IndexFunc(findingKinds, func(k *findingKind) bool { return k.many == query || k.one == query })
	if i < 0 {
		return nil
	}
	return findingKinds[i]
}

// findings answers a query for a page of findings.
func (c *call) findings(k *findingKind, args map[string]any) (object, gqlError) {
	w := c.w
	limit := max(0, k.limit(w.opts))
	return c.connection(k.node, args, k.page(w.opts), limit, func() (result, error) {
		if args["after"] != nil {
			if s, ok := c.Hit(saassim.Shift); ok {
				w.ChangeFindings(k.source, s.N)
			}
		}
		filterBy, _ := args["filterBy"].(map[string]any)
		where, err := k.where(filterBy, w.Now(), w.opts.Inclusive)
		if err != nil {
			return result{}, err
		}
		order, _ := args["orderBy"].(map[string]any)
		found := w.findFindings(k, where, order)
		return result{n: len(found), at: func(i int) object { return found[i] }, counts: findingCounts(found, limit)}, nil
	})
}

// finding answers a query for one finding.
func (c *call) finding(k *findingKind, id string) (object, gqlError) {
	c.w.mu.RLock()
	defer c.w.mu.RUnlock()
	for _, f := range c.w.findings[k] {
		if f.id == id {
			if v := f.at(c.w.Now()); v != nil {
				return v, gqlError{}
			}
		}
	}
	return nil, gqlError{Message: "Resource not found", Code: codeNotFound}
}

func (w *Tenant) findFindings(k *findingKind, where []asked, order map[string]any) []*findingVersion {
	now := w.Now()
	var found []*findingVersion
	w.mu.RLock()
next:
	for _, f := range w.findings[k] {
		v := f.at(now)
		if v == nil {
			continue
		}
		for _, ok := range where {
			if !ok(v.thing) {
				continue next
			}
		}
		found = append(found, v)
	}
	w.mu.RUnlock()
	k.sort(found, order)
	return found
}

// sort puts findings into the order asked for. Nulls come last when ascending,
// and ids settle what is equal.
func (k *findingKind) sort(found []*findingVersion, order map[string]any) {
	field := k.newest
	if order == nil {
		order = map[string]any{"direction": "DESC"}
	} else {
		name, _ := order["field"].(string)
		field = k.orders[name]
	}
	slices.SortFunc(found, func(a, b *findingVersion) int {
		return directed(order, cmp.Or(compareFields(a.thing[field], b.thing[field]), strings.Compare(textOf(a.thing, "id"), textOf(b.thing, "id"))))
	})
}

func compareFields(a, b any) int {
	switch x := a.(type) {
	case time.Time:
		if y, ok := b.(time.Time); ok {
			return x.Compare(y)
		}
		return -1
	case string: // a severity
		y, _ := b.(string)
		return cmp.Compare(slices.Index(severities, x), slices.Index(severities, y))
	}
	if b == nil {
		return 0
	}
	return 1
}

// findingCounts are the counts that a page gives of the whole result: how many
// have a severity or a result, and whether there are more than a query yields.
func findingCounts(found []*findingVersion, limit int) func(string) any {
	return func(name string) any {
		if name == "maxCountReached" {
			return limit > 0 && len(found) > limit
		}
		n := 0
		for _, v := range found {
			severity, result := strings.ToLower(textOf(v.thing, "severity")), strings.ToLower(strings.ReplaceAll(textOf(v.thing, "result"), "_", ""))
			if name == severity+"SeverityCount" || strings.ToLower(name) == result+"count" {
				n++
			}
		}
		return n
	}
}

// AddFindings makes findings of a source (one of those that are not the audit
// log or the issues), with what became of each until the end of the batch, and
// returns their ids in the order of their creation. The lateness of the batch
// applies to every state.
func (w *Tenant) AddFindings(source string, b saassim.Batch) []string {
	k := kindOfSource(source)
	w.mu.Lock()
	defer w.mu.Unlock()
	end := b.To
	if end.IsZero() {
		end = w.Now()
	}
	moments := w.Spread(w.more.Dice, b)
	slices.SortFunc(moments, func(x, y saassim.Moment) int { return x.At.Compare(y.At) })
	ids := make([]string, len(moments))
	for n, m := range moments {
		v := k.make(w.more, m.At)
		late := m.Visible.Sub(m.At)
		v.visible = m.Visible
		f := &finding{id: textOf(v.thing, "id"), versions: []*findingVersion{v}}
		for w.more.Chance(0.4) {
			at := w.more.Between(f.last().began, end)
			if !f.last().began.Before(at) {
				break
			}
			next := k.change(w.more, f.last(), at)
			next.visible = at.Add(late)
			f.versions = append(f.versions, next)
		}
		w.findings[k] = append(w.findings[k], f)
		ids[n] = f.id
	}
	return ids
}

func kindOfSource(source string) *findingKind {
	return findingKinds[slices.IndexFunc(findingKinds, func(k *findingKind) bool { return k.source == source })]
}

// ChangeFindings lets so many findings of a source change now, each once, and
// returns their ids.
func (w *Tenant) ChangeFindings(source string, n int) []string {
	k := kindOfSource(source)
	return w.eachFinding(k, n, func(f *finding, now time.Time) *findingVersion { return k.change(w.more, f.last(), now) })
}

// RemoveFindings lets so many findings of a source go now, without a trace, and
// returns their ids.
func (w *Tenant) RemoveFindings(source string, n int) []string {
	return w.eachFinding(kindOfSource(source), n, func(*finding, time.Time) *findingVersion { return &findingVersion{gone: true} })
}

// eachFinding gives so many findings a new state, now.
func (w *Tenant) eachFinding(k *findingKind, n int, next func(*finding, time.Time) *findingVersion) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.Now().Truncate(time.Microsecond)
	var ids []string
	for _, i := range w.more.Perm(len(w.findings[k])) {
		f := w.findings[k][i]
		if len(ids) == n {
			break
		}
		if f.last().visible.After(now) || f.last().gone {
			continue // a state that is still to come would be overtaken
		}
		v := next(f, now)
		v.visible = now
		f.versions = append(f.versions, v)
		ids = append(ids, f.id)
	}
	return ids
}

// findingLives makes a finding or changes one, about equally often.
func (w *Tenant) findingLives(source string) {
	w.mu.Lock()
	change := w.more.Chance(0.5)
	w.mu.Unlock()
	if !change || len(w.ChangeFindings(source, 1)) == 0 {
		now := w.Now()
		w.AddFindings(source, saassim.Batch{N: 1, From: now, To: now})
	}
}

// Events are the ids of the events that set off a detection as it is now, by id.
func (w *Tenant) Events() map[string][]string {
	w.mu.RLock()
	defer w.mu.RUnlock()
	all := map[string][]string{}
	for _, f := range w.findings[detections] {
		if v := f.at(w.Now()); v != nil {
			for _, e := range v.events {
				all[f.id] = append(all[f.id], textOf(e, "id"))
			}
		}
	}
	return all
}

// findingTruth are the states that findings have been in and will be in, by
// source and creation. That one has gone, or is deleted and so hidden, shows by
// its last state's end.
func (w *Tenant) findingTruth() (states []saassim.Truth) {
	for _, k := range findingKinds {
		for _, f := range w.findings[k] {
			for n, v := range f.versions {
				if v.gone || v.thing["deleted"] == true {
					continue
				}
				t := saassim.Truth{Source: "wiz/" + k.source, ID: f.id, Time: v.began, VisibleAt: v.visible, Status: textOf(v.thing, "status")}
				if n+1 < len(f.versions) {
					t.ReplacedAt = f.versions[n+1].visible
				}
				states = append(states, t)
			}
		}
	}
	return states
}
