package ecs

import (
	"regexp/syntax"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/ua-parser/uap-go/uaparser"
)

// rules are those of uaparser. There are more than a thousand regular
// expressions among them, so one is compiled and run only for user agents that
// hold a text that it needs.
type rules struct {
	mu              sync.Mutex // guards the rules, which are compiled at need
	all             uaparser.RegexDefinitions
	program, system [][]string // of each rule the texts, in lower case, of which it needs one; nil: not known
	device          [][]string
}

// agentRules reads the rules when the first user agent comes; nil: they are not
// readable.
var agentRules = sync.OnceValue(func() *rules {
	r := &rules{}
	if yaml.Unmarshal(uaparser.DefinitionYaml, &r.all) != nil {
		return nil
	}
	for _, rule := range r.all.UA {
		r.program = append(r.program, needed(rule.Flags, rule.Expr))
	}
	for _, rule := range r.all.OS {
		r.system = append(r.system, needed(rule.Flags, rule.Expr))
	}
	for _, rule := range r.all.Device {
		r.device = append(r.device, needed(rule.Flags, rule.Expr))
	}
	return r
})

// parse is what uaparser's methods of the same names say of a user agent.
func (r *rules) parse(line string) (program uaparser.UserAgent, system uaparser.Os, device uaparser.Device) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lower := strings.ToLower(line)
	if len(lower) != len(line) || strings.ContainsFunc(line, func(c rune) bool { return c >= utf8.RuneSelf }) {
		lower = "" // letters of other scripts can be the same as some of ASCII, so all rules are run
	}
	for i, rule := range r.all.UA {
		if lacks(lower, r.program[i]) {
			continue
		}
		if rule.Reg == nil {
			compileRules(uaparser.RegexDefinitions{UA: r.all.UA[i : i+1]})
		}
		if rule.Match(line, &program); program.Family != "" {
			break
		}
	}
	for i, rule := range r.all.OS {
		if lacks(lower, r.system[i]) {
			continue
		}
		if rule.Reg == nil {
			compileRules(uaparser.RegexDefinitions{OS: r.all.OS[i : i+1]})
		}
		if rule.Match(line, &system); system.Family != "" {
			break
		}
	}
	for i, rule := range r.all.Device {
		if lacks(lower, r.device[i]) {
			continue
		}
		if rule.Reg == nil {
			compileRules(uaparser.RegexDefinitions{Device: r.all.Device[i : i+1]})
		}
		if rule.Match(line, &device); device.Family != "" {
			break
		}
	}
	const other = "Other" // as uaparser has it
	if program.Family == "" {
		program.Family = other
	}
	if system.Family == "" {
		system.Family = other
	}
	if device.Family == "" {
		device.Family = other
	}
	return program, system, device
}

// compileRules makes rules ready, in their place.
func compileRules(some uaparser.RegexDefinitions) {
	_, _ = uaparser.New(uaparser.WithRegexDefinitions(some), uaparser.WithCacheSize(1))
}

// lacks tells whether a text, in lower case, has none of what a rule needs; "":
// it is not known.
func lacks(lower string, needed []string) bool {
	if lower == "" || needed == nil {
		return false
	}
	for _, n := range needed {
		if strings.Contains(lower, n) {
			return false
		}
	}
	return true
}

// needed returns texts, in lower case, of which everything that a regular
// expression matches has one; nil: it is not known.
func needed(flags, expression string) []string {
	if flags != "" {
		expression = "(?" + flags + ")" + expression
	}
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil
	}
	return literals(re)
}

func literals(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		return []string{strings.ToLower(string(re.Rune))}
	case syntax.OpCapture, syntax.OpPlus:
		return literals(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return literals(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []string
		longest := 0 // of the shortest text of each part
		for _, sub := range re.Sub {
			shortest := 0
			texts := literals(sub)
			for i, text := range texts {
				if i == 0 || len(text) < shortest {
					shortest = len(text)
				}
			}
			if shortest > longest {
				best, longest = texts, shortest
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			texts := literals(sub)
			if texts == nil {
				return nil
			}
			all = append(all, texts...)
		}
		return all
	}
	return nil
}
