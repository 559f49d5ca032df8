package saassim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Admin is the handler that a test drives a tenant by from another process:
//
//	POST /admin/add?SOURCE=10&from=T&to=T&late=1h&equal=3   makes records (see Batch); answers their ids
//	POST /admin/faults?set=LIST      replaces the faults (see ParseFaults); the list may be the body
//	POST /admin/revoke               makes all tokens worthless
//	POST /admin/forget               empties the request log and the counts
//	GET  /admin/truth                every record there is, one JSON object a line (see Truth)
//	GET  /admin/requests             the request log, one JSON object a line
//	GET  /admin/stats                the counts, one JSON object
//
// and what the product adds. Times are RFC 3339 or durations before now. It
// asks for no credentials.
func (t *Tenant) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /admin/add", func(rw http.ResponseWriter, r *http.Request) {
		p := t.Params(r)
		b := Batch{From: p.Time("from"), To: p.Time("to"), Late: p.Duration("late"), Equal: p.Count("equal")}
		counts := map[string]int{}
		for _, s := range t.product.Sources {
			counts[s.Name] = p.Count(s.Name)
		}
		if p.Failed(rw) {
			return
		}
		for _, s := range t.product.Sources {
			b.N = counts[s.Name]
			WriteLines(rw, s.Add(b))
		}
	})
	mux.HandleFunc("POST /admin/faults", func(rw http.ResponseWriter, r *http.Request) {
		text := r.URL.Query().Get("set")
		if body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest)); err == nil && len(body) > 0 {
			text = strings.TrimSpace(string(body))
		}
		f, err := ParseFaults(text)
		if err == nil {
			err = t.SetFaults(f)
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(rw, f)
	})
	mux.HandleFunc("POST /admin/revoke", func(http.ResponseWriter, *http.Request) { t.RevokeTokens() })
	mux.HandleFunc("POST /admin/forget", func(http.ResponseWriter, *http.Request) { t.ForgetRequests() })
	mux.HandleFunc("GET /admin/truth", func(rw http.ResponseWriter, r *http.Request) {
		enc := json.NewEncoder(rw)
		for v := range t.Truth() {
			if enc.Encode(v) != nil {
				return // the client is gone
			}
		}
	})
	mux.HandleFunc("GET /admin/requests", func(rw http.ResponseWriter, r *http.Request) {
		enc := json.NewEncoder(rw)
		for _, req := range t.Requests() {
			if enc.Encode(req) != nil {
				return
			}
		}
	})
	mux.HandleFunc("GET /admin/stats", func(rw http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(rw).Encode(t.Stats()) // the client may be gone
	})
	if t.product.Admin != nil {
		t.product.Admin(mux)
	}
	return mux
}

// WriteLines writes each of the texts as a line.
func WriteLines(w io.Writer, lines []string) {
	for _, l := range lines {
		fmt.Fprintln(w, l)
	}
}

// Params reads the numbers and times of a request's query, and keeps the first
// mistake. What is absent is zero.
type Params struct {
	values url.Values
	now    time.Time
	err    error
}

// Params are those of a request whose times count from the tenant's now.
func (t *Tenant) Params(r *http.Request) *Params {
	return &Params{values: r.URL.Query(), now: t.Now()}
}

// Failed answers with the first mistake, if there was one, and returns whether
// there was.
func (p *Params) Failed(rw http.ResponseWriter) bool {
	if p.err != nil {
		http.Error(rw, p.err.Error(), http.StatusBadRequest)
	}
	return p.err != nil
}

// Count reads a number that is not negative.
func (p *Params) Count(name string) int {
	return read(p, name, func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err == nil && n < 0 {
			err = fmt.Errorf("%d is negative", n)
		}
		return n, err
	})
}

// Duration reads one as time.ParseDuration does.
func (p *Params) Duration(name string) time.Duration { return read(p, name, time.ParseDuration) }

// Time reads a time, as ParseTime does.
func (p *Params) Time(name string) time.Time {
	return read(p, name, func(s string) (time.Time, error) { return ParseTime(s, p.now) })
}

func read[T any](p *Params, name string, parse func(string) (T, error)) (v T) {
	s := p.values.Get(name)
	if s == "" {
		return v
	}
	v, err := parse(s)
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("parameter %s: %w", name, err)
	}
	return v
}

// ParseTime reads a time in RFC 3339, or a duration before now.
func ParseTime(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	return time.Parse(time.RFC3339Nano, s)
}
