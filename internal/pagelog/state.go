package pagelog

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	stateName   = "KV_TRAWL_STATE"
	statePrefix = "$KV.TRAWL_STATE."

	// hdrPages is, on an entry, the highest page sequence its writer knew.
	hdrPages = "Trawl-Pages"

	// smallState are bytes of an entry that may be written into what pages leave
	// free of the disk: positions and leases are.
	smallState = 64 << 10
)

// State returns an entry and its revision; revision 0 says there is none. The
// log's own entries are under "reader/" and "lease/".
func (l *Log) State(ctx context.Context, key string) (data []byte, rev uint64, err error) {
	msg, err := l.entry(ctx, key)
	if err != nil {
		return nil, 0, fmt.Errorf("state %q: %w", key, err)
	}
	if msg == nil {
		return nil, 0, nil
	}
	return msg.Data, msg.Sequence, nil
}

func (l *Log) entry(ctx context.Context, key string) (*jetstream.RawStreamMsg, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return l.lastOf(ctx, l.state, statePrefix+escape(key, true))
}

// PutState writes an entry if its revision is still rev (0: if there is none)
// and returns the new revision; when it returns without error the entry is on
// disk. The error is ErrConflict, ErrTooLarge (beyond MaxState) or, for an entry
// that is not small, ErrFull, and then nothing was written, or ErrUnknown.
func (l *Log) PutState(ctx context.Context, key string, data []byte, rev uint64) (uint64, error) {
	next, err := l.putState(ctx, key, data, rev)
	if err != nil {
		return 0, fmt.Errorf("put state %q: %w", key, err)
	}
	return next, nil
}

func (l *Log) putState(ctx context.Context, key string, data []byte, rev uint64) (uint64, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	if len(data) > MaxState {
		return 0, fmt.Errorf("%d bytes: %w", len(data), ErrTooLarge)
	}
	if len(data) > smallState {
		if err := l.room(len(data)); err != nil {
			return 0, err
		}
	}
	msg := nats.NewMsg(statePrefix + escape(key, true))
	msg.Data = data
	msg.Header[hdrPages] = []string{strconv.FormatUint(l.high.Load(), 10)}
	next, err := l.publish(ctx, l.state, msg, jetstream.WithExpectLastSequencePerSubject(rev))
	if errors.Is(err, ErrFenced) {
		return 0, ErrConflict
	}
	if err == nil && l.store != nil {
		l.store.wroteState(next, rev == 0)
	}
	return next, err
}

// Keys lists the keys of entries that begin with prefix, sorted.
func (l *Log) Keys(ctx context.Context, prefix string) ([]string, error) {
	info, err := l.info(ctx, l.state, jetstream.WithSubjectFilter(statePrefix+">"))
	if err != nil {
		return nil, fmt.Errorf("list state: %w", err)
	}
	var keys []string
	for subj := range info.State.Subjects {
		key, err := unescape(strings.TrimPrefix(subj, statePrefix))
		if err != nil {
			return nil, fmt.Errorf("list state: %w", err)
		}
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	return keys, nil
}

func checkKey(key string) error {
	if key == "" || len(key) > 1000 {
		return errors.New("a key is 1 to 1000 bytes")
	}
	return nil
}

// dropState removes an entry whatever its revision.
func (l *Log) dropState(ctx context.Context, key string) error {
	if l.store != nil {
		if err := l.store.dropping(); err != nil {
			return err
		}
	}
	_, err := ask(ctx, l, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, l.state.Purge(ctx, jetstream.WithPurgeSubject(statePrefix+escape(key, true)))
	})
	return err
}

// serverNow is the time on the server's clock.
func (l *Log) serverNow(ctx context.Context) (time.Time, error) {
	info, err := l.info(ctx, l.state)
	if err != nil {
		return time.Time{}, err
	}
	return info.TimeStamp, nil
}
