package catalog

import "maps"

// Mapping says how a record becomes an ECS document. Where several parts give
// the same field, the first that has a value wins, in the order When, Lookups,
// Fields, Constants.
type Mapping struct {
	When      []Block             `yaml:"when,omitempty"`      // parts for some records only
	Lookups   []Lookup            `yaml:"lookups,omitempty"`   // fields decided by the value of another
	Fields    map[string]Expr     `yaml:"fields,omitempty"`    // document field → where it comes from
	Constants map[string]any      `yaml:"constants,omitempty"` // document field → its value (a string, number, boolean or list of strings)
	Related   map[string][]string `yaml:"related,omitempty"`   // related.<key> → document fields whose values it gathers
	Tables    Tables              `yaml:"tables,omitempty"`    // for Expr.Table, besides the product's; of two with one name this one counts
	Nulls     []string            `yaml:"nulls,omitempty"`     // texts by which the product says that there is no value: unknown, None
}

// Tables are tables for Expr.Table, by name: value of a record → value of a document.
type Tables map[string]map[string]string

// with adds the tables that t has none of the name of.
func (t Tables) with(more Tables) Tables {
	if len(more) == 0 {
		return t
	}
	all := maps.Clone(more)
	maps.Copy(all, t)
	return all
}

// Block holds fields for the records that meet a condition.
type Block struct {
	If        Condition       `yaml:"if"`
	Fields    map[string]Expr `yaml:"fields,omitempty"`
	Constants map[string]any  `yaml:"constants,omitempty"`
}

// Condition holds when every entry does. A key is a path; its value is a
// scalar to equal, a list any of which to equal, {exists: true|false}, or
// {glob: pattern or list of patterns}. The keys any (a list of conditions)
// and not (a condition) combine. (Decoded by the package, see decode.go.)
type Condition map[string]any

// Lookup decides constant fields by a value: the first case with a matching
// glob wins. A value that no case matches leaves the fields out and is named
// in error.message, unless Optional.
type Lookup struct {
	Of       string       `yaml:"of"` // path
	Cases    []LookupCase `yaml:"cases"`
	Optional bool         `yaml:"optional,omitempty"`
}

// LookupCase sets constants for values that match one of its globs.
type LookupCase struct {
	Match []string       `yaml:"match"`
	Set   map[string]any `yaml:"set"`
}

// Expr is where a field's value comes from. In YAML a plain string is a path.
type Expr struct {
	From    Paths  `yaml:"from,omitempty"`    // where the value stands; of several paths the first that has one counts
	Text    string `yaml:"text,omitempty"`    // or a text with ${path} in it; none without a value for each
	Extract string `yaml:"extract,omitempty"` // a regular expression: the value is what it finds, or what its group ( ) holds; a list takes all that it finds
	As      string `yaml:"as,omitempty"`      // keyword (default), long, double, boolean, date, ip, email, url, user_agent, domain, json; a trailing [] makes a list; of several addresses an ip is the first, without its port
	Table   string `yaml:"table,omitempty"`   // named table to translate through; a value it lacks is an error unless Else
	Else    string `yaml:"else,omitempty"`    // for values that the table lacks; "=" keeps the value as it is
	Case    string `yaml:"case,omitempty"`    // lower or upper
	Sort    bool   `yaml:"sort,omitempty"`    // puts a list in order
	Lenient bool   `yaml:"lenient,omitempty"` // a value that does not fit is passed over without a word
}
