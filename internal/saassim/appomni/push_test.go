package appomni

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/simtest"
)

// receiver takes what is pushed, as a transport that reaches no network.
type receiver struct {
	mu     sync.Mutex
	answer func(n int) int // the status of each request
	heads  []http.Header
	bodies [][]byte // as sent
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	status := 200
	if r.answer != nil {
		status = r.answer(len(r.bodies))
	}
	r.heads, r.bodies = append(r.heads, req.Header), append(r.bodies, body)
	if status == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("ok")), Request: req}, nil
}

// messages reads the events of a body.
func messages(t *testing.T, body []byte, zipped bool) (all []map[string]any) {
	t.Helper()
	if zipped {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	if body[0] == '[' {
		if err := json.Unmarshal(body, &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	for line := range bytes.Lines(body) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// pushed runs a push for a while.
func pushed(t *testing.T, c *tester, d Destination, r *receiver, during func()) {
	t.Helper()
	d.URL, d.Client = "http://sink.example/ingest", &http.Client{Transport: r}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Push(ctx, d) }()
	synctest.Wait()
	during()
	stop()
	if err := <-ended; err != context.Canceled {
		t.Errorf("push: %v", err)
	}
}

// The same events are pushed as the API has, in another form.
func TestPush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTester(t, Options{Clock: time.Now, MaxPage: 1000})
		old := c.AddAudit(saassim.Batch{N: 20})
		var fresh, late []string
		r := &receiver{}
		pushed(t, c, Destination{Batch: 40}, r, func() {
			now := c.Now()
			fresh = c.AddAudit(saassim.Batch{N: 100, From: now, To: now})
			late = c.AddAudit(saassim.Batch{N: 5, From: now, To: now, Late: time.Hour})
			time.Sleep(time.Minute)
		})
		var got []map[string]any
		for i, body := range r.bodies {
			m := messages(t, body, false)
			got = append(got, m...)
			if len(m) > 40 || r.heads[i].Get("Content-Type") != "application/x-ndjson" || r.heads[i].Get("Authorization") != "" {
				t.Errorf("push of %d, %v", len(m), r.heads[i])
			}
		}
		if len(got) != 100 {
			t.Fatalf("%d were pushed", len(got))
		}
		rows := map[any]map[string]any{}
		for _, row := range simtest.Decode[struct{ Results []map[string]any }](t, c.get(logsPath+"?limit=1000"), 200).Results {
			rows[row["identifier"]] = row
		}
		for _, m := range got {
			id := m["log_id"].(string)
			row := rows[id]
			if slices.Contains(old, id) || slices.Contains(late, id) || !slices.Contains(fresh, id) || row == nil {
				t.Errorf("%s was pushed", id)
				continue
			}
			data := m["action_data"].(map[string]any)
			if data["md_kind"] != "core.aoaudit.auditdata" || m["org_id"] != 176.0 || m["identifier"] != nil ||
				m["action_at"].(string) != strings.Replace(row["action_at"].(string), "Z", "+00:00", 1) {
				t.Errorf("message %v of %v", m, row)
			}
			// Without what is its own, it is the row without its nulls.
			delete(data, "md_kind")
			delete(data, "md_version")
			for _, k := range []string{"log_id", "org_id", "action_at"} {
				delete(m, k)
			}
			delete(row, "identifier")
			delete(row, "action_at")
			prune(row)
			if d := cmp.Diff(row, m); d != "" {
				t.Error(d)
			}
		}
	})
}

func prune(m map[string]any) {
	for k, v := range m {
		if inner, ok := v.(map[string]any); ok {
			prune(inner)
		} else if v == nil {
			delete(m, k)
		}
	}
}

