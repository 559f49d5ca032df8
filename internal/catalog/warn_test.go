package catalog_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/trawlsec/trawl/internal/catalog"
)

// What does not fit ECS is warned of, and all else is not.
func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, fields, constants, want string }{
		{"fits", `source.ip: {from: [a], as: ip}, source.port: {from: [a], as: long}, event.risk_score: {from: [a], as: long}, event.start: {from: [a], as: date},
			user.email: {from: [a], as: email}, host.ip: {from: [a], as: "ip[]"}, labels.env: a, container.labels.app: a, acme.ip: a,
			source.geo.location: {from: [a], as: json}, client.geo.location.lat: {from: [a], as: double}, client.user_agent: a`, `{event.kind: alert, event.category: [iam], event.type: [user, creation], tags: [x]}`,
			`ECS has no field client.user_agent; did you mean "client.user.name"?`},
		{"object", `source.user_agent: {from: [a], as: user_agent}, url: {from: [a], as: url}`, ``, `ECS has no field source.user_agent.original;`},
		{"unknown", `source.adress: a`, ``, `ECS has no field source.adress; did you mean "source.address"?`},
		{"type", `source.ip: a`, ``, `ECS keeps a value of type ip in source.ip; make it as: ip`},
		{"number for text", `user.id: {from: [a], as: long}`, ``, `ECS keeps a value of type keyword in user.id; make it as: keyword`},
		{"object for text", `user.name: {from: [a], as: json}`, ``, `ECS keeps a value of type keyword in user.name; make it as: keyword`},
		{"list", `user.roles: a`, ``, `ECS keeps a list in user.roles; make it as: keyword[]`},
		{"url", `event.url: {from: [a], as: url}`, ``, `ECS keeps a value of type keyword in event.url; make it as: keyword`},
		{"table", `event.outcome: {from: [a], table: outcomes}`, ``, `fail is none of the values that ECS has for event.outcome; known: failure, success, unknown`},
		{"constant", ``, `{event.kind: alarm}`, `alarm is none of the values that ECS has for event.kind;`},
		{"constant type", ``, `{event.severity: high}`, `ECS keeps a value of type long in event.severity`},
		{"constant number", ``, `{user.id: 7}`, `ECS keeps a value of type keyword in user.id`},
		{"constant list", ``, `{event.category: iam}`, `ECS keeps a list in event.category; write [iam]`},
		{"category and type", ``, `{event.category: [authentication], event.type: [change]}`, `ECS has no event.type change with event.category [authentication]`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			text := string(edited(t, "events.yaml", "name: Events", "name: Events"))
			if before, _, ok := strings.Cut(text, "\necs:"); ok {
				text = before + "\necs:\n  fields: {" + tc.fields + "}\n  tables: {outcomes: {A: success, B: fail, C: ''}}\n"
			}
			if tc.constants != "" {
				text += "  constants: " + tc.constants + "\n"
			}
			cat, err := catalog.Load(catalog.Dir("testdata"), fstest.MapFS{"acme/events.yaml": {Data: []byte(text)}})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range cat.Warnings() {
				if strings.Contains(w.Text, "ECS") {
					got = append(got, w.Text)
				}
			}
			if len(got) != 1 || !strings.Contains(got[0], tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), tc.want)
			}
		})
	}
}

// What becomes visible later than a reading goes back is found by a revisit only.
func TestOverlapWarning(t *testing.T) {
	t.Parallel()
	for within, want := range map[string]int{"10m": 0, "11m": 1} {
		text := edited(t, "events.yaml", "\nfacts:\n", "\nfacts:\n  visible_within: "+within+"\n")
		cat, err := catalog.Load(catalog.Dir("testdata"), fstest.MapFS{"acme/events.yaml": {Data: text}})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, w := range cat.Warnings() {
			if strings.Contains(w.Text, "each reading goes back by 10m only") {
				n++
			}
		}
		if n != want {
			t.Errorf("%s: %d warnings, want %d", within, n, want)
		}
	}
}
