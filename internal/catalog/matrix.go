package catalog

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/trawlsec/trawl/internal/emm"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// Collection is a way in which a product's records can be collected, as the
// Event Maturity Matrix lists them.
type Collection struct {
	ID         string `yaml:"id"` // by which sources name it: audit_api
	Name       string `yaml:"name"`
	About      string `yaml:"about"`
	References []Link `yaml:"references"`
}

// Matrix is a source's place in the Event Maturity Matrix: which of its records
// are which event type, and where the attributes of the matrix stand in them.
type Matrix struct {
	Collection []string              `yaml:"collection"`           // ids of the product's ways of collecting it
	Attributes map[string]Attributes `yaml:"attributes,omitempty"` // what holds for "all" records, and for those of a category by its key, which goes before
	Events     []MatrixEvent         `yaml:"events"`               // a record is of the first whose condition holds; of none, it has no place
}

// Attributes says where the attributes of the matrix stand, by their keys; of
// several paths the first that has a value counts. Null takes away what "all" or
// the category gives. What these give goes to the event types that the attribute
// is for.
type Attributes map[string]*Paths

// MatrixEvent is an event type that a source logs. It may come several times;
// then the attributes are those of the first.
type MatrixEvent struct {
	Category   string     `yaml:"category"`             // a key: authorization
	EventType  string     `yaml:"event_type"`           // a key: add_to_group
	Match      Condition  `yaml:"match,omitempty"`      // which records; left out, at the end of the list, all that are left
	Attributes Attributes `yaml:"attributes,omitempty"` // beside those of all and of the category
	Examples   []string   `yaml:"examples,omitempty"`   // samples that show it: added_to_group for testdata/SOURCE/added_to_group.json

	Undocumented bool `yaml:"undocumented,omitempty"` // nobody says that there are such records: if one comes it is placed here, but the matrix does not count it
}

// allRecords is the key of attributes that every record has.
const allRecords = "all"

// checkMatrix checks a source's place in the matrix.
func checkMatrix(at place, s *Source, sound bool) {
	m := s.Matrix
	var known []string
	for _, c := range s.Product.Collection {
		known = append(known, c.ID)
	}
	if len(m.Collection) == 0 {
		at.at("collection").Mistake("needs at least one of the product's ways of collection")
	}
	for i, id := range m.Collection {
		if sound {
			at.at("collection", strconv.Itoa(i)).isOneOf(id, known)
		}
	}
	for key, attributes := range m.Attributes {
		if key != allRecords {
			at.at("attributes", key).isOneOf(key, emm.Matrix().CategoryKeys())
		}
		at.at("attributes", key).attributes(attributes, "")
	}
	if len(m.Events) == 0 {
		at.at("events").Mistake("needs at least one event")
	}
	first := map[string]int{}
	for i := range m.Events {
		checkEvent(at.at("events", strconv.Itoa(i)), s, i, first)
	}
}

func checkEvent(at place, s *Source, i int, first map[string]int) {
	e := s.Matrix.Events[i]
	at.at("category").isOneOf(e.Category, emm.Matrix().CategoryKeys())
	at.at("event_type").isOneOf(e.EventType, emm.Matrix().EventTypeKeys())
	if t, ok := emm.Matrix().EventType(e.EventType); ok && e.Category != "" && !slices.Contains(t.Categories, e.Category) {
		at.at("event_type").Mistake("%s is not of category %s, but of %s", e.EventType, e.Category, strings.Join(t.Categories, " and "))
	}
	switch {
	case e.Match != nil:
		at.at("match").condition(e.Match)
	case i < len(s.Matrix.Events)-1:
		at.Mistake("without match it takes all records, so the events after it are never reached; add it")
	}
	if n, again := first[e.EventType]; again && e.Attributes != nil {
		at.at("attributes").Mistake("%s has its attributes from event %d of the list; put them there", e.EventType, n+1)
	} else if !again {
		first[e.EventType] = i
	}
	at.at("attributes").attributes(e.Attributes, e.EventType)
	for key, paths := range e.Attributes {
		if paths == nil && s.Matrix.Attributes[allRecords][key] == nil && s.Matrix.Attributes[e.Category][key] == nil {
			at.at("attributes", key).Mistake("takes nothing away: neither all nor %s gives it", e.Category)
		}
	}
	if e.Undocumented && len(e.Examples) > 0 {
		at.at("undocumented").Mistake("an example documents it; take out one of the two")
	}
	for j, example := range e.Examples {
		name := "testdata/" + s.ID + "/" + example + ".json"
		if _, err := fs.Stat(s.Folder, name); err != nil {
			at.at("examples", strconv.Itoa(j)).Mistake("there is no sample %s", name)
		}
	}
}

