package fetch

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// HTTPOptions say how a connection speaks HTTP.
type HTTPOptions struct {
	ProxyURL string        // http, https or socks5; empty: as the environment says
	CAFile   string        // PEM certificates that count beside the system's
	Timeout  time.Duration // of one request, its whole answer included; 0: a minute
	MaxBody  int64         // bytes of an answer, unpacked; 0: 64 MiB
}

const (
	defaultTimeout = time.Minute
	defaultMaxBody = 64 << 20
	mostRedirects  = 5
)

// newTransport makes the connection's own transport.
func newTransport(o HTTPOptions) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   16,
		ForceAttemptHTTP2:     true,
		// Requests share one HTTP/2 connection, so a dead one has to be noticed.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
	if o.ProxyURL != "" {
		u, err := url.Parse(o.ProxyURL)
		if err != nil || u.Host == "" {
			return nil, errors.New("http.proxy_url is not an address like http://proxy:3128") // the address may hold a password
		}
		switch u.Scheme {
		case "http", "https", "socks5", "socks5h":
		default:
			return nil, fmt.Errorf("http.proxy_url: %q is none of http, https and socks5", u.Scheme)
		}
		t.Proxy = http.ProxyURL(u)
	}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read http.ca_file: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read http.ca_file %s: no PEM certificate in it", o.CAFile)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return t, nil
}

// redirectError is a redirect that is not followed.
type redirectError struct{ what string }

func (e *redirectError) Error() string { return e.what }

// checkRedirect follows a redirect only where neither the credential nor the
// request itself would get lost: to the same host, by the same method.
func checkRedirect(to *http.Request, via []*http.Request) error {
	from := via[0]
	switch {
	case origin(to.URL) != origin(from.URL):
		return &redirectError{fmt.Sprintf("%s redirects to another host, %s; the credential is not sent there: set the address that is meant", origin(from.URL), origin(to.URL))}
	case to.Method != from.Method:
		return &redirectError{fmt.Sprintf("%s redirects a %s so that it becomes a %s: set the address that is meant", origin(from.URL), from.Method, to.Method)}
	case len(via) > mostRedirects:
		return &redirectError{fmt.Sprintf("%s redirects more than %d times", origin(from.URL), mostRedirects)}
	}
	return nil
}

// origin is what a credential is meant for: scheme, host and port.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "443" && u.Scheme == "https" || port == "80" && u.Scheme == "http" {
		port = ""
	}
	host := strings.ToLower(u.Hostname())
	if port != "" {
		host = net.JoinHostPort(host, port)
	}
	return u.Scheme + "://" + host
}

// address is a URL fit to be shown: without user, password, query and fragment.
func address(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "an address that is no URL"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// withHeaders adds headers to the token requests that x/oauth2 makes, and makes
// their answers such as x/oauth2 reads.
type withHeaders struct {
	base    http.RoundTripper
	headers http.Header
	status  *int // of the last answer
}

func (t withHeaders) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for k, v := range t.headers {
		r.Header[k] = v
	}
	resp, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	*t.status = resp.StatusCode
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostErrorBody))
	resp.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if body = bytes.TrimSpace(bytes.TrimPrefix(body, byteOrderMark)); len(body) > 0 && body[0] == '{' {
		// x/oauth2 reads text/plain, which is what some servers say of all they send, as a form.
		resp.Header.Set("Content-Type", "application/json")
		body = plainLifetime(body)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// byteOrderMark begins some texts in UTF-8, and means nothing.
var byteOrderMark = []byte("\xef\xbb\xbf")

// plainLifetime writes the lifetime of a token as whole seconds, and leaves it
// out where it is no number or longer than a year: such a token is used until
// it is refused. x/oauth2 takes no other, and a token without it.
func plainLifetime(body []byte) []byte {
	const name = "expires_in"
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err != nil || members[name] == nil {
		return body
	}
	text := scalar(members[name])
	if _, err := strconv.ParseInt(text, 10, 32); err == nil {
		return body
	}
	delete(members, name)
	if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 1 && n < 366*24*3600 {
		members[name] = jsontext.Value(strconv.Itoa(int(n)))
	}
	plain, err := json.Marshal(members)
	if err != nil {
		return body
	}
	return plain
}

// failure is why a request had no answer, in words: parent is the caller's
// context, and a request that took too long is told from one that was called off.
func (c *Client) failure(parent, try context.Context, err error) error {
	if parent.Err() == nil && errors.Is(try.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no whole answer within %s (http.timeout)", c.opts.HTTP.Timeout)
	}
	return c.scrub.cause(err)
}
