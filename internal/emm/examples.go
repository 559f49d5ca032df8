package emm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/jsonscan"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// exampleFile is a file with events.
type exampleFile struct {
	name   string   // within the folder
	events [][]byte // none: it is not JSON, which has been said
}

func (f *folder) stat(name string) (fs.FileInfo, error) { return fs.Stat(f.fsys, name) }

// example reads a file with events, once.
func (v *validator) example(name string) *exampleFile {
	if e, ok := v.examples[name]; ok {
		return e
	}
	e := &exampleFile{name: name}
	v.examples[name] = e
	v.Examples++
	text, err := v.bytes(name, maxExample)
	if err != nil {
		v.Faults = append(v.Faults, strictyaml.Mistake{File: v.called(name), Line: 1, Column: 1, Text: "can't be read: " + err.Error()})
		return e
	}
	events, mistake := readEvents(text)
	if mistake != nil {
		mistake.File = v.called(name)
		v.Faults = append(v.Faults, *mistake)
		return e
	}
	e.events = events
	return e
}

// others checks that the examples that nothing refers to are JSON, too.
func (v *validator) others() error {
	err := fs.WalkDir(v.fsys, "products", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !isJSON(name) || !slices.Contains(strings.Split(path.Dir(name), "/"), "event_examples") {
			return err
		}
		v.example(name)
		return nil
	})
	if err != nil {
		return fmt.Errorf("list examples of %s: %w", v.name, err)
	}
	return nil
}

// readEvents reads JSON values, one after the other. A list stands for its elements.
func readEvents(text []byte) (events [][]byte, mistake *strictyaml.Mistake) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	d := jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		raw, err := d.ReadValue()
		if err == io.EOF {
			break
		}
		if err != nil {
			at := d.InputOffset()
			reason := err
			var syntax *jsontext.SyntacticError
			if errors.As(err, &syntax) {
				at, reason = syntax.ByteOffset, syntax.Err
			}
			if errors.Is(err, io.ErrUnexpectedEOF) {
				reason = errors.New("it ends within a value")
			}
			before := text[:min(at, int64(len(text)))]
			return nil, &strictyaml.Mistake{
				Line:   1 + bytes.Count(before, []byte("\n")),
				Column: len(bytes.Runes(before[bytes.LastIndexByte(before, '\n')+1:])) + 1,
				Text:   "is not JSON: " + reason.Error(),
			}
		}
		if raw.Kind() == '[' {
			jsonscan.Elements(raw, func(element []byte) bool {
				events = append(events, bytes.Clone(element))
				return true
			})
			continue
		}
		events = append(events, bytes.Clone(raw))
	}
	if len(events) == 0 {
		return nil, &strictyaml.Mistake{Line: 1, Column: 1, Text: "has no event in it"}
	}
	return events, nil
}

// leadsTo tells whether any of the paths leads to a value in one of the events.
func (e *exampleFile) leadsTo(paths Paths) bool {
	for _, p := range paths.All {
		parsed := ParsePath(p)
		for _, event := range e.events {
			if len(parsed.Values(event)) > 0 {
				return true
			}
		}
	}
	return false
}

// use is an attribute of a mapping that has examples.
type use struct {
	mapping          mapping
	attribute        string
	given            strictyaml.Place // where its paths are written
	own              bool             // by the mapping itself, not by a default
	paths            *Paths
	examples, misses []*exampleFile // all, and those where the paths lead to nothing
}

// paths checks that the attributes of every mapping stand in its examples. A
// path that a default gives, and that no mapping's examples have, is one fault
// of the default.
func (v *validator) paths(src eventSource) {
	uses := v.uses(src)
	good := map[*Paths]bool{} // defaults that stand in an example
	for _, u := range uses {
		if len(u.misses) < len(u.examples) {
			good[u.paths] = true
		}
	}
	for _, u := range uses {
		here := u.mapping.at.At("attributes", u.attribute)
		switch advice := suggestPath(*u.paths, u.misses); {
		case len(u.misses) == 0:
		case len(u.misses) < len(u.examples):
			v.warn(here, "%s leads to nothing in %s, though it does in another example", u.paths, v.short(src, u.misses))
		case u.own:
			u.given.Mistake("%s leads to nothing in %s%s", u.paths, v.short(src, u.misses), advice)
		case good[u.paths]:
			here.Mistake("%s, from the defaults, leads to nothing in %s; null takes it away%s", u.paths, v.short(src, u.misses), advice)
		default:
			u.given.Mistake("%s leads to nothing in any example, such as %s%s", u.paths, v.short(src, u.misses[:1]), advice)
		}
	}
}

// uses looks for the attributes of all mappings in their examples.
func (v *validator) uses(src eventSource) []use {
	var uses []use
	for _, m := range src.mappings {
		examples := v.examplesOf(src, m)
		if len(examples) == 0 {
			continue
		}
		layers := src.layers(m)
		for _, attribute := range slices.Sorted(maps.Keys(src.attributes(m))) {
			l := len(layers) - 1
			for layers[l].paths[attribute] == nil {
				l--
			}
			u := use{
				mapping: m, attribute: attribute, given: layers[l].at.At(attribute), own: l == len(layers)-1,
				paths: layers[l].paths[attribute], examples: examples,
			}
			for _, e := range examples {
				if !e.leadsTo(*u.paths) {
					u.misses = append(u.misses, e)
				}
			}
			uses = append(uses, u)
		}
	}
	return uses
}

// examplesOf are a mapping's examples that hold events.
func (v *validator) examplesOf(src eventSource, m mapping) []*exampleFile {
	var examples []*exampleFile
	for _, e := range m.examples {
		name := v.exists(src.file, e.at, e.location)
		if name == "" || !isJSON(name) {
			continue
		}
		if read := v.example(name); len(read.events) > 0 {
			examples = append(examples, read)
		}
	}
	return examples
}

// isJSON tells by its name whether a file holds events as JSON.
func isJSON(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".json", ".jsonl", ".ndjson":
		return true
	}
	return false
}

// short names examples as their event source does.
func (v *validator) short(src eventSource, examples []*exampleFile) string {
	var names []string
	for _, e := range examples {
		names = append(names, strings.TrimPrefix(e.name, src.home()+"/"))
	}
	return strings.Join(names, " and ")
}

// String gives the paths for messages.
func (p Paths) String() string { return strings.Join(p.All, " or ") }

// suggestPath completes a message about paths that lead to nothing: with the
// nearest that does.
func suggestPath(paths Paths, examples []*exampleFile) string {
	known := map[string]bool{}
	for _, e := range examples {
		for _, event := range e.events {
			gather("", event, known, 0)
		}
	}
	for _, p := range paths.All {
		last := p[strings.LastIndexByte(p, '.')+1:]
		for _, k := range slices.Sorted(maps.Keys(known)) {
			if k[strings.LastIndexByte(k, '.')+1:] == last {
				return "; there is " + k
			}
		}
		if advice := strictyaml.Suggest(p, slices.Collect(maps.Keys(known))); strings.HasPrefix(advice, "did") {
			return "; " + advice
		}
	}
	return ""
}

// gather notes the paths of all members of an event.
func gather(prefix string, raw []byte, into map[string]bool, depth int) {
	if depth > 20 || len(into) > 2000 || len(raw) == 0 {
		return
	}
	jsonscan.Elements(raw, func(element []byte) bool {
		gather(prefix, element, into, depth+1)
		return true
	})
	jsonscan.Members(raw, func(key, value []byte) bool {
		name := strings.TrimPrefix(prefix+"."+string(key), ".")
		into[name] = true
		gather(name, value, into, depth+1)
		return true
	})
}
