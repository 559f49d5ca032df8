package fetch

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

const (
	mostErrorBody = 1 << 20 // read of an answer that is an error anyway
	mostMessages  = 3       // quoted of an answer's errors
)

// plan is what reading a source's answers needs, worked out once.
type plan struct {
	source  string // wiz/audit
	id      string // audit
	records string // path of them
	ends    bool   // the API says where the pages end: by more, or by a total that the caller compares
	query   string // TrawlAuditLog; of APIs without GraphQL, method and path
	pages   string // what is asked: wiz-prod/audit page (query TrawlAuditLog)
	stream  string // and of a stream: box-prod/events page of the stream
	graphQL bool
	scan    *jsonscan.Plan
	more    bool         // the API says itself whether there are more pages
	within  bool         // a list within a record is asked for
	nested  []nestedPlan // lists within its records
	size    atomic.Int64 // of the last answer, for the next one's buffer
}

// What a plan's scan looks for. The paths of the product's error rules follow.
const (
	inRecords = iota
	inCursor
	inMore
	inTotal
	inCapped
	inData
	inErrors
	inRules
)

// nowhere is the path in place of one that is not stated: the name of no member.
const nowhere = `"\x00"`

var operationName = regexp.MustCompile(`(?m)^\s*(?:query|mutation)\s+(\w+)`)

// plan gives the source's plan, making it at first.
func (c *Client) plan(source *catalog.Source) (*plan, error) {
	if p, ok := c.plans.Load(source); ok {
		return p.(*plan), nil
	}
	spec := source.Request
	p := &plan{
		source:  source.FullName(),
		id:      source.ID,
		records: source.Records,
		ends:    source.Paging.More != "" || source.Paging.Total != "" || source.Paging.Cursor == "" || source.Paging.End != "",
		pages:   c.opts.Name + "/" + source.ID + " page",
		stream:  c.opts.Name + "/" + source.ID + " page of the stream",
		graphQL: spec.GraphQL != nil,
		more:    source.Paging.More != "",
	}
	if p.graphQL {
		p.query = spec.GraphQL.Operation
		if m := operationName.FindStringSubmatch(spec.GraphQL.Query); m != nil && p.query == "" {
			p.query = m[1]
		}
		if p.query != "" {
			p.pages += " (query " + p.query + ")"
		}
	} else {
		p.query = spec.Method + " " + spec.Path
	}
	paths := make([]jsonscan.Path, inRules, inRules+len(c.rules))
	for i, text := range [inRules]string{source.Records, cmp.Or(source.Paging.Cursor, source.Paging.NextURL), source.Paging.More, source.Paging.Total, source.Paging.Capped, "data", "errors"} {
		var err error
		if paths[i], err = jsonscan.ParsePath(cmp.Or(text, nowhere)); err != nil {
			return nil, &Error{Class: Permanent, Op: p.pages, Err: err}
		}
	}
	for _, r := range c.rules {
		paths = append(paths, r.path)
	}
	p.scan = jsonscan.Compile(paths...)
	for _, n := range source.Nested {
		made, err := planNested(source, n)
		if err != nil {
			return nil, &Error{Class: Permanent, Op: p.pages, Err: err}
		}
		pages, err := c.plan(made.pages)
		if err != nil {
			return nil, err
		}
		pages.within = true
		p.nested = append(p.nested, made)
	}
	kept, _ := c.plans.LoadOrStore(source, p)
	return kept.(*plan), nil
}

// op says what a request asks for.
func (p *plan) op(r *Request) string {
	if r.Stream {
		return p.stream
	}
	return p.pages
}

// rule is an error rule of the catalogue, ready to be applied.
type rule struct {
	catalog.ErrorRule               // with Match in lower case
	path              jsonscan.Path // leads nowhere where the rule has none
	retryAfter        jsonscan.Path
}

