package catalog

import "slices"

var reportMeanings = []string{"done", "failed", "expired"}

func checkReports(top place, p *Product) {
	r := p.Reports
	names := p.names()
	created := slices.Concat(names, []string{"name", "type", "format", "since", "until"})
	for name, kind := range r.Kinds {
		at := top.at("kinds", name)
		at.isName(name)
		at.at("variables").values(kind.Variables, created)
	}
	if len(r.Kinds) == 0 {
		top.at("kinds").Mistake("needs at least one")
	}
	for key, q := range map[string]struct {
		query Query
		names []string
	}{
		"create": {r.Create, created},
		"rerun":  {r.Rerun, slices.Concat(names, []string{"id"})},
		"read":   {r.Read, slices.Concat(names, []string{"id"})},
		"list":   {r.List, names},
	} {
		at := top.at(key)
		at.at("graphql", "variables").values(q.query.GraphQL.Variables, q.names)
		at.at("at").jsonPath(q.query.At)
	}
	at := top.at("report")
	for key, path := range map[string]string{
		"id": r.Report.ID, "name": r.Report.Name, "type": r.Report.Type, "state": r.Report.State,
		"progress": r.Report.Progress, "failure": r.Report.Failure, "run": r.Report.Run, "run_at": r.Report.RunAt, "url": r.Report.URL,
	} {
		at.at(key).jsonPath(path)
	}
	for state, means := range r.States {
		top.at("states", state).isOneOf(means, reportMeanings)
	}
}
