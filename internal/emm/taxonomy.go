package emm

import (
	_ "embed"
	"slices"
	"sync"

	"github.com/trawlsec/trawl/internal/strictyaml"
)

// Taxonomy is what the matrix is made of.
type Taxonomy struct {
	Categories []Category  `yaml:"categories" json:"categories"`
	EventTypes []EventType `yaml:"event_types" json:"event_types"`
	Attributes []Attribute `yaml:"attributes" json:"attributes"`
}

// Category is a kind of event types.
type Category struct {
	ID    string `yaml:"id" json:"id"`
	Key   string `yaml:"key" json:"key"` // authentication
	Name  string `yaml:"name" json:"name"`
	About string `yaml:"about" json:"about"`
}

// EventType is a kind of activity that a product may log.
type EventType struct {
	ID         string   `yaml:"id" json:"id"`
	Key        string   `yaml:"key" json:"key"` // account_login
	Name       string   `yaml:"name" json:"name"`
	About      string   `yaml:"about" json:"about"`
	Categories []string `yaml:"categories" json:"categories"` // keys
}

// Attribute is something that a log may tell of an event.
type Attribute struct {
	ID      string   `yaml:"id" json:"id"`
	Key     string   `yaml:"key" json:"key"` // ip_address
	Name    string   `yaml:"name" json:"name"`
	About   string   `yaml:"about" json:"about"`
	Include []string `yaml:"include,omitempty" json:"include,omitempty"` // keys of the event types that it applies to; none: to all
	Exclude []string `yaml:"exclude,omitempty" json:"exclude,omitempty"` // keys of event types that it does not apply to
}

//go:embed taxonomy.yaml
var taxonomyYAML []byte

// Matrix is the taxonomy of the Event Maturity Matrix, in its order.
var Matrix = sync.OnceValue(func() *Taxonomy {
	t := &Taxonomy{}
	doc := strictyaml.Parse("taxonomy.yaml", taxonomyYAML)
	doc.Decode(t)
	if err := doc.Mistakes().Err(); err != nil {
		panic(err) // a mistake in the program, found by its first test
	}
	return t
})

// Category finds a category by its key.
func (t *Taxonomy) Category(key string) (Category, bool) {
	return find(t.Categories, func(c Category) bool { return c.Key == key })
}

// EventType finds an event type by its key.
func (t *Taxonomy) EventType(key string) (EventType, bool) {
	return find(t.EventTypes, func(e EventType) bool { return e.Key == key })
}

// Attribute finds an attribute by its key.
func (t *Taxonomy) Attribute(key string) (Attribute, bool) {
	return find(t.Attributes, func(a Attribute) bool { return a.Key == key })
}

func find[T any](all []T, is func(T) bool) (found T, ok bool) {
	i := slices.IndexFunc(all, is)
	if i < 0 {
		return found, false
	}
	return all[i], true
}

// AppliesTo tells whether the attribute says something about events of a type.
func (a Attribute) AppliesTo(eventType string) bool {
	return (len(a.Include) == 0 || slices.Contains(a.Include, eventType)) && !slices.Contains(a.Exclude, eventType)
}

// Applicable are the attributes that say something about events of a type.
func (t *Taxonomy) Applicable(eventType string) []Attribute {
	var all []Attribute
	for _, a := range t.Attributes {
		if a.AppliesTo(eventType) {
			all = append(all, a)
		}
	}
	return all
}

// CategoryKeys are the keys of all categories.
func (t *Taxonomy) CategoryKeys() []string {
	return keys(t.Categories, func(c Category) string { return c.Key })
}

// EventTypeKeys are the keys of all event types.
func (t *Taxonomy) EventTypeKeys() []string {
	return keys(t.EventTypes, func(e EventType) string { return e.Key })
}

// AttributeKeys are the keys of all attributes.
func (t *Taxonomy) AttributeKeys() []string {
	return keys(t.Attributes, func(a Attribute) string { return a.Key })
}

func keys[T any](all []T, key func(T) string) []string {
	keys := make([]string, len(all))
	for i, one := range all {
		keys[i] = key(one)
	}
	return keys
}
