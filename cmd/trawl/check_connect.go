package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/console"
	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/engine"
	"github.com/trawlsec/trawl/internal/fetch"
)

// connectResult is what `check --connect` found of a feed.
type connectResult struct {
	Feed     string    `json:"feed"`
	OK       bool      `json:"ok"`
	Endpoint string    `json:"endpoint,omitempty"`
	Records  *int      `json:"records,omitempty"` // in the window that was asked for, if the API says
	Newest   time.Time `json:"record,omitzero"`   // time of the record that was read
	Problem  string    `json:"problem,omitempty"`
	Advice   string    `json:"advice,omitempty"`

	of string // what the problem is of: the feed, or its whole connection
}

// connectWindow is how far back records are asked for: long enough that a quiet
// tenant has some.
const connectWindow = 30 * 24 * time.Hour

// connectStream is how far back a stream is asked for that begins at a time.
const connectStream = time.Hour

// A person waits for the answers, so there are few tries and no long ones.
const (
	connectTries   = 2
	connectTimeout = 10 * time.Second // of a request
	connectLimit   = 30 * time.Second // of a feed
)

// checkConnect signs in to every connection and reads a little of each feed. It
// reports whether all went well.
func (a *app) checkConnect(ctx context.Context, cfg *config.Config) ([]connectResult, bool) {
	var results []connectResult
	ok := true
	kept := keptTokens{cfg: cfg}
	defer kept.close()
	for i := range cfg.Connections {
		for _, r := range a.checkConnection(ctx, cfg.Connections[i], &kept) {
			ok = ok && r.OK
			results = append(results, r)
		}
	}
	return results, ok
}

func (a *app) checkConnection(ctx context.Context, c config.Connection, kept *keptTokens) []connectResult {
	tell := func(format string, args ...any) {
		if !a.quiet {
			fmt.Fprintf(a.stderr, format+"\n", args...)
		}
	}
	c.Feeds = slices.DeleteFunc(slices.Clone(c.Feeds), func(f config.Feed) bool { return !f.Pull })
	if len(c.Feeds) == 0 {
		return nil // nobody is asked
	}
	results := make([]connectResult, len(c.Feeds))
	for i, f := range c.Feeds {
		results[i].Feed, results[i].of = f.Name(), f.Name()
	}
	tell("%s: signing in", c.Name)
	c.HTTP.Timeout = min(c.HTTP.Timeout, connectTimeout)
	var client *fetch.Client
	vault, err := kept.of(ctx, &c)
	if err == nil {
		client, err = engine.NewClient(&c, fetch.Options{Logger: slog.New(slog.DiscardHandler), UserAgent: userAgent(), Tries: connectTries, Vault: vault})
	}
	var endpoint string
	if err == nil {
		defer client.Close()
		if err = client.SignIn(ctx); err == nil {
			endpoint, err = client.Endpoint(ctx)
		}
	}
	for i := range c.Feeds {
		r := &results[i]
		r.Endpoint = endpoint
		if err != nil {
			r.of = c.Name
			r.fail(err)
			continue
		}
		tell("%s: reading", r.Feed)
		r.OK = true
		err := readSome(ctx, client, &c.Feeds[i], r)
		if err == nil {
			err = readStream(ctx, client, &c.Feeds[i])
		}
		if err != nil {
			r.fail(err)
		}
	}
	return results
}

func (r *connectResult) fail(err error) {
	r.OK, r.Problem = false, err.Error()
	var answer *fetch.Error
	var catalogue *catalogueError
	switch {
	case errors.Is(err, errRunning):
		r.Advice = "`trawl status` says how it fares; to sign in from here, stop it first"
	case errors.As(err, &answer):
		short := *answer
		short.Advice = ""
		r.Problem, r.Advice = short.Error(), answer.Advice
	case errors.As(err, &catalogue):
		r.Advice = "the catalogue and the answer do not fit: compare the source's file with what the API answers"
	case errors.Is(err, context.DeadlineExceeded):
		r.Problem = fmt.Sprintf("nothing read within %v", connectLimit)
		r.Advice = "the API may be slow, or throttle: try again later"
	}
}

// catalogueError says that an answer does not fit what the catalogue says of it.
type catalogueError struct{ text string }

func (e *catalogueError) Error() string { return e.text }

