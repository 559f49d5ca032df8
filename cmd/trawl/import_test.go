package main

import (
	gobytes "bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/trawlsec/trawl/internal/catalog"
)

// TestImportUTF16: what spreadsheets call Unicode text is read, packed or not.
func TestImportUTF16(t *testing.T) {
	t.Parallel()
	im := importing{source: &catalog.Source{Record: catalog.Record{ID: []string{"id"}}}, format: "auto", limit: 1000}
	for name, text := range map[string]string{
		"table": "sep=;\r\nId;Name\r\na;Zoë 🦑\r\n",
		"JSON":  `{"id":"a","name":"Zoë 🦑"}`,
	} {
		for order, bytes := range map[string]binary.AppendByteOrder{"big": binary.BigEndian, "little": binary.LittleEndian} {
			plain := bytes.AppendUint16(nil, 0xfeff)
			for _, unit := range utf16.Encode([]rune(text)) {
				plain = bytes.AppendUint16(plain, unit)
			}
			var packed gobytes.Buffer
			z := gzip.NewWriter(&packed)
			_, err := z.Write(plain)
			if err := errors.Join(err, z.Close()); err != nil {
				t.Fatal(err)
			}
			for _, file := range [][]byte{plain, packed.Bytes()} {
				records, closing, err := im.open(gobytes.NewReader(file))
				defer closing()
				if err != nil {
					t.Fatalf("%s, %s: %v", name, order, err)
				}
				record, err := records.Next()
				if err != nil || string(record) != `{"id":"a","name":"Zoë 🦑"}` {
					t.Errorf("%s, %s: %s, %v", name, order, record, err)
				}
				if more, err := records.Next(); err != io.EOF {
					t.Errorf("%s, %s: and then %s, %v", name, order, more, err)
				}
			}
		}
	}
}

// TestImportWithoutColumns: where the catalogue says nothing of columns, that is
// what is told, since the table's may well be called as the record's members are.
func TestImportWithoutColumns(t *testing.T) {
	t.Parallel()
	const text, hint = "eventId,occurredAt\n1,2026-01-31\n", "add columns to the source"
	im := importing{source: &catalog.Source{ID: "audit", Product: &catalog.Product{ID: "acme"}, Record: catalog.Record{ID: []string{"eventId"}, Time: []string{"occurredAt"}}}, format: "auto", limit: 1000}
	if _, _, err := im.open(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), hint) {
		t.Errorf("without columns: %v", err)
	}
	im.source.Columns = catalog.Columns{"eventId": nil, "occurredAt": nil}
	if _, _, err := im.open(strings.NewReader(text)); err != nil {
		t.Errorf("with columns: %v", err)
	}
	if _, _, err := im.open(strings.NewReader("a,b\n1,2\n")); err == nil || strings.Contains(err.Error(), hint) {
		t.Errorf("another table: %v", err)
	}
}
