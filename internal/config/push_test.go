package config

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
)

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
	const hidden = "${env:SECRET_WORD}"
	for _, tc := range []struct{ sources, want string }{
		{"sent: {pull: false, push: {bearer: '" + hidden + "'}}", ""},
		{"sent: {push: {bearer: '" + hidden + "'}, start: 24h, filter: {a: b}}", "settings.token: is missing; add it (T)"},
		{"asked: {push: {bearer: '" + hidden + "'}, pull: false}", "sources.asked.push: p/asked can't be sent by the product; leave it out"},
		{"sent: {pull: false}", "sources.sent.pull: without it nothing brings records of p/sent; add push, or leave the key out"},
		{"sent: {pull: false, push: {}}", "sources.sent.push: needs one of bearer, basic and hmac, so that nobody else can send records"},
		{"sent: {pull: false, push: {bearer: short}}", "sources.sent.push.bearer: is too short for a secret: at least 12 characters"},
		{"sent: {pull: false, push: {bearer: '${env:UNSET}'}}", "sources.sent.push.bearer: environment variable UNSET is not set; set it before trawl starts"},
		{"sent: {pull: false, push: {bearer: '" + hidden + "', basic: {username: u, password: '" + hidden + "'}}}", "sources.sent.push: needs one of bearer, basic and hmac, so that nobody else can send records"},
		{"sent: {pull: false, push: {basic: {username: 'a:b', password: '" + hidden + "'}}}", "sources.sent.push.basic.username: has a colon, which ends the name in what senders send; set another"},
		{"sent: {pull: false, push: {hmac: {secret: '" + hidden + "', header: 'X Sum'}}}", "sources.sent.push.hmac.header: is no name of a header, such as X-Signature"},
		{"sent: {pull: false, push: {hmac: {secret: '" + hidden + "', header: X-Sum, algorithm: md5}}}", `sources.sent.push.hmac.algorithm: "md5" is not known here; known: sha256, sha512`},
		{"sent: {pull: false, push: {bearer: '" + hidden + "', max_body: 1GiB}}", "sources.sent.push.max_body: must be between 1KiB and 64MiB"},

		{"sent: {pull: false, push: {bearer: in-the-file-itself}}", "sources.sent.push.bearer: " + secretInFile},
		{"sent: {pull: false, push: {basic: {username: u, password: in-the-file-itself}}}", "sources.sent.push.basic.password: " + secretInFile},
		{"sent: {pull: false, push: {hmac: {secret: in-the-file-itself, header: X-Sum}}}", "sources.sent.push.hmac.secret: " + secretInFile},
		{"sent: {pull: false, start: 24h, push: {bearer: '" + hidden + "'}}", "sources.sent.start: has no effect: with pull: false the API is not asked; leave it out"},
		{"sent: {pull: false, revisit: [1h], push: {bearer: '" + hidden + "'}}", "sources.sent.revisit: has no effect: with pull: false the API is not asked; leave it out"},
		{"sent: {pull: false, filter: {a: b}, push: {bearer: '" + hidden + "'}}", "sources.sent.filter: has no effect: with pull: false the API is not asked; leave it out"},
	} {
		t.Run(tc.sources, func(t *testing.T) {
			t.Parallel()
			c, err := parse("f", []byte("connections: {c: {product: p, sources: {"+tc.sources+"}}}\noutputs: {o: {type: file, path: o}}\n"), sinkCatalogue, testEnv)
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
