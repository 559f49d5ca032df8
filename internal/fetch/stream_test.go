package fetch

import (
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
)

// TestStream gives one answer for each thing that a stream can say.
func TestStream(t *testing.T) {
	t.Parallel()
	const one, none = `"entries":[{"id":1}]`, `"entries":[]`
	positions := func(start string) func(*catalog.Source) {
		return func(s *catalog.Source) {
			s.Paging = catalog.Paging{Cursor: "next", End: "empty"}
			s.Stream = &catalog.Stream{
				Request: catalog.Request{Method: http.MethodGet, Path: "/live", Filter: "query", Query: map[string]string{"at": "${cursor}", "since": "${since}", "to": "${until}"}},
				Start:   start, Ignore: []string{"0"},
			}
		}
	}
	links := func(s *catalog.Source) {
		positions("")(s)
		s.Paging = catalog.Paging{Link: "next"}
	}
	mores := func(s *catalog.Source) {
		positions("now")(s)
		s.Paging = catalog.Paging{Cursor: "next", More: "more"}
	}
	for _, test := range []struct {
		name         string
		change       func(*catalog.Source)
		cursor       string
		answer, link string
		asked        string
		want         after
	}{
		{"the present", positions("now"), "", none + `,"next":"77"`, "", "/live?at=now&since=2025-02-06T13%3A00%3A00Z", after{`"77"`, false, true}},
		{"from a time", positions(""), "", one + `,"next":"77"`, "", "/live?since=2025-02-06T13%3A00%3A00Z", after{`"77"`, true, true}},
		{"nothing new", positions("now"), `"77"`, none + `,"next":"77"`, "", "/live?at=77&since=2025-02-06T13%3A00%3A00Z", after{`"77"`, false, false}},
		{"a number now", positions("now"), `"77"`, none + `,"next":77`, "", "/live?at=77&since=2025-02-06T13%3A00%3A00Z", after{"77", false, false}},
		{"moved without records", positions("now"), `77`, none + `,"next":78`, "", "/live?at=77&since=2025-02-06T13%3A00%3A00Z", after{"78", false, true}},
		{"records", positions("now"), `77`, one + `,"next":18446744073709551616`, "", "/live?at=77&since=2025-02-06T13%3A00%3A00Z", after{"18446744073709551616", true, true}},
		{"records, not moved", positions("now"), `77`, one + `,"next":77`, "", "/live?at=77&since=2025-02-06T13%3A00%3A00Z", after{"77", false, false}},
		{"says nothing", positions("now"), `77`, none + `,"next":0`, "", "/live?at=77&since=2025-02-06T13%3A00%3A00Z", after{"77", false, false}},
		{"says nothing in words", positions("now"), `77`, one + `,"next":"0"`, "", "/live?at=77&since=2025-02-06T13%3A00%3A00Z", after{"77", false, false}},
		{"says nothing at all", positions("now"), `77`, one, "", "/live?at=77&since=2025-02-06T13%3A00%3A00Z", after{"77", false, false}},
		{"says nothing at first", positions("now"), "", none + `,"next":0`, "", "/live?at=now&since=2025-02-06T13%3A00%3A00Z", after{}},
		{"more", mores, "5", none + `,"next":6,"more":true`, "", "/live?at=5&since=2025-02-06T13%3A00%3A00Z", after{"6", true, true}},
		{"more without moving", mores, "5", one + `,"next":5,"more":true`, "", "/live?at=5&since=2025-02-06T13%3A00%3A00Z", after{"5", false, false}},
		{"link from a time", links, "", one, `</api/live?after=1>; rel="next"`, "/live?since=2025-02-06T13%3A00%3A00Z", after{`"/api/live?after=1"`, true, true}},
		{"link, empty", links, `"/api/live?after=1"`, none, `</api/live?after=1>; rel="next"`, "/live?after=1", after{`"/api/live?after=1"`, false, false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ask, asked := walk(t, test.change, func(*http.Request) answered { return answered{"{" + test.answer + "}", test.link} })
			r := Request{Stream: true, Since: since, Filter: map[string]any{}}
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
			if diff := cmp.Diff([]string{test.asked}, asked()); diff != "" {
				t.Error(diff)
			}
		})
	}
	// The filter is the stream's own; an error says that it was the stream.
	synctest.Test(t, func(t *testing.T) {
		ask, asked := walk(t, positions("now"), func(*http.Request) answered { return answered{body: `{"x":1}`} })
		_, err := ask(Request{Stream: true, Filter: map[string]any{"type": "A"}, Cursor: jsontext.Value("1")})
		if e := failure(t, err); e.Op != "rest-1/events page of the stream" || asked()[0] != "/live?at=1&type=A" {
			t.Errorf("%s of %v", e.Op, asked())
		}
	})
}
