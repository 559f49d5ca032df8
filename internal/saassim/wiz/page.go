package wiz

import (
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/trawlsec/trawl/internal/saassim"
)

// result is what a query matches, in order.
type result struct {
	n  int
	at func(i int) object
	// span writes the records [from,to) at once where it can; see list.whole.
	span func(dst []byte, sel *selection, from, to int) ([]byte, bool)
	// counts are the further fields of the connection.
	counts func(name string) any
}

// snapshots keeps the results of the walks under way when cursors hold on to
// them. Only the last few are kept: a cursor can become invalid.
type snapshots struct {
	next int
	kept map[int]result
}

const keptSnapshots = 64

func (s *snapshots) add(r result) int {
	if s.kept == nil {
		s.kept = map[int]result{}
	}
	s.next++
	s.kept[s.next] = r
	delete(s.kept, s.next-keptSnapshots)
	return s.next
}

// cursor is a place in a query's result. Its text is opaque to clients.
type cursor struct {
	offset   int
	snapshot int    // 0: none
	query    uint32 // what was asked, so that a cursor works for its own query only
	nonce    uint64 // tells two cursors of one place apart; usually 0
}

func (c cursor) String() string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "wiz:%d:%d:%d:%d", c.offset, c.snapshot, c.query, c.nonce))
}

func parseCursor(s string) (c cursor, err error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err == nil {
		_, err = fmt.Sscanf(string(b), "wiz:%d:%d:%d:%d", &c.offset, &c.snapshot, &c.query, &c.nonce)
	}
	if err != nil || c.offset < 0 {
		return cursor{}, badInput("invalid cursor")
	}
	return c, nil
}

func badInput(format string, args ...any) gqlError {
	return gqlError{Message: fmt.Sprintf(format, args...), Code: codeBadInput}
}

// pageSize reads first, which the schema lets one leave out and the product
// does not.
func (c *call) pageSize(args map[string]any, most int) (int, error) {
	first, ok := args["first"].(int64)
	switch {
	case !ok:
		return 0, badInput("first is required")
	case first > int64(most) && c.w.opts.ClampPages:
		return most, nil
	case first < 1 || first > int64(most):
		return 0, badInput("first must be between 1 and %d", most)
	}
	return int(first), nil
}

// connection answers one page of a query: find runs the query, most is the
// largest page, limit the number of results after which it ends (0: none).
func (c *call) connection(node string, args map[string]any, most, limit int, find func() (result, error)) (object, gqlError) {
	fail := func(err error) (object, gqlError) {
		if e, ok := err.(gqlError); ok {
			return nil, e
		}
		return nil, internalError()
	}
	first, err := c.pageSize(args, most)
	if err != nil {
		return fail(err)
	}
	place := cursor{query: queryDigest(node, args)}
	if after, ok := args["after"].(string); ok {
		if n, err := strconv.Atoi(after); err == nil && n >= 0 && c.w.numeric.Load() {
			place.offset = n
		} else if given, err := parseCursor(after); err != nil {
			return fail(err)
		} else if given.query != place.query {
			return fail(badInput("invalid cursor: it belongs to another query"))
		} else {
			place = given
		}
	}
	res, err := c.found(&place, find)
	if err != nil {
		return fail(err)
	}
	total := res.n
	if limit > 0 {
		res.n = min(res.n, limit)
		if c.w.opts.SaturateCount {
			total = res.n
		}
	}
	if s, ok := c.Drawn(saassim.CapResults); ok && res.n > s.N {
		c.Hit(saassim.CapResults)
		res.n = s.N
	}
	conn := c.cut(node, res, place, first)
	conn.total = total
	c.records += conn.show
	return conn, conn.err
}

