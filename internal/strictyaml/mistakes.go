// Package strictyaml reads YAML files that people write. It finds every
// mistake in one go, each with its file, line and column, refuses keys that it
// does not know, and remembers where each value stood, so that whoever checks
// values later can point at them.
package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one thing wrong in a file, and what to do about it.
type Mistake struct {
	File   string `json:"file"`            // as it was given to Parse
	Line   int    `json:"line,omitzero"`   // from 1; 0 where the mistake is the file itself
	Column int    `json:"column,omitzero"` // from 1, in characters
	Text   string `json:"text"`
}

// Error gives "file:line:column: text".
func (m Mistake) Error() string {
	if m.Line == 0 {
		return m.File + ": " + m.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Text)
}

// Mistakes are all that is wrong, in the order of files and lines.
type Mistakes []Mistake

// Error gives one mistake a line.
func (ms Mistakes) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.Error()
	}
	return strings.Join(lines, "\n")
}

// Err gives the mistakes in order, without repetitions, or nil if there are none.
func (ms Mistakes) Err() error {
	if len(ms) == 0 {
		return nil
	}
	return ms.Sorted()
}

// Sorted gives the mistakes in order, without repetitions.
func (ms Mistakes) Sorted() Mistakes {
	sorted := slices.Clone(ms)
	slices.SortFunc(sorted, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(sorted)
}

// Suggest completes a message about a word that is not known: with the known
// word nearest to it, or with all of them where none is near.
func Suggest(word string, known []string) string {
	best, distance := "", len(word)/3+2
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(known) == 0:
		return "there are none"
	default:
		return "known: " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
	}
}

// editDistance counts the single-byte insertions, deletions and replacements
// that turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
