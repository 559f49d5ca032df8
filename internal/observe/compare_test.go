package observe

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/collect"
)

// What was measured is later than documented only where nothing else can be why.
func TestLatenessCompared(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		documented, interval time.Duration
		text                 string
		late                 []time.Duration
		want                 Difference
		words                string
	}{
		"nothing measured":           {15 * time.Minute, time.Minute, "", nil, "", ""},
		"nothing documented":         {0, time.Minute, "not documented", many(200, time.Hour), "", "how late they may be is not documented."},
		"words only":                 {0, time.Minute, "near real time", many(200, time.Hour), "", "documented: near real time."},
		"within":                     {15 * time.Minute, time.Minute, "some minutes", many(200, 10*time.Minute), Same, "within 10 minutes; documented are 15 minutes."},
		"within to the second":       {15 * time.Minute, 0, "", many(200, 15*time.Minute), Same, "documented are 15 minutes."},
		"later":                      {15 * time.Minute, 5 * time.Minute, "some minutes", many(200, 4*time.Hour), Later, "Later than documented: records become visible after 4 hours (p99; p50 is 4 hours), documented are 15 minutes."},
		"one in fifty is later":      {15 * time.Minute, 5 * time.Minute, "", append(many(196, time.Minute), many(4, 4*time.Hour)...), Later, "after 4 hours (p99; p50 is 64.0 seconds), documented"},
		"one in two hundred is":      {15 * time.Minute, 5 * time.Minute, "", append(many(199, time.Minute), 4*time.Hour), Same, "documented are 15 minutes."},
		"it may be the wait":         {15 * time.Minute, time.Hour, "", many(200, 70*time.Minute), Unclear, "documented are 15 minutes, and the wait for the next round may be the rest."},
		"it may be the histogram":    {15 * time.Minute, 0, "", many(200, 20*time.Minute), Unclear, "may be the rest."},
		"a single record says so":    {15 * time.Minute, 0, "", many(1, 4*time.Hour), Later, "one record was seen within 4 hours; documented are 15 minutes."},
		"few records, all are early": {15 * time.Minute, 0, "", many(5, time.Minute), Same, "all within 60.0 seconds; documented are 15 minutes."},
	} {
		var l collect.Lateness
		for _, d := range tt.late {
			l.Add(d)
		}
		s := &catalog.Source{Facts: catalog.Facts{Latency: tt.text, VisibleWithin: catalog.Duration(tt.documented)}}
		r := FeedReport{Lateness: makeLateness(&l, s, tt.interval)}
		if got := r.Lateness.Difference; got != tt.want {
			t.Errorf("%s: the difference is %q, want %q", name, got, tt.want)
		}
		if got := spoken(r.latenessWords); !strings.Contains(got, tt.words) || (tt.words == "") != (got == "") {
			t.Errorf("%s: %q, want %q", name, got, tt.words)
		}
	}
}

// How far back a product answers is compared only where it was asked for as much.
func TestRetentionCompared(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		documented, asked, reach time.Duration
		want                     Difference
		words                    string
	}{
		"nothing asked":      {180 * day, 0, 0, "", ""},
		"nothing documented": {0, 10 * day, 9 * day, "", "how long it keeps them is not documented."},
		"not tried":          {180 * day, 10 * day, 9 * day, NotTried, "asked for the last 10 days, and is documented to keep 180 days"},
		"cut to the limit":   {180 * day, 180*day - time.Hour, 175 * day, Same, "as documented (180 days)"},
		"less":               {180 * day, 180 * day, 90 * day, Less, "documented are 180 days, but the oldest record was 90 days old"},
		"no record at all":   {180 * day, 180 * day, 0, Less, ""},
	} {
		s := &catalog.Source{Window: catalog.Window{Retention: catalog.Duration(tt.documented)}}
		if tt.documented > 0 {
			s.Facts.Retention = "so many days"
		}
		r := FeedReport{Retention: makeRetention(Read{Asked: tt.asked, Reach: tt.reach}, s)}
		if got := r.Retention.Difference; got != tt.want {
			t.Errorf("%s: the difference is %q, want %q", name, got, tt.want)
		}
		if got := spoken(r.retentionWords); !strings.Contains(got, tt.words) || (tt.words == "") != (got == "") {
			t.Errorf("%s: %q, want %q", name, got, tt.words)
		}
	}
}

// The report tells which feeds are as fast as documented, and the page shows both
// sides.
func TestFreshness(t *testing.T) {
	t.Parallel()
	src, err := source()
	if err != nil {
		t.Fatal(err)
	}
	own := *src
	own.Facts.Latency, own.Facts.VisibleWithin = "some minutes", catalog.Duration(15*time.Minute)
	worded := *src
	worded.Facts.Latency, worded.Facts.VisibleWithin = "near real time", 0
	timed := *src
	timed.Facts.Latency, timed.Facts.VisibleWithin = "", catalog.Duration(20*time.Minute)
	var feeds []*Feed
	var sources []Configured
	for connection, late := range map[string]time.Duration{"quick": time.Minute, "slow": 6 * time.Hour, "near": 16 * time.Minute, "worded": time.Hour, "timed": 21 * time.Minute} {
		f := newFeed(connection, src.ID)
		f.Records, f.Unlisted.Count = 1, 1
		f.Unlisted.Lateness.Add(late)
		of := &own
		switch connection {
		case "worded":
			of = &worded
		case "timed":
			of = &timed
		}
		feeds, sources = append(feeds, f), append(sources, Configured{connection, of, time.Minute})
	}
	r := Make(Input{Now: began, Feeds: feeds, Sources: sources})
	fresh := r.Products[0].Scores.Freshness
	if !slices.Equal(fresh.Within, []string{"quick/audit"}) || !slices.Equal(fresh.Later, []string{"slow/audit"}) {
		t.Errorf("within %q, later %q", fresh.Within, fresh.Later)
	}
	if told := fresh.DocumentedText; !strings.Contains(told, "some minutes") || !strings.Contains(told, "near real time") || !strings.Contains(told, "20 minutes") {
		t.Errorf("documented: %s", told)
	}
	var page strings.Builder
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Later than documented: slow/audit.", `15 minutes <span class="soft">some minutes</span>`, `class="differs"`, "<td>near real time</td>", "<td>20 minutes</td>"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

func many(n int, d time.Duration) []time.Duration { return slices.Repeat([]time.Duration{d}, n) }

// spoken are the words that one part of a report says.
func spoken(words func(say func(string, ...any))) string {
	var said []string
	words(func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
	return strings.Join(said, "\n")
}
