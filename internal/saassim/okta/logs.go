package okta

import (
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

const (
	defaultLimit = 100
	maxLimit     = 1000
	day          = 24 * time.Hour
)

// AddEvents makes events and returns their ids in the order of their times. An
// event is stored some moments after it was published, or much later; what is
// made after somebody polled is stored behind that.
func (o *Tenant) AddEvents(b saassim.Batch) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	fresh := make([]*event, b.N)
	for i, m := range o.Spread(o.gen.Dice, b) {
		fresh[i] = o.gen.event(m.At)
		fresh[i].stored = m.Visible.Add(time.Duration(o.gen.Float64() * float64(o.opts.Delay)))
		o.byID[fresh[i].id] = fresh[i]
	}
	slices.SortStableFunc(fresh, func(x, y *event) int { return x.stored.Compare(y.stored) })
	for _, e := range fresh {
		e.stored = o.stored.Put(e.stored, e)
	}
	o.log.Insert(fresh) // puts them in order
	ids := make([]string, len(fresh))
	for i, e := range fresh {
		ids[i] = e.id
	}
	return ids
}

// truth yields the events by time.
func (o *Tenant) truth(yield func(saassim.Truth) bool) {
	o.mu.RLock()
	log := o.log
	o.mu.RUnlock()
	for _, e := range log.All() {
		if !yield(saassim.Truth{Source: "okta/system_log", ID: e.id, Time: e.published, VisibleAt: e.stored, StreamAt: e.stored}) {
			return
		}
	}
}

// badRequest is a mistake in a request: a code, and what is wrong.
type badRequest struct {
	code, summary string
	causes        []string
}

func (e badRequest) Error() string { return e.summary }

// invalid is a value that does not fit.
func invalid(name, what string) error {
	return badRequest{"E0000001", fmt.Sprintf("Api validation failed: '%s': %s", name, what), []string{name + ": " + what}}
}

// asked is what a request asks for.
type asked struct {
	since, until time.Time
	limit        int
	after        string
	descending   bool
	polling      bool // no end, ascending: by the time of storage, and without end
	match        func(*event) bool
}

// readAsked reads a request's parameters; the others are ignored.
func readAsked(q url.Values, now time.Time) (a asked, err error) {
	a.limit, a.after, a.descending = defaultLimit, q.Get("after"), q.Get("sortOrder") == "DESCENDING"
	for name, t := range map[string]*time.Time{"since": &a.since, "until": &a.until} {
		if s := q.Get(name); s != "" {
			if *t, err = time.Parse(time.RFC3339Nano, s); err != nil {
				return a, invalid(name, "The date format in your query is not recognized. Please enter dates using ISO8601 string format.")
			}
		}
	}
	if s := q.Get("limit"); s != "" {
		if a.limit, err = strconv.Atoi(s); err != nil || a.limit < 0 || a.limit > maxLimit {
			return a, invalid("limit", "The limit must be an integer between 0 and 1000.")
		}
	}
	if s := q.Get("sortOrder"); s != "" && s != "ASCENDING" && s != "DESCENDING" {
		return a, invalid("sortOrder", "must be ASCENDING or DESCENDING.")
	}
	a.polling = a.until.IsZero() && !a.descending
	if a.until.IsZero() {
		a.until = now
	}
	if a.since.IsZero() {
		a.since = a.until.Add(-7 * day)
	}
	if now.Sub(a.since) > 180*day {
		return a, badRequest{code: "E0000053", summary: "Invalid parameter: The since parameter is over 180 days prior to the current day."}
	}
	a.match, err = matcher(q.Get("filter"), q.Get("q"))
	return a, err
}

// logs answers the request for the log.
func (o *Tenant) logs(c *saassim.Call) {
	c.API()
	c.Entry.Operation, c.Entry.Query = "logs", c.R.URL.RawQuery
	scheme := "SSWS"
	if strings.HasPrefix(strings.ToLower(c.R.Header.Get("Authorization")), "bearer ") {
		scheme = "Bearer"
	}
	c.Authorize(scheme)
	if c.Struck() || !o.allowed(c, scheme) {
		return
	}
	if c.R.Method != http.MethodGet {
		c.W.Header().Set("Allow", http.MethodGet)
		refuse(c, http.StatusMethodNotAllowed, "E0000022", "The endpoint does not support the provided HTTP method")
		return
	}
	a, err := readAsked(c.R.URL.Query(), o.Now())
	if err == nil && a.after != "" {
		if _, dead := c.Hit(saassim.DeadCursor); dead {
			err = invalid("after", "The cursor is no longer valid.")
		}
	}
	if err == nil {
		if a.polling {
			err = o.poll(c, a)
		} else {
			err = o.bounded(c, a)
		}
	}
	if err != nil {
		bad := err.(badRequest)
		refuse(c, http.StatusBadRequest, bad.code, bad.summary, bad.causes...)
	}
}

