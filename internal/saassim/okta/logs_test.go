package okta

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/simtest"
)

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// A bounded request is finite, and ordered by published.
func TestBounded(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	made := c.AddEvents(saassim.Batch{N: 730, Equal: 3})
	c.clock.Pass(time.Minute)
	since, until := stamp(c.clock.Now().Add(-48*time.Hour)), stamp(c.clock.Now())
	for order, limit := range map[string]string{"ASCENDING": "", "DESCENDING": "1000", "": "73"} {
		pairs := []string{"since", since, "until", until}
		if order != "" {
			pairs = append(pairs, "sortOrder", order)
		}
		if limit != "" {
			pairs = append(pairs, "limit", limit)
		}
		all, next := c.walk(target(pairs...))
		if order == "DESCENDING" {
			slices.Reverse(all)
		}
		if d := cmp.Diff(made, ids(all)); d != "" || next != "" {
			t.Errorf("%s %s: next %q, %s", order, limit, next, d)
		}
	}
	first, next := c.page(target("since", since, "until", until))
	q, err := url.Parse(next)
	if len(first) != 100 || err != nil || q.Query().Get("after") == "" || q.Query().Get("until") == "" || q.Query().Get("since") == "" {
		t.Errorf("%d events, next %s", len(first), next)
	}
	if !slices.IsSortedFunc(first, func(a, b record) int { return a.Published.Compare(b.Published) }) {
		t.Error("not in order")
	}
	// since is part of the window, until is not.
	from, to := first[20].Published, first[60].Published
	got, next := c.page(target("since", stamp(from), "until", stamp(to)))
	var want []string
	for _, e := range first {
		if !e.Published.Before(from) && e.Published.Before(to) {
			want = append(want, e.ID)
		}
	}
	if d := cmp.Diff(want, ids(got)); d != "" || next != "" {
		t.Errorf("next %q: %s", next, d)
	}
	// Descending without an end has the present as its end, and ends.
	down, next := c.walk(target("sortOrder", "DESCENDING"))
	if len(down) != 730 || next != "" {
		t.Errorf("%d events downwards, next %q", len(down), next)
	}
}

// Polling goes by the time of storage: it has a next page always, late events
// too, and nothing twice.
func TestPolling(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	made := c.AddEvents(saassim.Batch{N: 150})
	c.clock.Pass(time.Minute)
	all, next := c.walk(target("since", stamp(c.clock.Now().Add(-25*time.Hour)), "limit", "40"))
	if d := cmp.Diff(simtest.Sorted(made), simtest.Sorted(ids(all))); d != "" || next == "" {
		t.Fatalf("next %q: %s", next, d)
	}
	if strings.Contains(next, "since=") || !strings.Contains(next, "limit=40") {
		t.Errorf("next %s", next)
	}
	var want, got []string
	for range 10 {
		want = append(want, c.AddEvents(saassim.Batch{N: 5})...) // published at any time of the last day, stored now
		want = append(want, c.AddEvents(saassim.Batch{N: 2, Late: 3 * time.Minute, From: c.clock.Now(), To: c.clock.Now()})...)
		c.clock.Pass(time.Minute)
		events, after := c.page(next)
		got, next = append(got, ids(events)...), after
	}
	c.clock.Pass(time.Hour)
	rest, _ := c.walk(next)
	got = append(got, ids(rest)...)
	if d := cmp.Diff(simtest.Sorted(want), simtest.Sorted(got)); d != "" {
		t.Error(d)
	}
	empty, again := c.page(next)
	for range 2 {
		if empty, again = c.page(again); again == "" {
			t.Fatal("no next page behind the last event")
		}
	}
	if len(empty) != 0 {
		t.Errorf("%d events behind the last", len(empty))
	}
}

// A window that has been read can get more events; polling does not mind.
func TestLate(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.AddEvents(saassim.Batch{N: 20})
	late := c.AddEvents(saassim.Batch{N: 10, Late: 25 * time.Hour})
	window := target("since", stamp(c.clock.Now().Add(-25*time.Hour)), "until", stamp(c.clock.Now()), "limit", "1000")
	c.clock.Pass(time.Minute)
	before, _ := c.walk(window)
	_, next := c.walk(target("since", stamp(c.clock.Now().Add(-25*time.Hour))))
	c.clock.Pass(26 * time.Hour)
	after, _ := c.walk(window)
	polled, _ := c.walk(next)
	if len(before) != 20 || len(after) != 30 || !slices.Equal(simtest.Sorted(ids(polled)), simtest.Sorted(late)) {
		t.Errorf("%d events, later %d; polling has %d", len(before), len(after), len(polled))
	}
	whole, _ := c.walk(target("since", stamp(c.clock.Now().Add(-60*time.Hour))))
	if len(whole) != 30 || slices.IsSortedFunc(whole, func(a, b record) int { return a.Published.Compare(b.Published) }) {
		t.Errorf("of all, polling has %d, in the order of publishing", len(whole))
	}
}

