package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/console"
	"github.com/trawlsec/trawl/internal/engine"
)

// liveLine is the stream for people with, on a terminal, a line at its end that is
// written over. What others write in the meantime, log lines above all, goes
// before it. Any goroutine may write.
type liveLine struct {
	w io.Writer

	mu   sync.Mutex
	text string // "": there is none
}

func (l *liveLine) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text == "" {
		return l.w.Write(b)
	}
	if _, err := fmt.Fprintf(l.w, "\r\x1b[K%s%s", b, l.text); err != nil {
		return 0, err
	}
	return len(b), nil
}

// show puts a line in place of the one before.
func (l *liveLine) show(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = cut(text, max(terminal(l.w)-1, 0))
	fmt.Fprint(l.w, "\r"+l.text+"\x1b[K")
}

// end leaves the line as it stands, or takes it away.
func (l *liveLine) end(keep bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.text == "":
	case keep:
		fmt.Fprintln(l.w)
	default:
		fmt.Fprint(l.w, "\r\x1b[K")
	}
	l.text = ""
}

// progress tells how a long piece of work goes: a line that is written over on
// a terminal, a line now and then elsewhere.
type progress struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

const (
	progressOnTerminal = 200 * time.Millisecond
	progressElsewhere  = 10 * time.Second
	mostTrouble        = 200 // characters about a feed
)

func (a *app) startProgress(e *engine.Engine) *progress {
	ctx, cancel := context.WithCancel(context.Background())
	p := &progress{cancel: cancel}
	if a.quiet {
		return p
	}
	width := terminal(a.stderr)
	every := cmp.Or(a.progressEvery, progressElsewhere)
	if width > 0 {
		every = progressOnTerminal
	}
	began := time.Now()
	p.done.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				a.stderr.end(false)
				return
			case <-ticker.C:
			}
			s, err := e.Status(ctx)
			if err != nil {
				continue
			}
			line := progressLine(s, time.Since(began))
			if width > 0 {
				a.stderr.show(line)
			} else {
				fmt.Fprintln(a.stderr, line)
			}
		}
	})
	return p
}

// stop ends the telling and clears the line.
func (p *progress) stop() {
	p.cancel()
	p.done.Wait()
}

// progressLine is how the whole stands, and the first feed that is not well.
func progressLine(s engine.Status, since time.Duration) string {
	var records, delivered int64
	pending, ready := 0, 0
	trouble := ""
	for _, f := range s.Feeds {
		if trouble == "" && !f.Healthy() {
			trouble = fmt.Sprintf("   %s/%s %s: %s", f.Connection, f.Source, f.State, f.Reason)
		}
		records += f.Counts.Records
		if f.Slices == 0 && !f.LastSuccess.IsZero() {
			ready++
		}
	}
	for _, o := range s.Outputs {
		delivered += o.Documents
		pending = max(pending, o.PendingPages)
	}
	return fmt.Sprintf("%d of %d feeds read   %d records   %d delivered (%.0f/s)   %d pages pending   %s%s",
		ready, len(s.Feeds), records, delivered, float64(delivered)/since.Seconds(), pending, since.Round(time.Second), cut(trouble, mostTrouble))
}

// watch shows how a piece of work goes: what look makes of each status, until
// that says that it is over. since is for how long it has been watched, width
// that of the terminal, 0 where there is none. done, when it is not nil, gives
// the end of work that is done in this process, and is what ends it then.
// interrupted says that ctx ended first.
func (a *app) watch(ctx context.Context, e console.Engine, done <-chan error, look func(s engine.Status, since time.Duration, width int) (line string, over bool, err error)) (interrupted bool, err error) {
	width := terminal(a.stderr)
	every := progressElsewhere
	if width > 0 || done == nil {
		every = progressOnTerminal
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	began, told := time.Now(), time.Now()
	for ended := false; !ended; {
		select {
		case err = <-done:
			ended = true
		case <-ctx.Done():
			if done != nil {
				if err = <-done; errors.Is(err, context.Canceled) {
					err = nil // which is what interrupted says
				}
			}
			a.stderr.end(true)
			return true, err
		case <-ticker.C:
		}
		s, lookErr := e.Status(context.WithoutCancel(ctx))
		if lookErr != nil {
			if done == nil {
				a.stderr.end(true)
				return false, lookErr
			}
			continue
		}
		line, over, workErr := look(s, time.Since(began), width)
		if done == nil && over {
			ended, err = true, workErr
		}
		switch {
		case a.quiet || line == "":
		case width > 0:
			a.stderr.show(line)
		case ended || time.Since(told) >= progressElsewhere:
			told = time.Now()
			fmt.Fprintln(a.stderr, line)
		}
	}
	a.stderr.end(true)
	return false, err
}

// progressBar is a bar, where the terminal is wide enough for one.
func progressBar(done float64, width int) string {
	if width < 80 {
		return ""
	}
	const cells = 20
	full := int(done * cells)
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", cells-full) + "] "
}

// timeLeft is an estimate of when work will be done of which so much was done
// when it was first looked at, so long ago.
func timeLeft(done, first float64, since time.Duration) string {
	switch moved := done - first; {
	case done >= 1:
		return "  done in " + short(since)
	case moved > 0.001:
		return "  about " + short(time.Duration(float64(since)*(1-done)/moved)) + " left"
	}
	return ""
}
