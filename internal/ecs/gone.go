package ecs

import (
	"maps"
	"time"

	"github.com/trawlsec/trawl/internal/catalog"
	"github.com/trawlsec/trawl/internal/jsonscan"
)

// GoneAction is event.action of the documents that say that something is gone.
const GoneAction = "gone"

// GoneRecord is what the log keeps in place of a record where the record of a
// state with this id is no longer there: it was at the time after or later, and
// was not any more by the time at. Every mapper of the source takes it for that.
func GoneRecord(id string, after, at time.Time) []byte {
	record := append([]byte(goneMark), jsonscan.AppendString(nil, []byte(id))...)
	record = append(append(record, `,"after":`...), appendTime(nil, after)...)
	record = append(append(record, `,"at":`...), appendTime(nil, at)...)
	return append(record, "}}}"...)
}

// goneMark is how a GoneRecord begins, and no record of a product does.
const goneMark = `{"trawl":{"gone":{"id":`

// of is the mapper that a record takes: the source's, or that of its GoneRecords.
func (m *Mapper) of(record []byte) *Mapper {
	if m.gone != nil && len(record) > len(goneMark) && string(record[:len(goneMark)]) == goneMark {
		return m.gone
	}
	return m
}

// compileGone makes the mapper of a source's GoneRecords. Their documents hold
// what is the same in every document of the source, and their keys depend on
// the id and the time: who vanishes twice has two.
func compileGone(src *catalog.Source) (*Mapper, error) {
	const id, after, at = "trawl.gone.id", "trawl.gone.after", "trawl.gone.at"
	constants := map[string]any{"event.kind": "state"}
	maps.Copy(constants, src.ECS.Constants)
	constants["event.action"], constants["event.type"] = GoneAction, []string{"end"}
	delete(constants, "message")
	gone := &catalog.Source{
		Product: src.Product, ID: src.ID,
		Record: catalog.Record{ID: catalog.Paths{id}, Version: []string{at}, Time: []string{at}},
		ECS: catalog.Mapping{
			Constants: constants,
			Fields: map[string]catalog.Expr{
				"message":          {Text: "${" + id + "} is no longer there"},
				"trawl.gone.after": {From: []string{after}, As: "date"},
			},
		},
	}
	b := builder{document: true, src: gone, m: &Mapper{name: src.FullName() + " gone"}}
	return b.build()
}