func compileRules(list []catalog.ErrorRule) ([]rule, error) {
	rules := make([]rule, len(list))
	for i, r := range list {
		var err error
		if rules[i].path, err = jsonscan.ParsePath(cmp.Or(r.Path, nowhere)); err != nil {
			return nil, fmt.Errorf("error rule %d: %w", i+1, err)
		}
		if rules[i].retryAfter, err = jsonscan.ParsePath(cmp.Or(r.RetryAfter, nowhere)); err != nil {
			return nil, fmt.Errorf("error rule %d: %w", i+1, err)
		}
		r.Match = slices.Clone(r.Match)
		for k, glob := range r.Match {
			r.Match[k] = strings.ToLower(glob)
		}
		rules[i].ErrorRule = r
	}
	return rules, nil
}

// matches tells whether an answer is meant by the rule; found is what the
// answer has at the rule's path, as a plan's scan finds it.
func (r *rule) matches(status int, found []byte) bool {
	if len(r.Status) > 0 && !slices.Contains(r.Status, status) {
		return false
	}
	if r.Path == "" {
		return len(r.Status) > 0
	}
	if found == nil {
		return false
	}
	matches := false
	r.path.Rest().Each(found, func(raw []byte) bool {
		text := strings.ToLower(scalar(raw))
		matches = slices.ContainsFunc(r.Match, func(glob string) bool { return catalog.Glob(glob, text) })
		return !matches
	})
	return matches
}

// scalar is the text of a value: of a string what it says, of others how they are written.
func scalar(raw []byte) string {
	if text, ok := jsonscan.String(raw); ok {
		return text
	}
	return string(raw)
}

// answer is an answer as it came.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error    // why the body is not whole
	from   *url.URL // where it was asked for
	left   allowance
}

var errTooLarge = errors.New("the answer is too large")

// roundTrip sends a request and reads its answer. Where there is no page, the
// error lacks what its caller knows better: what was asked, and advice.
func (c *Client) roundTrip(ctx context.Context, p *plan, req *http.Request, r Request) (*Page, *Error) {
	resp, err := c.http.Do(req)
	if err != nil {
		var redirect *redirectError
		if errors.As(err, &redirect) {
			return nil, &Error{Class: Permanent, Err: redirect}
		}
		return nil, &Error{Class: Retry, Err: c.failure(ctx, req.Context(), err)}
	}
	a := answer{status: resp.StatusCode, header: resp.Header, from: req.URL}
	if b := c.opts.Product.Budget; b != nil {
		var ok bool
		if a.left, ok = readAllowance(b, a.header); ok {
			c.budget.allowed(a.left)
		}
	}
	limit := c.opts.HTTP.MaxBody
	if statusClass(a.status) != OK {
		limit = min(limit, mostErrorBody)
	}
	a.body, a.err = readBody(resp, limit, p.size.Load(), c.body())
	if a.err != nil && !errors.Is(a.err, errTooLarge) {
		a.err = c.failure(ctx, req.Context(), a.err)
	}
	page, failure := c.judge(p, a, &r)
	if failure == nil {
		p.size.Store(int64(len(a.body)))
		page.release = func() { c.keep(a.body) }
	}
	return page, failure
}

// mostKept is the largest buffer that is kept for another answer.
const mostKept = 8 << 20

// body is a buffer for an answer, perhaps nil.
func (c *Client) body() []byte {
	if b, ok := c.bodies.Get().(*[]byte); ok {
		return *b
	}
	return nil
}

// keep takes a buffer that nobody uses any more.
func (c *Client) keep(b []byte) {
	if cap(b) <= mostKept {
		b = b[:0]
		c.bodies.Put(&b)
	}
}

// readBody reads a body into one buffer, of the length that the server states
// or else of about the last answer's, and closes it. The buffer is the one
// given, if it is large enough.
func readBody(resp *http.Response, limit, last int64, buf []byte) ([]byte, error) {
	defer resp.Body.Close()
	size := resp.ContentLength
	if size > limit {
		return nil, errTooLarge
	}
	if size < 0 {
		size = last + last/8 + 512
	}
	if size = min(size, limit) + 1; int64(cap(buf)) < size { // one more, to meet the end without growing
		buf = make([]byte, 0, size)
	}
	for {
		n, err := resp.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > limit:
			return nil, errTooLarge
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return nil, fmt.Errorf("read answer: %w", err)
		case len(buf) == cap(buf):
			buf = slices.Grow(buf, min(len(buf), int(limit)+1-len(buf)))
		}
	}
}

