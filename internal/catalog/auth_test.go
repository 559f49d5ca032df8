package catalog_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
)

// mistakesOf loads the good product with parts of its files changed, old and
// new in turn, and gives what is wrong.
func mistakesOf(t *testing.T, file string, change ...string) (*catalog.Catalogue, string) {
	t.Helper()
	text := string(edited(t, file, change[0], change[1]))
	for i := 2; i < len(change); i += 2 {
		if !strings.Contains(text, change[i]) {
			t.Fatalf("%s has no %q", file, change[i])
		}
		text = strings.Replace(text, change[i], change[i+1], 1)
	}
	cat, err := catalog.Load(catalog.Dir("testdata"), fstest.MapFS{"acme/" + file: {Data: []byte(text)}})
	if err == nil {
		return cat, ""
	}
	var mistakes catalog.Mistakes
	if !errors.As(err, &mistakes) {
		t.Fatal(err)
	}
	return nil, place.ReplaceAllString(err.Error(), "")
}

// place is where a mistake is, which other tests look at.
var place = regexp.MustCompile(`(?m)^acme/[a-z.]+:\d+:\d+: `)

const oldAuth = "auth:\n  - type: token\n    token: ${token}\n"

// moreSettings are those of the ways to sign in below.
const moreSettings = "settings:\n  refresh: {about: x, secret: true}\n  client: {about: x}\n  secret: {about: x, secret: true}\n  key: {about: x, secret: true}\n  algorithm: {about: x, default: RS384}\n"

