package catalogfiles_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/trawlsec/trawl/internal/ecs"
	"github.com/trawlsec/trawl/internal/raw"
)

// A table of the audit log becomes documents with all that its columns tell.
func TestWizAuditTable(t *testing.T) {
	t.Parallel()
	src, m := auditMapper(t)
	for _, head := range []string{
		"ID,Timestamp,Action,Action Type,Client Type,Duration,AI Engines,AI Agent Type,Performer ID,Performer Name,Source IP Country Code",
		"Audit Log ID,Timestamp (UTC),Action Name,actionType,clientType,duration,aiEngines,aiAgentType,performer.id,performer.name,Country",
	} {
		table, err := raw.NewCSV(strings.NewReader(head+"\n"+
			`a-1,2026-01-02T03:04:05Z,CreateUser,MUTATION,MCP,12,"[""ONE"",""TWO""]",BLUE,p-1,Ada,NL`+"\n"), src.Columns, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		record, err := table.Next()
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(m.Append(nil, record, ecs.Meta{}), &doc); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]string{
			"@timestamp": `"2026-01-02T03:04:05.000000Z"`, "event.id": `"a-1"`, "event.action": `"CreateUser"`,
			"user.id": `"p-1"`, "user.name": `"Ada"`, "source.geo.country_iso_code": `"NL"`,
			"wiz.audit.action_type": `"MUTATION"`, "wiz.audit.client_type": `"MCP"`, "wiz.audit.duration": `12`,
			"wiz.audit.ai_engines": `["ONE","TWO"]`, "wiz.audit.ai_agent_type": `"BLUE"`,
		} {
			var value any = doc
			for _, name := range strings.Split(path, ".") {
				object, _ := value.(map[string]any)
				value = object[name]
			}
			if got, _ := json.Marshal(value); string(got) != want {
				t.Errorf("%s: %s is %s, not %s", head, path, got, want)
			}
		}
	}
}
