package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/config"
)

// writePair writes a certificate for 127.0.0.1 and its key.
func writePair(t *testing.T, name string, number int64, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: public}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if path == "" {
			continue
		}
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		later := time.Now().Add(time.Duration(number) * time.Minute)
		if err := os.Chtimes(path, later, later); err != nil {
			t.Fatal(err)
		}
	}
}

// TestServeTLS: with a certificate nothing is answered in the clear, and a
// certificate that is replaced is used at once, without a moment in between.
func TestServeTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePair(t, "first", 1, cert, key)
	var mu sync.Mutex
	var said strings.Builder
	logger := slog.New(slog.NewTextHandler(writer(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return said.Write(b)
	}), nil))
	stop, err := serve("127.0.0.1:0", &config.TLS{CertFile: cert, KeyFile: key}, http.NotFoundHandler(), logger)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	mu.Lock()
	_, address, _ := strings.Cut(said.String(), "address=https://")
	mu.Unlock()
	address, _, _ = strings.Cut(address, "\n")
	// shown is the name in the certificate that a client is shown.
	shown := func() string {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if name := shown(); name != "first" {
		t.Errorf("shown: %s", name)
	}
	if answer, err := http.Get("http://" + address); err == nil {
		_, err := io.Copy(io.Discard, answer.Body)
		if err := errors.Join(err, answer.Body.Close()); err != nil || answer.StatusCode != http.StatusBadRequest {
			t.Errorf("in the clear: %d, %v", answer.StatusCode, err)
		}
	}
	writePair(t, "second", 2, cert, "") // whose key is not there yet
	if name := shown(); name != "first" {
		t.Errorf("between the files: %s", name)
	}
	writePair(t, "third", 3, cert, key)
	if name := shown(); name != "third" {
		t.Errorf("replaced: %s", name)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"certificate is not read anew", "certificate was replaced"} {
		if strings.Count(said.String(), want) != 1 {
			t.Errorf("%q not said once:\n%s", want, said.String())
		}
	}
}

// writer writes by a function.
type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }
