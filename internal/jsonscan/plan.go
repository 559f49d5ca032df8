package jsonscan

import (
	"cmp"
	"slices"
)

// Plan reads several paths in one pass. It is safe for concurrent use.
type Plan struct {
	root  *node
	ends  []*node // of each path
	lists int
	nodes int
}

// node is a place in the record that a path goes through or ends at. The nodes
// form a tree, one level a step.
type node struct {
	id       int       // for state.seen
	outs     []int     // paths that end here
	lists    []int     // lists that end here
	members  []child   // by hash of the name
	mask     uint32    // len(members)-1
	every    *node     // child that is each element in turn, for lists
	elements []element // other children that are elements; those told by the same name in a row
	below    []int     // paths that end at this node or under it
	under    [2]int    // ids of the nodes under this one: from, up to
	named    bool      // has members
	listed   bool      // lists go through this node or end at it
	turns    bool      // is one element after the other, for lists
	picks    bool      // has children that are one element
	walks    bool      // has children that are one element after the other
	list     []child   // the members in order, while compiling
}

type child struct {
	key  string
	node *node // nil: none
}

// element is a child reached by [index], [key=value] or [][key=value].
type element struct {
	step
	node *node
}

// Compile makes a plan of paths. Of a path with [] the plan reads the array
// that the first [] stands for.
func Compile(paths ...Path) *Plan { return CompileLists(paths, nil) }

// CompileLists makes a plan of paths, as Compile does, that also follows lists,
// which are paths with [], to all of the values that they reach.
func CompileLists(paths, lists []Path) *Plan {
	p := &Plan{root: &node{}, ends: make([]*node, len(paths)), lists: len(lists)}
	for i, path := range paths {
		n := p.root
		n.below = append(n.below, i)
		for _, st := range path.steps {
			if st.kind == stepEvery {
				break
			}
			n = n.step(st)
			n.below = append(n.below, i)
		}
		n.outs = append(n.outs, i)
		p.ends[i] = n
	}
	for i, path := range lists {
		n := p.root
		n.listed = true
		for k, st := range path.steps {
			if st.kind == stepEvery && k+1 < len(path.steps) && path.steps[k+1].kind == stepKeep {
				continue // the two are one step of the plan
			}
			n = n.step(st)
			n.listed = true
		}
		n.lists = append(n.lists, i)
	}
	p.root.finish(&p.nodes)
	return p
}

// step returns the child that a step leads to, making it if need be.
func (n *node) step(st step) *node {
	if st.kind == stepEvery {
		if n.every == nil {
			n.every = &node{turns: true}
		}
		return n.every
	}
	if st.kind == stepKey {
		for _, c := range n.list {
			if c.key == st.key {
				return c.node
			}
		}
		c := child{key: st.key, node: &node{}}
		n.list = append(n.list, c)
		return c.node
	}
	for _, e := range n.elements {
		if e.step == st {
			return e.node
		}
	}
	e := element{st, &node{turns: st.kind == stepKeep}}
	n.elements = append(n.elements, e)
	return e.node
}

// finish numbers the nodes and builds the tables of names.
func (n *node) finish(next *int) {
	n.id = *next
	*next++
	n.under[0] = *next
	size := 4
	for size < 4*len(n.list) {
		size *= 2
	}
	n.named = len(n.list) > 0
	n.members = make([]child, size)
	n.mask = uint32(size - 1)
	for _, c := range n.list {
		c.node.finish(next)
		at := hash([]byte(c.key)) & n.mask
		for n.members[at].node != nil {
			at = (at + 1) & n.mask
		}
		n.members[at] = c
	}
	if n.every != nil {
		n.every.finish(next)
		n.walks = true
	}
	slices.SortStableFunc(n.elements, func(a, b element) int { return cmp.Compare(a.key, b.key) })
	for _, e := range n.elements {
		e.node.finish(next)
		n.walks = n.walks || e.node.turns
		n.picks = n.picks || !e.node.turns
	}
	n.under[1] = *next
}

// hash tells names apart by their length and two of their bytes, which is
// enough for the few of one object.
func hash(key []byte) uint32 {
	if len(key) == 0 {
		return 0
	}
	return uint32(len(key))*7 + uint32(key[0])*31 + uint32(key[len(key)-1])*3 + uint32(key[len(key)/2])
}

