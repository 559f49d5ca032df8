package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// reportTenant makes reports as the Wiz API's schema says.
type reportTenant struct {
	t      *testing.T
	server *httptest.Server

	mu      sync.Mutex
	looks   int // until the report is ready
	states  []string
	run     int            // number of the last run
	rerun   int            // looks after which a run that was ordered shows; 0: none was
	input   map[string]any // of the last order
	orders  int
	name    string   // of the report
	fail    string   // the API's message to every order
	later   []string // Retry-After of the next orders, which are throttled; "": it is not said
	expired int      // so many times an address is refused
	moved   bool     // the API is elsewhere
}

func newReportTenant(t *testing.T) *reportTenant {
	r := &reportTenant{t: t, states: []string{"QUEUED", "IN_PROGRESS", "COMPLETED"}, run: 1}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

func (r *reportTenant) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch req.URL.Path {
	case "/oauth/token":
		fmt.Fprint(w, `{"access_token":"report-token","token_type":"Bearer","expires_in":3600}`)
	case "/signed":
		if req.Header.Get("Authorization") != "" {
			r.t.Error("the credential was sent to the signed address")
		}
		if r.expired--; r.expired >= 0 || req.URL.Query().Get("signature") != "s3cret-signature" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, "ID,Timestamp,Action,Status\nreported-"+req.URL.Query().Get("run")+",2026-01-02T03:04:05Z,Login,SUCCESS\n")
	case "/graphql":
		if r.moved {
			http.Redirect(w, req, "https://elsewhere.example/graphql", http.StatusFound)
			return
		}
		var body struct {
			Query     string
			Variables map[string]any
		}
		if err := json.NewDecoder(req.Body).Decode(&body); err != nil || req.Header.Get("Authorization") != "Bearer report-token" {
			r.t.Errorf("request %v, %v", req.Header, err)
		}
		if len(r.later) > 0 && strings.Contains(body.Query, "mutation") {
			if r.later[0] != "" {
				w.Header().Set("Retry-After", r.later[0])
			}
			r.later = r.later[1:]
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		fmt.Fprint(w, r.answer(body.Query, body.Variables))
	}
}

func (r *reportTenant) answer(query string, variables map[string]any) string {
	report := func() string {
		state := r.states[min(r.looks, len(r.states)-1)]
		url := "null"
		if state == "COMPLETED" {
			url = fmt.Sprintf("\"%s/signed?signature=s3cret-signature&run=%d\"", r.server.URL, r.run)
		}
		return fmt.Sprintf(`{"id":"rep-1","name":%q,"type":{"id":"AUDIT_LOG"},"lastRun":{"id":"run-%d","status":%q,"progress":50,"failedReason":"too many rows","runAt":"2026-01-02T00:00:00Z","url":%s}}`, cmp.Or(r.name, "my report"), r.run, state, url)
	}
	switch {
	case r.fail != "" && strings.Contains(query, "mutation"):
		return `{"errors":[{"message":"` + r.fail + `"}],"data":null}`
	case strings.Contains(query, "createReport("):
		r.orders++
		r.input, _ = variables["input"].(map[string]any)
		return `{"data":{"createReport":{"report":` + report() + `}}}`
	case strings.Contains(query, "rerunReport("):
		r.orders++
		r.rerun = 3
		return `{"data":{"rerunReport":{"report":` + report() + `}}}`
	case strings.Contains(query, "report(id"):
		r.looks++
		if r.rerun > 0 {
			if r.rerun--; r.rerun == 0 {
				r.run++
				r.looks, r.states = 0, []string{"QUEUED", "IN_PROGRESS", "COMPLETED"}
			}
		}
		if variables["id"] != "rep-1" {
			return `{"data":{"report":null}}`
		}
		return `{"data":{"report":` + report() + `}}`
	default:
		return `{"data":{"reports":{"nodes":[` + report() + `]}}}`
	}
}

