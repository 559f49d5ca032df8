package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
)

// Ask sends a query of the catalogue that reads no source, and gives what
// stands at its path: the elements of a list, or one value; none where it is
// null. names are further ones for ${name} and ${input}. Its errors are Page's.
func (c *Client) Ask(ctx context.Context, what string, q catalog.Query, scopes []string, names map[string]any) ([][]byte, error) {
	source := &catalog.Source{
		Product: c.opts.Product,
		ID:      what,
		Scopes:  scopes,
		Request: catalog.Request{Method: http.MethodPost, GraphQL: &q.GraphQL},
		Records: q.At,
	}
	p, err := c.plan(source)
	if err != nil {
		return nil, err
	}
	p.pages = c.opts.Name + " " + what
	page, err := c.page(ctx, p, Request{Source: source, names: names, one: true})
	c.plans.Delete(source)
	if err != nil {
		return nil, err
	}
	return page.Records, nil
}

// ErrAddress says that an address was refused: as they live for a while only, a
// new one of the same file may do.
var ErrAddress = errors.New("the address may have expired")

// Download copies what stands at an address that the API gave to w, and returns
// how many bytes that were. Such addresses hold a credential of their own: none
// of the connection's is sent, and the address is in no error. One that is
// refused is ErrAddress; nothing has been copied then.
func (c *Client) Download(ctx context.Context, address string, w io.Writer) (int64, error) {
	fail := func(format string, args ...any) (int64, error) {
		return 0, fmt.Errorf(c.opts.Name+" download: "+format, args...)
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return fail("the API gave no address that can be read")
	}
	api, err := c.Endpoint(ctx)
	if err != nil {
		return 0, err
	}
	// As safe as the API itself, at least.
	if a, err := url.Parse(api); u.Scheme != "https" && (err != nil || a.Scheme != u.Scheme) {
		return fail("the API gave an address that is not https")
	}
	// The whole may take long, but not a part of it.
	try, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(c.opts.HTTP.Timeout, cancel)
	defer silence.Stop()
	cause := func(err error) error {
		if ctx.Err() == nil && try.Err() != nil {
			return fmt.Errorf("nothing came for %s (http.timeout)", c.opts.HTTP.Timeout)
		}
		return c.scrub.cause(err) // without the address
	}
	req, err := http.NewRequestWithContext(try, http.MethodGet, address, nil)
	if err != nil {
		return fail("the API gave no address that can be read")
	}
	req.Header.Set("User-Agent", c.opts.UserAgent)
	plain := &http.Client{Transport: signed{c.http.Transport}, CheckRedirect: checkSigned}
	resp, err := plain.Do(req)
	if err != nil {
		return fail("%w", cause(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fail("HTTP %d from %s: %w", resp.StatusCode, u.Host, ErrAddress)
	}
	n, err := io.Copy(w, &watched{resp.Body, silence, c.opts.HTTP.Timeout})
	if err != nil {
		return fail("after %d bytes: %w", n, cause(err))
	}
	return n, nil
}

// watched puts off the end of a download whenever a part of it comes.
type watched struct {
	io.Reader
	silence *time.Timer
	limit   time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.silence.Reset(w.limit)
	}
	return n, err
}

// checkSigned follows a redirect of an address that holds a credential where
// that is as safe as the address itself, and does not tell where it came from.
func checkSigned(to *http.Request, via []*http.Request) error {
	from := via[0]
	switch {
	case to.URL.Scheme != from.URL.Scheme:
		return &redirectError{fmt.Sprintf("%s redirects to %s, which is not followed", origin(from.URL), origin(to.URL))}
	case len(via) > mostRedirects:
		return &redirectError{fmt.Sprintf("%s redirects more than %d times", origin(from.URL), mostRedirects)}
	}
	to.Header.Del("Referer")
	return nil
}

// signed refuses redirects to what is no address, of which net/http would show
// the text.
type signed struct{ base http.RoundTripper }

func (t signed) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(r)
	if err != nil || resp.Header.Get("Location") == "" {
		return resp, err
	}
	if _, err := resp.Location(); err != nil {
		_ = resp.Body.Close()
		return nil, &redirectError{origin(r.URL) + " redirects to what is no address"}
	}
	return resp, nil
}
