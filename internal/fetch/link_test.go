package fetch

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestLink(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		headers []string
		want    string
		ok      bool
	}{
		{[]string{`<https://a.test/x?after=1,2;3>; rel="next"`}, "https://a.test/x?after=1,2;3", true},
		{[]string{`<https://a.test/self>; rel="self"`, `<https://a.test/next>; rel="next"`}, "https://a.test/next", true},
		{[]string{`<https://a.test/self>; rel="self",<https://a.test/next>;rel=next`}, "https://a.test/next", true},
		{[]string{` , <a> ; rel = "prev" , , < b > ; REL = "NEXT" `}, "b", true},
		{[]string{`<a>; title="x, <b>; rel=\"next\""; rel="first last", <c>; rel="up next"`}, "c", true},
		{[]string{`<a>; rel=next; rel=prev`}, "a", true},
		{[]string{`<a>; rel=prev; rel=next`}, "", false},
		{[]string{`<a>; rel; x, <b>; rel="next"`}, "b", true},
		{[]string{`<>; rel=next`}, "", true},
		{[]string{`<a>; title*=UTF-8''x%20y; rel="next"`}, "a", true},

		{nil, "", false},
		{[]string{""}, "", false},
		{[]string{`<a>`}, "", false},
		{[]string{`<a>; rel="nextpage"`}, "", false},
		{[]string{`a; rel=next`}, "", false},
		{[]string{`<a; rel=next`}, "", false},
		{[]string{`<a>; rel="next`}, "", false},
		{[]string{`<a>; rel="next\`}, "", false},
		{[]string{`<a> rel=next`}, "", false},
		{[]string{`<a>; rel=next x`}, "", false},
		{[]string{`broken`, `<a>; rel=next`}, "a", true},
	} {
		if got, ok := link(test.headers, "next"); got != test.want || ok != test.ok {
			t.Errorf("%q: %q, %v", test.headers, got, ok)
		}
	}
}

// FuzzLink reads anything, and what was found is found again when it is written
// the plain way.
func FuzzLink(f *testing.F) {
	for _, seed := range []string{
		`<https://a.test/x?after=1,2;3>; rel="next"`, `<a>; rel="self",<b>;rel=next`, ` , <a> ; rel = "prev" , , < b > ; REL = "NEXT" `,
		`<a>; title="x, <b>; rel=\"next\""; rel="first last", <c>; rel="up next"`, `<a>; rel="next\`, `<<>>;;==,,""`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		target, ok := link([]string{header}, "next")
		if !ok {
			if target != "" {
				t.Fatalf("%q although there is none", target)
			}
			return
		}
		if !strings.Contains(header, target) || !strings.Contains(strings.ToLower(header), "next") {
			t.Fatalf("%q is not in %q", target, header)
		}
		if again, ok := link([]string{"<first>; rel=prev, <" + target + `>; rel="next"`}, "next"); !ok || again != target {
			t.Fatalf("%q, then %q", target, again)
		}
	})
}

// FuzzNextURL: wherever an API says that the next page is, the credential goes
// to its own address or nowhere.
func FuzzNextURL(f *testing.F) {
	for _, seed := range []string{
		"https://acme.test/api?x", "https://ACME.test:443/", "//evil.test/", "https://acme.test@evil.test/", "https:acme.test", `https:\\evil.test`,
		"?page=2", "/a/../b", "https://acme.test\t.evil.test", "https://acme.test:443@evil.test", "HTTPS://acme.test", "https://[acme.test]/", "https://acme.test%2eevil.test/", "///evil.test",
	} {
		f.Add(seed)
	}
	from, err := url.Parse("https://acme.test/api/events?n=2")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cursor, err := jsontext.AppendQuote(nil, text)
		if err != nil {
			return
		}
		u, err := nextURL(from, cursor)
		if err != nil {
			return
		}
		// What http would do with it.
		r, err := http.NewRequest(http.MethodGet, u.String(), nil)
		if err != nil {
			return
		}
		if host := strings.ToLower(r.URL.Hostname()); host != "acme.test" || r.URL.Scheme != "https" || r.URL.Port() != "" && r.URL.Port() != "443" || r.URL.User != nil {
			t.Fatalf("%q leads to %s", text, r.URL)
		}
		if h := strings.ToLower(r.Host); h != "acme.test" && h != "acme.test:443" && h != "acme.test:" {
			t.Fatalf("%q is asked of %s", text, r.Host)
		}
	})
}
