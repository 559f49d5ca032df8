package catalog_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	catalogfiles "github.com/trawlsec/trawl/catalog"
	"github.com/trawlsec/trawl/internal/catalog"
)

func TestLoadEmbedded(t *testing.T) {
	t.Parallel()
	cat, err := catalog.Load(catalogfiles.FS)
	if err != nil {
		t.Fatal(err)
	}
	source, err := cat.Source("wiz/audit")
	if err != nil {
		t.Fatal(err)
	}
	if source.FullName() != "wiz/audit" || source.Product.Name != "Wiz" {
		t.Errorf("source = %q of %q", source.FullName(), source.Product.Name)
	}
}

func TestLoadAddsAndOverrides(t *testing.T) {
	t.Parallel()
	more := fstest.MapFS{
		"acme/events.yaml":  {Data: edited(t, "events.yaml", "name: Events", "name: Other events")},
		"acme/alarms.yaml":  {Data: edited(t, "events.yaml", "source: events", "source: alarms")},
		"acme/testdata/x":   {Data: []byte("{}")},
		"README.md":         {Data: []byte("not a product")},
		".git/product.yaml": {Data: []byte("nor this")},
	}
	cat, err := catalog.Load(catalog.Dir("testdata"), more)
	if err != nil {
		t.Fatal(err)
	}
	product, err := cat.Product("acme")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range product.SourceList() {
		got = append(got, s.FullName()+" "+s.Name)
	}
	if diff := cmp.Diff([]string{"acme/alarms Events", "acme/events Other events"}, got); diff != "" {
		t.Error(diff)
	}
	if got := len(cat.Products()); got != 1 {
		t.Errorf("%d products, want 1", got)
	}
	_, err = cat.Source("acme/event")
	var unknown *catalog.UnknownError
	if !errors.As(err, &unknown) || err.Error() != `unknown source "acme/event"; did you mean "acme/events"?` {
		t.Errorf("unknown source: %v", err)
	}
}

