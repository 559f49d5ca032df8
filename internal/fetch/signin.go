package fetch

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/trawlsec/trawl/internal/catalog"
)

// The ways to sign in that a product may name.
const (
	authOAuth2 = "oauth2"
	authToken  = "token"
	authBasic  = "basic"

	authorization = "Authorization"
	defaultScheme = "Bearer" // of a token in Authorization
)

// exchange gives the credential for a token, once.
func (c *Client) exchange(ctx context.Context) (*session, *Error) {
	n := c.names(nil)
	auth, err := c.opts.Product.SignIn(n.lookup)
	if err = n.reason(err); err != nil {
		return nil, c.unreadable(err)
	}
	c.learnSecrets(n, auth)
	s := &session{auth: auth, in: authorization}
	var token string
	var failure *Error
	switch auth.Type {
	case authToken:
		s.in = cmp.Or(auth.Header, authorization)
		scheme := auth.Scheme
		if s.in == authorization {
			scheme = cmp.Or(scheme, defaultScheme)
		}
		token, failure = c.text(n, "token", auth.Token)
		s.header = strings.TrimSpace(scheme + " " + token)
	case authBasic:
		token, failure = c.basic(n, auth)
		s.header = "Basic " + token
	default:
		var t *oauth2.Token
		if t, failure = c.grant(ctx, auth); failure == nil {
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
			return time.Time{}, fmt.Errorf("%s: %w", settingNames(c.opts.Product, auth.RefreshMargin), err)
		}
		margin = d.Std()
	}
	if margin >= life {
		margin = life / 10
	}
	return ends.Add(-margin), nil
}

// text is a credential, or the part of one, that the settings hold.
func (c *Client) text(n *names, what, text string) (string, *Error) {
	value, err := n.expand(text)
	if err == nil && value == "" {
		err = fmt.Errorf("the %s is empty", what)
	}
	if err != nil {
		return "", c.unreadable(err)
	}
	return value, nil
}

// basic is the credential of HTTP Basic: user and password in base64. The
// password may have no value, where the username is all there is.
func (c *Client) basic(n *names, auth *catalog.Auth) (string, *Error) {
	username, failure := c.text(n, "username", auth.Username)
	if failure != nil {
		return "", failure
	}
	password, _, err := n.optional(auth.Password)
	if err == nil && strings.Contains(username, ":") {
		err = errors.New("the username has a colon in it, which HTTP Basic cannot send")
	}
	if err != nil {
		return "", c.unreadable(err)
	}
	return base64.StdEncoding.EncodeToString([]byte(username + ":" + password)), nil
}

// unreadable is the error of a credential that we don't have ourselves.
func (c *Client) unreadable(err error) *Error {
	e := &Error{Class: Auth, Op: c.signInOp(), Err: err, Advice: "check the settings of connection " + c.opts.Name}
	var vault *vaultError
	if errors.As(err, &vault) {
		e.Class, e.Advice = Retry, "the log has to be mended first: the refresh token may be good for one sign-in only"
	}
	return c.fail(e)
}

// credential is the advice about a refused credential: the product's own, and
// which credential, sent where. api is empty where the sign-in itself failed.
func (c *Client) credential(auth *catalog.Auth, tokenURL, api string, source *catalog.Source) string {
	var parts []string
	if advice := c.opts.Product.Advice[string(Auth)]; advice != "" {
		parts = append(parts, advice)
	}
	keys := slices.DeleteFunc(settingsIn(c.opts.Product, credentialTexts(auth)...), func(name string) bool { return c.opts.Product.Settings[name].Type == "url" })
	what := fmt.Sprintf("the credential is %s of connection %s", enumerate(keys), c.opts.Name)
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

// credentialTexts are the texts that a credential is made of, in order.
func credentialTexts(auth *catalog.Auth) []string {
	texts := []string{auth.ClientID, auth.ClientSecret, auth.Token, auth.Username, auth.Password}
	for _, name := range sortedKeys(auth.Params) {
		texts = append(texts, auth.Params[name])
	}
	if j := auth.JWT; j != nil {
		texts = append(texts, j.Key, j.Passphrase, j.KeyID)
		for _, name := range sortedKeys(j.Claims) {
			texts = append(texts, j.Claims[name])
		}
	}
	return texts
}

// settingNames are the settings that texts name, for people.
func settingNames(p *catalog.Product, texts ...string) string {
	return enumerate(settingsIn(p, texts...))
}

// enumerate writes a list as people do: a, b and c.
func enumerate(list []string) string {
	if last := len(list) - 1; last > 0 {
		return strings.Join(list[:last], ", ") + " and " + list[last]
	}
	return strings.Join(list, "")
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
