package emm

import (
	"encoding/json"
	"maps"
	"slices"
)

// Product is what is documented of a product's logs, in the words of the matrix.
type Product struct {
	ID         string       `json:"product"` // okta
	Name       string       `json:"name"`
	Vendor     string       `json:"vendor"`
	About      string       `json:"about"`
	Collection []Collection `json:"collection"`
	Sources    []Source     `json:"event_sources"`
}

// Collection is a way in which a product's records can be collected.
type Collection struct {
	ID         string      `json:"id"`
	Name       string      `json:"name"`
	About      string      `json:"about"`
	References []Reference `json:"references"`
}

// Reference is where a fact comes from.
type Reference struct {
	Title string `json:"title"`
	URL   string `json:"url"`
}

// Source is an event source: one kind of record of a product.
type Source struct {
	ID         string      `json:"source"` // system_log
	Name       string      `json:"name"`
	About      string      `json:"about"`
	Collection []string    `json:"collection"` // ids of the product's
	Retention  string      `json:"retention,omitzero"`
	Latency    string      `json:"latency,omitzero"`
	Licensing  string      `json:"licensing,omitzero"`
	References []Reference `json:"references"`
	Events     []Event     `json:"events"`
}

// Event is an event type that a source logs, and where in its records the
// attributes stand, by their keys: paths in the public format, any of which may
// have the value.
type Event struct {
	Category   string              `json:"category"`
	EventType  string              `json:"event_type"`
	Attributes map[string][]string `json:"attributes"`
	Examples   []Example           `json:"examples"`
}

// Example is a record that shows an event.
type Example struct {
	Name   string          `json:"name"`
	Record json.RawMessage `json:"record"`
}

// Coverage says for event types, by their keys, which of their attributes are
// told, in the matrix's order. An event type that it lacks is not told at all.
type Coverage map[string][]string

// Coverage is what the product's event sources tell together.
func (p Product) Coverage() Coverage {
	c := Coverage{}
	for _, s := range p.Sources {
		for _, e := range s.Events {
			c.Add(e.EventType, slices.Collect(maps.Keys(e.Attributes))...)
		}
	}
	return c
}

// Add notes that an event type is told, with attributes by their keys. Those
// that say nothing of such events are passed over.
func (c Coverage) Add(eventType string, attributes ...string) {
	told := []string{}
	for _, a := range Matrix().Applicable(eventType) {
		if slices.Contains(attributes, a.Key) || slices.Contains(c[eventType], a.Key) {
			told = append(told, a.Key)
		}
	}
	c[eventType] = told
}

// Lacks are the attributes that apply to an event type and are not told.
func (c Coverage) Lacks(eventType string) []string {
	var lacks []string
	for _, a := range Matrix().Applicable(eventType) {
		if !slices.Contains(c[eventType], a.Key) {
			lacks = append(lacks, a.Key)
		}
	}
	return lacks
}

// Documented is the whole matrix as one JSON document.
type Documented struct {
	Taxonomy
	Products []Covered `json:"products"`
}

// Covered is a product with its cells of the matrix.
type Covered struct {
	Product
	Coverage map[string]Cell `json:"coverage"` // by event type
}

// Cell says which of the attributes that apply to an event type are told.
type Cell struct {
	Has   []string `json:"has"`
	Lacks []string `json:"lacks"`
}

// Document puts products into one document with the taxonomy.
func Document(products []Product) Documented {
	doc := Documented{Taxonomy: *Matrix(), Products: []Covered{}}
	for _, p := range products {
		covered := Covered{Product: p, Coverage: map[string]Cell{}}
		c := p.Coverage()
		for eventType, has := range c {
			covered.Coverage[eventType] = Cell{Has: has, Lacks: append([]string{}, c.Lacks(eventType)...)}
		}
		doc.Products = append(doc.Products, covered)
	}
	return doc
}
