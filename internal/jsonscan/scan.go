// Package jsonscan reads parts of JSON text in one pass over its bytes, without
// decoding: it finds where values stand and hands out their raw spans, which
// alias the input.
//
// The scans of a Plan and Valid check the syntax of all that they are given. The others
// take it to be valid, as everything is that Scan found in valid JSON. On
// anything else they neither panic nor loop, and every span they hand out lies
// within the input, but which spans is unspecified.
//
// Where an object names a key twice, the last one counts, as in encoding/json.
package jsonscan

import (
	"encoding/binary"
	"math/bits"
)

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// same marks, with a high bit, the bytes of w that equal c. Bytes above the
// lowest marked one may be marked wrongly, so only that one may be used.
func same(w uint64, c byte) uint64 {
	w ^= lows * uint64(c)
	return (w - lows) & ^w & highs
}

func load(src []byte, i int) uint64 { return binary.LittleEndian.Uint64(src[i : i+8]) }

// space is skipSpace, made to be quick where there is none.
func space(src []byte, i int) int {
	if i < len(src) && src[i] > ' ' {
		return i
	}
	return skipSpace(src, i)
}

// skipSpace returns the index of the first byte at or after i that is no white space.
func skipSpace(src []byte, i int) int {
	for i < len(src) {
		switch src[i] {
		case ' ', '\n', '\t', '\r':
			i++
			// Indentation comes in runs of spaces.
			for i+8 <= len(src) && load(src, i) == lows*' ' {
				i += 8
			}
		default:
			return i
		}
	}
	return i
}

// SkipString returns the index after the string whose opening quote is at
// src[i], and whether the string holds a backslash.
func SkipString(src []byte, i int) (end int, escaped bool) {
	i++
	for i+8 <= len(src) {
		w := load(src, i)
		m := same(w, '"') | same(w, '\\')
		if m == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(m) >> 3
		if src[i] == '"' {
			return i + 1, escaped
		}
		escaped = true
		i += 2
	}
	for i < len(src) {
		switch src[i] {
		case '"':
			return i + 1, escaped
		case '\\':
			escaped = true
			i++
		}
		i++
	}
	return len(src), escaped
}

// What a byte outside strings does to the nesting.
const (
	opens = 1 + iota
	closes
	quotes
	breaks // a new line: indentation may follow
)

var nesting = [256]byte{'{': opens, '[': opens, '}': closes, ']': closes, '"': quotes, '\n': breaks}

// skipNested returns the index after the bracket that closes depth levels,
// reading from i on.
func skipNested(src []byte, i, depth int) int {
	for i < len(src) {
		class := nesting[src[i]]
		i++
		switch class {
		case 0:
		case quotes:
			i, _ = SkipString(src, i-1)
		case opens:
			depth++
		case closes:
			depth--
			if depth == 0 {
				return i
			}
		case breaks:
			for i+8 <= len(src) && load(src, i) == lows*' ' {
				i += 8
			}
		}
	}
	return len(src)
}

// skipValue returns the index after the value that starts at i. It always
// moves on, so that loops over broken input end.
func skipValue(src []byte, i int) int {
	if i >= len(src) {
		return len(src)
	}
	switch src[i] {
	case '"':
		i, _ = SkipString(src, i)
		return i
	case '{', '[':
		return skipNested(src, i+1, 1)
	}
	for i++; i < len(src); i++ {
		switch src[i] {
		case ',', '}', ']', ' ', '\n', '\t', '\r', ':', '"', '{', '[':
			return i
		}
	}
	return i
}

// Kind tells what a raw value is by its first byte: one of { [ " t f n, 0 (the
// digit) for a number, and the zero byte for no value at all.
func Kind(raw []byte) byte {
	i := skipSpace(raw, 0)
	if i >= len(raw) {
		return 0
	}
	switch c := raw[i]; c {
	case '{', '[', '"', 't', 'f', 'n':
		return c
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return '0'
	}
	return 0
}

// Elements yields the raw elements of an array, in order, until yield returns
// false. It yields nothing for any other value.
func Elements(array []byte, yield func(raw []byte) bool) {
	i := skipSpace(array, 0)
	if i >= len(array) || array[i] != '[' {
		return
	}
	for i = nextElement(array, i+1); i < len(array); i = nextElement(array, i) {
		end := skipValue(array, i)
		if !yield(array[i:end:end]) {
			return
		}
		i = end
	}
}

// nextElement returns where the next element of an array starts, reading from
// i on: after its opening bracket or after an element. At its end it returns
// len(src).
func nextElement(src []byte, i int) int {
	i = skipSpace(src, i)
	if i < len(src) && src[i] == ',' {
		i = skipSpace(src, i+1)
	}
	if i < len(src) && src[i] == ']' {
		return len(src)
	}
	return i
}

// Members yields the names and raw values of an object's members, in order and
// with any duplicates, until yield returns false. The name is its text, without
// quotes; it aliases the object unless it holds escapes. Members yields nothing
// for any other value.
func Members(object []byte, yield func(key, raw []byte) bool) {
	i := skipSpace(object, 0)
	if i >= len(object) || object[i] != '{' {
		return
	}
	i++
	for {
		var m member
		if m, i = nextMember(object, i); i >= len(object) {
			return
		}
		key := object[m.key:m.keyEnd:m.keyEnd]
		if m.escaped {
			key = appendUnescaped(nil, key)
		}
		end := skipValue(object, i)
		if !yield(key, object[i:end:end]) {
			return
		}
		i = end
	}
}

// member is where the name of a member stands: its text within the quotes.
type member struct {
	key, keyEnd int
	escaped     bool
}

// nextMember reads the next name of an object, from i on: after its opening
// bracket or after a member. It returns where the member's value starts, and
// len(src) at the object's end.
func nextMember(src []byte, i int) (member, int) {
	i = skipSpace(src, i)
	if i < len(src) && src[i] == ',' {
		i = skipSpace(src, i+1)
	}
	if i >= len(src) || src[i] != '"' {
		return member{}, len(src)
	}
	end, escaped := SkipString(src, i)
	m := member{key: i + 1, keyEnd: max(i+1, end-1), escaped: escaped}
	i = skipSpace(src, end)
	if i < len(src) && src[i] == ':' {
		i = skipSpace(src, i+1)
	}
	return m, i
}
