package pagelog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startServer runs a NATS server in this process, without a port, its streams
// under dir and every write synced.
func startServer(dir string, logger *slog.Logger) (*server.Server, *serverLog, error) {
	srv, err := server.NewServer(&server.Options{
		ServerName: "trawl",
		DontListen: true,
		NoSigs:     true,
		NoLog:      true,
		JetStream:  true,
		StoreDir:   dir,
		SyncAlways: true,
		// Nothing is kept in memory but short-lived consumers, which do not
		// count. On disk the limit is the stream's own; without a figure here
		// the server would set one by the free space of the moment.
		JetStreamMaxMemory: 1 << 20,
		JetStreamMaxStore:  1 << 60,
	})
	if err != nil {
		return nil, nil, err
	}
	out := &serverLog{logger: logger}
	srv.SetLoggerV2(out, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(time.Minute) || !srv.JetStreamEnabled() {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, nil, fmt.Errorf("log server did not start: %s", out.fatalMessage())
	}
	return srv, out, nil
}

// serverLog passes the server's warnings and errors on. It warns of what it
// mends itself, or that the machine is slow: nobody has to act on that. The
// server calls Fatalf where its command would exit; here it is a start that
// failed. That a stream can no longer be written it tells nobody but its log.
type serverLog struct {
	logger *slog.Logger
	mu     sync.Mutex
	fatal  string
	disk   error // the first write that failed
}

func (s *serverLog) Noticef(string, ...any) {}
func (s *serverLog) Debugf(string, ...any)  {}
func (s *serverLog) Tracef(string, ...any)  {}

func (s *serverLog) Warnf(format string, v ...any) {
	s.logger.Info("log server", "message", fmt.Sprintf(format, v...))
}

func (s *serverLog) Errorf(format string, v ...any) {
	s.logger.Error("log server", "message", fmt.Sprintf(format, v...))
	for _, arg := range v {
		err, _ := arg.(error)
		failed := (*fs.PathError)(nil)
		if errors.As(err, &failed) && (failed.Op == "write" || failed.Op == "sync") {
			if errors.Is(err, syscall.ENOSPC) {
				err = fmt.Errorf("%w; nothing is lost: make room there and start again", err)
			}
			s.mu.Lock()
			s.disk = cmp.Or(s.disk, err)
			s.mu.Unlock()
		}
	}
}

// diskError returns why the server can no longer write, nil if it can.
func (s *serverLog) diskError() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disk
}

func (s *serverLog) Fatalf(format string, v ...any) {
	s.Errorf(format, v...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fatal = fmt.Sprintf(format, v...)
}

func (s *serverLog) fatalMessage() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fatal == "" {
		return "no answer within a minute"
	}
	return s.fatal
}
