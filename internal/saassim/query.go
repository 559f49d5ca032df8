package saassim

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Codes of GraphQL errors. Nobody has written down which ones the product
// uses; these are those that GraphQL servers commonly do.
const (
	codeParse      = "GRAPHQL_PARSE_FAILED"
	codeValidation = "GRAPHQL_VALIDATION_FAILED"
	codeBadInput   = "BAD_USER_INPUT"
	codeNoToken    = "UNAUTHENTICATED"
	codeDenied     = "UNAUTHORIZED"
	codeNotFound   = "NOT_FOUND"
	codeInternal   = "INTERNAL"
	codeRateLimit  = "RATE_LIMIT_EXCEEDED"
)

// gqlError is an error as GraphQL answers it.
type gqlError struct {
	Message    string
	Path       []any
	Locations  []location
	Code       string
	RetryAfter int // seconds; 0: none
}

type location struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

func (e gqlError) Error() string { return e.Message }

// MarshalJSON puts the code and the wait among the extensions.
func (e gqlError) MarshalJSON() ([]byte, error) {
	type extensions struct {
		Code       string `json:"code"`
		RetryAfter int    `json:"retryAfter,omitempty"`
	}
	return json.Marshal(struct {
		Message    string     `json:"message"`
		Path       []any      `json:"path,omitempty"`
		Locations  []location `json:"locations,omitempty"`
		Extensions extensions `json:"extensions"`
	}{e.Message, e.Path, e.Locations, extensions{e.Code, e.RetryAfter}})
}

// failed answers with GraphQL errors and no data.
func (c *call) failed(status int, errs ...gqlError) {
	answer := map[string]any{"errors": errs}
	if status == http.StatusOK {
		answer["data"] = nil
	}
	c.json(status, answer)
}

// internalError is what the product says of its own failures.
func internalError(path ...any) gqlError {
	return gqlError{Message: "oops! an internal error has occurred", Code: codeInternal, Path: path}
}

// graphql answers a request to the API: first what goes wrong before anyone
// looks at it, then who asks, then what.
func (c *call) graphql() {
	c.entry.Kind, c.entry.UserAgent = "graphql", c.r.UserAgent()
	c.w.log.arrived(c.entry.Time)
	if !c.accepts("application/json") {
		return
	}
	body, ok := c.body()
	if !ok {
		return
	}
	var req struct {
		Query         string          `json:"query"`
		OperationName string          `json:"operationName"`
		Variables     json.RawMessage `json:"variables"`
	}
	invalid := json.Unmarshal(body, &req)
	c.entry.Variables = req.Variables
	auth, scopes := c.w.tokens.check(c.r.Header.Get("Authorization"), c.entry.Time)
	c.entry.Auth = auth
	var p *plan
	var vars map[string]any
	var errs []gqlError
	if invalid == nil {
		p, vars, errs = c.w.schema.plan(req.Query, req.OperationName, req.Variables, c.w.numeric.Load())
	}
	if p != nil {
		c.entry.Operation = p.fields
	}

	c.hits = c.w.faults.drawRequest()
	if c.replaced(&auth) {
		return
	}
	switch {
	case auth != AuthOK:
		c.rw.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		c.failed(http.StatusUnauthorized, gqlError{Message: "access denied: the token is missing, unknown or expired", Code: codeNoToken})
	case invalid != nil:
		c.failed(http.StatusBadRequest, gqlError{Message: "the body must be a JSON object with a query", Code: codeBadInput})
	case errs != nil:
		c.failed(c.w.opts.ValidationStatus, errs...)
	default:
		c.execute(p, vars, scopes)
	}
}

