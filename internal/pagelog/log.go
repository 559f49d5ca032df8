package pagelog

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	pagesName = "TRAWL"

	// maxHeader is what JetStream lets the headers of one message take.
	maxHeader = 64 << 10
	// maxPart bounds a message's body, so that reading a few messages ahead
	// stays a few megabytes.
	maxPart = 1 << 20

	metaFormat = "trawl.format"
	metaLog    = "trawl.log"
)

// Options says where the log is.
type Options struct {
	// Dir holds the embedded log; it is created with mode 0700. One process at
	// a time may have it open.
	Dir string
	// URL, if not "", names the servers of a NATS cluster with JetStream, comma
	// separated, in place of the embedded one. It may hold a password.
	URL string
	// MaxBytes is the size from which pages are refused; 0 is no limit. An
	// existing log takes on a changed limit.
	MaxBytes int64
	// Replicas is how many servers of a cluster keep each page; 0 is three
	// where the cluster has them, else one. It counts when the log is created.
	Replicas int
	// Logger takes the warnings of the server and the state of the connection;
	// nil is slog.Default().
	Logger *slog.Logger

	verify int64 // verifySize; for tests
}

// Log is an open log. Its methods may be called from several goroutines.
type Log struct {
	js       jetstream.JetStream
	nc       *nats.Conn
	pages    jetstream.Stream
	state    jetstream.Stream
	logger   *slog.Logger
	path     string // the directory or the stream, for messages
	instance string // names this open Log among all holders of leases
	partSize int
	timeout  time.Duration // answerTimeout
	limit    time.Duration // answerLimit
	high     atomic.Uint64 // the highest page sequence known

	// Only with the embedded server.
	srv   *server.Server
	out   *serverLog
	free  func(dir string) (uint64, error)
	lock  *os.File
	store *store
	tail  *tail

	mu     sync.Mutex
	dead   jetstream.Stream // nil: not looked for, or not there yet
	leases map[*Lease]struct{}
	done   chan struct{} // closed by Close
	stop   func() error
}

// Open opens the log, creating it where there is none. The error is ErrLocked
// if another process has it, or a *DamagedError.
func Open(ctx context.Context, o Options) (*Log, error) {
	l := &Log{
		logger:   o.Logger,
		instance: rand.Text(),
		timeout:  answerTimeout,
		limit:    answerLimit,
		leases:   map[*Lease]struct{}{},
		done:     make(chan struct{}),
	}
	l.stop = sync.OnceValue(l.shutdown)
	if l.logger == nil {
		l.logger = slog.Default()
	}
	open := l.openEmbedded
	if o.URL != "" {
		open = l.openCluster
	}
	if err := open(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), l.Close())
	}
	return l, nil
}

