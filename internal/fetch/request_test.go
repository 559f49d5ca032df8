package fetch

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
)

func decode(t testing.TB, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

// sent gives what a client sends for a page, and the error for it.
func sent(t testing.TB, r Request, change func(*Options)) (*http.Request, string, error) {
	t.Helper()
	a := &api{page: func(int, *http.Request, string) (*http.Response, error) { return respond(404, ""), nil }}
	_, err := client(t, a, change).Page(t.Context(), r)
	if len(a.requests) == 0 {
		return nil, "", err
	}
	return a.requests[0], a.bodies[0], err
}

func variables(t testing.TB, body string) map[string]any {
	t.Helper()
	var b struct{ Variables map[string]any }
	decode(t, body, &b)
	return b.Variables
}

func TestGraphQLRequest(t *testing.T) {
	t.Parallel()
	r := auditPage("")
	req, body, _ := sent(t, r, nil)
	if req.Method != http.MethodPost || req.URL.String() != "https://api.test/graphql" {
		t.Errorf("%s %s", req.Method, req.URL)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer " + testToken, "User-Agent": "trawl/test", "Content-Type": "application/json", "Accept": "application/json",
	} {
		if got := req.Header.Get(name); got != want {
			t.Errorf("header %s is %q", name, got)
		}
	}
	var b struct{ Query string }
	decode(t, body, &b)
	if b.Query != audit().Request.GraphQL.Query {
		t.Errorf("query is %q", b.Query)
	}
	want := map[string]any{
		"first":    500.0,
		"filterBy": map[string]any{"timestamp": map[string]any{"after": "2025-02-06T13:00:00.123456Z", "before": "2025-02-06T14:00:00.123456Z"}},
	}
	if diff := cmp.Diff(want, variables(t, body)); diff != "" {
		t.Error(diff)
	}

	// Without bounds their object stays, as an empty one; the size is held to the most.
	_, body, _ = sent(t, Request{Source: audit(), Size: 1 << 20}, nil)
	want = map[string]any{"first": float64(audit().Paging.MaxSize), "filterBy": map[string]any{"timestamp": map[string]any{}}}
	if diff := cmp.Diff(want, variables(t, body)); diff != "" {
		t.Error(diff)
	}
}

func TestTimeFieldAsKey(t *testing.T) {
	t.Parallel()
	issues := wiz().Sources["issues"]
	for i, field := range append([]string{""}, issues.Window.Fields...) {
		_, body, _ := sent(t, Request{Source: issues, Since: since, Field: field}, nil)
		if field == "" {
			field = issues.Window.Fields[0]
		}
		filter, _ := variables(t, body)["filterBy"].(map[string]any)
		if _, ok := filter[field]; !ok {
			t.Errorf("%d: filter is %v, without %s", i, filter, field)
		}
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	r := auditPage("")
	r.Filter = map[string]any{"actionType": []any{"MUTATION"}, "sourceIPCountryCode": map[string]any{"equals": []any{"CH"}}, "n": uint64(3)}
	_, body, err := sent(t, r, nil)
	if failure(t, err).Status != 404 {
		t.Fatal(err)
	}
	want := map[string]any{
		"timestamp":  map[string]any{"after": "2025-02-06T13:00:00.123456Z", "before": "2025-02-06T14:00:00.123456Z"},
		"actionType": []any{"MUTATION"}, "sourceIPCountryCode": map[string]any{"equals": []any{"CH"}}, "n": 3.0,
	}
	if diff := cmp.Diff(want, variables(t, body)["filterBy"]); diff != "" {
		t.Error(diff)
	}

	// A constant of the catalogue that is an object takes further members; nothing is overruled.
	with := func(constant any) *catalog.Source {
		source, graphQL := *audit(), *audit().Request.GraphQL
		graphQL.Variables = map[string]any{"filterBy": map[string]any{"timestamp": "${since}", "x": constant}}
		source.Request.GraphQL = &graphQL
		return &source
	}
	r = Request{Source: with(map[string]any{"a": 1}), Since: since, Filter: map[string]any{"x": map[string]any{"b": 2}}}
	_, body, _ = sent(t, r, nil)
	want = map[string]any{"timestamp": "2025-02-06T13:00:00.123456Z", "x": map[string]any{"a": 1.0, "b": 2.0}}
	if diff := cmp.Diff(want, variables(t, body)["filterBy"]); diff != "" {
		t.Error(diff)
	}

	noFilter := *audit()
	noFilter.Request.Filter = ""
	for name, test := range map[string]struct {
		source *catalog.Source
		filter map[string]any
		want   string
	}{
		"window":            {audit(), map[string]any{"timestamp": map[string]any{"after": "x"}}, "timestamp is set by Trawl itself"},
		"other time field":  {wiz().Sources["issues"], map[string]any{"createdAt": map[string]any{}}, "createdAt is set by Trawl itself"},
		"constant":          {with("c"), map[string]any{"x": "d"}, "x is set by Trawl itself"},
		"constant within":   {with(map[string]any{"a": 1}), map[string]any{"x": map[string]any{"a": 2}}, "x.a is set by Trawl itself"},
		"source takes none": {&noFilter, map[string]any{"a": 1}, "wiz/audit takes none"},
	} {
		req, _, err := sent(t, Request{Source: test.source, Since: since, Filter: test.filter}, nil)
		e := failure(t, err)
		if req != nil || e.Class != Permanent || !strings.Contains(e.Error(), test.want) {
			t.Errorf("%s: sent %v, error %v", name, req != nil, e)
		}
	}
	if _, err := json.Marshal(audit().Request.GraphQL.Variables); err != nil || len(audit().Request.GraphQL.Variables) != 3 {
		t.Error("the catalogue itself was changed")
	}
}

// restProduct is a product unlike Wiz in all that can differ.
func restProduct() *catalog.Product {
	p := &catalog.Product{
		ID: "rest", Name: "Rest",
		Settings: map[string]catalog.Setting{
			"tenant": {Required: true},
			"token":  {Required: true, Secret: true},
			"org":    {},
			"kind":   {Default: "all"},
		},
		BaseURL: catalog.Cases{{Value: "https://${tenant}.test/api"}},
		Headers: map[string]string{"X-Org": "${org}", "X-Kind": "k-${kind}"},
		Auth:    []catalog.Auth{{Type: authToken, Token: "${token}"}},
	}
	p.Sources = map[string]*catalog.Source{"events": {
		Product: p, ID: "events",
		Request: catalog.Request{
			Method: http.MethodGet, Path: "/orgs/${kind}/events", Filter: "query",
			Headers: map[string]string{"X-Size": "${page_size}"},
			Query:   map[string]string{"from": "${since}", "to": "${until}", "marker": "${cursor}", "limit": "${page_size}", "fixed": "a&b", "${time_field}_org": "${org}"},
		},
		Records: "entries",
		Paging:  catalog.Paging{Size: 100, Cursor: "next"},
		Window:  catalog.Window{Fields: []string{"created"}, Layout: time.RFC3339},
	}}
	return p
}

func restOptions(values map[string]any) func(*Options) {
	return func(o *Options) {
		o.Name, o.Product, o.Settings = "rest-1", restProduct(), &settings{values: values}
	}
}

func TestRESTRequest(t *testing.T) {
	t.Parallel()
	values := map[string]any{"tenant": "acme", "token": "static-token", "kind": "a/b c"}
	source := restProduct().Sources["events"]
	req, body, _ := sent(t, Request{Source: source, Since: since, Cursor: []byte(`"m=\u0026"`), Filter: map[string]any{"type": []any{"A", "B"}, "n": 5}}, restOptions(values))
	want := "https://acme.test/api/orgs/a%2Fb%20c/events?fixed=a%26b&from=2025-02-06T13%3A00%3A00Z&limit=100&marker=m%3D%26&n=5&type=A&type=B"
	if req.Method != http.MethodGet || req.URL.String() != want || body != "" {
		t.Errorf("%s %s %q", req.Method, req.URL, body)
	}
	if req.Header.Get("Authorization") != "Bearer static-token" || req.Header.Get("X-Kind") != "k-a/b c" || req.Header.Get("X-Size") != "100" || req.Header.Values("X-Org") != nil {
		t.Errorf("headers are %v", req.Header)
	}
	values["org"] = "o1"
	req, _, _ = sent(t, Request{Source: source, Cursor: []byte(`12345678901234567890`)}, restOptions(values))
	if q := req.URL.Query(); q.Get("marker") != "12345678901234567890" || q.Get("created_org") != "o1" || q.Has("from") || req.Header.Get("X-Org") != "o1" {
		t.Errorf("query is %v", req.URL.RawQuery)
	}
	for _, filter := range []map[string]any{{"limit": 3}, {"created": "x"}} {
		if req, _, err := sent(t, Request{Source: source, Filter: filter}, restOptions(values)); req != nil || failure(t, err).Class != Permanent {
			t.Errorf("filter %v: %v", filter, err)
		}
	}
}

// TestJSONRequest: a body that is not GraphQL, with the feed's filter in it.
func TestJSONRequest(t *testing.T) {
	t.Parallel()
	values := map[string]any{"tenant": "acme", "token": "static-token"}
	source := restProduct().Sources["events"]
	source.Request = catalog.Request{Method: http.MethodPost, Path: "/search", Filter: "where", JSON: map[string]any{
		"where": map[string]any{"created": map[string]any{"gte": "${since}", "lt": "${until}"}, "org": "${org}"},
		"size":  "${page_size}", "after": "${cursor}", "sort": []any{map[string]any{"${time_field}": "asc"}},
	}}
	filter := map[string]any{"type": []any{"A"}}
	req, body, _ := sent(t, Request{Source: source, Since: since, Cursor: []byte(`12345678901234567890`), Filter: filter}, restOptions(values))
	if req.Method != http.MethodPost || req.URL.String() != "https://acme.test/api/search" || req.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s %v", req.Method, req.URL, req.Header)
	}
	const want = `{"after":12345678901234567890,"size":100,"sort":[{"created":"asc"}],"where":{"created":{"gte":"2025-02-06T13:00:00Z"},"type":["A"]}}`
	if body != want {
		t.Errorf("body is\n%s, want\n%s", body, want)
	}
	source.Request.Filter = "query"
	req, body, _ = sent(t, Request{Source: source, Filter: filter}, restOptions(values))
	if req.URL.RawQuery != "type=A" || strings.Contains(body, "type") {
		t.Errorf("a filter for the URL: %s, body %s", req.URL, body)
	}
	source.Request.Filter = ""
	if req, _, err := sent(t, Request{Source: source, Filter: filter}, restOptions(values)); req != nil || failure(t, err).Class != Permanent {
		t.Errorf("a filter that the source does not take: %v", err)
	}
}

func TestRESTAnswer(t *testing.T) {
	t.Parallel()
	values := map[string]any{"tenant": "acme", "token": "static-token"}
	a := &api{page: func(int, *http.Request, string) (*http.Response, error) {
		return respond(200, `{"entries":[{"a":1}],"next":44,"errors":["not ours to judge"]}`), nil
	}}
	p, err := client(t, a, restOptions(values)).Page(t.Context(), Request{Source: restProduct().Sources["events"]})
	if err != nil || len(p.Records) != 1 || string(p.Cursor) != "44" || !p.More || p.Total != -1 {
		t.Errorf("page %+v, error %v", p, err)
	}

	// An answer that is nothing but the list.
	product := restProduct()
	source := product.Sources["events"]
	source.Records, source.Paging = ".", catalog.Paging{}
	a = &api{page: func(int, *http.Request, string) (*http.Response, error) { return respond(200, ` [1, {"a":2} ] `), nil }}
	p, err = client(t, a, restOptions(values)).Page(t.Context(), Request{Source: source})
	if err != nil || len(p.Records) != 2 || string(p.Records[1]) != `{"a":2}` || p.More {
		t.Errorf("page %+v, error %v", p, err)
	}
}

func TestUnreadableSettingOfRequest(t *testing.T) {
	t.Parallel()
	values := map[string]any{"tenant": "acme", "token": "static-token", "org": errors.New("no such file")}
	req, _, err := sent(t, Request{Source: restProduct().Sources["events"]}, restOptions(values))
	if req != nil || !strings.Contains(failure(t, err).Error(), "read setting org: no such file") {
		t.Error(err)
	}
}

// TestNoWordOfTheNextPage: where only a cursor says that there is more, a full
// page without one, not even null, is not taken for the end.
func TestNoWordOfTheNextPage(t *testing.T) {
	t.Parallel()
	for body, more := range map[string]bool{
		`{"entries":[1,2]}`:             true,
		`{"entries":[1,2],"nxt":"b"}`:   true,
		`{"entries":[1,2],"next":null}`: false,
		`{"entries":[1,2],"next":""}`:   false,
		`{"entries":[1]}`:               false,
	} {
		a := &api{page: func(int, *http.Request, string) (*http.Response, error) { return respond(200, body), nil }}
		c := client(t, a, restOptions(map[string]any{"tenant": "acme", "token": "static-token"}))
		p, err := c.Page(t.Context(), Request{Source: restProduct().Sources["events"], Size: 2})
		if err != nil || p.More != more || p.Cursor != nil {
			t.Errorf("%s: page %+v, error %v", body, p, err)
		}
	}
}