// TestLoadMistakes makes one mistake after another in a good product.
func TestLoadMistakes(t *testing.T) {
	t.Parallel()
	const p, s = "product.yaml", "events.yaml"
	for _, tc := range []struct{ name, file, old, new, want string }{
		{"unknown key", p, "vendor: Acme Inc.", "vendor: Acme\nvendro: x", `4:1: unknown key "vendro"; did you mean "vendor"?`},
		{"missing key", p, "about: Everything a roadrunner needs", "", `1:1: "about" is missing; add it`},
		{"empty", p, "name: Acme\n", "name: ''\n", `2:7: name: must not be empty`},
		{"twice", p, "vendor: Acme Inc.", "name: x\nvendor: y", `3:1: name: this key is here twice, first on line 2; keep one`},
		{"wrong folder", p, "product: acme", "product: akme", `1:10: product: "akme" has to be the name of its folder, "acme"; change one of them`},
		{"not YAML", p, "product: acme", "product: [acme", `2:1: not valid YAML: ',' or ']' must be specified`},
		{"list for text", p, "name: Acme\n", "name: [Acme]\n", `2:7: name: must be a single value; this is a list`},
		{"setting type", p, "type: url", "type: uri", `18:11: settings.api_url.type: "uri" is not known here; did you mean "url"?`},
		{"setting default", p, "default: 90s", "default: soon", `23:14: settings.patience.default: "soon" does not fit the setting itself: must be a duration, as in 30s, 5m, 24h or 180d`},
		{"setting example", p, "example: eu1", "example: EU", `14:14: settings.host.example: "EU" does not fit the setting itself: must match [a-z0-9]+`},
		{"setting pattern", p, "'[a-z0-9]+'", "'[a-z'", "15:14: settings.host.pattern: error parsing regexp: missing closing ]: `[a-z`"},
		{"secret example", p, "secret: true", "secret: true\n    example: x", `8:5: settings.token: a secret has no default and no example; take them out`},
		{"setting name", p, "  host:\n", "  cursor:\n", `13:5: settings.cursor: requests use this name themselves; take another`},
		{"base url name", p, `value: "${api_url}"`, `value: "${api}"`, `38:13: base_url.1.value: nothing is called ${api}; known: api_url, host, patience, place, token, zone`},
		{"case unreachable", p, `- {value: us}`, "- {value: us}\n    - {if: {host: x}, value: y}", `31:7: derived.zone.1: always holds, so the cases after it are never reached; move it to the end`},
		{"case empty", p, `- {claim: dc}`, `- {if: {host: x}}`, `34:7: derived.place.1: a case has either a value or a claim`},
		{"circle", p, "value: eu}", `value: "${place}"}`, `30:5: derived.zone: depends on itself`},
		{"auth type", p, "type: token", "type: digest", `43:11: auth.0.type: "digest" is not known here; known: basic, oauth2, token`},
		{"auth without token", p, "token: ${token}", "token: ''", `44:12: auth.0.token: token needs it; add it`},
		{"auth extras", p, "- type: token\n    token: ${token}", "- type: oauth2\n    token_url: ${api_url}\n    client_id: x\n    client_secret: y\n    extra_params: host", `47:19: auth.0.extra_params: "host" is not a setting of type map`},
		{"map in text", p, "token: ${token}", "token: ${extras}", `44:12: auth.0.token: nothing is called ${extras}; known: api_url, host, patience, place, token, zone`},
		{"rate", p, "requests_per_second: 2.5", "requests_per_second: 0", `46:35: rate_limit.requests_per_second: must be more than 0`},
		{"rate type", p, "burst: 3", "burst: many", `46:47: rate_limit.burst: must be a whole number, not "many"`},
		{"class", p, "class: throttle", "class: slow", `49:13: errors.0.class: "slow" is not known here; known: auth, forbidden, permanent, retry, throttle`},
		{"status", p, "[429, 503]", "[4290]", `49:32: errors.0.status.0: 4290 is not an HTTP status; those are 100 to 599`},
		{"rule", p, ", match: [expired*]", "", `50:5: errors.1: path and match go together; give both or neither`},
		{"rule path", p, `path: "error.code"`, `path: "error["`, `50:25: errors.1.path: path "error[":`},
		{"link", p, "https://acme.example/api", "acme.example", `56:23: links.0.url: must be an address, as in https://host/path`},

		{"source file", s, "source: events", "source: event", `1:9: source: "event" has to be the name of its file, "events"; change one of them`},
		{"kind", s, "kind: log", "kind: logs", `4:7: kind: "logs" is not known here; did you mean "log"?`},
		{"request name", s, "after: ${cursor}", "after: ${curser}", `13:12: request.query.after: nothing is called ${curser}; did you mean "cursor"?`},
		{"request key name", s, "${time_field}_from", "${time_feld}_from", `14:26: request.query.${time_feld}_from: nothing is called ${time_feld}; did you mean "time_field"?`},
		{"request brace", s, "after: ${cursor}", `after: "${cursor"`, `13:12: request.query.after: ${ has to be followed by a name and a }`},
		{"filter", s, "filter: query", "filter: where", `15:11: request.filter: must be query where there is no graphql or json`},
		{"records", s, "records: data.items", "records: data..items", `17:10: records: path "data..items":`},
		{"sizes", s, "max_size: 1000", "max_size: 10", `21:13: paging.max_size: must be at least size, 100`},
		{"cap", s, "cap: 5000", "cap: 5", `25:8: paging.cap: must be at least size, 100, or left out where there is no such limit`},
		{"capped", s, "total: total", "total: total\n  capped: 'a['", `25:11: paging.capped: path "a[":`},
		{"nested name", s, "window:", nested("${time_field}", "items", 10, 100), `31:13: nested.0.request.path: nothing is called ${time_field}; known: api_url, cursor, host, id, page_size, patience, place, token, zone`},
		{"nested many", s, "window:", nested("${id}", "items[]", 10, 100), `33:14: nested.0.records: must lead to one place below another, as in pageInfo.hasNextPage`},
		{"nested size", s, "window:", nested("${id}", "items", 0, 100), `36:11: nested.0.size: must be at least 1`},
		{"nested most", s, "window:", nested("${id}", "items", 10, 5), `37:11: nested.0.most: must be at least size, 10`},
		{"layout", s, "2006-01-02T15:04:05Z07:00", "2006-01-02", `29:11: window.layout: "2006-01-02" is neither unix nor unix_ms, nor a Go time layout down to the second, as in 2006-01-02T15:04:05Z07:00`},
		{"fields", s, "fields: [created]", "fields: []", `28:11: window.fields: needs at least one of the API's time fields; a state that can't be asked for by time takes a snapshot instead`},
		{"duration", s, "interval: 5m", "interval: 5 minutes", `31:13: window.interval: "5 minutes" is not a duration; write 30s, 5m, 24h or 180d`},
		{"no interval", s, "  interval: 5m\n", "", `28:3: window.interval: is missing: it is the time between two readings; add it, as in interval: 5m`},
		{"no overlap", s, "overlap: 10m", "overlap: 0s", `32:12: window.overlap: must be more than 0: records become visible late, so each reading goes back a little`},
		{"request path", s, "path: /", "path: ", `9:9: request.path: must begin with /: it is put behind base_url as it is; write /v1/events`},
		{"path in a list", s, "{from: [ua], as: user_agent}", "{from: 'ua[', as: user_agent}", `58:24: ecs.fields.user_agent.from: path "ua[":`},
		{"revisit", s, "[1h, 1d12h]", "[1d, 1h]", `33:17: window.revisit.1: ages have to grow, and to be more than overlap, 10m`},
		{"version of a log", s, "id: id\n", "id: id\n  version: [x]\n", `38:12: record.version: records of a log never change; take it out, or make the kind state`},
		{"condition", s, "{exists: true}", "{exist: true}", `47:55: ecs.when.0.if.not.gone: must be {exists: true}, {exists: false} or {glob: pattern}`},
		{"empty condition", s, "not: {gone: {exists: true}}", "not: {}", `47:48: ecs.when.0.if.not: an empty condition always holds; put the fields under fields and constants instead`},
		{"lookup", s, "match: [Login*], ", "", `54:11: ecs.lookups.0.cases.0: "match" is missing; add it`},
		{"field name", s, "event.action: action", "event action: action", `56:19: ecs.fields.event action: "event action" is not a field; write names joined by dots, as in source.ip`},
		{"own field", s, "event.action: action", "trawl.uid: action", `56:16: ecs.fields.trawl.uid: every document has this field already; take it out`},
		{"leaf and object", s, "event.action: action", "acme: x", `48:27: ecs.when.0.fields.acme.kind: acme has a value of its own, so there can be nothing below it; rename one of them`},
		{"as", s, `as: "keyword[]"`, `as: "keywrod[]"`, `61:35: ecs.fields.acme.tags.as: "keywrod" is not known here; did you mean "keyword"?`},
		{"table", s, "table: levels", "table: level", `62:40: ecs.fields.acme.level.table: there is no table "level"; did you mean "levels"?`},
		{"expression", s, "{from: [ua], as: user_agent}", "{as: user_agent}", `58:17: ecs.fields.user_agent: needs either from or text`},
		{"extract", s, "{from: [ua], as: user_agent}", "{from: [ua], extract: '(a'}", "58:39: ecs.fields.user_agent.extract: error parsing regexp: missing closing ): `(a`"},
		{"extract groups", s, "{from: [ua], as: user_agent}", "{from: [ua], extract: '(a)(b)'}", `58:39: ecs.fields.user_agent.extract: has 2 groups; one gives the value: make the others (?: )`},
		{"extract JSON", s, "{from: [ua], as: user_agent}", "{from: [ua], extract: a, as: json}", `58:39: ecs.fields.user_agent.extract: what is found is a text; take as: json out`},
		{"null", s, "  related:\n", "  nulls: [None, '']\n  related:\n", `64:17: ecs.nulls.1: is no value anyway; take it out`},
		{"expression path", s, "event.action: action", "event.action: 'a[b'", `56:19: ecs.fields.event.action.from.0: path "a[b":`},
		{"constant", s, "observer.vendor: Acme", "observer.vendor: {a: b}", `63:32: ecs.constants.observer.vendor: must be a text, a number, true, false, or a list of texts`},
		{"related", s, "user: [user.name]", "user: [user.nam]", `65:12: ecs.related.user.0: nothing sets user.nam; did you mean "user.name"?`},
		{"alias", s, "name: Events", "name: *nobody", `2:7: name: no anchor &nobody in this file; define it, or quote the value`},
		{"tag", s, "name: Events", "name: !!str 12", `2:7: name: the tag !!str means nothing here; leave it out, and quote the value to make it text`},
		{"second document", s, "name: Events", "name: Events\n---\na: b", `4:1: a second YAML document; this file takes one: put it into a file of its own`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := catalog.Load(catalog.Dir("testdata"), fstest.MapFS{"acme/" + tc.file: {Data: edited(t, tc.file, tc.old, tc.new)}})
			var mistakes catalog.Mistakes
			if !errors.As(err, &mistakes) {
				t.Fatalf("error is %T, want Mistakes: %v", err, err)
			}
			want := "acme/" + tc.file + ":" + tc.want
			for _, m := range mistakes {
				if got := m.Error(); got == want || strings.HasSuffix(want, ":") && strings.HasPrefix(got, want) {
					return
				}
			}
			t.Errorf("got\n%v\nwant\n%s", mistakes, want)
		})
	}
}