func (l *Log) openEmbedded(ctx context.Context, o Options) error {
	if o.Dir == "" {
		return errors.New("no directory")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	l.path, l.free = dir, freeSpace
	if l.lock, err = lockDir(dir); err != nil {
		return err
	}
	st, err := openStore(dir, cmp.Or(o.verify, verifySize), l.logger)
	if err != nil {
		return err
	}
	if l.srv, l.out, err = startServer(dir, l.logger); err != nil {
		return err
	}
	// Nobody but a machine that is very busy keeps this connection from being made.
	if err := l.connect("", nats.InProcessServer(l.srv), nats.Timeout(answerLimit)); err != nil {
		return err
	}
	meta := map[string]string{metaFormat: format, metaLog: st.ID}
	if err := l.openStreams(ctx, o, []int{1}, meta, st.Ready); err != nil {
		return err
	}
	if err := st.compare(ctx, l); err != nil {
		return err
	}
	if err := st.begin(ctx, l); err != nil {
		return err
	}
	l.tail = newTail(l.high.Load())
	l.store = st // from here on Close leaves the mark of a clean stop
	return nil
}

func (l *Log) openCluster(ctx context.Context, o Options) error {
	l.path = "stream " + pagesName
	if err := l.connect(o.URL, nats.Timeout(answerTimeout)); err != nil {
		return err
	}
	// Older ones pass over the condition on all lanes of a feed.
	if version := l.nc.ConnectedServerVersion(); !atLeast(version, 2, 11) {
		return fmt.Errorf("the NATS server is of version %s; Trawl needs 2.11 or later", version)
	}
	replicas := []int{3, 1}
	if o.Replicas > 0 {
		replicas = []int{o.Replicas}
	}
	if err := l.openStreams(ctx, o, replicas, map[string]string{metaFormat: format}, false); err != nil {
		return err
	}
	return l.checkMarks(ctx)
}

func (l *Log) connect(servers string, opts ...nats.Option) error {
	nc, err := nats.Connect(servers, append(opts,
		nats.Name("trawl"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				l.logger.Warn("log connection lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { l.logger.Info("log connection is back") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			l.logger.Warn("log connection", "error", err)
		}),
	)...)
	if err != nil {
		// Such an error quotes the URL, and a URL may hold a password.
		if bad := (*url.Error)(nil); errors.As(err, &bad) {
			err = fmt.Errorf("URL: %w", bad.Err)
		}
		return fmt.Errorf("connect: %w", err)
	}
	l.nc = nc
	l.partSize = min(int(nc.MaxPayload())-maxHeader, maxPart)
	if l.partSize < maxHeader {
		return fmt.Errorf("the log server takes messages of at most %d bytes, want at least %d", nc.MaxPayload(), 2*maxHeader)
	}
	l.js, err = jetstream.New(nc)
	return err
}

// atLeast compares a version with the least one.
func atLeast(version string, major, minor int) bool {
	var a, b int
	n, _ := fmt.Sscanf(version, "%d.%d", &a, &b)
	return n == 2 && (a > major || a == major && b >= minor)
}

// openStreams opens both streams; with mustExist their absence is damage.
func (l *Log) openStreams(ctx context.Context, o Options, replicas []int, meta map[string]string, mustExist bool) (err error) {
	limit := o.MaxBytes
	if limit <= 0 {
		limit = -1
	}
	pages := jetstream.StreamConfig{
		Name:        pagesName,
		Description: "Pages of records collected by Trawl, with their positions",
		Subjects:    []string{"pages.*.*.*", "parts.*.*.*"},
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    limit,
		Metadata:    meta,
	}
	state := jetstream.StreamConfig{
		Name:              stateName,
		Description:       "Trawl's state of feeds, positions of readers and leases",
		Subjects:          []string{statePrefix + ">"},
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardNew,
		MaxMsgsPerSubject: 1,
		AllowRollup:       true,
		DenyDelete:        true,
		Metadata:          meta,
	}
	// No AllowDirect: reads go to the stream's leader and see every write.
	if l.pages, err = l.openStream(ctx, pages, replicas, mustExist); err != nil {
		return err
	}
	if l.state, err = l.openStream(ctx, state, replicas, mustExist); err != nil {
		return err
	}
	l.high.Store(l.pages.CachedInfo().State.LastSeq)
	return nil
}

func (l *Log) openStream(ctx context.Context, want jetstream.StreamConfig, replicas []int, mustExist bool) (jetstream.Stream, error) {
	s, err := ask(ctx, l, func(ctx context.Context) (jetstream.Stream, error) { return l.js.Stream(ctx, want.Name) })
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if mustExist {
			return nil, &DamagedError{Path: l.path, Problem: "stream " + want.Name + " is gone"}
		}
		return l.createStream(ctx, want, replicas)
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", want.Name, err)
	}

	have := s.CachedInfo().Config
	if id := have.Metadata[metaLog]; id != want.Metadata[metaLog] {
		return nil, &DamagedError{Path: l.path, Problem: "stream " + want.Name + " belongs to another log"}
	}
	if f := have.Metadata[metaFormat]; f != format {
		return nil, fmt.Errorf("stream %s has format %q, which is not known to this version of Trawl", want.Name, f)
	}
	// A limit that deletes by itself would delete what nobody has read.
	if have.Discard != jetstream.DiscardNew || have.MaxAge != 0 || have.MaxMsgs > 0 ||
		max(have.MaxMsgsPerSubject, 0) != want.MaxMsgsPerSubject || have.Retention != jetstream.LimitsPolicy {
		return nil, fmt.Errorf("stream %s has limits that delete by themselves; remove them", want.Name)
	}
	if want.Name == pagesName && have.MaxBytes != want.MaxBytes {
		have.MaxBytes = want.MaxBytes
		s, err = ask(ctx, l, func(ctx context.Context) (jetstream.Stream, error) { return l.js.UpdateStream(ctx, have) })
		if err != nil {
			return nil, fmt.Errorf("change size limit of stream %s: %w", want.Name, err)
		}
	}
	return s, nil
}

