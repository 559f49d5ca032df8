package deliver

import (
	"log/slog"
	"sync"
	"time"

	"github.com/trawlsec/trawl/internal/pagelog"
)

const refusalsEvery = time.Minute // between two lines of the log about refused documents

// refusals are what is to be said of documents that were refused: an output that
// takes none would otherwise fill the log with it.
type refusals struct {
	mu        sync.Mutex
	documents int
	first     string // reason
	told      time.Time
}

func (r *refusals) note(letters []pagelog.DeadLetter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(letters) > 0 && r.documents == 0 {
		r.first = letters[0].Reason
	}
	r.documents += len(letters)
}

// tell says it, if anything is to be said and nothing was for so long.
func (r *refusals) tell(logger *slog.Logger, every time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); r.documents > 0 && now.Sub(r.told) >= every {
		logger.Warn("documents refused for good; see `trawl dead list`", "documents", r.documents, "first_reason", r.first)
		r.documents, r.told = 0, now
	}
}
