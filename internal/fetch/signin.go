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

// The ways to sign in that a product may name.
const (
	authOAuth2 = "oauth2"
	authToken  = "token"

	defaultScheme = "Bearer"
)

// exchange gives the credential for a token, once.
func (c *Client) exchange(ctx context.Context) (*session, *Error) {
	n := c.names(nil)
	auth, err := c.opts.Product.SignIn(n.lookup)
	if err = n.reason(err); err != nil {
		return nil, c.unreadable(err)
	}
	c.learnSecrets(n, auth)
	s := &session{auth: auth}
	var token string
	var failure *Error
	switch auth.Type {
	case authToken:
		token, failure = c.token(n, auth)
		s.header = cmp.Or(auth.Scheme, defaultScheme) + " " + token
	default:
		var t *oauth2.Token
		if t, failure = c.grant(ctx, n, auth); failure == nil {
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
	if s.base, err = c.base(n); err != nil {
		return nil, c.fail(&Error{Class: Permanent, Op: c.signInOp(), Err: err, Advice: c.baseAdvice()})
	}
	if s.renew, err = c.renewal(n, auth, s.ends); err != nil {
		return nil, c.fail(&Error{Class: Permanent, Op: c.signInOp(), Err: err})
	}
	return s, nil
}

// renewal is when to replace a token: a margin before its end, where that
// leaves it some life. A token that names no end, or one in the past, is used
// until it is refused.
func (c *Client) renewal(n *names, auth *catalog.Auth, ends time.Time) (time.Time, error) {
	now := time.Now()
	life := ends.Sub(now)
	if ends.IsZero() || life <= 0 {
		return time.Time{}, nil
	}
	text, ok, err := n.optional(auth.RefreshMargin)
	if err != nil {
		return time.Time{}, err
	}
	var margin time.Duration
	if ok && text != "" {
		d, err := catalog.ParseDuration(text)
		if err != nil {
			return time.Time{}, fmt.Errorf("%s: %w", strings.Join(settingsIn(c.opts.Product, auth.RefreshMargin), ", "), err)
		}
		margin = d.Std()
	}
	if margin >= life {
		margin = life / 10
	}
	return ends.Add(-margin), nil
}

// token is the one that the settings hold.
func (c *Client) token(n *names, auth *catalog.Auth) (string, *Error) {
	token, err := n.expand(auth.Token)
	if err == nil && token == "" {
		err = errors.New("the token is empty")
	}
	if err != nil {
		return "", c.unreadable(err)
	}
	return token, nil
}

// grant posts the form of an OAuth 2 grant (RFC 6749, section 4) with the
// credential in it.
func (c *Client) grant(ctx context.Context, n *names, auth *catalog.Auth) (*oauth2.Token, *Error) {
	cfg := clientcredentials.Config{AuthStyle: oauth2.AuthStyleInParams, EndpointParams: url.Values{}}
	for _, part := range []struct {
		to   *string
		text string
	}{{&cfg.TokenURL, auth.TokenURL}, {&cfg.ClientID, auth.ClientID}, {&cfg.ClientSecret, auth.ClientSecret}} {
		value, _, err := n.optional(part.text)
		if err != nil {
			return nil, c.unreadable(err)
		}
		*part.to = value
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
		e.Advice = c.credential(auth, cfg.TokenURL, "", nil)
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
func (c *Client) credential(auth *catalog.Auth, tokenURL, api string, source *catalog.Source) string {
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
func (c *Client) learnSecrets(n *names, auth *catalog.Auth) {
	for name, setting := range c.opts.Product.Settings {
		if !setting.Secret {
			continue
		}
		if value, ok, err := n.settings.Get(name); ok && err == nil {
			c.scrub.add(value)
		}
	}
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
