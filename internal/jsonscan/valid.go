package jsonscan

import "math/bits"

// Valid tells whether src is one JSON value and nothing after it, as RFC 8259
// has it. It does not look at the UTF-8, takes names that come twice, and does
// not mind how deep values nest.
func Valid(src []byte) bool {
	i := skipValid(src, skipSpace(src, 0))
	return i >= 0 && skipSpace(src, i) == len(src)
}

// skipValid returns the index after the value that starts at i, or -1 where
// there is no valid one.
func skipValid(src []byte, i int) int {
	var open brackets
	for {
		// Here stands a value.
		if i >= len(src) {
			return -1
		}
		switch c := src[i]; c {
		case '"':
			i, _ = validString(src, i)
		case '{':
			if i = space(src, i+1); i < len(src) && src[i] == '}' {
				i++
				break
			}
			open.push(true)
			if i = validName(src, i); i < 0 {
				return -1
			}
			continue
		case '[':
			if i = space(src, i+1); i < len(src) && src[i] == ']' {
				i++
				break
			}
			open.push(false)
			continue
		case 't':
			i = validWord(src, i, "true")
		case 'f':
			i = validWord(src, i, "false")
		case 'n':
			i = validWord(src, i, "null")
		default:
			i = validNumber(src, i)
		}
		if i < 0 {
			return -1
		}
		// Here a value ended, and perhaps those that it is the last part of.
		for {
			if open.depth == 0 {
				return i
			}
			if i = space(src, i); i >= len(src) {
				return -1
			}
			c := src[i]
			i = i + 1
			if c == ',' {
				i = space(src, i)
				if open.object() {
					if i = validName(src, i); i < 0 {
						return -1
					}
				}
				break
			}
			if object := open.object(); c != '}' && object || c != ']' && !object {
				return -1
			}
			open.pop()
		}
	}
}

// brackets are those that are open, the innermost in the lowest bit: 1 for an
// object, 0 for an array.
type brackets struct {
	bits  uint64
	depth int
	outer []uint64 // those before the last 64 or fewer
}

func (b *brackets) object() bool { return b.bits&1 != 0 }

func (b *brackets) push(object bool) {
	if b.depth > 0 && b.depth&63 == 0 {
		b.outer = append(b.outer, b.bits)
	}
	b.depth++
	b.bits <<= 1
	if object {
		b.bits |= 1
	}
}

func (b *brackets) pop() {
	b.depth--
	b.bits >>= 1
	if b.depth > 0 && b.depth&63 == 0 {
		b.bits = b.outer[len(b.outer)-1]
		b.outer = b.outer[:len(b.outer)-1]
	}
}

// validName reads a member's name and its colon and returns the index of the
// value, or -1.
func validName(src []byte, i int) int {
	if i >= len(src) || src[i] != '"' {
		return -1
	}
	if i, _ = validString(src, i); i < 0 {
		return -1
	}
	if i = space(src, i); i >= len(src) || src[i] != ':' {
		return -1
	}
	return space(src, i+1)
}

// validString returns the index after the string whose opening quote is at i,
// or -1, and whether it holds a backslash.
func validString(src []byte, i int) (end int, escaped bool) {
	for i++; i+8 <= len(src); i += 8 {
		if m := special(load(src, i)); m != 0 {
			if i += bits.TrailingZeros64(m) >> 3; src[i] == '"' {
				return i + 1, false
			}
			break
		}
	}
	return validRest(src, i)
}

// validRest is validString from within the string on.
func validRest(src []byte, i int) (end int, escaped bool) {
	for i < len(src) && src[i] >= ' ' {
		switch src[i] {
		case '"':
			return i + 1, escaped
		case '\\':
			escaped = true
			if i = validEscape(src, i); i < 0 {
				return -1, escaped
			}
		default:
			i++
		}
		for ; i+8 <= len(src); i += 8 {
			if m := special(load(src, i)); m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
		}
	}
	return -1, escaped
}

// special marks the first byte of w that does not stand for itself in a JSON
// string: a quote, a backslash or a control character. Bytes above that one may
// be marked wrongly. With its second bit turned over a quote is next to the
// control characters.
func special(w uint64) uint64 {
	return ((w ^ lows*2 - lows*'!') | (w ^ lows*'\\' - lows)) &^ w & highs
}

// validEscape returns the index after the escape at i, or -1.
func validEscape(src []byte, i int) int {
	if i+1 >= len(src) {
		return -1
	}
	switch src[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		if hex4(src, i+2) >= 0 {
			return i + 6
		}
	}
	return -1
}

func validWord(src []byte, i int, word string) int {
	if i+len(word) <= len(src) && string(src[i:i+len(word)]) == word {
		return i + len(word)
	}
	return -1
}

func validNumber(src []byte, i int) int {
	if i < len(src) && src[i] == '-' {
		i++
	}
	if i < len(src) && src[i] == '0' {
		i++
	} else if i = validDigits(src, i); i < 0 {
		return -1
	}
	if i < len(src) && src[i] == '.' {
		if i = validDigits(src, i+1); i < 0 {
			return -1
		}
	}
	if i < len(src) && src[i]|' ' == 'e' {
		if i++; i < len(src) && (src[i] == '+' || src[i] == '-') {
			i++
		}
		return validDigits(src, i)
	}
	return i
}

// validDigits returns the index after one digit or more, or -1.
func validDigits(src []byte, i int) int {
	from := i
	for i < len(src) && '0' <= src[i] && src[i] <= '9' {
		i++
	}
	if i == from {
		return -1
	}
	return i
}
