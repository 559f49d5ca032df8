package wiz

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// A file's address is signed as object stores do it (AWS Signature Version 4 in
// the query): it needs no credential, works until it expires, and is refused
// together with another credential.
const (
	signedAlgorithm = "AWS4-HMAC-SHA256"
	signedLayout    = "20060102T150405Z"
)

// link is a new address of a run's file.
func (c *call) link(r *report, run *reportRun, now time.Time) string {
	lives := c.w.opts.LinkLifetime
	if run.dead {
		now = now.Add(-lives - time.Second)
	}
	u := url.URL{Scheme: "http", Host: c.R.Host, Path: r.file(run)}
	date, expires := now.UTC().Format(signedLayout), strconv.Itoa(saassim.Seconds(lives))
	u.RawQuery = url.Values{
		"X-Amz-Algorithm": {signedAlgorithm}, "X-Amz-Date": {date}, "X-Amz-Expires": {expires}, "X-Amz-SignedHeaders": {"host"},
		"X-Amz-Signature": {c.w.signature(u.Path, date, expires)},
	}.Encode()
	return u.String()
}

func (w *Tenant) signature(path, date, expires string) string {
	mac := hmac.New(sha256.New, w.storeKey)
	fmt.Fprintf(mac, "GET\n%s\n%s\n%s", path, date, expires)
	return hex.EncodeToString(mac.Sum(nil))
}

// stored answers a request to the store of files.
func (c *call) stored() {
	c.Entry.Kind = saassim.KindFile
	if !c.Is(http.MethodGet) {
		return
	}
	q := c.R.URL.Query()
	date, expires := q.Get("X-Amz-Date"), q.Get("X-Amz-Expires")
	at, err := time.Parse(signedLayout, date)
	seconds, err2 := strconv.Atoi(expires)
	signed := q.Get("X-Amz-Signature")
	switch {
	case signed != "" && c.R.Header.Get("Authorization") != "":
		c.refuse(http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
	case signed == "" || err != nil || err2 != nil:
		c.refuse(http.StatusForbidden, "AccessDenied", "Access Denied")
	case !saassim.Same(signed, c.w.signature(c.R.URL.Path, date, expires)):
		c.refuse(http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
	case time.Now().After(at.Add(time.Duration(seconds) * time.Second)):
		c.refuse(http.StatusForbidden, "AccessDenied", "Request has expired")
	default:
		kind, file, count := c.w.stored(c.R.URL.Path)
		if file == nil {
			c.refuse(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
			return
		}
		c.Entry.Records = count
		c.File(kind, file)
	}
}

// refuse answers as object stores do.
func (c *call) refuse(status int, code, message string) {
	c.Entry.Auth = saassim.AuthRefused
	c.Send(status, "application/xml", fmt.Appendf(nil, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code, message))
}

// stored is the file at a path that is there now; nil where there is none.
func (w *Tenant) stored(path string) (kind string, file []byte, count int) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, r := range w.reports {
		for _, run := range r.runs {
			if status, _ := run.state(time.Now(), w.opts.ReportLifetime); status != runCompleted || r.file(run) != path {
				continue
			}
			if r.format == "CSV" {
				return "text/csv", run.file, run.count
			}
			return "application/json", run.file, run.count
		}
	}
	return "", nil, 0
}

// reportFields are the fields of an entry that a file has as JSON.
const reportFields = `{ auditLogEntries(first: 1) { nodes {
  id timestamp action actionType status requestId sourceIP sourceIPCountryCode userAgent duration clientType actionParameters
  performer { __typename id name } user { id name email } serviceAccount { id name }
} } }`

// auditFile makes a report's file of the audit log, the oldest entries first:
// all that there are, however many. The tenant's lock is held.
func (w *Tenant) auditFile(r *report) (file []byte, count int, err error) {
	if w.static != nil {
		return nil, 0, fmt.Errorf("reports of a static audit log are not simulated")
	}
	f, err := readAuditFilter(r.filter, w.Now(), w.opts.Inclusive)
	if err != nil {
		return nil, 0, err
	}
	if w.opts.Retention > 0 {
		f.during.AtLeast(w.Now().Add(-w.opts.Retention))
	}
	entries := w.audit.Select(w.Now(), f.during, f.matches)
	if r.format == "CSV" {
		return csvOf(entries), len(entries), nil
	}
	plan, _, errs := w.schema.plan(reportFields, "", nil, false)
	if errs != nil {
		return nil, 0, errs[0]
	}
	nodes := plan.root[0].sub.byType["AuditLogEntryConnection"][0].sub
	all := list{n: len(entries), at: func(i int) object { return entries[i] }}
	return (&writer{}).list(nil, all, nodes), len(entries), nil
}

// reportColumns are the columns of a file as CSV: the names of the schema's
// fields, in words.
var reportColumns = []struct {
	name string
	of   func(*auditEntry) string
}{
	{"ID", func(e *auditEntry) string { return e.id }},
	{"Timestamp", func(e *auditEntry) string { return e.at.UTC().Format(timeLayout) }},
	{"Action", func(e *auditEntry) string { return e.action }},
	{"Action Type", func(e *auditEntry) string { return e.actionType }},
	{"Status", func(e *auditEntry) string { return e.status }},
	{"Request ID", func(e *auditEntry) string { return e.requestID }},
	{"User ID", func(e *auditEntry) string { return e.by.idAs(userAccount) }},
	{"User Email", func(e *auditEntry) string { return onlyOf(e.by, userAccount, e.by.email) }},
	{"Service Account ID", func(e *auditEntry) string { return e.by.idAs(serviceAccount) }},
	{"Service Account", func(e *auditEntry) string { return onlyOf(e.by, serviceAccount, e.by.name) }},
	{"Source IP", func(e *auditEntry) string { return e.ip }},
	{"Source IP Country Code", func(e *auditEntry) string { return e.country }},
	{"User Agent", func(e *auditEntry) string { return e.agent }},
	{"Client Type", func(e *auditEntry) string { return e.client }},
	{"Duration", func(e *auditEntry) string { return strconv.Itoa(e.duration) }},
	{"Action Parameters", func(e *auditEntry) string { return string(e.params) }},
}

// onlyOf is a text about a principal where it is of the kind.
func onlyOf(p *principal, kind principalKind, text string) string {
	if p.kind == kind {
		return text
	}
	return ""
}

func csvOf(entries []*auditEntry) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	row := make([]string, len(reportColumns))
	for i, c := range reportColumns {
		row[i] = c.name
	}
	_ = w.Write(row) // to memory
	for _, e := range entries {
		for i, c := range reportColumns {
			row[i] = c.of(e)
		}
		_ = w.Write(row)
	}
	w.Flush()
	return b.Bytes()
}
