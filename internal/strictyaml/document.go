package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxDepth = 100     // of nesting; a file that people write has ten
	maxNodes = 200_000 // visited; aliases of aliases could otherwise multiply without end
)

// ErrLeaveOut is for Document.Expand: the value is not needed.
var ErrLeaveOut = errors.New("value left out")

// Document is one YAML file.
type Document struct {
	// Expand, if set, is applied to every text, number and boolean before it is
	// used, with the path of its keys. Its error becomes a mistake at that place;
	// ErrLeaveOut leaves the value out, and nothing is said of it.
	Expand func(path []string, text string) (string, error)

	file     string
	root     ast.Node // nil: nothing but comments
	anchors  map[string]ast.Node
	marks    map[string]ast.Node // values, by path
	keys     map[string]ast.Node // what they are under, by the same path
	failed   map[string]bool     // paths of values that could not be decoded
	mistakes Mistakes
	nodes    int
	overflow bool // the limits were passed, which has been noted as the last mistake
}

// Parse reads a file's syntax. What is wrong with it is among the document's
// mistakes, and Decode then adds nothing.
func Parse(file string, src []byte) *Document {
	d := &Document{file: file, anchors: map[string]ast.Node{}, marks: map[string]ast.Node{}, keys: map[string]ast.Node{}, failed: map[string]bool{}}
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	// Keys that are there twice are looked for while decoding: the parser would stop at the first.
	parsed, err := parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		m := Mistake{File: file, Text: "not valid YAML: " + err.Error()}
		var syntax yaml.Error
		if errors.As(err, &syntax) {
			m.Text = "not valid YAML: " + syntax.GetMessage() // without the excerpt, which may show a secret
			if tk := syntax.GetToken(); tk != nil && tk.Position != nil {
				m.Line, m.Column = tk.Position.Line, tk.Position.Column
			}
		}
		if column := tabIn(src, m.Line); column > 0 {
			m.Column, m.Text = column, "not valid YAML: a tab; indent with spaces"
		} else if hint := misindented(src, m.Line); hint != "" {
			m.Text += "; " + hint
		}
		d.mistakes = append(d.mistakes, m)
		return d
	}
	for _, doc := range parsed.Docs {
		if _, directive := doc.Body.(*ast.DirectiveNode); directive || doc.Body == nil {
			continue
		}
		if d.root != nil {
			d.mistake(position(doc.Body), "", "a second YAML document; this file takes one: put it into a file of its own")
			break
		}
		d.root = doc.Body
		ast.Walk(anchorFinder(d.anchors), doc.Body)
	}
	return d
}

// tabIn gives the column of a tab that a line is indented with; 0: there is none.
func tabIn(src []byte, line int) int {
	lines := bytes.Split(src, []byte("\n"))
	if line < 1 || line > len(lines) {
		return 0
	}
	text := lines[line-1]
	indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
	return bytes.IndexByte(indent, '\t') + 1
}

// misindented says what may be wrong with the indentation of a line that is not
// valid, which is what most often is; "" if nothing seems to be.
func misindented(src []byte, line int) string {
	var open []int // the columns, from 0, in which what the line may belong to begins
	last, ended := 0, false
	for i, text := range strings.Split(string(src), "\n") {
		text, _, _ = strings.Cut(text, " #")
		text = strings.TrimRight(text, " \r")
		content := strings.TrimLeft(text, " ")
		if content == "" || content[0] == '#' {
			continue
		}
		column := len(text) - len(content)
		switch {
		case last >= line: // what follows the line
			if ended && column > open[len(open)-1] {
				return fmt.Sprintf("line %d is indented as if it belonged to line %d, which needs a colon at its end for that; else indent them alike", i+1, last)
			}
			return ""
		case len(open) > 0 && column < open[len(open)-1]:
			for len(open) > 0 && open[len(open)-1] > column {
				open = open[:len(open)-1]
			}
			if i+1 == line && (len(open) == 0 || open[len(open)-1] < column) {
				return fmt.Sprintf("nothing that it could belong to begins in column %d; indent it like its neighbours", column+1)
			}
		}
		if len(open) == 0 || column > open[len(open)-1] {
			open = append(open, column)
		}
		last, ended = i+1, !strings.ContainsRune(":{[,|>-", rune(content[len(content)-1]))
	}
	return ""
}

type anchorFinder map[string]ast.Node

