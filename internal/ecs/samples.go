package ecs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Sample is a record of a source beside the document it must become. In a
// source's testdata folder, NAME.json holds the record, byte for byte but for
// one last new line, and NAME.expected.json the document without event.original,
// which is always the record.
type Sample struct {
	Name        string
	Record      []byte
	Got         []byte   // the document as it is now, as NAME.expected.json would hold it
	Differences []string // one line each: field: got this, want that; none when all is well
}

// expectedSuffix ends the names of the files that hold documents.
const expectedSuffix = ".expected.json"

// RunSamples maps all samples in a folder, in order of their names. A sample
// without its document differs in that. The error says what could not be read.
func RunSamples(m *Mapper, dir fs.FS) ([]Sample, error) {
	names, err := fs.Glob(dir, "*.json")
	if err != nil {
		return nil, fmt.Errorf("list samples: %w", err)
	}
	var samples []Sample
	for _, file := range names {
		name, isDocument := strings.CutSuffix(file, expectedSuffix)
		if isDocument {
			if !slices.Contains(names, name+".json") {
				samples = append(samples, Sample{Name: name, Differences: []string{"there is no record " + name + ".json"}})
			}
			continue
		}
		s, err := runSample(m, dir, strings.TrimSuffix(file, ".json"))
		if err != nil {
			return nil, fmt.Errorf("run sample %s: %w", file, err)
		}
		samples = append(samples, s)
	}
	return samples, nil
}

func runSample(m *Mapper, dir fs.FS, name string) (Sample, error) {
	record, err := fs.ReadFile(dir, name+".json")
	if err != nil {
		return Sample{}, err
	}
	s := Sample{Name: name, Record: bytes.TrimSuffix(record, []byte("\n"))}
	line := m.Append(nil, s.Record, Meta{})
	document, err := decodeDocument(line)
	if err != nil {
		return Sample{}, fmt.Errorf("decode the document: %w", err)
	}
	event, _ := document["event"].(map[string]any)
	if event["original"] != string(validUTF8(s.Record)) {
		s.Differences = append(s.Differences, "event.original: is not the record")
	}
	delete(event, "original")
	if s.Got, err = indent(line); err != nil {
		return Sample{}, fmt.Errorf("indent the document: %w", err)
	}

	expected, err := fs.ReadFile(dir, name+expectedSuffix)
	if err != nil {
		s.Differences = append(s.Differences, "there is no "+name+expectedSuffix)
		return s, nil
	}
	want, err := decodeDocument(expected)
	if err != nil {
		return Sample{}, fmt.Errorf("decode %s: %w", name+expectedSuffix, err)
	}
	s.Differences = append(s.Differences, differences("", document, want)...)
	return s, nil
}

// decodeDocument keeps numbers as they are written.
func decodeDocument(src []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	var document map[string]any
	err := d.Decode(&document)
	return document, err
}

// indent lays a document out for people, without event.original.
func indent(line []byte) ([]byte, error) {
	document := map[string]json.RawMessage{}
	if err := json.Unmarshal(line, &document); err != nil {
		return nil, err
	}
	event := map[string]json.RawMessage{}
	if err := json.Unmarshal(document["event"], &event); err != nil {
		return nil, err
	}
	delete(event, "original")
	document["event"] = encode(event)
	var indented bytes.Buffer
	err := json.Indent(&indented, encode(document), "", "  ")
	indented.WriteByte('\n')
	return indented.Bytes(), err
}

// encode writes members in the order of their names, and their values as they are.
func encode(object map[string]json.RawMessage) []byte {
	raw := []byte{'{'}
	for i, name := range slices.Sorted(maps.Keys(object)) {
		if i > 0 {
			raw = append(raw, ',')
		}
		key, _ := json.Marshal(name)
		raw = append(append(append(raw, key...), ':'), object[name]...)
	}
	return append(raw, '}')
}

// differences says where two decoded documents differ, field by field.
func differences(field string, got, want any) []string {
	gotObject, ok := got.(map[string]any)
	wantObject, alike := want.(map[string]any)
	if !ok || !alike {
		if reflect.DeepEqual(got, want) {
			return nil
		}
		return []string{fmt.Sprintf("%s: got %s, want %s", field, show(got), show(want))}
	}
	names := map[string]bool{}
	for name := range gotObject {
		names[name] = true
	}
	for name := range wantObject {
		names[name] = true
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		all = append(all, differences(strings.TrimPrefix(field+"."+name, "."), gotObject[name], wantObject[name])...)
	}
	return all
}

func show(value any) string {
	if value == nil {
		return "nothing"
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}
