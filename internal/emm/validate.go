package emm

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/trawlsec/trawl/internal/strictyaml"
)

// Report is what Validate found in a folder.
type Report struct {
	Products, Sources, Mappings, Examples int // how many there are

	Faults   strictyaml.Mistakes // what is wrong
	Warnings strictyaml.Mistakes // what is probably not meant
}

// Validate checks a folder in the layout of the public repository: its files
// against their schemas, keys, the categories of event types, and the examples,
// which have to exist and to have a value, if only null, at the paths of their
// mapping's attributes. The error says that the folder could not be read, or is
// a *[LayoutError].
func Validate(dir string) (report Report, err error) {
	f, err := open(dir)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	v := validator{folder: f, examples: map[string]*exampleFile{}}
	if v.schemas, v.Faults, err = f.schemas(); err != nil {
		return Report{}, err
	}
	if v.taxonomy, err = v.readTaxonomy(); err != nil {
		return Report{}, err
	}
	files, err := f.products()
	if err != nil {
		return Report{}, err
	}
	for _, file := range files {
		if !file.isEventSource() {
			v.product(file)
		}
	}
	for _, file := range files {
		if file.isEventSource() {
			v.eventSource(file)
		}
	}
	if err := v.others(); err != nil {
		return Report{}, err
	}
	v.Faults, v.Warnings = distinct(v.Faults), distinct(v.Warnings)
	return v.Report, nil
}

// distinct sorts mistakes and leaves out what stands in several places of the
// file through aliases, and has been said of the first.
func distinct(all strictyaml.Mistakes) strictyaml.Mistakes {
	if len(all) == 0 {
		return nil
	}
	seen := map[strictyaml.Mistake]bool{}
	return slices.DeleteFunc(all.Sorted(), func(m strictyaml.Mistake) bool {
		if _, text, ok := strings.Cut(m.Text, ": "); ok {
			m.Text = text
		}
		again := seen[m]
		seen[m] = true
		return again
	})
}

// validator is the work on a folder.
type validator struct {
	*folder
	Report
	schemas  map[string]schema
	taxonomy *Taxonomy
	products []product
	examples map[string]*exampleFile // by path within the folder
}

// product is what event sources refer to.
type product struct {
	home        string // its folder
	name        string
	collections []string // ids
}

// done takes over what was noted of a file. Of a place that is against the
// schema nothing else is said.
func (v *validator) done(f *file) {
	all := f.mistakes(v.called(f.path))
	against := all[:min(f.against, len(all))]
	v.Faults = append(v.Faults, against...)
	for _, m := range all[len(against):] {
		if !slices.ContainsFunc(against, func(a strictyaml.Mistake) bool { return a.Line == m.Line && a.Column == m.Column }) {
			v.Faults = append(v.Faults, m)
		}
	}
}

// sound checks a file against its schema, and tells whether there is anything
// to look at further.
func (v *validator) sound(f *file, schema string) bool {
	if f.object() == nil {
		return false
	}
	v.schemas[schema].check(f)
	f.against = len(f.doc.Mistakes())
	return true
}

// readTaxonomy checks the files of the taxonomy and reads them. What the folder
// does not have is the matrix's own.
func (v *validator) readTaxonomy() (*Taxonomy, error) {
	t := *Matrix()
	for _, name := range []string{"categories", "event_types", "attributes"} {
		f, err := v.optional(name)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		if v.sound(f, name) {
			v.items(f, name, &t)
		}
		v.done(f)
	}
	return &t, nil
}

// items reads the items of a taxonomy's file.
func (v *validator) items(f *file, name string, t *Taxonomy) {
	items := reader{f.doc.At(), f.value}.get("items").list()
	ids, keys := map[string]string{}, map[string]string{}
	unique := func(r reader, seen map[string]string, i int) string {
		text := r.text()
		if first, twice := seen[text]; twice && text != "" {
			r.at.Mistake("%q is that of item %s too; take another", text, first)
		}
		seen[text] = strconv.Itoa(i)
		return text
	}
	keysOf := func(r reader, what string, known []string) []string {
		var all []string
		for _, item := range r.list() {
			isKnown(item.at, what, item.text(), known)
			all = append(all, item.text())
		}
		return all
	}
	switch name {
	case "categories":
		t.Categories = nil
	case "event_types":
		t.EventTypes = nil
	case "attributes":
		t.Attributes = nil
	}
	for i, item := range items {
		id, key, called, about := unique(item.get("id"), ids, i), unique(item.get("key"), keys, i), item.get("name").text(), item.get("description").text()
		switch name {
		case "categories":
			t.Categories = append(t.Categories, Category{ID: id, Key: key, Name: called, About: about})
		case "event_types":
			t.EventTypes = append(t.EventTypes, EventType{ID: id, Key: key, Name: called, About: about, Categories: keysOf(item.get("categories"), "category", t.CategoryKeys())})
		case "attributes":
			t.Attributes = append(t.Attributes, Attribute{
				ID: id, Key: key, Name: called, About: about,
				Include: keysOf(item.get("include"), "event type", t.EventTypeKeys()), Exclude: keysOf(item.get("exclude"), "event type", t.EventTypeKeys()),
			})
		}
	}
}

// isKnown notes a key that is not among those of the taxonomy.
func isKnown(at strictyaml.Place, what, key string, known []string) bool {
	if key == "" || slices.Contains(known, key) {
		return true
	}
	advice := strictyaml.Suggest(key, known)
	if strings.HasPrefix(advice, "known:") && len(known) > 10 {
		advice = fmt.Sprintf("none of the %d there are is like it", len(known))
	}
	at.Mistake("there is no %s %q; %s", what, key, advice)
	return false
}

// product checks a product's file.
func (v *validator) product(f *file) {
	defer v.done(f)
	if !v.sound(f, "product") {
		return
	}
	v.Products++
	r := reader{f.doc.At(), f.value}
	p := product{home: f.home(), name: r.get("name").text()}
	for _, c := range r.get("collection").list() {
		uniqueIDs(c.get("references"), "reference")
		id := c.get("id")
		if text := id.text(); text != "" {
			p.collections = append(p.collections, text)
		}
	}
	uniqueIDs(r.get("collection"), "collection")
	for _, name := range append(r.get("event_sources").list(), r.get("examples").list()...) {
		v.exists(f, name.at, name.text())
	}
	v.products = append(v.products, p)
}

// eventSource checks an event source's file.
func (v *validator) eventSource(f *file) {
	defer v.done(f)
	if !v.sound(f, "event_source") {
		return
	}
	v.Sources++
	r := reader{f.doc.At(), f.value}
	v.productOf(f, r.get("product"))
	uniqueIDs(r.get("references"), "reference")
	for _, name := range r.get("examples").list() {
		v.exists(f, name.at, name.text())
	}
	src, _ := readSource(f)
	v.defaults(src)
	seen := map[[2]string]int{}
	for i, m := range src.mappings {
		v.Mappings++
		v.mapping(src, m)
		key := [2]string{m.category, m.eventType}
		if first, twice := seen[key]; twice {
			v.warn(m.at, "%s %s has a mapping already, number %d; make one of them", m.category, m.eventType, first+1)
		} else {
			seen[key] = i
		}
	}
	v.paths(src)
}

// uniqueIDs notes ids that are there twice in a list.
func uniqueIDs(list reader, what string) {
	var seen []string
	for _, item := range list.list() {
		id := item.get("id")
		text := id.text()
		if text != "" && slices.Contains(seen, text) {
			id.at.Mistake("%q is the id of another %s here too; take another", text, what)
		}
		seen = append(seen, text)
	}
}

