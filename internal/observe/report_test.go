package observe

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/emm"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// The rule of what has gone dark, at its borders.
func TestDarkSince(t *testing.T) {
	t.Parallel()
	at := func(d int64) time.Time { return time.Unix(d*86400+3600, 0) }
	for name, tt := range map[string]struct {
		days []int64
		asOf int64
		dark bool
	}{
		"daily, silent for eight days":           {[]int64{100, 101, 102, 103, 104}, 113, true},
		"daily, silent for seven days":           {[]int64{100, 101, 102, 103, 104}, 112, false},
		"seen on four days only":                 {[]int64{100, 101, 102, 103}, 150, false},
		"weekly, silent for twice its pause":     {[]int64{100, 107, 114, 121, 128}, 141, false},
		"weekly, silent for longer":              {[]int64{100, 107, 114, 121, 128}, 142, true},
		"dark for long":                          {[]int64{100, 101, 102, 103, 104}, 900, true},
		"regular once, and then once":            {[]int64{100, 101, 102, 103, 104, 160}, 900, false},
		"today is not over":                      {[]int64{100, 101, 102, 103, 104}, 105, false},
		"nothing was read since it was seen":     {[]int64{100, 101, 102, 103, 104}, 104, false},
		"the feed was read up to before it ever": {[]int64{100, 101, 102, 103, 104}, 90, false},
	} {
		days := map[int64]int64{}
		for _, d := range tt.days {
			days[d] = 3
		}
		got, dark := darkSince(days, at(tt.asOf))
		if dark != tt.dark {
			t.Errorf("%s: %t (%+v)", name, dark, got)
		}
		if dark && (day(got.Since) != tt.days[len(tt.days)-1]+1 || got.SeenOn != len(tt.days)) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, dark := darkSince(map[int64]int64{1: 1, 2: 1, 3: 1, 4: 1, 5: 1}, time.Time{}); dark {
		t.Error("dark though nobody knows how far the feed was read")
	}
}

// What is kept of a feed stays small, whatever comes.
func TestBounded(t *testing.T) {
	t.Parallel()
	src, err := source()
	if err != nil {
		t.Fatal(err)
	}
	mapper, err := ecs.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	p := newPlan(src, mapper)
	f := newFeed("wiz-prod", "audit")
	for n := range 200 {
		fetched := began.Add(time.Duration(n) * 24 * time.Hour)
		tally, err := newTally(p, &pagelog.Page{Feed: audit, Lane: pagelog.Live, Seq: uint64(n + 1), Fetched: fetched, Stored: fetched, Position: []byte(following)}, uint64(n))
		if err != nil {
			t.Fatal(err)
		}
		for i := range src.Matrix.Events {
			tally.Add(&ecs.Sight{Time: fetched.Add(-time.Duration(i*n) * time.Second), Event: i, Filled: 1<<33 - 1})
		}
		for i := range 300 {
			tally.Add(&ecs.Sight{Time: fetched, Event: -1, Kind: fmt.Appendf(nil, "%d %d %s", n, i, strings.Repeat("é", 100))})
		}
		f.merge(tally)
		f.note(fetched, "%s", strings.Repeat("note ", 40))
	}
	if len(f.Kinds) != mostKinds || len(f.Notes) != mostNotes || len(f.Unlisted.Days) > keptDays {
		t.Errorf("%d kinds, %d notes, %d days", len(f.Kinds), len(f.Notes), len(f.Unlisted.Days))
	}
	var named int64
	for _, k := range f.Kinds {
		named += k.Count
	}
	if named+f.Others != f.Unlisted.Count || f.Unlisted.Count != 200*300 {
		t.Errorf("%d named and %d others of %d", named, f.Others, f.Unlisted.Count)
	}
	for key, of := range f.Types {
		if len(of.Days) > keptDays {
			t.Errorf("%s: %d days", key, len(of.Days))
		}
	}
	data, err := f.encode()
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 64<<10 {
		t.Errorf("%d bytes", len(data))
	}
	again, err := decode(data)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := json.Marshal(f)
	got, _ := json.Marshal(again)
	if string(got) != string(want) {
		t.Errorf("reads back as %s\nwant %s", got, want)
	}
}

// However many ways there are in which records fill attributes, each is counted.
func TestFill(t *testing.T) {
	t.Parallel()
	var d delta
	var want Filled
	for i := range uint64(500) {
		attributes := i * 7919 % 256 << 3
		d.count++
		d.fill(attributes)
		want.add(attributes, 1)
	}
	of := &Type{}
	of.merge(&d)
	if got := of.Filled; got != want || of.Count != 500 || len(d.filled) != mostMasks {
		t.Errorf("counted %v in %d ways\nwant    %v", got, len(d.filled), want)
	}
}

// Times that can't be are in no count of times; what was not fresh is in none of
// lateness.
func TestTimes(t *testing.T) {
	t.Parallel()
	src, err := source()
	if err != nil {
		t.Fatal(err)
	}
	mapper, err := ecs.Compile(src)
	if err != nil {
		t.Fatal(err)
	}
	p := newPlan(src, mapper)
	fetched := began.Add(48 * time.Hour)
	for name, tt := range map[string]struct {
		lane     pagelog.Lane
		position string
		late     int64
	}{
		"live":        {pagelog.Live, following, 2},
		"revisit":     {pagelog.Revisit, `{"rev":1,"counts":{}}`, 2},
		"first round": {pagelog.Live, `{"rev":1,"floor":"2026-11-01T00:00:00Z","round":"2026-11-01T00:00:00Z","counts":{}}`, 0},
		"backfill":    {pagelog.Backfill, following, 0},
		"push":        {pagelog.Push, following, 0},
		"snapshot":    {pagelog.Snapshot, following, 0},
		"part":        {pagelog.Live, "", 0},
	} {
		page := &pagelog.Page{Feed: audit, Lane: tt.lane, Seq: 1, Fetched: fetched}
		if tt.position != "" {
			page.Position = []byte(tt.position)
		}
		tally, err := newTally(p, page, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{fetched.Add(-time.Minute), fetched.Add(time.Hour), {}, fetched.Add(25 * time.Hour), time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)} {
			tally.Add(&ecs.Sight{Time: at, Event: 0})
		}
		f := newFeed("wiz-prod", "audit")
		f.merge(tally)
		of := f.Types[p.types[0]]
		if f.Records != 5 || f.Timeless != 3 || !f.First.Equal(fetched.Add(-time.Minute)) || !f.Last.Equal(fetched.Add(time.Hour)) || of.Lateness.Count() != tt.late {
			t.Errorf("%s: %+v, %d late", name, f, of.Lateness.Count())
		}
	}
}

// The report of a feed says in words what differs.
func TestReport(t *testing.T) {
	t.Parallel()
	src, err := source()
	if err != nil {
		t.Fatal(err)
	}
	index := func(key string) int {
		for i, a := range emm.Matrix().Attributes {
			if a.Key == key {
				return i
			}
		}
		t.Fatalf("no attribute %s", key)
		return 0
	}
	f := newFeed("wiz-prod", "audit")
	f.Records = 12
	login := &Type{Count: 10, Last: began, Days: map[int64]int64{100: 2, 101: 2, 102: 2, 103: 2, 104: 2}}
	login.Filled[index("timestamp")], login.Filled[index("username")] = 10, 1
	login.Lateness.Add(time.Minute)
	f.Types = map[string]*Type{"account_login": login, "query_resource": {Count: 1}}
	f.Unlisted.Count, f.Kinds = 1, map[string]*Kind{"Token\x1b[2J": {Count: 1}}
	issues := src.Product.Sources["issues"]
	states := newFeed("wiz-prod", "issues")
	states.Records, states.Unlisted.Count = 1, 1
	states.Unlisted.Lateness.Add(time.Hour)
	day := 24 * time.Hour
	r := Make(Input{
		Now: began, Feeds: []*Feed{f, states}, Sources: []Configured{{"wiz-prod", src, time.Minute}, {"wiz-test", src, time.Minute}, {"wiz-prod", issues, time.Minute}},
		Read: map[string]Read{
			"wiz-prod/audit":  {To: time.Unix(130*86400, 0), Asked: 200 * day, Reach: 90 * day},
			"wiz-prod/issues": {Asked: 200 * day, Reach: 200 * day},
		},
	})
	words := strings.Join(r.Products[0].Feeds[0].Words, "\n")
	for _, want := range []string{
		"Gone dark: account_login, since 1970-04-16",
		"Documented but never seen here: ", "Seen but not documented: query_resource.",
		"1 of 12 records: Token\x1b[2J (1)", "Empty in all records of account_login (10): ",
		"documented are 180 days, but the oldest record was 90 days old", "Late: one record was seen within 60.0 seconds; how late they may be is not documented",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("the words lack %q:\n%s", want, words)
		}
	}
	if got := r.Products[0].Feeds[1].Words; !cmp.Equal(got, []string{"Nothing was seen yet."}) {
		t.Errorf("of a new feed: %q", got)
	}
	s := r.Products[0].Scores
	if s.Coverage.Has != 1 || s.Coverage.Of != len(documentedTypes(src)) || s.Fill.Has != 2 || s.Retention.Has != 0 || s.Retention.Of != 1 || s.Freshness.P50 != time.Minute {
		t.Errorf("scores %+v", s)
	}
	for _, score := range []Score{s.Coverage, s.Fill, s.Retention} {
		if score.Has != len(score.Yes) || score.Of != len(score.Yes)+len(score.No) || score.Means == "" {
			t.Errorf("a score without its lists: %+v", score)
		}
	}
	var page strings.Builder
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`href="#wiz-coverage"`, `id="wiz-coverage"`, `id="wiz-fill"`, `id="wiz-freshness"`, `id="wiz-retention"`, `id="wiz-prod/audit-account_login"`, "Gone dark"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(page.String(), "<script") {
		t.Error("the page has a script")
	}
}

// FuzzDecode: what is taken reads back the same.
func FuzzDecode(f *testing.F) {
	good := newFeed("a", "b")
	good.Types["account_login"] = &Type{Count: 1, Days: map[int64]int64{1: 1}}
	data, err := good.encode()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{data, nil, []byte("{}"), data[:len(data)/2]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		feed, err := decode(data)
		if err != nil {
			return
		}
		text, err := feed.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(text)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(feed.clone(), again.clone(), cmp.AllowUnexported(Feed{})); d != "" {
			t.Fatal(d)
		}
	})
}
