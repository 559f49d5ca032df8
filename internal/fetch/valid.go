package fetch

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// lenient is how answers are checked: syntax only, since what is inside a
// record is kept as it came.
var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// validJSON tells whether a body is one whole JSON value, of any depth.
func validJSON(body []byte) bool {
	return jsontext.Value(body).IsValid(lenient...) || validDeep(body)
}

// validDeep checks what the library gives up on: nesting beyond its limit of
// 10,000 levels, which a record may have and no feed may get stuck on.
func validDeep(body []byte) bool {
	var open []byte // brackets not closed yet
	const (
		value     = iota // a value has to come
		valueEnd         // a value, or the end of an array just opened
		name             // a member's name has to come
		nameEnd          // a name, or the end of an object just opened
		afterItem        // a comma, or the end of what is open
	)
	want := value
	for i := 0; i < len(body); {
		c := body[i]
		if c == ' ' || c == '\n' || c == '\t' || c == '\r' {
			i++
			continue
		}
		switch {
		case want == afterItem && c == ',' && len(open) > 0:
			want = value
			if open[len(open)-1] == '{' {
				want = name
			}
			i++
		case (c == ']' && (want == afterItem || want == valueEnd) || c == '}' && (want == afterItem || want == nameEnd)) &&
			len(open) > 0 && open[len(open)-1] == c-2: // [ and { stand two before ] and }
			open = open[:len(open)-1]
			want = afterItem
			i++
		case want == name || want == nameEnd:
			end := atom(body, i)
			if c != '"' || end < 0 {
				return false
			}
			rest := bytes.TrimLeft(body[end:], " \n\t\r")
			if len(rest) == 0 || rest[0] != ':' {
				return false
			}
			i = len(body) - len(rest) + 1
			want = value
		case (want == value || want == valueEnd) && (c == '[' || c == '{'):
			open = append(open, c)
			want = valueEnd
			if c == '{' {
				want = nameEnd
			}
			i++
		case want == value || want == valueEnd:
			if i = atom(body, i); i < 0 {
				return false
			}
			want = afterItem
		default:
			return false
		}
	}
	return want == afterItem && len(open) == 0
}

// atom gives the index after the string, number or literal at i, or -1.
func atom(body []byte, i int) int {
	end := i + 1
	if body[i] == '"' {
		for end < len(body) && body[end] != '"' {
			if body[end] == '\\' {
				end++
			}
			end++
		}
		end++
	} else {
		for end < len(body) && strings.IndexByte(" \n\t\r,:]}[{\"", body[end]) < 0 {
			end++
		}
	}
	if end > len(body) || !jsontext.Value(body[i:end]).IsValid(lenient...) {
		return -1
	}
	return end
}
