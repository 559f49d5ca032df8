package engine

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/fetch"
	"github.com/trawlsec/trawl/internal/pagelog"
)

// connection is one account with its client and its feeds.
type connection struct {
	name    string
	client  *fetch.Client
	feeds   []*collect.Feed
	sources []string                // of feeds, in the same order
	pulled  []bool                  // whether the API is asked for them, likewise
	damaged []*collect.DamagedError // feeds that could not be opened; only where nothing runs
	logger  *slog.Logger

	mu      sync.Mutex
	answers map[string]Answers // by source; "" for sign-ins
	changed chan struct{}      // closed and replaced when a person changed a feed that was not running
	holds   holding            // who reads the feeds
	kept    *pagelog.Lease     // where nothing runs: held since records were first pushed; nil: they were not
}

// holding tells who has the lease of a connection.
type holding int

const (
	nobody  holding = iota // for now: this process has not asked yet, or has given it back
	here                   // this process
	another                // another process
)

func (c *connection) setHolding(h holding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds = h
}

func (c *connection) holding() holding {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holds
}

// Answers count what an API answered, by class.
type Answers map[fetch.Class]int64

// total is the number of answers.
func (a Answers) total() int64 {
	var n int64
	for _, v := range a {
		n += v
	}
	return n
}

func (e *Engine) openConnection(ctx context.Context, cfg *config.Connection) (*connection, error) {
	c := &connection{name: cfg.Name, logger: e.opts.Logger.With("connection", cfg.Name), answers: map[string]Answers{}, changed: make(chan struct{})}
	if !e.opts.Offline {
		client, err := NewClient(cfg, fetch.Options{
			Logger: e.opts.Logger, UserAgent: e.opts.UserAgent, Vault: newVault(e.log, cfg.Name), OnAnswer: c.count, OnRetry: c.retrying,
		})
		if err != nil {
			return nil, err
		}
		c.client = client
	}
	for i := range cfg.Feeds {
		feed := &cfg.Feeds[i]
		mapper, err := ecs.Compile(feed.Source)
		if err != nil {
			return nil, fmt.Errorf("compile mapping of %s: %w", feed.Source.FullName(), err)
		}
		f, err := collect.Open(ctx, collect.Options{
			Feed:     pagelog.Feed{Connection: cfg.Name, Source: feed.Source.ID},
			Source:   feed.Source,
			Fetcher:  c.client,
			Log:      e.log,
			Keyer:    mapper,
			Start:    feed.Start.At,
			Interval: feed.Interval,
			Overlap:  feed.Overlap,
			Revisit:  feed.Revisit,
			Snapshot: feed.Snapshot,
			PageSize: feed.PageSize,
			MaxAge:   e.cfg.Log.MaxAge,
			Filter:   feed.Filter,
			Settings: settings(feed),
			Logger:   e.opts.Logger,
			OnChange: c.noteChange,
		})
		var damaged *collect.DamagedError
		if e.opts.Offline && errors.As(err, &damaged) {
			c.damaged = append(c.damaged, damaged)
			continue
		}
		if err != nil {
			return nil, err
		}
		c.feeds = append(c.feeds, f)
		c.sources = append(c.sources, feed.Source.ID)
		c.pulled = append(c.pulled, feed.Pull)
		if !feed.Pull {
			f.Receiving()
		}
	}
	return c, nil
}

// pulls tells whether the API is asked for a feed.
func (c *connection) pulls(f *collect.Feed) bool { return c.pulled[slices.Index(c.feeds, f)] }

// errNotPulled refuses what can be done only with a feed that is read.
var errNotPulled = errors.New("the API is not asked for this feed (pull: false); it takes what the product sends, which only the product can stop or send again")

// settings are those that decide what a feed reads, in a form that can be
// compared with that of an earlier run.
func settings(feed *config.Feed) collect.Settings {
	s := collect.Settings{Start: feed.Start.String(), Request: digest(feed.Source.Request)}
	if len(feed.Filter) > 0 {
		s.Filter = digest(feed.Filter)
	}
	if stream := feed.Source.Stream; stream != nil {
		s.Stream = digest([]any{stream.Request, stream.Start})
	}
	return s
}

// digest is the same for values with the same JSON.
func digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error() // the same each time, too
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))[:16]
}

