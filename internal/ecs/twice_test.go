package ecs

import (
	"fmt"
	"strings"
	"testing"
)

func TestNamesTwice(t *testing.T) {
	t.Parallel()
	many := func(last string) string {
		var b strings.Builder
		for i := range 64 {
			fmt.Fprintf(&b, `"n%d":{"a":[1,"n0"]},`, i)
		}
		return "{" + b.String() + `"` + last + `":1}`
	}
	for text, want := range map[string]bool{
		`7`:                               false,
		`"a"`:                             false,
		`{}`:                              false,
		`[]`:                              false,
		`{"a":1,"b":1}`:                   false,
		`{"a":1,"a":1}`:                   true,
		`{"":1,"":1}`:                     true,
		`{"a":"a","b":"a"}`:               false,
		`{"a":["a","a"],"b":1}`:           false,
		`{"a":{"a":{"a":1}}}`:             false,
		`{"a":{"b":1},"b":2}`:             false,
		`{"b":{"a":1},"c":[{"b":1}]}`:     false,
		`[{"a":1},{"a":1}]`:               false,
		`[1,{"a":1 , "b":2, "a":3}]`:      true,
		`{"b":{"c":1,"d":{"c":2}},"b":0}`: true,
		`{"a":1,"\u0061":1}`:              true,
		`{"a\"":1,"a":",\"a\":"}`:         false,
		`{"\\":1,"\\\\":2}`:               false,
		many("n"):                         false,
		many("n7"):                        true,
	} {
		var n naming
		for range 2 { // what it keeps does not matter
			if got := n.twice([]byte(text)); got != want {
				t.Errorf("%s: %v, want %v", text, got, want)
			}
		}
	}
}
