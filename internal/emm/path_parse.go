package emm

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// alternatives are what people write between paths of which any may do.
var alternatives = []string{"||", "//", ",", ";", " or ", " OR ", " / ", " | "}

// ParsePath reads a path. It never fails: at worst the path is the name of one
// member, whatever characters are in it, and Err says what it is not.
func ParsePath(text string) Path {
	p := Path{text: text}
	trimmed := strings.TrimSpace(text)
	if trimmed == "" || len(trimmed) > maxPath {
		p.err = fmt.Errorf("must have 1 to %d characters", maxPath)
		return p
	}
	p.ways = [][]step{{{kind: stepName, name: trimmed, quoted: true}}}
	way, err := parseWay(trimmed)
	if err == nil {
		p.ways = append(p.ways, way)
	}
	p.err = err
	for _, mark := range alternatives {
		parts := split(trimmed, mark)
		if len(parts) < 2 || len(parts) > maxAlternatives {
			continue
		}
		for _, part := range parts {
			if way, err := parseWay(strings.TrimSpace(part)); err == nil {
				p.ways = append(p.ways, way)
				p.err = nil
			}
		}
	}
	if strings.HasPrefix(trimmed, "/") {
		p.ways = append(p.ways, pointer(trimmed))
		p.err = nil
	}
	return p
}

// pointer reads a JSON Pointer: /a/b/0.
func pointer(text string) []step {
	var steps []step
	for name := range strings.SplitSeq(text[1:], "/") {
		name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		steps = append(steps, step{kind: stepName, name: name})
	}
	return steps[:min(len(steps), maxSteps)]
}

// ofResults are stages that choose among what was found, or change its form, and
// so lead nowhere else.
var ofResults = regexp.MustCompile(`^(\[-?[0-9]+\]|first|last|tostring|tonumber|fromjson|ascii_downcase|ascii_upcase)$`)

// parseWay reads a path with the steps and filters that JSONPath, JMESPath and
// jq have in common, and stages of them joined by |.
func parseWay(text string) ([]step, error) {
	var steps []step
	for i, stage := range split(text, "|") {
		stage = strings.TrimSpace(stage)
		if i > 0 && ofResults.MatchString(stage) {
			continue
		}
		if condition, ok := strings.CutPrefix(stage, "select("); ok && strings.HasSuffix(condition, ")") {
			tests, err := parseTests(strings.TrimSuffix(condition, ")"))
			if err != nil {
				return nil, err
			}
			steps = append(steps, step{kind: stepWhere, where: tests})
			continue
		}
		more, err := parseSteps(stage)
		if err != nil {
			return nil, err
		}
		if i > 0 && len(more) == 0 {
			return nil, errors.New("nothing behind |")
		}
		steps = append(steps, more...)
	}
	if len(steps) > maxSteps {
		return nil, fmt.Errorf("more than %d steps", maxSteps)
	}
	return steps, nil
}

// parseSteps reads names and brackets.
func parseSteps(text string) ([]step, error) {
	for _, root := range []string{"$", "@"} {
		if rest, ok := strings.CutPrefix(text, root); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			text = rest
		}
	}
	var steps []step
	for first := true; text != ""; first = false {
		if len(steps) > maxSteps {
			return nil, fmt.Errorf("more than %d steps", maxSteps)
		}
		switch {
		case strings.HasPrefix(text, ".."):
			steps = append(steps, step{kind: stepDeep})
			text = text[1:]
			if text == "." {
				return nil, errors.New("two dots without a name behind them")
			}
			continue
		case text[0] == '[':
			inside, rest, ok := enclosed(text, '[', ']')
			if !ok {
				return nil, errors.New("a bracket is not closed")
			}
			st, err := parseBrackets(strings.TrimSpace(inside))
			if err != nil {
				return nil, err
			}
			steps = append(steps, st)
			text = strings.TrimPrefix(rest, "?")
			continue
		case text[0] == '.':
			text = text[1:]
			if text == "" && first {
				return steps, nil // the whole event
			}
			if strings.HasPrefix(text, "[") {
				continue
			}
		case !first:
			return nil, fmt.Errorf("%q where a dot or bracket belongs", text)
		}
		st, rest, err := parseName(text)
		if err != nil {
			return nil, err
		}
		steps = append(steps, st)
		text = rest
	}
	return steps, nil
}

// parseName reads a name up to the next dot or bracket.
func parseName(text string) (st step, rest string, err error) {
	if inside, rest, ok := quotes(text); ok {
		return step{kind: stepName, name: inside, quoted: true}, rest, nil
	}
	end := 0
	for end < len(text) && text[end] != '.' && text[end] != '[' {
		if text[end] == '\\' && end+1 < len(text) {
			end++ // a dot behind it is one of the name
		}
		end++
	}
	name := strings.NewReplacer(`\.`, ".", `\[`, "[", `\\`, `\`).Replace(text[:end])
	if end > 1 {
		name = strings.TrimSuffix(name, "?") // jq's: nothing is no mistake
	}
	switch {
	case name == "":
		return step{}, "", errors.New("a name is missing")
	case strings.ContainsAny(name, "]|"):
		return step{}, "", fmt.Errorf("%q is not a name", name)
	case name == "*":
		return step{kind: stepEvery}, text[end:], nil
	}
	return step{kind: stepName, name: name}, text[end:], nil
}

// parseBrackets reads what stands between brackets.
func parseBrackets(inside string) (step, error) {
	if inside == "" || inside == "*" {
		return step{kind: stepEvery}, nil
	}
	if name, rest, ok := quotes(inside); ok && rest == "" {
		return step{kind: stepName, name: name, quoted: true}, nil
	}
	if condition, ok := strings.CutPrefix(inside, "?"); ok {
		tests, err := parseTests(condition)
		return step{kind: stepWhere, where: tests}, err
	}
	if from, to, ok := strings.Cut(inside, ":"); ok {
		return parseSlice(from, to)
	}
	if n, err := strconv.Atoi(inside); err == nil {
		return step{kind: stepIndex, from: n}, nil
	}
	if strings.Contains(inside, "=") {
		tests, err := parseTests(inside)
		return step{kind: stepWhere, where: tests}, err
	}
	if strings.ContainsAny(inside, "[](),'\"`") {
		return step{}, fmt.Errorf("[%s] is no index, name or filter", inside)
	}
	return step{kind: stepName, name: inside, quoted: true}, nil
}

