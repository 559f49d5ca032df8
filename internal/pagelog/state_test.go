package pagelog

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestState(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		keys := []string{"feed/a.b/c", "feed/a.b/c d", "feed/*/>", "feed/ü", "other", "..", "/"}
		revs := map[string]uint64{}
		for _, k := range keys {
			if data, rev, err := l.State(t.Context(), k); data != nil || rev != 0 || err != nil {
				t.Errorf("%q: %q at %d, %v", k, data, rev, err)
			}
			rev, err := l.PutState(t.Context(), k, []byte(k), 0)
			if err != nil {
				t.Fatal(err)
			}
			revs[k] = rev
		}
		for _, k := range keys {
			data, rev, err := l.State(t.Context(), k)
			if string(data) != k || rev != revs[k] || err != nil {
				t.Errorf("%q: %q at %d, %v", k, data, rev, err)
			}
		}
		got, err := l.Keys(t.Context(), "feed/")
		if want := []string{"feed/*/>", "feed/a.b/c", "feed/a.b/c d", "feed/ü"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%q, %v", got, err)
		}

		k, rev := keys[0], revs[keys[0]]
		for _, old := range []uint64{0, rev - 1, rev + 1, revs[keys[1]]} {
			if _, err := l.PutState(t.Context(), k, []byte("wrong"), old); !errors.Is(err, ErrConflict) {
				t.Errorf("at %d: %v", old, err)
			}
		}
		next, err := l.PutState(t.Context(), k, nil, rev)
		if err != nil || next <= rev {
			t.Errorf("%d, %v", next, err)
		}
		for _, bad := range []string{"", string(make([]byte, 1001))} {
			if _, err := l.PutState(t.Context(), bad, nil, 0); err == nil {
				t.Errorf("key of %d bytes taken", len(bad))
			}
		}
		l.Close()
		l = openWith(t, o)
		data, rev, err := l.State(t.Context(), k)
		if len(data) != 0 || rev != next || err != nil {
			t.Errorf("%q at %d, %v", data, rev, err)
		}
	})
}

// TestStateRace counts up from many goroutines by compare-and-set.
func TestStateRace(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for n := 0; n < 10; {
					data, rev, err := l.State(t.Context(), "n")
					if err != nil {
						t.Error(err)
						return
					}
					_, err = l.PutState(t.Context(), "n", append(data, '.'), rev)
					switch {
					case err == nil:
						n++
					case !errors.Is(err, ErrConflict):
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if data, _, err := l.State(t.Context(), "n"); len(data) != 40 || err != nil {
			t.Errorf("%d, %v", len(data), err)
		}
	})
}

func isLost(s *Lease) bool {
	select {
	case <-s.Lost():
		return true
	default:
		return false
	}
}

func TestLease(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, o Options) {
		l := openWith(t, o)
		a, err := l.Lease(t.Context(), "wiz-prod/audit", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Lease(t.Context(), "wiz-prod/audit", time.Minute); !errors.Is(err, ErrHeld) {
			t.Errorf("%v", err)
		}
		b, err := l.Lease(t.Context(), "wiz-prod/issues", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Renew(t.Context()); err != nil || isLost(a) {
			t.Error(err)
		}
		for range 2 {
			if err := a.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if !isLost(a) || isLost(b) {
			t.Error("the wrong one is lost")
		}
		if err := a.Renew(t.Context()); !errors.Is(err, ErrHeld) {
			t.Errorf("%v", err)
		}
		a2, err := l.Lease(t.Context(), "wiz-prod/audit", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Release(t.Context()); err != nil || isLost(a2) { // an old one does no harm
			t.Error(err)
		}
		if err := a2.Renew(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := l.Lease(t.Context(), "x", 0); err == nil {
			t.Error("no ttl")
		}
		l.Close()
		if !isLost(a2) || !isLost(b) {
			t.Error("held beyond the log")
		}
		l = openWith(t, o)
		_, err = l.Lease(t.Context(), "wiz-prod/audit", time.Minute)
		if embedded := o.URL == ""; embedded != (err == nil) || err != nil && !errors.Is(err, ErrHeld) {
			// Nobody else can have the embedded one; in a cluster somebody might.
			t.Errorf("%v", err)
		}
	})
}

// TestLeaseRenewsItself holds a lease for longer than its ttl. (On a server
// that does not sync: a slow disk would lose it, rightly.)
func TestLeaseRenewsItself(t *testing.T) {
	t.Parallel()
	o := Options{URL: runServer(t).ClientURL(), Logger: quiet}
	l, other := openWith(t, o), openWith(t, o)
	const ttl = 6 * time.Second // so that a machine that halts for a moment does not lose it, rightly
	s, err := l.Lease(t.Context(), "x", ttl)
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(ttl / 3)
	defer tick.Stop()
	for range 5 {
		select {
		case <-s.Lost():
			t.Fatal("lost")
		case <-tick.C:
		}
		if _, err := other.Lease(t.Context(), "x", ttl); !errors.Is(err, ErrHeld) {
			t.Fatal(err)
		}
	}
}

// TestLeaseTakenOver cuts the holder off. It knows before another gets the
// lease, and can do nothing to it afterwards.
func TestLeaseTakenOver(t *testing.T) {
	t.Parallel()
	l, ln, url := behindLine(t)
	const ttl = 12 * time.Second // the holder's sixth of it is longer than this machine halts
	s, err := l.Lease(t.Context(), "x", ttl)
	if err != nil {
		t.Fatal(err)
	}
	ln.off.Store(true)
	ln.cut()
	other := openWith(t, Options{URL: url, Logger: quiet})
	var got *Lease
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for got == nil {
		lost := isLost(s)
		got, err = other.Lease(t.Context(), "x", time.Minute)
		if err != nil && !errors.Is(err, ErrHeld) {
			t.Fatal(err)
		}
		if got != nil && !lost {
			t.Fatal("taken over before the holder knew")
		}
		<-tick.C
	}
	ln.off.Store(false)
	l.waitBack(t)
	if err := s.Renew(t.Context()); !errors.Is(err, ErrHeld) {
		t.Errorf("%v", err)
	}
	if err := s.Release(t.Context()); err != nil {
		t.Errorf("%v", err)
	}
	if err := got.Renew(t.Context()); err != nil || isLost(got) {
		t.Errorf("%v", err)
	}
}

// TestLeaseRenewalUnanswered loses the answer to a renewal that came through.
func TestLeaseRenewalUnanswered(t *testing.T) {
	t.Parallel()
	l, ln, _ := behindLine(t)
	l.timeout, l.limit = answerTimeout, answerLimit
	s, err := l.Lease(t.Context(), "x", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	l.timeout, l.limit = 100*time.Millisecond, 300*time.Millisecond
	ln.deaf.Store(true)
	if err := s.Renew(t.Context()); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
	ln.deaf.Store(false)
	ln.cut()
	l.waitBack(t)
	l.timeout, l.limit = answerTimeout, answerLimit
	if err := s.Renew(t.Context()); err != nil || isLost(s) {
		t.Errorf("%v", err)
	}
}