func (n *node) member(key []byte) *node {
	for at := hash(key) & n.mask; ; at = (at + 1) & n.mask {
		c := &n.members[at]
		if c.node == nil || c.key == string(key) {
			return c.node
		}
	}
}

// state is one scan under way.
type state struct {
	src      []byte
	out      [][]byte
	lists    *Lists    // nil: what lists reach is not asked for
	lenient  bool      // looks at brackets and quotes only
	bad      bool      // something is not as it should be
	list     *node     // whose elements are wanted
	each     *Plan     // of them
	elements [][]byte  // of list
	spans    [][]byte  // what each finds in them
	more     []uint64  // seen, of plans with many nodes
	seen     [8]uint64 // which nodes have been met, by id
}

// Scan reads src and sets out[i], for each path i of the plan, to the raw value
// that the path leads to, aliasing src: nil where there is none. For a path
// with [] it is the value at the place of the first [], which is an array if
// the record is as the path thinks; Path.Rest reads on from there. out must be
// as long as the plan has paths.
//
// Scan reports whether src is one valid JSON value, as Valid does. Where it is
// not, the values are what is found by looking at brackets and quotes only.
func (p *Plan) Scan(src []byte, out [][]byte) bool {
	s := state{src: src, out: out}
	return p.scan(&s)
}

// Elements scans as Scan does, and also returns the raw elements of the array
// that path i leads to, if src is valid. In the same pass each, if there is
// one, scans every element; spans holds the values of all of its paths for the
// first element, then for the second, and so on.
func (p *Plan) Elements(src []byte, out [][]byte, i int, each *Plan) (elements, spans [][]byte, ok bool) {
	s := state{src: src, out: out, list: p.ends[i], each: each}
	if ok = p.scan(&s); !ok || Kind(out[i]) != '[' {
		return nil, nil, ok // there may be those of an earlier member of the same name
	}
	return s.elements, s.spans, true
}

func (p *Plan) scan(s *state) bool {
	if s.lists != nil {
		s.lists.reset(p.lists)
	}
	s.out = s.out[:len(p.ends)]
	clear(s.out)
	start := skipSpace(s.src, 0)
	if start == len(s.src) {
		return false // and the lists are empty
	}
	if i := s.start(p, start); !s.bad && skipSpace(s.src, i) == len(s.src) {
		return true
	}
	clear(s.out)
	if s.lists != nil {
		s.lists.unsure = true
	}
	again := state{src: s.src, out: s.out, lenient: true}
	again.start(p, start)
	return false
}

// start reads the value at i by a plan and returns the index after it.
func (s *state) start(p *Plan, i int) int {
	switch {
	case p.nodes <= 64*len(s.seen):
	case s.lists != nil:
		s.more = s.lists.met(p.nodes)
	default:
		s.more = make([]uint64, (p.nodes+63)/64)
	}
	return s.value(p.root, i)
}

// meet marks a node as met, and reports whether it was already.
func (s *state) meet(id int) bool {
	word := &s.seen[id/64&7]
	if s.more != nil {
		word = &s.more[id/64]
	}
	bit := uint64(1) << (id & 63)
	met := *word&bit != 0
	*word |= bit
	return met
}

// value reads the value at i, which stands at node n, and returns the index after it.
func (s *state) value(n *node, i int) int {
	if s.meet(n.id) {
		s.forget(n)
	}
	start := i
	switch c := s.src[i]; {
	case c == '"' && !s.lenient:
		if i, _ = validString(s.src, i); i < 0 {
			i = s.fail()
		}
	case c == '{' && n.named:
		i = s.object(n, i+1)
	case c == '[' && (n.picks || n.walks && s.lists != nil || n == s.list):
		i = s.array(n, i+1)
	default:
		i = s.skip(i)
	}
	for _, o := range n.outs {
		s.out[o] = s.src[start:i:i]
	}
	if n.lists != nil && s.lists != nil {
		for _, l := range n.lists {
			s.lists.add(l, Span{start, i})
		}
	}
	return i
}

// skip returns the index after the value at i.
func (s *state) skip(i int) int {
	switch {
	case s.lenient:
		return skipValue(s.src, i)
	case i < len(s.src) && s.src[i] == '"':
		i, _ = validString(s.src, i)
	default:
		i = skipValid(s.src, i)
	}
	if i < 0 {
		return s.fail()
	}
	return i
}

