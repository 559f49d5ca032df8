package fetch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

// alerts is a source whose records hold lists that have pages of their own.
func alerts() *catalog.Source {
	return &catalog.Source{
		Product: wiz(), ID: "alerts",
		Request: catalog.Request{Method: "POST", GraphQL: &catalog.GraphQL{Query: "query Alerts { alerts }"}},
		Records: "data.alerts.nodes",
		Paging:  catalog.Paging{Size: 10, MaxSize: 10, More: "data.alerts.more", Capped: "data.alerts.tooMany"},
		Record:  catalog.Record{ID: catalog.Paths{"id"}},
		Nested: []catalog.Nested{{
			At: "events", In: "data.alert.events", Records: "nodes", Cursor: "page.end", More: "page.next", Size: 2, Most: 6,
			Request: catalog.Request{Method: "POST", GraphQL: &catalog.GraphQL{
				Query:     "query Events { events }",
				Variables: map[string]any{"id": "${id}", "after": "${cursor}", "first": "${page_size}"},
			}},
		}},
	}
}

// eventPage is a page of an alert's list.
func eventPage(more bool, cursor string, events ...string) string {
	return fmt.Sprintf(`{"page":{"next":%t,"end":%s},"nodes":[%s]}`, more, cursor, strings.Join(events, ","))
}

// playing answers with the alerts, and then with a page of events for each of
// the cursors that it knows.
func playing(alerts string, events map[string]string) (*api, *[]string) {
	var asked []string
	return &api{page: func(_ int, _ *http.Request, body string) (*http.Response, error) {
		if strings.Contains(body, "query Alerts") {
			return respond(200, `{"data":{"alerts":{"nodes":[`+alerts+`],"more":false}}}`), nil
		}
		var sent struct {
			Variables struct {
				ID    string
				After string
				First int
			}
		}
		if err := json.Unmarshal([]byte(body), &sent); err != nil || sent.Variables.First != 2 {
			return nil, fmt.Errorf("asked %s: %w", body, err)
		}
		place := sent.Variables.ID + " " + sent.Variables.After
		asked = append(asked, place)
		answer, ok := events[place]
		if !ok {
			return respond(200, `{"data":{"alert":null}}`), nil
		}
		if strings.HasPrefix(answer, `{"page"`) {
			answer = `{"data":{"alert":{"events":` + answer + `}}}`
		}
		return respond(200, answer), nil
	}}, &asked
}

