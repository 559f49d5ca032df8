package main

import (
	"fmt"
	"strings"
	"testing"
)

// A usage line is what decides which arguments are right.
func TestArgumentsOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ use, given, want string }{
		{"status", "", ""},
		{"status", "now", `unexpected argument "now": it takes no arguments`},
		{"show FEED", "a/b", ""},
		{"show FEED", "", "missing: FEED"},
		{"show FEED", "a/b c/d", `unexpected argument "c/d" after "a/b"`},
		{"show PRODUCT | SOURCE", "", "missing: PRODUCT or SOURCE"},
		{"show PRODUCT | SOURCE", "wiz box", `unexpected argument "box" after "wiz"`},
		{"rerun CONNECTION ID", "", "missing: CONNECTION and ID"},
		{"rerun CONNECTION ID", "wiz-prod", "missing: ID"},
		{"import FEED FILE...", "a/b", "missing: FILE"},
		{"import FEED FILE...", "a/b x y z", ""},
		{"lint [FOLDER]", "", ""},
		{"lint [FOLDER]", "a b", `unexpected argument "b" after "a"`},
		{"test [FOLDER | PRODUCT]...", "a b c", ""},
		{"drop [ID...]", "", ""},
		{"drop [ID...]", "1 2", ""},
		{"backfill FEED --since T", "a/b", ""},
		{"backfill FEED --since T", "a/b T", `unexpected argument "T" after "a/b"`},
		{"replay --output NAME --since T", "x", `unexpected argument "x": it takes no arguments`},
	} {
		got := ""
		if err := argumentsOf(c.use)(nil, strings.Fields(c.given)); err != nil {
			got = fmt.Sprint(err)
		}
		if got != c.want {
			t.Errorf("%s, given %q: %q, want %q", c.use, c.given, got, c.want)
		}
	}
}
