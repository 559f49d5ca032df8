package saassim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is a handler listening on the loopback interface.
type Server struct {
	URL string // http://127.0.0.1:port, without a slash at the end

	http    *http.Server
	cancel  context.CancelFunc // ends requests that hang
	stopped chan struct{}
	err     error // of serving, set before stopped is closed

	mu     sync.Mutex
	closed bool           // no request is begun any more
	calls  sync.WaitGroup // requests under way; grows under the lock only
}

// Serve serves a handler on an address, which must be a loopback one.
func Serve(addr string, h http.Handler) (*Server, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("serve %s: a simulator listens on the loopback interface only", addr)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", addr, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{URL: "http://" + l.Addr().String(), cancel: cancel, stopped: make(chan struct{})}
	s.http = &http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if !s.begin() {
				panic(http.ErrAbortHandler)
			}
			defer s.calls.Done()
			h.ServeHTTP(rw, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // the faults are meant, and the request log has them
	}
	go func() {
		defer close(s.stopped)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.err = fmt.Errorf("serve %s: %w", addr, err)
		}
	}()
	return s, nil
}

func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.calls.Add(1)
	}
	return !s.closed
}

// Close ends the connections, waits for the requests under way and returns
// what had ended the server before, if anything did.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	err := s.http.Close()
	<-s.stopped
	s.calls.Wait()
	return errors.Join(s.err, err)
}
