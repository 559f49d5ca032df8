package collect

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

// finding is a record of a state.
type finding struct {
	ID      string    `json:"id"`
	Version int       `json:"version"`
	Created time.Time `json:"createdAt"`
	Changed time.Time `json:"changedAt"`
}

// posture is an API in memory for a state: it shows what is there, oldest
// first, with offsets as cursors, and can be asked for what was created or
// changed in a window, or for everything.
type posture struct {
	mu       sync.Mutex
	findings []finding
	cap      int
	fault    func(r fetch.Request, p *fetch.Page) error // may change or refuse an answer
	asked    []fetch.Request                            // of whole readings
}

func (s *posture) change(f func(m map[string]finding)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := map[string]finding{}
	for _, x := range s.findings {
		m[x.ID] = x
	}
	f(m)
	s.findings = nil
	for id, x := range m {
		x.ID = id
		s.findings = append(s.findings, x)
	}
	slices.SortFunc(s.findings, func(a, b finding) int {
		return cmpOr(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
}

func cmpOr(a, b int) int {
	if a != 0 {
		return a
	}
	return b
}

// add makes findings, created now.
func (s *posture) add(ids ...string) {
	now := time.Now().UTC()
	s.change(func(m map[string]finding) {
		for _, id := range ids {
			m[id] = finding{Version: 1, Created: now, Changed: now}
		}
	})
}

func (s *posture) remove(ids ...string) {
	s.change(func(m map[string]finding) {
		for _, id := range ids {
			delete(m, id)
		}
	})
}

// edit changes findings without moving any of their times.
func (s *posture) edit(by int, ids ...string) {
	s.change(func(m map[string]finding) {
		for _, id := range ids {
			x := m[id]
			x.Version += by
			m[id] = x
		}
	})
}

func (s *posture) Page(ctx context.Context, r fetch.Request) (*fetch.Page, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []finding
	for _, x := range s.findings {
		at := x.Created
		if r.Field == "changedAt" {
			at = x.Changed
		}
		if r.Until.IsZero() || at.After(r.Since) && at.Before(r.Until) {
			found = append(found, x)
		}
	}
	if r.Field != "changedAt" {
		s.asked = append(s.asked, r)
	}
	reachable := len(found)
	if s.cap > 0 {
		reachable = min(reachable, s.cap)
	}
	p := &fetch.Page{Total: len(found), Fetched: time.Now()}
	from := 0
	if r.Cursor != nil {
		from, _ = strconv.Atoi(string(r.Cursor))
	}
	to := min(from+r.Size, reachable)
	for _, x := range found[min(from, to):to] {
		b, _ := json.Marshal(x)
		p.Records = append(p.Records, b)
	}
	if to < reachable {
		p.More, p.Cursor = true, jsontext.Value(strconv.Itoa(to))
	}
	if s.fault != nil {
		if err := s.fault(r, p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// postureKeyer reads what a posture writes, and what is gone.
type postureKeyer struct{}

func (postureKeyer) KeyPlan() *jsonscan.Plan { return nil }

func (postureKeyer) KeyOf(record []byte, _ [][]byte) ecs.Key {
	var x struct {
		finding
		Trawl struct {
			Gone struct{ ID, At string }
		}
	}
	if err := json.Unmarshal(record, &x); err != nil {
		panic(err)
	}
	text := x.ID + " " + strconv.Itoa(x.Version)
	if x.Trawl.Gone.ID != "" {
		x.ID, text = x.Trawl.Gone.ID, "gone "+x.Trawl.Gone.ID+x.Trawl.Gone.At
	}
	sum := sha256.Sum256([]byte(text))
	return ecs.Key{ID: x.ID, Time: x.Changed, UID: [16]byte(sum[:16])}
}

// lines are what the log holds, in order: "a 1" for the first version of a, "-a"
// where it is told as gone. An id that is padded is cut at the dot.
func (l *memoryLog) lines() (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range slices.Concat(l.gone, l.pages) {
		for _, r := range p.Records {
			var x finding
			_ = json.Unmarshal(r, &x)
			line := x.ID + " " + strconv.Itoa(x.Version)
			if p.Gone {
				line = "-" + postureKeyer{}.KeyOf(r, nil).ID
			}
			if id, after, padded := strings.Cut(line, "."); padded {
				line = id + strings.TrimLeft(after, ".")
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// wantLines compares what the log has gained since it had so many lines, in
// any order, and returns how many it has now.
func wantLines(t *testing.T, log *memoryLog, since int, want ...string) int {
	t.Helper()
	lines := log.lines()
	got := slices.Sorted(slices.Values(lines[since:]))
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
		t.Fatalf("the log has gained (-want +got):\n%s", diff)
	}
	return len(lines)
}

// openPosture gives a feed of a posture that is read whole every day, with
// pages of ten.
func openPosture(t *testing.T, api Fetcher, log Log, change func(*Options)) *Feed {
	t.Helper()
	f, err := Open(t.Context(), postureOptions(api, log, change))
	if err != nil {
		t.Fatalf("open feed: %v", err)
	}
	return f
}

func postureOptions(api Fetcher, log Log, change func(*Options)) Options {
	return options(api, log, func(o *Options) {
		o.Source = source(func(s *catalog.Source) {
			s.Kind = "state"
			s.Window.Fields = []string{"changedAt"}
			s.Snapshot = &catalog.Snapshot{Every: catalog.Duration(24 * time.Hour), Field: "createdAt"}
		})
		o.Keyer, o.Snapshot = postureKeyer{}, 24*time.Hour
		if change != nil {
			change(o)
		}
	})
}

// onlyWhole makes the source one that can't be asked for by time.
func onlyWhole(o *Options) {
	o.Source.Window = catalog.Window{}
	o.Source.Snapshot.Field = ""
	o.Interval, o.Overlap = o.Snapshot, 0
}

// once reads a posture until now, with a feed of its own.
func once(t *testing.T, api Fetcher, log *memoryLog, change func(*Options)) *Feed {
	t.Helper()
	f := openPosture(t, api, log, change)
	if err := f.Once(t.Context()); err != nil {
		t.Fatalf("Once: %v", err)
	}
	return f
}

// names are n ids.
func names(prefix string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s%03d", prefix, i))
	}
	return ids
}

// lineOf are the lines of ids: before and after each.
func lineOf(before string, ids []string, after string) (lines []string) {
	for _, id := range ids {
		lines = append(lines, before+id+after)
	}
	return lines
}
