package wiz

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/simtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = simtest.Noon

// tester is a client of a tenant that it calls without a network.
type tester struct {
	testing.TB
	*Tenant
	token string
}

func newTester(t testing.TB, o Options) *tester {
	t.Helper()
	if o.Clock == nil {
		o.Clock = func() time.Time { return noon }
	}
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c := &tester{TB: t, Tenant: w}
	c.signIn()
	return c
}

func credentials() url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {DefaultClientID},
		"client_secret": {DefaultClientSecret}, "audience": {DefaultAudience}}
}

func (c *tester) signIn() {
	c.Helper()
	rec := c.tokenRequest(credentials(), nil)
	var got struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || rec.Code != 200 {
		c.Fatalf("sign in: %d %s", rec.Code, rec.Body)
	}
	c.token = got.AccessToken
}

func (c *tester) tokenRequest(form url.Values, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/oauth/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", saassim.FormType)
	for k := range header {
		r.Header.Set(k, header.Get(k))
	}
	return c.do(r)
}

func (c *tester) do(r *http.Request) *httptest.ResponseRecorder { return simtest.Do(c, r) }

type m = map[string]any

func (c *tester) post(query string, vars m) *httptest.ResponseRecorder {
	body, err := json.Marshal(m{"query": query, "variables": vars})
	if err != nil {
		c.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/graphql", strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+c.token)
	return c.do(r)
}

// answer is what a tenant says to a query.
type answer struct {
	Data   json.RawMessage
	Errors []struct {
		Message    string
		Path       []any
		Extensions struct {
			Code       string
			RetryAfter int
		}
	}
}

func (c *tester) ask(query string, vars m) (int, answer) {
	c.Helper()
	rec := c.post(query, vars)
	var a answer
	if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil {
		c.Fatalf("answer %d is not JSON: %v\n%s", rec.Code, err, rec.Body)
	}
	return rec.Code, a
}

// get asks what must work and decodes the data.
func (c *tester) get(query string, vars m, into any) {
	c.Helper()
	code, a := c.ask(query, vars)
	if code != 200 || len(a.Errors) > 0 {
		c.Fatalf("answer %d, errors %v", code, a.Errors)
	}
	if err := json.Unmarshal(a.Data, into); err != nil {
		c.Fatalf("%v\n%s", err, a.Data)
	}
}

// page is one page of either query.
type page struct {
	TotalCount int
	PageInfo   struct {
		HasNextPage bool
		EndCursor   any
	}
	Nodes []m
	Edges []struct {
		Cursor string
		Node   m
	}
}

func (p page) ids() []string { return column(p.Nodes, "id") }

func column(nodes []m, name string) []string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = fmt.Sprint(n[name])
	}
	return out
}

const auditQuery = `query Entries($first: Int, $after: String, $filterBy: AuditLogEntryFilters) {
  auditLogEntries(first: $first, after: $after, filterBy: $filterBy) {
    totalCount
    pageInfo { hasNextPage endCursor }
    nodes { id action actionType status timestamp duration requestId sourceIP sourceIPCountryCode userAgent clientType
      aiEngines aiAgentType actionParameters performer { __typename id name } user { id name email } serviceAccount { id name } }
  }
}`

const issueQuery = `query Issues($first: Int, $after: String, $filterBy: IssueFilters, $orderBy: IssueOrder) {
  issuesV2(first: $first, after: $after, filterBy: $filterBy, orderBy: $orderBy) {
    totalCount
    pageInfo { hasNextPage endCursor }
    nodes { id type status severity createdAt updatedAt statusChangedAt resolvedAt dueAt openReason resolutionReason
      rejectionExpiredAt lastEventAt validatedAsExploitable
      assignee { id } project { id } cloudAccounts { id } notes { text } serviceTickets { name }
      sourceRules { id name risks } entitySnapshot { id name type nativeType cloudPlatform region subscriptionId status } }
  }
}`

func (c *tester) auditPage(vars m) page {
	c.Helper()
	var d struct{ AuditLogEntries page }
	c.get(auditQuery, vars, &d)
	return d.AuditLogEntries
}

func (c *tester) issuePage(vars m) page {
	c.Helper()
	var d struct{ IssuesV2 page }
	c.get(issueQuery, vars, &d)
	return d.IssuesV2
}

// walk reads all pages and returns the nodes.
func (c *tester) walk(read func(m) page, vars m) []m {
	c.Helper()
	vars = cloneVars(vars)
	var nodes []m
	for range 1000 {
		p := read(vars)
		nodes = append(nodes, p.Nodes...)
		if !p.PageInfo.HasNextPage {
			return nodes
		}
		vars["after"] = p.PageInfo.EndCursor
	}
	c.Fatal("the walk does not end")
	return nil
}

func cloneVars(vars m) m {
	out := m{"first": 100}
	for k, v := range vars {
		out[k] = v
	}
	return out
}

func (c *tester) truth(source string) []saassim.Truth {
	var out []saassim.Truth
	for t := range c.Truth() {
		if t.Source == source {
			out = append(out, t)
		}
	}
	return out
}

func sorted(s []string) []string {
	return slices.Sorted(slices.Values(s))
}

func reversed(s []string) []string {
	s = slices.Clone(s)
	slices.Reverse(s)
	return s
}
