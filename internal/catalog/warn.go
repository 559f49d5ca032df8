package catalog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trawlsec/trawl/internal/ecsfields"
	"github.com/trawlsec/trawl/internal/strictyaml"
)

// given is what a part of a mapping gives to a field.
type given struct {
	place
	field    string
	expr     *Expr // nil: the constant
	table    map[string]string
	constant any
	beside   map[string]any // the constants of the same part
}

// warn notes, as mistakes are, what is not wrong with a source but probably not
// meant.
func warn(doc *strictyaml.Document, s *Source, all []given) {
	top := place{doc.At()}
	if s.Paging.More == "" && s.Paging.Total == "" && s.Paging.End == "" && s.Paging.NextURL == "" && s.Paging.Link == "" {
		top.at("paging").Mistake("neither more nor total says whether a page is the last one, so an answer that was cut short passes for the end; add one if the API has it, or end, which says what the last page is known by")
	}
	if within := s.Facts.VisibleWithin; within > s.Window.Overlap && len(s.Window.Fields) > 0 {
		top.at("facts", "visible_within").Mistake("records may become visible %v after their time, and each reading goes back by %v only; make window.overlap at least as long", within, s.Window.Overlap)
	}
	for _, g := range all {
		root, _, _ := strings.Cut(g.field, ".")
		under := ecsfields.Under(root)
		if under == nil {
			continue
		}
		name := g.field
		f, ok := ecsfields.Find(name)
		if !ok && g.expr != nil && slices.Contains(objectTypes, g.expr.As) {
			name += ".original" // which every object has
			if _, ok = ecsfields.Find(name); ok {
				continue
			}
		}
		if !ok {
			g.Mistake("ECS has no field %s; %s", name, instead(g.field, under, s.Product.ID))
			continue
		}
		if complaint := g.misfit(f); complaint != "" {
			g.Mistake("%s", complaint)
		}
	}
}

func instead(field string, known []string, product string) string {
	advice := strictyaml.Suggest(field, known)
	if strings.HasPrefix(advice, "known:") {
		advice = "put fields of the product under its own name, as in " + product + "." + field
	}
	return advice
}

// fitting are the values of as that fit a type of ECS, the best first.
var fitting = map[string][]string{
	"keyword":   {"keyword", "email", "domain", "ip", "date"},
	"long":      {"long"},
	"double":    {"double", "long"},
	"boolean":   {"boolean"},
	"date":      {"date"},
	"ip":        {"ip"},
	"geo_point": {"json"},
	"object":    {"json"},
}

// misfit says what is wrong with what a field of ECS is given, or nothing.
func (g given) misfit(f ecsfields.Field) string {
	if g.expr == nil {
		return g.oddConstant(f)
	}
	as, list := strings.CutSuffix(g.expr.As, "[]")
	if as == "" {
		as = "keyword"
	}
	if fits := fitting[f.Type]; !slices.Contains(fits, as) {
		return fmt.Sprintf("ECS keeps a value of type %s in %s; make it as: %s", f.Type, g.field, fits[0])
	}
	if f.List && !list {
		return fmt.Sprintf("ECS keeps a list in %s; make it as: %s[]", g.field, as)
	}
	if f.Values != nil {
		for _, value := range g.table {
			if value != "" && !slices.Contains(f.Values, value) {
				return oddValue(g.field, value, f)
			}
		}
	}
	return ""
}

func (g given) oddConstant(f ecsfields.Field) string {
	list, isList := g.constant.([]any)
	switch {
	case f.List && !isList:
		return fmt.Sprintf("ECS keeps a list in %s; write [%v]", g.field, g.constant)
	case !isList:
		list = []any{g.constant}
	}
	for _, item := range list {
		var kinds []string
		switch item.(type) {
		case string:
			kinds = []string{"keyword", "date", "ip"}
		case bool:
			kinds = []string{"boolean"}
		case int64:
			kinds = []string{"long", "double"}
		case float64:
			kinds = []string{"double"}
		}
		if !slices.Contains(kinds, f.Type) {
			return fmt.Sprintf("ECS keeps a value of type %s in %s", f.Type, g.field)
		}
		text := fmt.Sprint(item)
		if f.Values != nil && !slices.Contains(f.Values, text) {
			return oddValue(g.field, text, f)
		}
		if g.field == "event.type" && !g.goesWithCategory(text) {
			return fmt.Sprintf("ECS has no event.type %s with event.category %v", text, g.beside["event.category"])
		}
	}
	return ""
}

// goesWithCategory tells whether an event.type is one of those of a category
// beside it. Without a category it may be.
func (g given) goesWithCategory(eventType string) bool {
	categories, _ := g.beside["event.category"].([]any)
	for _, c := range categories {
		if text, _ := c.(string); slices.Contains(ecsfields.EventTypes(text), eventType) {
			return true
		}
	}
	return len(categories) == 0
}

func oddValue(field, value string, f ecsfields.Field) string {
	return fmt.Sprintf("%s is none of the values that ECS has for %s; %s", value, field, strictyaml.Suggest(value, f.Values))
}
