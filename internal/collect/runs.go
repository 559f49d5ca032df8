package collect

import (
	"slices"
	"time"
)

// mostRuns is how many of a feed's last runs are kept.
const mostRuns = 20

// Run is one round of the live lane, or an attempt at one.
type Run struct {
	Began      time.Time `json:"began"`
	Ended      time.Time `json:"ended"`
	Records    int64     `json:"records"` // new ones
	Duplicates int64     `json:"duplicates"`
	Late       int64     `json:"late"`
	State      State     `json:"state"` // it ended in
	Reason     string    `json:"reason,omitempty"`
}

// ran notes the end of a run, with the state that it ended in, and
// returns it. A failure like the last one is added to it, so
// that an outage does not push out what was before.
func (f *Feed) ran() Run {
	p := f.Position()
	f.mu.Lock()
	defer f.mu.Unlock()
	run := Run{
		Began:      f.runBegan,
		Ended:      f.now().UTC(),
		Records:    p.Counts.Records - f.counted.Records,
		Duplicates: p.Counts.Duplicates - f.counted.Duplicates,
		Late:       p.Counts.Late - f.counted.Late,
		State:      f.status.State,
		Reason:     f.status.Reason,
	}
	f.counted, f.runBegan = p.Counts, run.Ended
	if n := len(f.runs); n > 0 && f.runs[n-1].State == run.State && f.runs[n-1].Reason == run.Reason && run.State != StateIdle {
		last := &f.runs[n-1]
		last.Ended = run.Ended
		last.Records += run.Records
		last.Duplicates += run.Duplicates
		last.Late += run.Late
	} else {
		f.runs = append(f.runs, run)
	}
	if n := len(f.runs); n > mostRuns {
		f.runs = slices.Delete(f.runs, 0, n-mostRuns)
	}
	f.status.Runs = slices.Clone(f.runs)
	return run
}

// LaneStatus is where a lane stands.
type LaneStatus struct {
	Lane      string    `json:"lane"`
	Watermark time.Time `json:"watermark,omitzero"`
	Slices    []Slice   `json:"slices,omitempty"` // what is left of the round, the one being read first
	Gaps      []Slice   `json:"gaps,omitempty"`
	Missed    []Slice   `json:"missed,omitempty"` // the last gaps that got too old to be read again
	Counts    Counts    `json:"counts"`

	Asked time.Duration `json:"asked_ns,omitempty"` // how far back the product answered for, at most
	Reach time.Duration `json:"reach_ns,omitempty"` // how old the oldest record was that it answered with, new or known
}
