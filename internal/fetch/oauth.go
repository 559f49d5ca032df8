package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/trawlsec/trawl/internal/catalog"
)

// mostSkew is how much the server's clock may differ before a refused assertion
// is put down to it. The Date of an answer is of whole seconds.
const mostSkew = 2 * time.Second

// A first 401 or 403 is not believed at once: what stands before a server of
// tokens gives such answers by mistake, and in a failover so does the server. It
// is asked once more, after a wait between these two. Where it was refused then
// too, each sign-in asks once until one succeeds, as accounts may be locked.
const (
	leastDoubt = time.Second
	mostDoubt  = 2 * time.Second
)

// grant gets an access token by an OAuth 2 grant (RFC 6749, section 4). A
// refresh token that comes with it is kept before anyone sees the access token.
func (c *Client) grant(ctx context.Context, auth *catalog.Auth) (*oauth2.Token, *Error) {
	n := c.names(nil)
	n.own = map[string]any{}
	var refresh *rotating
	if auth.Rotates != "" {
		var err error
		if refresh, err = c.refreshToken(ctx, n, auth); err != nil {
			return nil, c.unreadable(err)
		}
		n.own[auth.Rotates] = refresh.current
	}
	post := func() (*oauth2.Token, *refusal) {
		if refresh == nil {
			return c.post(ctx, n, auth)
		}
		// An answer that nobody waits for would take the next refresh token along.
		patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), rotatingAnswer)
		defer cancel()
		return c.post(patient, n, auth)
	}
	token, e := post()
	switch {
	case e == nil || e.Class != Auth:
	case auth.JWT != nil && c.setClock(e.date):
		token, e = post()
	case !c.refused && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden):
		wait := jitter(leastDoubt, mostDoubt)
		c.warn(ctx, c.fail(&e.Error), nil, 1, wait, true)
		if sleep(ctx, wait) != nil {
			return nil, c.fail(&e.Error) // called off: the next sign-in doubts it again
		}
		token, e = post()
	}
	c.refused = e != nil && (e.Class == Auth || c.refused)
	switch {
	case e != nil && e.Class == Auth && refresh != nil && refresh.strange:
		e.Advice = join("; ", e.Advice, "a refresh token that replaced the configured one was kept, but under another "+
			settingNames(c.opts.Product, auth.ClientSecret, "${"+auth.Rotates+"}")+": get a new refresh token and set "+auth.Rotates)
	case e == nil && refresh != nil && token.RefreshToken != refresh.current:
		if err := refresh.store(ctx, token.RefreshToken); err != nil {
			return nil, c.unreadable(err)
		}
	}
	if e != nil {
		return nil, c.fail(&e.Error)
	}
	return token, nil
}

// now is the time on the server's clock, as far as it is known.
func (c *Client) now() time.Time { return time.Now().Add(time.Duration(c.skew.Load())) }

// setClock notes what the server's clock says, and tells whether that makes a
// difference. A zero date is none.
func (c *Client) setClock(date time.Time) bool {
	skew := time.Until(date)
	if date.IsZero() || (skew-time.Duration(c.skew.Load())).Abs() <= mostSkew {
		return false
	}
	c.skew.Store(int64(skew))
	c.log.Warn("clock differs from the server's; assertions are dated by the server's", "connection", c.opts.Name, "by", skew.Round(time.Second))
	return true
}

// refusal is a sign-in that failed.
type refusal struct {
	Error
	date time.Time // on the server's clock; zero: it did not say
}

