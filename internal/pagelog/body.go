package pagelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A window of half a megabyte keeps an encoder near 1 MB and costs nothing on
// JSON records, which repeat within a few kilobytes.
const window = 512 << 10

var encoders = sync.Pool{New: func() any {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(window))
	if err != nil {
		panic(err) // the options above are constant
	}
	return e
}}

var decoders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(err) // the options above are constant
	}
	return d
}}

// scratch are buffers for encoding one page; larger ones than poolable are left
// to the collector.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

const poolable = 4 << 20

func putScratch(b *[]byte) {
	if cap(*b) <= poolable {
		scratch.Put(b)
	}
}

// bodySize returns the bytes of the framed records before compression.
func (p *Page) bodySize() int {
	n := 0
	for _, r := range p.Records {
		var b [binary.MaxVarintLen64]byte
		n += len(r) + binary.PutUvarint(b[:], uint64(len(r)))
	}
	return n
}

// appendBody appends the page's body to dst.
func (p *Page) appendBody(dst []byte) []byte {
	raw := scratch.Get().(*[]byte)
	defer putScratch(raw)
	*raw = p.appendFramed((*raw)[:0])
	return compress(dst, *raw)
}

// appendFramed appends the records to dst, each behind its length.
func (p *Page) appendFramed(dst []byte) []byte {
	for _, r := range p.Records {
		dst = binary.AppendUvarint(dst, uint64(len(r)))
		dst = append(dst, r...)
	}
	return dst
}

// cutFramed is the inverse of appendFramed. The n records alias raw.
func cutFramed(raw []byte, n int) ([][]byte, error) {
	records := make([][]byte, n)
	for i := range records {
		n, k := binary.Uvarint(raw)
		if k <= 0 || n > uint64(len(raw)-k) {
			return nil, fmt.Errorf("body: record %d of %d is cut off", i+1, len(records))
		}
		raw = raw[k:]
		records[i], raw = raw[:n:n], raw[n:]
	}
	if len(raw) != 0 {
		return nil, errors.New("body has more records than hashes")
	}
	return records, nil
}

// compress appends the compressed form of framed records to dst.
func compress(dst, raw []byte) []byte {
	e := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(e)
	return e.EncodeAll(raw, dst)
}

// readBody fills in the records of a page from its body. They share one new
// buffer.
func (s *stored) readBody(body []byte) error {
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	raw, err := d.DecodeAll(body, make([]byte, 0, s.size))
	if err != nil {
		return fmt.Errorf("body: %w", err)
	}
	if len(raw) != s.size {
		return fmt.Errorf("body of %d bytes, want %d", len(raw), s.size)
	}
	s.Records, err = cutFramed(raw, len(s.Hashes))
	return err
}
