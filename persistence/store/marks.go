package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cespare/xxhash/v2"
)

// Badger opens a memtable log or a manifest with a damaged record as if it
// ended there: to it every damage is a torn tail. So each checkpoint leaves
// marks, what these files held when they were synced, and Open compares. Both
// kinds of files are only appended to. A file that is not the same any more (by
// inode and time of birth) or has become empty was replaced by Badger.

const marksName = "SYNCED"

type marks struct {
	Files []mark `json:"files"`
	Check uint32 `json:"check"`

	absent bool // there is no file of them
}

type mark struct {
	Name   string `json:"name"`
	Inode  uint64 `json:"inode"`
	Born   int64  `json:"born"`   // ns; see identify
	Length int64  `json:"length"` // up to the last byte that is not zero: logs are preallocated
	Sum    uint64 `json:"sum"`    // xxhash of these bytes
}

func (m marks) check() uint32 {
	return crc32.Checksum(fmt.Append(nil, m.Files), castagnoli)
}

// written is where the zeros at the end of b begin. It compares by the page:
// most of a log that is new is zeros.
func written(b []byte) int {
	var zeros [4 << 10]byte
	for len(b) >= len(zeros) && bytes.Equal(b[len(b)-len(zeros):], zeros[:]) {
		b = b[:len(b)-len(zeros)]
	}
	return len(bytes.TrimRight(b, "\x00"))
}

// measure reads a file up to its last byte that is not zero, but not more than
// limit bytes.
func measure(path string, limit int64) (length int64, sum uint64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	var (
		h     = xxhash.New()
		buf   = make([]byte, 256<<10)
		zeros = make([]byte, 4<<10)
		owed  int64 // zeros read and not hashed, in case nothing follows
		r     = io.LimitReader(f, limit)
	)
	for {
		n, err := r.Read(buf)
		end := written(buf[:n])
		if end > 0 {
			for length += owed; owed > 0; owed -= min(owed, int64(len(zeros))) {
				h.Write(zeros[:min(owed, int64(len(zeros)))])
			}
			h.Write(buf[:end])
			length += int64(end)
		}
		owed += int64(n - end)
		if err == io.EOF {
			return length, h.Sum64(), nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
}

// writeMarks records what the files hold. Everything is synced and nobody is
// writing to them.
func writeMarks(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*"+memSuffix))
	if err != nil {
		return fmt.Errorf("marks: %w", err)
	}
	var m marks
	for _, path := range append(names, filepath.Join(dir, manifestName)) {
		inode, born, ok := identify(path)
		if !ok {
			continue
		}
		length, sum, err := measure(path, 1<<62)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("marks: %w", err)
		}
		// A log that Badger is just removing: what it held is in a table.
		if i, b, ok := identify(path); !ok || i != inode || b != born {
			continue
		}
		m.Files = append(m.Files, mark{filepath.Base(path), inode, born, length, sum})
	}
	m.Check = m.check()
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("marks: %w", err)
	}
	tmp := filepath.Join(dir, marksName+".tmp")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("marks: %w", err)
	}
	if err := syncFile(tmp); err != nil {
		return fmt.Errorf("marks: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, marksName)); err != nil {
		return fmt.Errorf("marks: %w", err)
	}
	return syncFile(dir)
}

// readMarks are the last checkpoint's; absent where there was none.
func readMarks(dir string) (marks, error) {
	path := filepath.Join(dir, marksName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return marks{absent: true}, nil
	}
	if err != nil {
		return marks{}, fmt.Errorf("store: open: %w", err)
	}
	var m marks
	if err := json.Unmarshal(data, &m); err != nil || m.Check != m.check() {
		return marks{}, fmt.Errorf("%w: %s does not match its checksum", ErrDamaged, path)
	}
	return m, nil
}

func verifyMarks(dir string) error {
	m, err := readMarks(dir)
	if err != nil {
		return err
	}
	for _, k := range m.Files {
		if err := k.verify(dir); err != nil {
			return err
		}
	}
	return nil
}

func (k mark) verify(dir string) error {
	path := filepath.Join(dir, k.Name)
	inode, born, ok := identify(path)
	if !ok || inode != k.Inode || born != k.Born {
		return nil
	}
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		return err
	}
	length, sum, err := measure(path, k.Length)
	if err != nil {
		return fmt.Errorf("store: open: %w", err)
	}
	if length != k.Length || sum != k.Sum {
		return fmt.Errorf("%w: the first %d bytes of %s are not what was synced", ErrDamaged, k.Length, path)
	}
	return nil
}
