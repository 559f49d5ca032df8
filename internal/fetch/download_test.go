package fetch

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
)

// silent gives what it has, and then nothing until the request is called off.
type silent struct {
	io.Reader
	done <-chan struct{}
}

func (s *silent) Read(p []byte) (int, error) {
	if n, err := s.Reader.Read(p); n > 0 || err != io.EOF {
		return n, err
	}
	<-s.done
	return 0, errors.New("called off")
}

func (s *silent) Close() error { return nil }

// TestDownload: the address of a file is a credential. Nobody else is told it,
// no other credential goes there, and a server that falls silent is given up.
func TestDownload(t *testing.T) {
	t.Parallel()
	const address = "https://files.example/report?signature=s3cret-of-the-address"
	redirect := func(to string) func(*http.Request) *http.Response {
		return func(*http.Request) *http.Response { return respond(http.StatusFound, "", "Location", to) }
	}
	for name, tc := range map[string]struct {
		address string
		first   func(*http.Request) *http.Response // nil: the file
		want    string                             // in the error; empty: none
	}{
		"the file":               {address: address},
		"elsewhere":              {address: address, first: redirect("https://store.example/report?signature=s3cret-of-the-address")},
		"without TLS":            {address: "http://files.example/report", want: "not https"},
		"redirected without TLS": {address: address, first: redirect("http://store.example/report?signature=s3cret"), want: "https://files.example redirects to http://store.example, which is not followed"},
		"redirected to nothing":  {address: address, first: redirect("https://store.example/%zz?signature=s3cret"), want: "https://files.example redirects to what is no address"},
		"in a circle":            {address: address, first: redirect(address), want: "redirects more than 5 times"},
		"no address":             {address: "report?signature=s3cret", want: "no address that can be read"},
		"refused":                {address: address, first: func(*http.Request) *http.Response { return respond(403, address) }, want: "HTTP 403 from files.example"},
		"cut": {address: address, first: func(*http.Request) *http.Response {
			resp := respond(200, "")
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("a"), iotest.ErrReader(io.ErrUnexpectedEOF)))
			return resp
		}, want: "after 1 bytes: unexpected EOF"},
		"silent": {address: address, first: func(r *http.Request) *http.Response {
			resp := respond(200, "")
			resp.Body = &silent{strings.NewReader("abc"), r.Context().Done()}
			return resp
		}, want: "after 3 bytes: nothing came for 1m0s (http.timeout)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := client(t, roundTripFunc(func(r *http.Request) (*http.Response, error) {
					if auth, from := r.Header.Get("Authorization"), r.Header.Get("Referer"); auth != "" || from != "" {
						t.Errorf("%s is told %q, %q", r.URL.Host, auth, from)
					}
					if tc.first != nil && r.URL.Host == "files.example" {
						return tc.first(r), nil
					}
					return respond(200, "ID\n1\n"), nil
				}), nil)
				var b strings.Builder
				n, err := c.Download(t.Context(), tc.address, &b)
				switch {
				case tc.want == "" && (err != nil || b.String() != "ID\n1\n" || n != 5):
					t.Errorf("%d bytes, %q, %v", n, b.String(), err)
				case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "s3cret")):
					t.Errorf("error %v, want %s", err, tc.want)
				}
			})
		})
	}
}
