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
// first of them. A letter's subject, dead.<output>.<page>.<index>.<part>, is
// its key: put again, it replaces itself. Its document, compressed, is cut into
// parts; part 0 has the rest of the letter in its header and is written last.
const (
	deadName   = "TRAWL_DEAD"
	hdrLetter  = "Trawl-Letter"
	maxReason  = 4 << 10
	maxLetter  = 1 << 30 // bytes of a document, above which a header can't be right
	deadFormat = "dead.%s.%d.%d.%d"
)

// DeadLetter is a document that an output will not take however often it is
// tried, or a record that no document can be made of.
type DeadLetter struct {
	Output string    `json:"output"`
	Feed   Feed      `json:"feed"`
	Page   uint64    `json:"page"`  // sequence in the log
	Index  int       `json:"index"` // of the record in the page
	UID    string    `json:"uid,omitempty"`
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"` // when it was refused

	Document []byte `json:"-"`
	ID       uint64 `json:"-"` // set when read: names the letter for as long as it is kept
}

// letterHeader is what part 0 has beside its share of the document.
type letterHeader struct {
	DeadLetter
	Parts int `json:"parts"`
	Size  int `json:"size"` // of the document
}

// PutDead keeps a letter. When it returns without error the letter is on disk.
func (l *Log) PutDead(ctx context.Context, letter DeadLetter) error {
	if err := l.putDead(ctx, letter); err != nil {
		return fmt.Errorf("keep dead letter of output %q, page %d: %w", letter.Output, letter.Page, err)
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
	letter.Reason = strings.ToValidUTF8(letter.Reason[:min(len(letter.Reason), maxReason)], "")
	body := compress(nil, letter.Document)
	var parts [][]byte
	for len(body) > l.partSize {
		parts = append(parts, body[:l.partSize])
		body = body[l.partSize:]
	}
	parts = append(parts, body)
	header, err := json.Marshal(letterHeader{letter, len(parts), len(letter.Document)})
	if err != nil {
		return err
	}
	for i := len(parts) - 1; i >= 0; i-- {
		msg := nats.NewMsg(fmt.Sprintf(deadFormat, escape(letter.Output, false), letter.Page, letter.Index, i))
		msg.Header.Set(hdrFormat, format)
		msg.Data = parts[i]
		if i == 0 {
			msg.Header.Set(hdrLetter, string(header))
		}
		if _, err := l.publish(ctx, stream, msg); err != nil {
			return err
		}
	}
	return nil
}

// deadStream opens the stream; nil if there is none and it is not to be made.
func (l *Log) deadStream(ctx context.Context, create bool) (jetstream.Stream, error) {
	if l.closed() {
		return nil, ErrClosed
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
		if _, err := l.js.Stream(ctx, deadName); errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, nil
		}
	}
	return l.openStream(ctx, want, []int{max(pages.Replicas, 1)}, false)
}

// DeadLetters yields the letters of an output ("": of all), oldest first.
func (l *Log) DeadLetters(ctx context.Context, output string, yield func(DeadLetter) error) error {
	err := l.deadLetters(ctx, output, yield)
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	return nil
}

func (l *Log) deadLetters(ctx context.Context, output string, yield func(DeadLetter) error) error {
	stream, err := l.deadStream(ctx, false)
	if err != nil || stream == nil {
		return err
	}
	filter := "dead.*.*.*.0"
	if output != "" {
		filter = "dead." + escape(output, false) + ".*.*.0"
	}
	for next := uint64(1); ; {
		msg, err := stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		letter, err := l.letter(ctx, stream, msg)
		if err != nil {
			return err
		}
		if err := yield(letter); err != nil {
			return err
		}
		next = msg.Sequence + 1
	}
}

// letter puts a letter together again.
func (l *Log) letter(ctx context.Context, stream jetstream.Stream, msg *jetstream.RawStreamMsg) (DeadLetter, error) {
	damaged := func(err error) error {
		return &DamagedError{Path: l.path, Seq: msg.Sequence, Problem: "dead letter cannot be read", Err: err}
	}
	var h letterHeader
	if err := json.Unmarshal([]byte(msg.Header.Get(hdrLetter)), &h); err != nil {
		return DeadLetter{}, damaged(err)
	}
	if h.Size < 0 || h.Size > maxLetter {
		return DeadLetter{}, damaged(fmt.Errorf("document of %d bytes", h.Size))
	}
	body := msg.Data
	for i := 1; i < h.Parts; i++ {
		part, err := stream.GetLastMsgForSubject(ctx, strings.TrimSuffix(msg.Subject, "0")+strconv.Itoa(i))
		if err != nil {
			return DeadLetter{}, damaged(fmt.Errorf("part %d: %w", i, err))
		}
		body = append(body, part.Data...)
	}
	document, err := decompress(body, h.Size)
	if err != nil {
		return DeadLetter{}, damaged(fmt.Errorf("document: %w", err))
	}
	h.Document, h.ID = document, msg.Sequence
	return h.DeadLetter, nil
}

// ID tells this log from every other, also from one made anew in its place.
func (l *Log) ID() string {
	info := l.pages.CachedInfo()
	if id := info.Config.Metadata[metaLog]; id != "" {
		return id
	}
	return info.Created.UTC().Format(time.RFC3339Nano)
}