// attributes checks the keys of attributes, of an event type unless that is "",
// and their paths.
func (p place) attributes(attributes Attributes, eventType string) {
	for key, paths := range attributes {
		at := p.at(key)
		a, ok := emm.Matrix().Attribute(key)
		switch {
		case !ok:
			at.Mistake("the matrix has no attribute %q; %s", key, strictyaml.Suggest(key, emm.Matrix().AttributeKeys()))
		case eventType != "" && paths != nil && !a.AppliesTo(eventType):
			at.Mistake("is not for %s; it is for %s", eventType, strings.Join(a.Include, ", "))
		}
		if paths != nil && len(*paths) == 0 {
			at.Mistake("needs a path, or null to take the attribute away")
		} else if paths != nil {
			at.paths(*paths)
		}
	}
}

// Resolved are the attributes of an event of the list, by their keys, after what
// holds for all records and for its category. An event type that comes again has
// those of its first event.
func (m *Matrix) Resolved(event int) map[string]Paths {
	e := m.Events[event]
	own := m.Events[slices.IndexFunc(m.Events, func(first MatrixEvent) bool { return first.EventType == e.EventType })].Attributes
	resolved := map[string]Paths{}
	for _, layer := range []Attributes{m.Attributes[allRecords], m.Attributes[e.Category], own} {
		for _, key := range slices.Sorted(maps.Keys(layer)) {
			if layer[key] == nil {
				delete(resolved, key)
			} else if a, ok := emm.Matrix().Attribute(key); ok && a.AppliesTo(e.EventType) {
				resolved[key] = *layer[key]
			}
		}
	}
	return resolved
}

// InMatrix is what is documented of the product in the words of the matrix: its
// sources that have a place there, with their examples. The error says that an
// example could not be read.
func (p *Product) InMatrix() (emm.Product, error) {
	made := emm.Product{ID: p.ID, Name: p.Name, Vendor: p.Vendor, About: p.About, Collection: []emm.Collection{}, Sources: []emm.Source{}}
	for _, c := range p.Collection {
		made.Collection = append(made.Collection, emm.Collection{ID: c.ID, Name: c.Name, About: c.About, References: references(c.References)})
	}
	for _, s := range p.SourceList() {
		if s.Matrix == nil {
			continue
		}
		source := emm.Source{
			ID: s.ID, Name: s.Name, About: s.About, Collection: s.Matrix.Collection,
			Retention: s.Facts.Retention, Latency: s.Facts.Latency, Licensing: s.Facts.Licensing, References: references(s.Facts.References),
		}
		var err error
		if source.Events, err = s.events(); err != nil {
			return emm.Product{}, fmt.Errorf("examples of %s: %w", s.FullName(), err)
		}
		made.Sources = append(made.Sources, source)
	}
	return made, nil
}

func references(links []Link) []emm.Reference {
	made := make([]emm.Reference, len(links))
	for i, l := range links {
		made[i] = emm.Reference{Title: l.Title, URL: l.URL}
	}
	return made
}

// events are the event types that a source logs, each once, in the matrix's order.
func (s *Source) events() ([]emm.Event, error) {
	all := map[string]*emm.Event{}
	for i, e := range s.Matrix.Events {
		if e.Undocumented {
			continue
		}
		made := all[e.EventType]
		if made == nil {
			made = &emm.Event{Category: e.Category, EventType: e.EventType, Attributes: map[string][]string{}, Examples: []emm.Example{}}
			for key, paths := range s.Matrix.Resolved(i) {
				made.Attributes[key] = publicPaths(paths)
			}
			all[e.EventType] = made
		}
		for _, name := range e.Examples {
			record, err := fs.ReadFile(s.Folder, "testdata/"+s.ID+"/"+name+".json")
			if err != nil {
				return nil, err
			}
			made.Examples = append(made.Examples, emm.Example{Name: name, Record: bytes.TrimSpace(record)})
		}
	}
	events := []emm.Event{}
	for _, t := range emm.Matrix().EventTypes {
		if e := all[t.Key]; e != nil {
			events = append(events, *e)
		}
	}
	return events, nil
}

// publicPaths writes paths as the public format does, where a name of a list's
// elements follows that of the list.
func publicPaths(paths Paths) []string {
	var public []string
	for _, p := range paths {
		if p = strings.ReplaceAll(p, "[]", ""); !slices.Contains(public, p) {
			public = append(public, p)
		}
	}
	return public
}
