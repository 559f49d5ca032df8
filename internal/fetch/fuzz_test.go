package fetch

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/jsonscan"
)

// FuzzAnswer compares what is read from an answer with what encoding/json finds in it.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		pageOf(3, `"c"`, true), pageOf(0, "", false), `{"data":null}`, `{"errors":[{"message":"Rate limit exceeded","extensions":{"retryAfter":"1e3"}}]}`,
		`{"errors":[],"data":{"auditLogEntries":{"nodes":null,"pageInfo":{"hasNextPage":false},"totalCount":"7"}}}`,
		` {"data" : {"auditLogEntries":{"nodes": [ 1 , "a" , null , [ ] ] , "pageInfo":{"endCursor":{"a":[1]},"hasNextPage":true}}} } `,
		`{"data":{"auditLogEntries":{"n\u006fdes":[{}],"pageInfo":{"hasNextPage":false}}}}`,
		"<html>", "", "{", `{"data":{"auditLogEntries":[]}}`, strings.Repeat("[", 200),
	} {
		f.Add(200, []byte(seed))
	}
	f.Add(401, []byte(`{"errors":[{"message":"x"}]}`))
	f.Add(500, []byte("oops"))
	c := client(f, nil, nil)
	p, err := c.plan(audit())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		page, failure := c.judge(p, answer{status: status, header: http.Header{}, body: body}, &Request{Source: audit(), Size: 500})
		if (page == nil) == (failure == nil) {
			t.Fatalf("page %v, error %v", page, failure)
		}
		if failure != nil {
			if text := c.fail(failure).Error(); !utf8.ValidString(text) {
				t.Errorf("error %q", text)
			}
		}
		if status < 200 || status > 299 {
			if page != nil {
				t.Errorf("a page of an answer of status %d", status)
			}
			return
		}
		// The oracle knows neither names that stand twice nor bytes that are no UTF-8.
		if !utf8.Valid(body) || !jsontext.Value(body).IsValid() {
			if page != nil && !jsonscan.Valid(body) {
				t.Errorf("a page of what is not JSON")
			}
			return
		}
		want, ok := oracle(body)
		if !ok {
			if page != nil {
				t.Errorf("a page, where there should be none")
			}
			return
		}
		if page == nil {
			if failure.Class == Retry || failure.Class == Partial {
				t.Fatalf("no page: %v", failure)
			}
			return // a rule of the catalogue
		}
		if len(page.Records) != len(want.Nodes) || page.More != *want.PageInfo.HasNextPage {
			t.Fatalf("%d records instead of %d, more %t", len(page.Records), len(want.Nodes), page.More)
		}
		for i, record := range page.Records {
			if !bytes.Equal(record, want.Nodes[i]) {
				t.Errorf("record %d is %q instead of %q", i, record, want.Nodes[i])
			}
		}
		cursor := string(want.PageInfo.EndCursor)
		if cursor == "null" || cursor == `""` {
			cursor = ""
		}
		if string(page.Cursor) != cursor {
			t.Errorf("cursor %q instead of %q", page.Cursor, cursor)
		}
	})
}

type connection struct {
	Nodes    []json.RawMessage
	PageInfo struct {
		HasNextPage *bool
		EndCursor   json.RawMessage
	}
}

// oracle reads an answer with encoding/json, by exact names.
func oracle(body []byte) (c connection, ok bool) {
	member := func(raw json.RawMessage, name string) (json.RawMessage, bool) {
		var m map[string]json.RawMessage
		if json.Unmarshal(raw, &m) != nil {
			return nil, false
		}
		v, ok := m[name]
		return v, ok
	}
	if errors, ok := member(body, "errors"); ok {
		var list []json.RawMessage
		if json.Unmarshal(errors, &list) != nil || len(list) > 0 {
			return c, false
		}
	}
	data, _ := member(body, "data")
	entries, _ := member(data, "auditLogEntries")
	nodes, ok := member(entries, "nodes")
	if !ok || json.Unmarshal(nodes, &c.Nodes) != nil {
		return c, false
	}
	info, _ := member(entries, "pageInfo")
	c.PageInfo.EndCursor, _ = member(info, "endCursor")
	next, ok := member(info, "hasNextPage")
	if !ok || json.Unmarshal(next, &c.PageInfo.HasNextPage) != nil || c.PageInfo.HasNextPage == nil {
		return c, false
	}
	return c, true
}

// BenchmarkAnswer reads a page of 500 records of about 800 bytes.
func BenchmarkAnswer(b *testing.B) {
	record := `{"id":"0b8e6c7e-9c1f-4a52-9d0d-1f6f3c1d2e4a","action":"UpdateIssue","status":"SUCCESS","timestamp":"2025-02-06T13:39:25.304840Z","actionParameters":{"input":{"id":"` +
		strings.Repeat("0123456789abcdef", 8) + `","patch":{"status":"RESOLVED","note":"` + strings.Repeat("lorem ipsum dolor ", 20) + `"}}},"userAgent":"Mozilla/5.0","sourceIP":"203.0.113.9","performer":{"__typename":"UserSnapshot","id":"u-1","name":"someone@example.com"}}`
	body := []byte(strings.Replace(pageOf(0, `"c"`, true), "[]", "["+strings.Repeat(record+",", 499)+record+"]", 1))
	c := client(b, nil, nil)
	p, err := c.plan(audit())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		resp := &http.Response{StatusCode: 200, Body: nopCloser{bytes.NewReader(body)}, ContentLength: int64(len(body))}
		a := answer{status: 200, header: http.Header{}}
		if a.body, a.err = readBody(resp, defaultMaxBody, 0, nil); a.err != nil {
			b.Fatal(a.err)
		}
		page, failure := c.judge(p, a, &Request{Source: audit(), Size: 500})
		if failure != nil || len(page.Records) != 500 {
			b.Fatal(failure)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(500*b.N), "ns/record")
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }
