package box

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/simtest"
)

func saassimBatch(n int) saassim.Batch { return saassim.Batch{N: n} }

// Without a stream type it is one user's feed, with kinds of event of its own.
func TestDefaultStreamIsOnesOwn(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	all := c.add(saassim.Batch{N: 2000})
	who := c.gen.users[1]
	c.token = c.signIn(credentials(user, who.id))
	own, _ := c.walk()
	if len(own) == 0 || len(own) > 200 {
		t.Fatalf("%d events of one of 40 users", len(own))
	}
	for _, e := range own {
		if e.CreatedBy["id"] != who.id || !strings.HasPrefix(e.Type, "ITEM_") || slices.Contains(all, e.ID) {
			t.Errorf("event %+v", e)
		}
	}
	// So it is with a misspelt parameter, and with the streams that are a user's.
	for _, pairs := range [][]string{{"steam_type", adminLogs}, {"stream_type", "changes"}} {
		if got, _ := c.walk(pairs...); cmp.Diff(own, got) != "" {
			t.Errorf("%v: %d events", pairs, len(got))
		}
	}
	c.token = c.signIn(credentials(enterprise, DefaultEnterpriseID))
	if p := c.page(); len(p.Entries) != 0 {
		t.Errorf("the application's own feed has %d events", len(p.Entries))
	}
	c.refused(c.ask(simtest.Query("stream_type", "admins_logs_streaming")), 400, "bad_request")
}

func TestLogIsChronological(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	made := c.add(saassim.Batch{N: 730, Equal: 3})
	all, pages := c.walk("stream_type", adminLogs)
	if pages != 8 || !slices.IsSortedFunc(all, func(a, b record) int { return a.At.Compare(b.At) }) {
		t.Errorf("%d pages", pages)
	}
	if d := cmp.Diff(simtest.Sorted(made), simtest.Sorted(ids(all))); d != "" {
		t.Error(d)
	}
	if _, pages := c.walk("stream_type", adminLogs, "limit", "9999"); pages != 2 { // it is lowered to 500
		t.Errorf("%d pages with a limit beyond the largest", pages)
	}
	for _, bad := range []string{"x", "0", "-1"} {
		c.refused(c.ask(simtest.Query("stream_type", adminLogs, "limit", bad)), 400, "invalid_limit")
	}
}

// A short page is not the end of the log, nor of the stream.
func TestShortPages(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{StreamTwice: -1})
	made := c.add(saassim.Batch{N: 300})
	simtest.Faults(t, c.Tenant.Tenant, "short=1/2")
	for _, stream := range []string{adminLogs, streaming} {
		got, pages := c.walk("stream_type", stream)
		if d := cmp.Diff(simtest.Sorted(made), simtest.Sorted(ids(got))); d != "" || pages < 5 {
			t.Errorf("%s, %d pages: %s", stream, pages, d)
		}
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	for _, inclusive := range []bool{false, true} {
		c := newTester(t, Options{Inclusive: inclusive})
		c.add(saassim.Batch{N: 500})
		all, _ := c.walk("stream_type", adminLogs)
		from, to := all[100].At, all[300].At
		var want []string
		for _, e := range all {
			if e.At.After(from) && e.At.Before(to) || inclusive && (e.At.Equal(from) || e.At.Equal(to)) {
				want = append(want, e.ID)
			}
		}
		got, _ := c.walk("stream_type", adminLogs, "created_after", from.UTC().Format(time.RFC3339), "created_before", to.Format(time.RFC3339))
		if d := cmp.Diff(want, ids(got)); d != "" {
			t.Errorf("inclusive %v: %s", inclusive, d)
		}
		// The stream does not look at it, and says nothing.
		whole := ids(c.page("stream_type", streaming, "limit", "500").Entries)
		if got := ids(c.page("stream_type", streaming, "limit", "500", "created_after", to.Format(time.RFC3339)).Entries); !slices.Equal(whole, got) {
			t.Errorf("the stream has %d events in a window, and %d without", len(got), len(whole))
		}
		c.refused(c.ask(simtest.Query("stream_type", adminLogs, "created_after", "yesterday")), 400, "bad_request")
	}
}