// productOf checks what an event source says of its product.
func (v *validator) productOf(f *file, r reader) {
	name := r.get("name")
	var here []product
	var names []string
	for _, p := range v.products {
		if p.home == f.home() {
			here = append(here, p)
			names = append(names, p.name)
		}
	}
	called := name.text()
	if called == "" {
		return
	}
	i := slices.Index(names, called)
	if i < 0 {
		if len(names) == 0 {
			name.at.Mistake("there is no product in %s; add its file", f.home())
		} else {
			name.at.Mistake("there is no product %q in %s; %s", called, f.home(), strictyaml.Suggest(called, names))
		}
		return
	}
	for _, id := range r.get("collection_sources").list() {
		if text := id.text(); text != "" && !slices.Contains(here[i].collections, text) {
			id.at.Mistake("%s has no collection %q; %s", called, text, strictyaml.Suggest(text, here[i].collections))
		}
	}
}

// defaults checks the keys of an event source's defaults.
func (v *validator) defaults(src eventSource) {
	v.attributes(src.source)
	for _, key := range slices.Sorted(maps.Keys(src.categories)) {
		at := src.doc.At("mapping_defaults", "categories", key)
		if !isKnown(at.Key(), "category", key, v.taxonomy.CategoryKeys()) {
			continue
		}
		v.attributes(src.categories[key])
		if !slices.ContainsFunc(src.mappings, func(m mapping) bool { return m.category == key }) {
			v.warn(at.Key(), "no mapping is of category %s", key)
		}
	}
}

// attributes checks the keys of a layer.
func (v *validator) attributes(l layer) {
	for key, paths := range l.paths {
		isKnown(l.at.At(key).Key(), "attribute", key, v.taxonomy.AttributeKeys())
		if paths == nil {
			continue
		}
		for _, p := range paths.All {
			if parsed := ParsePath(p); parsed.ways == nil {
				l.at.At(key).Mistake("%q is no path: %v", p, parsed.Err())
			}
		}
	}
}

// mapping checks the keys of a mapping.
func (v *validator) mapping(src eventSource, m mapping) {
	known := isKnown(m.at.At("category"), "category", m.category, v.taxonomy.CategoryKeys())
	if isKnown(m.at.At("event_type"), "event type", m.eventType, v.taxonomy.EventTypeKeys()) && known {
		if t, _ := v.taxonomy.EventType(m.eventType); !slices.Contains(t.Categories, m.category) {
			m.at.At("event_type").Mistake("%s is not of category %s, but of %s", m.eventType, m.category, strings.Join(t.Categories, " and "))
		}
	}
	v.attributes(m.own)
	for key, paths := range m.own.paths {
		at := m.own.at.At(key)
		if a, ok := v.taxonomy.Attribute(key); ok && paths != nil && !a.AppliesTo(m.eventType) {
			v.warn(at.Key(), "%s is not for %s; it is for %s", key, m.eventType, strings.Join(a.Include, ", "))
		}
		if _, inherited := src.categories[m.category].paths[key]; paths == nil && !inherited && src.source.paths[key] == nil {
			v.warn(at.Key(), "null takes nothing away here: no default gives %s", key)
		}
	}
}

// warn notes what is probably not meant.
func (v *validator) warn(at strictyaml.Place, format string, args ...any) {
	v.Warnings = append(v.Warnings, at.Note(format, args...))
}

// exists checks that a file which another one refers to is there, and gives its
// path within the folder, "" if it is not.
func (v *validator) exists(f *file, at strictyaml.Place, location string) string {
	if location == "" || strings.Contains(location, "://") {
		return ""
	}
	// Locations are counted from the product's folder, or from the file itself.
	var escapes bool
	for _, base := range []string{f.home(), path.Dir(f.path)} {
		name := path.Join(base, strings.ReplaceAll(location, `\`, "/"))
		if path.IsAbs(location) || name == ".." || strings.HasPrefix(name, "../") {
			escapes = true
			continue
		}
		if info, err := v.stat(name); err == nil && info.Mode().IsRegular() {
			return name
		}
	}
	if escapes {
		at.Mistake("%s is outside of this folder", location)
	} else {
		at.Mistake("there is no file %s in %s", location, f.home())
	}
	return ""
}
