package pagelog

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The embedded server starts afresh, without a word, where its files are
// missing, and drops what it cannot read. So log.json beside them remembers
// what must be there.

const (
	manifestName    = "log.json"
	manifestVersion = 1
	streamsDir      = "jetstream/$G/streams" // as the server lays it out
	indexName       = "index.db"             // the server rebuilds it from the blocks

	// markAfter is how long after a write at most it is noted in log.json.
	markAfter = 2 * time.Second

	// verifySize is the size of a log up to which its blocks are verified at
	// every open, in a fraction of a second; above it only after a stop that was
	// not clean, when the server reads them all too.
	verifySize = 1 << 30
)

// manifest is what log.json holds.
type manifest struct {
	Version int       `json:"version"`
	ID      string    `json:"id"` // also in the streams' metadata
	Created time.Time `json:"created"`
	Ready   bool      `json:"ready"` // the streams were created; from here on they must exist
	// What is known to have been written, markAfter behind.
	Pages   uint64   `json:"pages"` // sequence of the last page
	Lanes   int      `json:"lanes"` // number of subjects of pages
	State   uint64   `json:"state"` // revision of the last entry
	Keys    int      `json:"keys"`  // number of entries
	Streams []string `json:"streams"`
	// Trim has removed nothing above it; noted before it does.
	Trimmed uint64 `json:"trimmed"`
	// What a clean stop left; nil while the log is open.
	Closed *remains `json:"closed,omitempty"`
}

// remains is what lies on disk after a clean stop.
type remains struct {
	Files map[string]int64 `json:"files"` // sizes by path under streamsDir
	Pages numbers          `json:"pages"`
	State numbers          `json:"state"`
}

type numbers struct {
	First, Last, Messages uint64
}

func numbersOf(s jetstream.StreamState) numbers { return numbers{s.FirstSeq, s.LastSeq, s.Msgs} }

// store keeps the manifest of an embedded log.
type store struct {
	dir    string
	logger *slog.Logger
	clean  *remains // what the last process left, if it stopped cleanly

	mu sync.Mutex
	manifest
	mark *time.Timer // while something is to be noted
	over bool        // Close has begun
}