// Where there are no events the log's position is 0, and 0 is the beginning.
func TestNoEventsNoPosition(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.add(saassim.Batch{N: 30})
	first := c.page("stream_type", adminLogs)
	end := c.page("stream_type", adminLogs, "stream_position", first.position())
	if len(end.Entries) != 0 || end.position() != "0" {
		t.Errorf("behind the last: %d entries, position %s", len(end.Entries), end.Next)
	}
	if again := c.page("stream_type", adminLogs, "stream_position", end.position()); !slices.Equal(again.ids(), first.ids()) {
		t.Error("0 is not the beginning")
	}
	future := c.clock.Now().Add(time.Hour).Format(time.RFC3339)
	if p := c.page("stream_type", adminLogs, "created_after", future); p.position() != "0" {
		t.Errorf("a window without events: position %s", p.Next)
	}
	now := c.page("stream_type", adminLogs, "stream_position", "now")
	if len(now.Entries) != 0 || now.position() == "0" {
		t.Errorf("now: %d entries, position %s", len(now.Entries), now.Next)
	}
	fresh := c.add(saassim.Batch{N: 3, From: c.clock.Now().Add(time.Second), To: c.clock.Now().Add(2 * time.Second)})
	if p := c.page("stream_type", adminLogs, "stream_position", now.position()); !slices.Equal(simtest.Sorted(p.ids()), simtest.Sorted(fresh)) {
		t.Errorf("since now: %v, want %v", p.ids(), fresh)
	}
	// The stream has a position in any case.
	empty := newTester(t, Options{})
	if p := empty.page("stream_type", streaming); p.position() == "0" || len(p.Entries) != 0 {
		t.Errorf("the empty stream's position is %s", p.Next)
	}
}

// Positions are numbers too large for a float, or strings of their digits.
func TestPositionsAreWide(t *testing.T) {
	t.Parallel()
	for _, wide := range []bool{false, true} {
		c := newTester(t, Options{Wide: wide})
		c.add(saassim.Batch{N: 900})
		for _, stream := range []string{adminLogs, streaming} {
			numbers, texts, last := 0, 0, ""
			for range 40 {
				p := c.page("stream_type", stream, "limit", "20", "stream_position", last)
				if p.Next[0] == '"' {
					texts++
				} else {
					numbers++
				}
				last = p.position()
				v, err := strconv.ParseUint(last, 10, 64)
				if err != nil || uint64(float64(v)) == v || len(last) != map[bool]int{false: 19, true: 20}[wide] {
					t.Fatalf("position %s", p.Next)
				}
			}
			if numbers == 0 || texts == 0 {
				t.Errorf("%s: %d numbers and %d strings", stream, numbers, texts)
			}
			v, _ := strconv.ParseUint(last, 10, 64)
			near := strconv.FormatUint(uint64(float64(v)), 10) // what a float makes of it
			if rec := c.ask(simtest.Query("stream_type", stream, "stream_position", near)); rec.Code == 200 && simtest.Decode[page](t, rec, 200).ids()[0] == c.page("stream_type", stream, "stream_position", last).ids()[0] {
				t.Errorf("%s: a rounded position is the same place", stream)
			}
		}
		for _, bad := range []string{"x", "-1", "1", "99999999999999999999", "18446744073709551615", "1.5e18"} {
			for _, stream := range []string{adminLogs, streaming} {
				c.refused(c.ask(simtest.Query("stream_type", stream, "stream_position", bad)), 400, "bad_request")
			}
		}
		other := c.page("stream_type", streaming, "stream_position", "now").position()
		c.refused(c.ask(simtest.Query("stream_type", adminLogs, "stream_position", other)), 400, "bad_request")
	}
	for _, how := range []Positions{NumberPositions, StringPositions} {
		c := newTester(t, Options{Positions: how})
		if p := c.page("stream_type", streaming); (p.Next[0] == '"') != (how == StringPositions) {
			t.Errorf("%s: %s", how, p.Next)
		}
	}
	if _, err := New(Options{Positions: "x"}); err == nil {
		t.Error("unknown positions are accepted")
	}
}

