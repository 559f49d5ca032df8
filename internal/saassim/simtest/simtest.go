// Package simtest is what the tests of the simulated products share.
package simtest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// Noon is when the tenants of tests think it is.
var Noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// Clock is a calendar that stands still until it is moved. It may be used from
// several goroutines at once.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock returns a calendar that stands at Noon.
func NewClock() *Clock { return &Clock{at: Noon} }

// Now is where the calendar stands.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Pass lets a time pass.
func (c *Clock) Pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// Query makes the query of a URL from names and values by turns.
func Query(pairs ...string) url.Values {
	q := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		q.Set(pair[0], pair[1])
	}
	return q
}

// Do answers a request without a network, as code 0 where the connection would
// have been cut.
func Do(h http.Handler, r *http.Request) (rec *httptest.ResponseRecorder) {
	rec = httptest.NewRecorder()
	defer func() {
		if e := recover(); e == http.ErrAbortHandler {
			rec.Code = 0
		} else if e != nil {
			panic(e)
		}
	}()
	h.ServeHTTP(rec, r)
	return rec
}

// Post sends a form.
func Post(h http.Handler, path string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", saassim.FormType)
	return Do(h, r)
}

// Get asks with a value of the Authorization header, "" for none.
func Get(h http.Handler, target, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", target, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return Do(h, r)
}

// Decode reads the JSON of an answer with a status.
func Decode[T any](t testing.TB, rec *httptest.ResponseRecorder, status int) (v T) {
	t.Helper()
	if rec.Code != status {
		t.Fatalf("status %d, want %d: %s", rec.Code, status, rec.Body)
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v: %s", err, rec.Body)
	}
	return v
}

// Faults puts a list as ParseFaults reads it in force.
func Faults(t testing.TB, tenant *saassim.Tenant, list string) {
	t.Helper()
	f, err := saassim.ParseFaults(list)
	if err == nil {
		err = tenant.SetFaults(f)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// IDs are those of the records that show at a time, in alphabetical order.
func IDs(truth iter.Seq[saassim.Truth], at time.Time) []string {
	var ids []string
	for r := range truth {
		if !r.VisibleAt.After(at) {
			ids = append(ids, r.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// Sorted is a sorted copy.
func Sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// Key is a pair of keys, made once.
var Key = sync.OnceValue(func() saassim.SigningKey {
	k, err := saassim.NewSigningKey()
	if err != nil {
		panic(err)
	}
	return k
})

// Sign makes a JWT. The algorithm is that of the header: RS256, RS384 or RS512;
// for another the signature is empty.
func Sign(t testing.TB, key saassim.SigningKey, header, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(header) + "." + part(claims)
	hash, ok := map[any]crypto.Hash{"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512}[header["alg"]]
	if !ok {
		return text + "."
	}
	block, _ := pem.Decode([]byte(key.Private))
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	h := hash.New()
	h.Write([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, private.(*rsa.PrivateKey), hash, h.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}
