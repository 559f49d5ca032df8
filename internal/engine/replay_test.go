package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/deliver"
	"github.com/trawlsec/trawl/internal/observe"
	"github.com/trawlsec/trawl/internal/pagelog"
	"github.com/trawlsec/trawl/internal/saassim/wiz"
)

// hour ago is before everything that a test puts in the log.
func hourAgo() time.Time { return time.Now().Add(-time.Hour) }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// readers lists those of the log.
func (w *world) readers(e *Engine) []string {
	w.t.Helper()
	names, err := e.log.Readers(w.t.Context())
	w.must(err)
	slices.Sort(names)
	return names
}

// TestReplay: it is said what it would be, it is done beside what is usual, and
// one that nobody has worked on is done with the next run.
func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	two := parts{outputs: "{archive: {type: file, path: events.ndjson}, other: {type: file, path: other.ndjson}}"}
	e := w.open(two)
	w.must(e.Once(t.Context()))
	ask := ReplayRequest{Output: "archive", Since: hourAgo(), Plan: true}
	plan, err := e.StartReplay(t.Context(), ask)
	if err != nil || plan.Pages < 7 || plan.Records != 330 || plan.First.IsZero() || plan.Last.Before(plan.First) || plan.ID != "" {
		t.Errorf("plan: %+v, %v", plan, err)
	}
	for name, change := range map[string]func(*ReplayRequest){
		"before":  func(r *ReplayRequest) { r.Since, r.Until = hourAgo().Add(-time.Hour), hourAgo() },
		"after":   func(r *ReplayRequest) { r.Since = time.Now() },
		"no feed": func(r *ReplayRequest) { r.Feed = "wiz-prod/nothing" },
	} {
		r := ask
		r.Plan = false
		change(&r)
		if plan, err := e.StartReplay(t.Context(), r); err != nil || plan.Pages != 0 || plan.ID != "" {
			t.Errorf("%s: %+v, %v", name, plan, err)
		}
	}
	var unknown *UnknownOutputError
	if _, err := e.StartReplay(t.Context(), ReplayRequest{Output: "archve"}); !errors.As(err, &unknown) || !slices.Equal(unknown.Known, []string{"archive", "other"}) {
		t.Errorf("unknown output: %v", err)
	}
	if _, err := e.CancelReplay(t.Context(), "archve"); !errors.As(err, &unknown) {
		t.Errorf("unknown output: %v", err)
	}
	if _, err := e.CancelReplay(t.Context(), "archive"); !errors.Is(err, deliver.ErrNoReplay) {
		t.Errorf("cancel: %v", err)
	}

	ask.Plan = false
	plan, err = e.StartReplay(t.Context(), ask)
	w.must(err)
	w.must(e.Close())
	// It is still there, with its pages held, for one who only looks too.
	for _, offline := range []bool{true, false} {
		o := w.options()
		o.Offline = offline
		e, err := Open(t.Context(), w.config(two), o)
		w.must(err)
		s, err := e.Status(t.Context())
		w.must(err)
		if r := s.Outputs[0].Replay; r == nil || r.State != deliver.ReplayRunning || r.ID != plan.ID || r.Delivered != 0 {
			t.Errorf("offline %t: replay is %+v", offline, r)
		}
		if got := w.readers(e); !slices.Equal(got, []string{observe.Reader, "archive", "archive/replay", "other"}) {
			t.Errorf("offline %t: readers %q", offline, got)
		}
		w.must(e.Close())
	}
	e = w.open(two)
	w.must(e.Once(t.Context()))
	w.wantAll("events.ndjson", 2)
	w.wantAll("other.ndjson", 1)
	w.must(e.Close())

	e = w.open(two)
	ask.Feed = "wiz-prod/issues"
	_, err = e.StartReplay(t.Context(), ask)
	w.must(err)
	w.must(e.FinishReplays(t.Context(), []string{"archive"}))
	sum := 0
	for _, n := range w.uids("events.ndjson") {
		sum += n
	}
	if sum != 2*330+30 {
		t.Errorf("%d documents", sum)
	}
	if got := w.readers(e); !slices.Equal(got, []string{observe.Reader, "archive", "other"}) {
		t.Errorf("readers %q", got)
	}
}

// TestReplayHoldsPages: what is to be replayed stays in the log, however old.
func TestReplayHoldsPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	e := w.open(parts{top: "log: {max_age: 1ms}", sources: "{audit: {start: 25h, page_size: 50, overlap: 1ms, revisit: []}}"})
	deliveries := e.startOutputs(t.Context(), e.outputs)
	// Once would trim at its end.
	for _, f := range e.connections[0].feeds {
		w.must(f.Once(t.Context()))
	}
	w.must(e.drain(t.Context(), deliveries))
	w.must(deliveries.stop())
	pages := func() int {
		t.Helper()
		w.must(e.trim(t.Context()))
		s, err := e.log.Stats(t.Context())
		w.must(err)
		return s.Pages
	}
	plan, err := e.StartReplay(t.Context(), ReplayRequest{Output: "archive", Since: hourAgo()})
	w.must(err)
	if n := pages(); n != plan.Pages {
		t.Errorf("%d of %d pages are left", n, plan.Pages)
	}
	_, err = e.CancelReplay(t.Context(), "archive")
	w.must(err)
	if n := pages(); n >= plan.Pages {
		t.Errorf("then %d of %d pages are left", n, plan.Pages)
	}
}

