package main

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/engine"
)

// progress tells how a long piece of work goes: a line that is written over on
// a terminal, a line now and then elsewhere.
type progress struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

const (
	progressOnTerminal = 200 * time.Millisecond
	progressElsewhere  = 10 * time.Second
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
				if width > 0 {
					fmt.Fprint(a.stderr, "\r\x1b[K")
				}
				return
			case <-ticker.C:
			}
			s, err := e.Status(ctx)
			if err != nil {
				continue
			}
			line := progressLine(s, time.Since(began))
			if width > 0 {
				fmt.Fprint(a.stderr, "\r"+cut(line, width-1)+"\x1b[K")
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

// progressLine is how the whole stands.
func progressLine(s engine.Status, since time.Duration) string {
	var records, delivered int64
	pending, ready := 0, 0
	for _, f := range s.Feeds {
		records += f.Counts.Records
		if f.Slices == 0 && !f.LastSuccess.IsZero() {
			ready++
		}
	}
	for _, o := range s.Outputs {
		delivered += o.Documents
		pending = max(pending, o.PendingPages)
	}
	return fmt.Sprintf("%d of %d feeds read   %d records   %d delivered (%.0f/s)   %d pages pending   %s",
		ready, len(s.Feeds), records, delivered, float64(delivered)/since.Seconds(), pending, since.Round(time.Second))
}
