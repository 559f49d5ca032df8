package fetch

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

const endEmpty = "empty" // of Paging.End

// byURL tells whether a cursor is the URL of the next page.
func byURL(p *catalog.Paging) bool { return p.NextURL != "" || p.Link != "" }

// follow works out what comes after a page: Cursor, More and Moved. found is
// what the plan's scan has found in the answer.
func (p *plan) follow(page *Page, a answer, found [][]byte, r *Request) error {
	paging := &r.Source.Paging
	cursor, stated, err := p.cursor(page, a, found, r)
	if err != nil {
		return err
	}
	page.Cursor = cursor
	if r.Stream && (cursor == nil || slices.Contains(r.Source.Stream.Ignore, scalar(cursor))) {
		page.Cursor = r.Cursor
	}
	page.Moved = page.Cursor != nil && (r.Cursor == nil || scalar(page.Cursor) != scalar(r.Cursor))
	some := len(page.Records) > 0
	switch {
	case r.Stream:
		page.More = page.Moved && some
	case paging.Offset:
		page.More = some && (paging.End == endEmpty || page.Total < 0 || offset(page.Cursor) < page.Total)
	case paging.FirstPage != nil:
		page.More = some
	case paging.End == endEmpty:
		// Without a cursor there is no telling what comes after these records.
		page.More = some && (page.Moved || !stated)
	case cursor != nil:
		page.More = true
	case !p.ends && !stated:
		// A full page without a word on the next one, not even null: whether that
		// is the end cannot be told, so it is not taken for it.
		size := pageSize(*r)
		page.More = size > 0 && len(page.Records) >= size
	}
	if !p.more {
		return nil
	}
	switch string(found[inMore]) {
	case "true":
		page.More = page.Moved || !r.Stream
	case "false":
		page.More = false
	default:
		return fmt.Errorf("the answer does not say whether there are more pages")
	}
	return nil
}

// cursor is what the next page is asked for by; nil: there is none. stated says
// that the answer has a word on it.
func (p *plan) cursor(page *Page, a answer, found [][]byte, r *Request) (cursor jsontext.Value, stated bool, err error) {
	paging := &r.Source.Paging
	raw := found[inCursor]
	switch {
	case paging.Offset:
		return jsontext.Value(strconv.Itoa(offset(r.Cursor) + len(page.Records))), true, nil
	case paging.FirstPage != nil:
		return jsontext.Value(strconv.Itoa(pageNumber(r.Cursor, *paging.FirstPage) + 1)), true, nil
	case paging.Link != "":
		raw = nil
		if next, ok := link(a.header.Values("Link"), paging.Link); ok {
			if raw, err = jsontext.AppendQuote(nil, next); err != nil {
				return nil, true, fmt.Errorf("the answer's Link header: %w", err)
			}
		}
	}
	if raw == nil {
		return nil, false, nil
	}
	if text := scalar(raw); text == "" || string(raw) == "null" || slices.Contains(paging.EndValues, text) {
		return nil, true, nil
	}
	cursor = slices.Clone(raw) // it outlives the page
	if byURL(paging) {
		_, err = nextURL(a.from, cursor)
	}
	return cursor, true, err
}

// offset reads a cursor that counts records; 0 where there is none.
func offset(cursor jsontext.Value) int { return max(number(cursor), 0) }

// pageNumber reads a cursor that counts pages; first where there is none.
func pageNumber(cursor jsontext.Value, first int) int {
	if cursor == nil {
		return first
	}
	return max(number(cursor), first)
}

// originError is the URL of a page that is not on the API's address.
type originError struct{ to, api string }

func (e *originError) Error() string {
	return fmt.Sprintf("the API gives a next page at %s, which is not followed: the credential is for %s only", e.to, e.api)
}

// nextURL is the URL that a cursor is, relative to that of another page. It has
// to be of the same scheme, host and port, since the credential is sent there:
// otherwise the error is an *originError.
func nextURL(from *url.URL, cursor jsontext.Value) (*url.URL, error) {
	text, ok := jsonscan.String(cursor)
	if !ok {
		return nil, fmt.Errorf("the URL of the next page is no text")
	}
	u, err := from.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("the URL of the next page is none") // its text may hold anything
	}
	if to, api := origin(u), origin(from); to != api {
		return nil, &originError{to, api}
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	return u, nil
}
