package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	sources []string // of feeds, in the same order
	logger  *slog.Logger

	mu      sync.Mutex
	answers map[string]Answers // by source; "" for sign-ins
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
	c := &connection{name: cfg.Name, logger: e.opts.Logger.With("connection", cfg.Name), answers: map[string]Answers{}}
	if !e.opts.Offline {
		client, err := NewClient(cfg, e.opts.Logger, e.opts.UserAgent, c.count)
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
			PageSize: feed.PageSize,
			Filter:   feed.Filter,
			Logger:   e.opts.Logger,
		})
		if err != nil {
			return nil, err
		}
		c.feeds = append(c.feeds, f)
		c.sources = append(c.sources, feed.Source.ID)
	}
	return c, nil
}

// NewClient makes the client of a configured connection.
func NewClient(cfg *config.Connection, logger *slog.Logger, userAgent string, onAnswer func(source string, class fetch.Class)) (*fetch.Client, error) {
	client, err := fetch.New(fetch.Options{
		Name:      cfg.Name,
		Product:   cfg.Product,
		Settings:  cfg.Settings,
		Rate:      cfg.Rate,
		HTTP:      fetch.HTTPOptions{ProxyURL: cfg.HTTP.ProxyURL.Reveal(), CAFile: cfg.HTTP.CAFile, Timeout: cfg.HTTP.Timeout, MaxBody: cfg.HTTP.MaxBody},
		Logger:    logger,
		OnAnswer:  onAnswer,
		UserAgent: userAgent,
	})
	if err != nil {
		return nil, fmt.Errorf("set up connection %s: %w", cfg.Name, err)
	}
	return client, nil
}

func (c *connection) close() {
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

// run reads the connection's feeds until ctx ends. Where several processes
// share a log, one of them at a time holds the connection.
func (c *connection) run(ctx context.Context, e *Engine) {
	for ctx.Err() == nil {
		lease, err := e.log.Lease(ctx, "connection/"+c.name, leaseTTL)
		if err != nil {
			if !errors.Is(err, pagelog.ErrHeld) && ctx.Err() == nil {
				c.logger.Warn("lease not acquired", "error", err)
			}
			wait(ctx, leaseTTL/3)
			continue
		}
		held, cancel := context.WithCancel(ctx)
		go func() {
			select {
			case <-lease.Lost():
				cancel()
			case <-held.Done():
			}
		}()
		c.runFeeds(held)
		cancel()
		if err := lease.Release(context.WithoutCancel(ctx)); err != nil {
			c.logger.Warn("lease not released", "error", err)
		}
	}
}

// runFeeds runs all feeds. A credential that is refused stops them all: they
// are tried again together after a while, in case it was mended.
func (c *connection) runFeeds(ctx context.Context) {
	for ctx.Err() == nil {
		round, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		var refused atomic.Bool
		for _, f := range c.feeds {
			wg.Go(func() {
				for round.Err() == nil {
					err := f.Run(round)
					var answer *fetch.Error
					switch {
					case err == nil:
					case errors.As(err, &answer) && answer.Class == fetch.Auth:
						refused.Store(true)
						cancel()
					case errors.As(err, &answer) && answer.Class == fetch.Forbidden:
						wait(round, authRetry) // a scope may be granted meanwhile
					default:
						<-round.Done() // a person has to change something: until the next start
					}
				}
			})
		}
		wg.Wait()
		cancel()
		if refused.Load() {
			for _, f := range c.feeds {
				f.Refused()
			}
			c.logger.Error("connection stopped: its credential was refused", "next_try_in", authRetry)
			wait(ctx, authRetry)
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
