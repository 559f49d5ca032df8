package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/output"
	"github.com/trawlsec/trawl/internal/pagelog"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want are the documents of pages from..to with the given number of records.
func want(from, to, records int) (all []string) {
	for seq := from; seq <= to; seq++ {
		for _, r := range page(seq, records) {
			all = append(all, "wiz-prod "+string(r))
		}
	}
	return all
}

func TestDelivers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := start(t, newLog(150, 3), &fakeOutput{})
		must(t, d.Drain(t.Context(), 150))
		d.log.append(audit, page(151, 3)...)
		must(t, d.Drain(t.Context(), 151))
		if diff := cmp.Diff(want(1, 151, 3), d.out.got()); diff != "" {
			t.Errorf("documents differ (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]int{64 * 3, 64 * 3, 22 * 3, 3}, d.out.batches); diff != "" {
			t.Errorf("batches differ (-want +got):\n%s", diff)
		}
		got := d.Status()
		if got.LastSuccess.IsZero() || got.Since.IsZero() {
			t.Errorf("times are not set: %+v", got)
		}
		got.LastSuccess, got.Since = time.Time{}, time.Time{}
		if diff := cmp.Diff(Status{Output: "archive", State: StateOK, Documents: 453, Pages: 151, LastPage: 151}, got); diff != "" {
			t.Errorf("status differs (-want +got):\n%s", diff)
		}
		must(t, d.stop())
		if s := d.Status(); s.State != StateStopped || !d.out.closed {
			t.Errorf("after stopping: state %s, output closed: %v", s.State, d.out.closed)
		}
		if err := d.Run(t.Context()); err == nil {
			t.Error("ran a second time")
		}
	})
}

func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(0, 0)
		record := []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
		for range 10 {
			l.append(audit, record)
		}
		d := start(t, l, &fakeOutput{})
		must(t, d.Drain(t.Context(), 10))
		if diff := cmp.Diff([]int{4, 4, 2}, d.out.batches); diff != "" {
			t.Errorf("batches differ (-want +got):\n%s", diff)
		}
	})
}

func TestSkipsWhatTheOutputHas(t *testing.T) {
	t.Parallel()
	for last := range uint64(6) {
		synctest.Test(t, func(t *testing.T) {
			d := start(t, newLog(5, 2), &fakeOutput{place: output.Place{Last: last}})
			must(t, d.Drain(t.Context(), 5))
			if diff := cmp.Diff(want(int(last)+1, 5, 2), d.out.got()); diff != "" {
				t.Errorf("after page %d: documents differ (-want +got):\n%s", last, diff)
			}
		})
	}
}

func TestOutputBehindTheLog(t *testing.T) {
	t.Parallel()
	l := newLog(5, 1)
	l.acked = 4
	d := start(t, l, &fakeOutput{place: output.Place{Last: 3}})
	err := d.Drain(t.Context(), 5)
	var behind *BehindError
	if !errors.As(err, &behind) || behind.Last != 3 || behind.Acked != 4 {
		t.Errorf("error is %v", err)
	}
	if s := d.Status(); s.State != StateFailed {
		t.Errorf("state is %s", s.State)
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	down := errors.New("the output is down")
	for _, what := range []string{"open", "write", "next", "ack", "pending"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var tries []time.Duration // when
				begin := time.Now()
				fail := func() error {
					if since := time.Since(begin); since < 5*time.Minute {
						tries = append(tries, since)
						return down
					}
					return nil
				}
				l, out := newLog(3, 2), &fakeOutput{}
				switch what {
				case "open":
					out.open = fail
				case "write":
					out.write = func(context.Context, output.Batch) error { return fail() }
				default:
					l.fail = func(call string) error {
						if call != what {
							return nil
						}
						return fail()
					}
				}
				d := start(t, l, out)
				time.Sleep(time.Minute)
				if s := d.Status(); s.State != StateRetrying || !strings.Contains(s.Reason, down.Error()) || s.Documents != 0 {
					t.Errorf("status after a minute is %+v", s)
				}
				time.Sleep(10 * time.Minute)
				if s := d.Status(); s.State != StateOK || s.Reason != "" || s.Documents != 6 {
					t.Errorf("status after eleven minutes is %+v", s)
				}
				if diff := cmp.Diff(want(1, 3, 2), out.got()); diff != "" {
					t.Errorf("documents differ (-want +got):\n%s", diff)
				}
				for i, pause := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second} {
					if got := tries[i+1] - tries[i]; got != pause {
						t.Errorf("pause %d is %s, want %s", i+1, got, pause)
					}
				}
				if got := tries[len(tries)-1] - tries[len(tries)-2]; got != maxBackoff {
					t.Errorf("last pause is %s", got)
				}
			})
		})
	}
}

