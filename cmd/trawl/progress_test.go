package main

import (
	"strings"
	"testing"
)

// TestLiveLine: what is written while a line of progress stands goes before it,
// on a line of its own.
func TestLiveLine(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	l := &liveLine{w: &out}
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() { _, _ = l.Write([]byte("log 1\n")) }, "log 1\n"},
		{func() { l.show("half") }, "\rhalf\x1b[K"},
		{func() { _, _ = l.Write([]byte("log 2\n")) }, "\r\x1b[Klog 2\nhalf"},
		{func() { l.show("all") }, "\rall\x1b[K"},
		{func() { l.end(true) }, "\n"},
		{func() { l.end(true) }, ""},
		{func() { _, _ = l.Write([]byte("log 3\n")) }, "log 3\n"},
		{func() { l.show("half"); l.end(false) }, "\rhalf\x1b[K\r\x1b[K"},
	} {
		out.Reset()
		if step.do(); out.String() != step.want {
			t.Errorf("%q, want %q", out.String(), step.want)
		}
	}
}
