package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRevisitBeyondLog: of the ages that a source has by itself, those that
// max_age leaves no room for are left out, with a warning; what a file says
// itself has to fit.
func TestRevisitBeyondLog(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		age, sources string
		want         []time.Duration
		warning      string
	}{
		{"168h", "{}", []time.Duration{time.Hour, 24 * time.Hour}, ""},
		{"12h", "{}", []time.Duration{time.Hour}, "f:2:16: log.max_age: windows are not read again 24h later, as they would be by default, because the log may not tell duplicates any more by then; 32h would do"},
		{"1m", "{}", nil, "f:2:16: log.max_age: windows are not read again 24h later, as they would be by default, because the log may not tell duplicates any more by then; 32h would do"},
		{"12h", "{revisit: [2h]}", []time.Duration{2 * time.Hour}, ""},
		{"12h", "{revisit: []}", nil, ""},
	} {
		t.Run(tc.age+tc.sources, func(t *testing.T) {
			t.Parallel()
			text := "outputs: {o: {type: file, path: o}}\nlog: {max_age: " + tc.age + "}\nconnections:\n  w:\n    product: wiz\n    sources: {audit: " + tc.sources +
				"}\n    settings: {client_id: \"${env:WIZ_CLIENT_ID}\", client_secret: \"${env:WIZ_CLIENT_SECRET}\"}\n"
			c, err := parse("f", []byte(text), testCatalogue, testEnv)
			if err != nil {
				t.Fatal(err)
			}
			var said []string
			for _, w := range c.Warnings {
				said = append(said, w.Error())
			}
			if got := c.Connections[0].Feeds[0].Revisit; !slices.Equal(got, tc.want) || strings.Join(said, "\n") != tc.warning {
				t.Errorf("revisit %v, warnings %q", got, said)
			}
		})
	}
}