// judge gives an answer its class, and the page where there is one.
func (c *Client) judge(p *plan, a answer, r *Request) (*Page, *Error) {
	found := make([][]byte, inRules+len(c.rules))
	var records, looked [][]byte
	valid := false
	a.body = bytes.TrimPrefix(a.body, byteOrderMark)
	if a.err == nil {
		if records, looked, valid = p.scan.Elements(a.body, found, inRecords, r.Look); !valid {
			clear(found)
		}
	}
	class, rule := c.classify(a.status, found[inRules:])
	if class != OK {
		e := &Error{Class: class, Status: a.status, Message: apiMessage(a.body, a.header)}
		if class == Throttle || class == Retry {
			e.RetryAfter = retryAfter(a.header, time.Now())
		}
		if class == Throttle && e.RetryAfter == 0 && rule != nil && valid {
			e.RetryAfter = secondsAt(rule.retryAfter, a.body)
		}
		if class == Throttle && e.RetryAfter == 0 && a.left.left < 1 {
			e.RetryAfter = min(a.left.reset, mostAsked)
		}
		return nil, e
	}
	switch {
	case errors.Is(a.err, errTooLarge):
		return nil, &Error{Class: TooLarge, Status: a.status, Err: fmt.Errorf("the answer is longer than %d bytes (http.max_body)", c.opts.HTTP.MaxBody)}
	case a.err != nil:
		return nil, &Error{Class: Retry, Status: a.status, Err: a.err}
	case !valid:
		return nil, &Error{Class: Retry, Status: a.status, Err: notJSON(a)}
	}
	page, failure := p.page(a, found, records, r)
	if failure == nil {
		page.found = looked
	}
	return page, failure
}

// classify applies the catalogue's rules, and the status where none matches;
// found is what the answer has at each rule's path. 401 and 429 mean what they
// mean whatever the text with them, unless a rule names the status.
func (c *Client) classify(status int, found [][]byte) (Class, *rule) {
	class := statusClass(status)
	for i := range c.rules {
		r := &c.rules[i]
		if !r.matches(status, found[i]) {
			continue
		}
		if len(r.Status) == 0 && (class == Auth || class == Throttle) {
			return class, r
		}
		return Class(r.Class), r
	}
	return class, nil
}

// page reads the page in an answer in which status and rules see no error, out
// of what the plan's scan found.
func (p *plan) page(a answer, found, records [][]byte, r *Request) (*Page, *Error) {
	bad := func(class Class, format string, args ...any) (*Page, *Error) {
		return nil, &Error{Class: class, Status: a.status, Message: apiMessage(a.body, a.header), Err: fmt.Errorf(format, args...)}
	}
	if p.graphQL && hasErrors(found[inErrors]) {
		if !hasData(found[inData]) {
			return bad(Retry, "errors and no data")
		}
		return bad(Partial, "data together with errors")
	}
	page := &Page{Records: records, Total: -1, Fetched: time.Now(), Bytes: len(a.body)}
	page.Date, _ = http.ParseTime(a.header.Get("Date"))
	switch kind := jsonscan.Kind(found[inRecords]); kind {
	case '[':
	case '{':
		if !r.one {
			return bad(Retry, "%w", &shapeError{"the answer's records at " + p.records + " are no list"})
		}
		page.Records = [][]byte{found[inRecords]}
	case 'n': // an empty list, as far as the schemas of lists that may be null go; or one that was lost
		page.null = true
	case 0:
		if p.within && !hasData(found[inData]) {
			return bad(Permanent, "the record is not there any more")
		}
		return bad(Retry, "%w", &shapeError{"the answer has no data at " + p.records})
	default:
		return bad(Retry, "%w", &shapeError{"the answer's records at " + p.records + " are no list"})
	}
	page.Capped = string(found[inCapped]) == "true"
	if raw := found[inTotal]; raw != nil {
		page.Total = number(raw)
	}
	if err := p.follow(page, a, found, r); err != nil {
		class := Retry
		var elsewhere *originError
		if errors.As(err, &elsewhere) {
			class = Permanent
		}
		return bad(class, "%w", err)
	}
	return page, nil
}