// replaced lets the faults that take the place of an answer strike, and
// returns whether one did.
func (c *call) replaced(auth *string) bool {
	if s, ok := c.hit(Slow); ok && !c.wait(s.Delay) {
		c.abort()
	}
	if _, ok := c.hit(Hang); ok {
		<-c.r.Context().Done()
		c.abort()
	}
	if _, ok := c.hit(Reset); ok {
		c.reset()
		return true
	}
	if c.w.limiter != nil {
		now := time.Now()
		r := c.w.limiter.ReserveN(now, 1)
		if wait := r.DelayFrom(now); wait > 0 {
			r.CancelAt(now)
			c.throttle(c.w.opts.RateAnswer, wait)
			return true
		}
	}
	for _, f := range []Fault{Throttle, ThrottleDate, ThrottleBare, ThrottleBody} {
		if s, ok := c.hit(f); ok {
			c.throttle(f, s.Delay)
			return true
		}
	}
	for i, f := range []Fault{Error500, Error502, Error503} {
		if _, ok := c.hit(f); ok {
			status := []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable}[i]
			c.send(status, "text/plain; charset=utf-8", []byte(strings.ToLower(http.StatusText(status))+"\n"))
			return true
		}
	}
	if _, ok := c.hit(HTML); ok {
		c.send(http.StatusOK, "text/html; charset=utf-8", []byte("<!DOCTYPE html><html><head><title>Maintenance</title></head><body>Back soon.</body></html>\n"))
		return true
	}
	if _, ok := c.hit(Expire); ok {
		c.w.tokens.revokeAll()
		*auth = AuthUnknown
	}
	if _, ok := c.hit(Unauthorized); ok {
		*auth = AuthUnknown
	}
	c.entry.Auth = *auth
	return false
}

var bodies = sync.Pool{New: func() any { return new([]byte) }}

// execute answers a query that fits the schema.
func (c *call) execute(p *plan, vars map[string]any, scopes []string) {
	if _, ok := c.hit(Errors); ok {
		c.failed(http.StatusOK, internalError())
		return
	}
	for _, st := range p.root {
		if message := denied(st.name, scopes); message != "" {
			c.failed(c.w.opts.DeniedStatus, gqlError{Message: message, Code: codeDenied, Path: []any{strings.Trim(st.key, `":`)}})
			return
		}
	}
	var out writer
	if _, ok := c.hit(MissingKeys); ok {
		out.drop = map[string]bool{"performer": true, "actionType": true, "actionParameters": true, "sourceIP": true}
	}
	buf := bodies.Get().(*[]byte)
	defer bodies.Put(buf)
	dst, errs := append((*buf)[:0], `{"data":{`...), []gqlError(nil)
	for i, st := range p.root {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, st.key...)
		if st.name == "__typename" {
			dst = append(dst, `"Query"`...)
			continue
		}
		name := strings.Trim(st.key, `":`)
		value, err := c.root(st.name, st.field.ArgumentMap(vars))
		if err.Message != "" {
			err.Path = append([]any{name}, err.Path...)
			errs = append(errs, err)
		}
		if value == nil {
			if st.field.Definition.Type.NonNull { // null spreads to the data as a whole
				c.failed(http.StatusOK, errs...)
				return
			}
			dst = append(dst, "null"...)
			continue
		}
		dst = out.value(dst, value, st.sub)
	}
	dst = append(dst, '}')
	if errs != nil {
		b, err := json.Marshal(errs)
		if err != nil {
			panic(err) // errors are texts and numbers
		}
		dst = append(append(dst, `,"errors":`...), b...)
	}
	dst = append(dst, '}')
	*buf = dst
	c.spoil = true
	c.w.auditQuery(p.fields, c.r)
	c.send(http.StatusOK, "application/json", dst)
}

// root reads one field of the query's root. An error with a message may come
// with a value, as GraphQL has it.
func (c *call) root(name string, args map[string]any) (object, gqlError) {
	switch name {
	case "auditLogEntries":
		return c.auditEntries(args)
	case "issuesV2":
		return c.issuesV2(args)
	case "serviceAccounts":
		return c.serviceAccounts(args)
	case "auditLogEntry":
		if e := c.w.auditEntry(args["id"].(string)); e != nil {
			return e, gqlError{}
		}
		return nil, gqlError{Message: "Resource not found", Code: codeNotFound}
	case "issue":
		if v := c.w.issue(args["id"].(string)); v != nil {
			return v, gqlError{}
		}
		return nil, gqlError{Message: "Resource not found", Code: codeNotFound}
	}
	return nil, gqlError{Message: "introspection is not served", Code: codeValidation}
}