func parseSlice(from, to string) (step, error) {
	st := step{kind: stepSlice, to: maxValues}
	for _, end := range []struct {
		text string
		into *int
	}{{from, &st.from}, {to, &st.to}} {
		if end.text = strings.TrimSpace(end.text); end.text == "" {
			continue
		}
		n, err := strconv.Atoi(end.text)
		if err != nil {
			return step{}, fmt.Errorf("[%s:%s] is not a range of numbers", from, to)
		}
		*end.into = n
	}
	return st, nil
}

// parseTests reads the condition of a filter: name=='x', @.name == "x" && type == `y`,
// name=x, or a name alone, which has to have a value.
func parseTests(text string) ([]test, error) {
	text = strings.TrimSpace(text)
	if inside, rest, ok := enclosed(text, '(', ')'); ok && strings.TrimSpace(rest) == "" {
		return parseTests(inside)
	}
	parts := split(text, "&&")
	if len(parts) == 1 {
		parts = split(text, " and ")
	}
	if len(parts) == 1 {
		t, err := parseTest(text)
		return []test{t}, err
	}
	var tests []test
	for _, part := range parts {
		more, err := parseTests(part)
		if err != nil {
			return nil, err
		}
		tests = append(tests, more...)
	}
	return tests, nil
}

func parseTest(text string) (test, error) {
	path, value, t := text, "", test{any: true}
	for _, sign := range []string{"!=", "==", "="} {
		if sides := split(text, sign); len(sides) == 2 {
			path, value, t = strings.TrimSpace(sides[0]), strings.TrimSpace(sides[1]), test{not: sign == "!="}
			break
		}
	}
	if strings.ContainsAny(path, "<>~!(),&| ") || strings.Contains(path, "=") {
		return test{}, fmt.Errorf("%q is not a comparison of a name with a value", text)
	}
	steps, err := parseSteps(path)
	if err != nil {
		return test{}, err
	}
	if len(steps) == 0 {
		return test{}, errors.New("a filter compares a name")
	}
	t.steps = steps
	if t.any {
		return t, nil
	}
	if inside, rest, ok := quotes(value); ok && rest == "" {
		value = inside
	} else if strings.ContainsAny(value, "'\"`()[]") {
		return test{}, fmt.Errorf("%q is not a value", value)
	}
	t.value = value
	return t, nil
}

// enclosed cuts a text that begins with an opening bracket behind the one that
// closes it.
func enclosed(text string, opening, closing byte) (inside, rest string, ok bool) {
	if text == "" || text[0] != opening {
		return "", "", false
	}
	depth := 0
	scan(text, func(i int) bool {
		switch text[i] {
		case opening:
			depth++
		case closing:
			if depth--; depth == 0 {
				inside, rest, ok = text[1:i], text[i+1:], true
			}
		}
		return !ok
	})
	return inside, rest, ok
}

// quotes cuts a text that begins with a quote behind the one that ends it.
func quotes(text string) (inside, rest string, ok bool) {
	if text == "" || !strings.ContainsRune("'\"`", rune(text[0])) {
		return "", "", false
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case text[i] == text[0]:
			inside = b.String()
			if text[0] == '`' { // JMESPath has JSON between these
				inside = strings.Trim(inside, `"`)
			}
			return inside, text[i+1:], true
		default:
			b.WriteByte(text[i])
		}
	}
	return "", "", false
}

// split cuts a text at a mark that stands outside of quotes and brackets. An |
// is no mark where it is half of an ||.
func split(text, mark string) []string {
	var parts []string
	start, depth := 0, 0
	scan(text, func(i int) bool {
		switch text[i] {
		case '[', '(':
			depth++
		case ']', ')':
			depth--
		}
		if depth != 0 || i < start || !strings.HasPrefix(text[i:], mark) {
			return true
		}
		if mark == "|" && (strings.HasPrefix(text[i:], "||") || i > 0 && text[i-1] == '|') {
			return true
		}
		parts = append(parts, text[start:i])
		start = i + len(mark)
		return true
	})
	return append(parts, text[start:])
}

// scan visits the bytes of a text that stand outside of quotes. A quote within
// a word, as in don't, is none.
func scan(text string, visit func(i int) bool) {
	for i := 0; i < len(text); i++ {
		if _, rest, ok := quotes(text[i:]); ok && (i == 0 || strings.IndexByte(".[(=,!| ?", text[i-1]) >= 0) {
			i = len(text) - len(rest) - 1
			continue
		}
		if !visit(i) {
			return
		}
	}
}
