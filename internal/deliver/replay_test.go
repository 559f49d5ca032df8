package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/output"
	"github.com/trawlsec/trawl/internal/pagelog"
)

var issues = pagelog.Feed{Connection: "wiz-prod", Source: "issues"}

// bothFeeds knows the feeds of replay tests.
func bothFeeds(o *Options) {
	o.Mapper = func(f pagelog.Feed) (Mapper, error) {
		if f == audit || f == issues {
			return fakeMapper{}, nil
		}
		return nil, fmt.Errorf("feed %s is not configured", f)
	}
}

// again starts a replay and waits until it is over.
func (d started) again(t *testing.T, r Replay) Replay {
	t.Helper()
	r, err := d.StartReplay(t.Context(), r)
	must(t, err)
	must(t, d.AwaitReplay(t.Context()))
	got := d.Status().Replay
	if got.ID != r.ID {
		t.Fatalf("replay %s, then %s", r.ID, got.ID)
	}
	return *got
}

func TestReplayPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(0, 0)
		var of [2][]string
		for i := range 300 {
			feed := []pagelog.Feed{audit, issues}[i%2]
			l.append(feed, page(i+1, 3)...)
			of[i%2] = append(of[i%2], want(i+1, i+1, 3)...)
		}
		d := start(t, l, &fakeOutput{}, bothFeeds)
		must(t, d.Drain(t.Context(), 300))
		all := d.out.got()

		r := d.again(t, Replay{After: 100, Through: 200})
		if diff := cmp.Diff(slices.Concat(all, all[300:600]), d.out.got()); diff != "" {
			t.Errorf("documents differ (-want +got):\n%s", diff)
		}
		if r.State != ReplayDone || r.Delivered != 300 || r.Refused != 0 || r.Done() != 1 || r.Ended.IsZero() || r.At != 200 {
			t.Errorf("replay is %+v", r)
		}
		r = d.again(t, Replay{After: 10, Through: 21, Feed: "wiz-prod/issues"})
		if diff := cmp.Diff(slices.Concat(all, all[300:600], of[1][5*3:10*3]), d.out.got()); diff != "" {
			t.Errorf("documents of one feed differ (-want +got):\n%s", diff)
		}
		if r.Delivered != 15 {
			t.Errorf("replay is %+v", r)
		}
		if s := d.Status(); s.LastPage != 300 || s.Documents != 915+300 || s.State != StateOK {
			t.Errorf("status is %+v", s)
		}
		if len(l.readers) > 0 {
			t.Errorf("readers left: %v", l.readers)
		}
		// The pages are held before anything else is done.
		begun := []string{"ack 300", "seek archive/replay 100", "put state replay/archive", "put state replay/archive", "ack of replay 164"}
		if i := slices.Index(l.calls, begun[0]); i < 0 || !slices.Equal(l.calls[i:i+len(begun)], begun) {
			t.Errorf("calls are %q", l.calls)
		}
	})
}

// TestReplayComesSecond: what is new does not wait for more than the batch in
// hand.
func TestReplayComesSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &fakeOutput{write: func(context.Context, output.Batch) error {
			time.Sleep(time.Second)
			return nil
		}}
		d := start(t, newLog(64*100, 1), out)
		must(t, d.Drain(t.Context(), 6400))
		_, err := d.StartReplay(t.Context(), Replay{Through: 6400})
		must(t, err)
		for range 20 {
			time.Sleep(1500 * time.Millisecond)
			began := time.Now()
			must(t, d.Drain(t.Context(), d.log.append(audit, page(1, 1)...)))
			if took := time.Since(began); took > 2*time.Second+linger {
				t.Fatalf("a new page took %s", took)
			}
		}
		var last uint64
		for range 20 * batchPages {
			last = d.log.append(audit, page(1, 1)...)
		}
		began := time.Now()
		must(t, d.Drain(t.Context(), last))
		if took := time.Since(began); took > 22*time.Second+linger {
			t.Errorf("20 new batches took %s", took)
		}
		if r := d.Status().Replay; r.State != ReplayRunning || r.Done() == 0 || r.Done() == 1 || r.At == 0 {
			t.Errorf("replay is %+v", r)
		}
		must(t, d.AwaitReplay(t.Context()))
		if n := len(out.got()); n != 2*6400+20+20*batchPages {
			t.Errorf("%d documents", n)
		}
	})
}

