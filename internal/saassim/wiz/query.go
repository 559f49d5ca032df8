package wiz

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/trawlsec/trawl/internal/saassim"
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
	c.JSON(status, answer)
}

// internalError is what the product says of its own failures.
func internalError(path ...any) gqlError {
	return gqlError{Message: "oops! an internal error has occurred", Code: codeInternal, Path: path}
}

// graphql answers a request to the API: first what goes wrong before anyone
// looks at it, then who asks, then what.
func (c *call) graphql() {
	c.API()
	if !c.Is(http.MethodPost) {
		return
	}
	if !c.Holds("application/json") {
		c.failed(http.StatusUnsupportedMediaType, gqlError{Message: "the body must be application/json", Code: codeBadInput})
		return
	}
	body, ok := c.Body()
	if !ok {
		return
	}
	var req struct {
		Query         string          `json:"query"`
		OperationName string          `json:"operationName"`
		Variables     json.RawMessage `json:"variables"`
	}
	invalid := json.Unmarshal(body, &req)
	c.Entry.Variables = req.Variables
	c.Authorize("Bearer")
	var p *plan
	var vars map[string]any
	var errs []gqlError
	if invalid == nil {
		p, vars, errs = c.w.schema.plan(req.Query, req.OperationName, req.Variables, c.w.numeric.Load())
	}
	if p != nil {
		c.Entry.Operation = p.fields
	}
	if c.Struck() {
		return
	}
	switch {
	case c.Entry.Auth != saassim.AuthOK:
		c.W.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		c.failed(http.StatusUnauthorized, gqlError{Message: "access denied: the token is missing, unknown or expired", Code: codeNoToken})
	case invalid != nil:
		c.failed(http.StatusBadRequest, gqlError{Message: "the body must be a JSON object with a query", Code: codeBadInput})
	case errs != nil:
		c.failed(c.w.opts.ValidationStatus, errs...)
	default:
		c.execute(p, vars, c.Grant.Scopes)
	}
}

// limited answers a request that comes too soon, and the ones that a fault
// takes for such.
func (w *Tenant) limited(sc *saassim.Call) bool {
	c := &call{Call: sc, w: w}
	if w.limiter != nil {
		now := time.Now()
		r := w.limiter.ReserveN(now, 1)
		if wait := r.DelayFrom(now); wait > 0 {
			r.CancelAt(now)
			c.throttle(w.opts.RateAnswer, wait)
			return true
		}
	}
	if s, ok := c.Hit(saassim.ThrottleBody); ok {
		c.throttle(saassim.ThrottleBody, s.Delay)
		return true
	}
	return false
}

// throttle answers that the client goes too fast and should wait.
func (c *call) throttle(kind saassim.Fault, wait time.Duration) {
	if kind == saassim.ThrottleBody {
		c.failed(http.StatusOK, gqlError{Message: "Rate limit exceeded", Code: codeRateLimit, RetryAfter: saassim.Seconds(wait)})
		return
	}
	c.Throttle(kind, wait)
}

// fails answers with a status that has no reason in the request.
func (w *Tenant) fails(sc *saassim.Call, status int) {
	c := &call{Call: sc, w: w}
	if status == http.StatusTooManyRequests {
		c.failed(status, gqlError{Message: "Rate limit exceeded", Code: codeRateLimit})
		return
	}
	c.Text(status)
}

var bodies = sync.Pool{New: func() any { return new([]byte) }}

// execute answers a query that fits the schema.
func (c *call) execute(p *plan, vars map[string]any, scopes []string) {
	if _, ok := c.Hit(saassim.Errors); ok {
		c.failed(http.StatusOK, internalError())
		return
	}
	for _, st := range p.root {
		if message := denied(st.name, scopes); message != "" {
			c.failed(c.w.opts.DeniedStatus, gqlError{Message: message, Code: codeDenied, Path: []any{strings.Trim(st.key, `":`)}})
			return
		}
	}
	out := writer{vars: vars}
	if _, ok := c.Hit(saassim.MissingKeys); ok {
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
			dst = appendString(dst, c.w.schema.rootOf(p.op).Name)
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
	if p.op.Operation == ast.Query {
		c.w.auditQuery(p.fields, c.R)
	}
	c.Page(c.records, dst)
}

// root answers one field of the operation's root. An error with a message may come
// with a value, as GraphQL has it.
func (c *call) root(name string, args map[string]any) (object, gqlError) {
	if k := kindOf(name); k != nil {
		if name == k.many {
			return c.findings(k, args)
		}
		return c.finding(k, args["id"].(string))
	}
	switch name {
	case "auditLogEntries":
		return c.auditEntries(args)
	case "issuesV2":
		return c.issuesV2(args)
	case "serviceAccounts":
		return c.serviceAccounts(args)
	case "createReport", "rerunReport", "deleteReport":
		return c.change(name, args)
	case "reports":
		return c.reportsFound(args)
	case "report":
		return c.reportFound(args["id"].(string))
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
