package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/wiz"
)

// faultCase is a tenant that misbehaves, and how the run that meets it has to
// end. The run after it meets a healthy tenant.
type faultCase struct {
	faults string
	setup  setup
	brief  bool   // the tenant is a moment old, so that cutting slices comes to an end soon
	status int    // 0: all is collected in spite of it
	says   string // a regular expression that the run's stderr has to match
}

// Every fault that a tenant can have stands here once at least.
var faultCases = map[string]faultCase{
	// What a run gets over by itself.
	"slow":            {faults: "slow=1/2:30ms"},
	"hang":            {faults: "hang=1x", setup: setup{connection: "http: {timeout: 4s}"}},
	"reset":           {faults: "reset=2x"},
	"throttle":        {faults: "throttle=2x"},
	"throttle-date":   {faults: "throttle-date=1x"},
	"throttle-bare":   {faults: "throttle-bare=1x"},
	"throttle-body":   {faults: "throttle-body=1x"},
	"error500":        {faults: "error500=2x"},
	"error502":        {faults: "error502=2x"},
	"error503":        {faults: "error503=2x"},
	"unavailable":     {faults: "unavailable=1x"},
	"html":            {faults: "html=2x"},
	"expire":          {faults: "expire=1/9"},
	"errors":          {faults: "errors=2x"},
	"partial":         {faults: "partial=2x"},
	"null-nodes":      {faults: "null-nodes=2x"},
	"truncate":        {faults: "truncate=2x"},
	"cut-json":        {faults: "cut-json=2x"},
	"huge":            {faults: "huge=2x:3145728", setup: setup{connection: "http: {max_body: 2MiB}"}},
	"signin500":       {faults: "signin500=2x"},
	"signin-throttle": {faults: "signin-throttle=1x"},
	"signin-lost":     {faults: "signin-lost=1x"},
	"repeat":          {faults: "repeat=1/3"},
	"empty":           {faults: "empty=1/3"},
	"stuck":           {faults: "stuck=3x"},
	"null-cursor":     {faults: "null-cursor=3x"},
	"numeric-cursor":  {faults: "numeric-cursor"},
	"cap":             {faults: "cap:150"},
	"missing":         {faults: "missing=1/2"},
	"duplicate":       {faults: "duplicate"},
	"shift":           {faults: "shift=1/3:2"},
	"unordered":       {faults: "unordered"},
	"equal":           {faults: "equal:40"},
	"late":            {faults: "late:5m"},
	"vanish":          {faults: "vanish", setup: setup{sources: "{audit: {start: 25h, page_size: 100}, issues: {start: 25h, page_size: 20}}"}},

	"signin401": {faults: "signin401=1x"},

	// Several at once.
	"chaos":                        {faults: "chaos"},
	"chaos of the cursors":         {faults: "repeat=0.2,empty=0.2,duplicate=0.5,stuck=2x,null-cursor=2x,shift=1/5:2,unordered,equal=0.2:30"},
	"chaos of the answers":         {faults: "reset=0.03,truncate=0.04,cut-json=0.03,html=0.03,errors=0.03,partial=0.04,null-nodes=0.03,expire=1/11,error502=0.03"},
	"capped, shifting and chaotic": {faults: "chaos,shift=1/7:1", setup: setup{tenant: wiz.Options{AuditCap: 150}}},
	"shuffled snapshots":           {faults: "truncate=0.1,repeat=0.1", setup: setup{tenant: wiz.Options{Order: wiz.Shuffled, Cursors: wiz.SnapshotCursors, AuditCap: 200}}},
	"oldest first, inclusive":      {faults: "equal:30,empty=0.1", setup: setup{tenant: wiz.Options{Order: wiz.OldestFirst, Inclusive: true, AuditCap: 200}}},
	"compressed":                   {faults: "truncate=2x,cut-json=1x", setup: setup{tenant: wiz.Options{Gzip: true}}},

	// What ends a run, once it has done what it could.
	"signin401 for ever": {faults: "signin401", status: 1,
		says: `trawl: feed wiz-prod/\w+ stopped: wiz-prod sign-in: HTTP 401: .*check client_id and client_secret .*connection wiz-prod, sent to http://127\.0\.0\.1:\d+/oauth/token\n$`},
	"unauthorized for ever": {faults: "unauthorized", status: 1,
		says: `HTTP 401: .*check client_id and client_secret .*connection wiz-prod, .*refused by http://127\.0\.0\.1:\d+/graphql; `},
	"error503 for ever":    {faults: "error503", status: 1, says: `(?m)^trawl: wiz-prod/audit page \(query TrawlAuditLog\): HTTP 503: `},
	"stuck for ever":       {faults: "stuck", brief: true, status: 1, says: `(is incomplete in \d+ slice|is stuck)`},
	"null-cursor for ever": {faults: "null-cursor", brief: true, status: 1, says: `says that there are more pages and gives no cursor for them`},
	"cap below one moment": {faults: "cap:10,equal:40", brief: true, status: 1, says: `is (incomplete|stuck)`},
	"huge for ever":        {faults: "huge:3145728", setup: setup{connection: "http: {max_body: 2MiB}"}, status: 1, says: `max_body`},
	"missing for ever":     {faults: "missing"},
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for name, c := range faultCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from := 24 * time.Hour
			if c.brief {
				from = 10 * time.Second
				start := time.Now().Add(-2 * from).Format(time.RFC3339)
				c.setup.sources = fmt.Sprintf("{audit: {start: %[1]s, page_size: 100}, issues: {start: %[1]s, page_size: 100}}", start)
			}
			s := newScenario(t, c.setup)
			s.faults(c.faults)
			s.tenant.AddAudit(saassim.Batch{N: 600, From: s.now().Add(-from)})
			s.tenant.AddAudit(saassim.Batch{N: 60, From: s.now().Add(-from / 100), Equal: 3})
			s.tenant.AddIssues(saassim.Batch{N: 150, From: s.now().Add(-from)})
			said := s.once(c.status)
			if ok, err := regexp.MatchString(c.says, said); !ok {
				t.Errorf("run --once said (%v):\n%s", err, said)
			}
			if c.status == 0 && strings.Contains(said, "trawl: ") {
				t.Errorf("run --once said:\n%s", said)
			}
			if n := len(s.tenant.Stats().ByFault); n == 0 && name != "equal" && name != "late" { // these are in the records
				t.Error("no fault struck")
			}
			s.faults("")
			s.later(2 * time.Hour)
			if name == "hang" {
				s.replace("trawl.yaml", "timeout: 4s", "timeout: 1h") // where nothing hangs nothing is cut off
			}
			said = s.once(0)
			if strings.Contains(said, "level=WARN") || strings.Contains(said, "level=ERROR") {
				t.Errorf("with a healthy tenant it said:\n%s", said)
			}
			s.wantAll()
			before := len(s.documents())
			s.once(0)
			if after := len(s.documents()); after != before {
				t.Errorf("the third run added %d documents", after-before)
			}
		})
	}
	tenant, err := wiz.New(wiz.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tenant.FaultNames() {
		if strings.HasPrefix(string(f), "report-") {
			continue // nothing that is collected; testdata/script/report.txtar has them
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(faultCases)), func(c faultCase) bool { return strings.Contains(c.faults, string(f)) }) {
			t.Errorf("fault %s is not tested", f)
		}
	}
}
