package observe

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// drained lets an observer count everything.
func drained(t *testing.T, l *fakeLog, o Options) map[string]int64 {
	t.Helper()
	obs := observer(&session{fakeLog: l}, o)
	stop := obs.Start(t.Context())
	defer stop()
	if err := obs.Drain(t.Context(), uint64(len(l.pages))); err != nil {
		t.Fatal(err)
	}
	return counts(t, obs)
}

func counts(t *testing.T, o *Observer) map[string]int64 {
	t.Helper()
	feeds, problem := o.Feeds()
	if problem != "" {
		t.Errorf("problem: %s", problem)
	}
	n := map[string]int64{}
	for _, f := range feeds {
		n["records"] += f.Records
		n["unlisted"] += f.Unlisted.Count
		for key, of := range f.Types {
			n[key] += of.Count
		}
	}
	return n
}

// twenty is a log of twenty pages.
func twenty() *fakeLog {
	l := newLog()
	for range 20 {
		l.add(pagelog.Live, following, "Login", "CreateUser", "TokenRefresh")
	}
	return l
}

var wantTwenty = map[string]int64{"records": 60, "unlisted": 20, "account_login": 20, "create_user": 20}

// Whatever is cut off between any two steps, every page counts once: where the
// observer reads, where outputs show, and where they show a part.
func TestCuts(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]struct {
		shown bool
		after uint64 // what the output had before
	}{"read": {}, "shown": {shown: true}, "shown later": {true, 7}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steps := 0
			for at := 0; ; at++ {
				l := twenty()
				n, died := 0, make(chan struct{})
				s := &session{fakeLog: l, step: func(string) error {
					if n++; n-1 == at {
						close(died)
						return errors.New("killed")
					}
					return nil
				}}
				ctx, cancel := context.WithCancel(t.Context())
				o := observer(s, Options{Shown: way.shown, Retry: time.Hour})
				stop := o.Start(ctx)
				if way.shown {
					show(t, o, l, way.after)
				}
				ended := make(chan error, 1)
				go func() { ended <- o.Drain(ctx, 20) }()
				over := false
				select {
				case <-died:
				case err := <-ended:
					over = err == nil
				}
				cancel()
				stop()
				if got := drained(t, l, Options{Shown: way.shown}); !cmp.Equal(got, wantTwenty) {
					t.Fatalf("cut at step %d: %v", at, got)
				}
				if over {
					break
				}
				steps++
			}
			if steps < 5 {
				t.Errorf("only %d steps were cut", steps)
			}
		})
	}
}

// What outputs show is not read again, and what they show twice, late or with a
// gap counts once.
func TestShown(t *testing.T) {
	t.Parallel()
	l := twenty()
	s := &session{fakeLog: l}
	o := observer(s, Options{Shown: true, Save: time.Hour, Quiet: time.Hour})
	show(t, o, l, 0)
	stop := o.Start(t.Context())
	defer stop()
	if err := o.Drain(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	if l.read != 0 {
		t.Errorf("%d pages were read though all were shown", l.read)
	}
	l.mu.Unlock()
	show(t, o, l, 5)
	for range 20 {
		l.add(pagelog.Live, following, "Login")
	}
	show(t, o, l, 30)
	if err := o.Drain(t.Context(), 40); err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"records": 80, "unlisted": 20, "account_login": 40, "create_user": 20}
	if d := cmp.Diff(want, counts(t, o)); d != "" {
		t.Error(d)
	}
}

// A reset begins the counts anew, also with pages that no one could know to be
// behind it; a rewind is noted.
func TestResetAndRewind(t *testing.T) {
	t.Parallel()
	l := twenty()
	drained(t, l, Options{})
	l.add(pagelog.Live, "", "Login", "Login") // the first part of a large answer
	l.add(pagelog.Live, `{"rev":9,"forget_to":20,"watermark":"2026-11-01T06:00:00Z","counts":{}}`, "Login")
	l.add(pagelog.Revisit, `{"rev":9,"forget_to":20,"counts":{}}`, "CreateUser")
	if d := cmp.Diff(map[string]int64{"records": 4, "unlisted": 0, "account_login": 3, "create_user": 1}, drained(t, l, Options{})); d != "" {
		t.Error(d)
	}
	l.add(pagelog.Live, `{"rev":11,"forget_to":20,"watermark":"2026-11-01T01:00:00Z","counts":{}}`, "Login")
	drained(t, l, Options{})
	feeds, _, err := Stored(t.Context(), &session{fakeLog: l})
	if err != nil || len(feeds) != 1 || len(feeds[0].Notes) != 2 ||
		!strings.Contains(feeds[0].Notes[0].Text, "reset") || !strings.Contains(feeds[0].Notes[0].Text, "62 records") ||
		!strings.Contains(feeds[0].Notes[1].Text, "set back to 2026-11-01T01:00:00Z") {
		t.Errorf("notes %v %v", feeds[0].Notes, err)
	}
}

