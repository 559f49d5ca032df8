// Package ingest takes the records that products send by themselves. It answers
// with success only once they are in the log.
package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/trawlsec/trawl/internal/collect"
	"github.com/trawlsec/trawl/internal/config"
	"github.com/trawlsec/trawl/internal/engine"
	"github.com/trawlsec/trawl/internal/pagelog"
	"github.com/trawlsec/trawl/internal/raw"
)

const (
	mostAtOne = 8    // bodies in memory at a time; others wait
	mostName  = 256  // bytes of a feed's name; a longer one is of none
	again     = "30" // seconds after which a sender that was put off may come again
)

// limits are how long things may take; tests shorten them.
type limits struct {
	body    time.Duration // for a body to arrive
	turn    time.Duration // to wait for one's turn
	refused time.Duration // for what a refused sender still sends
}

var usual = limits{body: time.Minute, turn: 20 * time.Second, refused: 5 * time.Second}

// Taker puts records into the log; engine.Engine is one. It returns once they
// are on disk, and may be called by several goroutines.
type Taker interface {
	Push(ctx context.Context, feed string, records [][]byte, file bool) (collect.Pushed, error)
}

// Handler serves POST /ingest/<connection>/<product>/<source> for the feeds
// that take pushed records. A body is NDJSON, a JSON array or JSON values one
// after the other, plain or packed with gzip or zstd.
//
// It answers 200 with the counts of new and known records; 400 for what is not
// JSON, 401, 404, 408, 413 and 415, all of which leave nothing in the log; and
// 503 when the sender should come again: the log is full, another process
// collects the connection, or too much comes at once. What was taken of a body
// before that is known then.
func Handler(connections []config.Connection, to Taker, logger *slog.Logger) http.Handler {
	return handle(connections, to, logger, usual)
}

func handle(connections []config.Connection, to Taker, logger *slog.Logger, l limits) http.Handler {
	h := &handler{
		feeds: map[string]*config.Feed{}, to: to, log: logger, limits: l,
		slots: make(chan struct{}, mostAtOne), strangers: strangers{most: mostAtOne},
	}
	for i := range connections {
		for k := range connections[i].Feeds {
			if f := &connections[i].Feeds[k]; f.Push != nil {
				h.feeds[name(f)] = f
			}
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/ingest/{connection}/{product}/{source}", h.serve)
	return mux
}

// Path is where the records of a feed are sent: /ingest/<connection>/<product>/<source>.
func Path(f *config.Feed) string { return "/ingest/" + name(f) }

func name(f *config.Feed) string { return f.Connection + "/" + f.Source.FullName() }

type handler struct {
	feeds     map[string]*config.Feed // by connection/product/source
	to        Taker
	log       *slog.Logger
	limits    limits
	slots     chan struct{} // of senders that are known
	strangers strangers     // senders that are not known yet
}

// refusal is an answer other than success.
type refusal struct {
	status int
	what   string
}

func (r *refusal) Error() string { return r.what }

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("connection") + "/" + r.PathValue("product") + "/" + r.PathValue("source")
	name = name[:min(len(name), mostName)]
	// Not every server under test has deadlines; the real one does.
	arrive := func(within time.Duration) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(within))
	}
	arrive(h.limits.turn + h.limits.body)
	pushed, err := h.take(w, r, name, arrive)
	if err != nil {
		arrive(h.limits.refused) // the server reads what is left of the body
	}
	w.Header().Set("Content-Type", "application/json")
	if err == nil {
		_ = json.NewEncoder(w).Encode(pushed) // the sender went away: it comes again
		return
	}
	var refused *refusal
	if !errors.As(err, &refused) {
		refused = &refusal{http.StatusInternalServerError, "the records could not be taken; see Trawl's log"}
		h.log.Error("pushed records not taken", "path", "/ingest/"+name, "error", err)
	} else {
		h.log.Warn("pushed records refused", "path", "/ingest/"+name, "status", refused.status, "reason", err)
	}
	switch refused.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer, Basic")
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", again)
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	}
	w.WriteHeader(refused.status)
	_ = json.NewEncoder(w).Encode(struct {
		Error string `json:"error"`
	}{refused.what})
}

func (h *handler) take(w http.ResponseWriter, r *http.Request, name string, arrive func(within time.Duration)) (collect.Pushed, error) {
	none := collect.Pushed{}
	feed := h.feeds[name]
	switch {
	case feed == nil:
		return none, &refusal{http.StatusNotFound, name + " takes no pushed records; set push for its source"}
	case r.Method != http.MethodPost:
		return none, &refusal{http.StatusMethodNotAllowed, "records are sent with POST"}
	}
	if err := known(r, feed.Push); err != nil {
		return none, err
	}
	r.Body = http.MaxBytesReader(w, r.Body, feed.Push.MaxBody)
	var body []byte
	var err error
	if feed.Push.HMAC != nil {
		var leave func()
		if body, leave, err = h.meet(r, feed.Push, arrive); err != nil {
			return none, err
		}
		defer leave()
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.limits.turn)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return none, busy
	}
	if feed.Push.HMAC == nil {
		arrive(h.limits.body)
		if body, err = h.receive(r, feed.Push); err != nil {
			return none, err
		}
	}
	if body, err = read(body, r.Header.Get("Content-Encoding"), feed.Push.MaxBody); err != nil {
		return none, err
	}
	var pushed collect.Pushed // stays as it is for a body without records, which is a test of the connection
	err = each(body, func(records [][]byte) error {
		p, err := h.to.Push(r.Context(), feed.Name(), records, false)
		pushed.New += p.New
		pushed.Known += p.Known
		return err
	})
	switch {
	case errors.Is(err, pagelog.ErrFull):
		return none, &refusal{http.StatusServiceUnavailable, "the log is full"}
	case errors.Is(err, engine.ErrStandby):
		return none, &refusal{http.StatusServiceUnavailable, err.Error()}
	}
	return pushed, err
}

