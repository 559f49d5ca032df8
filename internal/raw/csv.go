package raw

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/trawlsec/trawl/internal/jsonscan"
)

// CSV makes a record of every line of a table whose first line names the
// columns. A column is found by its name, never by its place.
type CSV struct {
	in      *meter
	table   *csv.Reader
	before  int      // lines before the first one
	head    []string // names of the columns as the first line has them
	columns []column // in the order in which a record has them
	limit   int64
	count   int
	record  []byte
}

// column is where a column's values stand in a record.
type column struct {
	path []string // names of members, from the outside in
	from int      // index of the column
}

// NewCSV reads the first line. Names says which columns stand where in a
// record: a dotted path, and the column names that mean it, which are the same
// whatever their case, spaces and punctuation, best first where a table has
// several. A column that is not among them becomes a member of its own name, in
// lower case with _ between words. limit is how many bytes a line may have.
//
// The columns may be parted by commas, semicolons, tabs or bars, or by what a
// line before the first says, as spreadsheets write and want it: sep=;
func NewCSV(in io.Reader, names map[string][]string, limit int64) (*CSV, error) {
	c := &CSV{in: newMeter(in), limit: limit}
	start, _ := c.in.in.Peek(4 << 10)
	comma := separator(start)
	if said := separatorLine.FindSubmatch(start); said != nil {
		comma, _ = utf8.DecodeRune(said[1])
		_, _ = c.in.in.Discard(len(said[0])) // it is in the buffer
		c.before = 1
	}
	c.table = csv.NewReader(c.in)
	c.table.Comma = comma
	c.table.ReuseRecord = true
	head, err := c.line()
	if err == io.EOF {
		return nil, errors.New("read the names of the columns: there is no first line")
	}
	if err != nil {
		return nil, fmt.Errorf("read the names of the columns: %w", err)
	}
	c.head = slices.Clone(head)
	paths := pathsOf(head, meanings(names))
	if i := slices.Index(paths, ""); i >= 0 {
		return nil, fmt.Errorf("column %d has no name", i+1)
	}
	taken := map[string]string{} // column name by path
	for i, name := range head {
		path := paths[i]
		// Within what another column holds whole there is no room.
		if parent, _, nested := strings.Cut(path, "."); nested && slices.Contains(paths, parent) {
			path = strings.ReplaceAll(plain(name), ".", "_")
		}
		for other, column := range taken {
			if path == other || strings.HasPrefix(path, other+".") || strings.HasPrefix(other, path+".") {
				return nil, fmt.Errorf("columns %q and %q both mean %s", column, name, path)
			}
		}
		taken[path] = name
		c.columns = append(c.columns, column{strings.Split(path, "."), i})
	}
	slices.SortFunc(c.columns, func(a, b column) int { return slices.Compare(a.path, b.path) })
	return c, nil
}

// Has tells whether a column stands at a path, whatever its name.
func (c *CSV) Has(path string) bool {
	return slices.ContainsFunc(c.columns, func(col column) bool { return strings.Join(col.path, ".") == path })
}

// Head is the names of the columns as the first line has them.
func (c *CSV) Head() []string { return c.head }

// meaning is what the name of a column says: a path, and how well it says so,
// where less is better.
type meaning struct {
	path string
	rank int
}

// meanings are those of all names, by their letters: a path itself, then the
// names that are given for it in their order, and the path's last name alone
// where only one path has it.
func meanings(names map[string][]string) map[string]meaning {
	known := map[string]meaning{}
	last := map[string][]string{}
	for _, path := range slices.Sorted(maps.Keys(names)) {
		for rank, name := range append([]string{path}, names[path]...) {
			if other, taken := known[letters(name)]; !taken || rank < other.rank {
				known[letters(name)] = meaning{path, rank}
			}
		}
		name := letters(path[strings.LastIndexByte(path, '.')+1:])
		last[name] = append(last[name], path)
	}
	for name, paths := range last {
		if _, taken := known[name]; !taken && len(paths) == 1 {
			known[name] = meaning{paths[0], 1}
		}
	}
	return known
}

