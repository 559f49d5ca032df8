package jsonscan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// String returns the text of a raw JSON string, and false for any other value.
// Invalid UTF-8 and lone surrogates become U+FFFD.
func String(raw []byte) (string, bool) {
	text, ok := AppendText(nil, raw)
	return string(text), ok
}

// AppendText appends the text of a raw JSON string to dst, as String reads it.
func AppendText(dst, raw []byte) ([]byte, bool) {
	text, escaped, ok := Text(raw)
	if !ok {
		return dst, false
	}
	if !escaped && utf8.Valid(text) {
		return append(dst, text...), true
	}
	return appendUnescaped(dst, text), true
}

// Text returns what stands between the quotes of a raw JSON string, aliasing
// it, and whether it holds escapes. It reports false for any other value.
func Text(raw []byte) (text []byte, escaped, ok bool) {
	i := skipSpace(raw, 0)
	if i >= len(raw) || raw[i] != '"' {
		return nil, false, false
	}
	end, escaped := SkipString(raw, i)
	if end < i+2 || raw[end-1] != '"' {
		return nil, false, false
	}
	text = raw[i+1 : end-1 : end-1]
	if escaped && (len(text)-len(bytes.TrimRight(text, `\\`)))%2 == 1 {
		return nil, false, false // the last quote is part of the text, so the string is cut off
	}
	return text, escaped, true
}

// appendUnescaped appends the text of what stands between a string's quotes.
func appendUnescaped(dst, s []byte) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '\\':
			var r rune
			r, i = unescape(s, i)
			dst = utf8.AppendRune(dst, r)
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		default:
			r, size := utf8.DecodeRune(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += size
		}
	}
	return dst
}

// unescape reads the escape at s[i] and returns what it stands for and the
// index after it. A broken one stands for U+FFFD.
func unescape(s []byte, i int) (rune, int) {
	if i+1 >= len(s) {
		return utf8.RuneError, len(s)
	}
	switch c := s[i+1]; c {
	case '"', '\\', '/':
		return rune(c), i + 2
	case 'b':
		return '\b', i + 2
	case 'f':
		return '\f', i + 2
	case 'n':
		return '\n', i + 2
	case 'r':
		return '\r', i + 2
	case 't':
		return '\t', i + 2
	case 'u':
		r := hex4(s, i+2)
		if r < 0 {
			return utf8.RuneError, i + 2
		}
		i += 6
		if !utf16.IsSurrogate(r) {
			return r, i
		}
		if i+1 < len(s) && s[i] == '\\' && s[i+1] == 'u' {
			if full := utf16.DecodeRune(r, hex4(s, i+2)); full != utf8.RuneError {
				return full, i + 6
			}
		}
		return utf8.RuneError, i
	}
	return utf8.RuneError, i + 2
}

// hex4 reads four hexadecimal digits at s[i], or returns -1.
func hex4(s []byte, i int) rune {
	if i+4 > len(s) {
		return -1
	}
	var r rune
	for _, c := range s[i : i+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// AppendString appends text to dst as a JSON string. Invalid UTF-8 becomes
// U+FFFD, a byte at a time; only what JSON demands is escaped.
func AppendString(dst, s []byte) []byte {
	dst = append(slices.Grow(dst, len(s)+len(s)/4+roomy), '"')
	n, out := len(dst), dst[:cap(dst)]
	for i := 0; i < len(s); {
		if len(out)-n < roomy {
			out = slices.Grow(out[:n], len(s)-i+roomy)
			out = out[:cap(out)]
		}
		if i+8 <= len(s) {
			moved, written := appendWords(out[n:], s[i:])
			n += written
			if i += moved; i == len(s) {
				break
			}
		}
		switch c := s[i]; {
		case c == '"', c == '\\':
			out[n], out[n+1] = '\\', c
			n += 2
			i++
		case c < ' ':
			n = len(appendEscape(out[:n], c))
			i++
		case c < utf8.RuneSelf:
			out[n] = c
			n++
			i++
		default:
			r, size := utf8.DecodeRune(s[i:])
			n = len(utf8.AppendRune(out[:n], r))
			i += size
		}
	}
	return append(out[:n], '"')
}

// appendWords writes s to out, eight bytes at a time, as far as it has only to
// put backslashes before quotes and backslashes, and out has room. It returns how
// much of s that is, and how much of out.
func appendWords(out, s []byte) (moved, written int) {
	i, n := 0, 0
	for i <= len(s)-8 && n <= len(out)-roomy {
		w := load(s, i)
		binary.LittleEndian.PutUint64(out[n:n+8], w)
		quotes := ((w ^ lows*'"') &^ highs) + lows*0x7f
		backslashes := ((w ^ lows*'\\') &^ highs) + lows*0x7f
		m := ^(quotes&backslashes | w) & highs // all, and no others
		hard := (w - lows*' ' | w) & highs     // only the first is right for certain
		if hard != 0 {
			m &= hard - 1
		}
		for ; m != 0; m &= m - 1 {
			at := bits.TrailingZeros64(m) & 56
			k := n + at>>3
			out[k] = '\\'
			binary.LittleEndian.PutUint64(out[k+1:k+9], w>>at)
			n++
		}
		if hard != 0 {
			k := bits.TrailingZeros64(hard) >> 3
			return i + k, n + k
		}
		i += 8
		n += 8
	}
	return i, n
}

// roomy is more than AppendString writes at once: eight bytes, as many
// backslashes, and what is moved on beyond them.
const roomy = 32

// AppendRaw appends a raw JSON string to dst byte for byte, if it is one: with
// both quotes, no control characters and no unknown escapes. Otherwise it
// returns dst as it was, and false. It does not look at the UTF-8.
func AppendRaw(dst, raw []byte) ([]byte, bool) {
	text, escaped, ok := Text(raw)
	if !ok {
		return dst, false
	}
	i := 0
	for ; i+8 <= len(text); i += 8 {
		w := load(text, i)
		if (w-lows*' ')&^w&highs != 0 {
			return dst, false
		}
	}
	for ; i < len(text); i++ {
		if text[i] < ' ' {
			return dst, false
		}
	}
	if escaped && !escapesValid(text) {
		return dst, false
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"'), true
}

// escapesValid tells whether JSON knows all escapes of a string's text.
func escapesValid(s []byte) bool {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return true
		}
		if s = s[i+1:]; len(s) == 0 {
			return false
		}
		switch s[0] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			if hex4(s, 1) < 0 {
				return false
			}
		default:
			return false
		}
		s = s[1:]
	}
}

const hexDigits = "0123456789abcdef"

// appendEscape appends a control character.
func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
