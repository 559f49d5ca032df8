package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/trawlsec/trawl/internal/engine"
)

// controlFile, in data_dir, names the socket on which a running Trawl takes
// commands. The socket itself stands in a directory of its own under the
// system's temporary directory, because a socket's path may only be about a
// hundred bytes long; that directory is open to its owner alone.
const controlFile = "control.json"

type controlAddress struct {
	Socket string `json:"socket"`
	PID    int    `json:"pid"`
}

// Control serves status and commands to the other verbs of the command until
// stop is called.
func Control(dataDir string, e Engine) (stop func(), err error) {
	dir, err := os.MkdirTemp("", "trawl-")
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	socket := filepath.Join(dir, "control")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", errors.Join(err, os.RemoveAll(dir)))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		look(w, r, e, func(s engine.Status) (int, any) { return http.StatusOK, s })
	})
	mux.HandleFunc("POST /feeds/{connection}/{source}/{verb}", func(w http.ResponseWriter, r *http.Request) {
		to, err := timeValue(r, "to")
		if err != nil {
			writeJSON(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		if err := e.Change(r.Context(), r.PathValue("connection")+"/"+r.PathValue("source"), r.PathValue("verb"), to); err != nil {
			writeJSON(w, http.StatusConflict, failure{err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, struct{}{})
	})
	mux.HandleFunc("POST /feeds/{connection}/{source}/backfill", func(w http.ResponseWriter, r *http.Request) {
		since, err := timeValue(r, "since")
		until, untilErr := timeValue(r, "until")
		concurrency, numberErr := strconv.Atoi(r.FormValue("concurrency"))
		if err := errors.Join(err, untilErr, numberErr); err != nil {
			writeJSON(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		begins, err := e.StartBackfill(r.Context(), r.PathValue("connection")+"/"+r.PathValue("source"), since, until, concurrency)
		if err != nil {
			writeJSON(w, http.StatusConflict, failure{err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, backfillStarted{begins})
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: lookTimeout}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // ends with ErrServerClosed
	}()
	file := filepath.Join(dataDir, controlFile)
	stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		<-done
		_ = os.Remove(file)
		_ = os.RemoveAll(dir)
	}
	b, err := json.Marshal(controlAddress{Socket: socket, PID: os.Getpid()})
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("write %s: %w", file, err)
	}
	return stop, nil
}

// backfillStarted is the answer to a backfill that was started.
type backfillStarted struct {
	Since time.Time `json:"since"` // where it begins, at most as far back as the product keeps
}

// timeValue reads a time from a request's query; zero when it is not there.
func timeValue(r *http.Request, name string) (time.Time, error) {
	text := r.FormValue(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("read %s: %w", name, err)
	}
	return t, nil
}

// ErrNotRunning says that no Trawl runs on the data_dir.
var ErrNotRunning = errors.New("no trawl is running on this data_dir")

// Client talks to a running Trawl. It is an Engine.
type Client struct{ http *http.Client }

var _ Engine = (*Client)(nil)

// Dial finds the Trawl that runs on dataDir; ErrNotRunning when there is none.
func Dial(ctx context.Context, dataDir string) (*Client, error) {
	b, err := os.ReadFile(filepath.Join(dataDir, controlFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("find running trawl: %w", err)
	}
	var address controlAddress
	if err := json.Unmarshal(b, &address); err != nil {
		return nil, fmt.Errorf("find running trawl: read %s: %w", controlFile, err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", address.Socket)
	if err != nil { // left behind by one that was killed
		return nil, ErrNotRunning
	}
	_ = conn.Close()
	return &Client{http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", address.Socket)
		},
	}}}, nil
}

// Status asks for the status.
func (c *Client) Status(ctx context.Context) (engine.Status, error) {
	var s engine.Status
	err := c.do(ctx, http.MethodGet, "/status", &s)
	return s, err
}

// Change asks for a change of a feed's position; see engine.Engine.Change.
func (c *Client) Change(ctx context.Context, feed, verb string, to time.Time) error {
	path := "/feeds/" + feed + "/" + url.PathEscape(verb)
	if !to.IsZero() {
		path += "?to=" + url.QueryEscape(to.Format(time.RFC3339Nano))
	}
	return c.do(ctx, http.MethodPost, path, &struct{}{})
}

// StartBackfill starts a backfill; see collect.Feed.StartBackfill.
func (c *Client) StartBackfill(ctx context.Context, feed string, since, until time.Time, concurrency int) (time.Time, error) {
	query := url.Values{
		"since":       {since.Format(time.RFC3339Nano)},
		"until":       {until.Format(time.RFC3339Nano)},
		"concurrency": {strconv.Itoa(concurrency)},
	}
	var started backfillStarted
	err := c.do(ctx, http.MethodPost, "/feeds/"+feed+"/backfill?"+query.Encode(), &started)
	return started.Since, err
}

func (c *Client) do(ctx context.Context, method, path string, into any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://trawl"+path, nil)
	if err != nil {
		return fmt.Errorf("ask running trawl: %w", err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("ask running trawl: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("ask running trawl: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var f failure
		if json.Unmarshal(body, &f) != nil || f.Error == "" {
			f.Error = resp.Status
		}
		return errors.New(f.Error)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("ask running trawl: read answer: %w", err)
	}
	return nil
}