// openStore reads the manifest and checks the files against it, before a server
// touches them.
func openStore(dir string, verify int64, logger *slog.Logger) (*store, error) {
	st := &store{dir: dir, logger: logger}
	path := filepath.Join(dir, manifestName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		names, err := os.ReadDir(filepath.Join(dir, "jetstream"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if len(names) > 0 {
			return nil, &DamagedError{Path: path, Problem: "file is missing beside a log"}
		}
		st.manifest = manifest{Version: manifestVersion, ID: rand.Text(), Created: time.Now().UTC()}
		return st, st.write()
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &st.manifest); err != nil {
		return nil, &DamagedError{Path: path, Problem: "file cannot be read", Err: err}
	}
	if st.Version != manifestVersion {
		return nil, fmt.Errorf("%s: version %d is not known to this version of Trawl", path, st.Version)
	}
	if !st.Ready {
		return st, st.clearHalfMade()
	}
	st.clean = st.Closed
	return st, st.checkFiles(verify)
}

// clearHalfMade removes streams of which a crash left a part, before anything
// was in them: the server passes over those without a checksum, but would take
// what else is there for a stream of its own making, and never add one.
func (st *store) clearHalfMade() error {
	root := filepath.Join(st.dir, streamsDir)
	streams, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, stream := range streams {
		path := filepath.Join(root, stream.Name())
		if _, err := os.Stat(filepath.Join(path, "meta.sum")); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return err
}

// checkFiles finds files that are gone, changed since a clean stop, or damaged;
// the last also after a clean stop if they are not larger than upTo.
func (st *store) checkFiles(upTo int64) error {
	root := filepath.Join(st.dir, streamsDir)
	for _, name := range st.Streams {
		for _, file := range []string{"meta.inf", "meta.sum", "msgs"} {
			path := filepath.Join(root, name, file)
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				return &DamagedError{Path: path, Problem: "file is missing"}
			} else if err != nil {
				return err
			}
		}
	}
	files, err := listFiles(root)
	if err != nil {
		return err
	}
	verify := st.clean == nil
	if st.clean != nil {
		for path, want := range st.clean.Files {
			have, ok := files[path]
			full := filepath.Join(root, path)
			switch {
			case !ok && filepath.Base(path) == indexName:
				verify = true // the server will rebuild it, and cut blocks at damage
			case !ok:
				return &DamagedError{Path: full, Problem: "file is missing"}
			case have != want:
				return &DamagedError{Path: full, Problem: fmt.Sprintf("file has %d bytes, had %d when the log was closed", have, want)}
			}
		}
	}
	var size int64
	for _, n := range files {
		size += n
	}
	if !verify && size > upTo {
		return nil
	}
	for _, name := range st.Streams {
		if err := verifyBlocks(filepath.Join(root, name, "msgs"), name, st.clean == nil); err != nil {
			return err
		}
	}
	return nil
}

func listFiles(root string) (map[string]int64, error) {
	files := map[string]int64{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		files[rel] = info.Size()
		return err
	})
	return files, err
}

// compare checks what the server recovered against the manifest.
func (st *store) compare(ctx context.Context, l *Log) error {
	if !st.Ready {
		return nil
	}
	pages, state := l.pages.CachedInfo().State, l.state.CachedInfo().State
	lanes, err := l.lanes(ctx)
	if err != nil {
		return err
	}
	damaged := func(problem string, args ...any) error {
		return &DamagedError{Path: st.dir, Problem: fmt.Sprintf(problem, args...)}
	}
	switch {
	case pages.LastSeq < st.Pages:
		return damaged("pages end at sequence %d, there was one at %d", pages.LastSeq, st.Pages)
	case state.LastSeq < st.State:
		return damaged("state ends at revision %d, there was one at %d", state.LastSeq, st.State)
	case lanes < st.Lanes:
		return damaged("there are pages of %d lanes, there were of %d", lanes, st.Lanes)
	case int(state.NumSubjects) < st.Keys:
		return damaged("state has %d entries, there were %d", state.NumSubjects, st.Keys)
	case st.clean == nil:
		if err := l.verifyPages(ctx, st.Trimmed); err != nil {
			return err
		}
	case numbersOf(pages) != st.clean.Pages:
		return damaged("pages are %+v, were %+v when the log was closed", numbersOf(pages), st.clean.Pages)
	case numbersOf(state) != st.clean.State:
		return damaged("state is %+v, was %+v when the log was closed", numbersOf(state), st.clean.State)
	}
	return l.checkMarks(ctx)
}

// begin records that the log is open.
func (st *store) begin(ctx context.Context, l *Log) error {
	lanes, err := l.lanes(ctx)
	if err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	state := l.state.CachedInfo().State
	st.Ready, st.Closed = true, nil
	st.Pages, st.Lanes = l.high.Load(), lanes
	st.State, st.Keys = state.LastSeq, int(state.NumSubjects)
	return st.write()
}

// lanes counts the subjects of pages. Trim never empties one.
func (l *Log) lanes(ctx context.Context) (int, error) {
	info, err := l.info(ctx, l.pages, jetstream.WithSubjectFilter("pages.>"))
	if err != nil {
		return 0, err
	}
	return len(info.State.Subjects), nil
}

// wrotePage notes a page; first says that it is the first of its lane.
func (st *store) wrotePage(seq uint64, first bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.Pages = max(st.Pages, seq)
	if first {
		st.Lanes++
	}
	st.soon()
}

// wroteState notes an entry; first says that it is a new one.
func (st *store) wroteState(rev uint64, first bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.State = max(st.State, rev)
	if first {
		st.Keys++
	}
	st.soon()
}

// soon has the manifest written within markAfter; st.mu is held. The writes
// that it notes are done, so a failure is only worth a warning.
func (st *store) soon() {
	if st.mark != nil || st.over {
		return
	}
	st.mark = time.AfterFunc(markAfter, func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.mark = nil
		if st.over {
			return
		}
		if err := st.write(); err != nil {
			st.logger.Warn("log.json was not brought up to date", "error", err)
		}
	})
}

// trimming records, before it is done, that pages up to seq may be removed.
func (st *store) trimming(seq uint64) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.Trimmed = max(st.Trimmed, seq)
	return st.write()
}

// dropping records, before it is done, that an entry will be removed.
func (st *store) dropping() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.Keys = max(st.Keys-1, 0)
	return st.write()
}

// stop ends noting, before the log is closed.
func (st *store) stop() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.over = true
	if st.mark != nil {
		st.mark.Stop()
	}
}

// remains asks the server what it holds, before it is shut down; nil if it does
// not say, and then the stop is not a clean one.
func (l *Log) remains() *remains {
	ctx, cancel := context.WithTimeout(context.Background(), l.timeout)
	defer cancel()
	pages, err := l.pages.Info(ctx)
	if err != nil {
		return nil
	}
	state, err := l.state.Info(ctx)
	if err != nil {
		return nil
	}
	return &remains{Pages: numbersOf(pages.State), State: numbersOf(state.State)}
}

// end records a clean stop.
func (st *store) end(left *remains) error {
	files, err := listFiles(filepath.Join(st.dir, streamsDir))
	if err != nil {
		return err
	}
	maps.DeleteFunc(files, func(path string, _ int64) bool { return strings.HasSuffix(path, ".tmp") })
	left.Files = files
	st.mu.Lock()
	defer st.mu.Unlock()
	st.Closed = left
	return st.write()
}

// write replaces log.json, durably and at once; st.mu is held.
func (st *store) write() error {
	entries, err := os.ReadDir(filepath.Join(st.dir, streamsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	st.Streams = nil
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") { // one being deleted
			st.Streams = append(st.Streams, e.Name())
		}
	}
	b, err := json.MarshalIndent(st.manifest, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(st.dir, manifestName)
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(st.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
