// Package console answers questions about a running Trawl over HTTP: to
// monitoring on the address of `listen`, and to the other verbs of the command
// on a private socket (see Control).
package console

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/deliver"
	"github.com/trawlsec/trawl/internal/engine"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// lookTimeout bounds one look at the engine.
const lookTimeout = 5 * time.Second

// Engine is what the console shows. All functions may be called at any time
// and by several goroutines.
type Engine interface {
	Status(ctx context.Context) (engine.Status, error)
	Observed(ctx context.Context) (engine.Observed, error)
	Change(ctx context.Context, feed, verb string, to time.Time) error
	StartBackfill(ctx context.Context, feed string, since, until time.Time, concurrency int) (time.Time, error)
	Push(ctx context.Context, feed string, records [][]byte, file bool) (collect.Pushed, error)

	DeadLetters(ctx context.Context, f pagelog.DeadFilter, limit int) ([]engine.Letter, error)
	DeadLetter(ctx context.Context, id string) (engine.Letter, error)
	DropDead(ctx context.Context, f pagelog.DeadFilter) (int, error)
	ReplayDead(ctx context.Context, f pagelog.DeadFilter) ([]deliver.Replay, error)
	StartReplay(ctx context.Context, r engine.ReplayRequest) (engine.ReplayPlan, error)
	CancelReplay(ctx context.Context, output string) (deliver.Replay, error)
}

// Handler serves /healthz, /readyz, /metrics and /api/status.
//
// /healthz answers 200 when every feed and output works and 503 otherwise,
// with the states and their reasons as JSON either way; /readyz answers 200 as
// long as the process serves.
func Handler(e Engine) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics{e}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ready\n"))
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		look(w, r, e, func(s engine.Status) (int, any) {
			h := health{Status: "ok"}
			code := http.StatusOK
			if !s.Healthy() {
				h.Status, code = "failing", http.StatusServiceUnavailable
			}
			for _, f := range s.Feeds {
				h.Feeds = append(h.Feeds, healthItem{Name: f.Connection + "/" + f.Source, State: string(f.State), Reason: f.Reason, Since: f.Since})
			}
			for _, o := range s.Outputs {
				h.Outputs = append(h.Outputs, healthOutput{healthItem{Name: o.Output, State: string(o.State), Reason: o.Reason, Since: o.Since}, o.PendingPages, o.DeadLetters})
			}
			return code, h
		})
	})
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, r *http.Request) {
		look(w, r, e, func(s engine.Status) (int, any) { return http.StatusOK, s })
	})
	return mux
}

// health is the body of /healthz.
type health struct {
	Status  string         `json:"status"`
	Feeds   []healthItem   `json:"feeds"`
	Outputs []healthOutput `json:"outputs"`
}

type healthItem struct {
	Name   string    `json:"name"`
	State  string    `json:"state"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

type healthOutput struct {
	healthItem
	PendingPages int `json:"pending_pages"`
	DeadLetters  int `json:"dead_letters"`
}

// look answers with what show makes of the status.
func look(w http.ResponseWriter, r *http.Request, e Engine, show func(engine.Status) (int, any)) {
	ctx, cancel := context.WithTimeout(r.Context(), lookTimeout)
	defer cancel()
	s, err := e.Status(ctx)
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, failure{err.Error()})
		return
	}
	code, body := show(s)
	writeJSON(w, code, body)
}

// failure is the body of an answer that is not one.
type failure struct {
	Error string `json:"error"`
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body) // the client went away: nobody to tell
}