// post sends the form of a grant, once.
func (c *Client) post(ctx context.Context, n *names, auth *catalog.Auth) (*oauth2.Token, *refusal) {
	cfg, err := c.form(n, auth)
	if err != nil {
		return nil, &refusal{Error: *c.unreadable(err)}
	}
	headers := http.Header{"User-Agent": {c.opts.UserAgent}, "Accept": {"application/json"}}
	for name, value := range c.extra(auth.ExtraHeaders) {
		headers.Set(name, value)
	}
	try, cancel := context.WithTimeout(ctx, c.opts.HTTP.Timeout)
	defer cancel()
	status := 0
	client := &http.Client{Transport: withHeaders{c.http.Transport, headers, &status}, CheckRedirect: checkRedirect}
	token, err := cfg.Token(context.WithValue(try, oauth2.HTTPClient, client))
	if err == nil {
		c.count("", OK)
		return token, nil
	}
	e := c.signInFailure(ctx, try, err)
	if e.Class == Retry {
		e.Status = status // an answer that is no token is one all the same
	}
	if ctx.Err() == nil {
		c.count("", e.Class)
	}
	e.Op = c.signInOp()
	settings := addressOf(c.opts.Product, catalog.Cases{{Value: auth.TokenURL}})
	switch {
	case e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed:
		e.Advice = fmt.Sprintf("there is no sign-in at %s: check the path of %s of connection %s; the credential was not looked at",
			address(cfg.TokenURL), cmp.Or(enumerate(settings), "the settings"), c.opts.Name)
	case e.Class == Auth:
		e.Advice = c.credential(auth, cfg.TokenURL, "", nil)
	case e.Class == Permanent: // a redirect that is not followed
		e.Advice = fmt.Sprintf("check %s of connection %s", settingNames(c.opts.Product, auth.TokenURL), c.opts.Name)
	case e.Class == Retry && e.Status == http.StatusOK:
		e.Advice = fmt.Sprintf("what answers at %s gives no token: check %s of connection %s, and what stands between here and there",
			address(cfg.TokenURL), cmp.Or(enumerate(settings), "the settings"), c.opts.Name)
	case e.Class == Retry && e.Status == 0:
		e.Advice = c.unreachable(cfg.TokenURL, settings, err)
	default:
		e.Advice = generalAdvice[e.Class]
	}
	return nil, e
}

// form is what is posted, with a freshly signed assertion if it has one.
func (c *Client) form(n *names, auth *catalog.Auth) (*clientcredentials.Config, error) {
	cfg := &clientcredentials.Config{AuthStyle: oauth2.AuthStyleInParams, EndpointParams: url.Values{}}
	for _, part := range []struct {
		to   *string
		text string
	}{{&cfg.TokenURL, auth.TokenURL}, {&cfg.ClientID, auth.ClientID}, {&cfg.ClientSecret, auth.ClientSecret}} {
		var err error
		if *part.to, err = n.expand(part.text); err != nil {
			return nil, err
		}
	}
	if auth.JWT != nil {
		signed, err := assertion(n, auth.JWT, c.now())
		if err != nil {
			return nil, err
		}
		c.scrub.add(signed)
		n.own[nameAssertion] = signed
	}
	for name, text := range auth.Params {
		value, ok, err := n.optional(text)
		if err != nil {
			return nil, err
		}
		if ok {
			cfg.EndpointParams.Set(name, value)
		}
	}
	for name, value := range c.extra(auth.ExtraParams) {
		cfg.EndpointParams.Set(name, value)
	}
	return cfg, nil
}

// signInFailure gives a class to what the OAuth library says. Its own text is
// not passed on where it holds the server's answer.
func (c *Client) signInFailure(ctx, try context.Context, err error) *refusal {
	var answer *oauth2.RetrieveError
	var redirect *redirectError
	switch {
	case errors.As(err, &answer):
		e := &refusal{Error: Error{Status: answer.Response.StatusCode, Message: answer.ErrorCode}}
		e.date, _ = http.ParseTime(answer.Response.Header.Get("Date"))
		if answer.ErrorDescription != "" {
			e.Message = strings.TrimPrefix(e.Message+": "+answer.ErrorDescription, ": ")
		}
		if e.Message == "" {
			e.Message = apiMessage(answer.Body, answer.Response.Header)
		}
		switch e.Class = statusClass(e.Status); e.Class {
		case Retry, Throttle:
			e.RetryAfter = retryAfter(answer.Response.Header, time.Now())
		default:
			// Whatever else it refuses, a setting of the sign-in is at fault.
			e.Class = Auth
		}
		return e
	case errors.As(err, &redirect):
		return &refusal{Error: Error{Class: Permanent, Err: redirect}}
	}
	return &refusal{Error: Error{Class: Retry, Err: c.failure(ctx, try, err)}}
}
