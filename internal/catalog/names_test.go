package catalog_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
)

func lookup(values map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := values[name]
		return v, ok
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	names := lookup(map[string]string{"a": "1", "empty": "", "nested": "${a}", "address": "https://x.test/", "folder": "x/"})
	for in, want := range map[string]string{
		"":               "",
		"plain $a {a} $": "plain $a {a} $",
		"${a}":           "1",
		"x${a}y${a}z":    "x1y1z",
		"${empty}":       "",
		"${address}/v1":  "https://x.test/v1",
		"${address}v1":   "https://x.test/v1",
		"${address}":     "https://x.test/",
		"${folder}/v1":   "x//v1",
		"${nested}":      "${a}", // values are not looked into
	} {
		if got, err := catalog.Expand(in, names); err != nil || got != want {
			t.Errorf("Expand(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	var unset *catalog.UnsetError
	if _, err := catalog.Expand("x${b}", names); !errors.As(err, &unset) || unset.Name != "b" {
		t.Errorf("unset name: %v", err)
	}
	for _, in := range []string{"${", "${a", "${}"} {
		if _, err := catalog.Expand(in, names); err == nil || errors.As(err, &unset) {
			t.Errorf("Expand(%q): %v, want an error about the form", in, err)
		}
	}
	for in, want := range map[string]string{"${a}": "a", "${a}b": "", "a": "", "": "", "${a}${b}": ""} {
		if got, ok := catalog.WholeName(in); got != want || ok != (want != "") {
			t.Errorf("WholeName(%q) = %q, %v", in, got, ok)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	cases := catalog.Cases{
		{If: map[string]string{"url": "?*"}, Value: "${url}/x"},
		{Claim: "dc"},
		{If: map[string]string{"fallback": "y*"}, Value: "last"},
	}
	none := func(string) (string, bool) { return "", false }
	for _, tc := range []struct {
		name, want, err string
		values          map[string]string
		claim           func(string) (string, bool)
	}{
		{name: "first", values: map[string]string{"url": "u"}, want: "u/x"},
		{name: "no token yet", err: `needs the claim "dc" of an access token: sign in first`},
		{name: "claim", claim: lookup(map[string]string{"dc": "us1"}), want: "us1"},
		{name: "no such claim", claim: none, err: `the access token has no claim "dc"`},
		{name: "past the claim", values: map[string]string{"fallback": "yes"}, claim: none, want: "last"},
	} {
		got, err := cases.Choose(lookup(tc.values), tc.claim)
		if got != tc.want || (err == nil) != (tc.err == "") || (err != nil && err.Error() != tc.err) {
			t.Errorf("%s: %q, %v; want %q, %q", tc.name, got, err, tc.want, tc.err)
		}
		var needs *catalog.NeedsToken
		if isNeed := errors.As(err, &needs); isNeed != (tc.name == "no token yet") {
			t.Errorf("%s: NeedsToken is %v", tc.name, isNeed)
		}
	}
	if _, err := (catalog.Cases{{If: map[string]string{"a": "b"}, Value: "x"}}).Choose(none, none); err == nil {
		t.Error("no case holds, and no error")
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "abc", true}, {"?", "", false}, {"?*", "", false}, {"?*", "x", true},
		{"a*c", "abc", true}, {"a*c", "abcd", false}, {"*b*", "abc", true}, {"a*b*c", "a-b-b-c", true}, {"a?c", "aéc", true}, {"?", "é", true},
		{"*/graphql", "https://x/graphql", true}, {"*/graphql", "https://x/graphql/", false}, {"[a]", "a", false}, {"[a]", "[a]", true},
		{"*" + strings.Repeat("a*", 30) + "b", strings.Repeat("a", 5000), false},
	} {
		if got := catalog.Glob(tc.pattern, tc.text); got != tc.want {
			t.Errorf("Glob(%.20q, %.20q) = %v", tc.pattern, tc.text, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for in, want := range map[string]time.Duration{"0s": 0, "1ms": time.Millisecond, "5m": 5 * time.Minute, "24h": day, "180d": 180 * day, "1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute} {
		got, err := catalog.ParseDuration(in)
		if err != nil || got.Std() != want {
			t.Errorf("ParseDuration(%q) = %v, %v", in, got, err)
		}
		if back, err := catalog.ParseDuration(got.String()); err != nil || back != got {
			t.Errorf("%q prints as %q, which reads as %v, %v", in, got, back, err)
		}
	}
	for in, want := range map[string]string{"24h": "24h", "48h": "2d", "300s": "5m", "90s": "1m30s", "1d12h": "36h", "0s": "0s"} {
		if d, _ := catalog.ParseDuration(in); d.String() != want {
			t.Errorf("%q prints as %q, want %q", in, d, want)
		}
	}
	for _, in := range []string{"", "5", "-5m", "5 m", "d", "1.5d", "-1d", "1d-2h", "99999d", "1e3s", "290000h290000h2900000h"} {
		if d, err := catalog.ParseDuration(in); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", in, d)
		}
	}
}
