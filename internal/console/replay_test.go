package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/deliver"
	"github.com/trawlsec/trawl/internal/engine"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// ask notes a question, and fails if the fake is to.
func (f *fake) ask(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
	return f.err
}

var theLetter = engine.Letter{
	ID: "archive/7/3", Output: "archive", Feed: "wiz-prod/audit", Page: 7, Index: 3, UID: "0a", Reason: "too \"odd\" & <long>", Refused: at(3), First: at(2),
	Tries: 2, Bytes: 3, Seq: 9, Document: []byte{0, 255, '{'}, Record: []byte("{ }"), Logged: true,
}

func (f *fake) DeadLetters(_ context.Context, filter pagelog.DeadFilter, limit int) ([]engine.Letter, error) {
	return []engine.Letter{theLetter, theLetter}, f.ask("letters %+v %d", filter, limit)
}

func (f *fake) DeadLetter(_ context.Context, id string) (engine.Letter, error) {
	return theLetter, f.ask("letter %s", id)
}

func (f *fake) DropDead(_ context.Context, filter pagelog.DeadFilter) (int, error) {
	return 4, f.ask("drop %+v", filter)
}

func (f *fake) ReplayDead(_ context.Context, filter pagelog.DeadFilter) ([]deliver.Replay, error) {
	return []deliver.Replay{{ID: "x", Dead: &filter, State: deliver.ReplayRunning}}, f.ask("replay letters %+v", filter)
}

func (f *fake) StartReplay(_ context.Context, r engine.ReplayRequest) (engine.ReplayPlan, error) {
	return engine.ReplayPlan{First: r.Since, Last: r.Until, Replay: deliver.Replay{ID: "y", Output: r.Output, Feed: r.Feed, Pages: 3}}, f.ask("replay %+v", r)
}

func (f *fake) CancelReplay(_ context.Context, output string) (deliver.Replay, error) {
	return deliver.Replay{ID: "z", Output: output}, f.ask("cancel %s", output)
}

// TestControlOfReplays: every question comes as it was asked, and every answer
// as it was given.
func TestControlOfReplays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &fake{status: working()}
	control(t, dir, f)
	c, ctx := dial(t, dir), t.Context()
	filter := pagelog.DeadFilter{IDs: []string{"archive/7/3", "a&b=c/1/0"}, Output: "archive", Feed: "wiz-prod/audit", Reason: "*%2F+ \"?\"*", After: 1, UpTo: 1<<63 + 1}
	request := engine.ReplayRequest{Output: "archive", Since: at(1).Add(time.Nanosecond), Until: at(2), Feed: "wiz-prod/audit", Plan: true}
	var asked []string
	for _, fails := range []error{nil, errors.New("output archive: no such luck")} {
		f.mu.Lock()
		f.err = fails
		f.mu.Unlock()
		check := func(what string, want, got any, err error, partly bool) {
			t.Helper()
			asked = append(asked, what)
			if fails != nil {
				if err == nil || err.Error() != fails.Error() {
					t.Errorf("%s: %v", what, err)
				}
				if !partly {
					return
				}
			} else if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		letters, err := c.DeadLetters(ctx, filter, 5)
		check(fmt.Sprintf("letters %+v 5", filter), []engine.Letter{theLetter, theLetter}, letters, err, false)
		letter, err := c.DeadLetter(ctx, "a&b=c/1/0")
		check("letter a&b=c/1/0", theLetter, letter, err, false)
		n, err := c.DropDead(ctx, filter)
		check(fmt.Sprintf("drop %+v", filter), 4, n, err, true)
		replays, err := c.ReplayDead(ctx, filter)
		check(fmt.Sprintf("replay letters %+v", filter), []deliver.Replay{{ID: "x", Dead: &filter, State: deliver.ReplayRunning}}, replays, err, true)
		plan, err := c.StartReplay(ctx, request)
		check(fmt.Sprintf("replay %+v", request), engine.ReplayPlan{First: request.Since, Last: request.Until,
			Replay: deliver.Replay{ID: "y", Output: "archive", Feed: "wiz-prod/audit", Pages: 3}}, plan, err, false)
		replay, err := c.CancelReplay(ctx, "archive")
		check("cancel archive", deliver.Replay{ID: "z", Output: "archive"}, replay, err, false)
	}
	if diff := cmp.Diff(asked, f.asked); diff != "" {
		t.Errorf("questions (-want +got):\n%s", diff)
	}
}

// TestBadQuestion is refused, and nothing is done.
func TestBadQuestion(t *testing.T) {
	t.Parallel()
	f := &fake{}
	mux := http.NewServeMux()
	serveReplays(mux, f)
	for _, target := range []string{"/dead/drop", "/dead/drop?q=", "/dead/drop?q=[]", `/dead/drop?q={"after":-1}`, "/replay?q={", `/replay?q={"since":"yesterday"}`} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, target, nil))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "read question") {
			t.Errorf("%s = %d %s", target, w.Code, w.Body)
		}
	}
	if f.asked != nil {
		t.Errorf("it was asked %q", f.asked)
	}
	s := serve(t, &fake{status: working()})
	for _, path := range []string{"/dead", "/dead/letter", "/dead/drop", "/dead/replay", "/replay", "/replay/cancel"} {
		if code, _, _ := get(t, s, "POST", path); code != http.StatusNotFound {
			t.Errorf("the address for monitoring takes %s: %d", path, code)
		}
	}
}
