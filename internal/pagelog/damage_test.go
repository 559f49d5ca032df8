package pagelog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// aLog makes a log of several blocks in each feed, read in part, and returns a
// copy of it as a crash would leave it and one as Close leaves it.
func aLog(t *testing.T) (crashed, closed string) {
	t.Helper()
	dir := t.TempDir()
	// A small limit makes the server's blocks small.
	l := openWith(t, Options{Dir: dir, MaxBytes: 120_000, Logger: quiet})
	feeds := []Feed{{"c", "a"}, {"c", "b"}}
	var after [2]uint64
	for i := range 50 {
		p := noise(2, 800)
		p.Feed, p.Position = feeds[i%2], fmt.Appendf(nil, `{"page":%d}`, i/2+1)
		seq, err := l.Append(t.Context(), p, after[i%2], after[i%2])
		if err != nil {
			t.Fatal(err)
		}
		after[i%2] = seq
	}
	r := openReader(t, l, "r")
	ds := readAll(t, r)
	if err := ds[len(ds)-1].Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if _, err := l.PutState(t.Context(), fmt.Sprint("feed/", i), []byte("state"), 0); err != nil {
			t.Fatal(err)
		}
	}
	l.store.mu.Lock()
	if err := l.store.write(); err != nil { // as happens within seconds
		t.Fatal(err)
	}
	l.store.mu.Unlock()
	crashed = copyDir(t, dir)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return crashed, dir
}