func (f anchorFinder) Visit(n ast.Node) ast.Visitor {
	if anchor, ok := n.(*ast.AnchorNode); ok && anchor.Name != nil {
		f[anchor.Name.GetToken().Value] = anchor.Value
	}
	return f
}

// Root is the document's outermost value.
func (d *Document) Root() Node { return Node{doc: d, ast: d.root} }

// Decode reads the document into a pointer, as [Node.Decode] does.
func (d *Document) Decode(into any) {
	if d.root == nil && len(d.mistakes) > 0 {
		return
	}
	d.Root().Decode(into)
}

// Place is where a value stands, or would stand, for noting mistakes after decoding.
type Place struct {
	doc  *Document
	path []string
	key  bool
}

// At is the place that the path of keys (and indexes) leads to.
func (d *Document) At(path ...string) Place { return Place{doc: d, path: path} }

// At is a place further in.
func (p Place) At(path ...string) Place {
	return Place{doc: p.doc, path: append(p.path[:len(p.path):len(p.path)], path...)}
}

// Key is where the key of the place's value stands, for mistakes about the key
// itself.
func (p Place) Key() Place {
	p.key = true
	return p
}

// Mistake notes a mistake at the place, or if nothing stands there at the
// nearest value around it. What decoding already complained of is not said twice.
func (p Place) Mistake(format string, args ...any) {
	if m, said := p.mistake(format, args...); !said && !p.doc.overflow {
		p.doc.mistakes = append(p.doc.mistakes, m)
	}
}

// Note is what Mistake would note, for those who keep it elsewhere.
func (p Place) Note(format string, args ...any) Mistake {
	m, _ := p.mistake(format, args...)
	return m
}

// mistake makes a mistake, and tells whether decoding complained of the place.
func (p Place) mistake(format string, args ...any) (m Mistake, said bool) {
	var pos *token.Position
	of := p.path
	if p.key && len(of) > 0 {
		of, pos = of[:len(of)-1], position(p.doc.keys[joinPath(of)])
	}
	for n := len(p.path); n >= 0 && pos == nil; n-- {
		said = said || p.doc.failed[joinPath(p.path[:n])] && n > 0
		pos = position(p.doc.marks[joinPath(p.path[:n])])
	}
	return p.doc.made(pos, strings.Join(of, "."), format, args...), said
}

// Raw is the text of the single value at the place as it stands in the file,
// for messages that must not show what Document.Expand made of it.
func (p Place) Raw() string {
	node := Node{doc: p.doc, ast: p.doc.marks[joinPath(p.path)]}
	if node.Kind() != Scalar {
		return ""
	}
	return node.Raw()
}

// Mistakes are all those noted so far.
func (d *Document) Mistakes() Mistakes { return d.mistakes }

func (d *Document) mistake(pos *token.Position, path, format string, args ...any) {
	if !d.overflow {
		d.mistakes = append(d.mistakes, d.made(pos, path, format, args...))
	}
}

func (d *Document) made(pos *token.Position, path, format string, args ...any) Mistake {
	m := Mistake{File: d.file, Text: fmt.Sprintf(format, args...)}
	if path != "" {
		m.Text = path + ": " + m.Text
	}
	if pos != nil {
		m.Line, m.Column = pos.Line, pos.Column
	}
	return m
}

// Kind is the form of a value.
type Kind int

// The forms of values. A key without a value is Null, which counts as absent.
const (
	Null Kind = iota
	Scalar
	List
	Map
)

func (k Kind) String() string {
	return [...]string{"nothing", "a single value", "a list", "a mapping"}[k]
}

// Node is a value of a document.
type Node struct {
	doc   *Document
	ast   ast.Node
	path  []string
	depth int
}

// Member is an entry of a mapping.
type Member struct {
	Key   string
	Value Node
	key   ast.Node
}

// Path is the way to the node, from the outermost mapping.
func (n Node) Path() []string { return n.path }

// Mistake notes a mistake at the node.
func (n Node) Mistake(format string, args ...any) {
	n.doc.failed[joinPath(n.path)] = true
	n.doc.mistake(position(n.ast), strings.Join(n.path, "."), format, args...)
}

// Kind is the node's form.
func (n Node) Kind() Kind {
	switch n.resolve().(type) {
	case nil, *ast.NullNode:
		return Null
	case *ast.MappingNode, *ast.MappingValueNode:
		return Map
	case *ast.SequenceNode:
		return List
	default:
		return Scalar
	}
}

