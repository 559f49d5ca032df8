package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/trawlsec/trawl/internal/catalog"
)

// The ways to sign in that a product may name.
const (
	authClientCredentials = "oauth2_client_credentials"
	authBearer            = "bearer"
)

// mostRenewalWait is how long a token that could not be renewed, but is still
// good, is used before the next try.
const mostRenewalWait = time.Minute

// session is what a sign-in gives. It never changes.
type session struct {
	header string    // value of Authorization
	renew  time.Time // when to sign in again; zero: when the token is refused
	ends   time.Time // of the token; zero: not known
	base   string    // address of the API
	claim  func(name string) (string, bool)
}

// sessions keeps the current session and lets one goroutine at a time get a
// new one, for all.
type sessions struct {
	mu      sync.Mutex
	current *session
	flight  *flight // the sign-in under way; nil: none
}

type flight struct {
	done chan struct{} // closed at its end
	err  error         // set before; nil: there is a new session
}

// session gives the current session, after signing in if there is none, if its
// time has come, or if it is the one that the API refused.
func (c *Client) session(ctx context.Context, refused *session) (*session, error) {
	for {
		c.sessions.mu.Lock()
		s := c.sessions.current
		if s != nil && s != refused && (s.renew.IsZero() || time.Now().Before(s.renew)) {
			c.sessions.mu.Unlock()
			return s, nil
		}
		f := c.sessions.flight
		if f == nil {
			f = &flight{done: make(chan struct{})}
			c.sessions.flight = f
			c.sessions.mu.Unlock()
			return c.renew(ctx, f, s, s == refused)
		}
		c.sessions.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w", c.signInOp(), ctx.Err())
		case <-f.done:
		}
		// A sign-in that its own caller called off says nothing: go round again.
		var refusal *Error
		if errors.As(f.err, &refusal) {
			return nil, f.err
		}
	}
}

// renew signs in, for all that wait for the flight. An old session that the
// API has not refused goes on being used for as long as its token lives, where
// signing in fails for a passing reason.
func (c *Client) renew(ctx context.Context, f *flight, old *session, refused bool) (*session, error) {
	usable := old != nil && !refused && time.Now().Before(old.ends)
	s, err := c.signIn(ctx, usable)
	var failure *Error
	if usable && errors.As(err, &failure) && (failure.Class == Retry || failure.Class == Throttle) {
		kept := *old
		kept.renew = time.Now().Add(min(time.Until(old.ends)/4, mostRenewalWait))
		s, err = &kept, nil
	}
	c.sessions.mu.Lock()
	defer c.sessions.mu.Unlock()
	if err == nil {
		c.sessions.current = s
	}
	f.err = err
	c.sessions.flight = nil
	close(f.done)
	return s, err
}

// outdate has the next request sign in, if this is still the current session.
func (c *Client) outdate(s *session) {
	c.sessions.mu.Lock()
	defer c.sessions.mu.Unlock()
	if c.sessions.current == s {
		old := *s
		old.renew = time.Now()
		c.sessions.current = &old
	}
}

// signIn signs in, trying again while that makes sense, or once only.
func (c *Client) signIn(ctx context.Context, once bool) (*session, error) {
	t := tries{most: c.opts.Tries}
	for attempt := 1; ; attempt++ {
		begun := time.Now()
		s, failure := c.exchange(ctx)
		if failure == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w", c.signInOp(), ctx.Err())
		}
		wait, again := t.next(failure, time.Since(begun))
		again = again && !once
		c.warn(ctx, failure, nil, attempt, wait, again)
		if !again {
			return nil, failure
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, fmt.Errorf("%s: %w", c.signInOp(), err)
		}
	}
}

func (c *Client) signInOp() string { return c.opts.Name + " sign-in" }