func TestPermanentErrors(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"output":       &output.PermanentError{Output: "archive", Err: errors.New("closed")},
		"damaged log":  &pagelog.DamagedError{Path: "/log", Problem: "x"},
		"log closed":   fmt.Errorf("ack: %w", pagelog.ErrClosed),
		"second owner": fmt.Errorf("ack: %w", pagelog.ErrConflict),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				out := &fakeOutput{write: func(context.Context, output.Batch) error { return err }}
				began := time.Now()
				d := start(t, newLog(1, 1), out)
				if got := d.Drain(t.Context(), 1); !errors.Is(got, err) {
					t.Errorf("Drain: %v", got)
				}
				if took := time.Since(began); took > linger {
					t.Errorf("Run took %s to end", took)
				}
				if s := d.Status(); s.State != StateFailed || s.Reason != err.Error() {
					t.Errorf("status is %+v", s)
				}
				if got := d.stop(); !errors.Is(got, err) {
					t.Errorf("Run: %v", got)
				}
				if !out.closed {
					t.Error("output not closed")
				}
			})
		})
	}
}

func TestRefusedDocuments(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(0, 0)
		l.append(audit, page(1, 2)...)
		l.append(audit)
		l.append(audit, page(3, 3)...)
		l.append(pagelog.Feed{Connection: "gone", Source: "audit"}, page(4, 1)...)
		fails := 3
		l.fail = func(call string) error {
			if call == "dead" && fails > 0 {
				fails--
				return errors.New("full")
			}
			return nil
		}
		out := &fakeOutput{write: func(_ context.Context, b output.Batch) error {
			return &output.RefusedError{Refusals: []output.Refusal{{Index: 1, Reason: "too long"}, {Index: 2, Reason: "too old"}, {Index: 4, Reason: "too odd"}}}
		}}
		d := start(t, l, out)
		must(t, d.Drain(t.Context(), 4))
		must(t, d.stop())
		// None is acknowledged before all are kept, and none that is known to be
		// one is kept only after the rest is written.
		if diff := cmp.Diff([]string{"dead 4/0", "dead 1/1", "dead 3/0", "dead 3/2", "ack 4"}, l.calls); diff != "" {
			t.Errorf("calls differ (-want +got):\n%s", diff)
		}
		letter := l.dead[3]
		if letter.Time.IsZero() {
			t.Error("letter without a time")
		}
		letter.Time, letter.Seq, letter.Tries = time.Time{}, 0, 0
		if diff := cmp.Diff(pagelog.DeadLetter{
			Output: "archive", Feed: audit, Page: 3, Index: 2, UID: "000000000000000c0000000000000000", Reason: "too odd",
			Document: []byte(`wiz-prod {"id":"3-2"}`),
		}, letter); diff != "" {
			t.Errorf("letter differs (-want +got):\n%s", diff)
		}
		if first := l.dead[0]; first.Reason != "feed gone/audit is not configured" || string(first.Document) != `{"id":"4-0"}` {
			t.Errorf("letter of the unknown feed: %+v", first)
		}
		if s := d.Status(); s.Documents != 2 || s.Refused != 4 {
			t.Errorf("status is %+v", s)
		}
	})
}

func TestRaw(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(0, 0)
		l.append(audit, []byte(`{"a" : 1.00, "a": "\n"}`), []byte("{\n  \"b\" : [ 1.0,\r\n2e3, \"a  b\" ]\n}"), []byte("{not\nJSON"))
		d := start(t, l, &fakeOutput{}, func(o *Options) { o.Raw, o.Mapper = true, nil })
		must(t, d.Drain(t.Context(), 1))
		if diff := cmp.Diff([]string{`{"a" : 1.00, "a": "\n"}`, `{"b":[1.0,2e3,"a  b"]}`, `{not JSON`}, d.out.got()); diff != "" {
			t.Errorf("documents differ (-want +got):\n%s", diff)
		}
	})
}

