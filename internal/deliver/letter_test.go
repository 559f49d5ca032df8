package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/output"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// TestMaxDocument: larger documents become dead letters, which are kept before
// the others are written: an output that remembers them is not given the page
// again.
func TestMaxDocument(t *testing.T) {
	t.Parallel()
	for _, raw := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := newLog(0, 0)
			large := strings.Repeat("x", 60)
			l.append(audit, []byte("a"), []byte(large), []byte("b"))
			l.append(audit, []byte(large), []byte(large))
			l.append(audit, []byte("c"))
			var first output.Batch
			out := &fakeOutput{write: func(_ context.Context, b output.Batch) error {
				if first.Last == 0 {
					first = b
					first.Steps = slices.Clone(b.Steps)
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				return l.call("write", b.Last)
			}}
			d := start(t, l, out, func(o *Options) { o.Raw, o.MaxDocument = raw, 59 })
			must(t, d.Drain(t.Context(), 3))
			must(t, d.stop())
			if diff := cmp.Diff([]string{"dead 1/1", "dead 2/0", "dead 2/1", "write 3", "ack 3"}, l.calls); diff != "" {
				t.Errorf("calls differ (-want +got):\n%s", diff)
			}
			if !slices.Equal(first.Steps, []uint64{1, 3, 6}) || first.Size != 6 {
				t.Errorf("steps %d of %d", first.Steps, first.Size)
			}
			document := "wiz-prod " + large
			if raw {
				document = large
			}
			letter := l.dead[0]
			if letter.UID != "000000000000003c0000000000000000" || letter.Raw != raw || string(letter.Document) != document ||
				letter.Reason != fmt.Sprintf("the document has %d bytes, and max_document is 59", len(document)) {
				t.Errorf("letter is %+v", letter)
			}
			if s := d.Status(); s.Documents != 3 || s.Refused != 3 {
				t.Errorf("status is %+v", s)
			}
		})
	}
}

// upperMapper is a mapping that was improved.
type upperMapper struct{ fakeMapper }

func (upperMapper) AppendSight(dst, record []byte, meta ecs.Meta, _ *ecs.Sight) []byte {
	return fmt.Appendf(dst, "%s %s %d %d", meta.Connection, strings.ToUpper(string(record)), meta.Created.Unix(), meta.Ingested.Unix())
}

// TestLetterIsMadeAnew of its record if that is to be had.
func TestLetterIsMadeAnew(t *testing.T) {
	t.Parallel()
	letter := pagelog.DeadLetter{Output: "archive", Feed: audit, Page: 2, Index: 1, Document: []byte("old"), Fetched: time.Unix(3, 0), Stored: time.Unix(4, 0), Seq: 1}
	for name, c := range map[string]struct {
		change  func(*pagelog.DeadLetter)
		trimmed bool
		raw     bool
		unknown bool
		want    string
	}{
		"the log has it":                       {want: `wiz-prod {"ID":"2-1"} 1 2`},
		"the log has it, raw":                  {raw: true, want: `{"id":"2-1"}`},
		"the log has it, and it is not mapped": {unknown: true, want: `refused: {"id":"2-1"}`},
		"only the document is left":            {trimmed: true, want: "old"},
		"only the document is left, raw":       {trimmed: true, raw: true, want: "old"},
		"only the record is left":              {trimmed: true, change: func(d *pagelog.DeadLetter) { d.Raw = true }, want: "wiz-prod OLD 3 4"},
		"only the record is left, raw":         {trimmed: true, raw: true, change: func(d *pagelog.DeadLetter) { d.Raw = true }, want: "old"},
		"no such record":                       {change: func(d *pagelog.DeadLetter) { d.Index = 7 }, want: "old"},
		"no such page":                         {change: func(d *pagelog.DeadLetter) { d.Page = 700 }, want: "old"},
		"it is too large, and all there is":    {trimmed: true, change: func(d *pagelog.DeadLetter) { d.Document = make([]byte, 101) }, want: "refused: " + string(make([]byte, 101))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLog(3, 2)
				l.pages[1].Page.Fetched, l.pages[1].Page.Stored = time.Unix(1, 0), time.Unix(2, 0)
				l.acked, l.next = 3, 3
				if c.trimmed {
					l.trimmed = 3
				}
				d := letter
				if c.change != nil {
					c.change(&d)
				}
				l.dead, l.deadSeq = []pagelog.DeadLetter{d}, 1
				running := start(t, l, &fakeOutput{}, func(o *Options) {
					o.Raw, o.MaxDocument = c.raw, 100
					o.Mapper = func(pagelog.Feed) (Mapper, error) {
						if c.unknown {
							return nil, errors.New("unknown")
						}
						return upperMapper{}, nil
					}
				})
				running.again(t, Replay{Dead: &pagelog.DeadFilter{Output: "archive", UpTo: 1}, Records: 1})
				got := strings.Join(running.out.got(), "|")
				if len(l.dead) > 0 {
					got += "refused: " + string(l.dead[0].Document)
				}
				if got != c.want {
					t.Errorf("offered %q, want %q", got, c.want)
				}
			})
		})
	}
}
