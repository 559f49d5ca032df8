package collect

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/trawlsec/trawl/internal/fetch"
)

// wide is a record of so many fields: f0, f1 and so on.
func wide(n int) []byte {
	var fields []string
	for i := range n {
		fields = append(fields, fmt.Sprintf(`"f%d":null`, i))
	}
	return []byte("{" + strings.Join(fields, ",") + "}")
}

// TestMissingOfWideRecords: a field is missing where it is not among all that a
// record has, and nothing is said of records with more than are remembered.
func TestMissingOfWideRecords(t *testing.T) {
	t.Parallel()
	for n, want := range map[int][]string{20: {"f100"}, 100: {"f100"}, 101: nil, mostKeys + 50: nil} {
		var r round
		r.note(&fetch.Page{Records: [][]byte{wide(n)}}, 1, r.newest)
		if got := new(Habits).missing(&r, []string{"f0", "f100"}); !slices.Equal(got, want) {
			t.Errorf("of %d fields: %v, want %v", n, got, want)
		}
	}
}
