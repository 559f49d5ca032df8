package pagelog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Dead letters are messages of a stream of their own, which is made with the
// first of them. A letter's subject, dead.<output>.<page>.<index>.0, is its key:
// put again, it replaces itself. Its document is compressed. What does not fit
// into one message stands in further parts, on the same subject with another
// number, which are written before it. A letter that takes another's place has
// its parts at numbers of its own, so that a crash leaves either whole.
const (
	deadName   = "TRAWL_DEAD"
	hdrLetter  = "Trawl-Letter"
	maxReason  = 4 << 10
	maxLetter  = 1 << 30 // bytes of a document, above which a header can't be right
	otherParts = 1 << 20 // where the parts begin if those of the letter before begin at 1

	// deadReserve is left free of the disk by dead letters: less than by pages,
	// so that a reader can get on, and more than nothing, for its position.
	deadReserve = diskReserve / 2
)

// DeadLetter is a document that an output will not take however often it is
// tried, or a record that no document can be made of.
type DeadLetter struct {
	Output  string    `json:"output"`
	Feed    Feed      `json:"feed"`
	Page    uint64    `json:"page"`  // sequence in the log
	Index   int       `json:"index"` // of the record in the page
	UID     string    `json:"uid,omitempty"`
	Reason  string    `json:"reason"`
	Time    time.Time `json:"time"`             // when it was refused last
	Replay  string    `json:"replay,omitempty"` // in which that was; "" for none
	Raw     bool      `json:"raw,omitempty"`    // Document is the record as it was received
	Fetched time.Time `json:"fetched,omitzero"` // of the page, as is Stored
	Stored  time.Time `json:"stored,omitzero"`

	Document []byte `json:"-"`

	// Set when read.
	First time.Time `json:"first,omitzero"` // when it was refused first
	Tries int       `json:"tries,omitempty"`
	Size  int       `json:"size"` // bytes of the document
	Seq   uint64    `json:"-"`    // rises with every letter that is put
}

// ID names a letter, also when it is refused again: archive/1234/5.
func (d DeadLetter) ID() string { return fmt.Sprintf("%s/%d/%d", d.Output, d.Page, d.Index) }

// letterHeader is what a letter's message has beside its share of the document.
type letterHeader struct {
	DeadLetter
	Parts int `json:"parts"`          // messages of the letter
	From  int `json:"from,omitempty"` // number of the second; 0: 1
}

// part is the subject of the letter's i-th message, the first of which is on subj.
func (h letterHeader) part(subj string, i int) string {
	return strings.TrimSuffix(subj, "0") + strconv.Itoa(max(h.From, 1)+i-1)
}

func (d DeadLetter) subject() string {
	return fmt.Sprintf("dead.%s.%d.%d.0", escape(d.Output, false), d.Page, d.Index)
}

// PutDead keeps a letter. When it returns without error the letter is on disk.
// A letter of the same record takes the place of the one before, of which it
// keeps First, and is one try more unless both are of the same replay. The
// error is ErrFull where the disk is nearly full.
func (l *Log) PutDead(ctx context.Context, letter DeadLetter) error {
	if err := l.putDead(ctx, letter); err != nil {
		return fmt.Errorf("keep dead letter %s: %w", letter.ID(), err)
	}
	return nil
}

func (l *Log) putDead(ctx context.Context, letter DeadLetter) error {
	if letter.Output == "" || letter.Page == 0 || letter.Index < 0 {
		return errors.New("output, page or index is not set")
	}
	stream, err := l.deadStream(ctx, true)
	if err != nil {
		return err
	}
	subj := letter.subject()
	letter.Reason = strings.ToValidUTF8(letter.Reason[:min(len(letter.Reason), maxReason)], "")
	letter.First, letter.Tries, letter.Size = letter.Time, 1, len(letter.Document)
	next := letterHeader{DeadLetter: letter, From: 1}
	before, err := l.lastOf(ctx, stream, subj)
	if err != nil {
		return err
	}
	var old letterHeader
	if before != nil {
		if old, err = l.letterHeader(before); err != nil {
			return err
		}
		next.First, next.Tries = old.First, old.Tries
		if old.Replay != letter.Replay {
			next.Tries++
		}
		if old.From <= 1 {
			next.From = otherParts
		}
	}
	body := compress(nil, letter.Document)
	if l.free != nil {
		// The server would take a full disk for a broken one.
		if free, err := l.free(l.path); err != nil {
			return err
		} else if free < uint64(len(body))+deadReserve {
			return fmt.Errorf("%d bytes left on the disk: %w", free, ErrFull)
		}
	}
	var parts [][]byte
	for len(body) > l.partSize {
		parts = append(parts, body[:l.partSize])
		body = body[l.partSize:]
	}
	parts = append(parts, body)
	next.Parts = len(parts)
	header, err := json.Marshal(next)
	if err != nil {
		return err
	}
	for i := len(parts) - 1; i >= 0; i-- {
		msg := nats.NewMsg(subj)
		if i > 0 {
			msg.Subject = next.part(subj, i)
		} else {
			msg.Header.Set(hdrLetter, string(header))
		}
		msg.Header.Set(hdrFormat, format)
		msg.Data = parts[i]
		if _, err := l.publish(ctx, stream, msg); err != nil {
			return err
		}
	}
	l.dropParts(ctx, stream, subj, old)
	return nil
}