// The stream has everything at least once, in the order of processing.
func TestStream(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{StreamTwice: 0.1})
	made := c.add(saassim.Batch{N: 800, From: c.clock.Now().Add(-time.Hour)})
	got, _ := c.walk("stream_type", streaming)
	all := simtest.Sorted(ids(got))
	if d := cmp.Diff(simtest.Sorted(made), slices.Compact(slices.Clone(all))); d != "" {
		t.Error(d)
	}
	if twice := len(all) - len(made); twice < 40 || twice > 160 {
		t.Errorf("%d of 800 came twice", twice)
	}
	if slices.IsSortedFunc(got, func(a, b record) int { return a.At.Compare(b.At) }) {
		t.Error("the stream is chronological")
	}
	logged, _ := c.walk("stream_type", adminLogs)
	for _, e := range got {
		l := slices.IndexFunc(logged, func(l record) bool { return l.ID == e.ID })
		if l < 0 || cmp.Diff(logged[l], e) != "" {
			t.Errorf("the log has another event than %v", e)
		}
		if d := e.Stored.Sub(e.At); d < 11*time.Second || d > 25*time.Second {
			t.Errorf("it took %v to store an event", d)
		}
	}
}

// An event is in the stream after some seconds and in the log later.
func TestDelays(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{StreamTwice: -1})
	count := func(stream string) int { return len(c.page("stream_type", stream).Entries) }
	now := c.page("stream_type", streaming, "stream_position", "now").position()
	c.AddEvents(saassim.Batch{N: 10, From: c.clock.Now(), To: c.clock.Now()})
	for _, step := range []struct {
		pass        time.Duration
		stream, log int
	}{{11 * time.Second, 0, 0}, {13 * time.Second, 10, 0}, {70 * time.Second, 10, 10}} {
		c.clock.Pass(step.pass)
		if s, l := count(streaming), count(adminLogs); s != step.stream || l != step.log {
			t.Errorf("%d in the stream and %d in the log, want %d and %d", s, l, step.stream, step.log)
		}
	}
	if p := c.page("stream_type", streaming, "stream_position", now); len(p.Entries) != 10 {
		t.Errorf("%d since then", len(p.Entries))
	}
}

// Some events are indexed late, behind a window that has been read; others are
// never in the stream.
func TestLateAndLost(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{StreamTwice: -1})
	late := c.AddEvents(saassim.Batch{N: 5, Late: 6 * time.Hour})
	c.add(saassim.Batch{N: 20})
	simtest.Faults(t, c.Tenant.Tenant, "lost")
	lost := c.add(saassim.Batch{N: 7})
	simtest.Faults(t, c.Tenant.Tenant, "")
	window := []string{"stream_type", adminLogs, "created_before", c.clock.Now().Format(time.RFC3339)}
	log, _ := c.walk(window...)
	stream, _ := c.walk("stream_type", streaming)
	for _, id := range lost {
		if slices.Contains(ids(stream), id) || !slices.Contains(ids(log), id) {
			t.Errorf("%s is in the stream or not in the log", id)
		}
	}
	behind := 0
	for _, id := range late {
		if slices.Contains(ids(stream), id) && !slices.Contains(ids(log), id) {
			behind++
		}
	}
	c.clock.Pass(7 * time.Hour)
	again, _ := c.walk(window...)
	if behind == 0 || len(again) != 32 {
		t.Errorf("%d were only in the stream; later the log has %d of 32", behind, len(again))
	}
	n := 0
	for r := range c.Truth() {
		if n++; r.StreamAt.IsZero() != slices.Contains(lost, r.ID) || r.Source != "box/events" {
			t.Errorf("truth %+v", r)
		}
	}
	if n != 32 {
		t.Errorf("the truth has %d", n)
	}
}