// shapeError says that an answer is JSON, but not of the shape that the
// catalogue says.
type shapeError struct{ text string }

func (e *shapeError) Error() string { return e.text }

// number reads a number of records, which may be written as a string; -1: it is none.
func number(raw []byte) int {
	n, err := strconv.Atoi(scalar(raw))
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// hasErrors tells whether the errors member of a GraphQL answer holds any.
func hasErrors(raw []byte) bool {
	switch jsonscan.Kind(raw) {
	case 0, 'n':
		return false
	case '[':
		some := false
		jsonscan.Elements(raw, func([]byte) bool { some = true; return false })
		return some
	}
	return true
}

// hasData tells whether the data member of a GraphQL answer holds anything.
func hasData(raw []byte) bool {
	if jsonscan.Kind(raw) != '{' {
		return false
	}
	some := false
	jsonscan.Members(raw, func(_, value []byte) bool {
		some = jsonscan.Kind(value) != 'n'
		return !some
	})
	return some
}

func secondsAt(p jsonscan.Path, body []byte) (d time.Duration) {
	p.Each(body, func(raw []byte) bool {
		d = seconds(scalar(raw))
		return d == 0
	})
	return d
}

// messagePaths are where APIs say what is wrong, the telling ones first.
var messagePaths = mustPaths("errors[].message", "error_description", "error.message", "message", "errorSummary", "error", "detail", "title", "errors[]", "[].message")

func mustPaths(texts ...string) []jsonscan.Path {
	paths := make([]jsonscan.Path, len(texts))
	for i, text := range texts {
		var err error
		if paths[i], err = jsonscan.ParsePath(text); err != nil {
			panic(err)
		}
	}
	return paths
}

// apiMessage is what an answer says in words: of JSON a few of its messages,
// else plain text as it is. Pages of HTML say nothing.
func apiMessage(body []byte, h http.Header) string {
	if !jsonscan.Valid(body) {
		if kind, _, _ := mime.ParseMediaType(h.Get("Content-Type")); kind == "text/plain" {
			return string(body[:min(len(body), 4*mostMessage)])
		}
		return ""
	}
	for _, path := range messagePaths {
		var list []string
		more := 0
		path.Each(body, func(raw []byte) bool {
			text, _ := jsonscan.String(raw)
			switch {
			case text == "" || slices.Contains(list, text):
			case len(list) < mostMessages:
				list = append(list, text)
			default:
				more++
			}
			return true
		})
		if more > 0 {
			list = append(list, fmt.Sprintf("and %d more", more))
		}
		if len(list) > 0 {
			return strings.Join(list, "; ")
		}
	}
	return strings.Join(fieldMessages(body), "; ")
}

// fieldMessages are what an answer says of the parameters that it refuses, where
// it is an object of nothing but lists of texts: {"since": ["Enter a valid date."]}.
func fieldMessages(body []byte) (list []string) {
	lists := true
	jsonscan.Members(body, func(name, value []byte) bool {
		lists = jsonscan.Kind(value) == '['
		jsonscan.Elements(value, func(raw []byte) bool {
			text, ok := jsonscan.String(raw)
			if lists = lists && ok; lists && len(list) < mostMessages {
				list = append(list, string(name)+": "+text)
			}
			return lists
		})
		return lists
	})
	if !lists {
		return nil
	}
	return list
}

// notJSON says what an answer is, where JSON was expected.
func notJSON(a answer) error {
	start := strings.TrimSpace(string(a.body[:min(len(a.body), 64)]))
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	switch {
	case len(start) == 0:
		return errors.New("the answer is empty")
	case kind == "text/html" || strings.HasPrefix(start, "<"):
		return errors.New("the answer is a page of HTML or XML, not JSON")
	}
	return fmt.Errorf("the answer is not JSON, or not whole: %d bytes", len(a.body))
}
