package emm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// File is a file of a folder in the layout of the public repository.
type File struct {
	Name string // products/okta/okta.product.yml
	Text []byte
}

// The files of the public format, in the order of their keys.
type (
	productFile struct {
		Entity      string           `yaml:"entity_name"`
		Version     string           `yaml:"version"`
		Name        string           `yaml:"name"`
		Description string           `yaml:"description"`
		Collection  []collectionItem `yaml:"collection"`
	}
	collectionItem struct {
		ID          string          `yaml:"id"`
		Name        string          `yaml:"name"`
		Description string          `yaml:"description"`
		References  []referenceItem `yaml:"references"`
	}
	referenceItem struct {
		ID   string `yaml:"id"`
		Name string `yaml:"name"`
		URL  string `yaml:"url"`
	}
	sourceFile struct {
		Entity      string          `yaml:"entity_name"`
		Version     string          `yaml:"version"`
		Product     sourceProduct   `yaml:"product"`
		Name        string          `yaml:"name"`
		Description string          `yaml:"description"`
		References  []referenceItem `yaml:"references"`
		Retention   duration        `yaml:"retention"`
		Latency     duration        `yaml:"latency"`
		Licensing   *licensing      `yaml:"licensing,omitempty"`
		Defaults    *defaults       `yaml:"mapping_defaults,omitempty"`
		Mappings    []mappingItem   `yaml:"mappings"`
	}
	sourceProduct struct {
		Name    string   `yaml:"name"`
		Sources []string `yaml:"collection_sources"`
	}
	duration struct {
		Duration string `yaml:"duration,omitempty"`
	}
	licensing struct {
		Comments string `yaml:"comments"`
	}
	defaults struct {
		Source     *layerItem           `yaml:"source,omitempty"`
		Categories map[string]layerItem `yaml:"categories,omitempty"`
	}
	layerItem struct {
		Attributes map[string]any `yaml:"attributes"`
	}
	mappingItem struct {
		Category   string         `yaml:"category"`
		EventType  string         `yaml:"event_type"`
		Attributes map[string]any `yaml:"attributes"`
		Examples   []exampleItem  `yaml:"examples,omitempty"`
	}
	exampleItem struct {
		Location string `yaml:"location"`
	}
)

// Files writes a product in the public format: its own file, one for each event
// source, and the examples. Attributes that all mappings have in common become
// defaults.
func (p Product) Files() ([]File, error) {
	folder := "products/" + p.ID + "/"
	own := productFile{Entity: "product", Version: "1.0.0", Name: p.Name, Description: p.About, Collection: []collectionItem{}}
	for _, c := range p.Collection {
		own.Collection = append(own.Collection, collectionItem{ID: c.ID, Name: c.Name, Description: c.About, References: referenceItems(c.References)})
	}
	files, err := addYAML(nil, folder+p.ID+".product.yml", own)
	if err != nil {
		return nil, err
	}
	for _, s := range p.Sources {
		file, examples, err := p.sourceFile(s)
		if err != nil {
			return nil, err
		}
		if files, err = addYAML(files, folder+"event_sources/"+p.ID+"_"+s.ID+".yml", file); err != nil {
			return nil, err
		}
		files = append(files, examples...)
	}
	return files, nil
}

func addYAML(files []File, name string, value any) ([]File, error) {
	text, err := yaml.MarshalWithOptions(value, yaml.Indent(2), yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	return append(files, File{name, text}), nil
}

func (p Product) sourceFile(s Source) (file sourceFile, examples []File, err error) {
	file = sourceFile{
		Entity: "event_source", Version: "1.0.0", Product: sourceProduct{p.Name, s.Collection}, Name: s.Name, Description: s.About,
		References: referenceItems(s.References), Retention: duration{s.Retention}, Latency: duration{s.Latency}, Mappings: []mappingItem{},
	}
	if s.Licensing != "" {
		file.Licensing = &licensing{s.Licensing}
	}
	categories := map[string][]Event{}
	for _, e := range s.Events {
		categories[e.Category] = append(categories[e.Category], e)
	}
	everywhere := common(s.Events)
	within := map[string]layerItem{}
	for category, events := range categories {
		if shared := without(common(events), everywhere); len(shared) > 0 && len(events) > 1 {
			within[category] = layerItem{asYAML(shared)}
		}
	}
	if len(everywhere) > 0 || len(within) > 0 {
		file.Defaults = &defaults{Categories: within}
		if len(everywhere) > 0 {
			file.Defaults.Source = &layerItem{asYAML(everywhere)}
		}
	}
	for _, e := range s.Events {
		own := without(e.Attributes, everywhere)
		for key := range within[e.Category].Attributes {
			delete(own, key)
		}
		item := mappingItem{Category: e.Category, EventType: e.EventType, Attributes: asYAML(own)}
		for _, x := range e.Examples {
			name := fmt.Sprintf("event_examples/%s/%s.json", s.ID, exampleName(e, x))
			item.Examples = append(item.Examples, exampleItem{"./" + name})
			var text bytes.Buffer
			if err := json.Indent(&text, x.Record, "", "  "); err != nil {
				return sourceFile{}, nil, fmt.Errorf("example %s: %w", x.Name, err)
			}
			text.WriteByte('\n')
			examples = append(examples, File{"products/" + p.ID + "/" + name, text.Bytes()})
		}
		file.Mappings = append(file.Mappings, item)
	}
	return file, examples, nil
}

// exampleName begins with the category and the event type, as names of examples
// do in the public repository.
func exampleName(e Event, x Example) string {
	prefix := e.Category + "_" + e.EventType
	if strings.HasPrefix(x.Name, prefix) {
		return x.Name
	}
	return prefix + "_" + x.Name
}

// common are the attributes that all events have at the same paths.
func common(events []Event) map[string][]string {
	if len(events) == 0 {
		return nil
	}
	shared := maps.Clone(events[0].Attributes)
	for _, e := range events[1:] {
		maps.DeleteFunc(shared, func(key string, paths []string) bool { return !slices.Equal(e.Attributes[key], paths) })
	}
	return shared
}

// without are the attributes that are not those of a default.
func without(attributes, given map[string][]string) map[string][]string {
	own := maps.Clone(attributes)
	maps.DeleteFunc(own, func(key string, _ []string) bool { return given[key] != nil })
	return own
}

// asYAML writes one path as a text, several as a list.
func asYAML(attributes map[string][]string) map[string]any {
	made := map[string]any{}
	for key, paths := range attributes {
		made[key] = paths
		if len(paths) == 1 {
			made[key] = paths[0]
		}
	}
	return made
}

// referenceItems gives references ids of their titles.
func referenceItems(references []Reference) []referenceItem {
	items := []referenceItem{}
	for i, r := range references {
		id := strings.Trim(strings.Map(func(c rune) rune {
			switch {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
				return c
			}
			return '_'
		}, strings.ToLower(r.Title)), "_")
		if id == "" || slices.ContainsFunc(items, func(other referenceItem) bool { return other.ID == id }) {
			id = "reference_" + strconv.Itoa(i+1)
		}
		items = append(items, referenceItem{id, r.Title, r.URL})
	}
	return items
}
