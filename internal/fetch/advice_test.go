package fetch

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
)

// TestAdvice looks at failures that are not about the credential: each says
// which setting to look at.
func TestAdvice(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, want string
		token      func(int, url.Values) *http.Response
		page       func(int, *http.Request, string) (*http.Response, error)
	}{
		{name: "no such sign-in", want: "check the path of token_url of connection wiz-prod; the credential was not looked at",
			token: func(int, url.Values) *http.Response { return respond(404, "not here") }},
		{name: "sign-in fails", want: "nothing may be wrong on this side",
			token: func(int, url.Values) *http.Response { return respond(502, "") }},
		{name: "refused", want: "no answer came from https://api.test/graphql: check api_url, region, http.proxy_url, http.ca_file of connection wiz-prod",
			page: func(int, *http.Request, string) (*http.Response, error) {
				return nil, errors.New("connect: connection refused")
			}},
		{name: "no TLS", want: "what answers at https://api.test/graphql speaks no TLS: check api_url, region, http.proxy_url of connection wiz-prod",
			page: func(int, *http.Request, string) (*http.Response, error) {
				return nil, tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}
			}},
		{name: "another shape", want: "compare records and paging of wiz/audit in the catalogue with what the API answers",
			page: func(int, *http.Request, string) (*http.Response, error) { return respond(200, `{"data":{}}`), nil }},
		{name: "not JSON", want: "nothing may be wrong on this side",
			page: func(int, *http.Request, string) (*http.Response, error) { return respond(200, "<html>"), nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &api{token: test.token, page: test.page}
				c := client(t, a, func(o *Options) { o.Tries = 2 })
				begun := time.Now()
				_, err := c.Page(t.Context(), auditPage(""))
				if e := failure(t, err); !strings.Contains(e.Advice, test.want) || strings.Contains(e.Advice, "client_secret") {
					t.Errorf("advice %q; want %q", e.Advice, test.want)
				}
				if signIns, pages := a.counts(); max(signIns, pages) > 2 || time.Since(begun) > mostPatience {
					t.Errorf("%d sign-ins and %d pages in %v", signIns, pages, time.Since(begun))
				}
			})
		})
	}
}

// TestAddressOf: the settings to look at where an address is wrong are those in
// it, and those that may be set in their place.
func TestAddressOf(t *testing.T) {
	t.Parallel()
	p := &catalog.Product{
		Settings: map[string]catalog.Setting{
			"host": {Required: true}, "region": {}, "token_url": {Default: "https://auth.test"}, "cloud": {Default: "commercial"}, "key": {Required: true},
		},
		Derived: map[string]catalog.Cases{"api": {{If: map[string]string{"cloud": "gov", "region": "?*"}, Value: "https://${region}.test"}, {Value: "${host}/api"}}},
	}
	for value, want := range map[string][]string{"${api}/v1": {"host", "region"}, "${token_url}": {"token_url"}, "https://api.test": nil} {
		if got := addressOf(p, catalog.Cases{{If: map[string]string{"key": "?*"}, Value: value}}); !slices.Equal(got, want) {
			t.Errorf("%s: %v; want %v", value, got, want)
		}
	}
}
