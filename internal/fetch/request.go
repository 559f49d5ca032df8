package fetch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/catalog"
)

// filterQuery is Request.Filter of a source whose filter goes into the URL.
const filterQuery = "query"

// asIs keeps what comes from an API, cursors above all, as it came.
var asIs = json.JoinOptions(
	json.Deterministic(true),
	jsontext.PreserveRawStrings(true),
	jsontext.AllowInvalidUTF8(true),
	jsontext.AllowDuplicateNames(true),
)

// request builds what is sent for a page.
func (c *Client) request(ctx context.Context, s *session, r Request) (*http.Request, error) {
	spec := r.spec()
	n := c.names(s)
	n.own = own(r)
	target, err := c.target(n, s.base, r)
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if spec.GraphQL != nil || spec.JSON != nil {
		encoded, err := jsonBody(n, r)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, spec.Method, target, body)
	if err != nil {
		return nil, fmt.Errorf("build request: %w", c.scrub.cause(err))
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, headers := range []map[string]string{c.opts.Product.Headers, spec.Headers} {
		for name, text := range headers {
			value, ok, err := n.optional(text)
			if err != nil {
				return nil, fmt.Errorf("build header %s: %w", name, err)
			}
			if ok {
				req.Header.Set(name, value)
			}
		}
	}
	req.Header.Set("User-Agent", c.opts.UserAgent)
	req.Header.Set(s.in, s.header)
	return req, nil
}

// spec is what the catalogue says of the request.
func (r *Request) spec() *catalog.Request {
	if r.Stream {
		return &r.Source.Stream.Request
	}
	return &r.Source.Request
}

// own are the names that a request has beside the settings.
func own(r Request) map[string]any {
	m := map[string]any{"page_size": pageSize(r)}
	field := r.Field
	if field == "" && len(r.Source.Window.Fields) > 0 {
		field = r.Source.Window.Fields[0]
	}
	if field != "" {
		m["time_field"] = field
	}
	if !r.Since.IsZero() {
		m["since"] = r.Source.Window.Format(r.Since)
	}
	if !r.Until.IsZero() {
		m["until"] = r.Source.Window.Format(r.Until)
	}
	switch {
	case r.Source.Paging.Offset:
		m["offset"] = offset(r.Cursor)
	case r.Source.Paging.FirstPage != nil:
		m["page"] = pageNumber(r.Cursor, *r.Source.Paging.FirstPage)
	case r.Cursor != nil:
		m["cursor"] = r.Cursor
	case r.Stream && r.Source.Stream.Start != "":
		m["cursor"] = r.Source.Stream.Start
	}
	if r.id != nil {
		m["id"] = r.id
	}
	maps.Copy(m, r.names)
	return m
}

func pageSize(r Request) int {
	size := r.Size
	if size <= 0 {
		size = r.Source.Paging.Size
	}
	if most := r.Source.Paging.MaxSize; most > 0 {
		size = min(size, most)
	}
	return size
}

// target is the URL of a page.
func (c *Client) target(n *names, base string, r Request) (string, error) {
	spec := r.spec()
	path, err := catalog.Expand(spec.Path, func(name string) (string, bool) {
		value, ok := n.lookup(name)
		return url.PathEscape(value), ok
	})
	if err = n.reason(err); err != nil {
		return "", fmt.Errorf("build path: %w", err)
	}
	if path != "" {
		base = strings.TrimSuffix(base, "/") + path
	}
	u, err := url.Parse(base)
	if err != nil {
		return "", fmt.Errorf("build URL: %w", c.scrub.cause(err))
	}
	if r.Cursor != nil && byURL(&r.Source.Paging) {
		next, err := nextURL(u, r.Cursor)
		if err != nil {
			return "", err
		}
		return next.String(), nil
	}
	query := u.Query()
	for key, text := range spec.Query {
		name, err := n.expand(key)
		if err != nil {
			return "", fmt.Errorf("build query parameter %s: %w", key, err)
		}
		value, ok, err := n.optional(text)
		if err != nil {
			return "", fmt.Errorf("build query parameter %s: %w", key, err)
		}
		if ok {
			query.Set(name, value)
		}
	}
	if spec.GraphQL == nil && (spec.JSON == nil || spec.Filter == filterQuery) && len(r.Filter) > 0 {
		if spec.Filter != filterQuery {
			return "", fmt.Errorf("filter: %s takes none", r.Source.FullName())
		}
		for _, name := range sortedKeys(r.Filter) {
			if query.Has(name) || slices.Contains(r.Source.Window.Fields, name) {
				return "", setsOurs(r.Source, name)
			}
			values, ok := r.Filter[name].([]any)
			if !ok {
				values = []any{r.Filter[name]}
			}
			for _, v := range values {
				query.Add(name, fmt.Sprint(v))
			}
		}
	}
	if len(query) > 0 {
		u.RawQuery = query.Encode()
	}
	return u.String(), nil
}

// jsonBody is the body of a request, the feed's filter in it: that of the
// catalogue, or a GraphQL query with its variables.
func jsonBody(n *names, r Request) ([]byte, error) {
	spec := r.spec()
	members, what := spec.JSON, "body"
	if spec.GraphQL != nil {
		members, what = spec.GraphQL.Variables, "variables"
	}
	built, _, err := n.substitute(members)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", what, err)
	}
	body := built
	if members := built.(map[string]any); len(r.Filter) > 0 && (spec.GraphQL != nil || spec.Filter != filterQuery) {
		if err := addFilter(members, r); err != nil {
			return nil, err
		}
	}
	if spec.GraphQL != nil {
		body = struct {
			Query     string `json:"query"`
			Operation string `json:"operationName,omitempty"`
			Variables any    `json:"variables"`
		}{spec.GraphQL.Query, spec.GraphQL.Operation, built}
	}
	encoded, err := json.Marshal(body, asIs)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", what, err)
	}
	return encoded, nil
}

