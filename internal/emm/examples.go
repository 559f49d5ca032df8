package emm

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
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
func (v *validator) example(name string) (*exampleFile, error) {
	if e, ok := v.examples[name]; ok {
		return e, nil
	}
	e := &exampleFile{name: name}
	v.examples[name] = e
	v.Examples++
	text, err := v.bytes(name, maxExample)
	if errors.Is(err, errTooLarge) {
		v.Faults = append(v.Faults, strictyaml.Mistake{File: v.called(name), Text: "is larger than " + strconv.Itoa(maxExample>>20) + " MiB"})
		return e, nil
	}
	if err != nil {
		return nil, err
	}
	events, mistake := readEvents(text)
	if mistake != nil {
		mistake.File = v.called(name)
		v.Faults = append(v.Faults, *mistake)
		return e, nil
	}
	e.events = events
	return e, nil
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

// paths checks that the attributes of every mapping stand in its examples. A
// path that defaults give, and that no mapping's examples have, is one fault of
// the defaults.
func (v *validator) paths(src eventSource) error {
	type use struct {
		mapping  int
		attr     string
		at       strictyaml.Place // of the path
		paths    Paths
		own      bool
		examples []*exampleFile
		misses   []*exampleFile
	}
	var uses []use
	good := map[string]int{} // places of defaults: how many mappings have them in an example
	place := func(l int, category, attr string) string { return strconv.Itoa(l) + "\x00" + category + "\x00" + attr }
	for i, m := range src.mappings {
		var examples []*exampleFile
		for _, e := range m.examples {
			name := v.exists(src.file, e.at, e.location)
			if name == "" || !isJSON(name) {
				continue
			}
			read, err := v.example(name)
			if err != nil {
				return err
			}
			if len(read.events) > 0 {
				examples = append(examples, read)
			}
		}
		if len(examples) == 0 {
			continue
		}
		layers := src.layers(m)
		for _, attr := range slices.Sorted(maps.Keys(src.attributes(m))) {
			l := len(layers) - 1
			for layers[l].paths[attr] == nil {
				l--
			}
			u := use{mapping: i, attr: attr, at: layers[l].at.At(attr), paths: *layers[l].paths[attr], own: l == len(layers)-1, examples: examples}
			for _, e := range examples {
				if !e.leadsTo(u.paths) {
					u.misses = append(u.misses, e)
				}
			}
			if !u.own {
				category := m.category
				if l == 0 {
					category = ""
				}
				if key := place(l, category, attr); len(u.misses) < len(examples) {
					good[key]++
				}
			}
			uses = append(uses, u)
		}
	}
	for _, u := range uses {
		m := src.mappings[u.mapping]
		if len(u.misses) == 0 {
			continue
		}
		if len(u.misses) < len(u.examples) {
			v.warn(m.at.At("attributes", u.attr), "%s leads to nothing in %s, though it does in another example", u.paths, v.short(src, u.misses))
			continue
		}
		advice := suggestPath(u.paths, u.misses)
		if u.own {
			u.at.Mistake("%s leads to nothing in %s%s", u.paths, v.short(src, u.misses), advice)
			continue
		}
		if good[place(0, "", u.attr)]+good[place(1, m.category, u.attr)] == 0 {
			u.at.Mistake("%s leads to nothing in any example, such as %s%s", u.paths, v.short(src, u.misses[:1]), advice)
			continue
		}
		m.at.At("attributes", u.attr).Mistake("%s, from the defaults, leads to nothing in %s; null takes it away%s", u.paths, v.short(src, u.misses), advice)
	}
	return nil
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