// try runs the command on a configuration with the tenant.
func (r *reportTenant) try(args ...string) (status int, stdout, stderr string) {
	r.t.Helper()
	dir := r.t.TempDir()
	config := filepath.Join(dir, "trawl.yaml")
	text := fmt.Sprintf(`
connections:
  wiz-prod:
    product: wiz
    settings: {api_url: %[1]s/graphql, token_url: %[1]s/oauth/token, client_id: some-client, client_secret: some-secret}
outputs: {o: {type: file, path: events.ndjson}}
`, r.server.URL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	var out, err strings.Builder
	a := newApp(strings.NewReader(""), &out, &err)
	a.reportEvery = time.Millisecond
	status = a.execute(r.t.Context(), append(args, "-c", config))
	if strings.Contains(out.String()+err.String(), "s3cret") || strings.Contains(out.String()+err.String(), "some-secret") {
		r.t.Errorf("a secret was printed:\n%s%s", out.String(), err.String())
	}
	return status, out.String(), err.String()
}

func TestReport(t *testing.T) {
	t.Parallel()
	const file = "ID,Timestamp,Action,Status\nreported-1,2026-01-02T03:04:05Z,Login,SUCCESS\n"
	t.Run("create", func(t *testing.T) {
		t.Parallel()
		r := newReportTenant(t)
		out := filepath.Join(t.TempDir(), "audit.csv")
		status, _, said := r.try("wiz", "report", "create", "wiz-prod", "--since", "2026-01-01", "--name", "my report", "-o", out)
		got, err := os.ReadFile(out)
		if status != 0 || err != nil || string(got) != file {
			t.Errorf("status %d, %v, %q: %s", status, err, got, said)
		}
		want := `{"auditLogParams":{"filters":{"timestamp":{"after":"2026-01-01T00:00:00.000000Z"}}},"format":"CSV","name":"my report","type":"AUDIT_LOG"}`
		if input, err := json.Marshal(r.input); err != nil || string(input) != want {
			t.Errorf("ordered %s", input)
		}
		if !strings.Contains(said, "trawl import wiz-prod/audit "+out) || !strings.Contains(said, "IN_PROGRESS 50 %") {
			t.Errorf("it said: %s", said)
		}
	})
	for name, tc := range map[string]struct {
		change func(*reportTenant)
		args   []string
		status int
		stdout string
		says   string
		silent string // it says nothing of this
		orders int
	}{
		"rerun":                 {change: func(r *reportTenant) { r.states = []string{"COMPLETED"} }, args: []string{"rerun", "wiz-prod", "rep-1", "-o", "-"}, stdout: strings.ReplaceAll(file, "reported-1", "reported-2"), says: "IN_PROGRESS 50 %", orders: 1},
		"rerun of a failure":    {change: func(r *reportTenant) { r.states = []string{"FAILED"} }, args: []string{"rerun", "wiz-prod", "rep-1", "-o", "-"}, stdout: strings.ReplaceAll(file, "reported-1", "reported-2"), orders: 1},
		"rerun of none":         {args: []string{"rerun", "wiz-prod", "rep-2"}, status: 1, says: "report rep-2: there is none of this id; see `trawl wiz report list wiz-prod`\n"},
		"download":              {args: []string{"download", "wiz-prod", "rep-1", "-o", "-"}, stdout: file},
		"not waiting":           {args: []string{"create", "wiz-prod", "--no-wait"}, stdout: "rep-1\n", orders: 1},
		"list":                  {args: []string{"list", "wiz-prod"}, stdout: "ID     TYPE       STATE   LAST RUN              NAME\nrep-1  AUDIT_LOG  QUEUED  2026-01-02 00:00:00Z  my report\n"},
		"failed":                {change: func(r *reportTenant) { r.states = []string{"QUEUED", "FAILED"} }, args: []string{"download", "wiz-prod", "rep-1"}, status: 1, says: "report rep-1 failed: too many rows; make it anew with `trawl wiz report rerun wiz-prod rep-1`\n"},
		"expired":               {change: func(r *reportTenant) { r.states = []string{"EXPIRED"} }, args: []string{"download", "wiz-prod", "rep-1"}, status: 1, says: "make it anew with `trawl wiz report rerun wiz-prod rep-1`\n"},
		"address expired":       {change: func(r *reportTenant) { r.expired = 2 }, args: []string{"download", "wiz-prod", "rep-1", "-o", "-"}, status: 1, says: "the address may have expired; make the file anew with `trawl wiz report rerun wiz-prod rep-1`, or try again with `trawl wiz report download wiz-prod rep-1`\n"},
		"address expired once":  {change: func(r *reportTenant) { r.expired = 1 }, args: []string{"download", "wiz-prod", "rep-1", "-o", "-"}, stdout: file},
		"no such report":        {args: []string{"download", "wiz-prod", "rep-2"}, status: 1, says: "report rep-2: there is none of this id; see `trawl wiz report list wiz-prod`\n"},
		"nobody of the API":     {change: func(r *reportTenant) { r.moved = true }, args: []string{"download", "wiz-prod", "rep-1"}, status: 1, says: "elsewhere.example"},
		"refused":               {change: func(r *reportTenant) { r.fail = "access denied, at least one permission is missing" }, args: []string{"create", "wiz-prod"}, status: 1, says: "create:reports", silent: "whether it was made"},
		"never ready":           {change: func(r *reportTenant) { r.states = []string{"QUEUED"} }, args: []string{"download", "wiz-prod", "rep-1", "--timeout", "20ms"}, status: 1, says: "was not ready within 20ms; go on waiting with `trawl wiz report download wiz-prod rep-1`\n"},
		"ordered once only":     {change: func(r *reportTenant) { r.fail = "internal error" }, args: []string{"create", "wiz-prod"}, status: 1, says: "before you try again, see with `trawl wiz report list wiz-prod` whether it was made\n"},
		"another kind":          {args: []string{"create", "wiz-prod", "--kind", "cats"}, status: 2, says: `--kind is "cats"; there can be reports of: audit`},
		"another form":          {args: []string{"create", "wiz-prod", "--as", "pdf"}, status: 2, says: `--as is "pdf"; it can be csv or json`},
		"a folder":              {args: []string{"rerun", "wiz-prod", "rep-1", "-o", os.TempDir()}, status: 2, says: "is a folder; name a file in it"},
		"no such folder":        {args: []string{"create", "wiz-prod", "-o", "no/such/folder"}, status: 2, says: "there is no folder no/such"},
		"ends before it begins": {args: []string{"create", "wiz-prod", "--since", "1d", "--until", "3d"}, status: 2, says: "the end, --until 3d, lies before the beginning, --since 1d"},
		"begins in the future":  {args: []string{"create", "wiz-prod", "--since", "2999-01-01"}, status: 2, says: "the end, --until now, lies before the beginning, --since 2999-01-01"},
		"ends in the future":    {args: []string{"create", "wiz-prod", "--until", "2999-01-01"}, status: 2, says: "--until 2999-01-01 is in the future"},
		"nothing between":       {args: []string{"create", "wiz-prod", "--since", "2026-01-01", "--until", "2026-01-01"}, status: 2, says: "there is nothing between --since 2026-01-01 and --until 2026-01-01"},
		"no time":               {args: []string{"create", "wiz-prod", "--until", "tomorrow"}, status: 2, says: `--until: "tomorrow" is neither an age nor a time`},
		"a past range":          {args: []string{"create", "wiz-prod", "--since", "3d", "--until", "1d", "--no-wait"}, stdout: "rep-1\n", orders: 1},
		"until now":             {args: []string{"create", "wiz-prod", "--until", "0s", "--no-wait"}, stdout: "rep-1\n", orders: 1},
		"a negative wait":       {args: []string{"create", "wiz-prod", "--timeout", "-1s"}, status: 2, says: "--timeout is -1s, and must be more than 0"},
		"no wait at all":        {args: []string{"rerun", "wiz-prod", "rep-1", "--timeout", "0"}, status: 2, says: "--timeout is 0s, and must be more than 0"},
		"throttled":             {change: func(r *reportTenant) { r.later = []string{"0.01", "", "0.01"} }, args: []string{"create", "wiz-prod", "--no-wait"}, stdout: "rep-1\n", says: "it is ordered again in", orders: 1},
		"throttled for long":    {change: func(r *reportTenant) { r.later = []string{"60"} }, args: []string{"create", "wiz-prod", "--timeout", "50s"}, status: 1, says: "nothing was ordered, as the wait would be longer than --timeout 50s\n", silent: "whether it was made"},
		"a device":              {change: func(r *reportTenant) { r.states = []string{"COMPLETED"} }, args: []string{"create", "wiz-prod", "-o", os.DevNull}, silent: "trawl import", orders: 1},
		"no id":                 {args: []string{"download", "wiz-prod"}, status: 2, says: "missing: ID"},
		"another account":       {args: []string{"list", "wiz-dev"}, status: 2, says: `connection "wiz-dev" is not configured; there are: wiz-prod`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReportTenant(t)
			if tc.change != nil {
				tc.change(r)
			}
			status, out, said := r.try(append([]string{"wiz", "report"}, tc.args...)...)
			if status != tc.status || out != tc.stdout && tc.stdout != "" || !strings.Contains(said, tc.says) || tc.silent != "" && strings.Contains(said, tc.silent) || r.orders != tc.orders {
				t.Errorf("status %d, %d orders\n%s\n%s", status, r.orders, out, said)
			}
		})
	}
}

