package observe

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"

	"github.com/trawlsec/trawl/internal/emm"
)

//go:embed observed.html.tmpl
var htmlText string

var htmlTemplate = template.Must(template.New("observed").Funcs(template.FuncMap{
	"when":    func(t time.Time) string { return whenText(t, "2006-01-02 15:04Z") },
	"date":    func(t time.Time) string { return whenText(t, time.DateOnly) },
	"percent": func(share float64) int { return int(100 * share) },
	"roughly": roughly,
	"brief":   brief,
	"part":    func(some, all int) int { return 100 * some / max(1, all) },
}).Parse(htmlText))

func whenText(t time.Time, layout string) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format(layout)
}

// HTML writes the report as one page that needs nothing else, no script either.
func (r Report) HTML(w io.Writer) error {
	err := htmlTemplate.Execute(w, struct {
		Report
		Style template.CSS
	}{r, emm.Style})
	if err != nil {
		return fmt.Errorf("write observed matrix: %w", err)
	}
	return nil
}
