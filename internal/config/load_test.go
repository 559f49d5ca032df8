package config

import (
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
)

var update = flag.Bool("update", false, "rewrite the expected messages")

// canary is the value of every variable that tests set: it must never be seen.
const canary = "c4n4ry-s3cr3t"

func testEnv(name string) (string, bool) {
	switch name {
	case "WIZ_CLIENT_ID", "WIZ_CLIENT_SECRET", "SECRET_WORD":
		return canary, true
	}
	return "", false
}

// testCatalogue has one product, so that what is said does not change with each
// product that comes.
func testCatalogue(dir string) (*catalog.Catalogue, error) {
	one := catalog.Dir("../../catalog/wiz")
	if dir == "" {
		return catalog.Load(one)
	}
	return catalog.Load(one, catalog.Dir(dir))
}

func loadTest(t *testing.T, path string) (*Config, error) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parse(filepath.ToSlash(path), text, testCatalogue, testEnv)
}

// TestBad loads one file for each kind of mistake; what it says stands beside it.
func TestBad(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			t.Parallel()
			_, err := loadTest(t, path)
			if err == nil {
				t.Fatal("no mistake found")
			}
			got := err.Error() + "\n"
			if strings.Contains(got, canary) {
				t.Errorf("the message shows a secret:\n%s", got)
			}
			golden := strings.TrimSuffix(path, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGoodContract(t *testing.T) {
	t.Parallel()
	c, err := loadTest(t, "testdata/good/contract.yaml")
	if err != nil {
		t.Fatal(err)
	}
	conn := c.Connections[0]
	secret, ok, err := conn.Settings.Get("client_secret")
	if secret != "open-sesame" || !ok || err != nil {
		t.Errorf("client_secret = %q, %v, %v", secret, ok, err)
	}
	type feed struct {
		Name              string
		Interval, Overlap time.Duration
		PageSize          int
		Revisit           []time.Duration
		Filter            map[string]any
	}
	var feeds []feed
	for _, f := range conn.Feeds {
		feeds = append(feeds, feed{f.Name(), f.Interval, f.Overlap, f.PageSize, f.Revisit, f.Filter})
	}
	want := []feed{
		{"wiz-prod/audit", 5 * time.Minute, 10 * time.Minute, 500, []time.Duration{time.Hour, 24 * time.Hour}, nil},
		{"wiz-prod/issues", 5 * time.Minute, 10 * time.Minute, 500, []time.Duration{time.Hour, 24 * time.Hour}, map[string]any{"status": []any{"OPEN", "IN_PROGRESS"}}},
	}
	if diff := cmp.Diff(want, feeds); diff != "" {
		t.Error(diff)
	}
	now := time.Now()
	if at, ok := conn.Feeds[0].Start.At(now); !ok || !at.Equal(time.Date(2025, 9, 12, 21, 0, 9, 0, time.UTC)) {
		t.Errorf("start = %v, %v", at, ok)
	}
	if at, ok := conn.Feeds[1].Start.At(now); ok || !at.Equal(now) {
		t.Errorf("no start = %v, %v", at, ok)
	}
	out := Output{Name: "archive", Type: "file", Path: "testdata/good/events.ndjson", Schema: "ecs", Original: true, Compress: "none"}
	if diff := cmp.Diff([]Output{out}, c.Outputs); diff != "" {
		t.Error(diff)
	}
	if c.DataDir != "testdata/good/trawl-data" || c.Listen != "127.0.0.1:8686" || c.Log.MaxBytes != 10<<30 || c.Log.MaxAge != 168*time.Hour || !c.Log.URL.IsZero() {
		t.Errorf("config = %+v", c)
	}
	if conn.HTTP.Timeout != time.Minute || conn.HTTP.MaxBody != 64<<20 || conn.Rate != (catalog.RateLimit{PerSecond: 3, Burst: 3}) {
		t.Errorf("connection = %+v", conn)
	}
}

func TestGoodShort(t *testing.T) {
	t.Parallel()
	c, err := loadTest(t, "testdata/good/short.yaml")
	if err != nil {
		t.Fatal(err)
	}
	conn := c.Connections[0]
	var names []string
	for _, f := range conn.Feeds {
		names = append(names, f.Name())
	}
	if diff := cmp.Diff([]string{
		"wiz-prod/audit", "wiz-prod/issues",
	}, names); diff != "" {
		t.Errorf("a connection without sources reads those that are not optional: %s", diff)
	}
	for name, want := range map[string]string{"client_id": canary, "token_url": "https://auth.app.wiz.io/oauth/token", "token_refresh_margin": "5m", "region": ""} {
		if got, ok, err := conn.Settings.Get(name); got != want || ok != (want != "") || err != nil {
			t.Errorf("%s = %q, %v, %v; want %q", name, got, ok, err, want)
		}
	}
	if c.Outputs[0].Path != "-" || conn.Settings.Map("headers") != nil {
		t.Errorf("path = %q, headers = %v", c.Outputs[0].Path, conn.Settings.Map("headers"))
	}
}

func TestGoodShared(t *testing.T) {
	t.Parallel()
	c, err := loadTest(t, "testdata/good/shared.yaml")
	if err != nil {
		t.Fatal(err)
	}
	eu, us := c.Connections[0], c.Connections[1]
	if region, _, _ := us.Settings.Get("region"); region != "us2" || us.Product == nil || len(us.Feeds) != 2 {
		t.Errorf("us: region %q, product %v, %d feeds", region, us.Product, len(us.Feeds))
	}
	want := map[string]string{"X-Team": "a " + canary + " b ${literal}"}
	if diff := cmp.Diff(want, eu.Settings.Map("headers")); diff != "" {
		t.Error(diff)
	}
	issues := eu.Feeds[1]
	now := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	if at, ok := issues.Start.At(now); !ok || !at.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) || issues.Start.String() != "30d" {
		t.Errorf("start = %v, %v, %q", at, ok, issues.Start)
	}
	if issues.Revisit != nil || len(eu.Feeds[0].Revisit) != 2 {
		t.Errorf("revisit = %v, and of audit %v", issues.Revisit, eu.Feeds[0].Revisit)
	}
	filter := map[string]any{"type": []any{"THREAT_DETECTION"}, "n": 1.5, "deep": map[string]any{"ok": true}}
	if diff := cmp.Diff(filter, issues.Filter); diff != "" {
		t.Error(diff)
	}
	if eu.Rate != (catalog.RateLimit{PerSecond: 3, Burst: 1}) {
		t.Errorf("rate = %v", eu.Rate)
	}
	archive := Output{Name: "archive", Type: "file", Path: "testdata/good/out/events.ndjson.zst", Schema: "ecs", Compress: "zstd", Rotate: Rotate{Size: 1 << 30, Age: 24 * time.Hour}}
	if diff := cmp.Diff(archive, c.Outputs[0]); diff != "" {
		t.Error(diff)
	}
	if most := c.Outputs[1].MaxDocument; most != 1<<20 {
		t.Errorf("max_document = %d", most)
	}
	if c.DataDir != "/var/lib/trawl" || c.Listen != "" {
		t.Errorf("data_dir %q, listen %q", c.DataDir, c.Listen)
	}
}

func TestSecretFileIsReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, secret := filepath.Join(dir, "trawl.yaml"), filepath.Join(dir, "secret")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(secret, "first\r\n")
	write(path, `
connections: {a: {product: wiz, settings: {client_id: a, client_secret: "x-${file:secret}", token_params: {k: "${file:secret}"}}}}
outputs: {o: {type: file, path: o}}`)
	c, err := Load(path, testCatalogue)
	if err != nil {
		t.Fatal(err)
	}
	settings := c.Connections[0].Settings
	if got, _, err := settings.Get("client_secret"); got != "x-first" || err != nil {
		t.Errorf("client_secret = %q, %v", got, err)
	}
	write(secret, "second\n\n")
	if got, _, err := settings.Get("client_secret"); got != "x-second\n" || err != nil {
		t.Errorf("after a change: %q, %v", got, err)
	}
	if diff := cmp.Diff(map[string]string{"k": "second\n"}, settings.Map("token_params")); diff != "" {
		t.Error(diff)
	}
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := settings.Get("client_secret"); got != "" || ok || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %q, %v, %v", got, ok, err)
	}
	if got := settings.Map("token_params"); len(got) != 0 {
		t.Errorf("without the file: %v", got)
	}
}

