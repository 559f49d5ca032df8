package fetch

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
)

// answered is what a test's API answers to a request.
type answered struct {
	body string
	link string
}

// walk makes a client of a product of one source, and gives what it asks for.
func walk(t *testing.T, change func(*catalog.Source), answer func(r *http.Request) answered) (ask func(Request) (*Page, error), asked func() []string) {
	t.Helper()
	a := &api{page: func(_ int, r *http.Request, _ string) (*http.Response, error) {
		got := answer(r)
		resp := respond(200, got.body)
		if got.link != "" {
			resp.Header.Set("Link", got.link)
		}
		return resp, nil
	}}
	var source *catalog.Source
	c := client(t, a, func(o *Options) {
		restOptions(map[string]any{"tenant": "acme", "token": "tok"})(o)
		source = o.Product.Sources["events"]
		source.Request = catalog.Request{Method: http.MethodGet, Path: "/events", Query: map[string]string{"c": "${cursor}", "n": "${page_size}"}}
		change(source)
	})
	ask = func(r Request) (*Page, error) {
		r.Source, r.Size = source, 2
		return c.Page(t.Context(), r)
	}
	return ask, func() []string {
		var list []string
		for _, r := range a.requests {
			list = append(list, strings.TrimPrefix(r.URL.String(), "https://acme.test/api"))
		}
		return list
	}
}

// after is what a page says of the next one.
type after struct {
	Cursor      string
	More, Moved bool
}

func afterOf(p *Page) after { return after{string(p.Cursor), p.More, p.Moved} }