func copyDir(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(filepath.Join(to, "log"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(to, "log")
}

func edit(t testing.TB, path string, change func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// records returns the offsets of a block's records, the end included.
func offsets(b []byte) (at []int) {
	off := 0
	for off < len(b) {
		at = append(at, off)
		off += int(uint32(b[off]) | uint32(b[off+1])<<8 | uint32(b[off+2])<<16 | uint32(b[off+3]&0x7f)<<24)
	}
	return append(at, off)
}

func TestDamage(t *testing.T) {
	t.Parallel()
	crashed, closed := aLog(t)
	flipAt := func(frac float64) func([]byte) []byte {
		return func(b []byte) []byte { return flip(b, int(frac*float64(len(b)-1))) }
	}
	inRecord := func(n, off int) func([]byte) []byte { // n from the start or, negative, from the end
		return func(b []byte) []byte {
			at := offsets(b)
			i := n
			if n < 0 {
				i = len(at) - 1 + n
			}
			return flip(b, at[i]+off)
		}
	}
	half := func(b []byte) []byte { return b[:len(b)/2] }
	empty := func([]byte) []byte { return nil }
	lessOne := func(b []byte) []byte { return b[:len(b)-1] }
	lessRecord := func(b []byte) []byte { at := offsets(b); return b[:at[len(at)-2]] }

	type change func(t *testing.T, dir string)
	block := func(stream string, n int, do func([]byte) []byte) change {
		return func(t *testing.T, dir string) {
			bs := blocks(t, dir, stream)
			edit(t, bs[(n+len(bs))%len(bs)], do)
		}
	}
	noBlock := func(stream string, n int) change {
		return func(t *testing.T, dir string) {
			bs := blocks(t, dir, stream)
			remove(t, bs[(n+len(bs))%len(bs)])
		}
	}
	file := func(name string, do func([]byte) []byte) change {
		return func(t *testing.T, dir string) { edit(t, filepath.Join(dir, name), do) }
	}
	gone := func(name string) change {
		return func(t *testing.T, dir string) { remove(t, filepath.Join(dir, name)) }
	}
	pages, state := streamsDir+"/"+pagesName+"/", streamsDir+"/"+stateName+"/"

	tests := map[string]struct {
		change change
		fine   string // after which kind of stop the log opens all the same
	}{
		"first block removed":             {noBlock(pagesName, 0), ""},
		"middle block removed":            {noBlock(pagesName, 1), ""},
		"last block removed":              {noBlock(pagesName, -1), ""},
		"first block emptied":             {block(pagesName, 0, empty), ""},
		"middle block emptied":            {block(pagesName, 1, empty), ""},
		"last block emptied":              {block(pagesName, -1, empty), ""},
		"first block halved":              {block(pagesName, 0, half), ""},
		"middle block halved":             {block(pagesName, 1, half), ""},
		"last block halved":               {block(pagesName, -1, half), ""},
		"last byte cut off":               {block(pagesName, -1, lessOne), ""},
		"last record of a block cut off":  {block(pagesName, 1, lessRecord), ""},
		"last record cut off":             {block(pagesName, -1, lessRecord), ""},
		"flip early in a block":           {block(pagesName, 1, flipAt(0.1)), ""},
		"flip late in a block":            {block(pagesName, 1, flipAt(0.9)), ""},
		"flip in the last block":          {block(pagesName, -1, flipAt(0.1)), ""},
		"flip in a length":                {block(pagesName, 1, inRecord(2, 0)), ""},
		"flip in a high byte of a length": {block(pagesName, 1, inRecord(2, 2)), ""},
		"flip in a length, last block":    {block(pagesName, -1, inRecord(2, 1)), ""},
		"flip in a sequence":              {block(pagesName, 1, inRecord(2, 4)), ""},
		"flip in a time":                  {block(pagesName, 1, inRecord(2, 13)), ""},
		"flip in a subject length":        {block(pagesName, 1, inRecord(2, 20)), ""},
		"flip in a subject":               {block(pagesName, 1, inRecord(2, 30)), ""},
		"flip in the last record":         {block(pagesName, -1, inRecord(-1, 40)), ""},
		"garbage behind the last record":  {block(pagesName, -1, func(b []byte) []byte { return append(b, b[:100]...) }), "crash"},
		"state block removed":             {noBlock(stateName, 0), ""},
		"state block emptied":             {block(stateName, 0, empty), ""},
		"state block halved":              {block(stateName, 0, half), ""},
		"flip in state":                   {block(stateName, 0, flipAt(0.5)), ""},
		"pages' meta.inf removed":         {gone(pages + "meta.inf"), ""},
		"pages' meta.inf emptied":         {file(pages+"meta.inf", empty), ""},
		"flip in pages' meta.inf":         {file(pages+"meta.inf", flipAt(0.5)), ""},
		"pages' meta.sum removed":         {gone(pages + "meta.sum"), ""},
		"state's meta.inf removed":        {gone(state + "meta.inf"), ""},
		"flip in state's meta.sum":        {file(state+"meta.sum", flipAt(0.5)), ""},
		"pages' blocks removed":           {gone(pages + "msgs"), ""},
		"pages' directory removed":        {gone(pages), ""},
		"state's directory removed":       {gone(state), ""},
		"all streams removed":             {gone(streamsDir), ""},
		"jetstream directory removed":     {gone("jetstream"), ""},
		"log.json removed":                {gone(manifestName), ""},
		"log.json emptied":                {file(manifestName, empty), ""},
		"log.json halved":                 {file(manifestName, half), ""},
		"another log.json": {file(manifestName, func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"id": "`), []byte(`"id": "X`), 1)
		}), ""},
		// The server makes these anew.
		"pages' index damaged": {func(t *testing.T, dir string) {
			path := filepath.Join(dir, pages+"msgs", indexName)
			if _, err := os.Stat(path); err == nil {
				edit(t, path, flipAt(0.5))
			}
		}, "any"},
		"pages' index removed": {func(t *testing.T, dir string) {
			os.Remove(filepath.Join(dir, pages+"msgs", indexName))
		}, "any"},
		"nothing": {func(*testing.T, string) {}, "any"},
	}
	for name, test := range tests {
		for stop, from := range map[string]string{"crash": crashed, "close": closed} {
			t.Run(name+"/"+stop, func(t *testing.T) {
				t.Parallel()
				dir := copyDir(t, from)
				test.change(t, dir)
				for range 2 { // it must not heal by being looked at
					l, err := Open(t.Context(), Options{Dir: dir, MaxBytes: 120_000, Logger: quiet})
					if test.fine == "any" || test.fine == stop {
						if err != nil {
							t.Fatal(err)
						}
						if n := len(readAll(t, openReader(t, l, "new"))); n != 50 {
							t.Errorf("%d pages", n)
						}
						if err := l.Close(); err != nil {
							t.Fatal(err)
						}
						continue
					}
					if err == nil {
						l.Close()
						t.Fatal("opened")
					}
					var damaged *DamagedError
					if !errors.As(err, &damaged) || damaged.Path == "" || damaged.Problem == "" {
						t.Fatalf("%v", err)
					}
				}
			})
		}
	}
}

func TestFreshStart(t *testing.T) {
	t.Parallel()
	_, dir := aLog(t)
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		remove(t, filepath.Join(dir, n.Name()))
	}
	l := open(t, dir)
	if s, err := l.Stats(t.Context()); err != nil || s.Pages != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestInterruptedCreation leaves what a crash during the first open can leave,
// and then opens the log, writes to it, and opens it again.
func TestInterruptedCreation(t *testing.T) {
	t.Parallel()
	pages, state := streamsDir+"/"+pagesName, streamsDir+"/"+stateName
	for name, without := range map[string][]string{
		"manifest only":         {"jetstream"},
		"one stream":            {state},
		"no checksum":           {state + "/meta.sum"},
		"no checksum at all":    {pages + "/meta.sum", state + "/meta.sum"},
		"no data of the stream": {state + "/meta.inf", state + "/meta.sum"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := openWith(t, Options{Dir: dir, Logger: quiet})
			l.Close()
			for _, file := range without {
				remove(t, filepath.Join(dir, file))
			}
			edit(t, filepath.Join(dir, manifestName), func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"ready": true`), []byte(`"ready": false`), 1)
			})
			l = open(t, dir)
			appendPages(t, l, audit, Live, 1, 1, 0)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err := open(t, dir).Stats(t.Context()); err != nil || s.Pages != 1 {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

// TestRefusalTouchesNothing compares all files before and after.
func TestRefusalTouchesNothing(t *testing.T) {
	t.Parallel()
	crashed, _ := aLog(t)
	edit(t, blocks(t, crashed, pagesName)[1], func(b []byte) []byte { return flip(b, len(b)/3) })
	before := contents(t, crashed)
	if _, err := Open(t.Context(), Options{Dir: crashed, Logger: quiet}); !errors.As(err, new(*DamagedError)) {
		t.Fatal(err)
	}
	for path, b := range contents(t, crashed) {
		if !bytes.Equal(b, before[path]) && filepath.Base(path) != "lock" {
			t.Errorf("%s has changed", path)
		}
		delete(before, path)
	}
	if len(before) > 0 {
		t.Errorf("%d files are gone", len(before))
	}
}

func contents(t *testing.T, dir string) map[string][]byte {
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestDamageFoundLate skips the verification, as with a large log after a clean
// stop: whoever reads the damage is told of it, and gets all before it.
func TestDamageFoundLate(t *testing.T) {
	t.Parallel()
	_, closed := aLog(t)
	for name, change := range map[string]func(b []byte) []byte{
		"body":   func(b []byte) []byte { return flip(b, offsets(b)[5]+1000) },
		"header": func(b []byte) []byte { return flip(b, offsets(b)[5]+100) },
		"length": func(b []byte) []byte { return flip(b, offsets(b)[5]+1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := copyDir(t, closed)
			edit(t, blocks(t, dir, pagesName)[1], change)
			l, err := Open(t.Context(), Options{Dir: dir, MaxBytes: 120_000, Logger: quiet, verify: 1})
			if errors.As(err, new(*DamagedError)) {
				return // the server came across it by itself
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			r := openReader(t, l, "new")
			var got []*Delivery
			for {
				ds, err := r.Next(t.Context(), 10, time.Minute)
				got = append(got, ds...)
				if err != nil {
					t.Log(err)
					if !errors.As(err, new(*DamagedError)) {
						t.Errorf("%v", err)
					}
					break
				}
				if len(ds) == 0 {
					t.Error("no more pages, and no error")
					break
				}
			}
			if len(got) < 5 || len(got) >= 50 {
				t.Errorf("%d pages", len(got))
			}
			err = l.Headers(t.Context(), Feed{"c", "a"}, func(Page) error { return nil })
			err = errors.Join(err, l.Headers(t.Context(), Feed{"c", "b"}, func(Page) error { return nil }))
			if !errors.As(err, new(*DamagedError)) {
				t.Errorf("headers: %v", err)
			}
		})
	}
}
