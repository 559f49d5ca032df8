package main

import (
	"strings"
	"testing"
)

// TestExampleProduct keeps the example that CONTRIBUTING.md points to sound.
func TestExampleProduct(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"catalog", "lint", "--strict", "testdata/products"},
		{"catalog", "test", "testdata/products"},
	} {
		var stdout, stderr strings.Builder
		if status := run(args, strings.NewReader(""), &stdout, &stderr); status != exitDone || stderr.String() != "" {
			t.Errorf("%v: status %d\n%s%s", args, status, stdout.String(), stderr.String())
		}
	}
}