// TestNextPage gives one answer for each way of paging.
func TestNextPage(t *testing.T) {
	t.Parallel()
	const one, two = `"entries":[{"id":1}]`, `"entries":[{"id":1},{"id":2}]`
	const none = `"entries":[]`
	for _, test := range []struct {
		name         string
		paging       catalog.Paging
		cursor       string // of the request
		answer, link string
		want         after
	}{
		{"cursor", catalog.Paging{Cursor: "next"}, "", one + `,"next":"c"`, "", after{`"c"`, true, true}},
		{"number of 20 digits", catalog.Paging{Cursor: "next"}, "", one + `,"next":18446744073709551615`, "", after{"18446744073709551615", true, true}},
		{"cursor, text and number", catalog.Paging{Cursor: "next"}, "5", one + `,"next":"5"`, "", after{`"5"`, true, false}},
		{"cursor null", catalog.Paging{Cursor: "next"}, "5", two + `,"next":null`, "", after{}},
		{"cursor empty", catalog.Paging{Cursor: "next"}, "5", two + `,"next":""`, "", after{}},
		{"cursor means the end", catalog.Paging{Cursor: "next", EndValues: []string{"null", "0"}}, "5", two + `,"next":"null"`, "", after{}},
		{"cursor is 0", catalog.Paging{Cursor: "next", EndValues: []string{"null", "0"}}, "5", two + `,"next":0`, "", after{}},
		{"no word, full page", catalog.Paging{Cursor: "next"}, "", two, "", after{"", true, false}},
		{"no word, short page", catalog.Paging{Cursor: "next"}, "", one, "", after{}},
		{"no word is the end", catalog.Paging{Cursor: "next", End: "no_cursor"}, "", two, "", after{}},

		{"empty: a record", catalog.Paging{Cursor: "next", End: "empty"}, "4", one + `,"next":5`, "", after{"5", true, true}},
		{"empty: nothing", catalog.Paging{Cursor: "next", End: "empty"}, "4", none + `,"next":5`, "", after{"5", false, true}},
		{"empty: not moved", catalog.Paging{Cursor: "next", End: "empty"}, "5", two + `,"next":"5"`, "", after{`"5"`, false, false}},
		{"empty: no cursor", catalog.Paging{Cursor: "next", End: "empty"}, "5", one, "", after{"", true, false}},
		{"empty: end value", catalog.Paging{Cursor: "next", End: "empty", EndValues: []string{"0"}}, "5", one + `,"next":0`, "", after{}},
		{"more counts", catalog.Paging{Cursor: "next", End: "empty", More: "more"}, "5", none + `,"next":6,"more":true`, "", after{"6", true, true}},
		{"more is false", catalog.Paging{Cursor: "next", More: "more"}, "5", two + `,"next":6,"more":false`, "", after{"6", false, true}},

		{"next_url", catalog.Paging{NextURL: "links.next"}, "", one + `,"links":{"next":"https://acme.test/api/events?p=2\u0026q"}`, "", after{`"https://acme.test/api/events?p=2\u0026q"`, true, true}},
		{"next_url of a path", catalog.Paging{NextURL: "next"}, "", one + `,"next":"/api/events?p=2"`, "", after{`"/api/events?p=2"`, true, true}},
		{"next_url null", catalog.Paging{NextURL: "next"}, "", two + `,"next":null`, "", after{}},
		{"next_url absent", catalog.Paging{NextURL: "next"}, "", two, "", after{}},
		{"next_url in words", catalog.Paging{NextURL: "next", EndValues: []string{"null"}}, "", two + `,"next":"null"`, "", after{}},

		{"link", catalog.Paging{Link: "next"}, "", one, `<https://acme.test/api/events?p=1>; rel="self", <https://acme.test/api/events?p=2>; rel="next"`, after{`"https://acme.test/api/events?p=2"`, true, true}},
		{"link without next", catalog.Paging{Link: "next"}, "", two, `<https://acme.test/api/events?p=1>; rel="self"`, after{}},
		{"link, same again, empty", catalog.Paging{Link: "next", End: "empty"}, `"https://acme.test/api/events?p=2"`, none, `<https://acme.test/api/events?p=2>; rel=next`, after{`"https://acme.test/api/events?p=2"`, false, false}},

		{"offset", catalog.Paging{Offset: true}, "", two, "", after{"2", true, true}},
		{"offset, later", catalog.Paging{Offset: true}, "40", two, "", after{"42", true, true}},
		{"offset, end", catalog.Paging{Offset: true}, "40", none, "", after{"40", false, false}},
		{"offset, short page", catalog.Paging{Offset: true}, "40", one, "", after{"41", true, true}},
		{"offset, total", catalog.Paging{Offset: true, Total: "count"}, "40", one + `,"count":41`, "", after{"41", false, true}},
		{"offset, total beyond", catalog.Paging{Offset: true, Total: "count"}, "40", one + `,"count":42`, "", after{"41", true, true}},
		{"offset, total not reached", catalog.Paging{Offset: true, Total: "count"}, "40", none + `,"count":42`, "", after{"40", false, false}},
		{"offset, total not trusted", catalog.Paging{Offset: true, Total: "count", End: "empty"}, "40", one + `,"count":41`, "", after{"41", true, true}},
		{"offset, more", catalog.Paging{Offset: true, More: "more"}, "40", one + `,"more":false`, "", after{"41", false, true}},
		{"page number", catalog.Paging{FirstPage: new(1)}, "", two, "", after{"2", true, true}},
		{"page number from 0", catalog.Paging{FirstPage: new(0)}, "", two, "", after{"1", true, true}},
		{"page number, later", catalog.Paging{FirstPage: new(1)}, "7", one, "", after{"8", true, true}},
		{"page number, end", catalog.Paging{FirstPage: new(1)}, "7", none, "", after{"8", false, true}},
		{"page number, more", catalog.Paging{FirstPage: new(1), More: "more"}, "7", one + `,"more":false`, "", after{"8", false, true}},
		{"page number, a total is no end", catalog.Paging{FirstPage: new(1), Total: "count"}, "7", one + `,"count":1`, "", after{"8", true, true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ask, _ := walk(t, func(s *catalog.Source) { s.Paging = test.paging }, func(*http.Request) answered { return answered{"{" + test.answer + "}", test.link} })
			r := Request{}
			if test.cursor != "" {
				r.Cursor = jsontext.Value(test.cursor)
			}
			page, err := ask(r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, afterOf(page)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFollow walks to the end, and looks at what was asked for.
func TestFollow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*catalog.Source)
		answer func(r *http.Request) answered
		want   []string
	}{
		{"next_url", func(s *catalog.Source) { s.Paging = catalog.Paging{NextURL: "next"} }, func(r *http.Request) answered {
			switch r.FormValue("page") {
			case "":
				return answered{body: `{"entries":[{}],"next":"https://acme.test:443/api/events?page=2&x=a%2Fb"}`}
			case "2":
				return answered{body: `{"entries":[{}],"next":"?page=3#part"}`}
			}
			return answered{body: `{"entries":[{}],"next":null}`}
		}, []string{"/events?n=2", "https://acme.test:443/api/events?page=2&x=a%2Fb", "/events?page=3"}},
		{"link", func(s *catalog.Source) { s.Paging, s.Records = catalog.Paging{Link: "next"}, "." }, func(r *http.Request) answered {
			if after := r.FormValue("after"); after != "1234_5,6" {
				return answered{`[{"id":1}]`, `<https://acme.test/api/events?after=1234_5%2C6>; rel="next"`}
			}
			return answered{body: `[]`}
		}, []string{"/events?n=2", "/events?after=1234_5%2C6"}},
		{"offset", func(s *catalog.Source) {
			s.Paging = catalog.Paging{Offset: true}
			s.Request.Query = map[string]string{"limit": "${page_size}", "offset": "${offset}"}
		}, func(r *http.Request) answered {
			records := map[string]string{"0": "{},{}", "2": "{}"}[r.FormValue("offset")]
			return answered{body: `{"entries":[` + records + `]}`}
		}, []string{"/events?limit=2&offset=0", "/events?limit=2&offset=2", "/events?limit=2&offset=3"}},
		{"page number", func(s *catalog.Source) {
			s.Paging = catalog.Paging{FirstPage: new(1)}
			s.Request.Query = map[string]string{"page": "${page}"}
		}, func(r *http.Request) answered {
			records := map[string]string{"1": "{},{}", "2": "{}"}[r.FormValue("page")]
			return answered{body: `{"entries":[` + records + `]}`}
		}, []string{"/events?page=1", "/events?page=2", "/events?page=3"}},
		{"cursor as it came", func(s *catalog.Source) { s.Paging = catalog.Paging{Cursor: "next", End: "empty"} }, func(r *http.Request) answered {
			if r.FormValue("c") == "" {
				return answered{body: `{"entries":[{}],"next":90071992547409939007}`}
			}
			return answered{body: `{"entries":[],"next":90071992547409939007}`}
		}, []string{"/events?n=2", "/events?c=90071992547409939007&n=2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ask, asked := walk(t, test.change, test.answer)
			var r Request
			for range 10 {
				page, err := ask(r)
				if err != nil {
					t.Fatal(err)
				}
				if r.Cursor = page.Cursor; !page.More {
					break
				}
			}
			if diff := cmp.Diff(test.want, asked()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestElsewhere: the credential goes to the API's address only, whatever the
// API says.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	for url, what := range map[string]string{
		"https://evil.test/api/events":      "https://evil.test, which is not followed",
		"http://acme.test/api/events":       "http://acme.test, which is not followed",
		"https://acme.test:8443/api/events": "https://acme.test:8443, which is not followed",
		"//evil.test/x":                     "https://evil.test, which is not followed",
		"https://acme.test.evil.test/x":     "https://acme.test.evil.test, which is not followed",
		"https://acme.test@evil.test/x":     "https://evil.test, which is not followed",
		"javascript:alert(1)":               "javascript://, which is not followed",
	} {
		for name, change := range map[string]func(*catalog.Source){
			"next_url": func(s *catalog.Source) { s.Paging = catalog.Paging{NextURL: "next"} },
			"link":     func(s *catalog.Source) { s.Paging = catalog.Paging{Link: "next"} },
		} {
			t.Run(name+" "+url, func(t *testing.T) {
				t.Parallel()
				ask, asked := walk(t, change, func(*http.Request) answered {
					return answered{fmt.Sprintf(`{"entries":[{}],"next":%q}`, url), "<" + url + `>; rel="next"`}
				})
				_, err := ask(Request{})
				e := failure(t, err)
				if e.Class != Permanent || !strings.Contains(e.Error(), what) || !strings.Contains(e.Advice, "check tenant of connection rest-1") {
					t.Error(err)
				}
				// Nor is a cursor from elsewhere, which an earlier address may have left.
				quoted, _ := jsontext.AppendQuote(nil, url)
				_, err = ask(Request{Cursor: quoted})
				if e := failure(t, err); e.Class != Permanent || !strings.Contains(e.Error(), what) || len(asked()) != 1 {
					t.Errorf("asked %v: %v", asked(), err)
				}
			})
		}
	}
	// The user in an address is not sent, and what is no URL is not asked for.
	ask, asked := walk(t, func(s *catalog.Source) { s.Paging = catalog.Paging{NextURL: "next"} }, func(*http.Request) answered {
		return answered{body: `{"entries":[]}`}
	})
	if _, err := ask(Request{Cursor: jsontext.Value(`"https://me:pw@acme.test/api/events?p=2"`)}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/events?p=2"}, asked()); diff != "" {
		t.Error(diff)
	}
	for _, cursor := range []string{`7`, `{"a":1}`, `"https://acme.test/%zz"`, `"::"`} {
		if _, err := ask(Request{Cursor: jsontext.Value(cursor)}); failure(t, err).Class != Permanent {
			t.Errorf("%s: %v", cursor, err)
		}
	}
	if len(asked()) != 1 {
		t.Errorf("asked %v", asked())
	}
}
