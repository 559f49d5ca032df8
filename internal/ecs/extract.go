package ecs

import (
	"bytes"
	"fmt"
	"regexp"
)

// extract finds texts within a text.
type extract struct {
	expression *regexp.Regexp
	group      int              // which of its groups holds what is wanted; 0: the whole
	known      *cache[[][]byte] // what was found in short texts, as few differ
}

const (
	maxSearched  = 64 << 10 // bytes of a text that are searched
	maxExtracted = 1024     // finds
)

func makeExtract(expression string) (*extract, error) {
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, err
	}
	if re.NumSubexp() > 1 {
		return nil, fmt.Errorf("%d groups, but there is one value", re.NumSubexp())
	}
	return &extract{expression: re, group: re.NumSubexp(), known: newCache[[][]byte](1024)}, nil
}

// all returns what is found, without what is empty. It stands until the text
// changes.
func (x *extract) all(text []byte) [][]byte {
	if found, ok := x.known.get(text); ok {
		return found
	}
	keep := len(text) <= maxKnown
	searched := text[:min(len(text), maxSearched)]
	if keep {
		searched = bytes.Clone(text)
	}
	var found [][]byte
	for _, at := range x.expression.FindAllSubmatchIndex(searched, maxExtracted) {
		if from, to := at[2*x.group], at[2*x.group+1]; from >= 0 && from < to {
			found = append(found, searched[from:to:to])
		}
	}
	if keep {
		x.known.put(text, found)
	}
	return found
}

// first returns the first of all.
func (x *extract) first(text []byte) ([]byte, bool) {
	found := x.all(text)
	if len(found) == 0 {
		return nil, false
	}
	return found[0], true
}