func TestFind(t *testing.T) {
	home := t.TempDir()
	t.Chdir(t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", home)
	_, err := Find("")
	var missing *NotFoundError
	if !errors.As(err, &missing) || !cmp.Equal(missing.Tried, []string{"trawl.yaml", filepath.Join(home, "trawl", "trawl.yaml")}) {
		t.Errorf("nowhere: %v", err)
	}
	write := func(path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(home, "trawl", "trawl.yaml"))
	if got, err := Find(""); err != nil || got != filepath.Join(home, "trawl", "trawl.yaml") {
		t.Errorf("in the home: %q, %v", got, err)
	}
	write("trawl.yaml")
	if got, err := Find(""); err != nil || got != "trawl.yaml" {
		t.Errorf("here: %q, %v", got, err)
	}
	if _, err := Find("other.yaml"); !errors.As(err, &missing) || len(missing.Tried) != 1 {
		t.Errorf("named, absent: %v", err)
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	good := map[string]Size{"0": 0, "4096": 4096, "10GiB": 10 << 30, "64MiB": 64 << 20, "5MB": 5e6, "1.5GB": 15e8, "2 KiB": 2048, "7B": 7, "1TiB": 1 << 40}
	for in, want := range good {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-1", "1.5", "GiB", "10G", "1e3", "9999999TiB", "10 potatoes", "1.x5GB", "0x10", "1.-5GB"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", in, got)
		}
	}
}