// TestStop is about the moment of stopping: what is being written and what is
// read already is delivered; what fails, or hangs, is left for the next start.
func TestStop(t *testing.T) {
	t.Parallel()
	t.Run("while writing", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			out := &fakeOutput{write: func(context.Context, output.Batch) error {
				time.Sleep(2 * time.Second)
				return nil
			}}
			l := newLog(100, 1)
			d := start(t, l, out)
			time.Sleep(time.Second)
			began := time.Now()
			must(t, d.stop())
			if took := time.Since(began); took != 3*time.Second {
				t.Errorf("stopping took %s", took)
			}
			if got := l.done(); got != 100 || len(out.got()) != 100 {
				t.Errorf("acknowledged up to %d, delivered %d", got, len(out.got()))
			}
		})
	})
	t.Run("while the log never ends", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := newLog(100_000, 0)
			out := &fakeOutput{write: func(context.Context, output.Batch) error {
				time.Sleep(time.Second)
				return nil
			}}
			d := start(t, l, out)
			time.Sleep(10*time.Second + 1)
			must(t, d.stop())
			if got := l.done(); got == 0 || got > 20*batchPages {
				t.Errorf("acknowledged up to %d", got)
			}
		})
	})
	t.Run("while the output hangs", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			out := &fakeOutput{write: func(ctx context.Context, _ output.Batch) error {
				<-ctx.Done()
				return ctx.Err()
			}}
			l := newLog(200, 1)
			d := start(t, l, out)
			synctest.Wait()
			began := time.Now()
			must(t, d.stop())
			if took := time.Since(began); took != defaultStopLimit {
				t.Errorf("stopping took %s", took)
			}
			if got := l.done(); got != 0 {
				t.Errorf("acknowledged up to %d", got)
			}
			if s := d.Status(); s.State != StateStopped {
				t.Errorf("state is %s", s.State)
			}
		})
	})
	t.Run("while retrying", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			out := &fakeOutput{write: func(context.Context, output.Batch) error { return errors.New("down") }}
			l := newLog(200, 1)
			d := start(t, l, out)
			time.Sleep(time.Hour)
			began := time.Now()
			must(t, d.stop())
			if took := time.Since(began); took != 0 {
				t.Errorf("stopping took %s", took)
			}
			if got := l.done(); got != 0 {
				t.Errorf("acknowledged up to %d", got)
			}
			if err := d.Drain(t.Context(), 1); err == nil {
				t.Error("drained")
			}
		})
	})
	t.Run("before opening", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			d := start(t, newLog(1, 1), &fakeOutput{open: func() error { return errors.New("down") }})
			synctest.Wait()
			must(t, d.stop())
		})
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	t.Run("gives up on a failing output", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			d := start(t, newLog(3, 1), &fakeOutput{write: func(context.Context, output.Batch) error { return errors.New("down") }})
			began := time.Now()
			err := d.Drain(t.Context(), 3)
			if err == nil || !strings.Contains(err.Error(), "down") {
				t.Errorf("error is %v", err)
			}
			if took := time.Since(began); took < defaultPatience || took > defaultPatience+linger {
				t.Errorf("gave up after %s", took)
			}
		})
	})
	t.Run("up to where there is no page", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			d := start(t, newLog(3, 1), &fakeOutput{})
			must(t, d.Drain(t.Context(), 10))
			if len(d.out.got()) != 3 {
				t.Errorf("delivered %d documents", len(d.out.got()))
			}
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			d := start(t, newLog(1, 1), &fakeOutput{write: func(ctx context.Context, _ output.Batch) error {
				<-ctx.Done()
				return ctx.Err()
			}})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := d.Drain(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error is %v", err)
			}
		})
	})
}

// keepingOutput counts how often it may keep house.
type keepingOutput struct {
	fakeOutput
	kept atomic.Int64
	err  error
}

func (o *keepingOutput) Keep(context.Context) error {
	o.kept.Add(1)
	return o.err
}

func TestKeep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &keepingOutput{err: errors.New("no space")}
		d := start(t, newLog(1, 1), &out.fakeOutput, func(o *Options) { o.Output = out })
		time.Sleep(time.Minute)
		if n := out.kept.Load(); n < 10 || n > 12 {
			t.Errorf("kept house %d times in a minute", n)
		}
		if s := d.Status(); s.State != StateRetrying || s.Reason != "no space" {
			t.Errorf("status is %+v", s)
		}
		d.log.append(audit, page(2, 1)...)
		time.Sleep(linger + 1)
		if s := d.Status(); s.State != StateOK || s.Documents != 2 {
			t.Errorf("status is %+v", s)
		}
	})
}

// TestDeadOutputStopsNoOther is promise 4.
func TestDeadOutputStopsNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		back := make(chan struct{})
		broken := start(t, newLog(500, 2), &fakeOutput{write: func(context.Context, output.Batch) error {
			select {
			case <-back:
				return nil
			default:
				return errors.New("down")
			}
		}})
		other := start(t, newLog(500, 2), &fakeOutput{})
		began := time.Now()
		must(t, other.Drain(t.Context(), 500))
		if took := time.Since(began); took > time.Second {
			t.Errorf("the other took %s", took)
		}
		time.Sleep(time.Hour)
		close(back)
		must(t, broken.Drain(t.Context(), 500))
		if !slices.Equal(broken.out.got(), other.out.got()) {
			t.Error("the outputs differ")
		}
	})
}
