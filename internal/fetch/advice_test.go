package fetch

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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
