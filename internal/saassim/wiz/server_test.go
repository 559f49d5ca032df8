package wiz

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// Over a network the client sees what it would of a real server.
func TestConnectionsGoWrong(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{Gzip: true})
	c.AddAudit(saassim.Batch{N: 200})
	arrived := make(chan struct{}, 100)
	s, err := saassim.Serve("127.0.0.1:0", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		c.ServeHTTP(rw, r)
	}))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	client := &http.Client{Transport: transport}
	defer func() {
		transport.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	ask := func(ctx context.Context, f saassim.Faults) (string, error) {
		if err := c.SetFaults(f); err != nil {
			t.Fatal(err)
		}
		body, _ := json.Marshal(m{"query": auditQuery, "variables": m{"first": 200}})
		r, err := http.NewRequestWithContext(ctx, "POST", s.URL+GraphQLPath, strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+c.token)
		resp, err := client.Do(r)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}
	always := saassim.Setting{Rate: 1}
	whole, err := ask(t.Context(), nil)
	if err != nil || !json.Valid([]byte(whole)) {
		t.Fatalf("good answer: %v", err)
	}
	if _, err := ask(t.Context(), saassim.Faults{saassim.Reset: always}); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Errorf("reset: %v", err)
	}
	if part, err := ask(t.Context(), saassim.Faults{saassim.Truncate: always}); !errors.Is(err, io.ErrUnexpectedEOF) || part == "" || !strings.HasPrefix(whole, part) {
		t.Errorf("truncate: %d of %d bytes, %v", len(part), len(whole), err)
	}
	if huge, err := ask(t.Context(), saassim.Faults{saassim.Huge: {Rate: 1, N: 1 << 20}}); err != nil || len(huge) != 1<<20+len(whole) {
		t.Errorf("huge: %d bytes, %v", len(huge), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	for len(arrived) > 0 {
		<-arrived
	}
	go func() { // give up once the request is there
		<-arrived
		cancel()
	}()
	if _, err := ask(ctx, saassim.Faults{saassim.Hang: always}); !errors.Is(err, context.Canceled) {
		t.Errorf("hang: %v", err)
	}
}

func TestGzip(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{Gzip: true})
	r := httptest.NewRequest("POST", "/graphql", strings.NewReader(`{"query":"{__typename}"}`))
	r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + c.token}, "Accept-Encoding": {"gzip"}}
	rec := c.do(r)
	z, err := gzip.NewReader(rec.Body)
	if err != nil || rec.Header().Get("Content-Encoding") != "gzip" {
		t.Fatal(err, rec.Header())
	}
	if b, err := io.ReadAll(z); err != nil || string(b) != `{"data":{"__typename":"Query"}}` {
		t.Errorf("%s %v", b, err)
	}
}

// Everything may happen at once.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	f := saassim.Faults{saassim.Chaos: {}, saassim.Shift: {Rate: 0.1}, saassim.MissingKeys: {Rate: 0.1}, saassim.Slow: {Rate: 0.1, Delay: time.Microsecond}}
	c := newTester(t, Options{Faults: f, Cursors: SnapshotCursors, AuditReads: true, Rate: 1e6})
	c.AddAudit(saassim.Batch{N: 300})
	c.AddIssues(saassim.Batch{N: 50})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			after := any(nil)
			for i := range 60 {
				query := []string{auditQuery, issueQuery}[i%2]
				rec := c.post(query, m{"first": 20, "after": after})
				var a struct {
					Data map[string]*page
				}
				if after = nil; rec.Code == 200 && json.Unmarshal(rec.Body.Bytes(), &a) == nil {
					for _, p := range a.Data {
						if p != nil && i%4 == 0 {
							after = p.PageInfo.EndCursor
						}
					}
				}
				c.tokenRequest(credentials(), nil)
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			c.AddAudit(saassim.Batch{N: 3})
			c.ChangeIssues(2)
			c.Stats()
			for range c.Truth() {
			}
			if err := c.SetFaults(f); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}
