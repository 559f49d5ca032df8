package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/config"
)

// serve answers monitoring and event sinks on address until stop is called; an
// empty address is no address. secured is nil for plain HTTP.
func serve(address string, secured *config.TLS, handler http.Handler, logger *slog.Logger) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s (`listen` in the configuration): %w", address, err)
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug), // strangers who speak no TLS, and the like
	}
	scheme, answer := "http", server.Serve
	if secured != nil {
		c := &certificate{files: *secured, logger: logger}
		server.TLSConfig = &tls.Config{GetCertificate: c.now, MinVersion: tls.VersionTLS12}
		scheme, answer = "https", func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := answer(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("monitoring address failed", "address", address, "error", err)
		}
	}()
	logger.Info("monitoring", "address", scheme+"://"+listener.Addr().String())
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		<-done
	}, nil
}

// certificate is one whose files may be replaced while it is in use.
type certificate struct {
	files  config.TLS
	logger *slog.Logger

	mu   sync.Mutex
	seen [2]stamp // of the files, when they were read last
	last *tls.Certificate
}

// stamp tells a file from a later one of the same name.
type stamp struct {
	size    int64
	changed time.Time
}

// now is the certificate as the files have it. Where they can't be read, or do
// not belong together (one of them was not replaced yet), it is the one before.
func (c *certificate) now(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var is [2]stamp
	for i, path := range []string{c.files.CertFile, c.files.KeyFile} {
		if info, err := os.Stat(path); err == nil {
			is[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	if c.last != nil && is == c.seen {
		return c.last, nil
	}
	read, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
	switch {
	case err == nil && c.last != nil:
		c.logger.Info("certificate was replaced", "cert_file", c.files.CertFile, "good_until", read.Leaf.NotAfter)
	case err != nil && c.last == nil:
		return nil, err
	case err != nil:
		c.logger.Error("certificate is not read anew; the one before stays", "cert_file", c.files.CertFile, "error", err)
		read = *c.last
	}
	c.seen, c.last = is, &read
	return c.last, nil
}
