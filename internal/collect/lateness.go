package collect

import (
	"math"
	"time"
)

// Lateness is a histogram of how long after their event time records became
// visible. Bucket i counts delays up to 2^(i/2) seconds, so a quantile is at
// most 42 % too high. The zero value is empty.
type Lateness struct {
	Buckets [48]int64     `json:"buckets"` // the last one is open
	Most    time.Duration `json:"most"`    // nanoseconds
}

// Add counts a delay; one below 0 counts as none.
func (l *Lateness) Add(d time.Duration) {
	d = max(d, 0)
	i := 0
	if s := d.Seconds(); s > 1 {
		i = min(int(math.Ceil(2*math.Log2(s))), len(l.Buckets)-1)
	}
	l.Buckets[i]++
	l.Most = max(l.Most, d)
}

// Merge adds what another counted.
func (l *Lateness) Merge(other *Lateness) {
	for i, n := range other.Buckets {
		l.Buckets[i] += n
	}
	l.Most = max(l.Most, other.Most)
}

// Count is how many delays there are.
func (l *Lateness) Count() int64 {
	var all int64
	for _, n := range l.Buckets {
		all += n
	}
	return all
}

// Quantile is the delay that the share q (0 to 1) of the records did not
// exceed; 0 when there are none.
func (l *Lateness) Quantile(q float64) time.Duration {
	all := l.Count()
	if all == 0 {
		return 0
	}
	want := int64(math.Ceil(q * float64(all)))
	var sum int64
	for i, n := range l.Buckets {
		if sum += n; sum >= want && n > 0 {
			upper := time.Duration(math.Pow(2, float64(i)/2) * float64(time.Second))
			return min(upper, l.Most)
		}
	}
	return l.Most
}