func TestSinceAndRetention(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	now := c.clock.Now()
	c.AddEvents(saassim.Batch{N: 10, From: now.Add(-100 * day), To: now.Add(-95 * day)})
	c.AddEvents(saassim.Batch{N: 20, From: now.Add(-30 * day), To: now.Add(-20 * day)})
	c.AddEvents(saassim.Batch{N: 30, From: now.Add(-6 * day), To: now})
	c.clock.Pass(time.Minute)
	until := stamp(c.clock.Now())
	for name, tt := range map[string]struct {
		pairs []string
		want  int
	}{
		"a week by default":             {[]string{"until", until}, 30},
		"a week of polling":             {nil, 30},
		"ninety days are kept":          {[]string{"since", stamp(now.Add(-170 * day)), "until", until}, 50},
		"ninety days for polling, too":  {[]string{"since", stamp(now.Add(-170 * day))}, 50},
		"a window before there is what": {[]string{"since", stamp(now.Add(-80 * day)), "until", stamp(now.Add(-60 * day))}, 0},
	} {
		if all, _ := c.walk(target(tt.pairs...)); len(all) != tt.want {
			t.Errorf("%s: %d events, want %d", name, len(all), tt.want)
		}
	}
	if e := c.refused(c.get(target("since", stamp(now.Add(-181*day)))), 400, "E0000053"); !strings.Contains(e.Summary, "180 days") {
		t.Errorf("error %+v", e)
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.AddEvents(saassim.Batch{N: 5})
	c.clock.Pass(time.Minute)
	until := stamp(c.clock.Now())
	for name, tt := range map[string]struct {
		pairs []string
		code  string
	}{
		"since":                   {[]string{"since", "yesterday"}, "E0000001"},
		"until":                   {[]string{"until", "01-01-2017"}, "E0000001"},
		"limit":                   {[]string{"limit", "1001"}, "E0000001"},
		"negative limit":          {[]string{"limit", "-1"}, "E0000001"},
		"limit that is no number": {[]string{"limit", "x"}, "E0000001"},
		"order":                   {[]string{"sortOrder", "UP"}, "E0000001"},
		"cursor of polling":       {[]string{"after", "x"}, "E0000001"},
		"cursor without a place":  {[]string{"after", "1795262400000_"}, "E0000001"},
		"cursor of the future":    {[]string{"after", "1795262400000_6"}, "E0000001"},
		"negative cursor":         {[]string{"after", "1795262400000_-1"}, "E0000001"},
		"bounded cursor":          {[]string{"after", "1795262400000_1", "until", until}, "E0000001"},
		"keyword":                 {[]string{"q", strings.Repeat("x", 41)}, "E0000001"},
		"keywords":                {[]string{"q", "a b c d e f g h i j k"}, "E0000001"},
		"operator":                {[]string{"filter", `eventType eqq "x"`}, "E0000053"},
		"time in a filter":        {[]string{"filter", `published gt "2026-01-01"`}, "E0000053"},
		"half a filter":           {[]string{"filter", `eventType eq`}, "E0000053"},
		"parenthesis":             {[]string{"filter", `(eventType eq "x"`}, "E0000053"},
		"two filters":             {[]string{"filter", `eventType eq "x" eventType eq "y"`}, "E0000053"},
		"operator of a URL":       {[]string{"filter", `debugContext.debugData.url co "x"`}, "E0000031"},
	} {
		e := c.refused(c.get(target(tt.pairs...)), 400, tt.code)
		if tt.code == "E0000001" && len(e.Causes) != 1 {
			t.Errorf("%s: %+v", name, e)
		}
	}
	events, next := c.page(target("limit", "0"))
	if len(events) != 0 || next == "" {
		t.Errorf("limit 0: %d events, next %q", len(events), next)
	}
	_, next = c.page(target("limit", "2"))
	simtest.Faults(t, c.Tenant.Tenant, "dead-cursor")
	c.page(target("limit", "2"))
	c.refused(c.get(next), 400, "E0000001")
	simtest.Faults(t, c.Tenant.Tenant, "foreign-next")
	if _, next := c.page(target("limit", "2")); !strings.HasPrefix(next, "http://192.0.2.1:9/api/v1/logs?") {
		t.Errorf("next %s", next)
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.AddEvents(saassim.Batch{N: 1000})
	c.clock.Pass(time.Minute)
	all, _ := c.walk(target("limit", "1000"))
	who := all[0].Actor["alternateId"].(string)
	failed := func(e record) bool { return e.Outcome["result"] == "FAILURE" }
	login := func(e record) bool { return e.Type == "user.session.start" }
	for filter, match := range map[string]func(record) bool{
		`eventType eq "user.session.start"`:                                 login,
		`eventType eq "user.session.start" and outcome.result eq "FAILURE"`: func(e record) bool { return login(e) && failed(e) },
		`eventType sw "group." or eventType ew ".create"`: func(e record) bool {
			return strings.HasPrefix(e.Type, "group.") || strings.HasSuffix(e.Type, ".create")
		},
		`(eventType co "session" or severity eq "WARN") and not (outcome.result eq "SUCCESS")`: func(e record) bool { return failed(e) && (strings.Contains(e.Type, "session") || e.Severity == "WARN") },
		`actor.alternateId eq "` + who + `"`:                                                   func(e record) bool { return e.Actor["alternateId"] == who },
		`outcome.reason pr`:                                                                    failed,
		`eventType gt "user.s" and eventType le "user.session.start"`:                          func(e record) bool { return e.Type > "user.s" && e.Type <= "user.session.start" },
	} {
		var want []string
		for _, e := range all {
			if match(e) {
				want = append(want, e.ID)
			}
		}
		got, _ := c.walk(target("filter", filter, "limit", "7"))
		if d := cmp.Diff(want, ids(got)); d != "" || len(want) == 0 {
			t.Errorf("%s: %s", filter, d)
		}
	}
	got, _ := c.walk(target("filter", `target.type eq "UserGroup"`, "limit", "1000"))
	if len(got) == 0 || slices.ContainsFunc(got, func(e record) bool { return !strings.HasPrefix(e.Type, "group.") }) {
		t.Errorf("%d events with a group as the target", len(got))
	}
	found, _ := c.walk(target("q", "köln FIREFOX", "limit", "1000"))
	if len(found) == 0 || len(found) == len(all) {
		t.Errorf("%d of %d events by keywords", len(found), len(all))
	}
}

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{`eventType eq "x"`, `a pr`, `(a eq "b") and not c co "d" or e sw "f"`, `"`, `(`, `not`, `a eq "\"`, `((((`, `a eq b)`, `published pr`} {
		f.Add(seed, "word")
	}
	o := Options{}.withDefaults()
	g := newGenerator(o)
	e := g.event(simtest.Noon)
	f.Fuzz(func(t *testing.T, filter, words string) {
		match, err := matcher(filter, words)
		if err != nil {
			if _, ok := err.(badRequest); !ok {
				t.Errorf("error %T", err)
			}
			return
		}
		match(e)
		if filter != "" { // what can be read can be negated, and then it is the opposite
			not, err := matcher("not ("+filter+")", "")
			if err != nil {
				return // too deep now
			}
			yes, _ := matcher(filter, "")
			if yes(e) == not(e) {
				t.Errorf("%q and its opposite are both %v", filter, yes(e))
			}
		}
	})
}

// Events have the keys of the samples that others have published.
func TestShape(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.AddEvents(saassim.Batch{N: 2000})
	c.clock.Pass(time.Minute)
	seen, nullTargets := map[string]bool{}, 0
	for next := target("limit", "1000"); ; {
		rec := c.get(next)
		events := simtest.Decode[[]map[string]any](t, rec, 200)
		for _, e := range events {
			seen[fmt.Sprint(e["eventType"])] = true
			for _, key := range []string{"actor", "authenticationContext", "client", "debugContext", "displayMessage", "eventType", "legacyEventType",
				"outcome", "published", "request", "securityContext", "severity", "target", "transaction", "uuid", "version"} {
				if _, ok := e[key]; !ok {
					t.Errorf("%v has no %s", e["eventType"], key)
				}
			}
			if at, err := time.Parse("2006-01-02T15:04:05.000Z", e["published"].(string)); err != nil || at.IsZero() {
				t.Errorf("published %v", e["published"])
			}
			if e["target"] == nil {
				nullTargets++
			}
			if e["eventType"] == "group.user_membership.add" && len(e["target"].([]any)) != 2 {
				t.Errorf("targets %v", e["target"])
			}
		}
		if len(events) == 0 {
			break
		}
		_, next = c.page(next)
	}
	if len(seen) != len(kinds) || nullTargets == 0 {
		t.Errorf("%d kinds of event, %d without targets", len(seen), nullTargets)
	}
	simtest.Faults(t, c.Tenant.Tenant, "missing")
	if events, _ := c.page(target()); events[0].Actor != nil || events[0].ID == "" {
		t.Errorf("event %+v", events[0])
	}
}

// Everything may happen at once.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{Clock: time.Now, Faults: saassim.Faults{saassim.Chaos: {}, saassim.Slow: {Rate: 0.1, Delay: time.Microsecond}}})
	c.AddEvents(saassim.Batch{N: 300})
	var wg sync.WaitGroup
	for _, pairs := range [][]string{{"limit", "20"}, {"sortOrder", "DESCENDING", "limit", "20"}} {
		wg.Go(func() {
			for range 60 {
				var events []record
				_ = json.Unmarshal(c.get(target(pairs...)).Body.Bytes(), &events) // it may be damaged
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			c.AddEvents(saassim.Batch{N: 3})
			for range c.Truth() {
			}
		}
	})
	wg.Wait()
}
