package emm

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
)

//go:embed matrix.html.tmpl
var htmlText string

//go:embed page.css
var styleText string

// Style is how pages about the matrix look: light and dark, on screens and on
// paper.
var Style = template.CSS(styleText) //nolint:gosec // it is a file of the program

var htmlTemplate = template.Must(template.New("matrix").Parse(htmlText))

// HTML writes the matrix as one page that needs nothing else, no script either.
func HTML(w io.Writer, products []Product) error {
	page := htmlPage{Style: Style, EventTypes: len(Matrix().EventTypes), Attributes: len(Matrix().Attributes)}
	for _, p := range products {
		made, err := newHTMLProduct(p)
		if err != nil {
			return err
		}
		page.Products = append(page.Products, made)
	}
	for _, c := range Matrix().Categories {
		group := htmlGroup{Category: c}
		for _, t := range Matrix().EventTypes {
			if !slices.Contains(t.Categories, c.Key) {
				continue
			}
			row := htmlRow{EventType: t, Category: c.Key}
			for _, p := range page.Products {
				row.Cells = append(row.Cells, newHTMLCell(p, t))
			}
			group.Rows = append(group.Rows, row)
		}
		page.Groups = append(page.Groups, group)
	}
	if err := htmlTemplate.Execute(w, page); err != nil {
		return fmt.Errorf("write matrix: %w", err)
	}
	return nil
}

// What the template shows.
type (
	htmlPage struct {
		Style                  template.CSS
		EventTypes, Attributes int
		Products               []htmlProduct
		Groups                 []htmlGroup
	}
	htmlGroup struct {
		Category
		Rows []htmlRow
	}
	htmlRow struct {
		EventType
		Category string
		Cells    []htmlCell
	}
	// htmlCell is a cell of the matrix: how much of what could be told is.
	htmlCell struct {
		Product, Name string
		Logged        bool
		Has, Of       int
		Share         int // percent
	}
	htmlProduct struct {
		Product
		cover   Coverage
		Logged  int
		Sources []htmlSource
	}
	htmlSource struct {
		Source
		Ways   []Collection
		Events []htmlEvent
	}
	htmlEvent struct {
		EventType
		Category   Category
		First      bool // of its product, so that the matrix leads to it
		Cell       htmlCell
		Attributes []htmlAttribute
		Examples   []htmlExample
	}
	htmlAttribute struct {
		Attribute
		Paths []string
	}
	htmlExample struct{ Name, Text string }
)

func newHTMLCell(p htmlProduct, t EventType) htmlCell {
	has, logged := p.cover[t.Key]
	cell := htmlCell{Product: p.ID, Name: p.Name, Logged: logged, Has: len(has), Of: len(Matrix().Applicable(t.Key))}
	cell.Share = 100 * cell.Has / max(cell.Of, 1)
	return cell
}

func newHTMLProduct(p Product) (htmlProduct, error) {
	made := htmlProduct{Product: p, cover: p.Coverage()}
	made.Logged = len(made.cover)
	seen := map[string]bool{}
	for _, s := range p.Sources {
		source := htmlSource{Source: s}
		for _, c := range p.Collection {
			if slices.Contains(s.Collection, c.ID) {
				source.Ways = append(source.Ways, c)
			}
		}
		own := htmlProduct{Product: p, cover: Product{Sources: []Source{s}}.Coverage()}
		for _, e := range s.Events {
			t, _ := Matrix().EventType(e.EventType)
			category, _ := Matrix().Category(e.Category)
			event := htmlEvent{EventType: t, Category: category, First: !seen[e.EventType], Cell: newHTMLCell(own, t)}
			seen[e.EventType] = true
			for _, a := range Matrix().Applicable(e.EventType) {
				event.Attributes = append(event.Attributes, htmlAttribute{a, e.Attributes[a.Key]})
			}
			for _, x := range e.Examples {
				var text bytes.Buffer
				if err := json.Indent(&text, x.Record, "", "  "); err != nil {
					return htmlProduct{}, fmt.Errorf("example %s of %s/%s: %w", x.Name, p.ID, s.ID, err)
				}
				event.Examples = append(event.Examples, htmlExample{x.Name, text.String()})
			}
			source.Events = append(source.Events, event)
		}
		made.Sources = append(made.Sources, source)
	}
	return made, nil
}
