package pagelog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/minio/highwayhash"
)

// verifyBlocks checks every message block of a stream as the server keeps it on
// disk. When the server rebuilds its index it truncates a block at the first
// record it cannot read, good records behind it included; so they are looked at
// before it does.
//
// A block is a run of records:
//
//	length(4) sequence(8) time(8) subject length(2) subject [headers length(4) headers] body hash(8)
//
// little endian, the top bit of length saying whether there are headers, the
// two top bits of sequence marking records of deleted messages. The hash is
// HighwayHash-64 over all but the lengths, keyed with SHA-256 of the stream's
// name and the block's number.
//
// After a stop that was not clean the last record of the last block may be half
// written: it was never acknowledged.
func verifyBlocks(dir, stream string, tornTail bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var blocks []int
	for _, e := range entries {
		if n, err := strconv.Atoi(strings.TrimSuffix(e.Name(), ".blk")); err == nil && strings.HasSuffix(e.Name(), ".blk") {
			blocks = append(blocks, n)
		}
	}
	slices.Sort(blocks)
	var buf []byte
	for i, n := range blocks {
		path := filepath.Join(dir, strconv.Itoa(n)+".blk")
		if buf, err = readInto(buf, path); err != nil {
			return err
		}
		key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, n))
		bad, lost, err := verifyBlock(buf, key[:])
		if err != nil {
			return fmt.Errorf("verify %s: %w", path, err)
		}
		if bad < 0 || tornTail && i == len(blocks)-1 && !lost {
			continue
		}
		return &DamagedError{Path: path, Problem: fmt.Sprintf("unreadable from byte %d of %d on", bad, len(buf))}
	}
	return nil
}

func readInto(buf []byte, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return buf, err
	}
	defer f.Close()
	b := bytes.NewBuffer(buf[:0])
	if info, err := f.Stat(); err == nil {
		b.Grow(int(info.Size()) + bytes.MinRead)
	}
	_, err = b.ReadFrom(f)
	return b.Bytes(), err
}

// verifyBlock returns the offset of the first record that cannot be read, -1 if
// all can, and whether there is a good record behind it.
func verifyBlock(buf, key []byte) (bad int, lost bool, err error) {
	hash, err := highwayhash.NewDigest64(key)
	if err != nil {
		return 0, false, err
	}
	const (
		fixed   = 22
		sumSize = 8
		hasHdr  = 1 << 31
		flags   = 3 << 62
	)
	// record returns the length of the record at off, 0 if it is not one.
	record := func(off int, after, before uint64) (n int, seq uint64) {
		b := buf[off:]
		if len(b) < fixed+sumSize {
			return 0, 0
		}
		l := binary.LittleEndian.Uint32(b)
		seq = binary.LittleEndian.Uint64(b[4:])
		slen := int(binary.LittleEndian.Uint16(b[20:]))
		n = int(l &^ hasHdr)
		start := fixed + slen // of what follows the subject
		if l&hasHdr != 0 {
			start += 4
		}
		if n > len(b) || start+sumSize > n || seq < after || seq > before {
			return 0, 0
		}
		hash.Reset()
		hash.Write(b[4:20])
		hash.Write(b[fixed : fixed+slen])
		hash.Write(b[start : n-sumSize])
		var sum [sumSize]byte
		if !bytes.Equal(hash.Sum(sum[:0]), b[n-sumSize:n]) {
			return 0, 0
		}
		return n, seq
	}
	var last uint64
	off := 0
	for off < len(buf) {
		n, seq := record(off, 0, ^uint64(0))
		if n == 0 {
			break
		}
		if seq&flags == 0 {
			last = max(last, seq)
		}
		off += n
	}
	if off == len(buf) {
		return -1, false, nil
	}
	// A live record follows within this many sequences, or none does. The bound
	// keeps the search from hashing at every offset.
	const near = 1 << 20
	for next := off + 1; next < len(buf); next++ {
		if n, _ := record(next, last+1, last+near); n > 0 {
			return off, true, nil
		}
	}
	return off, false, nil
}
