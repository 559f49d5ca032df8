package pagelog

import (
	"errors"
	"fmt"
)

var (
	// ErrLocked: another process has this directory open.
	ErrLocked = errors.New("in use by another process")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("log is closed")
	// ErrFenced: the feed has a page that the writer did not know of; somebody
	// else writes this feed, or did. Read Last and Headers before going on.
	ErrFenced = errors.New("another writer was there first")
	// ErrFull: the log has reached its size limit, or its disk is nearly full.
	// Nothing was written. Space comes from readers that acknowledge and from
	// Trim.
	ErrFull = errors.New("log is full")
	// ErrBroken: the log's disk refused a write. The embedded server does not
	// recover from that: once the disk works, the log is to be opened anew.
	ErrBroken = errors.New("log cannot be written")
	// ErrTooLarge: the page is beyond MaxRecords, MaxPosition or MaxPageSize, or
	// the entry beyond MaxState.
	// Cut it into several pages, all but the last with the position before it.
	ErrTooLarge = errors.New("page is too large")
	// ErrUnknown: the log did not answer in time, so the write may be in it or
	// not. Read Last or State before going on.
	ErrUnknown = errors.New("no answer, outcome unknown")
	// ErrConflict: the entry was written since it was read.
	ErrConflict = errors.New("entry has changed")
	// ErrHeld: another holder has the lease.
	ErrHeld = errors.New("lease is held")
)

// DamagedError says that the log has lost or cannot read something it once
// held. Nothing is repaired: a person decides.
type DamagedError struct {
	Path    string // the file or directory, or the stream in a cluster
	Seq     uint64 // the stream sequence it is about, or 0
	Problem string
	Err     error // the cause, or nil
}

func (e *DamagedError) Error() string {
	s := "log is damaged: " + e.Path
	if e.Seq != 0 {
		s += fmt.Sprintf(", sequence %d", e.Seq)
	}
	s += ": " + e.Problem
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s + "; restore the log from a backup, or move it away as a whole to start afresh," +
		" which gives up what it holds undelivered and every feed's position"
}

func (e *DamagedError) Unwrap() error { return e.Err }