func TestPushForms(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]Destination{
		"array":   {Framing: Array},
		"gzip":    {Gzip: true},
		"both":    {Framing: Array, Gzip: true, Secret: "k"},
		"bearer":  {Token: "t"},
		"basic":   {User: "u", Password: "p"},
		"signed":  {Secret: "k", SignatureHeader: "X-Signed"},
		"of 2023": {Nulls: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newTester(t, Options{Clock: time.Now})
			made := c.AddAudit(saassim.Batch{N: 150})
			r := &receiver{}
			d.Backlog = true
			pushed(t, c, d, r, func() { time.Sleep(time.Second) })
			var got []string
			for i, body := range r.bodies {
				for _, m := range messages(t, body, d.Gzip) {
					got = append(got, m["log_id"].(string))
					data := m["action_data"].(map[string]any)
					if _, ok := data["tag_id"]; ok != d.Nulls || d.Nulls && m["service_type"] == nil {
						t.Errorf("%s: message %v", name, m)
					}
				}
				h := r.heads[i]
				if (body[0] == '[') != (d.Framing == Array && !d.Gzip) || (h.Get("Content-Encoding") == "gzip") != d.Gzip || (h.Get("Content-Type") == "application/json") != (d.Framing == Array) {
					t.Errorf("%s: %v", name, h)
				}
				auth := map[string]string{"bearer": "Bearer t", "basic": "Basic dTpw"}[name]
				if h.Get("Authorization") != auth {
					t.Errorf("%s: Authorization %q", name, h.Get("Authorization"))
				}
				if d.Secret != "" {
					mac := hmac.New(sha256.New, []byte("k"))
					mac.Write(body)
					header := d.withDefaults().SignatureHeader
					if h.Get(header) != "sha256="+hex.EncodeToString(mac.Sum(nil)) {
						t.Errorf("%s: %s %q", name, header, h.Get(header))
					}
				}
			}
			if d := cmp.Diff(simtest.Sorted(made), simtest.Sorted(got)); d != "" || len(r.bodies) != 2 {
				t.Errorf("%s: %d pushes: %s", name, len(r.bodies), d)
			}
		})
	}
}

// What is not taken is pushed again until it is, and some of what is taken too.
func TestPushAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTester(t, Options{Clock: time.Now, Faults: saassim.Faults{saassim.Twice: {Every: 2}}})
		c.AddAudit(saassim.Batch{N: 3})
		r := &receiver{answer: func(n int) int { return []int{503, 202, 0, 200, 200, 200}[min(n, 5)] }}
		began := time.Now()
		pushed(t, c, Destination{Backlog: true}, r, func() {
			time.Sleep(time.Minute)
			if n := len(c.Deliveries()); n != 4 {
				t.Errorf("%d pushes", n)
			}
			now := c.Now()
			c.AddAudit(saassim.Batch{N: 1, From: now, To: now})
			time.Sleep(time.Minute)
		})
		var waits []time.Duration
		var statuses []int
		for _, d := range c.Deliveries() {
			waits, statuses = append(waits, d.Time.Sub(began)), append(statuses, d.Status)
		}
		if d := cmp.Diff([]int{503, 202, 0, 200, 200, 200}, statuses); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}, waits[:4]); d != "" {
			t.Error(d)
		}
		last := c.Deliveries()[5]
		if !last.Again || !bytes.Equal(r.bodies[4], r.bodies[5]) || bytes.Equal(r.bodies[3], r.bodies[4]) {
			t.Errorf("the last push is %+v", last)
		}
	})
}

// Some events are never pushed; the API has them.
func TestPushLoses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTester(t, Options{Clock: time.Now, Faults: saassim.Faults{saassim.Lost: {Every: 3}}})
		c.AddAudit(saassim.Batch{N: 90})
		r := &receiver{}
		pushed(t, c, Destination{Backlog: true}, r, func() { time.Sleep(time.Second) })
		never := 0
		for e := range c.Truth() {
			if e.StreamAt.IsZero() {
				never++
			}
		}
		if got := messages(t, r.bodies[0], false); len(got) != 60 || never != 30 || c.page().Count != 90 {
			t.Errorf("%d were pushed, %d never, the API has %d", len(got), never, c.page().Count)
		}
	})
}

func TestReport(t *testing.T) {
	t.Parallel()
	c := newTester(t, Options{MaxPage: 1000})
	c.AddAudit(saassim.Batch{N: 300})
	read := func(from, to time.Time, fields []string) [][]string {
		t.Helper()
		var buf bytes.Buffer
		if err := c.WriteReport(&buf, from, to, fields); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&buf).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	whole := read(time.Time{}, time.Time{}, nil)
	all := c.page("limit", "1000").Results
	if len(whole) != 301 || len(whole[0]) != len(columns) {
		t.Fatalf("%d rows of %d columns", len(whole), len(whole[0]))
	}
	for i, row := range whole[1:] {
		r := all[len(all)-1-i]
		at, err := time.Parse("2006-01-02 15:04:05.999999-07:00", row[0])
		if err != nil || !at.Equal(r.time(t)) || row[1] != r.Action || row[2] != r.ID || (row[3] == "") != (r.User == nil) {
			t.Errorf("row %v of %+v, %v", row, r, err)
		}
	}
	from := all[200].time(t)
	other := read(from, all[100].time(t), []string{"action_data.user_ip", "identifier"})
	if len(other) != 101 || other[0][1] != "identifier" || other[1][1] != all[200].ID {
		t.Errorf("%d rows, the first %v", len(other), other[1])
	}
}
