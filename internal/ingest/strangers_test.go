package ingest

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/collect"
)

// slowly begins a request and leaves its body open.
func slowly(t *testing.T, server *httptest.Server, header string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST /ingest/acme-prod/acme/audit HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: 1000\r\n\r\n{", header); err != nil {
		t.Fatal(err)
	}
	return conn
}

// signedBy is the header of a body signed with a secret.
func signedBy(secret, body string) string {
	sum := hmac.New(sha256.New, []byte(secret))
	sum.Write([]byte(body))
	return hex.EncodeToString(sum.Sum(nil))
}

// TestSlowStrangers: senders without the secret who never come to an end keep
// nobody out who has it, however many there are.
func TestSlowStrangers(t *testing.T) {
	t.Parallel()
	k := &taker{}
	server := httptest.NewServer(handling(t, "{hmac: {secret: "+secret+", header: X-Signature}}", k, limits{body: time.Hour, turn: time.Hour, refused: time.Second}))
	t.Cleanup(server.Close) // after the crowd has gone
	answers := make(chan *http.Response, 4*mostAtOne)
	for range cap(answers) {
		conn := slowly(t, server, "X-Signature: "+signedBy("guess", ""))
		go func() {
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil { // else the test is over
				answers <- answer
			}
		}()
	}
	// All but a few had to give way, and heard so.
	for range cap(answers) - mostAtOne {
		answer := <-answers
		if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
			t.Errorf("a stranger: %d", answer.StatusCode)
		}
	}
	for i := range 3 {
		body := fmt.Sprintf(`{"id":"%d"}`, i)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/ingest/acme-prod/acme/audit", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Signature", signedBy(secret, body))
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(answer.Body)
		if err := errors.Join(err, answer.Body.Close()); err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("the sender with the secret: %d %s, %v", answer.StatusCode, said, err)
		}
	}
	if len(k.records) != 3 {
		t.Errorf("%d records", len(k.records))
	}
}

// TestRefusedWhileSending: whoever is refused before its body was read does not
// keep the connection by never sending it.
func TestRefusedWhileSending(t *testing.T) {
	t.Parallel()
	for _, push := range []string{"{bearer: " + secret + "}", "{hmac: {secret: " + secret + ", header: X-Signature}}"} {
		server := httptest.NewServer(handling(t, push, &taker{}, limits{body: time.Hour, turn: time.Hour, refused: time.Millisecond}))
		defer server.Close()
		conn := slowly(t, server, "X-Signature: guess")
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		answer, err := http.ReadResponse(in, nil)
		if err != nil || answer.StatusCode != http.StatusUnauthorized {
			t.Fatalf("%v, %v", answer, err)
		}
		if _, err := io.Copy(io.Discard, in); err != nil {
			t.Errorf("the connection is not ended: %v", err)
		}
	}
}

// waiter holds what it is given until it may go on.
type waiter chan struct{}

func (w waiter) Push(ctx context.Context, _ string, records [][]byte, _ bool) (collect.Pushed, error) {
	<-w
	return collect.Pushed{New: len(records)}, nil
}

// TestCrowdOfKnown: what waits for the log in memory is bounded, and nobody of
// whom a signature was seen to be good is sent away for a newcomer.
func TestCrowdOfKnown(t *testing.T) {
	t.Parallel()
	goOn := make(waiter)
	h := handling(t, "{hmac: {secret: "+secret+", header: X-Signature}}", goOn, usual)
	send := func() int {
		r := httptest.NewRequest(http.MethodPost, "/ingest/acme-prod/acme/audit", strings.NewReader("{}"))
		r.Header.Set("X-Signature", signedBy(secret, "{}"))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	codes := make(chan int)
	for range 3 * mostAtOne {
		go func() { codes <- send() }()
	}
	for range 2 * mostAtOne { // the others are at work, and have their places
		if code := <-codes; code != http.StatusServiceUnavailable {
			t.Errorf("beyond the limit: %d", code)
		}
	}
	close(goOn)
	for range mostAtOne {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("within the limit: %d", code)
		}
	}
}

// TestStrangers: of whom a newcomer gets a place.
func TestStrangers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		here  string // addresses; upper case: known
		comes string
		goes  int // index; -1: nobody, and the newcomer gets no place
	}{
		"one has most":       {"baaa", "c", 1},
		"the newcomer's own": {"abc", "b", 1},
		"all alike":          {"abcd", "e", 0},
		"known ones stay":    {"AAAb", "c", 3},
		"nobody":             {"ABC", "d", -1},
	} {
		s := strangers{most: len(tc.here)}
		went := -1
		var all []*stranger
		for i, c := range tc.here {
			x := s.enter(strings.ToLower(string(c)), func() { went = i })
			if c < 'a' && !s.keep(x) {
				t.Errorf("%s: not kept", name)
			}
			all = append(all, x)
		}
		x := s.enter(tc.comes, func() {})
		if went != tc.goes || (x == nil) != (tc.goes < 0) {
			t.Errorf("%s: %d went, want %d", name, went, tc.goes)
		}
		if went >= 0 && (s.keep(all[went]) || !s.displaced(all[went])) {
			t.Errorf("%s: who had to go is still there", name)
		}
		for _, x := range append(all, x) {
			if x != nil {
				s.leave(x)
			}
		}
		if len(s.here) > 0 {
			t.Errorf("%s: %d are left", name, len(s.here))
		}
	}
}
