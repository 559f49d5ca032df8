package observe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/pagelog"
)

// Stored reads what was seen, where no observer runs. An entry that cannot be
// read is told in problem, and passed over.
func Stored(ctx context.Context, log States) (feeds []*Feed, problem string, err error) {
	keys, err := log.Keys(ctx, stateKey)
	if err != nil {
		return nil, "", fmt.Errorf("look at what was seen: %w", err)
	}
	for _, key := range keys {
		data, _, err := log.State(ctx, key)
		if err != nil {
			return nil, "", fmt.Errorf("look at what was seen: %w", err)
		}
		f, err := decode(data)
		if err != nil {
			problem = (&damagedError{key, err}).Error()
			continue
		}
		feeds = append(feeds, f)
	}
	sortFeeds(feeds)
	return feeds, problem, nil
}

// load reads the entries, and opens the reader.
func (o *Observer) load(ctx context.Context) error {
	known, err := o.opts.Log.Readers(ctx)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	keys, err := o.opts.Log.Keys(ctx, stateKey)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	feeds := map[pagelog.Feed]*kept{}
	for _, key := range keys {
		data, rev, err := o.opts.Log.State(ctx, key)
		if err != nil {
			return fmt.Errorf("observe: %w", err)
		}
		f, err := decode(data)
		var later *laterError
		if errors.As(err, &later) {
			return &damagedError{key, err}
		}
		if err != nil { // nothing can be had of it, and it must not keep the rest from being counted
			f = newFeed(splitKey(key))
			f.note(time.Now(), "the counts began anew: %v", &damagedError{key, err})
		}
		feeds[pagelog.Feed{Connection: f.Connection, Source: f.Source}] = &kept{Feed: f, rev: rev}
	}
	if o.reader, err = o.opts.Log.OpenReader(ctx, Reader); err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	_, done, err := o.reader.Pending(ctx)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	if !slices.Contains(known, Reader) && len(feeds) > 0 {
		if err := o.returned(ctx, feeds); err != nil {
			return err
		}
	}
	o.at, o.ahead, o.due = done, done, time.Time{}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.feeds = feeds
	return nil
}

// returned notes what the log may have lost while the observer had no place in
// it.
func (o *Observer) returned(ctx context.Context, feeds map[pagelog.Feed]*kept) error {
	stats, err := o.opts.Log.Stats(ctx)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	var through uint64
	for _, k := range feeds {
		through = max(through, k.Seq)
	}
	if stats.FirstSeq <= through+1 {
		return nil
	}
	for _, k := range feeds {
		k.note(time.Now(), "nothing was counted for a while after %s, and the log has given up pages since: they are missing in the counts", k.Stored.UTC().Format(time.RFC3339))
		k.dirty = true
	}
	return nil
}

// save stores what was seen, and then acknowledges the pages.
func (o *Observer) save(ctx context.Context) error {
	o.mu.Lock()
	feeds := slices.Collect(maps.Values(o.feeds))
	o.mu.Unlock()
	for _, k := range feeds {
		if !k.dirty {
			continue
		}
		data, err := k.encode()
		if err != nil {
			return err
		}
		rev, err := o.opts.Log.PutState(ctx, stateKey+k.Name(), data, k.rev)
		if err != nil {
			return fmt.Errorf("observe: %w", err)
		}
		k.rev, k.dirty = rev, false
	}
	done := o.reader.Ack
	if o.at > o.ahead { // outputs have shown what is not to be read any more
		done = o.reader.Seek
	}
	if err := done(ctx, o.at); err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	o.ahead, o.due = max(o.ahead, o.at), time.Time{}
	return nil
}

func sortFeeds(feeds []*Feed) {
	slices.SortFunc(feeds, func(a, b *Feed) int { return strings.Compare(a.Name(), b.Name()) })
}

// splitKey gives the names of the feed that an entry is of.
func splitKey(key string) (connection, source string) {
	connection, source, _ = strings.Cut(key[len(stateKey):], "/")
	return connection, source
}

// damagedError says that an entry cannot be read.
type damagedError struct {
	key string
	err error
}

func (e *damagedError) Error() string {
	return fmt.Sprintf("what was seen of %s cannot be read: %v", e.key[len(stateKey):], e.err)
}

func (e *damagedError) Unwrap() error { return e.err }
