package wiz

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// auditReport is the id of the built-in type of report that a tenant can make.
const auditReport = "AUDIT_LOG"

// report is a report: what it is of, and its runs.
type report struct {
	id, name, format string
	filter           map[string]any // of the audit log
	made             time.Time      // by the tenant's calendar
	runs             []*reportRun   // in the order in which they were asked for
}

// reportRun is one making of a report's file. It goes on by itself: what it is
// at a time follows from when it began.
type reportRun struct {
	id    string
	at    time.Time     // when it began, by the tenant's calendar
	began time.Time     // the same by the machine's clock, which goes on where a calendar stands still
	takes time.Duration // until the file is there
	hides time.Duration // for which the API still tells of the run before

	fails, stuck, dead bool // it fails; it never ends; its links have expired when they are given out
	file               []byte
	count              int
}

// What the API calls the states of a run.
const (
	runQueued     = "QUEUED"
	runInProgress = "IN_PROGRESS"
	runCompleted  = "COMPLETED"
	runFailed     = "FAILED"
	runExpired    = "EXPIRED"
)

// state is what a run has come to, and how far it is in percent.
func (r *reportRun) state(now time.Time, kept time.Duration) (status string, progress int) {
	since := now.Sub(r.began)
	switch {
	case since*4 < r.takes:
		return runQueued, 0
	case r.stuck:
		return runInProgress, min(99, int(100*since/max(r.takes, 1)))
	case since < r.takes:
		return runInProgress, int(100 * since / r.takes)
	case r.fails:
		return runFailed, 100
	case since-r.takes >= kept:
		return runExpired, 100
	}
	return runCompleted, 100
}

// run begins to make the file of a report. The records in it are those of now.
// The tenant's lock is held.
func (w *Tenant) run(r *report) error {
	file, count, err := w.auditFile(r)
	if err != nil {
		return err
	}
	run := &reportRun{
		id: w.gen.UUID(), at: w.Now().Truncate(time.Microsecond), began: time.Now(), takes: w.opts.ReportTime, file: file, count: count,
	}
	_, run.fails = w.Draw(saassim.ReportFails)
	_, run.stuck = w.Draw(saassim.ReportStuck)
	_, run.dead = w.Draw(saassim.ReportDead)
	if len(r.runs) > 0 {
		if s, ok := w.Draw(saassim.ReportStale); ok {
			run.hides = s.Delay
		}
	}
	r.runs = append(r.runs, run)
	return nil
}

// last is the run that the API tells of; nil where there is none.
func (r *report) last(now time.Time) *reportRun {
	for _, run := range slices.Backward(r.runs) {
		if now.Sub(run.began) >= run.hides {
			return run
		}
	}
	return nil
}

// reportOf finds a report by its id. The tenant's lock is held.
func (w *Tenant) reportOf(id string) *report {
	if i := slices.IndexFunc(w.reports, func(r *report) bool { return r.id == id }); i >= 0 {
		return w.reports[i]
	}
	return nil
}

// change answers a mutation, and leaves its entry in the audit log.
func (c *call) change(name string, args map[string]any) (object, gqlError) {
	input := args["input"].(map[string]any)
	w := c.w
	w.mu.Lock()
	answer, failed := c.changeLocked(name, input)
	entry := w.gen.mutation(w.Now(), w.gen.self, strings.ToUpper(name[:1])+name[1:])
	w.mu.Unlock()
	entry.params = saassim.Raw(map[string]any{"input": input, "selection": []any{map[string]any{"report": []string{"id"}}}})
	entry.status, entry.agent = "SUCCESS", c.R.UserAgent()
	if failed.Message != "" {
		entry.status = "FAILED"
	}
	if w.static == nil {
		w.insertAudit([]*auditEntry{entry})
	}
	return answer, failed
}