// poll answers with what was stored since a time or behind a cursor. There is
// always a next page.
func (o *Tenant) poll(c *saassim.Call, a asked) error {
	now := o.Now()
	o.mu.Lock()
	entries := o.stored.Read(now)
	from := sort.Search(len(entries), func(i int) bool { return !entries[i].At.Before(a.since) })
	if a.after != "" {
		var ok bool
		if from, ok = readCursor(a.after); !ok || from > len(entries) {
			o.mu.Unlock()
			return invalid("after", "The cursor is not valid.")
		}
	}
	kept := sort.Search(len(entries), func(i int) bool { return entries[i].At.After(now.Add(-o.opts.Retention)) })
	next := max(from, kept)
	var page []*event
	for ; next < len(entries) && len(page) < a.limit; next++ {
		if e := entries[next].Record; a.match(e) {
			page = append(page, e)
		}
	}
	o.mu.Unlock()
	o.show(c, a, page, writeCursor(now, next))
	return nil
}

// A cursor of polling is the time it was given out and a place.
func writeCursor(now time.Time, place int) string {
	return fmt.Sprintf("%d_%d", now.UnixMilli(), place)
}

func readCursor(s string) (place int, ok bool) {
	ms, n, ok := strings.Cut(s, "_")
	if _, err := strconv.ParseInt(ms, 10, 64); err != nil {
		return 0, false
	}
	place, err := strconv.Atoi(n)
	return place, ok && err == nil && place >= 0
}

// bounded answers with what was published in a window; the cursor is the last
// event of the page before. A page that is not full is the last.
func (o *Tenant) bounded(c *saassim.Call, a asked) error {
	now := o.Now()
	during := saassim.Window{After: a.since, Before: a.until, WithAfter: true}
	during.AtLeast(now.Add(-o.opts.Retention))
	o.mu.RLock()
	log, last := o.log, o.byID[a.after]
	o.mu.RUnlock()
	found := log.Select(now, during, a.match)
	if a.descending {
		found = slices.Clone(found)
		slices.Reverse(found)
	}
	if a.after != "" {
		if last == nil {
			return invalid("after", "The cursor is not valid.")
		}
		found = found[sort.Search(len(found), func(i int) bool { return behind(found[i], last, a.descending) }):]
	}
	page := found[:min(a.limit, len(found))]
	cursor := ""
	if len(page) == a.limit && len(page) > 0 {
		cursor = page[len(page)-1].id
	}
	o.show(c, a, page, cursor)
	return nil
}

// behind tells whether an event comes after another in an order.
func behind(e, other *event, descending bool) bool {
	d := e.published.Compare(other.published)
	if d == 0 {
		d = strings.Compare(e.id, other.id)
	}
	if descending {
		d = -d
	}
	return d > 0
}

// show answers with a page, and links to itself and to the next page if there
// is a cursor for it.
func (o *Tenant) show(c *saassim.Call, a asked, page []*event, cursor string) {
	c.W.Header().Add("Link", "<"+base(c)+c.R.URL.RequestURI()+`>; rel="self"`)
	if cursor != "" {
		q := c.R.URL.Query()
		q.Set("after", cursor)
		if a.polling {
			q.Del("since")
		} else {
			q.Set("since", a.since.UTC().Format(time.RFC3339Nano))
			q.Set("until", a.until.UTC().Format(time.RFC3339Nano))
		}
		host := base(c)
		if _, ok := c.Hit(saassim.ForeignNext); ok {
			host = "http://192.0.2.1:9"
		}
		c.W.Header().Add("Link", "<"+host+LogsPath+"?"+q.Encode()+`>; rel="next"`)
	}
	missing := false
	if len(page) > 0 {
		_, missing = c.Hit(saassim.MissingKeys)
	}
	body := []byte{'['}
	for i, e := range page {
		if i > 0 {
			body = append(body, ',')
		}
		if !missing {
			body = append(body, e.json...)
			continue
		}
		var d map[string]json.RawMessage
		if err := json.Unmarshal(e.json, &d); err != nil {
			panic(err) // it was made here
		}
		delete(d, "actor")
		delete(d, "client")
		body = append(body, saassim.Raw(d)...)
	}
	c.Page(len(page), append(body, ']'))
}