// dropParts removes what a letter has beside its message. It does its best: a
// part left behind takes space and does no harm.
func (l *Log) dropParts(ctx context.Context, stream jetstream.Stream, subj string, h letterHeader) {
	for i := 1; i < h.Parts; i++ {
		_, _ = ask(ctx, l, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, stream.Purge(ctx, jetstream.WithPurgeSubject(h.part(subj, i)))
		})
	}
}

// deadStream opens the stream; nil if there is none and it is not to be made.
func (l *Log) deadStream(ctx context.Context, create bool) (jetstream.Stream, error) {
	l.mu.Lock()
	stream := l.dead
	l.mu.Unlock()
	if stream != nil {
		return stream, nil
	}
	pages := l.pages.CachedInfo().Config
	want := jetstream.StreamConfig{
		Name:              deadName,
		Description:       "Documents that outputs of Trawl refused for good",
		Subjects:          []string{"dead.*.*.*.*"},
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardNew,
		MaxMsgsPerSubject: 1,
		Metadata:          pages.Metadata,
	}
	if !create {
		_, err := ask(ctx, l, func(ctx context.Context) (jetstream.Stream, error) { return l.js.Stream(ctx, deadName) })
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	stream, err := l.openStream(ctx, want, []int{max(pages.Replicas, 1)}, false)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = stream
	return stream, nil
}

// letterHeader reads a letter's message without its document.
func (l *Log) letterHeader(msg *jetstream.RawStreamMsg) (letterHeader, error) {
	var h letterHeader
	err := json.Unmarshal([]byte(msg.Header.Get(hdrLetter)), &h)
	if err == nil && (h.Size < 0 || h.Size > maxLetter) {
		err = fmt.Errorf("document of %d bytes", h.Size)
	}
	if err != nil {
		return h, l.badLetter(msg.Sequence, err)
	}
	if h.Tries == 0 {
		h.First, h.Tries = h.Time, 1
	}
	h.Seq = msg.Sequence
	return h, nil
}

func (l *Log) badLetter(seq uint64, err error) error {
	return &DamagedError{Path: l.path, Seq: seq, Problem: "dead letter cannot be read", Err: err}
}

// letter puts a letter together again.
func (l *Log) letter(ctx context.Context, stream jetstream.Stream, msg *jetstream.RawStreamMsg) (DeadLetter, error) {
	h, err := l.letterHeader(msg)
	if err != nil {
		return DeadLetter{}, err
	}
	body := msg.Data
	for i := 1; i < h.Parts; i++ {
		part, err := l.lastOf(ctx, stream, h.part(msg.Subject, i))
		if err != nil {
			return DeadLetter{}, err
		}
		if part == nil {
			return DeadLetter{}, l.badLetter(msg.Sequence, fmt.Errorf("part %d is gone", i))
		}
		body = append(body, part.Data...)
	}
	if h.Document, err = decompress(body, h.Size); err != nil {
		return DeadLetter{}, l.badLetter(msg.Sequence, fmt.Errorf("document: %w", err))
	}
	return h.DeadLetter, nil
}

// DropDead removes a letter that was read. It does nothing if it has been
// removed, or refused again, since.
func (l *Log) DropDead(ctx context.Context, letter DeadLetter) error {
	if err := l.dropDead(ctx, letter); err != nil {
		return fmt.Errorf("drop dead letter %s: %w", letter.ID(), err)
	}
	return nil
}

func (l *Log) dropDead(ctx context.Context, letter DeadLetter) error {
	stream, err := l.deadStream(ctx, false)
	if err != nil || stream == nil {
		return err
	}
	msg, err := l.lastOf(ctx, stream, letter.subject())
	if err != nil || msg == nil || msg.Sequence != letter.Seq {
		return err
	}
	h, err := l.letterHeader(msg)
	if err != nil {
		return err
	}
	_, err = ask(ctx, l, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, stream.Purge(ctx, jetstream.WithPurgeSubject(msg.Subject), jetstream.WithPurgeSequence(msg.Sequence+1))
	})
	if err == nil {
		l.dropParts(ctx, stream, msg.Subject, h)
	}
	return err
}
