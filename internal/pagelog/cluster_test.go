package pagelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// runServer runs a NATS server with a port of its own.
func runServer(t testing.TB, change ...func(o *server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxMemory: 1 << 20, JetStreamMaxStore: 1 << 40,
	}
	for _, c := range change {
		c(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("server does not start")
	}
	return s
}

// line is a TCP connection that can go silent in one direction.
type line struct {
	net.Listener
	deaf atomic.Bool // what the server says is lost
	off  atomic.Bool // new connections are closed at once
	mu   sync.Mutex
	conn []net.Conn
	wg   sync.WaitGroup
}

func newLine(t *testing.T, to string) *line {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{Listener: ln}
	l.wg.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err == nil && l.off.Load() {
				out.Close()
			}
			if err != nil || l.off.Load() {
				in.Close()
				continue
			}
			l.mu.Lock()
			l.conn = append(l.conn, in, out)
			l.mu.Unlock()
			l.wg.Go(func() { io.Copy(out, in); out.Close() })
			l.wg.Go(func() {
				defer in.Close()
				buf := make([]byte, 64<<10)
				for {
					n, err := out.Read(buf)
					if err != nil {
						return
					}
					if !l.deaf.Load() {
						in.Write(buf[:n])
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		l.cut()
		l.wg.Wait()
	})
	return l
}

// cut ends all connections.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conn {
		c.Close()
	}
	l.conn = nil
}

func behindLine(t *testing.T) (l *Log, ln *line, direct string) {
	direct = runServer(t).ClientURL()
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	ln = newLine(t, u.Host)
	l = openWith(t, Options{URL: "nats://" + ln.Addr().String(), Logger: quiet})
	l.timeout, l.limit = 300*time.Millisecond, 10*time.Second
	return l, ln, direct
}

// waitBack waits until the server answers again.
func (l *Log) waitBack(t *testing.T) {
	for {
		err := l.nc.FlushTimeout(time.Second)
		if err == nil {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal(err)
		default:
		}
	}
}

// TestAnswerLost loses the server's answer to a page: Append finds out by
// itself that the page is in, once.
func TestAnswerLost(t *testing.T) {
	t.Parallel()
	l, ln, _ := behindLine(t)
	after := appendPages(t, l, audit, Live, 1, 1, 0)
	ln.deaf.Store(true)
	healed := make(chan struct{})
	go func() {
		defer close(healed)
		<-time.After(time.Second)
		ln.deaf.Store(false)
		ln.cut()
	}()
	seq, err := l.Append(t.Context(), page(audit, Live, 2, 1, 10), after, after)
	<-healed
	if err != nil {
		t.Fatal(err)
	}
	last, ok, err := l.Last(t.Context(), audit, Live)
	if err != nil || !ok || last.Seq != seq {
		t.Errorf("last is %d, want %d, %v", last.Seq, seq, err)
	}
	if n := len(headers(t, l, audit)); n != 2 {
		t.Errorf("%d pages", n)
	}
}

func TestOutcomeUnknown(t *testing.T) {
	t.Parallel()
	l, ln, _ := behindLine(t)
	l.limit = time.Second
	after := appendPages(t, l, audit, Live, 1, 1, 0)
	ln.deaf.Store(true)
	if _, err := l.Append(t.Context(), page(audit, Live, 2, 1, 10), after, after); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
	// Cancelled while under way: the answer is waited for once, then unknown.
	ctx, cancel := context.WithCancel(t.Context())
	timer := time.AfterFunc(50*time.Millisecond, cancel)
	defer timer.Stop()
	if _, err := l.PutState(ctx, "k", nil, 0); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
	ln.deaf.Store(false)
	ln.cut()
	l.waitBack(t)
	last, ok, err := l.Last(t.Context(), audit, Live)
	if err != nil || !ok {
		t.Fatal(err)
	}
	if last.Seq == after {
		t.Error("the page is not there, though the server had it")
	}
	if _, err := l.Append(t.Context(), page(audit, Live, 3, 1, 10), after, after); !errors.Is(err, ErrFenced) {
		t.Errorf("%v", err)
	}
}

// TestReaderOverCuts reads while the connection is cut again and again.
func TestReaderOverCuts(t *testing.T) {
	t.Parallel()
	l, ln, _ := behindLine(t)
	l.timeout = 2 * time.Second
	appendPages(t, l, audit, Live, 1, 100, 0)
	r := openReader(t, l, "r")
	var got []uint64
	for tries := 0; len(got) < 100 && tries < 1000; tries++ {
		if tries%5 == 2 {
			ln.cut()
		}
		ds, err := r.Next(t.Context(), 7, time.Second)
		if err != nil {
			continue // the next call goes on
		}
		got = append(got, seqs(ds)...)
	}
	for i, seq := range got {
		if seq != uint64(i+1) {
			t.Fatalf("%d comes as number %d", seq, i+1)
		}
	}
	if len(got) != 100 {
		t.Errorf("%d pages", len(got))
	}
}

func TestForeignStream(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*jetstream.StreamConfig){
		"age":      func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"count":    func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 },
		"old":      func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"subject":  func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 10 },
		"work":     func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy },
		"format":   func(c *jetstream.StreamConfig) { c.Metadata = map[string]string{metaFormat: "2"} },
		"unmarked": func(c *jetstream.StreamConfig) { c.Metadata = nil },
		"embedded": func(c *jetstream.StreamConfig) { c.Metadata[metaLog] = "x" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := runServer(t).ClientURL()
			l := openWith(t, Options{URL: url, Logger: quiet})
			cfg := l.pages.CachedInfo().Config
			if err := l.js.DeleteStream(t.Context(), pagesName); err != nil {
				t.Fatal(err)
			}
			change(&cfg)
			if _, err := l.js.CreateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			if l, err := Open(t.Context(), Options{URL: url, Logger: quiet}); err == nil {
				l.Close()
				t.Error("taken as it is")
			}
		})
	}
}

