package appomni

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/simtest"
)

func nothingBetween() {}

func TestPages(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	made := c.AddAudit(saassim.Batch{N: 230})
	got, pages := c.walk(logsPath, nothingBetween)
	if d := cmp.Diff(simtest.Sorted(made), simtest.Sorted(got)); d != "" || pages != 5 {
		t.Errorf("%d pages: %s", pages, d)
	}
	p := c.page("limit", "500") // it is lowered
	if len(p.Results) != 100 || p.Count != 230 || p.Previous != "null" {
		t.Errorf("%d results of %d, previous %v", len(p.Results), p.Count, p.Previous)
	}
	next, err := url.Parse(p.Next.(string))
	if err != nil || next.Path != logsPath || next.Query().Get("limit") != "100" || next.Query().Get("offset") != "100" {
		t.Errorf("next %v", p.Next)
	}
	if !slices.IsSortedFunc(p.Results, func(a, b row) int { return b.time(t).Compare(a.time(t)) }) {
		t.Error("the newest is not first")
	}
	last := c.page("limit", "100", "offset", "200")
	if len(last.Results) != 30 || last.Next != "null" || !strings.Contains(fmt.Sprint(last.Previous), "offset=100") {
		t.Errorf("the last page has %d results, next %v, previous %v", len(last.Results), last.Next, last.Previous)
	}
	if p := c.page("offset", "1000"); len(p.Results) != 0 || p.Next != "null" {
		t.Errorf("behind the end: %v", p)
	}
	if p := c.page("limit", "x", "offset", "-3", "nonsense", "1"); len(p.Results) != 50 {
		t.Errorf("odd parameters: %d results", len(p.Results))
	}
	c = newTester(t, Options{NullNext: true})
	if p := c.page(); p.Next != nil || p.Previous != nil {
		t.Errorf("next %v, previous %v", p.Next, p.Previous)
	}
}

// Rows that arrive during a walk push others onto the next page, unless the
// window has an end.
func TestOffsetsShift(t *testing.T) {
	t.Parallel()
	for _, pinned := range []bool{false, true} {
		c := newTester(t, Options{})
		made := c.AddAudit(saassim.Batch{N: 200})
		c.clock.Pass(time.Minute)
		simtest.Faults(t, c.Tenant.Tenant, "shift:7")
		first := logsPath + "?limit=40"
		if pinned {
			first += "&before=" + c.clock.Now().Format(time.RFC3339)
			c.clock.Pass(time.Second)
		}
		got, _ := c.walk(first, nothingBetween)
		twice := len(got) - len(slices.Compact(simtest.Sorted(got)))
		if pinned && (twice > 0 || !slices.Equal(simtest.Sorted(got), simtest.Sorted(made))) {
			t.Errorf("with an end: %d twice, %d of %d", twice, len(got), len(made))
		}
		if !pinned && twice < 20 {
			t.Errorf("without an end %d came twice", twice)
		}
	}
}

func TestWindowAndFilters(t *testing.T) {
	t.Parallel()
	for _, inclusive := range []bool{false, true} {
		c := newTester(t, Options{Inclusive: inclusive, MaxPage: 1000})
		c.AddAudit(saassim.Batch{N: 500})
		c.AddAudit(saassim.Batch{N: 5, From: c.clock.Now().Add(-190 * 24 * time.Hour), To: c.clock.Now().Add(-181 * 24 * time.Hour)})
		all := c.page("limit", "1000").Results
		if len(all) != 500 {
			t.Fatalf("%d results; older than 180 days are not kept", len(all))
		}
		since, before := all[300].At, all[100].At
		var want []string
		for _, r := range all {
			at := r.time(t)
			if at.After(all[300].time(t)) && at.Before(all[100].time(t)) || inclusive && (r.At == since || r.At == before) {
				want = append(want, r.ID)
			}
		}
		if got := c.page("limit", "1000", "since", since, "before", before).ids(); !slices.Equal(got, want) {
			t.Errorf("inclusive %v: %d results, want %d", inclusive, len(got), len(want))
		}
		for name, match := range map[string]func(row) bool{
			"action_type=user_login_google": func(r row) bool { return r.Action == "user_login_google" },
			"user=3037":                     func(r row) bool { return r.User != nil && *r.User == 3037 },
			"policy=410002":                 func(r row) bool { return r.Policy != nil && *r.Policy == 410002 },
		} {
			key, value, _ := strings.Cut(name, "=")
			want := 0
			for _, r := range all {
				if match(r) {
					want++
				}
			}
			p := c.page("limit", "1000", key, value)
			if p.Count != want || want == 0 || slices.ContainsFunc(p.Results, func(r row) bool { return !match(r) }) {
				t.Errorf("%s: %d results, want %d", name, p.Count, want)
			}
		}
		e := simtest.Decode[map[string][]string](t, c.get(logsPath+"?since=yesterday&before=x"), 400)
		if len(e["since"]) != 1 || len(e["before"]) != 1 {
			t.Errorf("error %v", e)
		}
	}
}

