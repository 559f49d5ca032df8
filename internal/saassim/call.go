package saassim

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRequest is the largest request body that a tenant reads, in bytes.
const maxRequest = 1 << 20

// call is one request being answered.
type call struct {
	w     *Wiz
	rw    http.ResponseWriter
	r     *http.Request
	hits  map[Fault]Setting // the faults drawn for it
	entry Request           // what the log will say of it
	spoil bool              // the faults that damage a body apply to the answer
	noted bool              // the log has it
}

// hit tells whether a fault strikes this request, and notes in the log that
// it did: it is asked only where the fault would change something.
func (c *call) hit(f Fault) (Setting, bool) {
	s, ok := c.hits[f]
	if ok {
		c.entry.Faults = append(c.entry.Faults, f)
	}
	return s, ok
}

// note puts the request into the log: before its answer leaves, so that who
// has the answer finds it there.
func (c *call) note() {
	if !c.noted {
		c.noted = true
		c.w.log.add(c.entry)
	}
}

// abort ends the connection without an answer, or in the middle of one.
func (c *call) abort() { panic(http.ErrAbortHandler) }

// reset ends the connection with a TCP reset where the connection allows it.
func (c *call) reset() {
	if h, ok := c.rw.(http.Hijacker); ok {
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
func (c *call) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.r.Context().Done():
		return false
	}
}

// throttle answers that the client goes too fast and should wait.
func (c *call) throttle(kind Fault, wait time.Duration) {
	seconds := int((wait + time.Second - 1) / time.Second)
	if kind == ThrottleBody {
		c.failed(http.StatusOK, gqlError{Message: "Rate limit exceeded", Code: codeRateLimit, RetryAfter: seconds})
		return
	}
	switch kind {
	case Throttle:
		c.rw.Header().Set("Retry-After", strconv.Itoa(seconds))
	case ThrottleDate:
		at := time.Now().Add(wait + time.Second).Truncate(time.Second) // a date has whole seconds: never too early
		c.rw.Header().Set("Retry-After", at.UTC().Format(http.TimeFormat))
	}
	c.failed(http.StatusTooManyRequests, gqlError{Message: "Rate limit exceeded", Code: codeRateLimit})
}

func (c *call) json(status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // only values built in this package come here
	}
	c.send(status, "application/json", body)
}

// send answers, or fails to in the way that a fault wants.
func (c *call) send(status int, contentType string, body []byte) {
	c.entry.Status = status
	h := c.rw.Header()
	h.Set("Content-Type", contentType)
	var out io.Writer = c.rw
	if c.w.opts.Gzip && strings.Contains(c.r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		z, _ := gzip.NewWriterLevel(c.rw, gzip.BestSpeed) // the level is a valid one
		defer z.Close()
		out = z
	}
	cut := false
	if c.spoil {
		if s, ok := c.hit(Huge); ok {
			c.note()
			c.rw.WriteHeader(status)
			if _, err := io.CopyN(out, blanks{}, int64(s.N)); err == nil {
				_, _ = out.Write(body) // the client may be gone; there is nobody else to tell
			}
			return
		}
		if _, ok := c.hit(CutJSON); ok {
			body = body[:len(body)/2]
		}
		_, cut = c.hit(Truncate)
	}
	if out == io.Writer(c.rw) {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	c.note()
	c.rw.WriteHeader(status)
	if cut {
		_, _ = out.Write(body[:len(body)/2])
		if f, ok := out.(*gzip.Writer); ok {
			_ = f.Flush()
		}
		_ = http.NewResponseController(c.rw).Flush() // so that the half arrives before the end
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

// body reads the request's body, and answers itself where it cannot.
func (c *call) body() ([]byte, bool) {
	b, err := io.ReadAll(http.MaxBytesReader(c.rw, c.r.Body, maxRequest))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		c.json(http.StatusRequestEntityTooLarge, map[string]any{"message": "request too large"})
		return nil, false
	} else if err != nil {
		c.json(http.StatusBadRequest, map[string]any{"message": "request body ended early"})
		return nil, false
	}
	return b, true
}

// accepts tells whether the request is a POST of the given media type, and
// answers itself where it is not.
func (c *call) accepts(mediaType string) bool {
	if c.r.Method != http.MethodPost {
		c.rw.Header().Set("Allow", http.MethodPost)
		c.json(http.StatusMethodNotAllowed, map[string]any{"message": "method not allowed"})
		return false
	}
	if got, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || got != mediaType {
		if mediaType == formType {
			c.refuse(http.StatusBadRequest, "invalid_request", "the body must be "+formType)
		} else {
			c.failed(http.StatusUnsupportedMediaType, gqlError{Message: "the body must be " + mediaType, Code: codeBadInput})
		}
		return false
	}
	return true
}
