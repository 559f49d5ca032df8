package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/deliver"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// ReplayRequest asks that an output is given again what was put in the log in
// [Since, Until) and has been delivered to it. Until zero is the present.
type ReplayRequest struct {
	Output string    `json:"output"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"`
	Feed   string    `json:"feed,omitempty"` // only this one's; a full name
	Plan   bool      `json:"plan,omitempty"` // only look what that would be
}

// ReplayPlan is a replay and when the first and the last of its pages were put
// in the log.
type ReplayPlan struct {
	deliver.Replay
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
}

// UnknownOutputError is a name that no output has.
type UnknownOutputError struct {
	Name  string
	Known []string
}

func (e *UnknownOutputError) Error() string {
	return fmt.Sprintf("output %q is not configured; there are %q", e.Name, e.Known)
}

func (e *Engine) output(name string) (*delivery, error) {
	var known []string
	for _, o := range e.outputs {
		if o.name == name {
			return o, nil
		}
		known = append(known, o.name)
	}
	return nil, &UnknownOutputError{Name: name, Known: known}
}

// StartReplay begins a replay, if there is anything to replay. It is done by
// Run, Once or FinishReplays, also if that is after a restart.
func (e *Engine) StartReplay(ctx context.Context, r ReplayRequest) (ReplayPlan, error) {
	o, err := e.output(r.Output)
	if err != nil {
		return ReplayPlan{}, err
	}
	var feed pagelog.Feed
	if r.Feed != "" {
		feed.Connection, feed.Source, _ = strings.Cut(r.Feed, "/")
	}
	_, done, err := o.reader.Pending(ctx)
	if err != nil {
		return ReplayPlan{}, fmt.Errorf("replay output %s: %w", r.Output, err)
	}
	span, err := e.log.Span(ctx, r.Since, r.Until, done, feed)
	if err != nil {
		return ReplayPlan{}, fmt.Errorf("replay output %s: %w", r.Output, err)
	}
	plan := ReplayPlan{First: span.First, Last: span.Last, Replay: deliver.Replay{
		Output: r.Output, Since: r.Since, Until: r.Until, Feed: r.Feed,
		After: span.After, Through: span.Through, Pages: span.Pages, Records: span.Records,
	}}
	if r.Plan || span.Pages == 0 {
		return plan, nil
	}
	plan.Replay, err = o.deliverer.StartReplay(ctx, plan.Replay)
	return plan, err
}

// CancelReplay gives up what is left of an output's replay, and returns how far
// it was. The error is deliver.ErrNoReplay if there is none.
func (e *Engine) CancelReplay(ctx context.Context, output string) (deliver.Replay, error) {
	o, err := e.output(output)
	if err != nil {
		return deliver.Replay{}, err
	}
	return o.deliverer.CancelReplay(ctx)
}

// FinishReplays delivers to the outputs named until their replays are done.
func (e *Engine) FinishReplays(ctx context.Context, outputs []string) error {
	var with []*delivery
	for _, o := range e.outputs {
		if slices.Contains(outputs, o.name) {
			with = append(with, o)
		}
	}
	deliveries := e.startOutputs(ctx, with)
	err := deliveries.each(func(o *delivery) error { return o.deliverer.AwaitReplay(ctx) })
	stopped := deliveries.stop()
	if err == nil { // else it says the same
		err = stopped
	}
	return err
}

// Letter is a dead letter as people see it.
type Letter struct {
	ID      string    `json:"id"`
	Output  string    `json:"output"`
	Feed    string    `json:"feed"`
	Page    uint64    `json:"page"`  // sequence in the log
	Index   int       `json:"index"` // of the record in the page
	UID     string    `json:"uid,omitempty"`
	Reason  string    `json:"reason"`
	Refused time.Time `json:"refused"`       // last
	First   time.Time `json:"first_refused"` //
	Tries   int       `json:"tries"`
	Bytes   int       `json:"bytes"` // of the document
	Seq     uint64    `json:"seq"`   // rises from letter to letter
	// Where one letter is looked at: the document that was refused, and the
	// record of which a replay makes another, if that is to be had.
	Document []byte `json:"document,omitempty"`
	Record   []byte `json:"record,omitempty"`
	Logged   bool   `json:"logged,omitempty"` // the log still has the record
}

