package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	Records  int       `json:"records,omitzero"` // in the window that was asked for, if the API says
	Newest   time.Time `json:"record,omitzero"`  // time of the record that was read
	Problem  string    `json:"problem,omitempty"`
	Advice   string    `json:"advice,omitempty"`
}

// connectWindow is how far back one record is asked for: long enough that a
// quiet tenant has one.
const connectWindow = 30 * 24 * time.Hour

// checkConnect signs in to every connection and reads one record of each feed.
// It reports whether all went well.
func checkConnect(ctx context.Context, cfg *config.Config) ([]connectResult, bool) {
	var results []connectResult
	ok := true
	for i := range cfg.Connections {
		for _, r := range checkConnection(ctx, &cfg.Connections[i]) {
			ok = ok && r.OK
			results = append(results, r)
		}
	}
	return results, ok
}

func checkConnection(ctx context.Context, c *config.Connection) []connectResult {
	results := make([]connectResult, len(c.Feeds))
	for i, f := range c.Feeds {
		results[i].Feed = f.Name()
	}
	client, err := engine.NewClient(c, fetch.Options{Logger: slog.New(slog.DiscardHandler), UserAgent: userAgent()})
	var endpoint string
	if err == nil {
		defer client.Close()
		if err = client.SignIn(ctx); err == nil {
			endpoint, err = client.Endpoint(ctx)
		}
	}
	for i := range c.Feeds {
		results[i].Endpoint = endpoint
		feedErr := err
		if feedErr == nil {
			feedErr = readOne(ctx, client, &c.Feeds[i], &results[i])
		}
		results[i].OK = feedErr == nil
		if feedErr != nil {
			results[i].Problem = feedErr.Error()
			var answer *fetch.Error
			if errors.As(feedErr, &answer) {
				results[i].Advice = answer.Advice
				short := *answer
				short.Advice = ""
				results[i].Problem = short.Error()
			}
		}
	}
	return results
}

// readOne reads one record of a feed. A feed without any is no failure.
func readOne(ctx context.Context, client *fetch.Client, f *config.Feed, r *connectResult) error {
	mapper, err := ecs.Compile(f.Source)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	page, err := client.Page(ctx, fetch.Request{
		Source: f.Source,
		Since:  now.Add(-connectWindow),
		Until:  now,
		Field:  f.Source.Window.Fields[len(f.Source.Window.Fields)-1],
		Size:   1,
		Filter: f.Filter,
	})
	if err != nil {
		return err
	}
	r.Records = max(page.Total, len(page.Records))
	if len(page.Records) > 0 {
		r.Newest = mapper.Key(page.Records[0]).Time
	}
	return nil
}

// writeConnect prints the results as a table, and under it what to do.
func writeConnect(w io.Writer, results []connectResult) {
	colour := colours(w)
	t := &table{header: []string{"FEED", "CONNECTS", "ENDPOINT", "RECORDS IN 30 DAYS", "ONE IS OF"}}
	for _, r := range results {
		word, records := "yes", fmt.Sprint(r.Records)
		if !r.OK {
			word, records = "no", "-"
		}
		t.add(r.Feed, paint(colour, word, r.OK), r.Endpoint, records, when(r.Newest))
	}
	t.write(w)
	for _, r := range results {
		if r.OK {
			continue
		}
		fmt.Fprintf(w, "\n%s: %s\n", r.Feed, r.Problem)
		if r.Advice != "" {
			fmt.Fprintf(w, "  %s\n", r.Advice)
		}
	}
}
