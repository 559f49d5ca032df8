package fetch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
)

// mostRenewalWait is how long a token that could not be renewed, but is still
// good, is used before the next try.
const mostRenewalWait = time.Minute

// session is what a sign-in gives. It never changes.
type session struct {
	auth   *catalog.Auth // how it was signed in
	in     string        // the header that holds the credential
	header string        // its value
	renew  time.Time     // when to sign in again; zero: when the token is refused
	ends   time.Time     // of the token; zero: not known
	base   string        // address of the API
	claim  func(name string) (string, bool)
}

// sessions keeps the current session and lets one goroutine at a time get a
// new one, for all.
type sessions struct {
	mu      sync.Mutex
	current *session
	flight  *flight // the sign-in under way; nil: none
}

type flight struct {
	done chan struct{} // closed at its end
	err  error         // set before; nil: there is a new session
}

// session gives the current session, after signing in if there is none, if its
// time has come, or if it is the one that the API refused.
func (c *Client) session(ctx context.Context, refused *session) (*session, error) {
	for {
		c.sessions.mu.Lock()
		s := c.sessions.current
		if s != nil && s != refused && (s.renew.IsZero() || time.Now().Before(s.renew)) {
			c.sessions.mu.Unlock()
			return s, nil
		}
		f := c.sessions.flight
		if f == nil {
			f = &flight{done: make(chan struct{})}
			c.sessions.flight = f
			c.sessions.mu.Unlock()
			return c.renew(ctx, f, s, s == refused)
		}
		c.sessions.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w", c.signInOp(), ctx.Err())
		case <-f.done:
		}
		// A sign-in that its own caller called off says nothing: go round again.
		var refusal *Error
		if errors.As(f.err, &refusal) {
			return nil, f.err
		}
	}
}

// renew signs in, for all that wait for the flight. An old session that the
// API has not refused goes on being used for as long as its token lives, where
// signing in fails for a passing reason.
func (c *Client) renew(ctx context.Context, f *flight, old *session, refused bool) (*session, error) {
	usable := old != nil && !refused && time.Now().Before(old.ends)
	s, err := c.signIn(ctx, usable)
	var failure *Error
	if usable && errors.As(err, &failure) && (failure.Class == Retry || failure.Class == Throttle) {
		kept := *old
		kept.renew = time.Now().Add(min(time.Until(old.ends)/4, mostRenewalWait))
		s, err = &kept, nil
	}
	c.sessions.mu.Lock()
	defer c.sessions.mu.Unlock()
	if err == nil {
		c.sessions.current = s
	}
	f.err = err
	c.sessions.flight = nil
	close(f.done)
	return s, err
}

// outdate has the next request sign in, if this is still the current session.
func (c *Client) outdate(s *session) {
	c.sessions.mu.Lock()
	defer c.sessions.mu.Unlock()
	if c.sessions.current == s {
		old := *s
		old.renew = time.Now()
		c.sessions.current = &old
	}
}

// signIn signs in, trying again while that makes sense, or once only.
func (c *Client) signIn(ctx context.Context, once bool) (*session, error) {
	t := tries{most: c.opts.Tries}
	for attempt := 1; ; attempt++ {
		begun := time.Now()
		s, failure := c.exchange(ctx)
		if failure == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w", c.signInOp(), ctx.Err())
		}
		wait, again := t.next(failure, time.Since(begun))
		again = again && !once
		c.warn(ctx, failure, nil, attempt, wait, again)
		if !again {
			return nil, failure
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, fmt.Errorf("%s: %w", c.signInOp(), err)
		}
	}
}

func (c *Client) signInOp() string { return c.opts.Name + " sign-in" }