// A row has every key, most of them null; times have microseconds and a Z.
func TestRowShape(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{MaxPage: 5000})
	c.AddAudit(saassim.Batch{N: 3000})
	rows := simtest.Decode[struct{ Results []map[string]any }](t, c.get(logsPath+"?limit=5000"), 200).Results
	kinds, whole := map[any]bool{}, 0
	for _, r := range rows {
		kinds[r["action_type"]] = true
		at := r["action_at"].(string)
		if !strings.HasSuffix(at, "Z") || !strings.Contains(at, ".") && len(at) != len("2026-11-20T12:00:00Z") {
			t.Errorf("action_at %s", at)
		}
		if !strings.Contains(at, ".") {
			whole++
		}
		data := r["action_data"].(map[string]any)
		for _, key := range []string{"user_ip", "user_agent", "user_username", "target_user_id", "setting_name", "detail_str", "eventsource_name", "sink_id"} {
			if _, ok := data[key]; !ok {
				t.Errorf("no %s in %v", key, r["action_type"])
			}
		}
		if _, ok := data["md_kind"]; ok || len(data) != len(dataKeys) {
			t.Errorf("%d keys", len(data))
		}
		for _, key := range []string{"identifier", "user_id", "perspective_id", "perspective_name", "service_id", "service_type", "service_name", "policy_id"} {
			if _, ok := r[key]; !ok {
				t.Errorf("no %s in %v", key, r["action_type"])
			}
		}
		if r["log_id"] != nil || r["org_id"] != nil || r["action_type"] == "detection_alert_closed" && data["user_ip"] != nil {
			t.Errorf("row %v", r)
		}
	}
	if len(kinds) != len(actions) || whole == 0 {
		t.Errorf("%d kinds of action, %d times of whole seconds", len(kinds), whole)
	}
	types := simtest.Decode[[]map[string]string](t, c.get(actionsPath), 200)
	for _, a := range types {
		delete(kinds, a["action_type"])
		if a["description"] == "" {
			t.Errorf("action %v", a)
		}
	}
	if len(kinds) > 0 {
		t.Errorf("not in the catalogue: %v", kinds)
	}
}

// Every answer says how much of the budget is used; when it is spent, it is
// refused, without a word on how long.
func TestBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTester(t, Options{Budget: 5})
		for i := range 7 {
			rec := c.get(logsPath)
			want, header := 200, fmt.Sprintf("%d/5", min(i+1, 5))
			if i >= 5 {
				want = 429
			}
			if rec.Code != want || rec.Header().Get("X-RateLimit") != header || rec.Header().Get("Retry-After") != "" {
				t.Errorf("request %d: %d %v", i, rec.Code, rec.Header())
			}
			if want == 429 && !strings.Contains(rec.Body.String(), `"detail"`) {
				t.Errorf("answer %s", rec.Body)
			}
		}
		time.Sleep(time.Hour)
		if rec := c.get(logsPath); rec.Code != 200 || rec.Header().Get("X-RateLimit") != "1/5" {
			t.Errorf("an hour later: %d %v", rec.Code, rec.Header())
		}
		c.token = "x"
		if rec := c.get(logsPath); rec.Code != 401 || rec.Header().Get("X-RateLimit") != "2/5" {
			t.Errorf("a refusal: %d %v", rec.Code, rec.Header())
		}
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{})
	post := httptest.NewRequest("POST", logsPath, nil)
	post.Header.Set("Authorization", "Bearer "+c.token)
	for _, tt := range []struct {
		name   string
		rec    *httptest.ResponseRecorder
		status int
		detail string
	}{
		{"no token", simtest.Get(c, logsPath, ""), 401, "Authentication credentials were not provided."},
		{"wrong token", simtest.Get(c, logsPath, "Bearer x"), 401, "Invalid token."},
		{"another scheme", simtest.Get(c, logsPath, "Token "+DefaultToken), 401, "Authentication credentials were not provided."},
		{"another path", c.get("/api/v1/core/nothing/"), 404, "Not found."},
		{"not allowed", newTester(t, Options{Forbidden: true}).get(logsPath), 403, "You do not have permission to perform this action."},
		{"a POST", simtest.Do(c, post), 405, `Method "POST" not allowed.`},
	} {
		if e := simtest.Decode[map[string]string](t, tt.rec, tt.status); e["detail"] != tt.detail {
			t.Errorf("%s: %v", tt.name, e)
		}
	}
	for _, target := range []string{logsPath, actionsPath, TokenPath} {
		rec := c.get(strings.TrimSuffix(target, "/") + "?limit=3")
		if rec.Code != 301 || rec.Header().Get("Location") != target+"?limit=3" {
			t.Errorf("%s without its slash: %d %v", target, rec.Code, rec.Header())
		}
	}
	for fault, status := range map[string]int{"throttle": 429, "error500": 500, "error502": 502, "error503": 503} {
		simtest.Faults(t, c.Tenant.Tenant, fault)
		if rec := c.get(logsPath); rec.Code != status {
			t.Errorf("%s: %d", fault, rec.Code)
		}
	}
	c.AddAudit(saassim.Batch{N: 90})
	simtest.Faults(t, c.Tenant.Tenant, "foreign-next")
	if p := c.page(); !strings.HasPrefix(p.Next.(string), "http://192.0.2.1:9/api/v1/core/auditlogs/?") {
		t.Errorf("next %v", p.Next)
	}
	simtest.Faults(t, c.Tenant.Tenant, "missing")
	if p := c.page(); p.Results[0].User != nil || p.Results[0].ID == "" {
		t.Errorf("row %v", p.Results[0])
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTester(t, Options{TokenLifetime: time.Hour})
		for range 2 { // it can be used again
			a := simtest.Decode[map[string]any](t, c.refresh(DefaultRefreshToken), 200)
			if a["token_type"] != "Bearer" || a["expires_in"] != 3600.0 || a["refresh_token"] != DefaultRefreshToken {
				t.Errorf("answer %v", a)
			}
			c.token = a["access_token"].(string)
		}
		c.page()
		time.Sleep(time.Hour)
		if rec := c.get(logsPath); rec.Code != 401 {
			t.Errorf("after an hour the token is worth %d", rec.Code)
		}
		c.token = DefaultToken // this one lasts, also when others are revoked
		c.RevokeTokens()
		c.page()
		for name, tt := range map[string]struct {
			key, value string
			status     int
			code       string
		}{
			"grant":   {"grant_type", "client_credentials", 400, "unsupported_grant_type"},
			"client":  {"client_secret", "x", 401, "invalid_client"},
			"token":   {"refresh_token", "x", 400, "invalid_grant"},
			"nothing": {"refresh_token", "", 400, "invalid_grant"},
		} {
			form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {DefaultRefreshToken}, "client_id": {DefaultClientID}, "client_secret": {DefaultClientSecret}}
			form.Set(tt.key, tt.value)
			if e := simtest.Decode[map[string]string](t, simtest.Post(c, TokenPath, form), tt.status); e["error"] != tt.code {
				t.Errorf("%s: %v", name, e)
			}
		}
	})
}

// A refresh token that rotates is dead once it was used, even where the answer
// never arrived.
func TestRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		next := func(rec *httptest.ResponseRecorder) string {
			return simtest.Decode[map[string]any](t, rec, 200)["refresh_token"].(string)
		}
		c := newTester(t, Options{Rotate: true})
		second := next(c.refresh(DefaultRefreshToken))
		if second == DefaultRefreshToken || second != c.RefreshToken() {
			t.Errorf("next token %q", second)
		}
		if rec := c.refresh(DefaultRefreshToken); rec.Code != 400 {
			t.Errorf("the first again: %d", rec.Code)
		}
		third := next(c.refresh(second))
		simtest.Faults(t, c.Tenant.Tenant, "signin-lost=1x")
		if rec := c.refresh(third); rec.Code != 0 {
			t.Errorf("a lost answer: %d", rec.Code)
		}
		if rec := c.refresh(third); rec.Code != 400 {
			t.Errorf("a token whose answer was lost: %d", rec.Code)
		}
		made := c.NewRefreshToken()
		if next(c.refresh(made)) == made {
			t.Error("a token that was made by hand does not rotate")
		}

		c = newTester(t, Options{Rotate: true, Grace: time.Minute})
		second = next(c.refresh(DefaultRefreshToken))
		time.Sleep(59 * time.Second)
		if again := next(c.refresh(DefaultRefreshToken)); again != second {
			t.Errorf("within the grace: %q, want %q", again, second)
		}
		time.Sleep(2 * time.Second)
		if rec := c.refresh(DefaultRefreshToken); rec.Code != 400 {
			t.Errorf("after the grace: %d", rec.Code)
		}
	})
}

// Everything may happen at once.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{Clock: time.Now, Rotate: true, Budget: 1e6, Faults: saassim.Faults{saassim.Chaos: {}, saassim.Shift: {Rate: 0.1}, saassim.Slow: {Rate: 0.1, Delay: time.Microsecond}}})
	c.AddAudit(saassim.Batch{N: 300})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := range 60 {
				rec := c.get(fmt.Sprintf("%s?limit=20&offset=%d", logsPath, i))
				var p page
				_ = json.Unmarshal(rec.Body.Bytes(), &p) // it may be damaged
				c.refresh(c.RefreshToken())
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			c.AddAudit(saassim.Batch{N: 3})
			for range c.Truth() {
			}
			c.NewRefreshToken()
		}
	})
	wg.Wait()
}
