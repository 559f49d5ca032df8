// Package fetch gets one answer of a product's API: it signs in, builds the
// request of a source, keeps to the connection's rate, tries again what is
// worth trying, tells answers apart by class, and hands out the raw records of
// a page together with what is needed to ask for the next one. What it knows
// of a product is in the catalogue; what to ask for, and what becomes of the
// records, is its caller's affair.
package fetch

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

// Options make the client of a connection.
type Options struct {
	Name      string                                                         // of the connection: wiz-prod
	Product   *catalog.Product                                               //
	Settings  Settings                                                       //
	Rate      catalog.RateLimit                                              // zero: the product's; zero there too: no limit
	HTTP      HTTPOptions                                                    //
	Logger    *slog.Logger                                                   // nil: no log
	OnAnswer  func(source string, class Class)                               // called once for every request with what became of it; source is audit, or empty for a sign-in; may be nil
	OnRetry   func(source string, attempt int, wait time.Duration, e *Error) // called before each wait for another try; source as in OnAnswer; may be nil
	Vault     Vault                                                          // keeps refresh tokens that are replaced at each sign-in; nil: none, so that such a sign-in fails
	UserAgent string                                                         // empty: trawl
	Tries     int                                                            // of a request before it fails, with waits of seconds; 0: as many as collecting wants
}

// Client asks one account of a product. It is safe for concurrent use; its
// requests share one token and one rate.
type Client struct {
	opts     Options
	log      *slog.Logger
	http     *http.Client
	rules    []rule
	budget   *budget
	scrub    scrubber
	sessions sessions
	skew     atomic.Int64 // by how much the server's clock is before this one's, as far as a refused assertion has shown
	refused  bool         // the credential was, at the last sign-in; of the one sign-in that is under way
	unstored *unstored    // nil: none; of the one sign-in that is under way
	plans    sync.Map     // *catalog.Source → *plan
	bodies   sync.Pool    // *[]byte, of answers
}