// TestClusterOfThree keeps three copies and goes on when a server is gone.
func TestClusterOfThree(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("three servers")
	}
	var routes []*url.URL
	var ports []int
	var lns []net.Listener
	for range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		lns = append(lns, ln)
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: ln.Addr().String()})
	}
	for _, ln := range lns {
		ln.Close()
	}
	var servers []*server.Server
	for i := range 3 {
		s := runServer(t, func(o *server.Options) {
			o.ServerName = fmt.Sprint("s", i)
			o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i]}
			o.Routes = routes
		})
		servers = append(servers, s)
	}
	urls := servers[0].ClientURL() + "," + servers[1].ClientURL() + "," + servers[2].ClientURL()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var l *Log
	for {
		var err error
		if l, err = Open(ctx, Options{URL: urls, Logger: quiet}); err == nil && l.pages.CachedInfo().Config.Replicas == 3 {
			break
		}
		if err == nil { // the servers had not found each other yet
			l.js.DeleteStream(ctx, pagesName)
			l.js.DeleteStream(ctx, stateName)
			l.Close()
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no cluster: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
	defer l.Close()
	after := appendPages(t, l, audit, Live, 1, 10, 0)
	if _, err := l.Append(ctx, page(audit, Live, 1, 1, 10), after-1, after-1); !errors.Is(err, ErrFenced) {
		t.Errorf("%v", err)
	}
	rev, err := l.PutState(ctx, "k", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.PutState(ctx, "k", nil, rev+1); !errors.Is(err, ErrConflict) {
		t.Errorf("%v", err)
	}
	r := openReader(t, l, "r")
	first, err := r.Next(ctx, 5, time.Second)
	if err != nil || len(first) == 0 {
		t.Fatal(err)
	}

	after = race(ctx, t, l, after)

	// The stream's leader goes.
	info, err := l.pages.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if s.Name() == info.Cluster.Leader {
			s.Shutdown()
		}
	}
	for i := 12; i <= 20; i++ {
		for before := after; after == before; {
			seq, err := l.Append(ctx, page(audit, Live, i, 3, 100), before, before)
			if err != nil { // whether it is in all the same is asked, as a feed does
				var last Page
				if last, _, err = l.Last(ctx, audit, Live); err == nil {
					seq = last.Seq
				}
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			after = max(after, seq)
		}
	}
	got := seqs(first)
	for len(got) < 20 && ctx.Err() == nil {
		ds, err := r.Next(ctx, 50, time.Second)
		if err == nil {
			got = append(got, seqs(ds)...)
		}
	}
	for i := 1; i < len(got); i++ {
		if got[i] <= got[i-1] {
			t.Errorf("out of order: %v", got)
		}
	}
	var numbers []string
	for _, p := range headers(t, l, audit) {
		numbers = append(numbers, string(p.Position))
	}
	for i, n := range numbers {
		if n != fmt.Sprintf(`{"page":%d}`, i+1) {
			t.Fatalf("pages %v", numbers)
		}
	}
	if len(numbers) != 20 {
		t.Errorf("%d pages", len(numbers))
	}
}

// race lets several writers append the same page behind after: one gets it in,
// the others are told so, also while the cluster has not decided yet.
func race(ctx context.Context, t *testing.T, l *Log, after uint64) uint64 {
	t.Helper()
	const writers = 8
	var seqs [writers]uint64
	var errs [writers]error
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { seqs[i], errs[i] = l.Append(ctx, page(audit, Live, 11, 3, 100), after, after) })
	}
	wg.Wait()
	in := uint64(0)
	for i, err := range errs {
		switch {
		case err == nil && in == 0:
			in = seqs[i]
		case !errors.Is(err, ErrFenced):
			t.Errorf("pages %v, %v", seqs, errs)
		}
	}
	return in
}

func TestAtLeast(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"2.11.0": true, "2.15.2": true, "2.12.0-beta.1": true, "3.0.0": true,
		"2.10.29": false, "2.9.1": false, "1.99.0": false, "": false, "x": false,
	} {
		if got := atLeast(version, 2, 11); got != want {
			t.Errorf("%q: %t", version, got)
		}
	}
}