// nested is a list within a record, to stand before the window.
func nested(path, records string, size, most int) string {
	return fmt.Sprintf(`nested:
  - at: parts
    request:
      method: GET
      path: "/v1/%s"
    in: data
    records: %q
    cursor: next
    more: has_more
    size: %d
    most: %d
window:`, path, records, size, most)
}

// TestTables: a product's tables are there for all its sources, and a source's
// own table counts before one of the same name.
func TestTables(t *testing.T) {
	t.Parallel()
	cat, err := catalog.Load(catalog.Dir("testdata"), fstest.MapFS{
		"acme/product.yaml": {Data: edited(t, "product.yaml", "headers:", "tables: {levels: {HIGH: x}, colours: {RED: red}}\nheaders:")},
		"acme/events.yaml":  {Data: edited(t, "events.yaml", "event.action: action", "event.action: {from: [action], table: colours}")},
	})
	if err != nil {
		t.Fatal(err)
	}
	source, err := cat.Source("acme/events")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(catalog.Tables{"levels": {"HIGH": "high"}, "colours": {"RED": "red"}}, source.ECS.Tables); diff != "" {
		t.Error(diff)
	}
	if got := source.Product.Tables["levels"]["HIGH"]; got != "x" {
		t.Errorf("the product's table has become %q", got)
	}
}

