package ecs

import (
	"bytes"
	"hash/maphash"

	"github.com/trawlsec/trawl/internal/jsonscan"
)

// naming tells whether an object in a value has a name twice, which a document
// must not. It goes over the value once, however deep that is.
type naming struct {
	open    []opened
	objects uint64
	names   []named
	table   []int32 // of all names by their hash: 1 + where in names it stands; 0: nothing
}

// opened is an object, of that number, or an array that has not ended.
type opened struct {
	object bool
	number uint64
}

// named is a name in an object.
type named struct {
	hash uint64
	in   uint64
	name []byte
}

var nameSeed = maphash.MakeSeed()

// twice takes valid JSON.
func (n *naming) twice(raw []byte) bool {
	n.open, n.objects = n.open[:0], 0
	defer n.forget()
	name := false // the next text is one
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; c {
		case '{', '[':
			name = c == '{'
			n.objects++
			n.open = append(n.open, opened{object: name, number: n.objects})
		case '}', ']':
			n.open = n.open[:len(n.open)-1]
			name = false
		case ',':
			name = n.open[len(n.open)-1].object
		case '"':
			from := i
			end, escaped := jsonscan.SkipString(raw, i)
			i = end - 1
			if !name {
				continue
			}
			name = false
			text := raw[from+1 : i]
			if escaped {
				text, _ = jsonscan.AppendText(nil, raw[from:end])
			}
			if !n.add(text) {
				return true
			}
		}
	}
	return false
}

// keepNames is the size of a table from which on it is not kept for the next value.
const keepNames = 4096

func (n *naming) forget() {
	clear(n.names)
	n.names = n.names[:0]
	if len(n.table) > keepNames {
		n.names, n.table = nil, nil
	}
	clear(n.table)
}

// add notes a name of the innermost object and reports whether it is new there.
func (n *naming) add(name []byte) bool {
	in := n.open[len(n.open)-1].number
	hash := maphash.Bytes(nameSeed, name) ^ in*0x9e3779b97f4a7c15
	if 2*len(n.names) >= len(n.table) {
		n.grow()
	}
	mask := uint64(len(n.table) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		i := n.table[at]
		if i == 0 {
			n.names = append(n.names, named{hash, in, name})
			n.table[at] = int32(len(n.names))
			return true
		}
		if other := &n.names[i-1]; other.hash == hash && other.in == in && bytes.Equal(other.name, name) {
			return false
		}
	}
}

func (n *naming) grow() {
	n.table = make([]int32, max(64, 2*len(n.table)))
	mask := uint64(len(n.table) - 1)
	for i := range n.names {
		at := n.names[i].hash & mask
		for n.table[at] != 0 {
			at = (at + 1) & mask
		}
		n.table[at] = int32(i + 1)
	}
}
