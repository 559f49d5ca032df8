package deliver

import (
	"bytes"
	"encoding/hex"
	"fmt"
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
	offered []pagelog.DeadLetter // in place of pages: whose documents these are, one each
	letters []pagelog.DeadLetter // of the records that no document is offered of
	refused int                  // documents that the output refused
	sight   ecs.Sight            // of the record at work
	fresh   bool                 // it holds something that the output may lack
	due     time.Time            // when it is to be handed over even if it is not full
	seen    int                  // pages or letters, those that the output has included
}

// part is the documents of one page within a batch.
type part struct {
	page   *pagelog.Page
	mapper Mapper // nil where it is not known
	first  uint64 // number of its first record in the batch
}

func (b *batch) isEmpty() bool { return b.seen == 0 }
func (b *batch) isFull() bool  { return len(b.Data) >= batchBytes || b.seen >= batchPages }

func (b *batch) reset() {
	data, ends, pages := b.Data[:0], b.Ends[:0], b.pages
	if cap(data) > keepBytes {
		data, ends = nil, nil
	}
	clear(pages)
	*b = batch{Batch: output.Batch{Data: data, Ends: ends}, pages: pages[:0], sight: b.sight}
}

// add appends the documents of a page, or only its sequence if the output has
// them already.
func (d *Deliverer) add(b *batch, delivery *pagelog.Delivery, last uint64) {
	p := &delivery.Page
	if b.seen == 0 {
		b.due = time.Now().Add(linger)
	}
	b.seen++
	b.Last = p.Seq
	if p.Seq <= last {
		return
	}
	b.fresh = true
	mapper, err := d.mapper(p.Feed)
	b.pages = append(b.pages, part{page: p, mapper: mapper, first: b.Size})
	if d.opts.Raw {
		b.reserve(p, 1)
	} else if err == nil {
		b.reserve(p, 3)
	}
	meta := ecs.Meta{Connection: p.Connection, Created: p.Fetched, Ingested: p.Stored}
	var seen Observation
	var sight *ecs.Sight
	if d.opts.Observe != nil && err == nil && b.Replay == "" {
		if seen = d.opts.Observe(delivery); seen != nil {
			sight = &b.sight
			defer seen.End()
		}
	}
	for i, record := range p.Records {
		data, reason := d.document(b.Data, record, mapper, err, meta, sight)
		if seen != nil {
			seen.Add(sight)
		}
		if reason == "" {
			b.end(data)
			continue
		}
		b.letters = append(b.letters, d.letter(p, i, mapper, reason, data[len(b.Data):], b.Replay))
		b.skip()
	}
}

// mapper finds the mapper of a feed. It is there too where documents are not
// made by one, if it is known.
func (d *Deliverer) mapper(feed pagelog.Feed) (Mapper, error) {
	if d.opts.Mapper == nil {
		return nil, nil
	}
	mapper, err := d.opts.Mapper(feed)
	if err != nil {
		return nil, err
	}
	return mapper, nil
}

// document appends the document of a record, or what is kept of it and the
// reason why the output is not to have it.
func (d *Deliverer) document(dst, record []byte, mapper Mapper, mapErr error, meta ecs.Meta, sight *ecs.Sight) (data []byte, reason string) {
	switch {
	case d.opts.Raw:
		data = appendLine(dst, record)
	case mapErr != nil:
		return append(dst, record...), mapErr.Error()
	default:
		data = mapper.AppendSight(dst, record, meta, sight)
	}
	return data, d.tooLarge(len(data) - len(dst))
}

// tooLarge is the reason to refuse a document of so many bytes; "" if there is
// none.
func (d *Deliverer) tooLarge(size int) string {
	if most := d.opts.MaxDocument; most > 0 && int64(size) > most {
		return fmt.Sprintf("the document has %d bytes, and max_document is %d", size, most)
	}
	return ""
}

// letter makes a dead letter of the i-th record of a page.
func (d *Deliverer) letter(p *pagelog.Page, i int, mapper Mapper, reason string, document []byte, replay string) pagelog.DeadLetter {
	letter := pagelog.DeadLetter{
		Output: d.opts.Name, Feed: p.Feed, Page: p.Seq, Index: i, Reason: reason, Replay: replay,
		Raw: d.opts.Raw || mapper == nil, Fetched: p.Fetched, Stored: p.Stored, Document: bytes.Clone(document),
	}
	if mapper != nil {
		uid := mapper.Key(p.Records[i]).UID
		letter.UID = hex.EncodeToString(uid[:])
	}
	return letter
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
	b.Size++
	if b.Steps != nil {
		b.Steps = append(b.Steps, b.Size)
	}
}

// skip passes by a record without a document.
func (b *batch) skip() {
	if b.Steps == nil {
		b.Steps = make([]uint64, len(b.Ends))
		for i := range b.Steps {
			b.Steps[i] = uint64(i) + 1
		}
	}
	b.Size++
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

// dead makes dead letters of the documents that the output refused.
func (d *Deliverer) dead(b *batch, refusals []output.Refusal) (letters []pagelog.DeadLetter) {
	b.refused = len(refusals)
	for _, r := range refusals {
		document := b.Document(r.Index)
		if b.offered != nil {
			letter := b.offered[r.Index]
			letter.Reason, letter.Replay, letter.Document = r.Reason, b.Replay, bytes.Clone(document)
			letters = append(letters, letter)
			continue
		}
		n := uint64(r.Index)
		if b.Steps != nil {
			n = b.Steps[r.Index] - 1
		}
		from := b.pages[sort.Search(len(b.pages), func(k int) bool { return b.pages[k].first > n })-1]
		letters = append(letters, d.letter(from.page, int(n-from.first), from.mapper, r.Reason, document, b.Replay))
	}
	return letters
}