func (l *Log) createStream(ctx context.Context, want jetstream.StreamConfig, replicas []int) (s jetstream.Stream, err error) {
	for _, n := range replicas {
		want.Replicas = n
		s, err = ask(ctx, l, func(ctx context.Context) (jetstream.Stream, error) { return l.js.CreateStream(ctx, want) })
		if err == nil {
			return s, nil
		}
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody was quicker
			return ask(ctx, l, func(ctx context.Context) (jetstream.Stream, error) { return l.js.Stream(ctx, want.Name) })
		}
		if !errors.As(err, new(*jetstream.APIError)) {
			break // no refusal, so fewer replicas would not help
		}
	}
	return nil, fmt.Errorf("create stream %s: %w", want.Name, err)
}

// checkMarks refuses a log that ends before a page that an entry knew of.
func (l *Log) checkMarks(ctx context.Context) error {
	keys, err := l.Keys(ctx, "")
	if err != nil {
		return err
	}
	for _, key := range keys {
		msg, err := l.entry(ctx, key)
		if err != nil {
			return fmt.Errorf("state %q: %w", key, err)
		}
		if msg == nil {
			continue
		}
		var mark uint64
		if _, err := fmt.Sscan(msg.Header.Get(hdrPages), &mark); err != nil {
			return &DamagedError{Path: l.path, Problem: fmt.Sprintf("state %q has no mark", key), Err: err}
		}
		// Read after the entry, so that it includes what the entry knew.
		info, err := l.info(ctx, l.pages)
		if err != nil {
			return err
		}
		if info.State.LastSeq < mark {
			return &DamagedError{Path: l.path, Seq: mark, Problem: fmt.Sprintf(
				"state %q knows of this page, but the log ends at %d", key, info.State.LastSeq)}
		}
	}
	return nil
}

// note remembers that the log reaches seq.
func (l *Log) note(seq uint64) {
	for old := l.high.Load(); seq > old && !l.high.CompareAndSwap(old, seq); old = l.high.Load() {
	}
}

// Stats is the size of the log.
type Stats struct {
	Bytes    int64  `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"` // 0: no limit
	Pages    int    `json:"pages"`
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
}

// Stats returns the size of the log.
func (l *Log) Stats(ctx context.Context) (Stats, error) {
	info, err := l.info(ctx, l.pages, jetstream.WithSubjectFilter("parts.>"))
	if err != nil {
		return Stats{}, fmt.Errorf("log size: %w", err)
	}
	pages := info.State.Msgs
	for _, n := range info.State.Subjects {
		pages -= n
	}
	return Stats{
		Bytes:    int64(info.State.Bytes),
		MaxBytes: max(info.Config.MaxBytes, 0),
		Pages:    int(pages),
		FirstSeq: info.State.FirstSeq,
		LastSeq:  info.State.LastSeq,
	}, nil
}

// info asks the server about a stream.
func (l *Log) info(ctx context.Context, s jetstream.Stream, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	return ask(ctx, l, func(ctx context.Context) (*jetstream.StreamInfo, error) { return s.Info(ctx, opts...) })
}

// ask puts a question to the server, for which it gets a limited time: one that
// it lost on the way is never answered.
func ask[T any](ctx context.Context, l *Log, question func(context.Context) (T, error)) (T, error) {
	if l.closed() {
		return *new(T), ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	answer, err := question(ctx)
	if err != nil && l.closed() {
		err = ErrClosed
	}
	return answer, err
}

func (l *Log) closed() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// Close stops the log: leases are no longer renewed, the embedded server is
// shut down. What was written is on disk already. Calling it again does nothing.
func (l *Log) Close() error { return l.stop() }

func (l *Log) shutdown() error {
	l.mu.Lock()
	close(l.done)
	leases := l.leases
	l.leases = nil
	l.mu.Unlock()
	for s := range leases {
		s.drop()
	}
	var left *remains
	if l.store != nil {
		l.store.stop()
		if l.out.diskError() == nil {
			left = l.remains()
		}
	}
	if l.nc != nil {
		l.nc.Close()
	}
	if l.srv != nil {
		l.srv.Shutdown()
		l.srv.WaitForShutdown()
	}
	var err error
	if left != nil {
		err = l.store.end(left)
	}
	if l.lock != nil {
		err = errors.Join(err, unlockDir(l.lock))
	}
	return err
}

// ID tells this log from every other, also from one made anew in its place.
func (l *Log) ID() string {
	info := l.pages.CachedInfo()
	if id := info.Config.Metadata[metaLog]; id != "" {
		return id
	}
	return info.Created.UTC().Format(time.RFC3339Nano)
}
