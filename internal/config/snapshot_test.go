package config

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	catalogfiles "github.com/trawlsec/trawl/catalog"
	"github.com/trawlsec/trawl/internal/catalog"
)

// wholeCatalogue has a state that can only be read whole, and one that is read
// whole besides.
func wholeCatalogue(string) (*catalog.Catalogue, error) {
	source := func(id, more string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("source: " + id + "\nname: A\nabout: B\nkind: state\nrequest: {method: GET}\nrecords: items\n" +
			"paging: {size: 10, max_size: 10, total: total}\n" + more + "\nrecord: {id: id, time: [at]}\nfacts: {}\necs: {}\n")}
	}
	return catalog.Load(catalogfiles.FS, fstest.MapFS{
		"wiz/health.yaml": source("health", "snapshot: {every: 6h}"),
		"wiz/assets.yaml": source("assets", "snapshot: {every: 24h, field: at}\nwindow: {fields: [at], layout: unix, slack: 0s, interval: 5m, overlap: 10m}"),
	})
}

// TestSnapshot: how often a feed is read whole can be set, where it is at all.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sources            string
		snapshot, interval time.Duration
		want               string // mistakes and warnings
	}{
		{"health: {}", 6 * time.Hour, 6 * time.Hour, ""},
		{"health: {snapshot: 10s}", 10 * time.Second, 10 * time.Second, ""},
		{"health: {snapshot: 0s}", 0, 0, "f:4:34: connections.w.sources.health.snapshot: must be more than 0: wiz/health can only be read whole"},
		{"health: {interval: 5m}", 0, 0, "f:4:34: connections.w.sources.health.interval: wiz/health can only be read whole, each time; write how often as snapshot instead"},
		{"health: {overlap: 5m}", 0, 0, "f:4:33: connections.w.sources.health.overlap: wiz/health can only be read whole, each time; write how often as snapshot instead"},
		{"health: {revisit: [1h]}", 0, 0, "f:4:33: connections.w.sources.health.revisit: wiz/health can only be read whole, each time; write how often as snapshot instead"},
		{"health: {start: 24h}", 6 * time.Hour, 6 * time.Hour, "f:4:31: connections.w.sources.health.start: has no effect: wiz/health can only be read whole, and the first reading brings all that there is"},
		{"assets: {}", 24 * time.Hour, 5 * time.Minute, ""},
		{"assets: {snapshot: 1h}", time.Hour, 5 * time.Minute, ""},
		{"assets: {snapshot: 0s}", 0, 5 * time.Minute, ""},
		{"assets: {snapshot: soon}", 0, 0, `f:4:34: connections.w.sources.assets.snapshot: "soon" is not a duration; write 30s, 5m, 24h or 180d`},
		{"audit: {snapshot: 1h}", 0, 0, "f:4:33: connections.w.sources.audit.snapshot: wiz/audit is never read whole, since its records do not vanish; leave it out"},
	} {
		t.Run(tc.sources, func(t *testing.T) {
			t.Parallel()
			text := "connections:\n  w:\n    product: wiz\n    sources: {" + tc.sources + "}\n    settings: {client_id: \"${env:WIZ_CLIENT_ID}\", client_secret: \"${env:WIZ_CLIENT_SECRET}\"}\noutputs: {o: {type: file, path: o}}\n"
			c, err := parse("f", []byte(text), wholeCatalogue, testEnv)
			if err != nil {
				if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
					t.Error(diff)
				}
				return
			}
			var said []string
			for _, w := range c.Warnings {
				said = append(said, w.Error())
			}
			f := c.Connections[0].Feeds[0]
			if diff := cmp.Diff(tc.want, strings.Join(said, "\n")); diff != "" || f.Snapshot != tc.snapshot || f.Interval != tc.interval {
				t.Errorf("snapshot %v, interval %v, want %v and %v %s", f.Snapshot, f.Interval, tc.snapshot, tc.interval, diff)
			}
		})
	}
}
