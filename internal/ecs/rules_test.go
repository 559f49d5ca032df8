package ecs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ua-parser/uap-go/uaparser"
)

// userAgents are those of the catalogue's samples, and some that are odd.
func userAgents(t testing.TB) []string {
	t.Helper()
	all := []string{
		"", " ", "-", "node", "curl/8.5.0", "Go-http-client/2.0", "python-requests/2.31.0", "Terraform/1.6 (+https://www.terraform.io)", "okhttp/4.9.3",
		"aws-cli/2.15.30 Python/3.11.8 Linux/6.5 exe/x86_64", "PostmanRuntime/7.36.3", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "mozilla/5.0 (IPHONE; cpu iphone os 17_2 like mac os x) version/17.2 MOBILE/15E148 safari/604.1",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.2 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (Linux; Android 14; Pixel 8 Pro) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
		"Mozilla/5.0 (Linux; Android 13; SM-S918B Build/TP1A.220624.014; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/119.0 Mobile Safari/537.36",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 Edg/120.0.2210.91",
		"Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko", "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1)", "Opera/9.80 (X11; Linux i686; U; en) Presto/2.2.15 Version/10.10",
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0 Safari/537.36", "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/119.0",
		"Box Sync 4.0", "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0; Pro)", "Outlook-iOS/2.0", "Mozilla/5.0 (PlayStation; PlayStation 5/4.03) AppleWebKit/605.1.15",
		"Dalvik/2.1.0 (Linux; U; Android 9; ZTE Blade A3 2019RU Build/PPR1.180610.011)", "\u212aindle/3.0", "\u017fafari/604", "CFNetwork/1410.0.3 Darwin/22.6.0", "iTunes/12.12 (Macintosh; OS X 10.15)",
	}
	files, err := filepath.Glob("../../catalog/*/testdata/*/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no samples", err)
	}
	known := regexp.MustCompile(`(?i)user_?agent" *: *"([^"\\]*)"`)
	for _, f := range files {
		sample, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range known.FindAllSubmatch(sample, -1) {
			all = append(all, string(m[1]))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

var library = sync.OnceValue(func() *uaparser.Parser {
	p, err := uaparser.New(uaparser.WithCacheSize(1))
	if err != nil {
		panic(err)
	}
	return p
})

// sameAsLibrary compares what the rules say with what their own library does.
func sameAsLibrary(t *testing.T, line string) {
	t.Helper()
	program, system, device := agentRules().parse(line)
	if want := *library().ParseUserAgent(line); program != want {
		t.Errorf("%q: program %+v, want %+v", line, program, want)
	}
	if want := *library().ParseOs(line); system != want {
		t.Errorf("%q: system %+v, want %+v", line, system, want)
	}
	if want := *library().ParseDevice(line); device != want {
		t.Errorf("%q: device %+v, want %+v", line, device, want)
	}
}

func TestRulesSayWhatTheLibrarySays(t *testing.T) {
	t.Parallel()
	for _, line := range userAgents(t) {
		sameAsLibrary(t, line)
		sameAsLibrary(t, strings.ToUpper(line))
	}
}

func TestNeeded(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		`(Foo|bar)/(\d+)`:      "foo bar",
		`a(?:bc|d.)?ef[gh]i`:   "ef",
		`(?i)Ab+`:              "a",
		`(?:xyz){2,}|longer`:   "xyz longer",
		`(?:xyz){0,2}`:         "",
		`[ab]c*|d`:             "",
		`.*`:                   "",
		`(`:                    "",
		`^(Long).{0,9}(er|e)$`: "long",
	} {
		if got := strings.Join(needed("", expression), " "); got != want {
			t.Errorf("%s needs %q, want %q", expression, got, want)
		}
	}
	if got := needed("i", "ABC"); len(got) != 1 || got[0] != "abc" {
		t.Errorf("with a flag %q", got)
	}
}

// FuzzAgent compares the rules with their library on any text.
func FuzzAgent(f *testing.F) {
	for _, line := range userAgents(f) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) { sameAsLibrary(t, line[:min(len(line), maxAgent)]) })
}
