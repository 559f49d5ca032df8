package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/engine"
	"github.com/trawlsec/trawl/internal/pagelog"
)

const secret = "s3cr3t-of-the-sender"

var product = fstest.MapFS{
	"acme/product.yaml": {Data: []byte(`
product: acme
name: Acme
vendor: Acme
about: A product of this test
settings:
  token: {about: Its token, required: true, secret: true}
base_url: [{value: "https://acme.example"}]
auth: [{type: token, token: "${token}"}]
rate_limit: {requests_per_second: 1, burst: 1}
`)},
	"acme/audit.yaml": {Data: []byte(`
source: audit
name: Audit log
about: What was done
kind: log
request: {method: GET, path: /audit, query: {since: "${since}", until: "${until}", cursor: "${cursor}"}}
records: records
paging: {size: 100, max_size: 100, cursor: next}
window: {fields: [at], layout: "2006-01-02T15:04:05Z", slack: 1s, interval: 5m, overlap: 10m}
record: {id: [id], time: [at]}
facts: {}
pushed: {about: An event sink}
ecs: {fields: {event.action: action}}
`)},
}

// taker remembers what it is given.
type taker struct {
	records []string
	most    int // records at a time
	err     error
}

func (k *taker) Push(_ context.Context, feed string, records [][]byte, file bool) (collect.Pushed, error) {
	if feed != "acme-prod/audit" || file {
		return collect.Pushed{}, fmt.Errorf("feed %s, file %t", feed, file)
	}
	if k.err != nil {
		return collect.Pushed{}, k.err
	}
	k.most = max(k.most, len(records))
	for _, r := range records {
		k.records = append(k.records, string(r))
	}
	return collect.Pushed{New: len(records)}, nil
}

func handling(t *testing.T, push string, k Taker, l limits) http.Handler {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trawl.yaml")
	text := "connections: {acme-prod: {product: acme, sources: {audit: {pull: false, push: " + push + "}}}}\noutputs: {o: {type: file, path: x}}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, func(string) (*catalog.Catalogue, error) { return catalog.Load(product) })
	if err != nil {
		t.Fatal(err)
	}
	return handle(cfg.Connections, k, slog.New(slog.DiscardHandler), l)
}

func packed(t *testing.T, text string, by func(io.Writer) io.WriteCloser) string {
	t.Helper()
	var b bytes.Buffer
	w := by(&b)
	_, err := io.WriteString(w, text)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func gzipped(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }

func zstded(w io.Writer) io.WriteCloser {
	z, err := zstd.NewWriter(w)
	if err != nil {
		panic(err)
	}
	return z
}

func TestHandler(t *testing.T) {
	t.Parallel()
	const bearer = "{bearer: " + secret + ", max_body: 4KiB}"
	authorized := map[string]string{"Authorization": "Bearer " + secret}
	with := func(more ...string) map[string]string {
		h := map[string]string{"Authorization": "Bearer " + secret}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = more[i+1]
		}
		return h
	}
	two := `{"id":"1", "n": 12345678901234567890}` + "\n" + `{"id":"2"}`
	sum := hmac.New(sha256.New, []byte(secret))
	sum.Write([]byte(two))
	signature := hex.EncodeToString(sum.Sum(nil))
	hmacPush := "{hmac: {secret: " + secret + ", header: X-Signature, prefix: sha256=}}"
	basic := "{basic: {username: sender, password: " + secret + "}}"
	for name, tc := range map[string]struct {
		push    string
		method  string // default POST
		path    string // default the feed's
		headers map[string]string
		body    string
		err     error // of the log
		status  int
		records int
	}{
		"lines":             {push: bearer, headers: authorized, body: two, status: 200, records: 2},
		"an array":          {push: bearer, headers: authorized, body: `[{"id":"1"},{"id":"2"},{"id":"3"}]`, status: 200, records: 3},
		"gzip":              {push: bearer, headers: with("Content-Encoding", "gzip"), body: packed(t, two, gzipped), status: 200, records: 2},
		"zstd":              {push: bearer, headers: with("Content-Encoding", "zstd"), body: packed(t, two, zstded), status: 200, records: 2},
		"nothing":           {push: bearer, headers: authorized, status: 200},
		"lower-case bearer": {push: bearer, headers: map[string]string{"Authorization": "bearer " + secret}, body: two, status: 200, records: 2},
		"basic":             {push: basic, headers: map[string]string{"Authorization": "Basic c2VuZGVyOnMzY3IzdC1vZi10aGUtc2VuZGVy"}, body: two, status: 200, records: 2},
		"a signature":       {push: hmacPush, headers: map[string]string{"X-Signature": "sha256=" + signature}, body: two, status: 200, records: 2},

		"no credential":        {push: bearer, body: two, status: 401},
		"another token":        {push: bearer, headers: map[string]string{"Authorization": "Bearer " + secret + "x"}, body: two, status: 401},
		"token as basic":       {push: bearer, headers: map[string]string{"Authorization": "Basic " + secret}, body: two, status: 401},
		"another user":         {push: basic, headers: map[string]string{"Authorization": "Basic eDpzM2NyM3Qtb2YtdGhlLXNlbmRlcg=="}, body: two, status: 401},
		"another body":         {push: hmacPush, headers: map[string]string{"X-Signature": "sha256=" + signature}, body: two + " ", status: 401},
		"no prefix":            {push: hmacPush, headers: map[string]string{"X-Signature": signature}, body: two, status: 401},
		"no hex":               {push: hmacPush, headers: map[string]string{"X-Signature": "sha256=zz"}, body: two, status: 401},
		"another feed":         {push: bearer, path: "/ingest/acme-prod/acme/issues", headers: authorized, body: two, status: 404},
		"another product":      {push: bearer, path: "/ingest/acme-prod/wiz/audit", headers: authorized, body: two, status: 404},
		"GET":                  {push: bearer, method: "GET", headers: authorized, status: 405},
		"not JSON":             {push: bearer, headers: authorized, body: two + "\nx", status: 400},
		"cut off":              {push: bearer, headers: authorized, body: two[:20], status: 400},
		"not gzip":             {push: bearer, headers: with("Content-Encoding", "gzip"), body: two, status: 400},
		"gzip cut off":         {push: bearer, headers: with("Content-Encoding", "gzip"), body: packed(t, two, gzipped)[:30], status: 400},
		"brotli":               {push: bearer, headers: with("Content-Encoding", "br"), body: two, status: 415},
		"too large":            {push: bearer, headers: authorized, body: strings.Repeat(two, 100), status: 413},
		"too large unpacked":   {push: bearer, headers: with("Content-Encoding", "gzip"), body: packed(t, strings.Repeat(two, 1000), gzipped), status: 413},
		"too large from zstd":  {push: bearer, headers: with("Content-Encoding", "zstd"), body: packed(t, strings.Repeat(two, 100_000), zstded), status: 413},
		"the log is full":      {push: bearer, headers: authorized, body: two, err: fmt.Errorf("append: %w", pagelog.ErrFull), status: 503},
		"another collects":     {push: bearer, headers: authorized, body: two, err: engine.ErrStandby, status: 503},
		"the log fails":        {push: bearer, headers: authorized, body: two, err: errors.New("disk " + secret), status: 500},
		"refused before read":  {push: bearer, body: strings.Repeat("x", 1<<20), status: 401},
		"a token in the query": {push: bearer, path: "/ingest/acme-prod/acme/audit?token=" + secret, body: two, status: 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := &taker{err: tc.err}
			h := handling(t, tc.push, k, usual)
			if tc.method == "" {
				tc.method = "POST"
			}
			if tc.path == "" {
				tc.path = "/ingest/acme-prod/acme/audit"
			}
			r := httptest.NewRequest(tc.method, tc.path, strings.NewReader(tc.body))
			for name, value := range tc.headers {
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tc.status || len(k.records) != tc.records {
				t.Errorf("status %d, %d records; want %d, %d: %s", w.Code, len(k.records), tc.status, tc.records, w.Body)
			}
			if strings.Contains(w.Body.String(), secret) {
				t.Errorf("the answer holds the secret: %s", w.Body)
			}
			if again := w.Header().Get("Retry-After") != ""; again != (tc.status == 503) {
				t.Errorf("Retry-After: %q", w.Header().Get("Retry-After"))
			}
		})
	}
	t.Run("bytes stay as they are", func(t *testing.T) {
		t.Parallel()
		k := &taker{}
		r := httptest.NewRequest("POST", "/ingest/acme-prod/acme/audit", strings.NewReader(two))
		r.Header.Set("Authorization", "Bearer "+secret)
		handling(t, bearer, k, usual).ServeHTTP(httptest.NewRecorder(), r)
		if got := strings.Join(k.records, "\n"); got != two {
			t.Errorf("got %s", got)
		}
	})
}

