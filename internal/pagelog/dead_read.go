package pagelog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// DeadFilter chooses dead letters: those that everything set applies to.
type DeadFilter struct {
	IDs    []string `json:"ids,omitempty"`
	Output string   `json:"output,omitempty"`
	Feed   string   `json:"feed,omitempty"`   // wiz-prod/audit
	Reason string   `json:"reason,omitempty"` // a pattern, in which * is any text and ? any character
	After  uint64   `json:"after,omitempty"`  // Seq must be above it
	UpTo   uint64   `json:"up_to,omitempty"`  // and not above it; 0: whatever it is
}

// Matches reports whether the filter chooses a letter.
func (f DeadFilter) Matches(d DeadLetter) bool {
	return (len(f.IDs) == 0 || slices.Contains(f.IDs, d.ID())) &&
		(f.Output == "" || f.Output == d.Output) &&
		(f.Feed == "" || f.Feed == d.Feed.String()) &&
		(f.Reason == "" || matches(f.Reason, d.Reason)) &&
		d.Seq > f.After && (f.UpTo == 0 || d.Seq <= f.UpTo)
}

// matches reports whether a text is like a pattern, wholly.
func matches(pattern, text string) bool {
	p, t := []rune(pattern), []rune(text)
	star, from := -1, 0 // the last * and where the text behind it was tried to begin
	i := 0
	for j := 0; j < len(t); {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// ParseLetterID is the inverse of DeadLetter.ID.
func ParseLetterID(id string) (output string, page uint64, index int, err error) {
	rest, last, _ := cutLast(id)
	output, middle, ok := cutLast(rest)
	page, pageErr := strconv.ParseUint(middle, 10, 64)
	n, indexErr := strconv.ParseUint(last, 10, 31)
	d := DeadLetter{Output: output, Page: page, Index: int(n)}
	if !ok || pageErr != nil || indexErr != nil || page == 0 || output == "" || d.ID() != id {
		return "", 0, 0, fmt.Errorf("%q is not the id of a dead letter, which is like archive/1234/5", id)
	}
	return output, page, int(n), nil
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// DeadLetters yields the letters that a filter chooses, oldest first. An error
// of yield ends it and is returned as it is.
func (l *Log) DeadLetters(ctx context.Context, f DeadFilter, yield func(DeadLetter) error) error {
	var theirs error
	err := l.deadLetters(ctx, f, func(d DeadLetter) error {
		theirs = yield(d)
		return theirs
	})
	if err != nil && theirs == nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	return err
}

func (l *Log) deadLetters(ctx context.Context, f DeadFilter, yield func(DeadLetter) error) error {
	stream, err := l.deadStream(ctx, false)
	if err != nil || stream == nil {
		return err
	}
	if len(f.IDs) > 0 {
		return l.namedLetters(ctx, stream, f, yield)
	}
	subjects := f.subjects()
	for next := f.After + 1; ; {
		msg, err := ask(ctx, l, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
			return stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(subjects))
		})
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && f.UpTo > 0 && msg.Sequence > f.UpTo {
			return nil
		}
		if err != nil {
			return err
		}
		next = msg.Sequence + 1
		if err := l.yieldLetter(ctx, stream, msg, f, yield); err != nil {
			return err
		}
	}
}

// subjects are those of the letters that a filter may choose.
func (f DeadFilter) subjects() string {
	if f.Output != "" {
		return "dead." + escape(f.Output, false) + ".*.*.0"
	}
	return "dead.*.*.*.0"
}

// namedLetters looks letters up by their names.
func (l *Log) namedLetters(ctx context.Context, stream jetstream.Stream, f DeadFilter, yield func(DeadLetter) error) error {
	var found []*jetstream.RawStreamMsg
	for _, id := range f.IDs {
		output, page, index, err := ParseLetterID(id)
		if err != nil {
			return err
		}
		msg, err := l.lastOf(ctx, stream, DeadLetter{Output: output, Page: page, Index: index}.subject())
		if err != nil {
			return err
		}
		if msg != nil && !slices.ContainsFunc(found, func(m *jetstream.RawStreamMsg) bool { return m.Sequence == msg.Sequence }) {
			found = append(found, msg)
		}
	}
	slices.SortFunc(found, func(a, b *jetstream.RawStreamMsg) int { return int(int64(a.Sequence - b.Sequence)) })
	for _, msg := range found {
		if err := l.yieldLetter(ctx, stream, msg, f, yield); err != nil {
			return err
		}
	}
	return nil
}

// yieldLetter yields a letter if the filter chooses it and it is still there.
func (l *Log) yieldLetter(ctx context.Context, stream jetstream.Stream, msg *jetstream.RawStreamMsg, f DeadFilter, yield func(DeadLetter) error) error {
	h, err := l.letterHeader(msg)
	if err != nil || !f.Matches(h.DeadLetter) {
		return err
	}
	letter, err := l.letter(ctx, stream, msg)
	if err != nil {
		// Its parts go when it does.
		if now, nowErr := l.lastOf(ctx, stream, msg.Subject); nowErr == nil && (now == nil || now.Sequence != msg.Sequence) {
			return nil
		}
		return err
	}
	return yield(letter)
}

// CountDead returns how many letters an output has, and the Seq of the newest
// letter of all.
func (l *Log) CountDead(ctx context.Context, output string) (n int, last uint64, err error) {
	stream, err := l.deadStream(ctx, false)
	if err != nil || stream == nil {
		return 0, 0, err
	}
	info, err := l.info(ctx, stream)
	if err == nil && info.State.Msgs > 0 {
		// The server counts when it makes a consumer.
		c := &cursor{l: l, stream: deadName, headers: true, filter: DeadFilter{Output: output}.subjects()}
		if err = c.open(ctx); err == nil {
			n = int(c.pending)
			c.close(ctx)
		}
	}
	if err != nil {
		return 0, 0, fmt.Errorf("count dead letters: %w", err)
	}
	return n, info.State.LastSeq, nil
}

// DropDeadLetters removes all letters that a filter chooses at this moment, and
// returns how many there were.
func (l *Log) DropDeadLetters(ctx context.Context, f DeadFilter) (n int, err error) {
	if f.UpTo == 0 {
		if _, f.UpTo, err = l.CountDead(ctx, f.Output); err != nil || f.UpTo == 0 {
			return 0, err
		}
	}
	err = l.DeadLetters(ctx, f, func(d DeadLetter) error {
		err := l.DropDead(ctx, d)
		if err == nil {
			n++
		}
		return err
	})
	return n, err
}