// What comes in after the stream was read comes in behind the position, however
// old it is: a client that follows the positions misses nothing.
func TestStreamNeverInsertsBehindAPosition(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.add(saassim.Batch{N: 100})
	position, seen := "0", map[string]bool{}
	for range 20 {
		p := c.page("stream_type", streaming, "stream_position", position, "limit", "17")
		for _, id := range p.ids() {
			seen[id] = true
		}
		position = p.position()
		c.AddEvents(saassim.Batch{N: 3}) // any time in the last day
		c.clock.Pass(3 * time.Second)
	}
	c.clock.Pass(time.Hour)
	rest, _ := c.walk("stream_type", streaming, "stream_position", position)
	for _, id := range ids(rest) {
		seen[id] = true
	}
	if len(seen) != 160 {
		t.Errorf("%d of 160 events were seen", len(seen))
	}
}

// The stream keeps two weeks, and a position that is older is refused.
func TestStreamForgets(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	c := newTester(t, Options{StreamTwice: -1})
	c.add(saassim.Batch{N: 10, From: c.clock.Now().Add(-20 * day), To: c.clock.Now().Add(-15 * day)})
	recent := c.add(saassim.Batch{N: 10})
	if got, _ := c.walk("stream_type", streaming); !slices.Equal(simtest.Sorted(ids(got)), simtest.Sorted(recent)) {
		t.Errorf("%d events", len(got))
	}
	if got, _ := c.walk("stream_type", adminLogs); len(got) != 20 {
		t.Errorf("the log has %d", len(got))
	}
	position := c.page("stream_type", streaming).position()
	c.clock.Pass(13 * day)
	position = c.page("stream_type", streaming, "stream_position", position).position() // it is used, and so renewed
	c.clock.Pass(13 * day)
	c.page("stream_type", streaming, "stream_position", position)
	c.clock.Pass(2 * day)
	if m := c.refused(c.ask(simtest.Query("stream_type", streaming, "stream_position", position)), 400, "bad_request"); m != "stream_position is too old" {
		t.Errorf("message %q", m)
	}
	c.clock.Pass(340 * day)
	if got, _ := c.walk("stream_type", adminLogs); len(got) != 0 {
		t.Errorf("after a year the log has %d", len(got))
	}

	fresh := newTester(t, Options{})
	p := fresh.page("stream_type", streaming).position()
	simtest.Faults(t, fresh.Tenant.Tenant, "dead-cursor")
	fresh.page("stream_type", streaming)
	fresh.page("stream_type", streaming, "stream_position", "now")
	fresh.refused(fresh.ask(simtest.Query("stream_type", streaming, "stream_position", p)), 400, "bad_request")
}

func TestFilterByType(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{StreamTwice: -1})
	c.add(saassim.Batch{N: 1000})
	for _, stream := range []string{adminLogs, streaming} {
		all, _ := c.walk("stream_type", stream)
		var want []string
		for _, e := range all {
			if e.Type == "LOGIN" || e.Type == "FAILED_LOGIN" {
				want = append(want, e.ID)
			}
		}
		got, _ := c.walk("stream_type", stream, "event_type", "LOGIN,FAILED_LOGIN", "limit", "20")
		if d := cmp.Diff(want, ids(got)); d != "" || len(want) < 50 {
			t.Errorf("%s: %s", stream, d)
		}
	}
}

// The answer to going too fast says how long to wait, and what it says is true.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTester(t, Options{PerMinute: 5})
		for range 5 {
			c.page("stream_type", streaming)
		}
		rec := c.ask(simtest.Query("stream_type", streaming))
		c.refused(rec, 429, "rate_limit_exceeded")
		another := simtest.Get(c, APIPath+"/events", "Bearer "+c.signIn(credentials(user, c.gen.users[1].id)))
		if another.Code != 200 {
			t.Errorf("another user: %d", another.Code)
		}
		wait, err := strconv.Atoi(rec.Header().Get("Retry-After"))
		if err != nil || wait < 1 || wait > 60 {
			t.Fatalf("Retry-After %q", rec.Header().Get("Retry-After"))
		}
		time.Sleep(time.Duration(wait) * time.Second)
		c.page("stream_type", streaming)
	})
}