// readSome reads two pages of one record, so that a page that is not followed
// by the next one shows. A feed without records is no failure.
func readSome(ctx context.Context, client *fetch.Client, f *config.Feed, r *connectResult) error {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	mapper, err := ecs.Compile(f.Source)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	request := fetch.Request{Source: f.Source, Size: 1, Filter: f.Filter}
	if fields := f.Source.Window.Fields; len(fields) > 0 {
		request.Since, request.Until, request.Field = now.Add(-connectWindow), now, fields[len(fields)-1]
	}
	first, err := client.Page(ctx, request)
	if err != nil {
		return err
	}
	if first.Total >= 0 {
		r.Records = &first.Total
	}
	if len(first.Records) == 0 {
		return nil
	}
	source := f.Source
	key := mapper.Key(first.Records[0])
	r.Newest = key.Time
	switch {
	case key.ID == "":
		return &catalogueError{fmt.Sprintf("the record has no id at %s (record.id of %s)", strings.Join(source.Record.ID, " or "), source.FullName())}
	case key.Time.IsZero():
		return &catalogueError{fmt.Sprintf("the record has no time at %s (record.time of %s)", strings.Join(source.Record.Time, " or "), source.FullName())}
	}
	if at := source.Paging.Total; at != "" && first.Total < 0 {
		return &catalogueError{fmt.Sprintf("the answer has no number of records at %q (paging.total of %s)", at, source.FullName())}
	}
	if first.More && first.Cursor == nil {
		return &catalogueError{"the API has more pages, but no cursor stands " + atNext(source)}
	}
	if first.More {
		request.Cursor = first.Cursor
		second, err := client.Page(ctx, request)
		if err == nil && len(second.Records) == 1 && string(first.Records[0]) == string(second.Records[0]) {
			err = &catalogueError{"the second page is the first one again: the cursor is not where the API looks for it (request of " + source.FullName() + ")"}
		}
		return err
	}
	// What says that it is the last page has to be one also when more is asked for.
	request.Size = 2
	both, err := client.Page(ctx, request)
	if err == nil && len(first.Records) == 1 && len(both.Records) > 1 {
		err = &catalogueError{fmt.Sprintf("a page that is full is taken for the last one: nothing says that there are more at %q (paging.more) and %s",
			source.Paging.More, atNext(source))}
	}
	return err
}

// readStream asks a source's stream for a position, and then by that position.
func readStream(ctx context.Context, client *fetch.Client, f *config.Feed) error {
	if f.Source.Stream == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	request := fetch.Request{Source: f.Source, Stream: true, Since: time.Now().Add(-connectStream), Size: 1, Filter: f.Filter}
	page, err := client.Page(ctx, request)
	if err == nil && page.Cursor == nil {
		err = &catalogueError{"the stream gives no position " + atNext(f.Source)}
	}
	if err == nil {
		request.Cursor = page.Cursor
		_, err = client.Page(ctx, request)
	}
	return err
}

// atNext says where an answer should have what the next page is asked for by.
func atNext(s *catalog.Source) string {
	switch {
	case s.Paging.Link != "":
		return fmt.Sprintf("in its Link header as %q (paging.link of %s)", s.Paging.Link, s.FullName())
	case s.Paging.NextURL != "":
		return fmt.Sprintf("at %q (paging.next_url of %s)", s.Paging.NextURL, s.FullName())
	}
	return fmt.Sprintf("at %q (paging.cursor of %s)", s.Paging.Cursor, s.FullName())
}

// errRunning says that the refresh token is in another process's hands.
var errRunning = errors.New("its refresh token may be good for one sign-in only, and a trawl is running that has it")

// keptTokens opens the log where a connection's refresh token may be replaced:
// the one that follows has to be kept.
type keptTokens struct {
	cfg    *config.Config
	vaults *engine.Vaults // nil: not opened
}

// of is a connection's vault; nil: it needs none. The error is errRunning while
// a trawl runs.
func (k *keptTokens) of(ctx context.Context, c *config.Connection) (fetch.Vault, error) {
	auth, err := c.SignIn()
	if err != nil || auth.Rotates == "" {
		return nil, err
	}
	deadline := time.Now().Add(lockPatience)
	for k.vaults == nil {
		if _, err := console.Dial(ctx, k.cfg.DataDir); err == nil {
			return nil, errRunning
		}
		k.vaults, err = engine.OpenVaults(ctx, k.cfg, slog.New(slog.DiscardHandler))
		err = busy(err, k.cfg.DataDir)
		if err != nil && (!errors.As(err, new(*busyError)) || time.Now().After(deadline)) {
			return nil, err
		}
		if err != nil {
			pause(ctx, lockRetry)
		}
	}
	return k.vaults.Of(c.Name), nil
}

func (k *keptTokens) close() {
	if k.vaults != nil {
		_ = k.vaults.Close()
	}
}

// writeConnect prints the results as a table, and under it what to do.
func writeConnect(w io.Writer, results []connectResult) {
	colour := colours(w)
	t := &table{header: []string{"FEED", "CONNECTS", "ENDPOINT", "RECORDS IN 30 DAYS", "ONE IS OF"}}
	for _, r := range results {
		word, records := "yes", "-"
		if !r.OK {
			word = "no"
		}
		if r.Records != nil {
			records = fmt.Sprint(*r.Records)
		}
		t.add(r.Feed, paint(colour, word, r.OK), r.Endpoint, records, when(r.Newest))
	}
	t.write(w)
	told := ""
	for _, r := range results {
		if r.OK || r.of == told {
			continue
		}
		told = r.of
		fmt.Fprintf(w, "\n%s: %s\n", r.of, r.Problem)
		if r.Advice != "" {
			fmt.Fprintf(w, "  %s\n", r.Advice)
		}
	}
}

// connectSummary says how many feeds connect.
func connectSummary(results []connectResult) string {
	failed := 0
	for _, r := range results {
		if !r.OK {
			failed++
		}
	}
	if failed == 0 {
		return "every feed connects"
	}
	return fmt.Sprintf("feeds that do not connect: %d of %d", failed, len(results))
}