// TestReportNames: by itself a file has a name that can be typed, and what is
// suggested can be pasted whatever the name.
func TestReportNames(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, first, want string }{
		{"trawl-audit-20261121-201556", "ID,Timestamp", "trawl-audit-20261121-201556.csv"},
		{"trawl-audit-20261121-201556", `[{"id"`, "trawl-audit-20261121-201556.json"},
		{"empty", "", "empty.csv"},
		{"All of\tMay", "ID", "All-of-May.csv"},
		{"may.CSV", "ID", "may.CSV"},
		{"may.csv", "[", "may.csv.json"},
		{"../../etc/passwd", "ID", "_._.._etc_passwd.csv"},
		{"-rf", "ID", "_rf.csv"},
		{"a\x1bb", "ID", "a_b.csv"},
	} {
		if got := fileName(tc.name, []byte(tc.first)); got != tc.want {
			t.Errorf("%q that begins with %q: %s, want %s", tc.name, tc.first, got, tc.want)
		}
	}
	for _, tc := range []struct{ text, want string }{
		{"audit.csv", "audit.csv"}, {"übung/a_b-1.json", "übung/a_b-1.json"}, {"two words", "'two words'"},
		{"it's", `'it'\''s'`}, {"~", "'~'"}, {"$HOME", "'$HOME'"}, {"", "''"},
	} {
		if got := shellWord(tc.text); got != tc.want {
			t.Errorf("%q is written %s, want %s", tc.text, got, tc.want)
		}
	}
}
