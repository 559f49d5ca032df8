package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWritable tries folders without the permission to write.
func TestWritable(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"can't be created":    tryFolder(filepath.Join(dir, "data")),
		"can't be written to": tryFile(filepath.Join(dir, "events.ndjson")),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), what+": "+dir) || !strings.HasSuffix(err.Error(), "permission denied") {
			t.Errorf("error = %v; want %s", err, what)
		}
	}
}