func TestReplayLetters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(0, 0)
		gone := pagelog.Feed{Connection: "gone", Source: "audit"}
		l.append(audit, page(1, 2)...)
		l.append(gone, page(2, 3)...)
		l.append(audit, page(3, 1)...)
		refuse := true
		out := &fakeOutput{write: func(_ context.Context, b output.Batch) (err error) {
			refused := &output.RefusedError{}
			for i := range b.Ends {
				if refuse && strings.Contains(string(b.Document(i)), `"1-1"`) {
					refused.Refusals = append(refused.Refusals, output.Refusal{Index: i, Reason: "not today"})
				}
			}
			if refused.Refusals != nil {
				return refused
			}
			return nil
		}}
		knowsAll := false
		d := start(t, l, out, func(o *Options) {
			o.Mapper = func(f pagelog.Feed) (Mapper, error) {
				if f == gone && !knowsAll {
					return nil, errors.New("no such connection")
				}
				return fakeMapper{}, nil
			}
		})
		must(t, d.Drain(t.Context(), 3))
		letters := func(want ...string) {
			t.Helper()
			var got []string
			for _, d := range l.dead {
				got = append(got, fmt.Sprintf("%s %d %s", d.ID(), d.Tries, d.Reason))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("letters differ (-want +got):\n%s", diff)
			}
		}
		letters("archive/2/0 1 no such connection", "archive/2/1 1 no such connection", "archive/2/2 1 no such connection", "archive/1/1 1 not today")

		// Nothing has changed.
		r := d.again(t, Replay{Dead: &pagelog.DeadFilter{Output: "archive", UpTo: l.deadSeq}, Records: 4})
		if r.Delivered != 0 || r.Refused != 4 || r.State != ReplayDone {
			t.Errorf("replay is %+v", r)
		}
		letters("archive/2/0 2 no such connection", "archive/2/1 2 no such connection", "archive/2/2 2 no such connection", "archive/1/1 2 not today")

		// One feed is known by now. Its documents are made anew.
		knowsAll = true
		r = d.again(t, Replay{Dead: &pagelog.DeadFilter{Output: "archive", UpTo: l.deadSeq, IDs: []string{"archive/2/1", "archive/1/1"}}, Records: 2})
		if r.Delivered != 1 || r.Refused != 1 {
			t.Errorf("replay is %+v", r)
		}
		letters("archive/2/0 2 no such connection", "archive/2/2 2 no such connection", "archive/1/1 3 not today")

		// The log has given up the pages.
		refuse = false
		l.trimmed = 3
		r = d.again(t, Replay{Dead: &pagelog.DeadFilter{Output: "archive", UpTo: l.deadSeq}, Records: 3})
		if r.Delivered != 3 || r.Refused != 0 {
			t.Errorf("replay is %+v", r)
		}
		letters()
		want := []string{
			`wiz-prod {"id":"1-0"}`, `wiz-prod {"id":"1-1"}`, `wiz-prod {"id":"3-0"}`, // the fake output has what it refuses, too
			`wiz-prod {"id":"1-1"}`,
			`gone {"id":"2-1"}`, `wiz-prod {"id":"1-1"}`,
			`gone {"id":"2-0"}`, `gone {"id":"2-2"}`, `wiz-prod {"id":"1-1"}`,
		}
		if diff := cmp.Diff(want, out.got()); diff != "" {
			t.Errorf("documents differ (-want +got):\n%s", diff)
		}
	})
}

// TestReplayMakesGood: the dead letters of pages that are delivered again are
// done with, unless they are refused again.
func TestReplayMakesGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(0, 0)
		for i := range 4 {
			l.append(audit, append(page(i+1, 1), []byte(strings.Repeat("x", 100+i)))...)
		}
		d := start(t, l, &fakeOutput{}, func(o *Options) { o.MaxDocument = 50 })
		must(t, d.Drain(t.Context(), 4))
		must(t, d.stop())
		d = start(t, l, &fakeOutput{}, func(o *Options) { o.MaxDocument = 101 + int64(len("wiz-prod ")) })
		r := d.again(t, Replay{After: 1, Through: 3})
		if r.Delivered != 3 || r.Refused != 1 {
			t.Errorf("replay is %+v", r)
		}
		var got []string
		for _, d := range l.dead {
			got = append(got, fmt.Sprint(d.ID(), " ", d.Tries, " ", d.Reason))
		}
		want := []string{
			"archive/1/1 1 the document has 109 bytes, and max_document is 50",
			"archive/4/1 1 the document has 112 bytes, and max_document is 50",
			"archive/3/1 2 the document has 111 bytes, and max_document is 110",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("letters differ (-want +got):\n%s", diff)
		}
	})
}

func TestCancelReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		blocked, open := true, make(chan struct{})
		out := &fakeOutput{write: func(_ context.Context, b output.Batch) error {
			if b.Replay != "" && blocked {
				<-open
			}
			return nil
		}}
		d := start(t, newLog(64*10, 1), out)
		must(t, d.Drain(t.Context(), 640))
		if _, err := d.CancelReplay(t.Context()); !errors.Is(err, ErrNoReplay) {
			t.Errorf("with no replay: %v", err)
		}
		_, err := d.StartReplay(t.Context(), Replay{Through: 640})
		must(t, err)
		synctest.Wait()
		var busy *ReplayBusyError
		if _, err := d.StartReplay(t.Context(), Replay{Through: 640}); !errors.As(err, &busy) || !strings.Contains(err.Error(), "--cancel") {
			t.Errorf("a second replay: %v", err)
		}
		if r, err := d.CancelReplay(t.Context()); err != nil || r.State != ReplayCancelled {
			t.Errorf("cancelled: %+v, %v", r, err)
		}
		if _, err := d.StartReplay(t.Context(), Replay{Through: 640}); !errors.As(err, &busy) || !strings.Contains(err.Error(), "is being given up") {
			t.Errorf("while one is being given up: %v", err)
		}
		close(open)
		blocked = false
		synctest.Wait()
		if r := d.Status().Replay; r.State != ReplayCancelled || r.Delivered != 64 || len(out.got()) != 640+64 {
			t.Errorf("replay is %+v, with %d documents", r, len(out.got()))
		}
		if len(d.log.readers) > 0 {
			t.Errorf("readers left: %v", d.log.readers)
		}
		if r := d.again(t, Replay{After: 600, Through: 640}); r.State != ReplayDone || r.Delivered != 40 {
			t.Errorf("the next one is %+v", r)
		}
	})
	// Where nobody works on it.
	l := newLog(10, 1)
	d, err := New(t.Context(), Options{Name: "archive", Reader: l, Output: &fakeOutput{}, Log: l})
	must(t, err)
	_, err = d.StartReplay(t.Context(), Replay{Through: 10})
	must(t, err)
	if len(l.readers) != 1 {
		t.Error("the pages are not held")
	}
	if _, err := d.CancelReplay(t.Context()); err != nil || len(l.readers) > 0 {
		t.Errorf("cancelled: %v, with readers %v", err, l.readers)
	}
}

// TestReplayFails: what can't be read ends the replay and nothing else.
func TestReplayFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(5, 1)
		l.dead = []pagelog.DeadLetter{{Output: "archive", Feed: audit, Page: 2, Document: []byte("{}"), Seq: 1}}
		d := start(t, l, &fakeOutput{})
		must(t, d.Drain(t.Context(), 5))
		l.mu.Lock()
		l.fail = func(call string) error {
			if call == "page" {
				return &pagelog.DamagedError{Path: "/log", Problem: "a bit has flipped"}
			}
			return nil
		}
		l.mu.Unlock()
		r := d.again(t, Replay{Dead: &pagelog.DeadFilter{UpTo: 1}, Records: 1})
		if r.State != ReplayFailed || !strings.Contains(r.Reason, "a bit has flipped") {
			t.Errorf("replay is %+v", r)
		}
		l.append(audit, page(6, 1)...)
		must(t, d.Drain(t.Context(), 6))
		if s := d.Status(); s.State != StateOK || s.Documents != 6 || len(l.dead) != 1 {
			t.Errorf("status is %+v, with %d letters", s, len(l.dead))
		}
	})
}

// TestAwaitReplay gives up on an output that fails.
func TestAwaitReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := false
		d := start(t, newLog(3, 1), &fakeOutput{write: func(context.Context, output.Batch) error {
			if down {
				return errors.New("down")
			}
			return nil
		}})
		must(t, d.Drain(t.Context(), 3))
		down = true
		_, err := d.StartReplay(t.Context(), Replay{Through: 3})
		must(t, err)
		if err := d.AwaitReplay(t.Context()); err == nil || !strings.Contains(err.Error(), "down") {
			t.Errorf("error is %v", err)
		}
		must(t, d.stop())
		if err := d.AwaitReplay(t.Context()); err == nil || !strings.Contains(err.Error(), "was stopped before its replay was done") {
			t.Errorf("error is %v", err)
		}
		down = false
		again := start(t, d.log, &fakeOutput{})
		must(t, again.AwaitReplay(t.Context()))
		if n := len(again.out.got()); n != 3 {
			t.Errorf("%d documents", n)
		}
	})
}
