package saassim

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxRequest is the largest request body that a tenant reads, in bytes.
const maxRequest = 1 << 20

// FormType is the media type of a token request.
const FormType = "application/x-www-form-urlencoded"

// Call is one request being answered.
type Call struct {
	T     *Tenant
	W     http.ResponseWriter
	R     *http.Request
	Entry Request // what the log will say of it
	Grant Grant   // what its token entitles to, once Authorize has looked at it

	hits  map[Fault]Setting // the faults drawn for it
	whole bool              // the faults that damage a body apply to the answer
	noted bool              // the log has it
}

// Drawn tells whether a fault is to strike this request.
func (c *Call) Drawn(f Fault) (Setting, bool) {
	s, ok := c.hits[f]
	return s, ok
}

// Hit tells whether a fault strikes this request, and notes in the log that
// it did: it is asked only where the fault changes something.
func (c *Call) Hit(f Fault) (Setting, bool) {
	s, ok := c.hits[f]
	if ok {
		c.Entry.Faults = append(c.Entry.Faults, f)
	}
	return s, ok
}

// note puts the request into the log: before its answer leaves, so that who
// has the answer finds it there.
func (c *Call) note() {
	if !c.noted {
		c.noted = true
		c.T.log.add(c.Entry)
	}
}

// API notes that the request is one to the API, at the time it came.
func (c *Call) API() {
	c.Entry.Kind, c.Entry.UserAgent = KindAPI, c.R.UserAgent()
	c.T.log.arrived(c.Entry.Time)
}

// Struck lets the faults that take the place of an answer strike, and the
// product's rate limit, and returns whether the request has been answered by
// that. What the request's credentials are worth (Entry.Auth) is known by then;
// two of the faults change it.
func (c *Call) Struck() bool {
	c.hits = c.T.faults.drawRequest()
	if s, ok := c.Hit(Slow); ok && !c.wait(s.Delay) {
		c.abort()
	}
	if _, ok := c.Hit(Hang); ok {
		<-c.R.Context().Done()
		c.abort()
	}
	if _, ok := c.Hit(Reset); ok {
		c.reset()
		return true
	}
	if c.T.product.Limit != nil && c.T.product.Limit(c) {
		return true
	}
	for _, f := range []Fault{Throttle, ThrottleDate, ThrottleBare} {
		if s, ok := c.Hit(f); ok {
			c.Throttle(f, s.Delay)
			return true
		}
	}
	if s, ok := c.Hit(Unavailable); ok {
		c.retryAfter(s.Delay)
		c.T.product.Error(c, http.StatusServiceUnavailable)
		return true
	}
	for i, f := range []Fault{Error500, Error502, Error503} {
		if _, ok := c.Hit(f); ok {
			c.T.product.Error(c, []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable}[i])
			return true
		}
	}
	if _, ok := c.Hit(HTML); ok {
		c.Send(http.StatusOK, "text/html; charset=utf-8", []byte("<!DOCTYPE html><html><head><title>Maintenance</title></head><body>Back soon.</body></html>\n"))
		return true
	}
	if _, ok := c.Hit(Expire); ok {
		c.T.RevokeTokens()
		c.Entry.Auth = AuthUnknown
	}
	if _, ok := c.Hit(Unauthorized); ok {
		c.Entry.Auth = AuthUnknown
	}
	return false
}

// abort ends the connection without an answer, or in the middle of one.
func (c *Call) abort() { panic(http.ErrAbortHandler) }

// reset ends the connection with a TCP reset where the connection allows it.
func (c *Call) reset() {
	if h, ok := c.W.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // a plain close still ends the connection
			}
			_ = conn.Close()
			return
		}
	}
	c.abort()
}

// wait returns false when the client gave up first.
func (c *Call) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.R.Context().Done():
		return false
	}
}

// Throttle answers 429, with the wait in Retry-After as one of the throttle
// faults has it.
func (c *Call) Throttle(kind Fault, wait time.Duration) {
	switch kind {
	case Throttle:
		c.retryAfter(wait)
	case ThrottleDate:
		at := time.Now().Add(wait + time.Second).Truncate(time.Second) // a date has whole seconds: never too early
		c.W.Header().Set("Retry-After", at.UTC().Format(http.TimeFormat))
	}
	c.T.product.Error(c, http.StatusTooManyRequests)
}

func (c *Call) retryAfter(wait time.Duration) {
	c.W.Header().Set("Retry-After", strconv.Itoa(Seconds(wait)))
}

// Seconds are whole ones, and never too few.
func Seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// JSON answers with a value.
func (c *Call) JSON(status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // only values built by the products come here
	}
	c.Send(status, "application/json", body)
}

// Text answers with the words of a status, as servers do that stand in front of
// an API.
func (c *Call) Text(status int) {
	c.Send(status, "text/plain; charset=utf-8", []byte(strings.ToLower(http.StatusText(status))+"\n"))
}

