package jsonscan

import (
	"bytes"
	"encoding/json"
	"testing"
)

// auditRecord is like an entry of Wiz's audit log, as the API sends it.
var auditRecord = []byte(`{"id":"5d9f1c7e-42b0-4f0e-9a39-0d6a2b6c8e11","action":"UpdateAutomationRule","actionType":"MUTATION",` +
	`"requestId":"0a4d7a3e-8a0f-4a5d-8f1f-7f6f5f4f3f2f","status":"SUCCESS","timestamp":"2025-02-06T13:39:25.30484Z","duration":113,` +
	`"actionParameters":{"input":{"id":"b8ad5ae3-ffea-444f-8d80-175a49e14894","patch":{"name":"Send \"critical\" issues","enabled":true,` +
	`"filters":{"severity":["CRITICAL","HIGH"],"project":null}}},"selection":[{"automationRule":["id","name","enabled"]}],` +
	`"scopes":["read:issues","read:vulnerabilities","admin:audit"]},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",` +
	`"sourceIP":"198.51.100.7","sourceIPCountryCode":"NL","clientType":"WIZ_PORTAL","performer":{"__typename":"UserSnapshot",` +
	`"id":"auth0|6501f0","name":"ada@example.com"},"serviceAccount":null,"user":{"id":"auth0|6501f0","name":"ada@example.com"}}`)

func BenchmarkScan(b *testing.B) {
	var indented bytes.Buffer
	if err := json.Indent(&indented, auditRecord, "", "  "); err != nil {
		b.Fatal(err)
	}
	var paths []Path
	for _, s := range []string{"id", "action", "actionType", "status", "timestamp", "userAgent", "sourceIP", "clientType", "duration",
		"user.id", "user.name", "serviceAccount.id", "serviceAccount.name", "performer.id", "performer.name", "performer.__typename",
		"actionParameters.scopes[]", "actionParameters.role", "actionParameters.error"} {
		paths = append(paths, path(b, s))
	}
	plan := Compile(paths...)
	run := func(name string, plan *Plan, src []byte) {
		b.Run(name, func(b *testing.B) {
			out := make([][]byte, len(paths))
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				plan.Scan(src, out)
			}
		})
	}
	run("record", plan, auditRecord)
	run("indented", plan, indented.Bytes())
	run("skip", Compile(path(b, "data.pageInfo.endCursor")), page(500))
}

// page is an answer of n records.
func page(n int) []byte {
	src := []byte(`{"data":{"nodes":[`)
	for i := range n {
		if i > 0 {
			src = append(src, ',')
		}
		src = append(src, auditRecord...)
	}
	return append(src, `],"pageInfo":{"hasNextPage":false,"endCursor":"x"}}}`...)
}

func BenchmarkElements(b *testing.B) {
	src := page(500)
	nodes := path(b, "data.nodes[]")
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		nodes.Each(src, func([]byte) bool { n++; return true })
		if n != 500 {
			b.Fatal(n)
		}
	}
}

func BenchmarkAppendString(b *testing.B) {
	dst := make([]byte, 0, 4096)
	b.SetBytes(int64(len(auditRecord)))
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendString(dst[:0], auditRecord)
	}
}
