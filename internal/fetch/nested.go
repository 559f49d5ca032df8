package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

// mostEmpty is how many pages of a list within a record may bring nothing new
// in a row.
const mostEmpty = 10

// nestedPlan is a catalog.Nested, ready to be applied. Its pages are asked for
// as those of a source of their own.
type nestedPlan struct {
	at                 string
	id                 []jsonscan.Path // of the record; the first that has a value counts
	list, cursor, more jsonscan.Path   // in the record
	most               int
	pages              *catalog.Source
}

func planNested(of *catalog.Source, n catalog.Nested) (p nestedPlan, err error) {
	p = nestedPlan{at: n.At, most: n.Most, pages: &catalog.Source{
		Product: of.Product,
		ID:      of.ID,
		Scopes:  of.Scopes,
		Request: n.Request,
		Records: n.In + "." + n.Records,
		Paging:  catalog.Paging{Size: n.Size, MaxSize: n.Size, Cursor: n.In + "." + n.Cursor, More: n.In + "." + n.More},
	}}
	for path, text := range map[*jsonscan.Path]string{
		&p.list: n.At + "." + n.Records, &p.cursor: n.At + "." + n.Cursor, &p.more: n.At + "." + n.More,
	} {
		if *path, err = jsonscan.ParsePath(text); err != nil {
			return p, err
		}
	}
	for _, text := range of.Record.ID {
		path, err := jsonscan.ParsePath(text)
		if err != nil {
			return p, err
		}
		p.id = append(p.id, path)
	}
	return p, nil
}

// complete reads the lists within a page's records to their end. A record whose
// list cannot be read on stays as it is, and so says itself that there is more.
func (c *Client) complete(ctx context.Context, p *plan, r Request, page *Page) error {
	room := c.opts.HTTP.MaxBody - int64(page.Bytes)
	for i, record := range page.Records {
		received := len(record)
		for k := range p.nested {
			n := &p.nested[k]
			if !n.goesOn(record) {
				continue
			}
			if r.Known != nil && r.Known(record, page.Found(i)) {
				break
			}
			whole, err := c.readOn(ctx, n, r, record, room)
			if errors.Is(err, errNoRoom) && len(page.Records) > 1 {
				return c.fail(&Error{
					Class: TooLarge, Op: p.op(&r), Advice: generalAdvice[TooLarge],
					Err: fmt.Errorf("the records, with the whole of %s, are longer than %d bytes (http.max_body)", n.at, c.opts.HTTP.MaxBody),
				})
			}
			var e *Error
			switch {
			case err == nil:
			case errors.Is(err, errNoRoom), errors.As(err, &e) && (e.Class == Permanent || e.Class == TooLarge):
				c.log.LogAttrs(ctx, slog.LevelWarn, "a list within a record could not be read to its end",
					slog.String("connection", c.opts.Name), slog.String("source", p.source), slog.String("list", n.at),
					slog.String("record", scalar(n.idOf(record))), slog.Any("error", err))
			default:
				return err
			}
			room -= int64(len(whole) - len(record))
			record, page.Records[i] = whole, whole
		}
		if found := page.Found(i); found != nil && len(record) != received {
			r.Look.Scan(record, found)
		}
	}
	return nil
}

var errNoRoom = errors.New("there is no room for more of it (http.max_body)")

// value is what stands at a path in a record; nil: nothing.
func (n *nestedPlan) value(path jsonscan.Path, record []byte) (value []byte) {
	if from, to, ok := path.Span(record); ok {
		value = record[from:to]
	}
	return value
}

// idOf is the raw id of a record; nil: it has none.
func (n *nestedPlan) idOf(record []byte) []byte {
	for _, path := range n.id {
		if id := n.value(path, record); !isNone(id) {
			return id
		}
	}
	return nil
}

// goesOn tells whether a record's list has more pages.
func (n *nestedPlan) goesOn(record []byte) bool {
	return string(n.value(n.more, record)) == "true" && jsonscan.Kind(n.value(n.list, record)) == '['
}

// readOn reads what a record's list has beyond its first page, and returns the
// record with it, longer by at most room bytes. With an error the record has
// what was read before.
func (c *Client) readOn(ctx context.Context, n *nestedPlan, r Request, record []byte, room int64) ([]byte, error) {
	list := elements{known: map[string]bool{}}
	jsonscan.Elements(n.value(n.list, record), func(raw []byte) bool { list.add(raw); return true })
	first := list.n
	list.text = nil
	cursor, more := jsontext.Value(slices.Clone(n.value(n.cursor, record))), true
	cursors := map[string]bool{}
	id := slices.Clone(n.idOf(record))
	var failed error
	for empty := 0; more && list.n < n.most && failed == nil; {
		switch {
		case len(id) == 0 || isNone(cursor) || cursors[string(cursor)] || empty == mostEmpty:
			failed = &Error{Class: Permanent, Op: c.opts.Name + "/" + r.Source.ID + " " + n.at, Err: errors.New("the API says that there are more pages, and does not say how to get them")}
			continue
		}
		cursors[string(cursor)] = true
		page, err := c.Page(ctx, Request{Source: n.pages, Cursor: cursor, Low: r.Low, id: id})
		if err != nil {
			failed = err
			break
		}
		before := list.n
		for _, raw := range page.Records {
			list.add(raw)
		}
		empty++
		if list.n > before {
			empty = 0
		}
		cursor, more = page.Cursor, page.More
		page.Release()
		if int64(len(list.text)) > room {
			return record, errNoRoom
		}
	}
	if list.n == first && more {
		return record, failed
	}
	return n.put(record, list.text, cursor, more), failed
}

func isNone(raw jsontext.Value) bool {
	return len(raw) == 0 || string(raw) == "null" || string(raw) == `""`
}

// elements are those of a list, each once, as an array holds them.
type elements struct {
	known map[string]bool
	n     int
	text  []byte
}

func (l *elements) add(raw []byte) {
	if l.known[string(raw)] {
		return // pages shift and repeat
	}
	l.known[string(raw)] = true
	l.n++
	l.text = append(append(l.text, ','), raw...)
}

// put adds elements to a record's list, and says what the last page did of what
// comes after it.
func (n *nestedPlan) put(record, text []byte, cursor jsontext.Value, more bool) []byte {
	type edit struct {
		from, to int
		text     []byte
	}
	var edits []edit
	if from, to, ok := n.list.Span(record); ok {
		if inner := record[from+1 : to-1]; len(bytes.TrimSpace(inner)) == 0 {
			text = bytes.TrimPrefix(text, []byte(","))
		}
		edits = append(edits, edit{to - 1, to - 1, text})
	}
	if len(cursor) == 0 {
		cursor = jsontext.Value("null")
	}
	if from, to, ok := n.cursor.Span(record); ok {
		edits = append(edits, edit{from, to, cursor})
	}
	if from, to, ok := n.more.Span(record); ok {
		edits = append(edits, edit{from, to, fmt.Append(nil, more)})
	}
	slices.SortFunc(edits, func(a, b edit) int { return a.from - b.from })
	whole := make([]byte, 0, len(record)+len(text)+len(cursor))
	done := 0
	for _, e := range edits {
		whole = append(append(whole, record[done:e.from]...), e.text...)
		done = e.to
	}
	return append(whole, record[done:]...)
}
