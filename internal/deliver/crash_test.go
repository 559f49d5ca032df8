package deliver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/output"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// survivor is an output that outlives the processes that write to it. One that
// remembers is written to as a file is: documents and place at once.
type survivor struct {
	step      func() error
	remembers bool

	mu        sync.Mutex
	place     output.Place
	documents map[string]int // by the replay that brought them
}

func (s *survivor) Open(context.Context) (output.Place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.place, nil
}

func (s *survivor) Write(_ context.Context, b output.Batch) error {
	if err := s.step(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	from := "log "
	if b.Replay != "" {
		from = "replay "
	}
	for i := range b.Ends {
		s.documents[from+string(b.Document(i))]++
	}
	switch {
	case !s.remembers:
	case b.Replay == "":
		s.place.Last = b.Last
	default:
		s.place.Replay, s.place.Replayed = b.Replay, b.Last
	}
	return nil
}

func (s *survivor) Close() error { return nil }

// mortal is one log and one output over several processes, each of which may
// die at a step: from then on nothing that it does has an effect.
type mortal struct {
	log   *fakeLog
	out   *survivor
	mu    sync.Mutex
	steps int
	dies  int // at this step; 0: never
}

func (m *mortal) step() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.steps++; m.dies > 0 && m.steps >= m.dies {
		return errors.New("dead")
	}
	return nil
}

// effects are the calls of the log that change something.
var effects = []string{"ack", "ack of replay", "seek", "delete reader", "dead", "drop", "put state"}

// process delivers all, then replays once. It ends when it is done, or dead for
// a minute.
func (m *mortal) process(t *testing.T, dies int, r func() Replay) error {
	m.steps, m.dies = 0, dies
	m.log.next = m.log.acked
	// The settings differ, so that documents come and go.
	d := start(t, m.log, nil, bothFeeds, func(o *Options) { o.Output, o.MaxDocument, o.Patience = m.out, 40, time.Minute })
	defer func() { must(t, d.stop()) }()
	err := d.Drain(t.Context(), uint64(len(m.log.pages)))
	if err == nil && d.Status().Replay == nil {
		_, err = d.StartReplay(t.Context(), r())
	}
	if err == nil {
		err = d.AwaitReplay(t.Context())
	}
	return err
}

// TestReplayKilledAtEveryStep kills the process at its first step, its second
// and so on, and the one after it at another. What is replayed reaches an
// output that remembers its place exactly once, others at least once, and dead
// letters are there until then. It is some of the steps, others each time, but
// all with TRAWL_CUTS=all.
func TestReplayKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	pages := func(*fakeLog) Replay { return Replay{After: 50, Through: 250, Feed: "wiz-prod/audit"} }
	letters := func(l *fakeLog) Replay {
		return Replay{Dead: &pagelog.DeadFilter{Output: "archive", Feed: "wiz-prod/audit", UpTo: l.deadSeq}}
	}
	for name, what := range map[string]func(*fakeLog) Replay{"pages": pages, "letters": letters} {
		for _, remembers := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%t", name, remembers), func(t *testing.T) {
				t.Parallel()
				stride := map[string]int{"pages": 10, "letters": 50}[name]
				switch {
				case os.Getenv("TRAWL_CUTS") == "all":
					stride = 1
				case testing.Short():
					stride *= 5
				}
				for dies, over := 1, false; !over; dies += 1 + rand.IntN(stride) {
					synctest.Test(t, func(t *testing.T) { over = killedReplay(t, what, name == "letters", remembers, dies) })
					if t.Failed() {
						t.Fatalf("killed at step %d", dies)
					}
					if over {
						t.Logf("%d steps", dies-1)
					}
				}
			})
		}
	}
}

// killedReplay reports whether the process was done before the step.
func killedReplay(t *testing.T, what func(*fakeLog) Replay, letters, remembers bool, dies int) (over bool) {
	m := &mortal{log: newLog(0, 0), out: &survivor{remembers: remembers, documents: map[string]int{}}}
	m.out.step = m.step
	m.log.fail = func(call string) error {
		if !slices.Contains(effects, call) {
			return nil
		}
		return m.step()
	}
	want := map[string]int{}
	var dead []string
	for i := range 300 {
		feed := []pagelog.Feed{audit, issues}[i%2]
		seq := i + 1
		records := page(seq, 2)
		if i%5 == 0 {
			records = append(records, fmt.Appendf(nil, `{"id":"%d-%s"}`, seq, strings.Repeat("x", 40)))
		}
		m.log.append(feed, records...)
		for n, r := range records {
			document := "wiz-prod " + string(r)
			again := !letters && feed == audit && seq > 50 && seq <= 250
			switch {
			case len(document) > 40 && (again || letters && feed == audit):
				dead = append(dead, fmt.Sprintf("archive/%d/%d after 2", seq, n))
			case len(document) > 40:
				dead = append(dead, fmt.Sprintf("archive/%d/%d after 1", seq, n))
			default:
				want["log "+document] = 1
				if again {
					want["replay "+document] = 1
				}
			}
		}
	}
	// Letters whose pages are gone, of which one is refused again.
	for i := range 600 {
		letter := pagelog.DeadLetter{Output: "archive", Feed: audit, Page: 1000, Index: i, Document: fmt.Append(nil, "letter ", i)}
		after := 1
		if i == 300 {
			letter.Document = []byte(strings.Repeat("y", 41))
			after = 2
		}
		must(t, m.log.PutDead(t.Context(), letter))
		switch {
		case !letters:
			dead = append(dead, letter.ID()+" after 1")
		case i == 300:
			dead = append(dead, fmt.Sprint(letter.ID(), " after ", after))
		default:
			want["replay "+string(letter.Document)] = 1
		}
	}
	if err := m.process(t, dies, func() Replay { return what(m.log) }); err == nil {
		over = true
	} else {
		_ = m.process(t, 1+rand.IntN(400), func() Replay { return what(m.log) })
		must(t, m.process(t, 0, func() Replay { return what(m.log) }))
	}
	got := m.out.documents
	if !remembers {
		for document := range got {
			got[document] = min(got[document], 1)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("documents differ (-want +got):\n%.1500s", diff)
	}
	var left []string
	for _, d := range m.log.dead {
		left = append(left, fmt.Sprint(d.ID(), " after ", d.Tries))
	}
	slices.Sort(dead)
	slices.Sort(left)
	if diff := cmp.Diff(dead, left); diff != "" {
		t.Errorf("letters differ (-want +got):\n%.1500s", diff)
	}
	return over
}