// found runs the query, or takes its result from the walk's snapshot.
func (c *call) found(place *cursor, find func() (result, error)) (result, error) {
	if place.snapshot != 0 {
		c.w.mu.RLock()
		res, ok := c.w.snapshots.kept[place.snapshot]
		c.w.mu.RUnlock()
		if !ok {
			return result{}, badInput("invalid cursor: it has expired")
		}
		return res, nil
	}
	res, err := find()
	if err != nil || c.w.opts.Cursors != SnapshotCursors {
		return res, err
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	place.snapshot = c.w.snapshots.add(res)
	return res, nil
}

// cut takes a page out of a result, or what a fault makes of it.
func (c *call) cut(node string, res result, place cursor, first int) *connection {
	from := min(place.offset, res.n)
	to := min(from+first, res.n)
	next, again, nonce := to, false, uint64(0)
	if from < res.n {
		if _, ok := c.Hit(saassim.EmptyPage); ok {
			to, next, nonce = from, from, c.w.nonce.Add(1)
		}
	}
	if from > 0 && nonce == 0 {
		if _, ok := c.Hit(saassim.RepeatPage); ok {
			from, to, next, nonce = max(0, from-first), from, from, c.w.nonce.Add(1)
		}
	}
	if to-from > 1 && nonce == 0 {
		if _, ok := c.Hit(saassim.Duplicate); ok {
			if again = true; to-from == first { // the page keeps its size
				to--
				next = to
			}
		}
	}
	conn := &connection{node: node, res: res, from: from, to: to, again: again, place: place}
	conn.show = to - from
	if again {
		conn.show++
	}
	conn.more = next < res.n
	if next > 0 || conn.more {
		end := place
		end.offset, end.nonce = next, nonce
		conn.end = end.String()
	}
	if _, ok := c.Hit(saassim.NumericCursor); ok && conn.end != nil {
		c.w.numeric.Store(true)
		conn.end = next
	}
	if _, ok := c.Hit(saassim.StuckCursor); ok {
		conn.end, conn.more = place.String(), true
	}
	if _, ok := c.Hit(saassim.NullCursor); ok {
		conn.end, conn.more = nil, true
	}
	if _, ok := c.Hit(saassim.Partial); ok {
		conn.show /= 2
		conn.err = internalError("nodes", conn.show)
	}
	if _, ok := c.Hit(saassim.NullNodes); ok {
		conn.show, conn.noNodes = 0, true
		conn.err = internalError("nodes")
	}
	return conn
}

// connection is one page as GraphQL shows it.
type connection struct {
	node     string // type of its records
	res      result
	from, to int
	again    bool // the first record stands at the end once more
	show     int  // so many of the records are given
	noNodes  bool
	place    cursor
	more     bool
	end      any // nil, string or int
	total    int
	err      gqlError
}

func (p *connection) typename() string {
	if p.node == detections.node {
		return "DetectionsConnection" // as the product has it
	}
	return p.node + "Connection"
}

func (p *connection) field(name string) any {
	switch name {
	case "nodes":
		if p.noNodes {
			return nil
		}
		nodes := list{n: p.show, at: p.at}
		if p.res.span != nil && !p.again {
			nodes.whole = func(dst []byte, sel *selection) ([]byte, bool) {
				return p.res.span(dst, sel, p.from, p.from+p.show)
			}
		}
		return nodes
	case "edges":
		if p.noNodes {
			return nil
		}
		return list{n: p.show, at: func(i int) object {
			place := p.place
			place.offset = p.from + i + 1
			return thing{"__typename": p.node + "Edge", "cursor": place.String(), "node": p.at(i)}
		}}
	case "pageInfo":
		return thing{"__typename": "PageInfo", "hasNextPage": p.more, "endCursor": p.end}
	case "totalCount":
		return p.total
	}
	return p.res.counts(name)
}

func (p *connection) at(i int) object {
	if p.from+i >= p.to {
		return p.res.at(p.from)
	}
	return p.res.at(p.from + i)
}

// queryDigest stands for what was asked, whichever way it was written.
func queryDigest(node string, args map[string]any) uint32 {
	h := fnv.New32a()
	fmt.Fprint(h, node, args["filterBy"], args["orderBy"], args["filterScope"]) // maps print in the order of their keys
	return h.Sum32()
}

// rendering remembers how a record was last written.
type rendering struct {
	last atomic.Pointer[rendered]
}

type rendered struct {
	sel  *selection
	json []byte
}

func (r *rendering) get(sel *selection) []byte {
	if p := r.last.Load(); p != nil && p.sel == sel {
		return p.json
	}
	return nil
}

func (r *rendering) put(sel *selection, json []byte) {
	r.last.Store(&rendered{sel, slices.Clone(json)})
}