// New makes a client. It sends nothing yet.
func New(o Options) (*Client, error) {
	fail := func(err error) (*Client, error) { return nil, fmt.Errorf("connection %s: %w", o.Name, err) }
	if o.HTTP.Timeout <= 0 {
		o.HTTP.Timeout = defaultTimeout
	}
	if o.HTTP.MaxBody <= 0 {
		o.HTTP.MaxBody = defaultMaxBody
	}
	if o.Rate == (catalog.RateLimit{}) {
		o.Rate = o.Product.Rate
	}
	if o.UserAgent == "" {
		o.UserAgent = "trawl"
	}
	for _, auth := range o.Product.Auth {
		if known := []string{authOAuth2, authToken, authBasic}; !slices.Contains(known, auth.Type) {
			return fail(fmt.Errorf("auth type %q of product %s is none of %s", auth.Type, o.Product.ID, strings.Join(known, ", ")))
		}
	}
	transport, err := newTransport(o.HTTP)
	if err != nil {
		return fail(err)
	}
	c := &Client{
		opts:   o,
		log:    o.Logger,
		http:   &http.Client{Transport: transport, CheckRedirect: checkRedirect},
		budget: newBudget(o.Rate),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.rules, err = compileRules(o.Product.Errors); err != nil {
		return fail(err)
	}
	if u, err := url.Parse(o.HTTP.ProxyURL); err == nil {
		if password, ok := u.User.Password(); ok {
			c.scrub.add(password)
		}
	}
	return c, nil
}

// Close lets go of idle connections. Requests under way are their contexts' affair.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// SignIn signs in, unless a good token is at hand. Its error is an *Error, or
// ctx's.
func (c *Client) SignIn(ctx context.Context) error {
	_, err := c.session(ctx, nil)
	return err
}

// Endpoint gives the address of the API. It signs in only where the settings
// leave the address to the access token.
func (c *Client) Endpoint(ctx context.Context) (string, error) {
	base, err := c.base(c.names(nil))
	if err == nil {
		return base, nil
	}
	var needs *catalog.NeedsToken
	if !errors.As(err, &needs) {
		return "", c.fail(&Error{Class: Permanent, Op: c.opts.Name + " address", Err: err, Advice: c.baseAdvice()})
	}
	s, err := c.session(ctx, nil)
	if err != nil {
		return "", err
	}
	return s.base, nil
}

// Budget tells how fast the connection may ask at the moment.
func (c *Client) Budget() Budget { return c.budget.state() }

// Request asks for one page of a source.
type Request struct {
	Source       *catalog.Source
	Stream       bool           // by the source's Stream, which is not nil then: Cursor is the position to go on from; nil: Stream.Start, or, where that is empty, Since
	Since, Until time.Time      // as they are sent; zero ones are left out
	Field        string         // one of the source's Window.Fields; empty: the first
	Cursor       jsontext.Value // of this page, exactly as received; nil: the first page
	Size         int            // records; 0: the source's own, and never more than its most
	Filter       map[string]any // the feed's own; may not touch what the source sets
	Low          bool           // yields to requests that are not Low: backfill and revisits
	Look         *jsonscan.Plan // what to look up in every record in passing; may be nil

	// Known tells records that the caller has already, by what Look has found:
	// the further pages of the lists within them are not read. May be nil.
	Known func(record []byte, found [][]byte) bool

	id    jsontext.Value // of the record that a page of a list within it is asked for
	names map[string]any // further ones for ${name}, of Ask
	one   bool           // the answer may be one record in place of a list of them
}

// Page is what one answer holds.
type Page struct {
	Records [][]byte       // raw, exactly as received but for lists that had more pages; nearly all alias one buffer
	Cursor  jsontext.Value // of the next page, raw; nil: none was given. Of a stream, the position to go on from: the request's own where the answer gives none that says something
	More    bool           // there are more pages; true without a cursor is the API's mistake. Of a stream: asking again at once makes sense
	Moved   bool           // Cursor is another than the request's
	Capped  bool           // the query matches more than it yields
	Total   int            // records of the whole slice, as the API counts them; -1: it does not say
	Fetched time.Time      // when the answer was read
	Date    time.Time      // when it was made, on the product's clock, to the second; zero: it does not say
	Bytes   int            // of the answer, unpacked

	found   [][]byte // in all records one after the other
	null    bool     // the list of records is null
	release func()
}

// Found is what Request.Look has found in the i-th record, aliasing it; nil
// where nothing was looked for.
func (p *Page) Found(i int) [][]byte {
	if len(p.found) == 0 {
		return nil
	}
	n := len(p.found) / len(p.Records)
	return p.found[i*n : (i+1)*n]
}

// Release lets another page have the memory of the records, which are not to be
// looked at any more. Nobody has to call it.
func (p *Page) Release() {
	if p.release != nil {
		p.release()
		p.Records, p.found, p.release = nil, nil, nil
	}
}

// Page gets one page, and what the lists within its records have beyond their
// first pages. It waits for its share of the rate, signs in if need be, and
// tries again as long as that makes sense, which may take a quarter of an hour
// at a time when the API throttles. Its error is an *Error, or, when ctx ended
// first, wraps ctx's.
func (c *Client) Page(ctx context.Context, r Request) (*Page, error) {
	p, err := c.plan(r.Source)
	if err != nil {
		return nil, err
	}
	page, err := c.page(ctx, p, r)
	if err != nil || len(p.nested) == 0 {
		return page, err
	}
	if err := c.complete(ctx, p, r, page); err != nil {
		page.Release()
		return nil, err
	}
	return page, nil
}

// page gets what one request answers.
func (c *Client) page(ctx context.Context, p *plan, r Request) (*Page, error) {
	t := tries{most: c.opts.Tries}
	var refused *session
	nulls := 0
	for attempt := 1; ; attempt++ {
		if err := c.budget.wait(ctx, r.Low); err != nil {
			return nil, fmt.Errorf("%s: %w", p.op(&r), err)
		}
		s, err := c.session(ctx, refused)
		if err != nil {
			return nil, err
		}
		begun := time.Now()
		page, failure := c.ask(ctx, s, p, r)
		if ctx.Err() != nil && failure != nil {
			return nil, fmt.Errorf("%s: %w", p.op(&r), ctx.Err())
		}
		if failure == nil {
			c.count(r.Source.ID, OK)
			c.budget.succeeded()
			if nulls++; page.null && nulls < mostNulls && !(page.Total == 0 && !page.More && nulls > 1) {
				page.Release()
				if err := sleep(ctx, jitter(0, firstBackoff)); err != nil {
					return nil, fmt.Errorf("%s: %w", p.op(&r), err)
				}
				continue
			}
			return page, nil
		}
		wait, again := t.next(failure, time.Since(begun))
		switch {
		case failure.Class == Throttle:
			since := c.budget.throttled(wait) // which holds this request too
			again = again && (failure.RetryAfter > 0 || since < mostRefused)
			if !again && failure.RetryAfter > 0 {
				failure.Advice = join("; ", failure.Advice, fmt.Sprintf("it asks to be left alone for %s, and nothing is sent to it before", wait.Round(time.Second)))
			}
		case failure.Class == Auth && refused == nil:
			refused, again = s, true
		case failure.Class == Forbidden:
			c.outdate(s) // a permission that is granted meanwhile may be in the next token only
		}
		c.warn(ctx, failure, p, attempt, wait, again)
		if !again {
			return nil, failure
		}
		if failure.Class != Throttle {
			if err := sleep(ctx, wait); err != nil {
				return nil, fmt.Errorf("%s: %w", p.op(&r), err)
			}
		}
	}
}

// ask sends one request and reads its answer.
func (c *Client) ask(ctx context.Context, s *session, p *plan, r Request) (*Page, *Error) {
	try, cancel := context.WithTimeout(ctx, c.opts.HTTP.Timeout)
	defer cancel()
	req, err := c.request(try, s, r)
	if err != nil {
		return nil, c.fail(&Error{Class: Permanent, Op: p.op(&r), Err: err, Advice: "nothing was sent"})
	}
	page, e := c.roundTrip(ctx, p, req, r)
	if e == nil {
		return page, nil
	}
	if ctx.Err() == nil {
		c.count(r.Source.ID, e.Class)
	}
	e.Op = p.op(&r)
	switch e.Class {
	case Auth:
		tokenURL, _ := c.names(s).expand(s.auth.TokenURL)
		e.Advice = c.credential(s.auth, tokenURL, s.base, r.Source)
	case Forbidden:
		e.Advice = c.opts.Product.Advice[string(Forbidden)]
		if scopes := r.Source.Scopes; len(scopes) > 0 {
			e.Advice = join("; ", e.Advice, "this source needs "+join(", ", scopes...))
		}
	default:
		var elsewhere *originError
		var redirect *redirectError
		switch {
		case errors.As(e.Err, &redirect):
			e.Advice = fmt.Sprintf("check %s of connection %s", c.addressSettings(), c.opts.Name)
		case errors.As(e.Err, &elsewhere):
			e.Advice = fmt.Sprintf("check %s of connection %s: the API's address has to be the one that the API itself uses", c.addressSettings(), c.opts.Name)
		case errors.As(e.Err, new(*shapeError)):
			e.Advice = fmt.Sprintf("nothing may be wrong on this side; where it stays, compare records and paging of %s in the catalogue with what the API answers", r.Source.FullName())
		case e.Status == 0:
			e.Advice = c.unreachable(s.base, addressOf(c.opts.Product, c.opts.Product.BaseURL), e.Err)
		case e.Status == http.StatusNotFound:
			e.Advice = fmt.Sprintf("nothing is at %s: check %s of connection %s, and in the catalogue base_url and the request's path",
				c.scrub.text(address(req.URL.String())), c.addressSettings(), c.opts.Name)
		default:
			e.Advice = cmp.Or(c.opts.Product.Advice[string(e.Class)], generalAdvice[e.Class])
		}
	}
	return nil, c.fail(e)
}

// generalAdvice is for classes that a product has no advice of its own about.
var generalAdvice = map[Class]string{
	Retry:     "nothing may be wrong on this side; where it stays, check the address of the API and what stands between here and there",
	Throttle:  "lower rate_limit.requests_per_second of this connection",
	Permanent: "check the feed's filter, and the source's request in the catalogue",
	Partial:   "nothing may be wrong on this side; where it stays, check the permissions of the credential",
	TooLarge:  "lower the feed's page_size, or raise http.max_body",
}

// addressSettings are the settings that the API's address is made of.
func (c *Client) addressSettings() string {
	return cmp.Or(enumerate(addressOf(c.opts.Product, c.opts.Product.BaseURL)), "the settings")
}

// unreachable is the advice where no answer came at all; why is what came instead.
func (c *Client) unreachable(raw string, settings []string, why error) string {
	if errors.As(why, new(tls.RecordHeaderError)) || errors.Is(why, http.ErrSchemeMismatch) {
		return fmt.Sprintf("what answers at %s speaks no TLS: check %s of connection %s; the port may be another one, or the address one with http",
			address(raw), strings.Join(append(settings, "http.proxy_url"), ", "), c.opts.Name)
	}
	return fmt.Sprintf("no answer came from %s: check %s of connection %s, and whether this machine may go there",
		address(raw), strings.Join(append(settings, "http.proxy_url", "http.ca_file"), ", "), c.opts.Name)
}

// names gives ${name} its values under a session; nil: before any.
func (c *Client) names(s *session) *names {
	n := &names{product: c.opts.Product, settings: c.opts.Settings}
	if s != nil {
		n.claim = s.claim
	}
	return n
}

// fail makes an error fit to leave the package.
func (c *Client) fail(e *Error) *Error {
	e.Message = c.scrub.text(e.Message)
	e.Err = c.scrub.cause(e.Err)
	return e
}

// count tells the class of a request that was sent.
func (c *Client) count(source string, class Class) {
	if c.opts.OnAnswer != nil {
		c.opts.OnAnswer(source, class)
	}
}

// warn writes the one line that each failed try gets. p is nil for a sign-in.
func (c *Client) warn(ctx context.Context, e *Error, p *plan, attempt int, wait time.Duration, again bool) {
	level, text := slog.LevelWarn, "request failed"
	if again {
		text += ", trying again"
		if e.Class == Throttle || attempt < 3 {
			level = slog.LevelInfo // part of sharing an API, or of the network
		}
	}
	attrs := []slog.Attr{slog.String("connection", c.opts.Name)}
	if p != nil {
		attrs = append(attrs, slog.String("source", p.source), slog.String("operation", p.query))
	} else {
		attrs = append(attrs, slog.String("operation", "sign-in"))
	}
	attrs = append(attrs,
		slog.String("class", string(e.Class)),
		slog.Int("status", e.Status),
		slog.Int("attempt", attempt),
		slog.String("message", e.what()))
	if again {
		attrs = append(attrs, slog.Duration("wait", wait))
	} else if e.Advice != "" {
		attrs = append(attrs, slog.String("advice", e.Advice))
	}
	c.log.LogAttrs(ctx, level, text, attrs...)
	if again && c.opts.OnRetry != nil {
		source := ""
		if p != nil {
			source = p.id
		}
		c.opts.OnRetry(source, attempt, wait, e)
	}
}
