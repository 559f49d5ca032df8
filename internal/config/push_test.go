package config

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
)

// certificate writes one, and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	made, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", made), write("key.pem", "PRIVATE KEY", secret)
}

// sinkCatalogue has a source that its product can send, and one that it can't.
func sinkCatalogue(string) (*catalog.Catalogue, error) {
	source := func(id, more string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("source: " + id + "\nname: A\nabout: B\nkind: log\nrequest: {method: GET, filter: query, query: {since: \"${since}\"}}\nrecords: items\n" +
			"paging: {size: 10, max_size: 10, total: total}\nwindow: {fields: [at], layout: unix, slack: 0s, interval: 5m, overlap: 10m}\n" +
			more + "record: {id: id, time: [at]}\nfacts: {}\necs: {}\n")}
	}
	return catalog.Load(fstest.MapFS{
		"p/product.yaml": {Data: []byte("product: p\nname: P\nvendor: P\nabout: B\nsettings: {token: {about: T, required: true, secret: true}}\n" +
			"base_url: [{value: \"https://p.example\"}]\nauth: [{type: token, token: \"${token}\"}]\nrate_limit: {requests_per_second: 1, burst: 1}\n")},
		"p/sent.yaml":  source("sent", "pushed: {about: An event sink}\n"),
		"p/asked.yaml": source("asked", ""),
	})
}

// TestPush: what can't work for pushed records is a mistake, and what has no
// effect, or should not be, is told.
func TestPush(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	const hidden = "${env:SECRET_WORD}"
	for _, tc := range []struct{ sources, want, top string }{
		{sources: "sent: {pull: false, push: {bearer: '" + hidden + "'}}", want: ""},
		{sources: "sent: {push: {bearer: '" + hidden + "'}, start: 24h, filter: {a: b}}", want: "settings.token: is missing; add it (T)"},
		{sources: "asked: {push: {bearer: '" + hidden + "'}, pull: false}", want: "sources.asked.push: p/asked can't be sent by the product; leave it out"},
		{sources: "sent: {pull: false}", want: "sources.sent.pull: without it nothing brings records of p/sent; add push, or leave the key out"},
		{sources: "sent: {pull: false, push: {}}", want: "sources.sent.push: needs one of bearer, basic and hmac, so that nobody else can send records"},
		{sources: "sent: {pull: false, push: {bearer: short}}", want: "sources.sent.push.bearer: is too short for a secret: at least 12 characters"},
		{sources: "sent: {pull: false, push: {bearer: '${env:UNSET}'}}", want: "sources.sent.push.bearer: environment variable UNSET is not set; set it before trawl starts"},
		{sources: "sent: {pull: false, push: {bearer: '" + hidden + "', basic: {username: u, password: '" + hidden + "'}}}", want: "sources.sent.push: needs one of bearer, basic and hmac, so that nobody else can send records"},
		{sources: "sent: {pull: false, push: {basic: {username: 'a:b', password: '" + hidden + "'}}}", want: "sources.sent.push.basic.username: has a colon, which ends the name in what senders send; set another"},
		{sources: "sent: {pull: false, push: {hmac: {secret: '" + hidden + "', header: 'X Sum'}}}", want: "sources.sent.push.hmac.header: is no name of a header, such as X-Signature"},
		{sources: "sent: {pull: false, push: {hmac: {secret: '" + hidden + "', header: X-Sum, algorithm: md5}}}", want: `sources.sent.push.hmac.algorithm: "md5" is not known here; known: sha256, sha512`},
		{sources: "sent: {pull: false, push: {bearer: '" + hidden + "', max_body: 1GiB}}", want: "sources.sent.push.max_body: must be between 1KiB and 64MiB"},

		{sources: "sent: {pull: false, push: {bearer: in-the-file-itself}}", want: "sources.sent.push.bearer: " + secretInFile},
		{sources: "sent: {pull: false, push: {basic: {username: u, password: in-the-file-itself}}}", want: "sources.sent.push.basic.password: " + secretInFile},
		{sources: "sent: {pull: false, push: {hmac: {secret: in-the-file-itself, header: X-Sum}}}", want: "sources.sent.push.hmac.secret: " + secretInFile},
		{sources: "sent: {pull: false, start: 24h, push: {bearer: '" + hidden + "'}}", want: "sources.sent.start: has no effect: with pull: false the API is not asked; leave it out"},
		{sources: "sent: {pull: false, revisit: [1h], push: {bearer: '" + hidden + "'}}", want: "sources.sent.revisit: has no effect: with pull: false the API is not asked; leave it out"},
		{sources: "sent: {pull: false, filter: {a: b}, push: {bearer: '" + hidden + "'}}", want: "sources.sent.filter: has no effect: with pull: false the API is not asked; leave it out"},

		{sources: "sent: {pull: false, push: {bearer: '" + hidden + "'}}", top: "listen: '0.0.0.0:8686'", want: "sources.sent.push: what is sent, with its credential, can be read by everybody on the way; set listen_tls, or listen on 127.0.0.1 behind a reverse proxy with TLS"},
		{sources: "sent: {pull: false, push: {bearer: '" + hidden + "'}}", top: "listen: ':8686'", want: "sources.sent.push: what is sent, with its credential, can be read by everybody on the way; set listen_tls, or listen on 127.0.0.1 behind a reverse proxy with TLS"},
		{sources: "sent: {pull: false, push: {bearer: '" + hidden + "'}}", top: "listen: '[::1]:8686'"},
		{sources: "sent: {pull: false, push: {bearer: '" + hidden + "'}}", top: "listen: ':8686'\nlisten_tls: {cert_file: " + cert + ", key_file: " + key + "}"},
	} {
		t.Run(tc.sources+tc.top, func(t *testing.T) {
			t.Parallel()
			c, err := parse("f", []byte(tc.top+"\nconnections: {c: {product: p, sources: {"+tc.sources+"}}}\noutputs: {o: {type: file, path: o}}\n"), sinkCatalogue, testEnv)
			var said []string
			if err != nil {
				said = strings.Split(err.Error(), "\n")
			} else {
				for _, w := range c.Warnings {
					said = append(said, w.Error())
				}
			}
			for i, text := range said {
				_, said[i], _ = strings.Cut(text, " connections.c.")
			}
			if diff := cmp.Diff(tc.want, strings.Join(said, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}
