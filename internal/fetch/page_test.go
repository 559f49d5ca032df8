package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/jsonscan"
)

func TestPage(t *testing.T) {
	t.Parallel()
	node := `{"id":"a","n":12345678901234567890,  "s":"<é\u00e9>"}`
	body := `{"data":{"auditLogEntries":{"nodes":[` + node + `, {"id":"b"}],"pageInfo":{"hasNextPage":true,"endCursor":"c\u003d=="},"totalCount":7}}}`
	a := &api{page: func(int, *http.Request, string) (*http.Response, error) { return respond(200, body), nil }}
	r := auditPage("")
	var look []jsonscan.Path
	for _, name := range []string{"s", "id"} {
		path, err := jsonscan.ParsePath(name)
		if err != nil {
			t.Fatal(err)
		}
		look = append(look, path)
	}
	r.Look = jsonscan.Compile(look...)
	p, err := client(t, a, nil).Page(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%q %q", p.Found(0), p.Found(1)); got != `["\"<é\\u00e9>\"" "\"a\""] ["" "\"b\""]` {
		t.Errorf("found %s", got)
	}
	if len(p.Records) != 2 || string(p.Records[0]) != node || string(p.Records[1]) != `{"id":"b"}` {
		t.Errorf("records are %q", p.Records)
	}
	if string(p.Cursor) != `"c\u003d=="` || !p.More || p.Total != 7 || p.Bytes != len(body) || p.Fetched.IsZero() {
		t.Errorf("page is %+v", p)
	}
}

// TestRelease has two pages use one buffer, and a third not.
func TestRelease(t *testing.T) {
	t.Parallel()
	n := 0
	a := &api{page: func(int, *http.Request, string) (*http.Response, error) {
		n++
		return respond(200, fmt.Sprintf(`{"data":{"auditLogEntries":{"nodes":[{"id":"record %d"}],"pageInfo":{"hasNextPage":true,"endCursor":"after %[1]d"}}}}`, n)), nil
	}}
	c := client(t, a, nil)
	get := func() *Page {
		p, err := c.Page(t.Context(), auditPage(""))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := get()
	first.Release()
	first.Release() // as good as once
	second, third := get(), get()
	if string(first.Cursor) != `"after 1"` || first.Records != nil {
		t.Errorf("released: %q, cursor %s", first.Records, first.Cursor)
	}
	if string(second.Records[0]) != `{"id":"record 2"}` || string(third.Records[0]) != `{"id":"record 3"}` {
		t.Errorf("records are %q and %q", second.Records, third.Records)
	}
}

// TestClasses gives the same answer again and again and says what is made of it.
func TestClasses(t *testing.T) {
	t.Parallel()
	const nodes = `"data":{"auditLogEntries":{"nodes":[{"id":"a"}],"pageInfo":{"hasNextPage":false,"endCursor":null},"totalCount":1}}`
	for _, test := range []struct {
		name, body string
		status     int
		headers    []string
		err        error // instead of an answer
		class      Class
		tries      int
		message    string // in the error's text
	}{
		{name: "ok", status: 200, body: "{" + nodes + "}", class: OK, tries: 1},
		{name: "errors empty", status: 200, body: `{"errors":[],` + nodes + "}", class: OK, tries: 1},
		{name: "errors null", status: 200, body: `{"errors":null,` + nodes + "}", class: OK, tries: 1},
		{name: "byte order mark", status: 200, body: "\xef\xbb\xbf{" + nodes + "}", class: OK, tries: 1},
		{name: "created", status: 201, body: "{" + nodes + "}", class: OK, tries: 1},
		{name: "nodes null", status: 200, body: `{"data":{"auditLogEntries":{"nodes":null,"pageInfo":{"hasNextPage":false}}}}`, class: OK, tries: mostNulls},
		{name: "nodes null, none counted", status: 200, body: `{"data":{"auditLogEntries":{"nodes":null,"pageInfo":{"hasNextPage":false},"totalCount":0}}}`, class: OK, tries: 2},
		{name: "nodes null, some counted", status: 200, body: `{"data":{"auditLogEntries":{"nodes":null,"pageInfo":{"hasNextPage":false},"totalCount":3}}}`, class: OK, tries: mostNulls},
		{name: "invalid UTF-8 and names twice", status: 200, body: `{"x":1,"x":"` + "\xff" + `",` + nodes + "}", class: OK, tries: 1},

		{name: "reset", err: errors.New("connection reset by peer"), class: Retry, tries: mostTries, message: "connection reset by peer"},
		{name: "500", status: 500, body: `{"message":"oops"}`, class: Retry, tries: mostTries, message: "HTTP 500: oops"},
		{name: "502 HTML", status: 502, body: "<html>bad gateway</html>", headers: []string{"Content-Type", "text/html"}, class: Retry, tries: mostTries, message: "HTTP 502: Bad Gateway"},
		{name: "408", status: 408, class: Retry, tries: mostTries},
		{name: "425", status: 425, class: Retry, tries: mostTries},
		{name: "304", status: 304, class: Retry, tries: mostTries, message: "HTTP 304: Not Modified"},
		{name: "418", status: 418, class: Retry, tries: mostTries},
		{name: "423", status: 423, class: Retry, tries: mostTries},
		{name: "HTML", status: 200, body: "<!doctype html><title>Log in</title>", headers: []string{"Content-Type", "text/html"}, class: Retry, tries: mostTries, message: "HTML"},
		{name: "empty", status: 200, class: Retry, tries: mostTries, message: "empty"},
		{name: "no content", status: 204, class: Retry, tries: mostTries, message: "empty"},
		{name: "truncated", status: 200, body: "{" + nodes, class: Retry, tries: mostTries, message: "not whole"},
		{name: "trailing garbage", status: 200, body: "{" + nodes + "}}", class: Retry, tries: mostTries},
		{name: "two values", status: 200, body: "{" + nodes + "}{}", class: Retry, tries: mostTries},
		{name: "not an object", status: 200, body: `[1]`, class: Retry, tries: mostTries, message: "no data"},
		{name: "data null", status: 200, body: `{"data":null}`, class: Retry, tries: mostTries, message: "no data"},
		{name: "query null", status: 200, body: `{"data":{"auditLogEntries":null}}`, class: Retry, tries: mostTries, message: "no data"},
		{name: "nodes absent", status: 200, body: `{"data":{"auditLogEntries":{"pageInfo":{"hasNextPage":false}}}}`, class: Retry, tries: mostTries, message: "no data"},
		{name: "nodes no list", status: 200, body: `{"data":{"auditLogEntries":{"nodes":{},"pageInfo":{"hasNextPage":false}}}}`, class: Retry, tries: mostTries, message: "no list"},
		{name: "no pageInfo", status: 200, body: `{"data":{"auditLogEntries":{"nodes":[]}}}`, class: Retry, tries: mostTries, message: "more pages"},
		{name: "hasNextPage a string", status: 200, body: `{"data":{"auditLogEntries":{"nodes":[],"pageInfo":{"hasNextPage":"true"}}}}`, class: Retry, tries: mostTries, message: "more pages"},
		{name: "internal error", status: 200, body: `{"errors":[{"message":"Internal server error"}],"data":null}`, class: Retry, tries: mostTries, message: "Internal server error"},
		{name: "internal error, no data", status: 200, body: `{"errors":[{"message":"boom"}]}`, class: Retry, tries: mostTries, message: "boom"},
		{name: "internal error, query null", status: 200, body: `{"errors":[{"message":"boom"}],"data":{"auditLogEntries":null}}`, class: Retry, tries: mostTries},
		{name: "errors no list", status: 200, body: `{"errors":"boom"}`, class: Retry, tries: mostTries},
		{name: "partial", status: 200, body: `{"errors":[{"message":"shard 3 is away"}],` + nodes + "}", class: Partial, tries: mostTries, message: "shard 3 is away"},

		{name: "400", status: 400, body: `{"errors":[{"message":"Cannot query field \"x\""}]}`, class: Permanent, tries: 1, message: `(query TrawlAuditLog): HTTP 400: Cannot query field "x"`},
		{name: "400 text", status: 400, body: "bad\x00\nquery", headers: []string{"Content-Type", "text/plain; charset=utf-8"}, class: Permanent, tries: 1, message: "HTTP 400: bad query"},
		{name: "validation in 200", status: 200, body: `{"errors":[{"message":"no","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}],"data":null}`, class: Permanent, tries: 1},
		{name: "404", status: 404, class: Permanent, tries: 1, message: "nothing is at https://api.test/graphql: check api_url and region of connection wiz-prod"},
		{name: "410", status: 410, class: Permanent, tries: 1},
		{name: "403", status: 403, body: `{"message":"no"}`, class: Forbidden, tries: 1, message: "this source needs admin:audit"},
		{name: "forbidden in 200", status: 200, body: `{"errors":[{"message":"Access Denied: audit"}]}`, class: Forbidden, tries: 1},
		{name: "401", status: 401, body: `{"errors":[{"message":"Unauthorized"}]}`, class: Auth, tries: 2, message: "client_id and client_secret of connection wiz-prod, sent to https://auth.test/oauth/token; refused by https://api.test/graphql"},
		{name: "auth in 200", status: 200, body: `{"errors":[{"message":"x","extensions":{"code":"UNAUTHENTICATED"}}],"data":null}`, class: Auth, tries: 2},
		{name: "auth in 400", status: 400, body: `{"errors":[{"message":"x","extensions":{"code":"UNAUTHENTICATED"}}]}`, class: Auth, tries: 2},

		{name: "429", status: 429, class: Throttle, tries: mostBare, message: "HTTP 429: Too Many Requests"},
		{name: "429 for an hour", status: 429, headers: []string{"Retry-After", "3600"}, class: Throttle, tries: 1, message: "it asks to be left alone for 15m0s"},
		{name: "429 that speaks of access", status: 429, body: `{"errors":[{"message":"access denied"}]}`, class: Throttle, tries: mostBare},
		{name: "rate limit in 200", status: 200, body: `{"errors":[{"message":"Rate limit exceeded","extensions":{"retryAfter":2}}],"data":null}`, class: Throttle, tries: mostThrottles},
		{name: "rate limit in 403", status: 403, body: `{"errors":[{"message":"API rate limit exceeded"}]}`, class: Throttle, tries: mostBare},
		{name: "rate limit in 400", status: 400, body: `{"errors":[{"message":"x","extensions":{"code":"RATE_LIMITED"}}]}`, class: Throttle, tries: mostBare},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &api{page: func(int, *http.Request, string) (*http.Response, error) {
					if test.err != nil {
						return nil, test.err
					}
					return respond(test.status, test.body, test.headers...), nil
				}}
				var mu sync.Mutex
				counted := map[Class]int{}
				c := client(t, a, func(o *Options) {
					o.OnAnswer = func(_ string, class Class) { mu.Lock(); defer mu.Unlock(); counted[class]++ }
				})
				page, err := c.Page(t.Context(), auditPage(""))
				signIns, tries := a.counts()
				if tries != test.tries {
					t.Errorf("%d tries instead of %d", tries, test.tries)
				}
				wantSignIns := 1
				if test.class == Auth {
					wantSignIns = 2
				}
				if signIns != wantSignIns {
					t.Errorf("%d sign-ins instead of %d", signIns, wantSignIns)
				}
				want := map[Class]int{OK: wantSignIns}
				want[test.class] += test.tries
				if !maps.Equal(counted, want) {
					t.Errorf("counted %v instead of %v", counted, want)
				}
				if test.class == OK {
					if err != nil || page == nil {
						t.Fatal(err)
					}
					return
				}
				e := failure(t, err)
				if e.Class != test.class || e.Status != test.status {
					t.Errorf("class %q, status %d; want %q, %d: %v", e.Class, e.Status, test.class, test.status, e)
				}
				if !strings.HasPrefix(e.Op, "wiz-prod/audit page") || !strings.Contains(e.Error(), test.message) {
					t.Errorf("error is %q, without %q", e, test.message)
				}
			})
		})
	}
}

// TestMends lets the last try of each kind succeed.
func TestMends(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		fails int
		fail  func() (*http.Response, error)
	}{
		{"network", mostTries - 1, func() (*http.Response, error) { return nil, io.ErrUnexpectedEOF }},
		{"partial", mostTries - 1, func() (*http.Response, error) {
			return respond(200, `{"errors":[{"message":"x"}],"data":{"auditLogEntries":{"nodes":[]}}}`), nil
		}},
		{"throttle", mostThrottles - 1, func() (*http.Response, error) { return respond(429, "", "Retry-After", "9"), nil }},
		{"bare throttle", mostBare - 1, func() (*http.Response, error) { return respond(429, ""), nil }},
		{"auth", 1, func() (*http.Response, error) { return respond(401, ""), nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &api{page: func(n int, _ *http.Request, _ string) (*http.Response, error) {
					if n <= test.fails {
						return test.fail()
					}
					return respond(200, pageOf(3, "", false)), nil
				}}
				p, err := client(t, a, nil).Page(t.Context(), auditPage(""))
				if err != nil || len(p.Records) != 3 {
					t.Fatalf("page %v, error %v", p, err)
				}
			})
		})
	}
}