// forget makes ready for a node to be read once more: the next element, or a
// member of the same name as an earlier one, of which it drops what that gave.
func (s *state) forget(n *node) {
	for _, o := range n.below {
		s.out[o] = nil
	}
	if n.listed && !n.turns && s.lists != nil {
		s.lists.unsure = true
	}
	for id := n.under[0]; id < n.under[1]; {
		bits := ^uint64(0) << (id & 63)
		if word := id | 63; word >= n.under[1] {
			bits &= 1<<(n.under[1]&63) - 1
		}
		if s.more != nil {
			s.more[id/64] &^= bits
		} else {
			s.seen[id/64&7] &^= bits
		}
		id = id | 63 + 1
	}
}

// object reads on after an object's opening bracket.
func (s *state) object(n *node, i int) int {
	src := s.src
	for first := true; ; first = false {
		if !first && i+1 < len(src) && src[i] == ',' && src[i+1] == '"' {
			i++ // what next would find, as it is by far the most common
		} else if i = s.next(i, first, '}'); i < 0 {
			return -i
		}
		if src[i] != '"' {
			return s.fail()
		}
		end, escaped := 0, false
		if s.lenient {
			end, escaped = SkipString(src, i)
		} else if end, escaped = validString(src, i); end < 0 {
			return s.fail()
		}
		key := src[i+1 : max(i+1, end-1)]
		if i = space(src, end); i < len(src) && src[i] == ':' {
			i = space(src, i+1)
		} else if !s.lenient {
			return s.fail()
		}
		if i >= len(src) {
			return s.fail()
		}
		if escaped {
			key = appendUnescaped(nil, key)
		}
		if c := n.member(key); c != nil {
			i = s.value(c, i)
		} else {
			i = s.skip(i)
		}
	}
}

const manyElements = 512 // that a page of records may well have

// array reads on after an array's opening bracket.
func (s *state) array(n *node, i int) int {
	src := s.src
	if n == s.list {
		s.elements = make([][]byte, 0, manyElements)
		if s.each != nil {
			s.spans = make([][]byte, 0, manyElements*len(s.each.ends))
		}
	}
	for index := 0; ; index++ {
		if i = s.next(i, index == 0, ']'); i < 0 {
			return -i
		}
		end := 0
		switch {
		case n == s.list && s.each != nil:
			end = s.element(i)
		case n.every != nil && s.lists != nil:
			end = s.value(n.every, i)
		default:
			end = s.skip(i)
		}
		if n == s.list {
			s.elements = append(s.elements, src[i:end:end])
		}
		var by *element // the last that was told by a member
		var told []byte // that member
		for k := range n.elements {
			e := &n.elements[k]
			switch {
			case e.kind == stepIndex:
				if e.index == index {
					s.value(e.node, i)
				}
				continue
			case e.kind == stepMatch && s.met(e.node.id), e.kind == stepKeep && s.lists == nil:
				continue
			case by == nil || by.key != e.key:
				by, told = e, find(src[i:end:end], e.key)
			}
			if e.fits(told) {
				s.value(e.node, i)
			}
		}
		i = end
	}
}

// element scans the element at i by itself and returns the index after it.
func (s *state) element(i int) int {
	n := len(s.spans)
	s.spans = slices.Grow(s.spans, len(s.each.ends))[:n+len(s.each.ends)]
	e := state{src: s.src, out: s.spans[n:]}
	clear(e.out)
	if i = e.start(s.each, i); e.bad {
		return s.fail()
	}
	return i
}

// next returns where the next member or element starts, reading from i on. At
// the closing bracket it returns the index after it, negative.
func (s *state) next(i int, first bool, closing byte) int {
	src := s.src
	if i = space(src, i); i < len(src) {
		switch c := src[i]; {
		case c == closing:
			return -(i + 1)
		case first:
			return i
		case c == ',':
			if i = space(src, i+1); i < len(src) {
				return i
			}
		}
	}
	return -s.fail()
}

// fail notes that src is not valid, and ends the scan.
func (s *state) fail() int {
	s.bad = true
	return len(s.src)
}

func (s *state) met(id int) bool {
	if s.more != nil {
		return s.more[id/64]&(1<<(id&63)) != 0
	}
	return s.seen[id/64&7]&(1<<(id&63)) != 0
}
