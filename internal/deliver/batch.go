package deliver

import (
	"bytes"
	"encoding/hex"
	"slices"
	"sort"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/output"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// batch is an output's batch and where its documents come from.
type batch struct {
	output.Batch
	pages   []part
	letters []pagelog.DeadLetter // what can't be mapped, then what the output refused
	refused int                  // how many of them the output refused
	fresh   bool                 // it holds a page that the output may lack
	due     time.Time            // when it is to be handed over even if it is not full
	seen    int                  // pages, those that the output has included
}

// part is the documents of one page within a batch.
type part struct {
	page   *pagelog.Page
	mapper Mapper // nil where it is not known
	first  int    // index of its first document
}

func (b *batch) isEmpty() bool { return b.seen == 0 }
func (b *batch) isFull() bool  { return len(b.Data) >= batchBytes || b.seen >= batchPages }

func (b *batch) reset() {
	data, ends, pages := b.Data[:0], b.Ends[:0], b.pages
	if cap(data) > keepBytes {
		data, ends = nil, nil
	}
	clear(pages)
	*b = batch{Batch: output.Batch{Data: data, Ends: ends}, pages: pages[:0]}
}

// add appends the documents of a page, or only its sequence if the output has
// them already.
func (d *Deliverer) add(b *batch, p *pagelog.Page, last uint64) {
	if b.seen == 0 {
		b.due = time.Now().Add(linger)
	}
	b.seen++
	b.Last = p.Seq
	if p.Seq <= last {
		return
	}
	b.fresh = true
	from := part{page: p, first: len(b.Ends)}
	var err error
	if d.opts.Mapper != nil {
		from.mapper, err = d.opts.Mapper(p.Feed)
	}
	b.pages = append(b.pages, from)
	switch {
	case d.opts.Raw:
		b.reserve(p, 1)
		for _, record := range p.Records {
			b.end(appendLine(b.Data, record))
		}
	case err != nil:
		for i, record := range p.Records {
			b.letters = append(b.letters, pagelog.DeadLetter{Feed: p.Feed, Page: p.Seq, Index: i, Reason: err.Error(), Document: record})
		}
	default:
		meta := ecs.Meta{Connection: p.Connection, Created: p.Fetched, Ingested: p.Stored}
		b.reserve(p, 3)
		for _, record := range p.Records {
			b.end(from.mapper.Append(b.Data, record, meta))
		}
	}
}

// reserve makes room for a page's documents, which are about so many times as
// long as its records. A batch that has grown a little gets all the room it may
// need at once: to grow by and by would touch several times the memory.
func (b *batch) reserve(p *pagelog.Page, times int) {
	size := 0
	for _, record := range p.Records {
		size += times * len(record)
	}
	if size <= cap(b.Data)-len(b.Data) {
		return
	}
	if len(b.Data) > 0 {
		size = max(size, batchBytes+batchBytes/2-len(b.Data))
	}
	b.Data = slices.Grow(b.Data, size)
}

// end takes over data, which is b.Data and one document more, and ends its
// line.
func (b *batch) end(data []byte) {
	b.Data = append(data, '\n')
	b.Ends = append(b.Ends, len(b.Data))
}

// appendLine appends a record to data, on one line.
func appendLine(data, record []byte) []byte {
	if bytes.IndexByte(record, '\n') < 0 && bytes.IndexByte(record, '\r') < 0 {
		return append(data, record...)
	}
	compact := jsontext.Value(bytes.Clone(record))
	if err := compact.Compact(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
		// Not JSON, or too deep: within JSON a raw line break can only be
		// between tokens, where a space is as good.
		compact = bytes.ReplaceAll(bytes.ReplaceAll(compact, []byte{'\n'}, []byte{' '}), []byte{'\r'}, []byte{' '})
	}
	return append(data, compact...)
}

// bury makes a dead letter of the i-th document, which the output refused.
func (b *batch) bury(i int, reason string) {
	at := sort.Search(len(b.pages), func(k int) bool { return b.pages[k].first > i }) - 1
	from := b.pages[at]
	letter := pagelog.DeadLetter{
		Feed: from.page.Feed, Page: from.page.Seq, Index: i - from.first,
		Reason: reason, Document: bytes.Clone(b.Document(i)),
	}
	if from.mapper != nil {
		uid := from.mapper.Key(from.page.Records[letter.Index]).UID
		letter.UID = hex.EncodeToString(uid[:])
	}
	b.letters = append(b.letters, letter)
	b.refused++
}