// Page answers with a page of records, which the faults that damage a body
// apply to.
func (c *Call) Page(records int, body []byte) {
	c.Entry.Records += records
	c.whole = true
	c.Send(http.StatusOK, "application/json", body)
}

// File answers with a file from a store that is no part of the API: of the
// faults only a connection that breaks can strike it.
func (c *Call) File(contentType string, body []byte) {
	if _, ok := c.strikes(Reset); ok {
		c.note()
		c.reset()
		return
	}
	if s, ok := c.T.Draw(Truncate); ok {
		c.hits, c.whole = map[Fault]Setting{Truncate: s}, true
	}
	c.Send(http.StatusOK, contentType, body)
}

// Send answers, or fails to in the way that a fault wants.
func (c *Call) Send(status int, contentType string, body []byte) {
	c.Entry.Status = status
	h := c.W.Header()
	h.Set("Content-Type", contentType)
	var out io.Writer = c.W
	if c.T.gzip && strings.Contains(c.R.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		z, _ := gzip.NewWriterLevel(c.W, gzip.BestSpeed) // the level is a valid one
		defer z.Close()
		out = z
	}
	cut := false
	if c.whole {
		if s, ok := c.Hit(Huge); ok {
			c.note()
			c.W.WriteHeader(status)
			if _, err := io.CopyN(out, blanks{}, int64(s.N)); err == nil {
				_, _ = out.Write(body) // the client may be gone; there is nobody else to tell
			}
			return
		}
		if _, ok := c.Hit(CutJSON); ok {
			body = body[:len(body)/2]
		}
		_, cut = c.Hit(Truncate)
	}
	if out == io.Writer(c.W) {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	c.note()
	c.W.WriteHeader(status)
	if cut {
		_, _ = out.Write(body[:len(body)/2])
		if f, ok := out.(*gzip.Writer); ok {
			_ = f.Flush()
		}
		_ = http.NewResponseController(c.W).Flush() // so that the half arrives before the end
		c.abort()
	}
	_, _ = out.Write(body)
}

// blanks reads as an endless run of spaces.
type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// Body reads the request's body, and answers itself where it cannot.
func (c *Call) Body() ([]byte, bool) {
	b, err := io.ReadAll(http.MaxBytesReader(c.W, c.R.Body, maxRequest))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		c.JSON(http.StatusRequestEntityTooLarge, map[string]any{"message": "request too large"})
		return nil, false
	} else if err != nil {
		c.JSON(http.StatusBadRequest, map[string]any{"message": "request body ended early"})
		return nil, false
	}
	return b, true
}

// Is tells whether the request has a method, and answers itself where it has
// another.
func (c *Call) Is(method string) bool {
	if c.R.Method == method {
		return true
	}
	c.W.Header().Set("Allow", method)
	c.JSON(http.StatusMethodNotAllowed, map[string]any{"message": "method not allowed"})
	return false
}

// Holds tells whether the request's body is of a media type.
func (c *Call) Holds(mediaType string) bool {
	got, _, err := mime.ParseMediaType(c.R.Header.Get("Content-Type"))
	return err == nil && got == mediaType
}

// Form reads a token request, a POST of a form. It answers itself, and returns
// false, where the request is none or a fault of signing in strikes.
func (c *Call) Form() (url.Values, bool) {
	c.Entry.Kind = KindToken
	if !c.Is(http.MethodPost) {
		return nil, false
	}
	if !c.Holds(FormType) {
		c.RefuseToken(http.StatusBadRequest, "invalid_request", "the body must be "+FormType)
		return nil, false
	}
	body, ok := c.Body()
	if !ok || c.signInFault() {
		return nil, false
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		c.RefuseToken(http.StatusBadRequest, "invalid_request", "the form cannot be read")
		return nil, false
	}
	return form, true
}

// strikes draws a fault of signing in, and notes it.
func (c *Call) strikes(f Fault) (Setting, bool) {
	s, ok := c.T.Draw(f)
	if ok {
		c.Entry.Faults = append(c.Entry.Faults, f)
	}
	return s, ok
}

func (c *Call) signInFault() bool {
	if _, ok := c.strikes(SignIn500); ok {
		c.T.product.Error(c, http.StatusInternalServerError)
		return true
	}
	if _, ok := c.strikes(SignIn401); ok {
		c.RefuseToken(http.StatusUnauthorized, "access_denied", "Unauthorized")
		return true
	}
	if s, ok := c.strikes(SignInThrottle); ok {
		c.Throttle(Throttle, s.Delay)
		return true
	}
	return false
}

// RefuseToken answers a token request with an OAuth error.
func (c *Call) RefuseToken(status int, code, description string) {
	c.Entry.Auth = AuthRefused
	c.JSON(status, map[string]any{"error": code, "error_description": description})
}

// GrantToken answers a token request with what it asked for.
func (c *Call) GrantToken(answer map[string]any) {
	c.Entry.Auth = AuthOK
	if _, ok := c.strikes(SignInLost); ok {
		c.note()
		c.reset()
		return
	}
	c.JSON(http.StatusOK, answer)
}
