package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

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

// Download copies what stands at an address that the API gave to w, and returns
// how many bytes that were. Such addresses hold a credential of their own: none
// of the connection's is sent, and the address is in no error.
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fail("the API gave no address that can be read")
	}
	req.Header.Set("User-Agent", c.opts.UserAgent)
	plain := &http.Client{Transport: c.http.Transport}
	resp, err := plain.Do(req)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err // without the address
		}
		return fail("%w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fail("HTTP %d from %s: the address may have expired", resp.StatusCode, u.Host)
	}
	n, err := io.Copy(w, resp.Body)
	if err != nil {
		return fail("after %d bytes: %w", n, err)
	}
	return n, nil
}
