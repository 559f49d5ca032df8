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
	bodyLimit = time.Minute      // for a body to arrive
	mostAtOne = 8                // bodies in memory at a time; others wait
	waitLimit = 20 * time.Second // for their turn
	mostName  = 256              // bytes of a feed's name; a longer one is of none
	again     = "30"             // seconds after which a sender that was put off may come again
)

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
	h := &handler{feeds: map[string]*config.Feed{}, to: to, log: logger, slots: make(chan struct{}, mostAtOne)}
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
	feeds map[string]*config.Feed // by connection/product/source
	to    Taker
	log   *slog.Logger
	slots chan struct{}
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
	pushed, err := h.take(w, r, name)
	w.Header().Set("Content-Type", "application/json")
	if err == nil {
		_ = json.NewEncoder(w).Encode(pushed) // the sender went away: it comes again
		return
	}
	var refused *refusal
	if !errors.As(err, &refused) {
		refused = &refusal{http.StatusInternalServerError, "the records could not be taken; see Trawl's log"}
		h.log.Error("pushed records not taken", "feed", name, "error", err)
	} else {
		h.log.Warn("pushed records refused", "feed", name, "status", refused.status, "reason", err)
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

func (h *handler) take(w http.ResponseWriter, r *http.Request, name string) (collect.Pushed, error) {
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
	ctx, cancel := context.WithTimeout(r.Context(), waitLimit)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return none, &refusal{http.StatusServiceUnavailable, "too much comes at once"}
	}
	// Not every server under test has deadlines; the real one does.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyLimit))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, feed.Push.MaxBody))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return none, tooLarge(feed.Push.MaxBody)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return none, &refusal{http.StatusRequestTimeout, fmt.Sprintf("the body did not arrive within %s; send it again", bodyLimit)}
	case err != nil:
		return none, &refusal{http.StatusBadRequest, "the body did not arrive"}
	}
	if err := signed(r, body, feed.Push.HMAC); err != nil {
		return none, err
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

// signed checks the signature of a body as it was sent.
func signed(r *http.Request, body []byte, by *config.HMAC) error {
	if by == nil {
		return nil
	}
	key, err := by.Secret.Read()
	if err != nil {
		return fmt.Errorf("read the configured secret: %w", err)
	}
	algorithms := map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New}
	sum := hmac.New(algorithms[by.Algorithm], []byte(key))
	sum.Write(body)
	text, ok := strings.CutPrefix(r.Header.Get(by.Header), by.Prefix)
	var signature []byte
	if by.Encoding == "base64" {
		signature, err = base64.StdEncoding.DecodeString(text)
	} else {
		signature, err = hex.DecodeString(text)
	}
	if !ok || err != nil || key == "" || !hmac.Equal(signature, sum.Sum(nil)) {
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