func TestPagingFields(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, cursor, more, total string
		wantCursor                string
		wantMore                  bool
		wantTotal                 int
	}{
		{"number", `12345678901234567890`, "true", `20`, `12345678901234567890`, true, 20},
		{"string", `"a\"b\u0041"`, "true", `"20"`, `"a\"b\u0041"`, true, 20},
		{"object", `{"z":1, "a":[1.50]}`, "true", `20`, `{"z":1, "a":[1.50]}`, true, 20},
		{"null but more", `null`, "true", `null`, ``, true, -1},
		{"empty but more", `""`, "true", `-3`, ``, true, -1},
		{"end", `"last"`, "false", `1.5`, `"last"`, false, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			body := `{"data":{"auditLogEntries":{"nodes":[],"pageInfo":{"hasNextPage":` + test.more + `,"endCursor":` + test.cursor + `},"totalCount":` + test.total + `}}}`
			a := &api{page: func(int, *http.Request, string) (*http.Response, error) { return respond(200, body), nil }}
			c := client(t, a, nil)
			p, err := c.Page(t.Context(), auditPage(""))
			if err != nil {
				t.Fatal(err)
			}
			if string(p.Cursor) != test.wantCursor || p.More != test.wantMore || p.Total != test.wantTotal {
				t.Fatalf("cursor %s, more %t, total %d", p.Cursor, p.More, p.Total)
			}
			if p.Cursor == nil {
				return
			}
			// It goes back as it came.
			if _, err := c.Page(t.Context(), auditPage(string(p.Cursor))); err != nil {
				t.Fatal(err)
			}
			var sent struct {
				Variables struct{ After jsontext.Value }
			}
			decode(t, a.bodies[1], &sent)
			want := jsontext.Value(test.wantCursor)
			if err := want.Compact(jsontext.PreserveRawStrings(true)); err != nil {
				t.Fatal(err)
			}
			if string(sent.Variables.After) != string(want) {
				t.Errorf("sent back %s instead of %s", sent.Variables.After, want)
			}
		})
	}
}

