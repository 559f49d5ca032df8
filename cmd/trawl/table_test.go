package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"maps"
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

// TestColumns: characters that take two columns, and those that take none, do
// not shift what follows, and no line is wider than the terminal.
func TestColumns(t *testing.T) {
	t.Parallel()
	made := &table{header: []string{"WHO", "WHAT"}}
	made.add("日本チーム", "Login")
	made.add("Zoe\u0308", "Login") // an e with a diaeresis of its own
	for width, want := range map[int]string{
		0:  "WHO         WHAT\n日本チーム  Login\nZoe\u0308         Login\n",
		15: "WHO         WH…\n日本チーム  Lo…\nZoe\u0308         Lo…\n",
		6:  "WHO  …\n日本…\nZoe\u0308  …\n",
	} {
		var b strings.Builder
		made.print(&b, width, false)
		if b.String() != want {
			t.Errorf("at %d: got\n%swant\n%s", width, b.String(), want)
		}
	}
}

// TestForeignText: what stands in records and answers does nothing to a
// terminal, wherever it is shown.
func TestForeignText(t *testing.T) {
	t.Parallel()
	const evil, want = "a\x1b[2J\x1b]0;b\x07c\nd\u202ee\u009bf", `a\x1b[2J\x1b]0;b\ac\nd\u202ee\u009bf`
	made := &table{header: []string{"ACTION", "STATE"}}
	made.add(evil, paint(true, evil, false))
	var b strings.Builder
	made.print(&b, 0, false)
	if want := want + "  " + red + want + reset + "\n"; !strings.HasSuffix(b.String(), "\n"+want) {
		t.Errorf("got %q; want %q", b.String(), want)
	}
	if got, want := filled("", evil, 80), strings.Replace(want, `\n`, " ", 1)+"\n"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	b.Reset()
	full := map[string]string{evil + "\x7f\U000e0001é日": "<&>"}
	if err := writeJSON(&b, full); err != nil {
		t.Fatal(err)
	}
	var back map[string]string
	if err := json.Unmarshal([]byte(b.String()), &back); err != nil || !maps.Equal(back, full) {
		t.Errorf("%s reads back as %q (%v), not as %q", b.String(), back, err, full)
	}
	if strings.ContainsFunc(b.String(), func(r rune) bool { return r != '\n' && unseen(r) }) || !strings.Contains(b.String(), `\u007f\udb40\udc01é日`) {
		t.Errorf("JSON has %q", b.String())
	}
}

// TestAnswered: a question ends with the context, whether or not somebody writes.
func TestAnswered(t *testing.T) {
	t.Parallel()
	in, person := io.Pipe()
	defer person.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ask := &asker{app: newApp(nil, nil, io.Discard), in: bufio.NewReader(in)}
	if answer, err := ask.until(ctx, "Name", "default", func(string) error { return nil }); err == nil || answer != "" {
		t.Errorf("interrupted: %q, %v", answer, err)
	}
	if line, err := answered(t.Context(), bufio.NewReader(strings.NewReader("wiz\n"))); line != "wiz\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
}
