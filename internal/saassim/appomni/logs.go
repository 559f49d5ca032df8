package appomni

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// AddAudit makes audit events and returns their ids in the order of their
// times. Once they are visible they are pushed too.
func (a *Tenant) AddAudit(b saassim.Batch) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	fresh := make([]*event, b.N)
	for i, m := range a.Spread(a.gen.Dice, b) {
		fresh[i] = a.gen.event(m)
	}
	arriving := slices.Clone(fresh)
	slices.SortStableFunc(arriving, func(x, y *event) int { return x.visible.Compare(y.visible) })
	for _, e := range arriving {
		if _, lost := a.Draw(saassim.Lost); !lost {
			e.pushed = a.arrivals.Put(e.visible, e)
		}
	}
	a.log.Insert(fresh) // puts them in order
	ids := make([]string, len(fresh))
	for i, e := range fresh {
		ids[i] = e.id
	}
	return ids
}

// truth yields the events by time.
func (a *Tenant) truth(yield func(saassim.Truth) bool) {
	a.mu.RLock()
	log := a.log
	a.mu.RUnlock()
	for _, e := range log.All() {
		if !yield(saassim.Truth{Source: "appomni/audit", ID: e.id, Time: e.at, VisibleAt: e.visible, StreamAt: e.pushed}) {
			return
		}
	}
}

// auditLogs answers with a page of the audit log, the newest first.
func (a *Tenant) auditLogs(c *saassim.Call) {
	q := c.R.URL.Query()
	during := saassim.Window{WithAfter: a.opts.Inclusive, WithBefore: a.opts.Inclusive}
	wrong := map[string][]string{}
	for name, end := range map[string]*time.Time{"since": &during.After, "before": &during.Before} {
		if s := q.Get(name); s != "" {
			var ok bool
			if *end, ok = readTime(s); !ok {
				wrong[name] = []string{"Enter a valid date/time."}
			}
		}
	}
	if len(wrong) > 0 {
		c.JSON(http.StatusBadRequest, wrong)
		return
	}
	limit := min(positive(q.Get("limit"), a.opts.PageSize), a.opts.MaxPage)
	offset := positive(q.Get("offset"), 0)
	if offset > 0 {
		if s, ok := c.Hit(saassim.Shift); ok {
			now := a.Now()
			a.AddAudit(saassim.Batch{N: s.N, From: now, To: now})
		}
	}
	now := a.Now()
	during.AtLeast(now.Add(-a.opts.Retention))
	a.mu.RLock()
	log := a.log
	a.mu.RUnlock()
	found := log.Select(now, during, matcher(q))
	n := len(found)
	from := min(offset, n)
	to := min(from+limit, n)
	missing := false
	if to > from {
		_, missing = c.Hit(saassim.MissingKeys)
	}
	body := fmt.Appendf(nil, `{"count":%d,"next":%s,"previous":%s,"results":[`, n, a.link(c, to < n, limit, offset+limit), a.link(c, offset > 0, limit, max(0, offset-limit)))
	for i := from; i < to; i++ {
		if i > from {
			body = append(body, ',')
		}
		body = append(body, found[n-1-i].row(missing)...)
	}
	c.Page(to-from, append(body, "]}"...))
}

// matcher reads the filters, nil if there are none.
func matcher(q url.Values) func(*event) bool {
	filters := map[string]func(*event) string{
		"action_type":       func(e *event) string { return e.action },
		"user":              func(e *event) string { return number(e.user) },
		"monitored_service": func(e *event) string { return number(e.service.id) },
		"policy":            func(e *event) string { return number(e.policy) },
	}
	var where []func(*event) bool
	for name, get := range filters {
		if want := q.Get(name); want != "" {
			where = append(where, func(e *event) bool { return get(e) == want })
		}
	}
	if len(where) == 0 {
		return nil
	}
	return func(e *event) bool {
		return !slices.ContainsFunc(where, func(ok func(*event) bool) bool { return !ok(e) })
	}
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// positive reads a number; what is none is the other one.
func positive(s string, other int) int {
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return n
	}
	return other
}

// readTime reads a time as Django does: with or without a zone or a fraction.
func readTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// link is the address of a page, as JSON: the request's own, at another offset.
func (a *Tenant) link(c *saassim.Call, there bool, limit, offset int) string {
	if !there {
		if a.opts.NullNext {
			return "null"
		}
		return `"null"`
	}
	q := c.R.URL.Query()
	q.Set("limit", strconv.Itoa(limit))
	q.Set("offset", strconv.Itoa(offset))
	if offset == 0 {
		q.Del("offset")
	}
	host := c.R.Host
	if offset > positive(c.R.URL.Query().Get("offset"), 0) {
		if _, ok := c.Hit(saassim.ForeignNext); ok {
			host = "192.0.2.1:9"
		}
	}
	return strconv.Quote("http://" + host + logsPath + "?" + q.Encode())
}

// actionTypes answers with the catalogue of actions.
func (a *Tenant) actionTypes(c *saassim.Call) {
	type action struct {
		Type        string `json:"action_type"`
		Description string `json:"description"`
	}
	var all []action
	for _, k := range actions {
		all = append(all, action{k.name, k.about})
	}
	c.JSON(http.StatusOK, all)
}
