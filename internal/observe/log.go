package observe

import (
	"context"
	"time"

	"github.com/trawlsec/trawl/internal/pagelog"
)

// Log is what an observer needs of the log; see OnLog.
type Log interface {
	OpenReader(ctx context.Context, name string) (PageReader, error)
	Readers(ctx context.Context) ([]string, error)
	DeleteReader(ctx context.Context, name string) error
	Stats(ctx context.Context) (pagelog.Stats, error)
	Pages(ctx context.Context, f pagelog.Feed, after uint64, yield func(pagelog.Page) error) error
	States
	PutState(ctx context.Context, key string, data []byte, rev uint64) (uint64, error)
}

// PageReader is what an observer needs of a *pagelog.Reader.
type PageReader interface {
	Next(ctx context.Context, limit int, wait time.Duration) ([]*pagelog.Delivery, error)
	Ack(ctx context.Context, seq uint64) error
	Seek(ctx context.Context, seq uint64) error
	Pending(ctx context.Context) (pages int, done uint64, err error)
	Close(ctx context.Context)
}

// States is the part of a Log that is only looked at.
type States interface {
	Keys(ctx context.Context, prefix string) ([]string, error)
	State(ctx context.Context, key string) (data []byte, rev uint64, err error)
}

// OnLog is the Log of a log.
func OnLog(l *pagelog.Log) Log { return onLog{l} }

type onLog struct{ *pagelog.Log }

func (l onLog) OpenReader(ctx context.Context, name string) (PageReader, error) {
	return l.Reader(ctx, name)
}
