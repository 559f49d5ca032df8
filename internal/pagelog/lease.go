package pagelog

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

const leaseKey = "lease/"

// Lease is the sole right to something, for as long as it is renewed. It renews
// itself three times within its ttl.
//
// Others count the ttl from the time at which the server stored the last
// renewal; the holder counts from when it sent it, on its own monotonic clock,
// and gives up a sixth of the ttl early. So it knows that it has lost the lease
// before anybody else can have it, whatever its clock shows.
type Lease struct {
	l    *Log
	key  string
	me   holder
	stop context.CancelFunc
	idle chan struct{} // closed when the renewing goroutine has ended
	lost chan struct{}
	lose func() // closes lost, once

	mu    sync.Mutex // one renewal at a time
	rev   uint64
	timer *time.Timer // loses the lease
}

// holder is a lease's entry; the zero value is a lease that was released.
type holder struct {
	By  string        `json:"by"` // instance of the log
	ID  string        `json:"id"` // of the lease
	TTL time.Duration `json:"ttl"`
}

// Lease takes the lease of that name for ttl, which over a network should be
// several seconds. The error is ErrHeld while another holder has it, be it of
// this process. With the embedded log what an earlier process held is free at
// once, since only one can have the directory open; in a cluster it is free
// when its ttl is over.
func (l *Log) Lease(ctx context.Context, name string, ttl time.Duration) (*Lease, error) {
	s, err := l.lease(ctx, name, ttl)
	if err != nil {
		return nil, fmt.Errorf("lease %q: %w", name, err)
	}
	return s, nil
}

func (l *Log) lease(ctx context.Context, name string, ttl time.Duration) (*Lease, error) {
	if ttl <= 0 {
		return nil, fmt.Errorf("ttl %s is not above zero", ttl)
	}
	s := &Lease{
		l: l, key: leaseKey + name, me: holder{By: l.instance, ID: rand.Text(), TTL: ttl},
		idle: make(chan struct{}), lost: make(chan struct{}),
	}
	s.lose = sync.OnceFunc(func() { close(s.lost) })
	now, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	s.rev = now.rev
	if dead := now.By == "" || l.srv != nil && now.By != l.instance; !dead && now.left > 0 {
		return nil, fmt.Errorf("%w for another %s at most", ErrHeld, now.left.Round(time.Millisecond))
	}

	sent := time.Now()
	if s.rev, err = s.write(ctx, s.me); err != nil {
		if errors.Is(err, ErrConflict) {
			return nil, fmt.Errorf("%w: somebody was quicker", ErrHeld)
		}
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leases == nil {
		return nil, ErrClosed
	}
	l.leases[s] = struct{}{}
	s.timer = time.AfterFunc(time.Until(sent.Add(s.safe())), s.lose)
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	go s.keep(ctx)
	return s, nil
}

// safe is how long a renewal is good for, counted from when it was sent.
func (s *Lease) safe() time.Duration { return s.me.TTL - s.me.TTL/6 }

// held is a lease's entry as it was found.
type held struct {
	holder
	rev  uint64
	left time.Duration // until it is free
}

// read returns who has the lease.
func (s *Lease) read(ctx context.Context) (h held, err error) {
	msg, err := s.l.entry(ctx, s.key)
	if err != nil || msg == nil {
		return h, err
	}
	if err := json.Unmarshal(msg.Data, &h.holder); err != nil {
		return h, &DamagedError{Path: s.l.path, Problem: fmt.Sprintf("state %q cannot be read", s.key), Err: err}
	}
	now, err := s.l.serverNow(ctx)
	if err != nil {
		return h, err
	}
	h.rev, h.left = msg.Sequence, h.TTL-now.Sub(msg.Time)
	return h, nil
}

func (s *Lease) write(ctx context.Context, h holder) (uint64, error) {
	data, err := json.Marshal(h)
	if err != nil {
		return 0, err
	}
	return s.l.putState(ctx, s.key, data, s.rev)
}

func (s *Lease) keep(ctx context.Context) {
	defer close(s.idle)
	t := time.NewTicker(max(s.me.TTL/3, 1))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.lost:
			return
		case <-t.C:
			// A failure that is not the end is tried again at the next tick; the
			// timer decides when it has been too long.
			_ = s.Renew(ctx)
		}
	}
}

// Lost is closed when the lease is lost or released. What the lease protects
// must end then.
func (s *Lease) Lost() <-chan struct{} { return s.lost }

// Renew renews the lease now, for a holder about to do something long. ErrHeld
// says that it is lost; another error, that it may still be renewed in time.
func (s *Lease) Renew(ctx context.Context) error {
	if err := s.renew(ctx); err != nil {
		return fmt.Errorf("renew %q: %w", s.key, err)
	}
	return nil
}

func (s *Lease) renew(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.lost:
		return ErrHeld
	default:
	}
	sent := time.Now()
	rev, err := s.write(ctx, s.me)
	if errors.Is(err, ErrConflict) {
		// A renewal whose outcome was unknown may have come through.
		now, rerr := s.read(ctx)
		if rerr != nil {
			return rerr
		}
		if now.ID != s.me.ID {
			s.lose()
			return ErrHeld
		}
		s.rev = now.rev
		rev, err = s.write(ctx, s.me)
	}
	if err != nil {
		return err
	}
	s.rev = rev
	if !s.timer.Stop() {
		return ErrHeld // the answer came too late
	}
	s.timer.Reset(time.Until(sent.Add(s.safe())))
	return nil
}

// Release gives the lease up, so that another can have it at once. A lease that
// was lost, or released before, is no error.
func (s *Lease) Release(ctx context.Context) error {
	s.drop()
	s.l.mu.Lock()
	delete(s.l.leases, s)
	s.l.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.write(ctx, holder{})
	if err != nil && !errors.Is(err, ErrConflict) {
		return fmt.Errorf("release %q: %w", s.key, err)
	}
	return nil
}

// drop ends renewing.
func (s *Lease) drop() {
	s.stop()
	s.lose()
	<-s.idle
	s.timer.Stop()
}