var busy = &refusal{http.StatusServiceUnavailable, "too much comes at once"}

// meet receives a signed body, whose sender is known only once it has come.
func (h *handler) meet(r *http.Request, push *config.Push, arrive func(within time.Duration)) (body []byte, leave func(), err error) {
	if signature(r, push.HMAC) == nil {
		return nil, nil, unauthorized
	}
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		from = r.RemoteAddr
	}
	arrive(h.limits.body)
	x := h.strangers.enter(from, func() { arrive(0) })
	if x == nil {
		return nil, nil, busy
	}
	defer func() {
		if err != nil {
			h.strangers.leave(x)
		}
	}()
	body, err = h.receive(r, push)
	if err != nil && h.strangers.displaced(x) {
		return nil, nil, busy
	}
	if err != nil {
		return nil, nil, err
	}
	if err := signed(r, body, push.HMAC); err != nil {
		return nil, nil, err
	}
	if !h.strangers.keep(x) {
		return nil, nil, busy
	}
	return body, func() { h.strangers.leave(x) }, nil
}

// receive reads the body of a request, which is limited to max_body.
func (h *handler) receive(r *http.Request, push *config.Push) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, tooLarge(push.MaxBody)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &refusal{http.StatusRequestTimeout, fmt.Sprintf("the body did not arrive within %s; send it again", h.limits.body)}
	case err != nil:
		return nil, &refusal{http.StatusBadRequest, "the body did not arrive"}
	}
	return body, nil
}

func tooLarge(limit int64) error {
	return &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes; see max_body", limit)}
}

var unauthorized = &refusal{http.StatusUnauthorized, "the credential is missing or not the configured one"}

// known checks the credential in a request's headers.
func known(r *http.Request, push *config.Push) error {
	switch {
	case push.Bearer != nil:
		kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		return compare(strings.TrimLeft(token, " "), push.Bearer, strings.EqualFold(kind, "Bearer"))
	case push.Basic != nil:
		username, password, ok := r.BasicAuth()
		return compare(password, &push.Basic.Password, ok && equal(username, push.Basic.Username))
	}
	return nil
}

// compare tells whether a text is the secret, and all else is right, too.
func compare(text string, secret *config.Reference, rest bool) error {
	want, err := secret.Read()
	if err != nil {
		return fmt.Errorf("read the configured secret: %w", err)
	}
	if !equal(text, want) || !rest || want == "" {
		return unauthorized
	}
	return nil
}

// equal takes as long for texts that differ early as for those that differ late
// or in length.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// signature is the one that a request claims to have; nil: none of the right form.
func signature(r *http.Request, by *config.HMAC) []byte {
	text, ok := strings.CutPrefix(r.Header.Get(by.Header), by.Prefix)
	decode := hex.DecodeString
	if by.Encoding == "base64" {
		decode = base64.StdEncoding.DecodeString
	}
	sum, err := decode(text)
	if !ok || err != nil || len(sum) != algorithms[by.Algorithm]().Size() {
		return nil
	}
	return sum
}

var algorithms = map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New}

// signed checks the signature of a body as it was sent.
func signed(r *http.Request, body []byte, by *config.HMAC) error {
	key, err := by.Secret.Read()
	if err != nil {
		return fmt.Errorf("read the configured secret: %w", err)
	}
	sum := hmac.New(algorithms[by.Algorithm], []byte(key))
	sum.Write(body)
	if key == "" || !hmac.Equal(signature(r, by), sum.Sum(nil)) {
		return unauthorized
	}
	return nil
}

// read unpacks a body, and sees to it that all of it is records.
func read(body []byte, encoding string, limit int64) ([]byte, error) {
	body, err := unpack(body, encoding, limit)
	if err != nil {
		return nil, err
	}
	if err := each(body, func([][]byte) error { return nil }); err != nil {
		return nil, &refusal{http.StatusBadRequest, err.Error()}
	}
	return body, nil
}

// each hands over the records of a body, as many at a time as a page holds: a
// body of nothing but numbers has millions.
func each(body []byte, to func(records [][]byte) error) error {
	in := raw.NewJSON(bytes.NewReader(body), int64(len(body)))
	var records [][]byte
	for {
		record, err := in.Next()
		if err != nil && err != io.EOF {
			return err
		}
		if err == nil {
			records = append(records, bytes.Clone(record))
		}
		if len(records) == pagelog.MaxRecords || err == io.EOF && len(records) > 0 {
			if err := to(records); err != nil {
				return err
			}
			records = nil
		}
		if err == io.EOF {
			return nil
		}
	}
}

// unpack undoes a Content-Encoding.
func unpack(body []byte, encoding string, limit int64) ([]byte, error) {
	var in io.Reader
	var err error
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return body, nil
	case "gzip", "x-gzip":
		in, err = gzip.NewReader(bytes.NewReader(body))
	case "zstd":
		var d *zstd.Decoder
		d, err = zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderMaxMemory(16<<20), zstd.WithDecoderConcurrency(1))
		if err == nil {
			defer d.Close()
			in = d
		}
	default:
		return nil, &refusal{http.StatusUnsupportedMediaType, "Content-Encoding is none of gzip, zstd and identity"}
	}
	if err == nil {
		body, err = io.ReadAll(io.LimitReader(in, limit+1))
	}
	switch {
	case int64(len(body)) > limit && err == nil, errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return nil, tooLarge(limit)
	case err != nil:
		return nil, &refusal{http.StatusBadRequest, "the body is not what its Content-Encoding says: " + err.Error()}
	}
	return body, nil
}