// NewClient makes the client of a configured connection. What o leaves open is
// taken from the configuration.
func NewClient(cfg *config.Connection, o fetch.Options) (*fetch.Client, error) {
	o.Name, o.Product, o.Settings, o.Rate = cfg.Name, cfg.Product, cfg.Settings, cfg.Rate
	o.HTTP = fetch.HTTPOptions{ProxyURL: cfg.HTTP.ProxyURL.Reveal(), CAFile: cfg.HTTP.CAFile, Timeout: cfg.HTTP.Timeout, MaxBody: cfg.HTTP.MaxBody}
	client, err := fetch.New(o)
	if err != nil {
		return nil, fmt.Errorf("set up connection %s: %w", cfg.Name, err)
	}
	return client, nil
}

func (c *connection) close() {
	if c.kept != nil {
		c.release(context.Background(), c.kept)
	}
	if c.client != nil {
		c.client.Close()
	}
}

// count is called by the client for every answer.
func (c *connection) count(source string, class fetch.Class) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers[source] == nil {
		c.answers[source] = Answers{}
	}
	c.answers[source][class]++
}

// retrying is called by the client before it waits for another try of a
// source's request, or of a sign-in.
func (c *connection) retrying(source string, attempt int, wait time.Duration, e *fetch.Error) {
	for i, f := range c.feeds {
		if source == "" || c.sources[i] == source {
			f.Trying(attempt, wait, e)
		}
	}
}

// counted are the answers of a source so far, or of all with sign-ins.
func (c *connection) counted(source string, all bool) Answers {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := Answers{}
	for s, answers := range c.answers {
		if all || s == source {
			for class, n := range answers {
				sum[class] += n
			}
		}
	}
	return sum
}

// person is a channel that is closed when a person next changes a feed that is
// not running.
func (c *connection) person() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// noteChange tells feeds that have stopped that a person changed something.
func (c *connection) noteChange() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

// run reads the connection's feeds until ctx ends. Where several processes
// share a log, one of them at a time holds the connection.
func (c *connection) run(ctx context.Context, e *Engine, giveUp context.CancelCauseFunc) {
	waited := false
	for ctx.Err() == nil {
		lease, err := e.log.Lease(ctx, c.leaseName(), e.opts.timing.lease)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return
		case errors.Is(err, pagelog.ErrHeld):
			if !waited {
				c.logger.Info("another trawl collects this connection; waiting for it to end")
			}
			c.setHolding(another)
			for _, f := range c.feeds {
				f.Standby()
			}
		default:
			c.logger.Warn("connection waits for its lease", "error", err)
		}
		if err == nil && waited { // whoever had it may have moved the feeds
			err = c.reload(ctx)
			if err != nil {
				c.logger.Warn("feeds not read from the log", "error", err)
				c.release(ctx, lease)
			}
		}
		waited = true
		if err != nil {
			wait(ctx, e.opts.timing.lease/3, nil)
			continue
		}
		c.hold(ctx, lease, e.opts.timing.retry, giveUp)
	}
}

// reload brings the feeds to where another process left them.
func (c *connection) reload(ctx context.Context) error {
	for _, f := range c.feeds {
		if err := f.Reload(ctx); err != nil {
			return err
		}
	}
	return nil
}

// hold runs the feeds for as long as ctx and the lease last.
func (c *connection) hold(ctx context.Context, lease *pagelog.Lease, retry time.Duration, giveUp context.CancelCauseFunc) {
	held, cancel := whileHeld(ctx, lease)
	defer cancel()
	c.setHolding(here)
	c.runFeeds(held, retry, giveUp)
	c.setHolding(nobody)
	if ctx.Err() == nil {
		c.logger.Warn("connection's lease was lost")
	}
	c.release(ctx, lease)
}

// whileHeld gives a context that ends with ctx, with the lease, or when cancel
// is called.
func whileHeld(ctx context.Context, lease *pagelog.Lease) (held context.Context, cancel context.CancelFunc) {
	held, cancel = context.WithCancel(ctx)
	go func() {
		select {
		case <-lease.Lost():
			cancel()
		case <-held.Done():
		}
	}()
	return held, cancel
}

// release gives the lease back, so that another process need not wait until it
// has run out.
func (c *connection) release(ctx context.Context, lease *pagelog.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseLimit)
	defer cancel()
	if err := lease.Release(ctx); err != nil {
		c.logger.Warn("lease not released", "error", err)
	}
}

func (c *connection) leaseName() string { return "connection/" + c.name }

