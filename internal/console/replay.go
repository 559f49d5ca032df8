package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/trawlsec/trawl/internal/deliver"
	"github.com/trawlsec/trawl/internal/engine"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// Dead letters and replays are asked about, and for, with a question and an
// answer in JSON; the question stands in the address.
const (
	askLetters      = "GET /dead"
	askLetter       = "GET /dead/letter"
	askDrop         = "POST /dead/drop"
	askReplayDead   = "POST /dead/replay"
	askReplay       = "POST /replay"
	askCancelReplay = "POST /replay/cancel"
)

// lettersQuestion is that of askLetters.
type lettersQuestion struct {
	Filter pagelog.DeadFilter `json:"filter"`
	Limit  int                `json:"limit"`
}

// partly is an answer of which something may have failed.
type partly[T any] struct {
	Done  T      `json:"done"`
	Error string `json:"error,omitempty"`
}

func partlyDone[T any](done T, err error) (partly[T], error) {
	p := partly[T]{Done: done}
	if err != nil {
		p.Error = err.Error()
	}
	return p, nil
}

func (p partly[T]) split(err error) (T, error) {
	if err == nil && p.Error != "" {
		err = errors.New(p.Error)
	}
	return p.Done, err
}

// serveReplays takes these questions.
func serveReplays(mux *http.ServeMux, e Engine) {
	answer(mux, askLetters, func(ctx context.Context, q lettersQuestion) ([]engine.Letter, error) {
		return e.DeadLetters(ctx, q.Filter, q.Limit)
	})
	answer(mux, askLetter, e.DeadLetter)
	answer(mux, askDrop, func(ctx context.Context, f pagelog.DeadFilter) (partly[int], error) {
		return partlyDone(e.DropDead(ctx, f))
	})
	answer(mux, askReplayDead, func(ctx context.Context, f pagelog.DeadFilter) (partly[[]deliver.Replay], error) {
		return partlyDone(e.ReplayDead(ctx, f))
	})
	answer(mux, askReplay, e.StartReplay)
	answer(mux, askCancelReplay, e.CancelReplay)
}

// answer serves one kind of question.
func answer[Q, A any](mux *http.ServeMux, pattern string, ask func(context.Context, Q) (A, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var q Q
		if err := json.Unmarshal([]byte(r.FormValue("q")), &q); err != nil {
			writeJSON(w, http.StatusBadRequest, failure{fmt.Sprintf("read question: %v", err)})
			return
		}
		a, err := ask(r.Context(), q)
		if err != nil {
			writeJSON(w, http.StatusConflict, failure{err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, a)
	})
}

// question asks one.
func question[A any](ctx context.Context, c *Client, pattern string, q any) (a A, err error) {
	text, err := json.Marshal(q)
	if err != nil {
		return a, fmt.Errorf("ask running trawl: %w", err)
	}
	method, path, _ := strings.Cut(pattern, " ")
	err = c.do(ctx, method, path+"?q="+url.QueryEscape(string(text)), &a)
	return a, err
}

// DeadLetters asks for dead letters; see engine.Engine, as for what follows.
func (c *Client) DeadLetters(ctx context.Context, f pagelog.DeadFilter, limit int) ([]engine.Letter, error) {
	return question[[]engine.Letter](ctx, c, askLetters, lettersQuestion{f, limit})
}

// DeadLetter asks for one of them.
func (c *Client) DeadLetter(ctx context.Context, id string) (engine.Letter, error) {
	return question[engine.Letter](ctx, c, askLetter, id)
}

// DropDead has dead letters dropped.
func (c *Client) DropDead(ctx context.Context, f pagelog.DeadFilter) (int, error) {
	p, err := question[partly[int]](ctx, c, askDrop, f)
	return p.split(err)
}

// ReplayDead has dead letters offered again.
func (c *Client) ReplayDead(ctx context.Context, f pagelog.DeadFilter) ([]deliver.Replay, error) {
	p, err := question[partly[[]deliver.Replay]](ctx, c, askReplayDead, f)
	return p.split(err)
}

// StartReplay starts a replay of pages, or asks what it would be.
func (c *Client) StartReplay(ctx context.Context, r engine.ReplayRequest) (engine.ReplayPlan, error) {
	return question[engine.ReplayPlan](ctx, c, askReplay, r)
}

// CancelReplay has a replay given up.
func (c *Client) CancelReplay(ctx context.Context, output string) (deliver.Replay, error) {
	return question[deliver.Replay](ctx, c, askCancelReplay, output)
}
