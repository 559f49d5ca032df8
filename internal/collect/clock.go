package collect

import (
	"sync"
	"time"
)

// A window that ends at a moment which the product has not reached yet is not
// complete when it was read. So where answers show that the clock of this
// machine is ahead of the product's, the time is told by the product's. Where it
// is behind, windows end at the product's time, so that the newest records are
// not left for later; but the watermark stays at this machine's.

const (
	dateGrain  = time.Second        // of the Date header
	mostAhead  = 7 * 24 * time.Hour // beyond it an answer's Date is not believed
	clockNoise = 5 * time.Second    // by which two estimates may differ
)

// clock estimates by how much the product's clock is behind this machine's, at
// most: its time is never later than the product's. The zero clock is not behind.
type clock struct {
	mu     sync.Mutex
	behind time.Duration
	ahead  time.Duration // the product's of this machine's, at most; 0 where that is not sure
}

// observe takes the date of an answer that was asked for and received at these
// times of this machine, and returns by how much the estimate has changed.
func (c *clock) observe(asked, received, date time.Time) (change time.Duration) {
	if date.IsZero() {
		return 0
	}
	// The product made the answer between the two.
	most, least := received.Sub(date), asked.Sub(date)-dateGrain
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.behind
	switch {
	case -most <= c.ahead && c.ahead <= -least:
	case most > -clockNoise, least < -mostAhead:
		c.ahead = 0
	default:
		c.ahead = -least
	}
	switch {
	case least <= c.behind && c.behind <= most: // nothing new
	case least <= 0, most > mostAhead:
		c.behind = 0
	default:
		c.behind = most
	}
	return c.behind - was
}

// at is the product's time at a moment of this machine.
func (c *clock) at(t time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return t.Add(-c.behind).UTC().Truncate(time.Microsecond)
}

// latest is the latest that the product's time can be at a moment of this machine.
func (c *clock) latest(t time.Time) time.Time {
	at := c.at(t)
	c.mu.Lock()
	defer c.mu.Unlock()
	return at.Add(c.ahead)
}

// dated takes the date of an answer.
func (f *Feed) dated(asked, date time.Time) {
	now := f.now()
	if f.clock.observe(asked, now, date) > clockNoise {
		f.log.Warn("the clock of this machine is ahead of the product's: windows end by the product's, so set it right",
			"by", now.Sub(f.clock.at(now)).Round(time.Second))
	}
}