// Two that count the same log hinder each other, and count every page once.
func TestTwoObservers(t *testing.T) {
	t.Parallel()
	l := twenty()
	a, b := observer(&session{fakeLog: l}, Options{Retry: time.Millisecond}), observer(&session{fakeLog: l}, Options{Retry: time.Millisecond})
	stopA, stopB := a.Start(t.Context()), b.Start(t.Context())
	for range 20 {
		l.add(pagelog.Live, following, "Login")
	}
	for _, o := range []*Observer{a, b} {
		for err := error(pagelog.ErrConflict); errors.Is(err, pagelog.ErrConflict); {
			err = o.Drain(t.Context(), 40)
		}
	}
	stopA()
	stopB()
	want := map[string]int64{"records": 80, "unlisted": 20, "account_login": 40, "create_user": 20}
	if d := cmp.Diff(want, drained(t, l, Options{})); d != "" {
		t.Error(d)
	}
}

// What cannot be counted for long must not keep the log from being trimmed, and
// what is missing then is said.
func TestLetsGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		l.add(pagelog.Live, following, "Login")
		drained(t, l, Options{})
		broken := true
		s := &session{fakeLog: l}
		s.step = func(what string) error { return nil }
		o := observer(&failing{session: s, broken: &broken}, Options{Patience: 10 * time.Minute, Retry: 5 * time.Second})
		stop := o.Start(t.Context())
		defer func() { stop() }()
		l.add(pagelog.Live, following, "Login")
		place := func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			_, ok := l.readers[Reader]
			return ok
		}
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		if _, problem := o.Feeds(); !place() || problem == "" {
			t.Errorf("after nine minutes it has a place: %t, problem %q", place(), problem)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if place() {
			t.Error("after eleven minutes it still keeps the log from being trimmed")
		}
		l.mu.Lock()
		l.trimmed, broken = 2, false
		l.mu.Unlock()
		l.add(pagelog.Live, following, "CreateUser")
		time.Sleep(time.Minute)
		synctest.Wait()
		feeds, problem := o.Feeds()
		if !place() || problem != "" || len(feeds) != 1 || feeds[0].Records != 2 || len(feeds[0].Notes) != 1 || !strings.Contains(feeds[0].Notes[0].Text, "missing") {
			t.Errorf("afterwards it has a place: %t, problem %q, %+v", place(), problem, feeds)
		}
	})
}

// failing is a log that takes no entries while it is broken.
type failing struct {
	*session
	broken *bool
}

func (f *failing) PutState(ctx context.Context, key string, data []byte, rev uint64) (uint64, error) {
	f.fakeLog.mu.Lock()
	broken := *f.broken
	f.fakeLog.mu.Unlock()
	if broken {
		return 0, errors.New("no")
	}
	return f.session.PutState(ctx, key, data, rev)
}

// An entry that is damaged begins anew, and says so; one of a later version is
// left as it is.
func TestDamaged(t *testing.T) {
	t.Parallel()
	l := twenty()
	drained(t, l, Options{})
	l.states["observe/wiz-prod/audit"] = entry{[]byte("rubbish"), l.rev}
	l.add(pagelog.Live, following, "Login")
	if d := cmp.Diff(map[string]int64{"records": 1, "unlisted": 0, "account_login": 1}, drained(t, l, Options{})); d != "" {
		t.Error(d)
	}
	feeds, _, _ := Stored(t.Context(), &session{fakeLog: l})
	if len(feeds[0].Notes) != 1 || !strings.Contains(feeds[0].Notes[0].Text, "began anew") {
		t.Errorf("notes %v", feeds[0].Notes)
	}
	later := newFeed("wiz-prod", "audit")
	later.Format = format + 1
	data, err := later.encode()
	if err != nil {
		t.Fatal(err)
	}
	l.states["observe/wiz-prod/audit"] = entry{data, l.rev}
	o := observer(&session{fakeLog: l}, Options{Retry: time.Hour})
	stop := o.Start(t.Context())
	defer stop()
	if err := o.Drain(t.Context(), 99); err == nil || !strings.Contains(err.Error(), "later version") {
		t.Errorf("later version: %v", err)
	}
	if got := l.states["observe/wiz-prod/audit"]; got.rev != l.rev || !cmp.Equal(got.data, data) {
		t.Error("what a later version stored was changed")
	}
}

// Pages of a feed that nobody knows are passed over.
func TestUnknownFeed(t *testing.T) {
	t.Parallel()
	l := twenty()
	none := func(pagelog.Feed) (*catalog.Source, error) { return nil, errors.New("no longer configured") }
	if got := drained(t, l, Options{Source: none}); len(got) != 0 {
		t.Errorf("counted %v", got)
	}
	if l.readers[Reader] != 20 {
		t.Errorf("done up to %d", l.readers[Reader])
	}
}
