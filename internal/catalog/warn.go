package catalog

import (
	_ "embed"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/trawlsec/trawl/internal/strictyaml"
)

// warn notes, as mistakes are, what is not wrong with a source but probably not
// meant. fields are those that its mapping sets.
func warn(doc *strictyaml.Document, s *Source, fields map[string]place) {
	top := place{doc.At()}
	if s.Paging.More == "" && s.Paging.Total == "" {
		top.at("paging").Mistake("neither more nor total says whether a page is the last one, so an answer that was cut short passes for the end; add one if the API has it")
	}
	ecs := ecsFields()
	for field, at := range fields {
		root, _, _ := strings.Cut(field, ".")
		names := ecs[root]
		if names == nil || inECS(field, names) {
			continue
		}
		advice := strictyaml.Suggest(field, slices.Collect(maps.Keys(names)))
		if strings.HasPrefix(advice, "known:") {
			advice = "put fields of the product under its own name, as in " + s.Product.ID + "." + field
		}
		at.Mistake("ECS has no field %s; %s", field, advice)
	}
}

// inECS tells whether a field is among the names of its root, which may end in
// a * for anything below.
func inECS(field string, names map[string]bool) bool {
	if names[field] {
		return true
	}
	for i, r := range field {
		if r == '.' && names[field[:i]+".*"] {
			return true
		}
	}
	return false
}

//go:embed ecs_fields.txt
var ecsText string

// ecsFields are the fields of ECS by their root, for the roots that are known.
var ecsFields = sync.OnceValue(func() map[string]map[string]bool {
	lines := map[string][]string{} // roots and (groups)
	for line := range strings.Lines(ecsText) {
		if words := strings.Fields(line); len(words) > 0 && words[0] != "#" {
			lines[words[0]] = words[1:]
		}
	}
	fields := map[string]map[string]bool{}
	for root, words := range lines {
		if strings.HasPrefix(root, "(") {
			continue
		}
		name, below, _ := strings.Cut(root, ".")
		fields[name] = map[string]bool{}
		if len(words) == 0 {
			fields[name][root] = true
		}
		if below == "" {
			addECS(fields[name], lines, name+".", words)
		}
	}
	return fields
})

// addECS adds the fields that the words of a line mean below a prefix.
func addECS(fields map[string]bool, lines map[string][]string, prefix string, words []string) {
	for _, word := range words {
		name, group, isGroup := strings.Cut(word, "=")
		if own, ok := strings.CutPrefix(word, "+"); ok {
			name, group, isGroup = own, own, true
		}
		if !isGroup {
			fields[prefix+name] = true
			continue
		}
		below, ok := lines["("+group+")"]
		if !ok {
			below = lines[group] // a root that others take in too
		}
		if name != "" {
			name += "."
		}
		addECS(fields, lines, prefix+name, below)
	}
}