func TestNested(t *testing.T) {
	t.Parallel()
	first := `{"id":"a","events":` + eventPage(true, `"1"`, "1", " 2") + `,"z":  1}`
	for name, test := range map[string]struct {
		alerts string
		events map[string]string
		want   string
		asked  []string
		says   string // in the log
	}{
		"one page is all": {alerts: `{"id":"a","events":` + eventPage(false, `"1"`, "1", "2") + `}`, want: `{"id":"a","events":` + eventPage(false, `"1"`, "1", "2") + `}`},
		"further pages": {
			alerts: first, events: map[string]string{"a 1": eventPage(true, `"2"`, "3", "4"), "a 2": eventPage(false, "null", "5")},
			want: `{"id":"a","events":{"page":{"next":false,"end":null},"nodes":[1, 2,3,4,5]},"z":  1}`, asked: []string{"a 1", "a 2"},
		},
		"repeated and empty pages": {
			alerts: first, events: map[string]string{"a 1": eventPage(true, `"2"`, "2", "3"), "a 2": eventPage(true, `"3"`), "a 3": eventPage(false, `""`, "3", "4")},
			want: `{"id":"a","events":{"page":{"next":false,"end":null},"nodes":[1, 2,3,4]},"z":  1}`, asked: []string{"a 1", "a 2", "a 3"},
		},
		"more than are read": {
			alerts: first, events: map[string]string{"a 1": eventPage(true, `"2"`, "3", "4"), "a 2": eventPage(true, `"3"`, "5", "6")},
			want: `{"id":"a","events":{"page":{"next":true,"end":"3"},"nodes":[1, 2,3,4,5,6]},"z":  1}`, asked: []string{"a 1", "a 2"},
		},
		"a first page without elements": {
			alerts: `{"id":"a","events":` + eventPage(true, `"1"`) + `}`, events: map[string]string{"a 1": eventPage(false, "null", "1")},
			want: `{"id":"a","events":{"page":{"next":false,"end":null},"nodes":[1]}}`, asked: []string{"a 1"},
		},
		"gone meanwhile": {alerts: first, want: first, asked: []string{"a 1"}, says: "the record is not there any more"},
		"gone on the way": {
			alerts: first, events: map[string]string{"a 1": eventPage(true, `"2"`, "3")},
			want: `{"id":"a","events":{"page":{"next":true,"end":"2"},"nodes":[1, 2,3]},"z":  1}`, asked: []string{"a 1", "a 2"}, says: "the record is not there any more",
		},
		"refused": {
			alerts: first, events: map[string]string{"a 1": `{"errors":[{"message":"Cannot query field \"x\""}]}`},
			want: first, asked: []string{"a 1"}, says: "Cannot query field",
		},
		"in circles": {
			alerts: first, events: map[string]string{"a 1": eventPage(true, `"1"`, "3")},
			want: `{"id":"a","events":{"page":{"next":true,"end":"1"},"nodes":[1, 2,3]},"z":  1}`, asked: []string{"a 1"}, says: "does not say how to get them",
		},
		"no cursor": {alerts: `{"id":"a","events":{"page":{"next":true},"nodes":[1]}}`, want: `{"id":"a","events":{"page":{"next":true},"nodes":[1]}}`, says: "does not say how to get them"},
		"no id":     {alerts: strings.Replace(first, `"id":"a"`, `"x":1`, 1), want: strings.Replace(first, `"id":"a"`, `"x":1`, 1), says: "does not say how to get them"},
		"no list":   {alerts: `{"id":"a","events":null}`, want: `{"id":"a","events":null}`},
		"a number":  {alerts: `7`, want: `7`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, asked := playing(test.alerts, test.events)
			logger, said := logTo()
			page, err := client(t, a, func(o *Options) { o.Logger = logger }).Page(t.Context(), Request{Source: alerts()})
			if err != nil {
				t.Fatal(err)
			}
			if got := string(page.Records[0]); got != test.want {
				t.Errorf("record\n%s, want\n%s", got, test.want)
			}
			if d := cmp.Diff(test.asked, *asked); d != "" {
				t.Errorf("asked for (-want +got)\n%s", d)
			}
			if !strings.Contains(said.String(), test.says) || test.says == "" && strings.Contains(said.String(), "level=WARN") {
				t.Errorf("said %s", said)
			}
		})
	}
}

// What is looked up in a record is what the whole record has; and lists of
// records that are known are left alone.
func TestNestedLook(t *testing.T) {
	t.Parallel()
	records := `{"id":"a","events":` + eventPage(true, `"1"`, "1") + `},{"id":"b","events":` + eventPage(true, `"1"`, "1") + `},{"id":"c"}`
	a, asked := playing(records, map[string]string{"b 1": eventPage(false, "null", "2")})
	var look []jsonscan.Path
	for _, text := range []string{"id", "events.nodes"} {
		path, err := jsonscan.ParsePath(text)
		if err != nil {
			t.Fatal(err)
		}
		look = append(look, path)
	}
	page, err := client(t, a, nil).Page(t.Context(), Request{
		Source: alerts(), Look: jsonscan.Compile(look...),
		Known: func(record []byte, found [][]byte) bool { return string(found[0]) == `"a"` },
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s %s %s", page.Found(0), page.Found(1), page.Found(2)); got != `["a" [1]] ["b" [1,2]] ["c" ]` || !slices.Equal(*asked, []string{"b 1"}) {
		t.Errorf("found %s, asked %q", got, *asked)
	}
}

// A failure that passes fails the page: it is asked for again, and nothing is
// taken for whole that is not.
func TestNestedFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer  string
		maxBody int64
		records int
		class   Class
	}{
		"internal error": {answer: `{"errors":[{"message":"Internal server error"}]}`, records: 1, class: Retry},
		"no scope":       {answer: `{"errors":[{"message":"access denied, missing a scope","extensions":{"code":"UNAUTHORIZED"}}]}`, records: 1, class: Forbidden},
		"too large":      {answer: eventPage(true, `"2"`, `"`+strings.Repeat("x", 400)+`"`), maxBody: 520, records: 2, class: TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			records := slices.Repeat([]string{`{"id":"a","events":` + eventPage(true, `"1"`, "1") + `}`}, test.records)
			a, _ := playing(strings.Join(records, ","), map[string]string{"a 1": test.answer})
			_, err := client(t, a, func(o *Options) { o.HTTP.MaxBody, o.Tries = test.maxBody, 1 }).Page(t.Context(), Request{Source: alerts()})
			if e := failure(t, err); e.Class != test.class {
				t.Errorf("%v is of class %s", e, e.Class)
			}
		})
	}
}