// substitute gives a copy of a value in which every ${name} is replaced. keep
// is false for a text that is one name without a value.
func (n *names) substitute(v any) (_ any, keep bool, err error) {
	switch v := v.(type) {
	case string:
		if name, whole := catalog.WholeName(v); whole {
			value, ok := n.value(name)
			return value, ok, n.err
		}
		text, err := n.expand(v)
		return text, true, err
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, member := range v {
			name, err := n.expand(key)
			if err != nil {
				return nil, false, err
			}
			value, keep, err := n.substitute(member)
			if err != nil {
				return nil, false, err
			}
			if keep {
				out[name] = value
			}
		}
		return out, true, nil
	case []any:
		out := make([]any, 0, len(v))
		for _, element := range v {
			value, keep, err := n.substitute(element)
			if err != nil {
				return nil, false, err
			}
			if keep {
				out = append(out, value)
			}
		}
		return out, true, nil
	}
	return v, true, nil
}

// addFilter merges the feed's filter into the variable, or the member of the
// body, that takes it.
func addFilter(variables map[string]any, r Request) error {
	name := r.spec().Filter
	if name == "" {
		return fmt.Errorf("filter: %s takes none", r.Source.FullName())
	}
	for _, field := range r.Source.Window.Fields {
		if _, ok := r.Filter[field]; ok {
			return setsOurs(r.Source, field)
		}
	}
	ours, _ := variables[name].(map[string]any)
	if ours == nil {
		ours = map[string]any{}
		variables[name] = ours
	}
	return merge(ours, r.Filter, r.Source, "")
}

// merge adds the members of theirs that ours lacks, at all depths. One that
// both have is a mistake: either would silently change what is collected.
func merge(ours, theirs map[string]any, source *catalog.Source, under string) error {
	for _, key := range sortedKeys(theirs) {
		mine, both := ours[key]
		if !both {
			ours[key] = theirs[key]
			continue
		}
		inner, ok := mine.(map[string]any)
		added, ok2 := theirs[key].(map[string]any)
		if !ok || !ok2 {
			return setsOurs(source, under+key)
		}
		if err := merge(inner, added, source, under+key+"."); err != nil {
			return err
		}
	}
	return nil
}

func setsOurs(source *catalog.Source, key string) error {
	return fmt.Errorf("filter: %s is set by Trawl itself for %s; take it out of the feed's filter", key, source.FullName())
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// join puts texts together, without the empty ones.
func join(by string, texts ...string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(texts), func(s string) bool { return s == "" }), by)
}
