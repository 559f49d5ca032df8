package deliver

import (
	"context"
	"errors"

	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/output"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// batchLetters is how many dead letters are offered at once.
const batchLetters = 256

// desk is where batches of a replay are handed in to be written.
type desk struct {
	orders chan order
	closed chan struct{} // when nobody takes any more
}

// order is a batch of a replay, and where what the output refused of it goes.
type order struct {
	batch *batch
	done  chan<- []output.Refusal // has room
}

// hand gives a batch to the one who writes, and returns what was refused of it.
// It does not wait for its turn longer than ctx.
func (k desk) hand(ctx context.Context, b *batch) ([]output.Refusal, error) {
	done := make(chan []output.Refusal, 1)
	select {
	case k.orders <- order{b, done}:
	case <-ctx.Done():
		return nil, &stopped{}
	case <-k.closed:
		return nil, &stopped{}
	}
	select {
	case refusals := <-done:
		return refusals, nil
	case <-k.closed:
	}
	select {
	case refusals := <-done: // the last thing it did
		return refusals, nil
	default:
		return nil, &stopped{}
	}
}

// workOnReplays works on replays, now and as they are started, until ctx ends;
// what is in hand then is finished under hard. place is where the output was
// when it was opened.
func (d *Deliverer) workOnReplays(ctx, hard context.Context, place output.Place, k desk) {
	r := &d.replays
	for ctx.Err() == nil {
		reading, end := context.WithCancel(ctx)
		r.mu.Lock()
		cur := r.cur
		if r.end = end; cur.State == ReplayRunning {
			r.left = make(chan struct{})
		}
		r.mu.Unlock()
		if cur.State == ReplayRunning {
			last := uint64(0)
			if place.Replay == cur.ID {
				last = place.Replayed
			}
			d.workOn(reading, hard, cur, last, k)
		}
		end()
		select {
		case <-r.wake:
		case <-ctx.Done():
		}
	}
}

// workOn works on one replay until it is over, given up, or to be left for the
// next start.
func (d *Deliverer) workOn(ctx, hard context.Context, r Replay, last uint64, k desk) {
	d.logger.Info("replay begins, or goes on", "replay", r.ID, "records", r.Records, "done", r.Done())
	work := d.replayPages
	if r.Dead != nil {
		work = d.replayLetters
	}
	err := work(ctx, hard, r, last, k)
	state, reason := ReplayDone, ""
	var left *stopped
	if err != nil && !errors.As(err, &left) {
		state, reason = ReplayFailed, err.Error()
	}
	defer d.leaveReplay()
	err = d.insist(ctx, settling, func() error {
		d.replays.mu.Lock()
		defer d.replays.mu.Unlock()
		if left != nil || d.replays.cur.State == ReplayCancelled {
			return nil
		}
		return d.endReplay(hard, state, reason)
	})
	over := d.Status().Replay
	if err == nil && over.State != ReplayRunning && r.Dead == nil {
		err = d.insist(ctx, settling, func() error { return d.opts.Log.DeleteReader(hard, ReplayReader(d.opts.Name)) })
	}
	if err != nil && !errors.As(err, &left) {
		d.logger.Warn("end of replay not noted; it is done again at the next start", "replay", r.ID, "error", err)
	}
	if over.State != ReplayRunning {
		d.logger.Info("replay is over", "replay", r.ID, "state", over.State, "reason", over.Reason, "delivered", over.Delivered, "refused", over.Refused)
	}
}

// leaveReplay lets another be started.
func (d *Deliverer) leaveReplay() {
	d.replays.mu.Lock()
	defer d.replays.mu.Unlock()
	close(d.replays.left)
	d.replays.left = nil
}

// replayPages delivers pages again. The output has those up to last.
func (d *Deliverer) replayPages(ctx, hard context.Context, r Replay, last uint64, k desk) error {
	reader, held, err := d.openReplay(ctx, hard, r)
	if err != nil {
		return err
	}
	defer reader.Close(hard)
	b := new(batch)
	for over := false; !over; {
		b.reset()
		b.Replay = r.ID
		had := 0 // records that the output has already
		for !over && !b.isFull() {
			var pages []*pagelog.Delivery
			err := d.insist(ctx, rereading, func() (err error) {
				if err = ctx.Err(); err == nil {
					pages, err = reader.Next(ctx, readPages, idle)
				}
				return err
			})
			if err != nil {
				return err
			}
			over = len(pages) == 0
			for _, p := range pages {
				if over = p.Page.Seq >= r.Through; p.Page.Seq > r.Through {
					break
				}
				if p.Page.Seq <= r.At || !r.includes(p.Page.Feed) {
					b.seen, b.Last = b.seen+1, p.Page.Seq
					continue
				}
				if p.Page.Seq <= last {
					had += len(p.Page.Records)
				}
				d.add(b, p, last)
			}
		}
		if b.isEmpty() {
			return nil
		}
		var good []pagelog.DeadLetter
		for page, letters := range held {
			if page <= b.Last {
				good = append(good, letters...)
				delete(held, page)
			}
		}
		if err := d.deliverAgain(ctx, hard, b, good, had, k); err != nil {
			return err
		}
		if err := d.insist(ctx, settling, func() error { return reader.Ack(hard, b.Last) }); err != nil {
			return err
		}
	}
	return nil
}

// openReplay opens the reader of a replay, and finds the dead letters that it
// makes good, by page.
func (d *Deliverer) openReplay(ctx, hard context.Context, r Replay) (reader Reader, held map[uint64][]pagelog.DeadLetter, err error) {
	err = d.insist(ctx, rereading, func() error {
		held = map[uint64][]pagelog.DeadLetter{}
		return d.opts.Log.DeadLetters(ctx, pagelog.DeadFilter{Output: d.opts.Name, Feed: r.Feed}, func(letter pagelog.DeadLetter) error {
			if letter.Replay != r.ID && letter.Page > r.After && letter.Page <= r.Through {
				letter.Document = nil
				held[letter.Page] = append(held[letter.Page], letter)
			}
			return nil
		})
	})
	if err == nil {
		err = d.insist(ctx, rereading, func() (err error) {
			reader, err = d.opts.Log.OpenReader(hard, ReplayReader(d.opts.Name))
			return err
		})
	}
	return reader, held, err
}

// replayLetters offers dead letters again. The output has those up to last.
func (d *Deliverer) replayLetters(ctx, hard context.Context, r Replay, last uint64, k desk) error {
	var page pagelog.Page // the last that was looked up
	f := *r.Dead
	for b, over := new(batch), false; !over; {
		var good []pagelog.DeadLetter
		var had int
		after := f.After
		err := d.insist(ctx, rereading, func() error {
			b.reset()
			b.Replay, b.offered = r.ID, []pagelog.DeadLetter{}
			f.After, good, had, over = after, nil, 0, true
			err := d.opts.Log.DeadLetters(ctx, f, func(letter pagelog.DeadLetter) error {
				if len(b.Data) >= batchBytes || b.seen >= batchLetters {
					over = false
					return errFull
				}
				f.After = letter.Seq
				good = append(good, letter)
				b.seen, b.Last = b.seen+1, letter.Seq
				if letter.Seq <= last {
					had++
					return nil
				}
				b.fresh = true
				return d.addLetter(ctx, b, letter, last, &page)
			})
			if errors.Is(err, errFull) {
				err = nil
			}
			return err
		})
		if err != nil {
			return err
		}
		if b.isEmpty() {
			return nil
		}
		if err := d.deliverAgain(ctx, hard, b, good, had, k); err != nil {
			return err
		}
		last = max(last, b.Last)
	}
	return nil
}

var errFull = errors.New("batch is full")

// addLetter appends the document of a dead letter: one made anew of its record,
// if the log still has that or the letter is one, else the one that was refused.
func (d *Deliverer) addLetter(ctx context.Context, b *batch, letter pagelog.DeadLetter, last uint64, page *pagelog.Page) error {
	if page.Seq != letter.Page {
		p, ok, err := d.opts.Log.Page(ctx, letter.Page)
		if err != nil {
			return err
		}
		if !ok {
			p.Seq = letter.Page
		}
		*page = p
	}
	var data []byte
	var reason string
	record := letter.Document
	switch {
	case letter.Index < len(page.Records):
		record, letter.Fetched, letter.Stored = page.Records[letter.Index], page.Fetched, page.Stored
	case !letter.Raw:
		record = nil
	}
	if record != nil {
		mapper, err := d.mapper(letter.Feed)
		data, reason = d.document(b.Data, record, mapper, err, ecs.Meta{Connection: letter.Feed.Connection, Created: letter.Fetched, Ingested: letter.Stored}, nil)
		letter.Raw = d.opts.Raw || mapper == nil
	} else {
		data, reason = append(b.Data, letter.Document...), d.tooLarge(len(letter.Document))
	}
	if reason == "" {
		b.Data = append(data, '\n')
		b.Ends, b.Steps = append(b.Ends, len(b.Data)), append(b.Steps, letter.Seq-last)
		b.offered = append(b.offered, letter)
	} else {
		letter.Reason, letter.Replay, letter.Document = reason, b.Replay, append([]byte(nil), data[len(b.Data):]...)
		b.letters = append(b.letters, letter)
	}
	b.Size = letter.Seq - last
	return nil
}

// deliverAgain has a batch of a replay written, keeps what was refused, removes
// the letters that are made good, which those refused anew are not, and notes
// how far the replay is. had is how many records of the batch the output had
// already.
func (d *Deliverer) deliverAgain(ctx, hard context.Context, b *batch, good []pagelog.DeadLetter, had int, k desk) error {
	// Before the rest is written: see deliver.
	if err := d.bury(ctx, hard, reburying, b.letters); err != nil {
		return err
	}
	letters := b.letters
	if b.fresh {
		refusals, err := k.hand(ctx, b)
		if err != nil {
			return err
		}
		refused := d.dead(b, refusals)
		if err := d.bury(ctx, hard, reburying, refused); err != nil {
			return err
		}
		letters = append(letters, refused...)
	}
	err := d.insist(ctx, settling, func() error {
		for _, letter := range good {
			if err := d.opts.Log.DropDead(hard, letter); err != nil {
				return err
			}
		}
		return d.progress(hard, b.Last, int64(len(b.Ends)-b.refused+had), int64(len(letters)))
	})
	if err == nil {
		d.delivered(b, letters)
	}
	return err
}
