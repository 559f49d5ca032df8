package emm

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/strictyaml"
)

// Resolved is an event source whose mappings have all their attributes: its own
// and those that defaults give them.
type Resolved struct {
	Mappings []Mapping `json:"mappings"`
	Source   string    `json:"source"` // the file, within the folder: products/box/event_sources/admin.yml
}

// Mapping says that an event source logs an event type, and where in such an
// event the attributes stand.
type Mapping struct {
	Attributes map[string]Paths `json:"attributes"`
	Category   string           `json:"category"`
	EventType  string           `json:"event_type"`
}

// Paths are the places of an attribute: one, or several any of which may have it.
type Paths struct {
	All  []string
	List bool // written as a list, even of one
}

// MarshalJSON gives a text, or a list of texts.
func (p Paths) MarshalJSON() ([]byte, error) {
	if p.List {
		return json.Marshal(p.All)
	}
	return json.Marshal(p.All[0])
}

// Resolve reads the event sources of a folder in the layout of the public
// repository, sorted by their paths. What could not be understood is left out
// and among the mistakes. The error says that the folder could not be read, or
// is a *[LayoutError].
func Resolve(dir string) (sources []Resolved, mistakes strictyaml.Mistakes, err error) {
	f, err := open(dir)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	files, err := f.products()
	if err != nil {
		return nil, nil, err
	}
	for _, file := range files {
		if !file.isEventSource() {
			continue
		}
		if src, ok := readSource(file); ok {
			sources = append(sources, src.resolved())
		}
		mistakes = append(mistakes, file.mistakes(f.called(file.path))...)
	}
	slices.SortFunc(sources, inOrder)
	return sources, mistakes.Sorted(), nil
}

// eventSource is what a file says of mappings, layer by layer.
type eventSource struct {
	*file
	source     layer
	categories map[string]layer
	mappings   []mapping
}

// layer gives attributes their paths; nil takes one away.
type layer struct {
	at    strictyaml.Place
	paths map[string]*Paths
}

// mapping is a mapping as it stands in a file.
type mapping struct {
	at                  strictyaml.Place
	category, eventType string
	own                 layer
	examples            []example
}

type example struct {
	at       strictyaml.Place
	location string
}

// readSource reads the mappings of an event source. ok is false where the file
// holds nothing that could have any.
func readSource(f *file) (src eventSource, ok bool) {
	src = eventSource{file: f, categories: map[string]layer{}}
	if f.object() == nil {
		return src, false
	}
	r := reader{f.doc.At(), f.value}
	defaults := r.get("mapping_defaults")
	src.source = defaults.get("source").layer()
	categories := defaults.get("categories")
	for _, key := range slices.Sorted(maps.Keys(categories.object())) {
		src.categories[key] = categories.get(key).layer()
	}
	for _, m := range r.get("mappings").list() {
		read := mapping{at: m.at, category: m.get("category").text(), eventType: m.get("event_type").text(), own: m.layer()}
		for _, e := range m.get("examples").list() {
			location := e.get("location")
			if e.value != nil && location.value == nil {
				if text, isText := e.value.(string); isText { // only its location
					read.examples = append(read.examples, example{e.at, text})
				}
				continue
			}
			if text := location.text(); text != "" {
				read.examples = append(read.examples, example{location.at, text})
			}
		}
		if read.category == "" || read.eventType == "" {
			m.at.Mistake("a mapping needs its category and event_type, which are keys")
			continue
		}
		src.mappings = append(src.mappings, read)
	}
	return src, true
}

// reader is a value of a YAML file and its place.
type reader struct {
	at    strictyaml.Place
	value any
}

// get is the value under a key; without it, or where there is no mapping, nothing.
func (r reader) get(key string) reader { return reader{r.at.At(key), r.object()[key]} }

func (r reader) object() map[string]any {
	switch v := r.value.(type) {
	case map[string]any:
		return v
	case nil:
	default:
		r.at.Mistake("must be a mapping, as in {key: value}")
	}
	return nil
}

func (r reader) list() []reader {
	switch v := r.value.(type) {
	case []any:
		items := make([]reader, len(v))
		for i, item := range v {
			items[i] = reader{r.at.At(strconv.Itoa(i)), item}
		}
		return items
	case nil:
	default:
		r.at.Mistake("must be a list, as in [a, b]")
	}
	return nil
}

// text is a single value as it stands in the file.
func (r reader) text() string {
	switch v := r.value.(type) {
	case string:
		return v
	case bool, int64, float64:
		return r.at.Raw()
	case nil:
	default:
		r.at.Mistake("must be a single value")
	}
	return ""
}

// layer reads what stands under attributes.
func (r reader) layer() layer {
	r = r.get("attributes")
	made := layer{at: r.at, paths: map[string]*Paths{}}
	for key, value := range r.object() {
		entry := reader{r.at.At(key), value}
		switch value := value.(type) {
		case nil:
			made.paths[key] = nil
		case []any:
			paths := &Paths{All: []string{}, List: true}
			for _, item := range entry.list() {
				if item.value == nil {
					item.at.Mistake("is empty; a path belongs here")
					continue
				}
				paths.All = append(paths.All, item.text())
			}
			made.paths[key] = paths
		case map[string]any:
			entry.at.Mistake("must be a path or a list of paths, not a mapping")
		default:
			_ = value
			made.paths[key] = &Paths{All: []string{entry.text()}}
		}
	}
	return made
}

// layers are those of a mapping, the last word last.
func (src eventSource) layers(m mapping) [3]layer {
	return [3]layer{src.source, src.categories[m.category], m.own}
}

// attributes are those of a mapping after all layers.
func (src eventSource) attributes(m mapping) map[string]Paths {
	all := map[string]Paths{}
	for _, l := range src.layers(m) {
		for key, paths := range l.paths {
			if paths == nil {
				delete(all, key)
			} else {
				all[key] = *paths
			}
		}
	}
	return all
}

func (src eventSource) resolved() Resolved {
	made := Resolved{Source: src.path, Mappings: []Mapping{}}
	for _, m := range src.mappings {
		made.Mappings = append(made.Mappings, Mapping{Attributes: src.attributes(m), Category: m.category, EventType: m.eventType})
	}
	return made
}

// AppendLine appends the event source as one line of JSON, without its end.
func (r Resolved) AppendLine(dst []byte) ([]byte, error) {
	line, err := json.Marshal(r, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return dst, fmt.Errorf("write %s: %w", r.Source, err)
	}
	return append(dst, line...), nil
}
