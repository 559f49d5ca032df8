package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/config"
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
	for i := range cfg.Connections {
		for _, r := range a.checkConnection(ctx, cfg.Connections[i]) {
			ok = ok && r.OK
			results = append(results, r)
		}
	}
	return results, ok
}

func (a *app) checkConnection(ctx context.Context, c config.Connection) []connectResult {
	tell := func(format string, args ...any) {
		if !a.quiet {
			fmt.Fprintf(a.stderr, format+"\n", args...)
		}
	}
	results := make([]connectResult, len(c.Feeds))
	for i, f := range c.Feeds {
		results[i].Feed, results[i].of = f.Name(), f.Name()
	}
	tell("%s: signing in", c.Name)
	c.HTTP.Timeout = min(c.HTTP.Timeout, connectTimeout)
	client, err := engine.NewClient(&c, fetch.Options{Logger: slog.New(slog.DiscardHandler), UserAgent: userAgent(), Tries: connectTries})
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
		if err := readSome(ctx, client, &c.Feeds[i], r); err != nil {
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
	if first.More && first.Cursor == nil {
		return &catalogueError{fmt.Sprintf("the API has more pages, but no cursor stands at %q (paging.cursor of %s)", source.Paging.Cursor, source.FullName())}
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
		err = &catalogueError{fmt.Sprintf("a page that is full is taken for the last one: nothing says that there are more at %q (paging.more) and %q (paging.cursor of %s)",
			source.Paging.More, source.Paging.Cursor, source.FullName())}
	}
	return err
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
	return fmt.Sprintf("%d of %d feeds do not connect", failed, len(results))
}
