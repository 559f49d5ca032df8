package console

import (
	"bytes"
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

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/engine"
	"github.com/trawlsec/trawl/internal/raw"
)

// controlFile, in data_dir, names the socket on which a running Trawl takes
// commands.
const controlFile = "control.json"

// maxAnswer bounds an answer: a dead letter may be a document and its record.
const maxAnswer = 1 << 30

// longestSocket is how long a socket's path may be, in bytes; systems differ.
const longestSocket = 100

type controlAddress struct {
	Socket string `json:"socket"` // an absolute path
	PID    int    `json:"pid"`
}

// ErrRunning refuses a second Trawl on a data_dir.
var ErrRunning = errors.New("a trawl is running on this data_dir already")

// Control serves status and commands to the other verbs of the command until
// stop is called. The error is ErrRunning while another process does so for
// the same dataDir.
func Control(dataDir string, e Engine) (stop func(), err error) {
	if _, err := Dial(context.Background(), dataDir); err == nil {
		return nil, ErrRunning
	}
	listener, dir, err := listen(dataDir)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		look(w, r, e, func(s engine.Status) (int, any) { return http.StatusOK, s })
	})
	mux.HandleFunc("GET /observed", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), lookTimeout)
		defer cancel()
		o, err := e.Observed(ctx)
		if err != nil {
			writeJSON(w, http.StatusInternalServerError, failure{err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, o)
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
	mux.HandleFunc("POST /feeds/{connection}/{source}/records", func(w http.ResponseWriter, r *http.Request) {
		records, err := readRecords(http.MaxBytesReader(w, r.Body, mostPushed))
		if err != nil {
			writeJSON(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		pushed, err := e.Push(r.Context(), r.PathValue("connection")+"/"+r.PathValue("source"), records, true)
		if err != nil {
			writeJSON(w, http.StatusConflict, failure{err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, pushed)
	})
	serveReplays(mux, e)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: lookTimeout}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // ends with ErrServerClosed
	}()
	file := filepath.Join(dataDir, controlFile)
	stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		<-done
		_ = os.Remove(file)
		_ = os.RemoveAll(dir)
	}
	if err := writeAddress(file, controlAddress{Socket: listener.Addr().String(), PID: os.Getpid()}); err != nil {
		stop()
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	return stop, nil
}

// stopLimit is how long answers under way may take once stopping was asked for.
const stopLimit = 500 * time.Millisecond

// listen opens the socket in a directory that is open to its owner alone:
// under dataDir, or where the path is too long or the file system has no
// sockets, under the system's directory for temporary files.
func listen(dataDir string) (l net.Listener, dir string, err error) {
	dir, err = filepath.Abs(filepath.Join(dataDir, "control"))
	if err != nil {
		return nil, "", err
	}
	if err := os.RemoveAll(dir); err != nil { // of one that was killed
		return nil, "", err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, "", err
	}
	if len(filepath.Join(dir, "socket")) <= longestSocket {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, "", err
		}
		if l, err = net.Listen("unix", filepath.Join(dir, "socket")); err == nil {
			return l, dir, nil
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}
	dir, tempErr := os.MkdirTemp("", "trawl-")
	if tempErr != nil {
		return nil, "", errors.Join(err, tempErr)
	}
	l, tempErr = net.Listen("unix", filepath.Join(dir, "socket"))
	if tempErr != nil {
		return nil, "", errors.Join(err, tempErr, os.RemoveAll(dir))
	}
	return l, dir, nil
}

// writeAddress makes the file appear with all that is in it.
func writeAddress(file string, a controlAddress) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
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
type Client struct {
	PID  int // of the process
	http *http.Client
}

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
	if ctx.Err() != nil {
		return nil, fmt.Errorf("find running trawl: %w", ctx.Err())
	}
	if err != nil { // left behind by one that was killed
		return nil, ErrNotRunning
	}
	_ = conn.Close()
	return &Client{PID: address.PID, http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", address.Socket)
		},
	}}}, nil
}

// Status asks for the status.
func (c *Client) Status(ctx context.Context) (engine.Status, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*lookTimeout, fmt.Errorf("process %d does not answer", c.PID))
	defer cancel()
	var s engine.Status
	err := c.do(ctx, http.MethodGet, "/status", &s)
	return s, err
}

// Observed asks for what was seen in the records of all feeds.
func (c *Client) Observed(ctx context.Context) (engine.Observed, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*lookTimeout, fmt.Errorf("process %d does not answer", c.PID))
	defer cancel()
	var o engine.Observed
	err := c.do(ctx, http.MethodGet, "/observed", &o)
	return o, err
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

// Push hands over the records of a file; see engine.Engine.Push.
func (c *Client) Push(ctx context.Context, feed string, records [][]byte, _ bool) (collect.Pushed, error) {
	var pushed collect.Pushed
	err := c.send(ctx, http.MethodPost, "/feeds/"+feed+"/records", bytes.NewReader(bytes.Join(records, []byte("\n"))), &pushed)
	return pushed, err
}

// mostPushed bounds the bytes of records handed over at once.
const mostPushed = 96 << 20

// readRecords reads records that Push has sent.
func readRecords(body io.Reader) ([][]byte, error) {
	in := raw.NewJSON(body, mostPushed)
	var records [][]byte
	for {
		record, err := in.Next()
		if err == io.EOF {
			return records, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read records: %w", err)
		}
		records = append(records, bytes.Clone(record))
	}
}

func (c *Client) do(ctx context.Context, method, path string, into any) error {
	return c.send(ctx, method, path, nil, into)
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader, into any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://trawl"+path, body)
	if err != nil {
		return fmt.Errorf("ask running trawl: %w", err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return c.failed(ctx, method, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return c.failed(ctx, method, err)
	}
	if resp.StatusCode != http.StatusOK {
		var f failure
		if json.Unmarshal(answer, &f) != nil || f.Error == "" {
			f.Error = resp.Status
		}
		return errors.New(f.Error)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("ask running trawl: read answer: %w", err)
	}
	return nil
}

// failed says what kept an answer from coming. That the process has ended is
// ErrNotRunning, unless it may have done what was asked before.
func (c *Client) failed(ctx context.Context, method string, err error) error {
	var op *net.OpError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("ask running trawl: %w", context.Cause(ctx))
	case method == http.MethodGet, errors.As(err, &op) && op.Op == "dial":
		return ErrNotRunning
	}
	return errors.New("ask running trawl: it ended before it answered; see `trawl status` for whether it was done")
}
