package fetch

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Class says what an answer, or the lack of one, means for what comes next.
type Class string

const (
	OK        Class = "ok"        // records
	Retry     Class = "retry"     // passing: network, 5xx, no JSON, a truncated body, an internal error of the API
	Throttle  Class = "throttle"  // asked too often
	Auth      Class = "auth"      // the credential is refused
	Forbidden Class = "forbidden" // the credential is good, but not for this
	Permanent Class = "permanent" // the request itself is refused: asking again changes nothing
	Partial   Class = "partial"   // data together with errors
	TooLarge  Class = "too_large" // more than HTTPOptions.MaxBody: ask for less
)

// Error is a request that failed for good, as far as this package goes: what
// could be mended by asking again was asked again. Neither its text nor any
// error under it holds a secret.
type Error struct {
	Class      Class
	Op         string        // what was asked: wiz-prod/audit page (query TrawlAuditLog)
	Status     int           // of HTTP; 0: there was no answer
	Message    string        // the API's own words, at most 500 characters; may be empty
	Advice     string        // what a person should check; may be empty
	RetryAfter time.Duration // when the API said when to ask again
	Err        error         // the cause on our side; may be nil
}

// Error gives all of it, the advice too, on one line.
func (e *Error) Error() string {
	s := e.Op + ": " + e.what()
	if e.Advice != "" {
		s += "; " + e.Advice
	}
	return s
}

// what went wrong, without what was asked and what to do.
func (e *Error) what() string {
	var parts []string
	if e.Status != 0 {
		parts = append(parts, fmt.Sprintf("HTTP %d", e.Status))
	}
	if e.Message != "" {
		parts = append(parts, e.Message)
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	if e.Message == "" && e.Err == nil && http.StatusText(e.Status) != "" {
		parts = append(parts, http.StatusText(e.Status))
	}
	return strings.Join(parts, ": ")
}

func (e *Error) Unwrap() error { return e.Err }

// statusClass is what an HTTP status means where nothing else is known.
func statusClass(status int) Class {
	switch {
	case status >= 200 && status < 300:
		return OK
	case status == http.StatusUnauthorized:
		return Auth
	case status == http.StatusForbidden:
		return Forbidden
	case status == http.StatusTooManyRequests:
		return Throttle
	case status >= 500, slices.Contains(passing, status):
		return Retry
	}
	return Permanent
}

// passing are the statuses below 500 that say nothing of the request: they come
// from what stands between, or from a state that passes.
var passing = []int{
	http.StatusNotModified, http.StatusPaymentRequired, http.StatusRequestTimeout, http.StatusConflict, http.StatusPreconditionFailed,
	http.StatusExpectationFailed, http.StatusTeapot, http.StatusMisdirectedRequest, http.StatusLocked, http.StatusFailedDependency,
	http.StatusTooEarly, http.StatusUnavailableForLegalReasons,
}