func TestAnswersGoWrong(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.add(saassim.Batch{N: 10})
	for fault, want := range map[string]struct {
		status int
		code   string
	}{
		"throttle": {429, "rate_limit_exceeded"}, "error500": {500, "internal_server_error"}, "error502": {502, "bad_gateway"},
		"error503": {503, "unavailable"}, "unavailable:7s": {503, "unavailable"}, "unauthorized": {401, "unauthorized"},
	} {
		simtest.Faults(t, c.Tenant.Tenant, fault)
		rec := c.ask(simtest.Query("stream_type", streaming))
		c.refused(rec, want.status, want.code)
		if after := rec.Header().Get("Retry-After"); (after != "") != (want.status == 429 || strings.HasPrefix(fault, "unavailable")) {
			t.Errorf("%s: Retry-After %q", fault, after)
		}
	}
	simtest.Faults(t, c.Tenant.Tenant, "missing")
	for _, e := range c.page("stream_type", adminLogs).Entries {
		if e.IP != nil || e.CreatedBy != nil || e.ID == "" {
			t.Errorf("event %+v", e)
		}
	}
	simtest.Faults(t, c.Tenant.Tenant, "")
	c.refused(simtest.Get(c, "/2.0/users/me", "Bearer "+c.token), 404, "not_found")
	if s := c.Stats(); s.API == 0 || s.SignIns != 1 || s.Records != 10 {
		t.Errorf("stats %+v", s)
	}
	if r := c.Requests()[1]; r.Operation != streaming || r.Query != "stream_type="+streaming || r.Kind != saassim.KindAPI {
		t.Errorf("logged %+v", r)
	}
}

// Events have the keys of the samples that others have published.
func TestShape(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	c.add(saassim.Batch{N: 3000})
	kinds := map[string]bool{}
	for _, raw := range rawEntries(c) {
		var e map[string]any
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		kind := e["event_type"].(string)
		kinds[kind] = true
		for _, key := range []string{"action_by", "additional_details", "created_at", "created_by", "event_id", "event_type", "ip_address", "session_id", "source", "type"} {
			if _, ok := e[key]; !ok {
				t.Errorf("%s has no %s", kind, key)
			}
		}
		if at := e["created_at"].(string); !strings.HasSuffix(at, "-07:00") || len(at) != 25 {
			t.Errorf("created_at %s", at)
		}
		if by := e["created_by"].(map[string]any); kind == "FAILED_LOGIN" && (by["id"] != "2" || by["login"] != "") {
			t.Errorf("%s by %v", kind, by)
		}
		if (e["ip_address"] == "Unknown IP") != strings.HasPrefix(kind, "MULTI_FACTOR") {
			t.Errorf("%s from %v", kind, e["ip_address"])
		}
		source, _ := e["source"].(map[string]any)
		wants := map[string]string{"UPLOAD": "item_id", "GROUP_CREATION": "group_name", "GROUP_ADD_USER": "login", "NEW_USER": "login", "LOGIN": "login"}
		if key := wants[kind]; key != "" && source[key] == nil {
			t.Errorf("%s of %v", kind, source)
		}
	}
	if len(kinds) < 30 {
		t.Errorf("kinds %v", kinds)
	}
}

// rawEntries reads the whole log as it is.
func rawEntries(c *tester) (all []json.RawMessage) {
	q := simtest.Query("stream_type", adminLogs, "limit", "500")
	for {
		p := simtest.Decode[struct {
			page
			Entries []json.RawMessage
		}](c, c.ask(q), 200)
		if len(p.Entries) == 0 {
			return all
		}
		all = append(all, p.Entries...)
		q.Set("stream_position", p.position())
	}
}

// Everything may happen at once.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{Clock: time.Now, Faults: saassim.Faults{saassim.Chaos: {}, saassim.Lost: {Rate: 0.1}, saassim.Slow: {Rate: 0.1, Delay: time.Microsecond}}})
	c.AddEvents(saassim.Batch{N: 300})
	var wg sync.WaitGroup
	for _, stream := range []string{adminLogs, streaming, ""} {
		wg.Go(func() {
			position := ""
			for range 60 {
				if rec := c.ask(simtest.Query("stream_type", stream, "limit", "20", "stream_position", position)); rec.Code == 200 {
					var p page
					if json.Unmarshal(rec.Body.Bytes(), &p) == nil {
						position = p.position()
					}
				}
				simtest.Post(c, TokenPath, credentials(enterprise, DefaultEnterpriseID))
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
