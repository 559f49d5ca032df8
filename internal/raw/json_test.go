package raw

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzJSON wants the same records whether the input comes in one piece or
// byte by byte, each of them JSON, and all of what Go's own decoder sees.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":1}`, "{}\n{}\n", "[{}, [1], \"x\"]", "1 2\n3", "\xef\xbb\xbf[1]", "[1,2] [3]", `{"a":`, `]`, `[1`, "\"\xff\"", `{"a":1,"a":2}`, "[[[]]]", "nul", "1,2", " \n", `["`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 1000
		records, err := readAll(bytes.NewReader(in), limit)
		bytewise, errBytewise := readAll(iotest.OneByteReader(bytes.NewReader(in)), limit)
		if fmt.Sprint(records) != fmt.Sprint(bytewise) || (err == nil) != (errBytewise == nil) {
			t.Errorf("in one piece %q, %v; byte by byte %q, %v", records, err, bytewise, errBytewise)
		}
		for _, r := range records {
			if !json.Valid([]byte(r)) && len(r) < limit {
				t.Errorf("not JSON: %q", r)
			}
		}
		if err == nil && !bytes.HasPrefix(in, []byte("\xef\xbb\xbf")) {
			if want := flat(in); want != nil && fmt.Sprint(want) != fmt.Sprint(records) {
				t.Errorf("got %q, want %q", records, want)
			}
		}
	})
}

func readAll(in io.Reader, limit int64) ([]string, error) {
	r := NewJSON(in, limit)
	records := []string{}
	for {
		record, err := r.Next()
		if err == io.EOF {
			return records, nil
		}
		if err != nil {
			return records, err
		}
		records = append(records, string(record))
	}
}

// flat is what Go's own decoder makes of the input, nil where it won't have it.
func flat(in []byte) []string {
	d := json.NewDecoder(bytes.NewReader(in))
	records := []string{}
	for {
		var value json.RawMessage
		if err := d.Decode(&value); err == io.EOF {
			return records
		} else if err != nil {
			return nil
		}
		var list []json.RawMessage
		if value[0] != '[' {
			list = []json.RawMessage{value}
		} else if json.Unmarshal(value, &list) != nil {
			return nil
		}
		for _, r := range list {
			records = append(records, string(r))
		}
	}
}

func TestJSONErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{"{}\n{}\nx", "not JSON at byte offset 6, line 3, after 2 records: invalid character 'x' at start of value"},
		{"\xef\xbb\xbf{}\n}", "not JSON at byte offset 6, line 2, after 1 record: invalid character '}' at start of value"},
		{"[{},\n\n{\"a\":tru}]", "not JSON at byte offset 14, line 3, after 1 record: invalid character '}' in literal true (expecting 'e')"},
		{"[{}", "not JSON at byte offset 3, line 1, after 1 record: it ends within a value"},
		{"[{}\n\n", "not JSON at byte offset 5, line 3, after 1 record: it ends within a value"},
		{"{}\n\"" + strings.Repeat("x", 50), "the record at byte offset 3, line 2, after 1 record is larger than 20 bytes"},
	} {
		if _, err := readAll(strings.NewReader(tc.in), 20); err == nil || err.Error() != tc.want {
			t.Errorf("%q:\n got %v\nwant %s", tc.in, err, tc.want)
		}
	}
}
