package appomni

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// Framing is how the events of a push stand in its body.
type Framing string

// The framings.
const (
	Lines Framing = "ndjson" // an event a line
	Array Framing = "array"  // a JSON array
)

// Destination is where events are pushed to, as soon as they are visible.
type Destination struct {
	URL     string
	Framing Framing // "": Lines
	Gzip    bool
	Nulls   bool // write nulls, and "None" for a service type, as pushes of 2023 do
	Backlog bool // push what there is already, too

	Token           string // sent as a bearer token
	User, Password  string // sent as basic authentication
	Secret          string // the key of a signature: the HMAC-SHA256 of the body as sent, "sha256=" and hexadecimal
	SignatureHeader string // that it stands in. "": X-AppOmni-Signature

	Batch  int           // most events in a push. 0: 100
	Every  time.Duration // how often it is looked for new ones. 0: half a second
	Retry  time.Duration // how long to wait after a push that was not answered by 200, doubled each time up to a minute. 0: a second
	Client *http.Client  // nil: one of its own
}

// Delivery is one attempt to push events.
type Delivery struct {
	Time   time.Time `json:"time"`
	Events int       `json:"events"`
	Status int       `json:"status"`          // 0: no answer
	Again  bool      `json:"again,omitempty"` // it had been answered by 200 before
}

// Push pushes events to a destination until the context ends; it returns the
// context's error. A push is repeated until it is answered by 200, and the fault
// Twice repeats it once more after that. The tenant's calendar decides what is
// visible; it waits in real time.
func (a *Tenant) Push(ctx context.Context, d Destination) error {
	d = d.withDefaults()
	if d.Client == nil {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		d.Client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	}
	place := 0
	if !d.Backlog {
		a.mu.Lock()
		place = len(a.arrivals.Read(a.Now()))
		a.mu.Unlock()
	}
	for {
		fresh := a.arrived(place, d.Batch)
		place += len(fresh)
		if len(fresh) == 0 {
			if err := sleep(ctx, d.Every); err != nil {
				return err
			}
			continue
		}
		body, err := d.body(fresh, a.opts.OrgID)
		if err != nil {
			return fmt.Errorf("push to %s: %w", d.URL, err)
		}
		if err := a.deliver(ctx, d, body, len(fresh)); err != nil {
			return err
		}
	}
}

func (d Destination) withDefaults() Destination {
	if d.Framing == "" {
		d.Framing = Lines
	}
	if d.SignatureHeader == "" {
		d.SignatureHeader = "X-AppOmni-Signature"
	}
	if d.Batch == 0 {
		d.Batch = 100
	}
	if d.Every == 0 {
		d.Every = 500 * time.Millisecond
	}
	if d.Retry == 0 {
		d.Retry = time.Second
	}
	return d
}

// arrived are the events behind a place, at most so many.
func (a *Tenant) arrived(place, most int) (events []*event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	entries := a.arrivals.Read(a.Now())[place:]
	for _, n := range entries[:min(most, len(entries))] {
		events = append(events, n.Record)
	}
	return events
}

// deliver pushes one body until it is taken.
func (a *Tenant) deliver(ctx context.Context, d Destination, body []byte, events int) error {
	wait := d.Retry
	for again := false; ; {
		status, err := d.send(ctx, body)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.delivered(Delivery{Time: time.Now(), Events: events, Status: status, Again: again})
		if err == nil && status == http.StatusOK {
			if _, twice := a.Draw(saassim.Twice); !twice || again {
				return nil
			}
			again = true
			continue
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, time.Minute)
	}
}

// keptDeliveries is how many attempts to push a tenant remembers, or twice that.
const keptDeliveries = 1 << 14

func (a *Tenant) delivered(d Delivery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.deliveries) == 2*keptDeliveries {
		a.deliveries = slices.Clone(a.deliveries[keptDeliveries:])
	}
	a.deliveries = append(a.deliveries, d)
}

// Deliveries are the attempts to push so far; of very many, the last ones.
func (a *Tenant) Deliveries() []Delivery {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Clone(a.deliveries)
}

// body frames and compresses events.
func (d Destination) body(events []*event, org int) ([]byte, error) {
	var buf bytes.Buffer
	out, end := io.Writer(&buf), func() error { return nil }
	if d.Gzip {
		z := gzip.NewWriter(&buf)
		out, end = z, z.Close
	}
	messages := make([]json.RawMessage, len(events))
	for i, e := range events {
		messages[i] = e.message(org, d.Nulls)
	}
	enc := json.NewEncoder(out) // ends each value with a line break
	if d.Framing == Array {
		if err := enc.Encode(messages); err != nil {
			return nil, err
		}
	} else {
		for _, m := range messages {
			if err := enc.Encode(m); err != nil {
				return nil, err
			}
		}
	}
	err := end()
	return buf.Bytes(), err
}

// send makes one request; status 0 is none.
func (d Destination) send(ctx context.Context, body []byte) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", map[Framing]string{Lines: "application/x-ndjson", Array: "application/json"}[d.Framing])
	r.Header.Set("User-Agent", "AppOmni")
	if d.Gzip {
		r.Header.Set("Content-Encoding", "gzip")
	}
	if d.Token != "" {
		r.Header.Set("Authorization", "Bearer "+d.Token)
	}
	if d.User != "" {
		r.SetBasicAuth(d.User, d.Password)
	}
	if d.Secret != "" {
		mac := hmac.New(sha256.New, []byte(d.Secret))
		mac.Write(body)
		r.Header.Set(d.SignatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	resp, err := d.Client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
