package output

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// position is what the file output remembers beside the state: how far its
// file is good, what that file looks like, and the rotation under way. It is
// written after the documents are durable and before their pages are
// acknowledged, so whatever the file has past Offset was never acknowledged.
type position struct {
	Version int       `json:"version"`
	Log     string    `json:"log,omitempty"` // what Last counts in
	Path    string    `json:"path"`          // of the file being written, absolute
	Offset  int64     `json:"offset"`        // bytes of it that are good
	reach             // into the pages of the log
	Replay  *replayed `json:"replay,omitempty"` // the last there was
	Device  uint64    `json:"device"`           // of the file
	Inode   uint64    `json:"inode"`            //
	Tail    string    `json:"tail"`             // hash of the last tailSize bytes before Offset
	Born    time.Time `json:"born,omitzero"`    // when the file's first document was written
	Counter uint64    `json:"counter"`          // finished files so far
	Rotate  string    `json:"rotate,omitempty"` // what Path is being renamed to; done when it exists

	Compress []string `json:"compress,omitempty"` // finished files that are yet to be compressed, absolute
}

// reach is how far the file is in a row of batches.
type reach struct {
	Last  uint64 `json:"last"`            // of the last batch that is whole
	Ahead uint64 `json:"ahead,omitempty"` // steps after it that are good too
}

// replayed is how far the file is in a replay.
type replayed struct {
	ID string `json:"id"`
	reach
}

// in returns how far the file is in a replay; "" is the log.
func (p position) in(replay string) reach {
	switch {
	case replay == "":
		return p.reach
	case p.Replay != nil && p.Replay.ID == replay:
		return p.Replay.reach
	}
	return reach{}
}

// with returns the position with another reach.
func (p position) with(replay string, r reach) position {
	if replay == "" {
		p.reach = r
	} else {
		p.Replay = &replayed{replay, r}
	}
	return p
}

const (
	positionVersion = 1
	tailSize        = 4 << 10
	maxPosition     = 1 << 20
)

// DamagedError is a position file that can't be trusted. The output does not
// start: beginning afresh by itself would lose or repeat documents.
type DamagedError struct {
	File string
	Path string // of the documents
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("position file %s is damaged: %v; put back a copy of it, or remove it: "+
		"Trawl then goes on at the end of %s, where the documents of the last moments may stand twice", e.File, e.Err, e.Path)
}
func (e *DamagedError) Unwrap() error { return e.Err }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The checksum is the last member of the object, so that the file stays plain
// JSON; it covers all bytes before it.
const crcFormat = `,"crc32c":"%08x"}` + "\n"

var crcLen = len(fmt.Sprintf(crcFormat, 0))

func (p position) encode() ([]byte, error) {
	p.Version = positionVersion
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode position: %w", err)
	}
	return appendCRC(b[:len(b)-1]), nil
}

// appendCRC ends an object that lacks its closing brace.
func appendCRC(body []byte) []byte {
	return fmt.Appendf(body, crcFormat, crc32.Checksum(body, castagnoli))
}

func decodePosition(b []byte) (position, error) {
	if len(b) <= crcLen {
		return position{}, fmt.Errorf("it is cut off: %d bytes", len(b))
	}
	body := b[:len(b)-crcLen]
	if !bytes.Equal(appendCRC(bytes.Clone(body)), b) {
		return position{}, errors.New("its checksum does not match")
	}
	var p position
	if err := json.Unmarshal(append(bytes.Clone(body), '}'), &p); err != nil {
		return position{}, err
	}
	if p.Version != positionVersion {
		return position{}, fmt.Errorf("it has version %d and this Trawl knows %d", p.Version, positionVersion)
	}
	if p.Offset < 0 || !filepath.IsAbs(p.Path) {
		return position{}, fmt.Errorf("it makes no sense: offset %d, path %q", p.Offset, p.Path)
	}
	return p, nil
}

// loadPosition reads a position file; found is false where there is none.
func loadPosition(d disk, name string) (p position, found bool, err error) {
	f, err := d.Open(name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return position{}, false, nil
	}
	if err != nil {
		return position{}, false, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPosition))
	if err := errors.Join(err, f.Close()); err != nil {
		return position{}, false, err
	}
	p, err = decodePosition(b)
	if err != nil {
		return position{}, false, &DamagedError{File: name, Err: err}
	}
	return p, true, nil
}

// save replaces the position file as a whole: after a crash it holds either
// this position or the one before.
func (p position) save(d disk, name string) error {
	b, err := p.encode()
	if err != nil {
		return err
	}
	temp := name + ".tmp"
	f, err := d.Open(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.Rename(temp, name); err != nil {
		return err
	}
	return d.SyncDir(filepath.Dir(name))
}

// hashTail is what a position remembers of the bytes before its offset.
func hashTail(tail []byte) string {
	sum := sha256.Sum256(tail)
	return hex.EncodeToString(sum[:16])
}
