package fetch

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"

	catalogfiles "github.com/trawlsec/trawl/catalog"
	"github.com/trawlsec/trawl/internal/catalog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testSecret = "s3cr+t/with=odd&chars%20 and~more"
	testToken  = "tok-7f3a9c1e55d2"
)

var wiz = sync.OnceValue(func() *catalog.Product {
	all, err := catalog.Load(catalogfiles.FS)
	if err != nil {
		panic(err)
	}
	p, err := all.Product("wiz")
	if err != nil {
		panic(err)
	}
	return p
})

// settings are a connection's settings that a test may change: string or
// map[string]string; an error is given when the setting is read.
type settings struct {
	mu     sync.Mutex
	values map[string]any
}

func (s *settings) Get(name string) (string, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch v := s.values[name].(type) {
	case string:
		return v, true, nil
	case error:
		return "", false, v
	}
	return "", false, nil
}

func (s *settings) Map(name string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, _ := s.values[name].(map[string]string)
	return m
}

func (s *settings) set(name string, value any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[name] = value
}

func wizSettings(more map[string]any) *settings {
	values := map[string]any{
		"client_id":     "client-1",
		"client_secret": testSecret,
		"api_url":       "https://api.test/graphql",
		"token_url":     "https://auth.test/oauth/token",
	}
	maps.Copy(values, more)
	return &settings{values: values}
}

// api plays a product without a network. Both functions get the number of the
// request of their kind, from 1, and what was sent.
type api struct {
	token func(n int, form url.Values) *http.Response
	page  func(n int, r *http.Request, body string) (*http.Response, error)

	mu       sync.Mutex
	signIns  int
	requests []*http.Request // of pages
	bodies   []string        // of pages
	times    []time.Time     // of pages
	forms    []url.Values    // of sign-ins
	headers  []http.Header   // of sign-ins
}

func (a *api) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	var body string
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(b)
	}
	a.mu.Lock()
	if strings.HasSuffix(r.URL.Path, "/oauth/token") {
		a.signIns++
		n := a.signIns
		form, _ := url.ParseQuery(body)
		a.forms, a.headers = append(a.forms, form), append(a.headers, r.Header)
		a.mu.Unlock()
		if a.token == nil {
			return tokenAnswer(testToken, 86400), nil
		}
		resp := a.token(n, form)
		if err := r.Context().Err(); err != nil { // it took too long
			return nil, err
		}
		if resp != nil {
			return resp, nil
		}
		return nil, errors.New("connection reset by peer")
	}
	a.requests, a.bodies, a.times = append(a.requests, r), append(a.bodies, body), append(a.times, time.Now())
	n := len(a.requests)
	a.mu.Unlock()
	if a.page == nil {
		return respond(200, pageOf(1, "", false)), nil
	}
	return a.page(n, r, body)
}

func (a *api) counts() (signIns, pages int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.signIns, len(a.requests)
}

// respond makes an answer; headers are pairs.
func respond(status int, body string, headers ...string) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), Header: h,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), ProtoMajor: 1, ProtoMinor: 1,
	}
}

func tokenAnswer(token string, expiresIn int) *http.Response {
	body := fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer"}`, token)
	if expiresIn != 0 {
		body = fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":%d}`, token, expiresIn)
	}
	return respond(200, body)
}

// jwt makes a token that claims something.
func jwt(payload string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none"}`)) + "." + enc([]byte(payload)) + ".c2ln"
}

// pageOf makes an answer of Wiz's audit log with n records.
func pageOf(n int, cursor string, more bool) string {
	var b strings.Builder
	b.WriteString(`{"data":{"auditLogEntries":{"nodes":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"r%d"}`, i)
	}
	if cursor == "" {
		cursor = "null"
	}
	fmt.Fprintf(&b, `],"pageInfo":{"hasNextPage":%t,"endCursor":%s},"totalCount":%d}}}`, more, cursor, n)
	return b.String()
}

// client makes a client of a product played by an api.
func client(t testing.TB, a http.RoundTripper, change func(*Options)) *Client {
	t.Helper()
	o := Options{
		Name: "wiz-prod", Product: wiz(), Settings: wizSettings(nil),
		Rate:      catalog.RateLimit{PerSecond: 1000, Burst: 1000},
		UserAgent: "trawl/test",
	}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if a != nil {
		c.http.Transport = a
	}
	t.Cleanup(c.Close)
	return c
}

func audit() *catalog.Source { return wiz().Sources["audit"] }

var (
	since = time.Date(2025, 2, 6, 13, 0, 0, 123456789, time.UTC)
	until = since.Add(time.Hour)
)

func auditPage(cursor string) Request {
	r := Request{Source: audit(), Since: since, Until: until, Field: "timestamp", Size: 500}
	if cursor != "" {
		r.Cursor = jsontext.Value(cursor)
	}
	return r
}

// failure is the *Error that err has to be.
func failure(t testing.TB, err error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v (%T), not an *Error", err, err)
	}
	return e
}

// contextFor gives the test's context with an end.
func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// logTo gives a logger and what it wrote.
func logTo() (*slog.Logger, *lockedBuffer) {
	b := &lockedBuffer{}
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug})), b
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