// exchange gives the credential for a token, once.
func (c *Client) exchange(ctx context.Context) (*session, *Error) {
	n := c.names(nil)
	c.learnSecrets(n)
	s := &session{}
	var token string
	var failure *Error
	switch c.opts.Product.Auth.Type {
	case authBearer:
		token, failure = c.bearer(n)
		s.header = "Bearer " + token
	default:
		var t *oauth2.Token
		if t, failure = c.clientCredentials(ctx, n); failure == nil {
			token = t.AccessToken
			s.header = t.Type() + " " + token
			s.ends = t.Expiry
		}
	}
	if failure != nil {
		return nil, failure
	}
	c.scrub.add(token)
	s.claim = claims(token)
	n.claim = s.claim
	var err error
	if s.base, err = c.base(n); err != nil {
		return nil, c.fail(&Error{Class: Permanent, Op: c.signInOp(), Err: err, Advice: c.baseAdvice()})
	}
	if s.renew, err = c.renewal(n, s.ends); err != nil {
		return nil, c.fail(&Error{Class: Permanent, Op: c.signInOp(), Err: err})
	}
	return s, nil
}

// renewal is when to replace a token: a margin before its end, where that
// leaves it some life. A token that names no end, or one in the past, is used
// until it is refused.
func (c *Client) renewal(n *names, ends time.Time) (time.Time, error) {
	now := time.Now()
	life := ends.Sub(now)
	if ends.IsZero() || life <= 0 {
		return time.Time{}, nil
	}
	text, ok, err := n.optional(c.opts.Product.Auth.RefreshMargin)
	if err != nil {
		return time.Time{}, err
	}
	var margin time.Duration
	if ok && text != "" {
		d, err := catalog.ParseDuration(text)
		if err != nil {
			return time.Time{}, fmt.Errorf("%s: %w", strings.Join(settingsIn(c.opts.Product, c.opts.Product.Auth.RefreshMargin), ", "), err)
		}
		margin = d.Std()
	}
	if margin >= life {
		margin = life / 10
	}
	return ends.Add(-margin), nil
}

func (c *Client) bearer(n *names) (string, *Error) {
	token, err := n.expand(c.opts.Product.Auth.Token)
	if err == nil && token == "" {
		err = errors.New("the token is empty")
	}
	if err != nil {
		return "", c.unreadable(err)
	}
	return token, nil
}

// clientCredentials signs in as OAuth 2 (RFC 6749, section 4.4) says, with the
// credential in the form.
func (c *Client) clientCredentials(ctx context.Context, n *names) (*oauth2.Token, *Error) {
	auth := c.opts.Product.Auth
	cfg := clientcredentials.Config{AuthStyle: oauth2.AuthStyleInParams, EndpointParams: url.Values{}}
	for _, part := range []struct {
		to   *string
		text string
	}{{&cfg.TokenURL, auth.TokenURL}, {&cfg.ClientID, auth.ClientID}, {&cfg.ClientSecret, auth.ClientSecret}} {
		var err error
		if *part.to, err = n.expand(part.text); err != nil {
			return nil, c.unreadable(err)
		}
	}
	for name, text := range auth.Params {
		value, ok, err := n.optional(text)
		if err != nil {
			return nil, c.unreadable(err)
		}
		if ok {
			cfg.EndpointParams.Set(name, value)
		}
	}
	for name, value := range c.extra(auth.ExtraParams) {
		cfg.EndpointParams.Set(name, value)
	}
	headers := http.Header{"User-Agent": {c.opts.UserAgent}, "Accept": {"application/json"}}
	for name, value := range c.extra(auth.ExtraHeaders) {
		headers.Set(name, value)
	}

	try, cancel := context.WithTimeout(ctx, c.opts.HTTP.Timeout)
	defer cancel()
	client := &http.Client{Transport: withHeaders{c.http.Transport, headers}, CheckRedirect: checkRedirect}
	token, err := cfg.Token(context.WithValue(try, oauth2.HTTPClient, client))
	if err == nil {
		c.count("", OK)
		return token, nil
	}
	e := c.signInFailure(ctx, try, err)
	if ctx.Err() == nil {
		c.count("", e.Class)
	}
	e.Op = c.signInOp()
	switch {
	case e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed:
		e.Advice = fmt.Sprintf("there is no sign-in at %s: check the path of %s of connection %s; the credential was not looked at",
			address(cfg.TokenURL), strings.Join(settingsIn(c.opts.Product, auth.TokenURL), ", "), c.opts.Name)
	case e.Class == Auth:
		e.Advice = c.credential(cfg.TokenURL, "", nil)
	case e.Class == Retry && e.Status == 0:
		e.Advice = c.unreachable(cfg.TokenURL, settingsIn(c.opts.Product, auth.TokenURL))
	default:
		e.Advice = generalAdvice[e.Class]
	}
	return nil, c.fail(e)
}

