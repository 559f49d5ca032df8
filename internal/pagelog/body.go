package pagelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"
)

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

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// compress appends the compressed form of raw to dst: an S2 block and, in four
// bytes, little endian, its CRC-32C.
func compress(dst, raw []byte) []byte {
	start := len(dst)
	dst = slices.Grow(dst, s2.MaxEncodedLen(len(raw))+4)
	block := s2.Encode(dst[start:cap(dst)], raw)
	return binary.LittleEndian.AppendUint32(dst[:start+len(block)], crc32.Checksum(block, castagnoli))
}

// decompress is the inverse of compress, for size bytes.
func decompress(body []byte, size int) ([]byte, error) {
	end := len(body) - 4
	if end < 0 {
		return nil, errors.New("cut off")
	}
	if crc32.Checksum(body[:end], castagnoli) != binary.LittleEndian.Uint32(body[end:]) {
		return nil, errors.New("checksum does not match")
	}
	if n, err := s2.DecodedLen(body[:end]); err != nil || n != size {
		return nil, fmt.Errorf("%d bytes, want %d", n, size)
	}
	return s2.Decode(make([]byte, size), body[:end])
}

// readBody fills in the records of a page from its body. They share one new
// buffer.
func (s *stored) readBody(body []byte) error {
	raw, err := decompress(body, s.size)
	if err != nil {
		return fmt.Errorf("body: %w", err)
	}
	s.Records, err = cutFramed(raw, len(s.Hashes))
	return err
}