func TestNoMorePathMeansCursor(t *testing.T) {
	t.Parallel()
	source := *audit()
	source.Paging.More = ""
	for cursor, more := range map[string]bool{`"x"`: true, `7`: true, `null`: false, `""`: false} {
		a := &api{page: func(int, *http.Request, string) (*http.Response, error) {
			return respond(200, pageOf(1, cursor, true)), nil
		}}
		p, err := client(t, a, nil).Page(t.Context(), Request{Source: &source})
		if err != nil || p.More != more || (p.Cursor != nil) != more {
			t.Errorf("cursor %s: page %+v, error %v", cursor, p, err)
		}
	}
}

func TestDeepNesting(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"a":[`, 60_000) + `"x"` + strings.Repeat(`]}`, 60_000)
	body := strings.Replace(pageOf(1, "", false), `{"id":"r0"}`, deep, 1)
	a := &api{page: func(int, *http.Request, string) (*http.Response, error) { return respond(200, body), nil }}
	p, err := client(t, a, nil).Page(t.Context(), auditPage(""))
	if err != nil || len(p.Records) != 1 || string(p.Records[0]) != deep {
		t.Fatalf("%d records, error %v", len(p.Records), err)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for name, resp := range map[string]func() *http.Response{
		"backoff":  func() *http.Response { return respond(503, "") },
		"throttle": func() *http.Response { return respond(429, "", "Retry-After", "600") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &api{page: func(int, *http.Request, string) (*http.Response, error) { return resp(), nil }}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				begun := time.Now()
				_, err := client(t, a, nil).Page(ctx, auditPage(""))
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > time.Second {
					t.Errorf("error %v after %s", err, time.Since(begun))
				}
				var e *Error
				if errors.As(err, &e) {
					t.Errorf("a request that was called off has the class %s", e.Class)
				}
			})
		})
	}
}

func TestGivesUpInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &api{page: func(_ int, r *http.Request, _ string) (*http.Response, error) {
			<-r.Context().Done() // hangs
			return nil, r.Context().Err()
		}}
		c := client(t, a, func(o *Options) { o.HTTP.Timeout = 50 * time.Second })
		begun := time.Now()
		_, err := c.Page(t.Context(), auditPage(""))
		e := failure(t, err)
		if e.Class != Retry || !strings.Contains(e.Error(), "within 50s (http.timeout)") || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		if took := time.Since(begun); took < 100*time.Second || took > mostLost+50*time.Second {
			t.Errorf("gave up after %s", took)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	const inBody = `{"errors":[{"message":"Rate limit exceeded","extensions":{"retryAfter":%}}],"data":null}`
	for name, test := range map[string]struct {
		answer func(now time.Time) *http.Response
		least  time.Duration
		most   time.Duration
	}{
		"seconds": {func(time.Time) *http.Response { return respond(429, "", "Retry-After", "17") }, 17 * time.Second, 17 * time.Second},
		"date": {func(now time.Time) *http.Response {
			return respond(429, "", "Retry-After", now.Add(42*time.Second).UTC().Format(http.TimeFormat))
		}, 41 * time.Second, 42 * time.Second},
		"503":          {func(time.Time) *http.Response { return respond(503, "", "Retry-After", "17") }, 17 * time.Second, 17 * time.Second},
		"far too long": {func(time.Time) *http.Response { return respond(429, "", "Retry-After", "86400") }, mostAsked, mostAsked},
		"far date": {func(now time.Time) *http.Response {
			return respond(429, "", "Retry-After", now.Add(24*time.Hour).UTC().Format(http.TimeFormat))
		}, mostAsked, mostAsked},
		"none":     {func(time.Time) *http.Response { return respond(429, "") }, firstThrottle / 2, firstThrottle},
		"zero":     {func(time.Time) *http.Response { return respond(429, "", "Retry-After", "0") }, firstThrottle / 2, firstThrottle},
		"negative": {func(time.Time) *http.Response { return respond(429, "", "Retry-After", "-5") }, firstThrottle / 2, firstThrottle},
		"garbage":  {func(time.Time) *http.Response { return respond(429, "", "Retry-After", "soon") }, firstThrottle / 2, firstThrottle},
		"infinite": {func(time.Time) *http.Response { return respond(429, "", "Retry-After", "inf") }, firstThrottle / 2, firstThrottle},
		"past": {func(time.Time) *http.Response {
			return respond(429, "", "Retry-After", "Mon, 02 Jan 1995 15:04:05 GMT")
		}, firstThrottle / 2, firstThrottle},
		"body":          {func(time.Time) *http.Response { return respond(200, strings.Replace(inBody, "%", "2.5", 1)) }, 2500 * time.Millisecond, 2500 * time.Millisecond},
		"body string":   {func(time.Time) *http.Response { return respond(200, strings.Replace(inBody, "%", `"3"`, 1)) }, 3 * time.Second, 3 * time.Second},
		"body of a 429": {func(time.Time) *http.Response { return respond(429, strings.Replace(inBody, "%", "4", 1)) }, 4 * time.Second, 4 * time.Second},
		"header first": {func(time.Time) *http.Response {
			return respond(429, strings.Replace(inBody, "%", "4", 1), "Retry-After", "9")
		}, 9 * time.Second, 9 * time.Second},
		"body garbage": {func(time.Time) *http.Response { return respond(200, strings.Replace(inBody, "%", `"x"`, 1)) }, firstThrottle / 2, firstThrottle},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &api{page: func(n int, _ *http.Request, _ string) (*http.Response, error) {
					if n == 1 {
						return test.answer(time.Now()), nil
					}
					return respond(200, pageOf(1, "", false)), nil
				}}
				c := client(t, a, nil)
				_, err := c.Page(t.Context(), auditPage(""))
				if test.most > mostObeyed { // the next request waits
					failure(t, err)
					_, err = c.Page(t.Context(), auditPage(""))
				}
				if err != nil {
					t.Fatal(err)
				}
				if wait := a.times[1].Sub(a.times[0]); wait < test.least || wait > test.most+time.Millisecond {
					t.Errorf("waited %s instead of %s to %s", wait, test.least, test.most)
				}
			})
		})
	}
}

// TestDate: a page says when the answer was made, if the answer does.
func TestDate(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Time{
		"":                              {},
		"Wed, 21 Oct 2026 07:28:00 GMT": time.Date(2026, 10, 21, 7, 28, 0, 0, time.UTC),
		"2026-10-21T07:28:00Z":          {},
	} {
		a := &api{page: func(int, *http.Request, string) (*http.Response, error) {
			return respond(200, `{"data":{"auditLogEntries":{"nodes":[],"pageInfo":{"hasNextPage":false,"endCursor":null},"totalCount":0}}}`, "Date", header), nil
		}}
		p, err := client(t, a, nil).Page(t.Context(), auditPage(""))
		if err != nil || !p.Date.Equal(want) {
			t.Errorf("date %q: page is of %s, error %v", header, p.Date, err)
		}
	}
}
