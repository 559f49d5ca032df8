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
//	POST /admin/add?audit=10&issues=2&from=T&to=T&late=1h&equal=3   makes records (see Batch); answers their ids
//	POST /admin/change?issues=5      lets issues change; answers their ids
//	POST /admin/faults?set=LIST      replaces the faults (see ParseFaults); the list may be the body
//	POST /admin/revoke               makes all tokens worthless
//	POST /admin/forget               empties the request log and the counts
//	GET  /admin/truth                every record there is, one JSON object a line (see Truth)
//	GET  /admin/requests             the request log, one JSON object a line
//	GET  /admin/stats                the counts, one JSON object
//
// Times are RFC 3339 or durations before now. It asks for no credentials.
func (w *Wiz) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /admin/add", func(rw http.ResponseWriter, r *http.Request) {
		q, p := r.URL.Query(), params{now: w.now()}
		b := Batch{From: p.time(q, "from"), To: p.time(q, "to"), Late: p.duration(q, "late"), Equal: p.count(q, "equal")}
		audit, issues := p.count(q, "audit"), p.count(q, "issues")
		if p.err != nil {
			http.Error(rw, p.err.Error(), http.StatusBadRequest)
			return
		}
		b.N = audit
		writeLines(rw, w.AddAudit(b))
		b.N = issues
		writeLines(rw, w.AddIssues(b))
	})
	mux.HandleFunc("POST /admin/change", func(rw http.ResponseWriter, r *http.Request) {
		p := params{}
		n := p.count(r.URL.Query(), "issues")
		if p.err != nil {
			http.Error(rw, p.err.Error(), http.StatusBadRequest)
			return
		}
		writeLines(rw, w.ChangeIssues(n))
	})
	mux.HandleFunc("POST /admin/faults", func(rw http.ResponseWriter, r *http.Request) {
		text := r.URL.Query().Get("set")
		if body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest)); err == nil && len(body) > 0 {
			text = strings.TrimSpace(string(body))
		}
		f, err := ParseFaults(text)
		if err == nil {
			err = w.SetFaults(f)
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(rw, f)
	})
	mux.HandleFunc("POST /admin/revoke", func(http.ResponseWriter, *http.Request) { w.RevokeTokens() })
	mux.HandleFunc("POST /admin/forget", func(http.ResponseWriter, *http.Request) { w.ForgetRequests() })
	mux.HandleFunc("GET /admin/truth", func(rw http.ResponseWriter, r *http.Request) {
		enc := json.NewEncoder(rw)
		for t := range w.Truth() {
			if enc.Encode(t) != nil {
				return // the client is gone
			}
		}
	})
	mux.HandleFunc("GET /admin/requests", func(rw http.ResponseWriter, r *http.Request) {
		enc := json.NewEncoder(rw)
		for _, req := range w.Requests() {
			if enc.Encode(req) != nil {
				return
			}
		}
	})
	mux.HandleFunc("GET /admin/stats", func(rw http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(rw).Encode(w.Stats()) // the client may be gone
	})
	return mux
}

func writeLines(rw io.Writer, lines []string) {
	for _, l := range lines {
		fmt.Fprintln(rw, l)
	}
}

// params reads numbers and times, and keeps the first mistake.
type params struct {
	now time.Time
	err error
}

func (p *params) count(q url.Values, name string) int {
	s := q.Get(name)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err == nil && n < 0 {
		err = fmt.Errorf("%d is negative", n)
	}
	p.note(name, err)
	return n
}

func (p *params) duration(q url.Values, name string) time.Duration {
	s := q.Get(name)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	p.note(name, err)
	return d
}

func (p *params) time(q url.Values, name string) time.Time {
	s := q.Get(name)
	if s == "" {
		return time.Time{}
	}
	t, err := parseTime(s, p.now)
	p.note(name, err)
	return t
}

func (p *params) note(name string, err error) {
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("parameter %s: %w", name, err)
	}
}

// parseTime reads a time, or a duration before now.
func parseTime(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	return time.Parse(time.RFC3339Nano, s)
}