// TestDeadLetters of an output that takes small documents only, and of one that
// is no longer configured.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	small := "{archive: {type: file, path: events.ndjson, max_document: 4KiB}, %s: {type: file, path: other.ndjson, max_document: 4KiB}}"
	e := w.open(parts{outputs: strings.Replace(small, "%s", "gone", 1)})
	w.must(e.Once(t.Context()))
	w.must(e.Close())

	e = w.open(parts{outputs: strings.Replace(small, "%s", "other", 1)})
	s, err := e.Status(t.Context())
	w.must(err)
	if s.Outputs[0].DeadLetters != 30 || s.Outputs[1].DeadLetters != 0 {
		t.Errorf("status: %+v", s.Outputs)
	}
	all, err := e.DeadLetters(t.Context(), pagelog.DeadFilter{}, 100)
	w.must(err)
	some, err := e.DeadLetters(t.Context(), pagelog.DeadFilter{Output: "archive"}, 7)
	w.must(err)
	if len(all) != 60 || len(some) != 7 || some[0].Feed != "wiz-prod/issues" || some[0].Tries != 1 || some[0].Seq == 0 || some[0].Document != nil {
		t.Fatalf("%d letters; %d, the first %+v", len(all), len(some), some[0])
	}
	l, err := e.DeadLetter(t.Context(), some[0].ID)
	w.must(err)
	if len(l.Document) != l.Bytes || !l.Logged || !strings.Contains(string(l.Record), `"id":`) || !strings.Contains(string(l.Document), l.UID) {
		t.Errorf("letter: %+v", l)
	}
	var unknown *UnknownLetterError
	if _, err := e.DeadLetter(t.Context(), "archive/7777/1"); !errors.As(err, &unknown) {
		t.Errorf("unknown letter: %v", err)
	}
	if _, err := e.DeadLetter(t.Context(), "archive"); err == nil || errors.As(err, &unknown) {
		t.Errorf("not an id: %v", err)
	}

	started, err := e.ReplayDead(t.Context(), pagelog.DeadFilter{IDs: []string{some[0].ID, "archive/7777/1", strings.Replace(some[1].ID, "archive", "gone", 1)}})
	var noOutput *UnknownOutputError
	if len(started) != 1 || started[0].Records != 1 || !errors.As(err, &unknown) || unknown.ID != "archive/7777/1" || !errors.As(err, &noOutput) || noOutput.Name != "gone" {
		t.Errorf("replay: %+v, %v", started, err)
	}
	if _, err := e.DropDead(t.Context(), pagelog.DeadFilter{}); err == nil || !strings.Contains(err.Error(), "just being replayed") {
		t.Errorf("drop while they are replayed: %v", err)
	}
	if n, err := e.DropDead(t.Context(), pagelog.DeadFilter{Output: "gone"}); n != 30 || err != nil {
		t.Errorf("dropped %d, %v", n, err)
	}
	w.must(e.FinishReplays(t.Context(), []string{"archive"}))
	if again, err := e.DeadLetter(t.Context(), some[0].ID); err != nil || again.Tries != 2 || again.Seq <= l.Seq || !again.First.Equal(l.First) {
		t.Errorf("refused again: %+v, %v", again, err)
	}
	w.must(e.Close())

	e = w.open(parts{})
	started, err = e.ReplayDead(t.Context(), pagelog.DeadFilter{})
	if err != nil || len(started) != 1 || started[0].Records != 30 {
		t.Errorf("replay: %+v, %v", started, err)
	}
	w.must(e.FinishReplays(t.Context(), []string{"archive"}))
	w.wantAll("events.ndjson", 1)
	if left, err := e.DeadLetters(t.Context(), pagelog.DeadFilter{}, 1); len(left) > 0 || err != nil {
		t.Errorf("left: %+v, %v", left, err)
	}
	if started, err := e.ReplayDead(t.Context(), pagelog.DeadFilter{}); len(started) > 0 || err != nil {
		t.Errorf("with none: %+v, %v", started, err)
	}
}

// TestFinishReplaysStopped: it ends with its context, and says that something is
// left.
func TestFinishReplaysStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, wiz.Options{})
	e := w.open(parts{})
	w.must(e.Once(t.Context()))
	w.must(e.Close())
	e = w.open(parts{})
	_, err := e.StartReplay(t.Context(), ReplayRequest{Output: "archive", Since: hourAgo()})
	w.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.FinishReplays(ctx, []string{"archive"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
