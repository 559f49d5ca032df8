package collect

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strconv"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// A roll lists what a state is known to have: the provider's id of each record,
// so that it can be named when it is gone, with the hash that tells its
// versions. It stands in the log's state bucket as runs of some thousand
// entries, of which the last is written anew as it grows. Which runs count, a
// [Whole] says, so a roll may be ahead of that and never behind. An entry may be
// there more than once.
//
// An entry takes 28 bytes where ids are UUIDs (TestRollSize).

const (
	runEntries = 4096    // from which on another run is begun,
	runBytes   = 1 << 18 // or from this size of their ids on
	longestID  = 4 << 10 // bytes; a longer one is not an id that could be told
)

// entry is one line of a roll.
type entry struct {
	id   string // "" for a record without one: it is known, and can't be missed
	hash uint64 // of the record
}

// Roll names a list in the state bucket.
type Roll struct {
	Side int `json:"side"` // 0 or 1: one is read while the other is written
	Runs int `json:"runs"`
}

// roll writes and reads a list.
type roll struct {
	log  Log
	keys string // what those of its runs begin with
	Roll
	tail []entry // of the last run, where more go in
	size int     // bytes of their ids
	rev  uint64  // of the last run
}

func (l *lane) roll(r Roll) *roll {
	f := l.feed.opts.Feed
	return &roll{log: l.feed.opts.Log, keys: "feed/" + f.Connection + "/" + f.Source + "/roll/" + strconv.Itoa(r.Side) + "/", Roll: r}
}

func (r *roll) key(run int) string { return r.keys + strconv.Itoa(run) }

// add writes entries behind the others, and returns those that it could not
// write. Some of these may be stored nevertheless.
func (r *roll) add(ctx context.Context, entries []entry) ([]entry, error) {
	for len(entries) > 0 {
		if r.Runs == 0 || len(r.tail) >= runEntries || r.size >= runBytes {
			_, rev, err := r.log.State(ctx, r.key(r.Runs)) // one of an earlier reading
			if err != nil {
				return entries, err
			}
			r.Runs++
			r.tail, r.size, r.rev = nil, 0, rev
		}
		n, before, size := 0, len(r.tail), r.size
		for n < len(entries) && len(r.tail) < runEntries && r.size < runBytes {
			r.tail = append(r.tail, entries[n])
			r.size += len(entries[n].id)
			n++
		}
		rev, err := r.log.PutState(ctx, r.key(r.Runs-1), encodeRun(r.tail), r.rev)
		if err != nil {
			r.tail, r.size = r.tail[:before], size
			return entries, err
		}
		r.rev, entries = rev, entries[n:]
	}
	return nil, nil
}

// each yields the entries in order, from a run on, until yield returns false.
// After the last, add goes on where the list ends.
func (r *roll) each(ctx context.Context, from int, yield func(run, i int, e entry) bool) error {
	for run := from; run < r.Runs; run++ {
		data, rev, err := r.log.State(ctx, r.key(run))
		if err != nil {
			return err
		}
		entries, err := decodeRun(data)
		if err != nil {
			return fmt.Errorf("part %d of %d: %w", run+1, r.Runs, err)
		}
		for i, e := range entries {
			if !yield(run, i, e) {
				return nil
			}
		}
		if run == r.Runs-1 {
			r.tail, r.size, r.rev = entries, 0, rev
			for _, e := range entries {
				r.size += len(e.id)
			}
		}
	}
	return nil
}

// clear gives back the space of all runs that there ever were.
func (r *roll) clear(ctx context.Context) error {
	for run := 0; ; run++ {
		data, rev, err := r.log.State(ctx, r.key(run))
		if err != nil || rev == 0 {
			return err
		}
		if len(data) == 0 {
			continue
		}
		if _, err := r.log.PutState(ctx, r.key(run), nil, rev); err != nil {
			return err
		}
	}
}

// mostRun is more than what add writes into a run, before compression.
const mostRun = runBytes + longestID + runEntries*(8+binary.MaxVarintLen16) + binary.MaxVarintLen16

var runWriters = sync.Pool{New: func() any {
	// Ids are random digits, of which only the alphabet can be made use of.
	w, _ := gzip.NewWriterLevel(nil, gzip.HuffmanOnly)
	return w
}}

// encodeRun writes the number of entries, their ids, each behind its length, and
// then their hashes.
func encodeRun(entries []entry) []byte {
	raw := binary.AppendUvarint(nil, uint64(len(entries)))
	for _, e := range entries {
		raw = append(binary.AppendUvarint(raw, uint64(len(e.id))), e.id...)
	}
	for _, e := range entries {
		raw = binary.LittleEndian.AppendUint64(raw, e.hash)
	}
	var out bytes.Buffer
	w := runWriters.Get().(*gzip.Writer)
	defer runWriters.Put(w)
	w.Reset(&out)
	_, _ = w.Write(raw) // to memory
	_ = w.Close()
	return out.Bytes()
}

// decodeRun is the inverse of encodeRun. What it refuses is damage.
func decodeRun(data []byte) ([]entry, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(r, mostRun+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > mostRun {
		return nil, errors.New("too long")
	}
	n, k := binary.Uvarint(raw)
	if k <= 0 || n > runEntries {
		return nil, errors.New("number of entries")
	}
	raw = raw[k:]
	text := string(raw) // which all ids share
	entries := make([]entry, n)
	at := 0
	for i := range entries {
		size, k := binary.Uvarint(raw[at:])
		if k <= 0 || size > uint64(len(raw)-at-k) {
			return nil, fmt.Errorf("entry %d of %d is cut off", i+1, n)
		}
		at += k
		entries[i].id = text[at : at+int(size)]
		at += int(size)
	}
	if uint64(len(raw)-at) != 8*n {
		return nil, fmt.Errorf("%d bytes of %d hashes", len(raw)-at, n)
	}
	for i := range entries {
		entries[i].hash = binary.LittleEndian.Uint64(raw[at+8*i:])
	}
	return entries, nil
}

// idSeed makes the hashes of ids those of this process.
var idSeed = maphash.MakeSeed()

// idHash is what sets of ids hold.
func idHash(id string) uint64 { return maphash.String(idSeed, id) }
