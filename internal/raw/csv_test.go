package raw

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var auditColumns = map[string][]string{
	"identifier":          {"ID", "Log ID"},
	"action_at":           {"Date"},
	"action_data.user_ip": {"IP Address"},
	"action_data.detail":  nil,
}

func readTable(text string, limit int64) (records []string, err error) {
	c, err := NewCSV(strings.NewReader(text), auditColumns, limit)
	if err != nil {
		return nil, err
	}
	for {
		record, err := c.Next()
		if err == io.EOF {
			return records, nil
		}
		if err != nil {
			return records, err
		}
		records = append(records, string(record))
	}
}

func TestCSV(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"by name":                   {"Date,ID\n2026-01-02,a\n", []string{`{"action_at":"2026-01-02","identifier":"a"}`}},
		"another order":             {"ID,Date\na,2026-01-02\n", []string{`{"action_at":"2026-01-02","identifier":"a"}`}},
		"other spellings":           {"LOG-ID;ip_address;Action Data.Detail\na;1.2.3.4;x,y\n", []string{`{"action_data":{"detail":"x,y","user_ip":"1.2.3.4"},"identifier":"a"}`}},
		"the last name":             {"Detail,ID\nx,a\n", []string{`{"action_data":{"detail":"x"},"identifier":"a"}`}},
		"a whole and a part":        {"action_data,IP address\n\"{\"\"x\"\":1}\",1.2.3.4\n", []string{`{"action_data":{"x":1},"ip_address":"1.2.3.4"}`}},
		"unknown columns":           {"ID\tRe: What?\na\tb\n", []string{`{"identifier":"a","re_what":"b"}`}},
		"empty cells":               {"ID,Date,IP Address\na,,\n,,\n", []string{`{"identifier":"a"}`, `{}`}},
		"JSON in a cell":            {"ID,extra,other\na,\"{\"\"x\"\": [1, 2.50]}\",{no\n", []string{`{"extra":{"x": [1, 2.50]},"identifier":"a","other":"{no"}`}},
		"lines in a cell":           {"ID,note\na,\"one\ntwo \"\"three\"\"\"\n", []string{`{"identifier":"a","note":"one\ntwo \"three\""}`}},
		"byte order mark":           {"\xef\xbb\xbfID\r\na\r\n", []string{`{"identifier":"a"}`}},
		"the best name":             {"Log ID,ID,Date,Action At,id\na,b,c,d,e\n", []string{`{"action_at":"d","date":"c","id":"e","identifier":"b","log_id":"a"}`}},
		"the separator is said":     {"sep=;\r\nID;Date\r\na,b;c\r\n", []string{`{"action_at":"c","identifier":"a,b"}`}},
		"and not the most frequent": {"sep=,\nID,a;b;c\nx,y\n", []string{`{"a_b_c":"y","identifier":"x"}`}},
		"behind a mark, in quotes":  {"\xef\xbb\xbf\"sep=\t\"\nID\tDate\na\tb\n", []string{`{"action_at":"b","identifier":"a"}`}},
		"a column of that name":     {"sep=x,ID\na,b\n", []string{`{"identifier":"b","sep_x":"a"}`}},
		"no record":                 {"ID,Date\n", nil},
		"siblings between":          {"action_data.z,ID,action_data.a\n1,b,2\n", []string{`{"action_data":{"a":"2","z":"1"},"identifier":"b"}`}},
	} {
		got, err := readTable(tc.text, 1000)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

func TestCSVErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                      "read the names of the columns: there is no first line",
		"Action_at,action at\n": `columns "Action_at" and "action at" both mean action_at`,
		"ID,,x\n":               "column 2 has no name",
		"ID,Date\na\n":          "not a table: record on line 2: wrong number of fields",
		"sep=;\nID;Date\na\n":   "not a table: record on line 3: wrong number of fields",
		"sep=;\n":               "read the names of the columns: there is no first line",
		"ID\n\"a\n":             `not a table: parse error on line 2, column 4: extraneous or missing " in quoted-field`,
	} {
		if _, err := readTable(text, 1000); err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
	var large *TooLargeError
	if _, err := readTable("ID\n"+strings.Repeat("x", 2000)+"\n", 1000); !errors.As(err, &large) {
		t.Errorf("a long line: %v", err)
	}
	// A quote that is never closed does not draw in all that follows.
	endless := io.MultiReader(strings.NewReader("ID\n\""), repeat{})
	c, err := NewCSV(endless, nil, 1000)
	if err == nil {
		_, err = c.Next()
	}
	if !errors.As(err, &large) {
		t.Errorf("an endless cell: %v", err)
	}
}

type repeat struct{}

func (repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// FuzzCSV wants every record to be a JSON object, with as many texts in it as
// the line has cells that are not empty.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{"ID,Date\na,b\n", "a;b\n1;2", "x\n\"\"\"\"\n", "a.b,a.c\n1,2\n", "\xff\n\xff\n", "a\n{}\n", "a\n[1,\n", "sep=;\na;b\n1;2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		records, _ := readTable(text, 1000)
		for _, r := range records {
			var object map[string]any
			if err := json.Unmarshal([]byte(r), &object); err != nil {
				var limit *json.SyntaxError
				if !errors.As(err, &limit) || !strings.Contains(err.Error(), "depth") {
					t.Errorf("%v: %s", err, r)
				}
			}
		}
	})
}