func (c *call) changeLocked(name string, input map[string]any) (object, gqlError) {
	w := c.w
	if name == "createReport" {
		r := &report{id: w.gen.UUID(), name: input["name"].(string), format: "CSV", made: w.Now().Truncate(time.Microsecond)}
		if format, ok := input["format"].(string); ok {
			r.format = format
		}
		params, _ := input["auditLogParams"].(map[string]any)
		r.filter, _ = params["filters"].(map[string]any)
		switch {
		case input["type"] != auditReport:
			return nil, badInput("report type %v is not simulated", input["type"])
		case r.format != "CSV" && r.format != "JSON":
			return nil, badInput("report format %s is not simulated", r.format)
		}
		if err := w.run(r); err != nil {
			return nil, badInput("%v", err)
		}
		w.reports = append(w.reports, r)
		return thing{"__typename": "CreateReportPayload", "report": c.told(r)}, gqlError{}
	}
	r := w.reportOf(input["id"].(string))
	if r == nil {
		return nil, gqlError{Message: "Resource not found", Code: codeNotFound}
	}
	if name == "deleteReport" {
		w.reports = slices.DeleteFunc(w.reports, func(other *report) bool { return other == r })
		return thing{"__typename": "DeleteReportPayload", "_stub": nil}, gqlError{}
	}
	if err := w.run(r); err != nil {
		return nil, badInput("%v", err)
	}
	return thing{"__typename": "RerunReportPayload", "report": c.told(r)}, gqlError{}
}

// reportsFound answers the query for all reports, the latest first.
func (c *call) reportsFound(args map[string]any) (object, gqlError) {
	const most = 500
	return c.connection("Report", args, most, 0, func() (result, error) {
		filterBy, _ := args["filterBy"].(map[string]any)
		search, _ := filterBy["search"].(string)
		types, states := texts(filterBy["type"]), texts(filterBy["lastReportRunStatus"])
		var found []thing
		c.w.mu.RLock()
		defer c.w.mu.RUnlock()
		for _, r := range slices.Backward(c.w.reports) {
			status, now := "", time.Now()
			if run := r.last(now); run != nil {
				status, _ = run.state(now, c.w.opts.ReportLifetime)
			}
			if strings.Contains(strings.ToLower(r.name), strings.ToLower(search)) &&
				(len(types) == 0 || slices.Contains(types, auditReport)) && (len(states) == 0 || slices.Contains(states, status)) {
				found = append(found, c.told(r))
			}
		}
		return result{n: len(found), at: func(i int) object { return found[i] }}, nil
	})
}

// reportFound answers the query for one report.
func (c *call) reportFound(id string) (object, gqlError) {
	c.w.mu.RLock()
	defer c.w.mu.RUnlock()
	if r := c.w.reportOf(id); r != nil {
		return c.told(r), gqlError{}
	}
	return nil, gqlError{Message: "Resource not found", Code: codeNotFound}
}

// told is a report as the API tells of it at this moment. The tenant's lock is
// held.
func (c *call) told(r *report) thing {
	now := time.Now()
	t := thing{
		"__typename": "Report", "id": r.id, "name": r.name, "format": r.format, "incremental": false,
		"createdAt": r.made, "updatedAt": r.made,
		"type": thing{"__typename": "ReportType", "id": auditReport, "name": "Audit log"},
	}
	if run := r.last(now); run != nil {
		t["lastRun"] = c.toldRun(r, run, t, now)
	}
	for _, run := range slices.Backward(r.runs) {
		if status, _ := run.state(now, c.w.opts.ReportLifetime); status == runCompleted {
			t["lastSuccessfulRun"] = c.toldRun(r, run, t, now)
			break
		}
	}
	return t
}

func (c *call) toldRun(r *report, run *reportRun, of thing, now time.Time) thing {
	status, progress := run.state(now, c.w.opts.ReportLifetime)
	t := thing{"__typename": "ReportRun", "id": run.id, "report": of, "runAt": run.at, "status": status, "progress": progress}
	switch status {
	case runFailed:
		t["failedReason"] = "the report could not be generated"
	case runCompleted:
		t["results"] = thing{"__typename": "ReportRunResultsAuditLog", "count": run.count}
		t["url"] = c.link(r, run, now)
	}
	return t
}

// file is what a run's file is called in the store.
func (r *report) file(run *reportRun) string {
	return fmt.Sprintf("%s%s/%s.%s", FilesPath, r.id, run.id, strings.ToLower(r.format))
}
