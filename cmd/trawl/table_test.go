package main

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	t.Parallel()
	made := &table{header: []string{"NAME", "SPARE", "STATE", "REASON"}, spare: []string{"SPARE"}}
	made.add("wiz-prod/audit", "12345", "\x1b[31mfailed\x1b[0m", "the credential was refused")
	made.add("b", "1", "\x1b[32mok\x1b[0m", "")
	for _, test := range []struct {
		name  string
		width int
		want  string
	}{
		{"no terminal", 0, "" +
			"NAME            SPARE  STATE   REASON\n" +
			"wiz-prod/audit  12345  \x1b[31mfailed\x1b[0m  the credential was refused\n" +
			"b               1      \x1b[32mok\x1b[0m\n"},
		{"wide enough", 60, "" +
			"NAME            SPARE  STATE   REASON\n" +
			"wiz-prod/audit  12345  \x1b[31mfailed\x1b[0m  the credential was refused\n" +
			"b               1      \x1b[32mok\x1b[0m\n"},
		{"without the spare column", 50, "" +
			"NAME            STATE   REASON\n" +
			"wiz-prod/audit  \x1b[31mfailed\x1b[0m  the credential was refused\n" +
			"b               \x1b[32mok\x1b[0m\n"},
		{"cut", 20, "" +
			"NAME            STA…\n" +
			"wiz-prod/audit  \x1b[31mfai…\x1b[0m\n" +
			"b               \x1b[32mok\x1b[0m\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			made.print(&b, test.width, false)
			if b.String() != test.want {
				t.Errorf("got\n%swant\n%s", b.String(), test.want)
			}
		})
	}
}
