package ecsfields_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/ecsfields"
)

func TestFind(t *testing.T) {
	t.Parallel()
	keyword := ecsfields.Field{Type: "keyword"}
	for name, want := range map[string]*ecsfields.Field{
		"@timestamp":              {Type: "date"},
		"message":                 &keyword,
		"tags":                    {Type: "keyword", List: true},
		"labels.any":              &keyword,
		"user.id":                 &keyword,
		"user.target.group.name":  &keyword,
		"user.target.roles":       {Type: "keyword", List: true},
		"source.ip":               {Type: "ip"},
		"source.as.number":        {Type: "long"},
		"source.geo.location":     {Type: "geo_point"},
		"source.geo.location.lat": {Type: "double"},
		"source.geo.location.alt": nil,
		"related.ip":              {Type: "ip", List: true},
		"vulnerability.score.base": {
			Type: "double",
		},
		"event.outcome":                   {Type: "keyword", Values: []string{"failure", "success", "unknown"}},
		"threat.indicator.file.hash.sha1": &keyword,
		"event.message":                   &keyword,
		"user":                            nil,
		"user.nam":                        nil,
		"user.id.more":                    nil,
		"acme.id":                         nil,
	} {
		got, ok := ecsfields.Find(name)
		if ok != (want != nil) {
			t.Errorf("%s: found is %v", name, ok)
		}
		if want != nil {
			if diff := cmp.Diff(*want, got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
	if !slices.Contains(ecsfields.Under("user"), "user.id") || ecsfields.Under("acme") != nil {
		t.Error("the roots are not those of ECS")
	}
	if diff := cmp.Diff([]string{"start", "end", "info"}, ecsfields.EventTypes("session")); diff != "" {
		t.Error(diff)
	}
}
