package okta

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// matcher reads an expression and keywords, either of which may be empty.
func matcher(filter, keywords string) (func(*event) bool, error) {
	words := strings.Fields(strings.ToLower(keywords))
	if len(words) > 10 {
		return nil, invalid("q", "Freeform search cannot contain more than 10 items.")
	}
	for _, w := range words {
		if len([]rune(w)) > 40 {
			return nil, invalid("q", "Freeform search cannot contain items longer than 40 characters. Please shorten the items in your search or use an advanced filter to query by specific fields.")
		}
	}
	match := func(*event) bool { return true }
	if filter != "" {
		p := parser{text: filter, left: tokens(filter)}
		expression, err := p.or()
		if err == nil && len(p.left) > 0 {
			err = p.wrong("Unexpected '%s'", p.left[0])
		}
		if err != nil {
			return nil, err
		}
		match = expression
	}
	return func(e *event) bool {
		if !match(e) {
			return false
		}
		text := ""
		if len(words) > 0 {
			text = strings.ToLower(string(e.json))
		}
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
	}, nil
}

// tokens splits an expression: parentheses, quoted texts and words.
func tokens(s string) (out []string) {
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		end := 1
		switch {
		case s[0] == '"':
			for end < len(s) && s[end] != '"' {
				if s[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(s))
		case s[0] != '(' && s[0] != ')':
			if end = strings.IndexFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r == '(' || r == ')' || r == '"' }); end < 0 {
				end = len(s)
			}
		}
		out, s = append(out, s[:end]), s[end:]
	}
	return out
}

// parser reads SCIM expressions: comparisons of attributes, joined by "and" and
// "or", in parentheses and after "not".
type parser struct {
	text  string
	left  []string
	depth int
}

func (p *parser) wrong(format string, args ...any) error {
	return badRequest{code: "E0000053", summary: fmt.Sprintf("Invalid filter '%s': ", p.text) + fmt.Sprintf(format, args...)}
}

// take takes the next token if it is the word.
func (p *parser) take(word string) bool {
	if len(p.left) == 0 || !strings.EqualFold(p.left[0], word) {
		return false
	}
	p.left = p.left[1:]
	return true
}

func (p *parser) or() (func(*event) bool, error) { return p.joined("or", p.and) }

func (p *parser) and() (func(*event) bool, error) { return p.joined("and", p.single) }

// joined reads expressions with a word between them.
func (p *parser) joined(word string, read func() (func(*event) bool, error)) (func(*event) bool, error) {
	var parts []func(*event) bool
	for {
		part, err := read()
		if err != nil {
			return nil, err
		}
		if parts = append(parts, part); !p.take(word) {
			break
		}
	}
	return func(e *event) bool {
		for _, ok := range parts {
			if ok(e) == (word == "or") {
				return word == "or"
			}
		}
		return word == "and"
	}, nil
}

// single reads one comparison, or an expression in parentheses.
func (p *parser) single() (func(*event) bool, error) {
	if p.depth++; p.depth > 50 {
		return nil, p.wrong("It is nested too deeply")
	}
	defer func() { p.depth-- }()
	if p.take("not") {
		inner, err := p.single()
		return func(e *event) bool { return !inner(e) }, err
	}
	if p.take("(") {
		inner, err := p.or()
		if err == nil && !p.take(")") {
			err = p.wrong("A parenthesis is not closed")
		}
		return inner, err
	}
	if len(p.left) < 2 {
		return nil, p.wrong("It ends too early")
	}
	path, op := p.left[0], strings.ToLower(p.left[1])
	p.left = p.left[2:]
	if path == "published" {
		return nil, p.wrong("published cannot be filtered by")
	}
	if op == "pr" {
		return func(e *event) bool { return len(e.values(path)) > 0 }, nil
	}
	compare, ok := map[string]func(have, want string) bool{
		"eq": func(have, want string) bool { return have == want },
		"ne": func(have, want string) bool { return have != want },
		"co": strings.Contains, "sw": strings.HasPrefix, "ew": strings.HasSuffix,
		"gt": func(have, want string) bool { return have > want },
		"ge": func(have, want string) bool { return have >= want },
		"lt": func(have, want string) bool { return have < want },
		"le": func(have, want string) bool { return have <= want },
	}[op]
	if !ok {
		return nil, p.wrong("Unrecognized attribute operator '%s'. Expected: eq,co,sw,pr,gt,ge,lt,le", op)
	}
	if op == "co" && (path == "debugContext.debugData.url" || path == "debugContext.debugData.requestUri") {
		return nil, badRequest{code: "E0000031", summary: "The supplied combination of operator and field is not currently supported. Operator: co, Field: " + path}
	}
	if len(p.left) == 0 {
		return nil, p.wrong("It ends too early")
	}
	want := strings.Trim(p.left[0], `"`)
	p.left = p.left[1:]
	return func(e *event) bool {
		return slices.ContainsFunc(e.values(path), func(have string) bool { return compare(have, want) })
	}, nil
}

// values are those at a dotted path of the event, of every element where it
// goes through a list.
func (e *event) values(path string) []string {
	at := []any{e.document}
	for key := range strings.SplitSeq(path, ".") {
		var next []any
		for _, v := range at {
			m, _ := v.(map[string]any)
			if list, ok := m[key].([]any); ok {
				next = append(next, list...)
			} else if m[key] != nil {
				next = append(next, m[key])
			}
		}
		at = next
	}
	var out []string
	for _, v := range at {
		if _, nested := v.(map[string]any); !nested {
			out = append(out, fmt.Sprint(v))
		}
	}
	return out
}