// FuzzParse finds texts that make parse panic, show a secret, or pass with
// something missing that the rest of the program counts on.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"bad", "good"} {
		files, err := filepath.Glob("testdata/" + dir + "/*.yaml")
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	catalogue, err := testCatalogue("")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parse("trawl.yaml", text, func(string) (*catalog.Catalogue, error) { return catalogue, nil }, testEnv)
		if err != nil {
			if strings.Contains(err.Error(), canary) && !strings.Contains(string(text), canary) {
				t.Errorf("the message shows a secret: %v", err)
			}
			return
		}
		if len(c.Connections) == 0 || len(c.Outputs) == 0 || c.DataDir == "" {
			t.Errorf("passed without connections, outputs or data_dir: %+v", c)
		}
		for _, conn := range c.Connections {
			if conn.Product == nil || len(conn.Feeds) == 0 || conn.Rate.PerSecond <= 0 || conn.Rate.Burst < 1 || conn.HTTP.Timeout <= 0 || conn.HTTP.MaxBody <= 0 {
				t.Errorf("connection %+v", conn)
			}
			for _, feed := range conn.Feeds {
				if feed.Source == nil || feed.Interval <= 0 || feed.Overlap <= 0 && !feed.Source.OnlyWhole() || feed.PageSize < 1 || feed.PageSize > feed.Source.Paging.MaxSize {
					t.Errorf("feed %+v", feed)
				}
			}
			for name := range maps.Keys(conn.Product.Settings) {
				if _, ok, err := conn.Settings.Get(name); err != nil || (conn.Product.Settings[name].Required && !ok) {
					t.Errorf("setting %s: %v, %v", name, ok, err)
				}
			}
		}
	})
}