// pathsOf says where the values of each column stand in a record. Of columns
// that mean the same path the best one has it, and the others become members of
// their own names, as do those that mean nothing known.
func pathsOf(head []string, known map[string]meaning) []string {
	best := map[string]int{} // column by path
	for i, name := range head {
		m, ok := known[letters(name)]
		if !ok {
			continue
		}
		if other, taken := best[m.path]; !taken || m.rank < known[letters(head[other])].rank {
			best[m.path] = i
		}
	}
	paths := make([]string, len(head))
	for i, name := range head {
		paths[i] = plain(name)
		if m, ok := known[letters(name)]; ok && best[m.path] == i {
			paths[i] = m.path
		}
	}
	return paths
}

// separatorLine is a line that says what parts the columns.
var separatorLine = regexp.MustCompile(`^"?sep=([^\pL\pN\s"=]|\t)"?\r?\n`)

// separator is the one of the usual separators that the first line has most of.
func separator(text []byte) rune {
	line, _, _ := strings.Cut(string(text), "\n")
	best := ','
	for _, s := range ";\t|" {
		if strings.Count(line, string(s)) > strings.Count(line, string(best)) {
			best = s
		}
	}
	return best
}

// letters is all of a name that counts in comparing it with others.
func letters(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}

// plain is a name in lower case, with one _ for whatever parts its words. Dots
// between names stay.
func plain(name string) string {
	var b strings.Builder
	gap := false
	for _, r := range strings.ToLower(strings.TrimSpace(name)) {
		switch {
		case r == '.' && b.Len() > 0:
			b.WriteRune(r)
			gap = false
		case unicode.IsLetter(r), unicode.IsDigit(r):
			if gap && b.Len() > 0 && !strings.HasSuffix(b.String(), ".") {
				b.WriteByte('_')
			}
			b.WriteRune(r)
			gap = false
		default:
			gap = true
		}
	}
	return strings.TrimRight(b.String(), ".")
}

// line reads a line of the table, which may be several of the text.
func (c *CSV) line() ([]string, error) {
	const ahead = 64 << 10 // the table reads on by a buffer
	c.in.allowed = c.table.InputOffset() + c.limit + ahead
	fields, err := c.table.Read()
	size := int64(0)
	for _, f := range fields {
		size += int64(len(f))
	}
	if errors.Is(err, errTooLarge) || size > c.limit {
		return nil, &TooLargeError{Place: "after " + records(c.count), Limit: c.limit}
	}
	var where *csv.ParseError
	if errors.As(err, &where) {
		where.StartLine += c.before
		where.Line += c.before
	}
	return fields, err
}

// Next gives the next record. Values are texts, but for cells that hold a JSON
// object or array; empty cells are left out.
func (c *CSV) Next() ([]byte, error) {
	fields, err := c.line()
	if err != nil {
		if err != io.EOF {
			err = fmt.Errorf("not a table: %w", err)
		}
		return nil, err
	}
	c.count++
	c.record = append(c.record[:0], '{')
	var open []string // objects that are open
	for _, column := range c.columns {
		cell := strings.TrimSpace(fields[column.from])
		if cell == "" {
			continue
		}
		parents := column.path[:len(column.path)-1]
		same := 0
		for same < len(open) && same < len(parents) && open[same] == parents[same] {
			same++
		}
		for range len(open) - same {
			c.record = append(c.record, '}')
		}
		open = open[:same]
		for _, parent := range parents[same:] {
			c.member(parent)
			c.record = append(c.record, '{')
			open = append(open, parent)
		}
		c.member(column.path[len(parents)])
		if raw := []byte(cell); (cell[0] == '{' || cell[0] == '[') && jsontext.Value(raw).IsValid(asReceived...) {
			c.record = append(c.record, raw...)
		} else {
			c.record = jsonscan.AppendString(c.record, raw)
		}
	}
	for range len(open) + 1 {
		c.record = append(c.record, '}')
	}
	return c.record, nil
}

// member begins a member of the innermost object.
func (c *CSV) member(name string) {
	if c.record[len(c.record)-1] != '{' {
		c.record = append(c.record, ',')
	}
	c.record = append(jsonscan.AppendString(c.record, []byte(name)), ':')
}
