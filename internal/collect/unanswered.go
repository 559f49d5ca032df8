package collect

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/trawlsec/trawl/internal/pagelog"
)

// A write that the log does not answer in time may still arrive, minutes later.
// Until it has, its records are in no page, and another lane that comes by them
// would write them too. So before anything else is written, such a page is
// written again, behind the same page as before: then it is in the log, or it
// is there already, and in either case the first write can't arrive any more.
// What is still under way to a cluster when a process dies arrives only as long
// as nobody else has written to the feed, who then knows it; see lane.append.

// unanswered is a page that may be in the log, or arrive there yet.
type unanswered struct {
	page          pagelog.Page
	after, newest uint64
}

// newUnanswered copies a page, whose records are somebody else's later.
func newUnanswered(p pagelog.Page, after, newest uint64) *unanswered {
	records := make([][]byte, len(p.Records))
	for i, r := range p.Records {
		records[i] = bytes.Clone(r)
	}
	p.Records = records
	return &unanswered{p, after, newest}
}

// writeAgain makes sure that a page that was not answered is in the log, or can't
// get there any more. commit is held.
func (f *Feed) writeAgain(ctx context.Context) error {
	if f.unanswered == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	_, err := f.opts.Log.Append(ctx, f.unanswered.page, f.unanswered.after, f.unanswered.newest)
	if err != nil && !errors.Is(err, pagelog.ErrFenced) {
		return fmt.Errorf("write page of feed %s again, which the log did not answer: %w", f.opts.Feed, err)
	}
	f.unanswered, f.unsure = nil, true
	f.whole, f.unlisted = nil, unlisted{}
	return nil
}
