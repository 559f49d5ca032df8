package catalogfiles_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Wiz's audit records of the older shape become exactly what others made of
// them, beside what every document has: the mapping may not say more of them,
// whatever -update writes.
func TestOlderWizAuditRecords(t *testing.T) {
	t.Parallel()
	known := []string{
		"@timestamp",
		"event.action", "event.category", "event.dataset", "event.message", "event.outcome", "event.type",
		"observer.vendor",
		"related.ip", "related.user",
		"source.address", "source.ip",
		"user.email", "user.id", "user.name",
		"user_agent.device.name", "user_agent.name", "user_agent.original", "user_agent.os.name", "user_agent.os.version", "user_agent.version",
		"wiz.audit.products", "wiz.audit.role", "wiz.audit.scopes", "wiz.audit.service_account.creator.email", "wiz.audit.status", "wiz.audit.user.type",
		// Of every document.
		"data_stream.dataset", "emm.category", "emm.event_type", "event.id", "event.module", "event.original", "trawl.source", "trawl.uid",
	}
	for _, name := range []string{
		"createsamluser", "login", "login_failure", "report", "rerun_report", "revokesessions",
		"test_service_account", "tokenrefresh", "update_report", "updateuser",
	} {
		raw, err := os.ReadFile(filepath.Join("wiz", "testdata", "audit", name+".expected.json"))
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(raw, &doc); err != nil {
			t.Fatal(err)
		}
		for _, field := range fieldsOf("", doc) {
			if !slices.Contains(known, field) {
				t.Errorf("%s has %s", name, field)
			}
		}
	}
}

func fieldsOf(at string, object map[string]any) (fields []string) {
	for name, value := range object {
		if inner, ok := value.(map[string]any); ok {
			fields = append(fields, fieldsOf(at+name+".", inner)...)
		} else {
			fields = append(fields, at+name)
		}
	}
	return fields
}
