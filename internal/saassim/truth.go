package saassim

import (
	"context"
	"iter"
	"math"
	"time"
)

// Truth is one record that a client had, or will have, a chance to see: an
// audit log entry, or one state of an issue.
type Truth struct {
	Source    string    `json:"source"` // wiz/audit or wiz/issues
	ID        string    `json:"id"`
	Time      time.Time `json:"time"`       // of an entry, when it happened; of an issue's state, its updatedAt
	VisibleAt time.Time `json:"visible_at"` // from when queries see it, if the record was there by then

	// Of a state of an issue:
	ReplacedAt      time.Time `json:"replaced_at,omitzero"` // when queries see the next state; zero: not yet
	Status          string    `json:"status,omitempty"`
	StatusChangedAt time.Time `json:"status_changed_at,omitzero"` // zero: null
}

// Truth yields every record of the tenant as it stands at the call: the audit
// log by time, then the issues by creation and each one's states in turn. What
// becomes visible only later is among them.
func (w *Wiz) Truth() iter.Seq[Truth] {
	return func(yield func(Truth) bool) {
		const audit, issues = "wiz/audit", "wiz/issues"
		w.mu.RLock()
		entries := w.audit
		var states []Truth
		for _, i := range w.issues {
			for n, v := range i.versions {
				t := Truth{Source: issues, ID: i.id, Time: v.updated, VisibleAt: v.visible, Status: v.status, StatusChangedAt: v.statusChanged}
				if n+1 < len(i.versions) {
					t.ReplacedAt = i.versions[n+1].visible
				}
				states = append(states, t)
			}
		}
		w.mu.RUnlock()
		if s := w.static; s != nil {
			for i := range s.Records {
				if !yield(Truth{Source: audit, ID: string(s.appendID(nil, i)), Time: s.time(i), VisibleAt: s.time(i)}) {
					return
				}
			}
		}
		for _, e := range entries {
			if !yield(Truth{Source: audit, ID: e.id, Time: e.at, VisibleAt: e.visible}) {
				return
			}
		}
		for _, t := range states {
			if !yield(t) {
				return
			}
		}
	}
}

// Live is how fast a tenant lives, in events a second.
type Live struct {
	Audit  float64 // audit log entries
	Issues float64 // new issues, and changes to those there are, about equally often
}

// Run makes records as time passes, until the context ends; it returns the
// context's error. The gaps between them are random. Their times are the
// tenant's, the pace is that of real time.
func (w *Wiz) Run(ctx context.Context, rate Live) error {
	total := rate.Audit + rate.Issues
	if total <= 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	for {
		w.mu.Lock()
		gap, which := w.gen.rand.ExpFloat64()/total, w.gen.rand.Float64()*total
		w.mu.Unlock()
		t := time.NewTimer(time.Duration(math.Min(gap, 60) * float64(time.Second)))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		now := w.now()
		switch {
		case which < rate.Audit:
			w.AddAudit(Batch{N: 1, From: now, To: now})
		case which < rate.Audit+rate.Issues/2 || len(w.ChangeIssues(1)) == 0:
			w.AddIssues(Batch{N: 1, From: now, To: now})
		}
	}
}