// signInFailure gives a class to what the OAuth library says. Its own text is
// not passed on where it holds the server's answer.
func (c *Client) signInFailure(ctx, try context.Context, err error) *Error {
	var answer *oauth2.RetrieveError
	var redirect *redirectError
	switch {
	case errors.As(err, &answer):
		e := &Error{Status: answer.Response.StatusCode, Message: answer.ErrorCode}
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
		return &Error{Class: Permanent, Err: redirect}
	}
	return &Error{Class: Retry, Err: c.failure(ctx, try, err)}
}

// unreadable is the error of a credential that we don't have ourselves.
func (c *Client) unreadable(err error) *Error {
	return c.fail(&Error{
		Class: Auth, Op: c.signInOp(), Err: err,
		Advice: "check the settings of connection " + c.opts.Name,
	})
}

// credential is the advice about a refused credential: the product's own, and
// which credential, sent where. api is empty where the sign-in itself failed.
func (c *Client) credential(tokenURL, api string, source *catalog.Source) string {
	auth := c.opts.Product.Auth
	var parts []string
	if advice := c.opts.Product.Advice[string(Auth)]; advice != "" {
		parts = append(parts, advice)
	}
	keys := settingsIn(c.opts.Product, auth.ClientID, auth.ClientSecret, auth.Token)
	what := fmt.Sprintf("the credential is %s of connection %s", strings.Join(keys, " and "), c.opts.Name)
	if tokenURL != "" {
		what += ", sent to " + address(tokenURL)
	}
	if api != "" {
		what += "; refused by " + address(api)
	}
	parts = append(parts, what)
	if source != nil && len(source.Scopes) > 0 {
		parts = append(parts, "this source needs "+strings.Join(source.Scopes, ", "))
	}
	return strings.Join(parts, "; ")
}

// learnSecrets makes known what must not be shown.
func (c *Client) learnSecrets(n *names) {
	for name, setting := range c.opts.Product.Settings {
		if !setting.Secret {
			continue
		}
		if value, ok, err := n.settings.Get(name); ok && err == nil {
			c.scrub.add(value)
		}
	}
	auth := c.opts.Product.Auth
	for _, extra := range []string{auth.ExtraParams, auth.ExtraHeaders} {
		for _, value := range c.extra(extra) {
			c.scrub.add(value)
		}
	}
}

// extra gives the entries of a setting that is a map; none where the product
// names no such setting.
func (c *Client) extra(setting string) map[string]string {
	if setting == "" {
		return nil
	}
	return c.opts.Settings.Map(setting)
}

// base is the address of the API.
func (c *Client) base(n *names) (string, error) {
	base, err := n.choose(c.opts.Product.BaseURL)
	if err != nil {
		return "", fmt.Errorf("the address of the API is not known: %w", err)
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("the address of the API, %s, is not an http or https URL", address(base))
	}
	return base, nil
}

func (c *Client) baseAdvice() string {
	list := settingsFor(c.opts.Product, c.opts.Product.BaseURL)
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("set %s of connection %s", strings.Join(list, " or "), c.opts.Name)
}