// resolve follows anchors and aliases.
func (n Node) resolve() ast.Node {
	node := n.ast
	for range maxDepth {
		switch v := node.(type) {
		case *ast.AnchorNode:
			node = v.Value
		case *ast.AliasNode:
			node = n.doc.anchors[v.Value.GetToken().Value]
		case *ast.TagNode:
			node = v.Value
		default:
			return node
		}
	}
	return nil // an alias of itself
}

// Raw is a scalar's text as it stands in the file, without quotes.
func (n Node) Raw() string {
	switch v := n.resolve().(type) {
	case *ast.StringNode:
		return v.Value
	case *ast.LiteralNode:
		return v.Value.Value
	case nil:
		return ""
	default:
		return v.GetToken().Value
	}
}

// Text is a scalar's text after Document.Expand. Where that fails, a mistake
// is noted, unless the value is left out, and ok is false.
func (n Node) Text() (text string, ok bool) {
	raw := n.Raw()
	if n.doc.Expand == nil {
		return raw, true
	}
	text, err := n.doc.Expand(n.path, raw)
	if errors.Is(err, ErrLeaveOut) {
		n.doc.failed[joinPath(n.path)] = true
		return "", false
	}
	if err != nil {
		n.Mistake("%v", err)
		return "", false
	}
	return text, true
}

// Items are the values of a list.
func (n Node) Items() []Node {
	seq, ok := n.resolve().(*ast.SequenceNode)
	if !ok {
		return nil
	}
	items := make([]Node, len(seq.Values))
	for i, v := range seq.Values {
		items[i] = n.child(strconv.Itoa(i), v)
	}
	return items
}

// Members are the entries of a mapping, in the file's order, those that "<<"
// brings in last. A key that is there twice is noted as a mistake, and has its
// last value, as for most who read YAML.
func (n Node) Members() []Member {
	var members []Member
	at := map[string]int{} // where in members a key is
	var merges []Node
	for _, entry := range entries(n.resolve()) {
		if _, ok := entry.Key.(*ast.MergeKeyNode); ok {
			merges = append(merges, n.child("<<", entry.Value))
			continue
		}
		m := Member{Key: keyText(entry.Key), key: entry.Key}
		m.Value = n.child(m.Key, entry.Value)
		if i, twice := at[m.Key]; twice {
			n.doc.mistake(position(entry.Key), strings.Join(m.Value.path, "."), "this key is here twice, first on line %d; keep one", position(members[i].key).Line)
			members[i].Value = m.Value
			continue
		}
		at[m.Key] = len(members)
		members = append(members, m)
	}
	for _, merge := range merges {
		for _, m := range merge.merged() {
			if _, own := at[m.Key]; !own {
				at[m.Key] = len(members)
				m.Value = n.child(m.Key, m.Value.ast)
				members = append(members, m)
			}
		}
	}
	for _, m := range members {
		n.doc.keys[joinPath(m.Value.path)] = m.key
	}
	return members
}

// merged are the members that a "<<" with this value brings in.
func (n Node) merged() []Member {
	switch {
	case n.tooMuch():
		return nil
	case n.Kind() == Map:
		return n.Members()
	case n.Kind() == List:
		var all []Member
		for _, item := range n.Items() {
			all = append(all, item.merged()...)
		}
		return all
	}
	n.Mistake("<< takes an alias of a mapping, as in <<: *name")
	return nil
}

func entries(node ast.Node) []*ast.MappingValueNode {
	switch v := node.(type) {
	case *ast.MappingNode:
		return v.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{v}
	}
	return nil
}

func keyText(key ast.Node) string {
	switch v := key.(type) {
	case *ast.StringNode:
		return v.Value
	case *ast.LiteralNode:
		return v.Value.Value
	case *ast.AnchorNode:
		return keyText(v.Value)
	case *ast.MappingKeyNode:
		if v.Value != nil {
			return keyText(v.Value)
		}
	}
	return key.GetToken().Value
}

func (n Node) child(key string, value ast.Node) Node {
	path := append(n.path[:len(n.path):len(n.path)], key)
	return Node{doc: n.doc, ast: value, path: path, depth: n.depth + 1}
}

func joinPath(path []string) string { return strings.Join(path, "\x00") }

// position is where a node begins: a mapping's token is the colon behind its
// first key.
func position(node ast.Node) *token.Position {
	switch v := node.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return position(v.Values[0])
		}
	case *ast.MappingValueNode:
		return position(v.Key)
	}
	if tk := node.GetToken(); tk != nil {
		return tk.Position
	}
	return nil
}