// TestLoadAllAtOnce makes three mistakes in two files.
func TestLoadAllAtOnce(t *testing.T) {
	t.Parallel()
	_, err := catalog.Load(catalog.Dir("testdata"), fstest.MapFS{
		"acme/product.yaml": {Data: []byte(strings.Replace(string(edited(t, "product.yaml", "name: Acme\n", "nmae: Acme\n")), "burst: 3", "burst: -1", 1))},
		"acme/events.yaml":  {Data: edited(t, "events.yaml", "kind: log", "kind: x")},
		"acme/wrong.yml":    {Data: []byte("a: b")},
		"lone/events.yaml":  {Data: edited(t, "events.yaml", "acme", "lone")},
	})
	want := strings.TrimSpace(`
acme/events.yaml:4:7: kind: "x" is not known here; known: log, state
acme/product.yaml:1:1: "name" is missing; add it
acme/product.yaml:2:1: unknown key "nmae"; did you mean "name"?
acme/product.yaml:46:47: rate_limit.burst: must be at least 1
acme/wrong.yml: the name has to end in .yaml; rename it
lone: this folder has no product.yaml; add it`)
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

// edited is a file of the good product with one thing changed.
func edited(t *testing.T, file, old, new string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/acme/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %q", file, old)
	}
	return []byte(strings.Replace(string(text), old, new, 1))
}