// TestManyRecords: what is held of a body at a time does not grow with the
// number of its records, and one that breaks off leaves nothing behind.
func TestManyRecords(t *testing.T) {
	t.Parallel()
	const n = 2*pagelog.MaxRecords + 5
	for body, want := range map[string]int{strings.Repeat("1 ", n): n, strings.Repeat("1 ", n) + "{": 0} {
		k := &taker{}
		r := httptest.NewRequest("POST", "/ingest/acme-prod/acme/audit", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+secret)
		w := httptest.NewRecorder()
		handling(t, "{bearer: "+secret+"}", k, usual).ServeHTTP(w, r)
		if len(k.records) != want || k.most > pagelog.MaxRecords {
			t.Errorf("%d records, %d at a time: %s", len(k.records), k.most, w.Body)
		}
		if said := fmt.Sprintf(`"new":%d`, want); want > 0 && !strings.Contains(w.Body.String(), said) {
			t.Errorf("it said %s, want %s", w.Body, said)
		}
	}
}

// TestSlowBody: a sender that is too slow is told to come again, not that its
// records are bad.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("POST", "/ingest/acme-prod/acme/audit", io.MultiReader(strings.NewReader("{"), iotest.ErrReader(os.ErrDeadlineExceeded)))
	r.Header.Set("Authorization", "Bearer "+secret)
	w := httptest.NewRecorder()
	handling(t, "{bearer: "+secret+"}", &taker{}, usual).ServeHTTP(w, r)
	if w.Code != http.StatusRequestTimeout {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

// FuzzRead wants of any body either a refusal with a status, or records that
// are within the limit together.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`[{"a":1}]`), "")
	f.Add([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00"), "gzip")
	f.Add([]byte("\x28\xb5\x2f\xfd\x04\x00\x01\x00\x00"), "zstd")
	f.Fuzz(func(t *testing.T, body []byte, encoding string) {
		const limit = 1 << 12
		if len(body) > limit {
			return // refused before
		}
		body, err := read(body, encoding, limit)
		var refused *refusal
		if err != nil && (!errors.As(err, &refused) || refused.status < 400 || refused.status > 499) {
			t.Errorf("error %v", err)
		}
		size := 0
		if err := each(body, func(records [][]byte) error {
			for _, r := range records {
				size += len(r)
			}
			return nil
		}); err != nil {
			t.Errorf("what was read before: %v", err)
		}
		if size > limit {
			t.Errorf("%d bytes of records", size)
		}
	})
}