func TestAuth(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ auth, want string }{
		"all": {`
  - if: {key: "?*"}
    type: oauth2
    token_url: https://${host}.example/token
    client_id: ${client}
    params: {grant_type: client_credentials, client_assertion: "${jwt}", audience: "${zone}"}
    jwt: {key: "${key}", passphrase: "${secret}", key_id: k1, algorithm: "${algorithm}", lifetime: 1m, claims: {iss: "${client}"}}
  - if: {refresh: "?*"}
    type: oauth2
    token_url: https://${host}.example/token
    client_id: ${client}
    client_secret: ${secret}
    params: {grant_type: refresh_token, refresh_token: "${refresh}"}
    rotates: refresh
    refresh_margin: ${patience}
  - {type: token, token: "${token}", scheme: SSWS}
`, ""},
		"none":        {" []\n", "auth: needs at least one way to sign in"},
		"a mapping":   {" {type: token}\n", `auth: must be a list, as in [a, b]; this is a mapping`},
		"unreachable": {"\n  - {type: token, token: a}\n  - {type: token, token: b}\n", "auth.0: always holds, so the ways to sign in after it are never taken; move it to the end"},
		"condition":   {"\n  - {if: {hots: x}, type: token, token: a}\n", `auth.0.if.hots: nothing is called hots; did you mean "host"?`},
		"no token":    {"\n  - {type: token}\n", "auth.0.token: token needs it; add it"},
		"scheme":      {"\n  - {type: token, token: a, scheme: Bearer of}\n", "auth.0.scheme: must be one word, as in Bearer"},
		"key":         {"\n  - {type: token, token: a, header: X-Api-Key}\n", ""},
		"bad header":  {"\n  - {type: token, token: a, header: \"X Y\"}\n", `auth.0.header: "X Y" is not the name of a header`},
		"basic":       {"\n  - {type: basic, username: \"${client}\", password: \"${secret}\"}\n", ""},
		"no username": {"\n  - {type: basic, password: \"${secret}\", token: a}\n", "auth.0.username: basic needs it; add it\nauth.0.token: does not go with basic; take it out"},
		"of the other": {"\n  - {type: token, token: a, token_url: b, params: {c: d}, jwt: {key: k, claims: {}}}\n",
			"auth.0.token_url: does not go with token; take it out\nauth.0.params: goes with oauth2 only; take it out\nauth.0.jwt: goes with oauth2 only; take it out"},
		"of the one":    {"\n  - {type: oauth2, token_url: a, client_id: b, client_secret: c, token: d}\n", "auth.0.token: does not go with oauth2; take it out"},
		"no credential": {"\n  - {type: oauth2, token_url: a}\n", "auth.0.client_id: the grant client_credentials needs it; add it\nauth.0.client_secret: the grant client_credentials needs it; add it"},
		"no refresh":    {"\n  - {type: oauth2, token_url: a, params: {grant_type: refresh_token}}\n", "auth.0.params: the grant refresh_token needs one; add refresh_token"},
		"parameter":     {"\n  - {type: oauth2, token_url: a, client_id: b, client_secret: c, params: {d: \"${e}\"}}\n", "auth.0.params.d: nothing is called ${e}; "},
		"jwt unused":    {"\n  - {type: oauth2, token_url: a, client_id: b, client_secret: c, jwt: {key: k, claims: {}}}\n", "auth.0.jwt: nothing sends it; add ${jwt} to params, as in assertion: ${jwt}"},
		"no jwt":        {"\n  - {type: oauth2, token_url: a, params: {grant_type: x, assertion: \"${jwt}\"}}\n", "auth.0.params.assertion: nothing is called ${jwt}; "},
		"bad jwt": {"\n  - {type: oauth2, token_url: a, params: {grant_type: x, assertion: \"${jwt}\"}, jwt: {key: \"${kye}\", algorithm: HS256, claims: {exp: x, iss: \"${clinet}\"}}}\n",
			"auth.0.jwt.key: nothing is called ${kye}; did you mean \"key\"?\nauth.0.jwt.algorithm: \"HS256\" is not known here; did you mean \"RS256\"?\n" +
				"auth.0.jwt.claims.exp: every assertion has one of its own; take it out\nauth.0.jwt.claims.iss: nothing is called ${clinet}; did you mean \"client\"?"},
		"rotates what":     {"\n  - {type: oauth2, token_url: a, params: {grant_type: refresh_token, refresh_token: x}, rotates: host}\n", `auth.0.rotates: "host" is not a setting that is secret`},
		"rotates not sent": {"\n  - {type: oauth2, token_url: a, params: {grant_type: refresh_token, refresh_token: x}, rotates: refresh}\n", "auth.0.rotates: nothing sends ${refresh}; add it to params"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := mistakesOf(t, "product.yaml", oldAuth, "auth:"+test.auth, "settings:\n", moreSettings)
			if !strings.HasPrefix(got, test.want) || test.want == "" && got != "" {
				t.Errorf("mistakes are\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestBudget(t *testing.T) {
	t.Parallel()
	for budget, want := range map[string]string{
		"{header: X-RateLimit}":                 "",
		"{header: X-RateLimit, reset: X-Reset}": "",
		"{limit: L, remaining: R, reset: S}":    "",
		"{remaining: R, reset: S}":              "",
		"{}":                                    "budget: needs header, which holds used/limit, or remaining",
		"{limit: L}":                            "budget: needs header, which holds used/limit, or remaining",
		"{remaining: R}":                        "budget.remaining: says nothing by itself; add limit, reset or both",
		"{header: X, remaining: R}":             "budget.header: holds both numbers, so there is no limit or remaining beside it; take them out",
		"{header: 'X Y'}":                       `budget.header: "X Y" is not the name of a header`,
	} {
		if _, got := mistakesOf(t, "product.yaml", "rate_limit:", "budget: "+budget+"\nrate_limit:"); got != want {
			t.Errorf("%s: %s", budget, got)
		}
	}
}

// TestPaging changes how pages follow each other.
func TestPaging(t *testing.T) {
	t.Parallel()
	const cursor = "  cursor: next\n  more: has_more\n  total: total\n"
	const post = "method: POST"
	for name, test := range map[string]struct {
		paging string
		change []string
		want   string
	}{
		"next_url":      {paging: "  next_url: links.next\n  end_values: [\"null\"]\n"},
		"link":          {paging: "  link: next\n"},
		"offset":        {paging: "  offset: true\n", change: []string{"after: ${cursor}", "skip: ${offset}"}},
		"pages":         {paging: "  first_page: 1\n", change: []string{"after: ${cursor}", "page: ${page}"}},
		"pages below 0": {paging: "  first_page: -1\n", want: "paging.first_page: must be at least 0"},
		"pages' end":    {paging: "  first_page: 0\n  end: no_cursor\n", want: "paging.end: counting never ends by itself;"},
		"empty":         {paging: "  cursor: next\n  end: empty\n  end_values: ['0']\n"},
		"two ways":      {paging: "  cursor: next\n  link: next\n", want: "paging.link: there is one way from page to page, and cursor is one; take out one of the two"},
		"end of what":   {paging: "  end: empty\n", want: "paging.end: goes with cursor, next_url, link, offset or first_page; take it out"},
		"end word":      {paging: "  cursor: next\n  end: nothing\n", want: `paging.end: "nothing" is not known here; known: empty, no_cursor`},
		"offset's end":  {paging: "  offset: true\n  end: no_cursor\n", want: "paging.end: counting never ends by itself; take it out, and add more or total if the API has them"},
		"more of what":  {paging: "  more: x\n", want: "paging.more: needs cursor, which says where the next page begins, or next_url, link, offset or first_page"},
		"post":          {paging: "  link: next\n", change: []string{"method: GET", post}, want: "paging.link: the URL of a page is asked for with GET, so the request's method has to be GET"},
		"bad path":      {paging: "  next_url: a..b\n", want: `paging.next_url: path "a..b": a name is missing at character 3`},
		"whole answer":  {paging: cursor, change: []string{"records: data.items", "records: ."}},
		"several ids":   {paging: cursor, change: []string{"  id: id\n", "  id: [identifier, log_id]\n"}},
		"empty id":      {paging: cursor, change: []string{"  id: id\n", "  id: [a, '']\n"}, want: "record.id.1: must not be empty"},
		"no ids":        {paging: cursor, change: []string{"  id: id\n", "  id: []\n"}, want: "record.id: needs at least one path"},
		"bad id":        {paging: cursor, change: []string{"  id: id\n", "  id: a..b\n"}, want: `record.id: path "a..b": a name is missing at character 3`},
		"unix":          {paging: cursor, change: []string{`"2006-01-02T15:04:05Z07:00"`, "unix_ms"}},
		"stream":        {paging: cursor, change: []string{"records:", "stream:\n  request: {method: GET, path: /s, query: {position: \"${cursor}\", since: \"${since}\"}}\n  start: now\n  keeps: 14d\n  ignore: ['0']\nrecords:"}},
		"stream names":  {paging: cursor, change: []string{"records:", "stream: {request: {method: GET, query: {a: \"${until}\"}}}\nrecords:"}, want: "stream.request.query.a: nothing is called ${until}; known: "},
		"stream ignore": {paging: cursor, change: []string{"records:", "stream: {request: {method: GET}, ignore: ['']}\nrecords:"}, want: "stream.ignore.0: must not be empty; an empty position says nothing anyway"},
		"stream where":  {paging: "", change: []string{"records:", "stream: {request: {method: GET}}\nrecords:"}, want: "stream: needs paging.cursor, paging.next_url or paging.link, which say where the position stands"},
		"state stream":  {paging: cursor, change: []string{"records:", "stream: {request: {method: GET}}\nrecords:", "kind: log", "kind: state"}, want: "stream: a state has no stream; take it out, or make the kind log"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := mistakesOf(t, "events.yaml", append([]string{cursor, test.paging}, test.change...)...)
			if !strings.HasPrefix(got, test.want) || test.want == "" && got != "" {
				t.Errorf("mistakes are\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// TestSignIn chooses between ways, and says what each needs.
func TestSignIn(t *testing.T) {
	t.Parallel()
	p := catalog.Product{
		BaseURL:  catalog.Cases{{If: map[string]string{"url": "https*"}, Value: "${url}"}, {Value: "https://${tenant}"}},
		Derived:  map[string]catalog.Cases{"subject": {{If: map[string]string{"user": "?*"}, Value: "${user}"}, {Value: "e-${org}"}}},
		Settings: map[string]catalog.Setting{"tenant": {}, "org": {}, "user": {}, "key": {}, "url": {Default: "x"}, "client": {}, "token": {}, "aud": {}, "refresh": {}},
		Auth: []catalog.Auth{
			{If: map[string]string{"key": "?*", "kind": "a*"}, TokenURL: "${url}", ClientID: "${client}", Params: map[string]string{"assertion": "${jwt}", "a": "${aud}", "s": "${subject}"}, JWT: &catalog.JWT{Key: "${key}", Claims: map[string]string{"sub": "s-${client}"}}},
			{If: map[string]string{"refresh": "?*"}, Params: map[string]string{"r": "${refresh}"}, Rotates: "refresh"},
			{If: map[string]string{"token": "?*"}, Token: "${token}"},
		},
	}
	for _, test := range []struct {
		set  map[string]string
		way  int
		want []string
	}{
		{map[string]string{"key": "k", "kind": "ab", "token": "t"}, 0, []string{"client", "key", "org", "tenant"}},
		{map[string]string{"key": "k", "kind": "ab", "user": "u"}, 0, []string{"client", "key", "tenant", "user"}},
		{map[string]string{"key": "k", "kind": "b", "refresh": "r", "token": "t"}, 1, []string{"refresh", "tenant"}},
		{map[string]string{"token": "t", "url": "https://x"}, 2, []string{"token"}},
	} {
		lookup := p.Lookup(func(name string) (string, bool) { v, ok := test.set[name]; return v, ok })
		auth, err := p.SignIn(lookup)
		if err != nil || auth != &p.Auth[test.way] {
			t.Errorf("%v: way %v: %v", test.set, auth, err)
			continue
		}
		if diff := cmp.Diff(test.want, p.Needs(auth, lookup)); diff != "" {
			t.Errorf("%v: %s", test.set, diff)
		}
	}
	if auth, err := p.SignIn(func(string) (string, bool) { return "", false }); err == nil {
		t.Errorf("%+v without any setting", auth)
	}
}

// TestBody changes what is sent.
func TestBody(t *testing.T) {
	t.Parallel()
	const header, body = "request:\n", "request:\n  json: {range: {from: \"${since}\"}, size: \"${page_size}\"}\n"
	for name, test := range map[string]struct {
		change []string
		want   string
	}{
		"json":           {[]string{header, body, "method: GET", "method: POST"}, ""},
		"json in a GET":  {[]string{header, body}, "request.method: a body is sent with POST"},
		"filter of json": {[]string{header, body + "  filter: range\n", "method: GET", "method: POST", "  filter: query\n", ""}, ""},
		"filter of what": {[]string{header, body + "  filter: where\n", "method: GET", "method: POST", "  filter: query\n", ""}, "request.filter: must be query, or a member of json; add where: {} there"},
		"unknown name":   {[]string{header, "request:\n  json: {a: [\"${sicne}\"]}\n", "method: GET", "method: POST"}, `request.json.a.0: nothing is called ${sicne}; did you mean "since"?`},
	} {
		if _, got := mistakesOf(t, "events.yaml", test.change...); got != test.want {
			t.Errorf("%s: mistakes are\n%s\nwant\n%s", name, got, test.want)
		}
	}
}
