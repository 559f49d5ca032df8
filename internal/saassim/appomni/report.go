package appomni

import (
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
)

// columns are those of a report where nothing else is said.
var columns = []string{
	"action_at", "action_type", "identifier", "user_id", "action_data.user_username", "action_data.user_ip", "action_data.user_agent",
	"service_id", "service_type", "service_name", "perspective_name", "policy_id", "action_data.policy_name", "action_data.rule_id",
	"action_data.target_user_id", "action_data.target_user_username", "action_data.setting_name", "action_data.old_value", "action_data.new_value",
	"action_data.detection_alert_id", "action_data.detection_rule_id", "action_data.detection_rule_name", "action_data.eventsource_name",
	"action_data.sink_name", "action_data.detail_str", "action_data.error_str",
}

// WriteReport writes the scheduled report of the audit log: CSV, the oldest
// first, with the fields of the API as columns (nil: the usual ones) in the
// order given. Times have a space and an offset, and what is null is empty. A
// zero end of the span is open.
func (a *Tenant) WriteReport(w io.Writer, from, to time.Time, fields []string) error {
	if fields == nil {
		fields = columns
	}
	a.mu.RLock()
	log := a.log
	a.mu.RUnlock()
	now := a.Now()
	during := saassim.Window{After: from, Before: to, WithAfter: true}
	during.AtLeast(now.Add(-a.opts.Retention))
	out := csv.NewWriter(w)
	rows := [][]string{fields}
	for _, e := range log.Select(now, during, nil) {
		f := e.fields()
		f["identifier"], f["action_at"] = e.id, strings.Replace(timeText(e.at, "+00:00"), "T", " ", 1)
		row := make([]string, len(fields))
		for i, name := range fields {
			v := f[name]
			if key, ok := strings.CutPrefix(name, "action_data."); ok {
				v = e.data[key]
			}
			if v != nil {
				row[i] = fmt.Sprint(v)
			}
		}
		rows = append(rows, row)
	}
	if err := out.WriteAll(rows); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// admin adds the requests of this product:
//
//	GET /admin/report?from=T&to=T&columns=A,B   the report (see WriteReport)
//	GET /admin/deliveries                       the pushes, one JSON object a line
func (a *Tenant) admin(mux *http.ServeMux) {
	mux.HandleFunc("GET /admin/report", func(rw http.ResponseWriter, r *http.Request) {
		p := a.Params(r)
		from, to := p.Time("from"), p.Time("to")
		if p.Failed(rw) {
			return
		}
		var fields []string
		if s := r.URL.Query().Get("columns"); s != "" {
			fields = strings.Split(s, ",")
		}
		for _, f := range fields {
			if key, ok := strings.CutPrefix(f, "action_data."); ok && !slices.Contains(dataKeys, key) {
				http.Error(rw, "no column "+f, http.StatusBadRequest)
				return
			}
		}
		rw.Header().Set("Content-Type", "text/csv; charset=utf-8")
		_ = a.WriteReport(rw, from, to, fields) // the client may be gone
	})
	mux.HandleFunc("GET /admin/deliveries", func(rw http.ResponseWriter, r *http.Request) {
		for _, d := range a.Deliveries() {
			saassim.WriteLines(rw, []string{string(saassim.Raw(d))})
		}
	})
}
