package command

import (
	"flag"
	"strings"
	"time"

	"github.com/trawlsec/trawl/internal/saassim"
	"github.com/trawlsec/trawl/internal/saassim/wiz"
)

var wizProduct = product{
	name: "wiz", sources: []string{"audit", "issues", "vulnerabilities", "configuration_findings", "detections", "system_health_issues"},
	flags: func(fs *flag.FlagSet) func(saassim.Settings, time.Time, time.Time) (*instance, error) {
		var o wiz.Options
		static := fs.Int("static", 0, "`number` of entries of a static audit log, in place of -audit")
		scopes := fs.String("scopes", strings.Join([]string{wiz.ScopeAudit, wiz.ScopeAll, wiz.ScopeCreateReports, wiz.ScopeUpdateReports}, " "), "`scopes` of the service account")
		fs.StringVar((*string)(&o.Order), "order", string(wiz.NewestFirst), "`order` of audit log entries: newest-first, oldest-first, shuffled")
		fs.StringVar((*string)(&o.Cursors), "cursors", string(wiz.OffsetCursors), "`kind` of cursors: offset, snapshot")
		fs.StringVar((*string)(&o.Schema), "schema", string(wiz.CurrentSchema), "`age` of the schema: current, legacy")
		fs.BoolVar(&o.Inclusive, "inclusive", false, "after and before include their own instant")
		fs.IntVar(&o.AuditCap, "cap", 10_000, "most `results` of an audit query; -1 for no limit")
		fs.Float64Var(&o.Rate, "rate", 0, "most GraphQL `requests` a second; 0 for no limit")
		fs.DurationVar(&o.TokenLifetime, "token-lifetime", 24*time.Hour, "how long a token lives")
		fs.BoolVar(&o.AuditReads, "audit-reads", false, "sign-ins and queries leave audit log entries themselves")
		fs.DurationVar(&o.ReportTime, "report-time", 2*time.Second, "how long a report is being made")
		return func(s saassim.Settings, since, now time.Time) (*instance, error) {
			o.Seed, o.Clock, o.Gzip, o.Faults, o.Scopes = s.Seed, s.Clock, s.Gzip, s.Faults, strings.Fields(*scopes)
			if *static > 0 {
				o.Static = &wiz.Static{Records: *static, From: since, To: now}
			}
			w, err := wiz.New(o)
			if err != nil {
				return nil, err
			}
			return &instance{
				Tenant:      w.Tenant,
				paths:       [][2]string{{"api_url", wiz.GraphQLPath}, {"token_url", wiz.TokenPath}},
				credentials: [][2]string{{"client_id", wiz.DefaultClientID}, {"client_secret", wiz.DefaultClientSecret}},
			}, nil
		}
	},
}
