package wiz

import (
	"cmp"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/saassim"
)

// auditEntry is an audit log entry. It never changes once it is made.
type auditEntry struct {
	id, requestID      string
	action, actionType string // actionType "": null
	status             string
	at                 time.Time // when it happened
	visible            time.Time // when queries begin to see it
	duration           int       // milliseconds
	by                 *principal
	params             jsontext.Value
	agent, ip, country string // "": null
	client             string // "": null
	engines            []string
	aiAgent            string // "": null
	shuffle            uint64 // its place when entries have no order
	rendering
}

func (e *auditEntry) Key() string         { return e.id }
func (e *auditEntry) Happened() time.Time { return e.at }
func (e *auditEntry) Shows() time.Time    { return e.visible }

func (e *auditEntry) typename() string { return "AuditLogEntry" }
func (e *auditEntry) kept() *rendering { return &e.rendering }

func (e *auditEntry) field(name string) any {
	switch name {
	case "id":
		return e.id
	case "action":
		return e.action
	case "actionType":
		return orNull(e.actionType)
	case "actionParameters":
		return e.params
	case "aiAgentType":
		return orNull(e.aiAgent)
	case "aiEngines":
		if e.engines == nil {
			return nil
		}
		return e.engines
	case "clientType":
		return orNull(e.client)
	case "duration":
		return e.duration
	case "performer":
		return snapshotOf{e.by}
	case "requestId":
		return orNull(e.requestID)
	case "serviceAccount":
		return e.by.as(serviceAccount)
	case "sourceIP":
		return orNull(e.ip)
	case "sourceIPCountryCode":
		return orNull(e.country)
	case "status":
		return e.status
	case "timestamp":
		return e.at
	case "user":
		return e.by.as(userAccount)
	case "userAgent":
		return orNull(e.agent)
	}
	return nil
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// auditEntries answers the auditLogEntries query.
func (c *call) auditEntries(args map[string]any) (object, gqlError) {
	w := c.w
	return c.connection("AuditLogEntry", args, w.opts.MaxAuditPage, max(0, w.opts.AuditCap), func() (result, error) {
		filterBy, _ := args["filterBy"].(map[string]any)
		f, err := readAuditFilter(filterBy, w.Now(), w.opts.Inclusive)
		if err != nil {
			return result{}, err
		}
		if w.opts.Retention > 0 {
			f.during.AtLeast(w.Now().Add(-w.opts.Retention))
		}
		if w.static != nil {
			return w.static.find(f, w.Now(), w.opts.Order)
		}
		if args["after"] != nil {
			if s, ok := c.Hit(saassim.Shift); ok {
				w.shiftAudit(s.N, f.during)
			}
		}
		order := w.opts.Order
		if _, ok := c.Hit(saassim.Unordered); ok {
			order = Shuffled
		}
		return w.findAudit(f, order), nil
	})
}

// findAudit runs a query over the entries in memory.
func (w *Tenant) findAudit(f auditFilter, order Order) result {
	w.mu.RLock()
	journal := w.audit
	w.mu.RUnlock()
	var match func(*auditEntry) bool
	if len(f.where) > 0 {
		match = f.matches
	}
	entries := journal.Select(w.Now(), f.during, match)
	if order == Shuffled {
		entries = slices.Clone(entries)
		slices.SortFunc(entries, func(a, b *auditEntry) int { return cmp.Compare(a.shuffle, b.shuffle) })
	}
	at := func(i int) object { return entries[i] }
	if order == NewestFirst {
		at = func(i int) object { return entries[len(entries)-1-i] }
	}
	return result{n: len(entries), at: at}
}

func (w *Tenant) auditEntry(id string) *auditEntry {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if e := w.auditByID[id]; e != nil && !e.visible.After(w.Now()) {
		return e
	}
	return nil
}

func (w *Tenant) insertAudit(fresh []*auditEntry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range fresh {
		w.auditByID[e.id] = e
	}
	w.audit.Insert(fresh)
}

// AddAudit makes audit log entries and returns their ids in the order of their
// times. A tenant with a static audit log adds none.
func (w *Tenant) AddAudit(b saassim.Batch) []string {
	if w.static != nil {
		return nil
	}
	w.mu.Lock()
	fresh := make([]*auditEntry, b.N)
	for i, t := range w.Spread(w.gen.Dice, b) {
		fresh[i] = w.gen.auditEntry(t.At)
		fresh[i].visible = t.Visible
	}
	w.mu.Unlock()
	w.insertAudit(fresh)
	ids := make([]string, len(fresh))
	for i, e := range fresh {
		ids[i] = e.id
	}
	return ids
}

// shiftAudit makes entries appear inside a window that is being walked.
func (w *Tenant) shiftAudit(n int, during saassim.Window) {
	now := w.Now()
	from, to := during.After, during.Before
	if to.IsZero() || to.After(now) {
		to = now
	}
	w.mu.RLock()
	if all := w.audit.All(); len(all) > 0 && all[0].at.After(from) {
		from = all[0].at
	}
	w.mu.RUnlock()
	if !from.Before(to) {
		return
	}
	w.mu.Lock()
	fresh := make([]*auditEntry, n)
	for i := range fresh {
		fresh[i] = w.gen.auditEntry(w.gen.Between(from, to))
		fresh[i].visible = now
	}
	w.mu.Unlock()
	w.insertAudit(fresh)
}

// auditSignIn and auditQuery leave the entries that the tenant's own use
// makes, where the options ask for them.
func (w *Tenant) auditSignIn(status string, r *http.Request) {
	if w.opts.AuditReads && w.static == nil {
		w.mu.Lock()
		e := w.gen.login(w.Now(), w.gen.self, status)
		e.agent, e.visible = r.UserAgent(), e.at
		w.mu.Unlock()
		w.insertAudit([]*auditEntry{e})
	}
}

func (w *Tenant) auditQuery(fields string, r *http.Request) {
	if !w.opts.AuditReads || w.static != nil {
		return
	}
	for name := range strings.SplitSeq(fields, ",") {
		w.mu.Lock()
		e := w.gen.query(w.Now(), w.gen.self, strings.ToUpper(name[:1])+name[1:])
		e.agent, e.visible = r.UserAgent(), e.at
		w.mu.Unlock()
		w.insertAudit([]*auditEntry{e})
	}
}

// auditFilter is AuditLogEntryFilters, read.
type auditFilter struct {
	during saassim.Window
	where  []func(*auditEntry) bool
}

func (f auditFilter) matches(e *auditEntry) bool {
	for _, ok := range f.where {
		if !ok(e) {
			return false
		}
	}
	return true
}

func readAuditFilter(m map[string]any, now time.Time, inclusive bool) (auditFilter, error) {
	f := auditFilter{during: saassim.Window{WithAfter: inclusive, WithBefore: inclusive}}
	and := func(ok func(*auditEntry) bool) { f.where = append(f.where, ok) }
	oneOf := func(v any, get func(*auditEntry) string) {
		want := texts(v)
		and(func(e *auditEntry) bool { return slices.Contains(want, get(e)) })
	}
	contains := func(v any, get func(*auditEntry) string) {
		want := strings.ToLower(v.(string))
		and(func(e *auditEntry) bool { return strings.Contains(strings.ToLower(get(e)), want) })
	}
	// equals and notEquals, as several of the filters have them; a null is
	// never equal and never unequal.
	compare := func(v any, get func(*auditEntry) string) {
		m := v.(map[string]any)
		if eq := m["equals"]; eq != nil {
			oneOf(eq, get)
		}
		if ne := texts(m["notEquals"]); m["notEquals"] != nil {
			and(func(e *auditEntry) bool { return get(e) != "" && !slices.Contains(ne, get(e)) })
		}
		if set, ok := m["isSet"].(bool); ok {
			and(func(e *auditEntry) bool { return (get(e) != "") == set })
		}
	}
	for _, name := range sortedKeys(m) {
		v := m[name]
		if v == nil {
			continue
		}
		switch name {
		case "timestamp":
			var err error
			if f.during, err = readWindow(v, now, inclusive); err != nil {
				return f, err
			}
		case "action", "actionV2":
			oneOf(v, func(e *auditEntry) string { return e.action })
		case "actionType":
			oneOf(v, func(e *auditEntry) string { return e.actionType })
		case "status":
			oneOf(v, func(e *auditEntry) string { return e.status })
		case "user":
			oneOf(v, func(e *auditEntry) string { return e.by.idAs(userAccount) })
		case "serviceAccount":
			oneOf(v, func(e *auditEntry) string { return e.by.idAs(serviceAccount) })
		case "userType":
			oneOf(v, func(e *auditEntry) string { return string(e.by.kind) })
		case "sourceIP", "sourceIp":
			oneOf(v, func(e *auditEntry) string { return e.ip })
		case "sourceIPCountryCode":
			compare(v, func(e *auditEntry) string { return e.country })
		case "clientType":
			compare(v, func(e *auditEntry) string { return e.client })
		case "aiAgentType":
			compare(v, func(e *auditEntry) string { return e.aiAgent })
		case "aiEngine":
			want := texts(v.(map[string]any)["contains"])
			and(func(e *auditEntry) bool {
				return slices.ContainsFunc(want, func(s string) bool { return slices.Contains(e.engines, s) })
			})
		case "userAgent":
			contains(v, func(e *auditEntry) string { return e.agent })
		case "search":
			contains(v, func(e *auditEntry) string { return e.id + " " + e.requestID })
		case "duration":
			m := v.(map[string]any)
			above, below := number(m["greaterThan"], math.MinInt), number(m["lessThan"], math.MaxInt)
			and(func(e *auditEntry) bool { return e.duration > above && e.duration < below })
		}
	}
	return f, nil
}