// A record that would grow beyond all bounds alone stays as long as it may be.
func TestNestedWithoutRoom(t *testing.T) {
	t.Parallel()
	record := `{"id":"a","events":` + eventPage(true, `"1"`, "1") + `}`
	a, _ := playing(record, map[string]string{"a 1": eventPage(false, "null", `"`+strings.Repeat("x", 400)+`"`)})
	page, err := client(t, a, func(o *Options) { o.HTTP.MaxBody = 500 }).Page(t.Context(), Request{Source: alerts()})
	if err != nil {
		t.Fatal(err)
	}
	if string(page.Records[0]) != record {
		t.Errorf("record %q", page.Records[0])
	}
}

func TestCapped(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{"true": true, "false": false, "null": false, `"true"`: false} {
		a := &api{page: func(int, *http.Request, string) (*http.Response, error) {
			return respond(200, `{"data":{"alerts":{"nodes":[],"more":false,"tooMany":`+value+`}}}`), nil
		}}
		page, err := client(t, a, nil).Page(t.Context(), Request{Source: alerts()})
		if err != nil || page.Capped != want {
			t.Errorf("%s: %v, %v", value, page, err)
		}
	}
}

// FuzzPut compares a record that was put together with what encoding/json
// makes of its parts.
func FuzzPut(f *testing.F) {
	f.Add(`{"id":"a","events":{"page":{"next":true,"end":"1"},"nodes":[1, 2 ]},"z":1}`, `[3,{"a":[]}]`, `"c"`, true)
	f.Add(`{"events":{"nodes":[ ],"page":{"next":true}}}`, `["x"]`, `null`, false)
	f.Add(`{"events":{"nodes":[1],"nodes":[2],"page":{"end":{},"next":[]}}}`, `[]`, `{}`, false)
	f.Add(` {"events" : {"page" : {"end": 1 ,"next":true} , "nodes" : [] } } `, `[[]]`, `7`, true)
	f.Add(`{"events":[]}`, `[1]`, `1`, true)
	n, err := planNested(alerts(), alerts().Nested[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, record, more, cursor string, goesOn bool) {
		for _, text := range []string{record, more, cursor} {
			if !utf8.ValidString(text) || !jsontext.Value(text).IsValid() {
				return // nor are names twice what the oracle knows
			}
		}
		if jsonscan.Kind([]byte(more)) != '[' {
			return
		}
		list := elements{known: map[string]bool{}}
		jsonscan.Elements([]byte(more), func(raw []byte) bool { list.add(raw); return true })
		got := n.put([]byte(record), list.text, jsontext.Value(strings.TrimSpace(cursor)), goesOn)
		want, ok := putOracle(record, list.text, cursor, goesOn)
		if !ok {
			return
		}
		var a, b any
		if err := errors.Join(json.Unmarshal(got, &a), json.Unmarshal(want, &b)); err != nil {
			t.Fatalf("%v: %s, want %s", err, got, want)
		}
		if d := cmp.Diff(b, a); d != "" {
			t.Errorf("%s (-want +got)\n%s", got, d)
		}
	})
}

// putOracle does what put does with decoded values, where the record has the
// shape for it.
func putOracle(record string, text []byte, cursor string, more bool) ([]byte, bool) {
	var r map[string]json.RawMessage
	var events struct {
		Nodes []json.RawMessage          `json:"nodes"`
		Page  map[string]json.RawMessage `json:"page"`
	}
	var shape map[string]json.RawMessage
	if json.Unmarshal([]byte(record), &r) != nil || json.Unmarshal(r["events"], &shape) != nil || len(shape) != 2 ||
		json.Unmarshal(r["events"], &events) != nil || events.Nodes == nil || events.Page["next"] == nil || events.Page["end"] == nil ||
		shape["nodes"] == nil || shape["page"] == nil {
		return nil, false
	}
	var added []json.RawMessage
	if json.Unmarshal([]byte("["+strings.TrimPrefix(string(text), ",")+"]"), &added) != nil {
		return nil, false
	}
	events.Nodes = append(events.Nodes, added...)
	events.Page["end"], events.Page["next"] = json.RawMessage(cursor), json.RawMessage(fmt.Sprint(more))
	list, err := json.Marshal(events)
	if err != nil {
		return nil, false
	}
	r["events"] = list
	whole, err := json.Marshal(r)
	return whole, err == nil
}