func letter(d pagelog.DeadLetter) Letter {
	return Letter{
		ID: d.ID(), Output: d.Output, Feed: d.Feed.String(), Page: d.Page, Index: d.Index, UID: d.UID, Reason: d.Reason,
		Refused: d.Time, First: d.First, Tries: d.Tries, Bytes: d.Size, Seq: d.Seq,
	}
}

var errEnough = errors.New("enough")

// DeadLetters are the first of the letters that a filter chooses, at most so
// many.
func (e *Engine) DeadLetters(ctx context.Context, f pagelog.DeadFilter, limit int) (letters []Letter, err error) {
	err = e.log.DeadLetters(ctx, f, func(d pagelog.DeadLetter) error {
		if letters = append(letters, letter(d)); len(letters) >= limit {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return letters, err
}

// UnknownLetterError is an id that no dead letter has.
type UnknownLetterError struct{ ID string }

func (e *UnknownLetterError) Error() string {
	return fmt.Sprintf("there is no dead letter %s; `trawl dead list` shows those there are", e.ID)
}

// DeadLetter is one letter with its document.
func (e *Engine) DeadLetter(ctx context.Context, id string) (Letter, error) {
	var found Letter
	err := e.log.DeadLetters(ctx, pagelog.DeadFilter{IDs: []string{id}}, func(d pagelog.DeadLetter) error {
		found = letter(d)
		found.Document = d.Document
		if d.Raw {
			found.Record = d.Document
		}
		return nil
	})
	if err == nil && found.ID == "" {
		err = &UnknownLetterError{ID: id}
	}
	if err != nil {
		return Letter{}, err
	}
	page, ok, err := e.log.Page(ctx, found.Page)
	if ok && found.Index < len(page.Records) {
		found.Record, found.Logged = page.Records[found.Index], true
	}
	return found, err
}

// DropDead removes the letters that a filter chooses, and returns how many.
func (e *Engine) DropDead(ctx context.Context, f pagelog.DeadFilter) (int, error) {
	for _, o := range e.outputs {
		if r := o.deliverer.Status().Replay; r != nil && r.State == deliver.ReplayRunning && r.Dead != nil && (f.Output == "" || f.Output == o.name) {
			return 0, fmt.Errorf("drop dead letters: those of output %s are just being replayed; wait for that, or give it up with `trawl replay --output %s --cancel`", o.name, o.name)
		}
	}
	n, err := e.log.DropDeadLetters(ctx, f)
	if n > 0 {
		e.opts.Logger.Info("dead letters dropped by hand", "letters", n)
	}
	return n, err
}

// ReplayDead begins to offer dead letters again to their outputs, in a replay
// for each output. Letters of outputs that are no longer configured, or are
// busy with another replay, are an error; the others are replayed all the same.
func (e *Engine) ReplayDead(ctx context.Context, f pagelog.DeadFilter) (started []deliver.Replay, err error) {
	_, last, err := e.log.CountDead(ctx, "")
	if err != nil {
		return nil, err
	}
	f.UpTo = last
	found, counts := map[string]bool{}, map[string]int{}
	var outputs []string
	if last > 0 {
		err = e.log.DeadLetters(ctx, f, func(d pagelog.DeadLetter) error {
			found[d.ID()] = true
			if counts[d.Output]++; counts[d.Output] == 1 {
				outputs = append(outputs, d.Output)
			}
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, id := range f.IDs {
		if !found[id] {
			errs = append(errs, &UnknownLetterError{ID: id})
		}
	}
	slices.Sort(outputs)
	for _, name := range outputs {
		o, err := e.output(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("replay %d dead letters: %w", counts[name], err))
			continue
		}
		mine := f
		mine.Output = name
		r, err := o.deliverer.StartReplay(ctx, deliver.Replay{Dead: &mine, Records: counts[name]})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		started = append(started, r)
	}
	return started, errors.Join(errs...)
}
