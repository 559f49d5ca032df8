package collect

import (
	"context"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/fetch"
)

// asking is a fetcher that looks at what it is told to be known already.
type asking struct {
	*tenant
	known map[string][]bool // by id, at each time that the record was on a page
}

func (a asking) Page(ctx context.Context, r fetch.Request) (*fetch.Page, error) {
	p, err := a.tenant.Page(ctx, r)
	if err != nil {
		return nil, err
	}
	for i, record := range p.Records {
		id := keyer{}.Key(record).ID
		a.known[id] = append(a.known[id], r.Known(record, p.Found(i)))
	}
	return p, nil
}

// TestKnown: the fetcher can tell which records of a page the log has.
func TestKnown(t *testing.T) {
	t.Parallel()
	api, log := asking{&tenant{}, map[string][]bool{}}, newMemoryLog()
	api.add(spread("old", 5, time.Now().Add(-time.Minute), time.Minute)...)
	f := open(t, api, log, nil)
	if err := f.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	api.add(spread("new", 5, time.Now(), time.Minute/2)...)
	f = open(t, api, log, nil) // which reads what is known from the log
	if err := f.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	for id, known := range api.known {
		want := id[:3] == "old"
		if known[0] || len(known) == 2 != want || want && !known[1] {
			t.Errorf("%s was known: %v", id, known)
		}
	}
	if len(api.known) != 10 {
		t.Errorf("%d records", len(api.known))
	}
}