// once brings the connection's feeds to the present.
func (c *connection) once(ctx context.Context, e *Engine) error {
	lease, err := c.claim(ctx, e)
	if ctx.Err() != nil && err != nil {
		return nil // what ended ctx is told elsewhere
	}
	if err != nil {
		return err
	}
	held, cancel := whileHeld(ctx, lease)
	defer cancel()
	c.setHolding(here)
	errs := make([]error, len(c.feeds))
	var wg sync.WaitGroup
	for i, f := range c.feeds {
		if c.pulled[i] {
			wg.Go(func() { errs[i] = f.Once(held) })
		}
	}
	wg.Wait()
	c.setHolding(nobody)
	lost := held.Err() != nil && ctx.Err() == nil
	c.release(ctx, lease)
	refused := false
	for i, err := range errs {
		switch {
		case errors.Is(err, context.Canceled):
			errs[i] = nil // likewise
		case isClass(err, fetch.Auth) && refused:
			errs[i] = nil // one credential, one message
		case isClass(err, fetch.Auth):
			refused = true
		}
	}
	if lost {
		errs = append(errs, fmt.Errorf("connection %s: another trawl has taken it over", c.name))
	}
	return errors.Join(errs...)
}

// claim gets the connection's lease for Once. It waits for as long as a
// process that died may still seem to hold it.
func (c *connection) claim(ctx context.Context, e *Engine) (*pagelog.Lease, error) {
	ttl := e.opts.timing.lease
	deadline := time.Now().Add(ttl + ttl/6)
	for waited := false; ; waited = true {
		lease, err := e.log.Lease(ctx, c.leaseName(), ttl)
		switch {
		case err == nil && waited:
			if err := c.reload(ctx); err != nil {
				c.release(ctx, lease)
				return nil, err
			}
			return lease, nil
		case err == nil:
			return lease, nil
		case !errors.Is(err, pagelog.ErrHeld):
			return nil, fmt.Errorf("connection %s: %w", c.name, err)
		case time.Now().After(deadline):
			return nil, fmt.Errorf("connection %s: another trawl collects it: %w", c.name, err)
		case !waited:
			c.logger.Info("another trawl collects this connection; waiting for it to end")
		}
		wait(ctx, ttl/30, nil)
	}
}

// runFeeds runs all feeds until ctx ends. A credential that is refused stops
// them all; they are tried again together after a while, in case it was
// mended. A feed that stopped for another reason is tried again by itself, or
// when a person changed something: a scope may be granted meanwhile, or what
// stands between here and the API be mended. When the log takes no more writes
// nobody can go on: giveUp ends them all.
func (c *connection) runFeeds(ctx context.Context, retry time.Duration, giveUp context.CancelCauseFunc) {
	together := patience{most: retry}
	for ctx.Err() == nil {
		began := time.Now()
		round, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		var refused atomic.Bool
		person := c.person()
		for i, f := range c.feeds {
			if !c.pulled[i] {
				f.Receiving()
				wg.Go(func() { <-round.Done() })
				continue
			}
			wg.Go(func() {
				alone := patience{most: retry}
				for round.Err() == nil {
					person, began := c.person(), time.Now()
					err := f.Run(round)
					switch {
					case err == nil:
					case errors.Is(err, pagelog.ErrBroken):
						giveUp(err)
						return
					case isClass(err, fetch.Auth):
						refused.Store(true)
						cancel()
					default:
						wait(round, alone.next(time.Since(began)), person)
					}
				}
			})
		}
		wg.Wait()
		cancel()
		if refused.Load() && ctx.Err() == nil {
			for i, f := range c.feeds {
				if c.pulled[i] {
					f.Refused()
				}
			}
			again := together.next(time.Since(began))
			c.logger.Error("connection stopped: its credential was refused", "next_try_in", again)
			wait(ctx, again, person)
		}
	}
}

// patience is how long to wait with what was refused: a sixteenth of the most at
// first, since it may have been a mishap, and twice as long each time.
type patience struct {
	most     time.Duration
	refusals int
}

// next is the wait after a refusal of what had gone on for so long before.
func (p *patience) next(went time.Duration) time.Duration {
	if went > p.most {
		p.refusals = 0
	}
	wait := p.most >> max(4-p.refusals, 0)
	p.refusals++
	return wait
}

func isClass(err error, class fetch.Class) bool {
	var answer *fetch.Error
	return errors.As(err, &answer) && answer.Class == class
}

// wait waits for d, at most until ctx ends or early is closed.
func wait(ctx context.Context, d time.Duration, early <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-early:
	case <-timer.C:
	}
}
