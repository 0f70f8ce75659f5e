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
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Badger opens a memtable log or a manifest with a damaged record as if it
// ended there: to it every damage is a torn tail. So each checkpoint leaves
// marks, what these files held when they were synced, and Open compares. Both
// kinds of files are only appended to. A memtable log may be gone, empty, or
// replaced by another of its name (by inode and time of birth) once Badger has made
// a table of it, and has noted that in the manifest; otherwise somebody took it.

const marksName = "SYNCED"

type marks struct {
	Files []mark `json:"files"`
	Check uint32 `json:"check"`

	absent bool // there is no file of them
}

type mark struct {
	Name   string `json:"name"`
	Inode  uint64 `json:"inode"`
	Born   int64  `json:"born"`            // ns; see identify
	Length int64  `json:"length"`          // up to the last byte that is not zero: logs are preallocated
	Sum    uint64 `json:"sum"`             // xxhash of these bytes
	Loose  bool   `json:"loose,omitempty"` // of a log: Badger may have made a table of it before
}

func (m marks) check() uint32 {
	var text []string
	for _, k := range m.Files {
		one := fmt.Sprint(k.Name, " ", k.Inode, k.Born, k.Length, k.Sum)
		if k.Loose {
			one += " loose"
		}
		text = append(text, "{"+one+"}")
	}
	return crc32.Checksum(fmt.Append(nil, text), castagnoli)
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
// writing to them, but that Badger may make a table of a log at any moment. So the
// manifest is looked at first: what it notes later explains what is gone by then.
func writeMarks(dir string, order *logOrder) error {
	seen, flushed := order.look(dir)
	names, err := filepath.Glob(filepath.Join(dir, "*"+memSuffix))
	if err != nil {
		return fmt.Errorf("marks: %w", err)
	}
	var m marks
	for _, path := range append([]string{filepath.Join(dir, manifestName)}, names...) {
		inode, born, ok := identify(path)
		if !ok {
			continue
		}
		limit, name := int64(1<<62), filepath.Base(path)
		if name == manifestName {
			limit = seen
		}
		length, sum, err := measure(path, limit)
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
		m.Files = append(m.Files, mark{name, inode, born, length, sum, flushed(name)})
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
	from := int64(-1) // what the marks saw of the manifest, where it is still that
	var gone []string
	for _, k := range m.Files {
		there, err := k.verify(dir)
		switch {
		case err != nil:
			return err
		case k.Name == manifestName && there:
			from = k.Length
		case k.holdsRows() && !there:
			gone = append(gone, k.Name)
		}
	}
	if from < 0 || len(gone) == 0 { // Badger has written the manifest anew: it cannot be said
		return nil
	}
	path := filepath.Join(dir, manifestName)
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("store: open: %w", err)
	}
	flushed := 0
	for _, r := range manifestRecords(data, from) {
		if r.flush() {
			flushed++
		}
	}
	if len(gone) > flushed {
		return fmt.Errorf("%w: %s: missing or empty, and since the last checkpoint only %d logs became tables", ErrDamaged, strings.Join(gone, ", "), flushed)
	}
	return nil
}

// logHeader is what a memtable log begins with.
const logHeader = 20

func (k mark) holdsRows() bool {
	return strings.HasSuffix(k.Name, memSuffix) && k.Length > logHeader && !k.Loose
}

// verify says whether the file is there, or a copy of it.
func (k mark) verify(dir string) (bool, error) {
	path := filepath.Join(dir, k.Name)
	inode, born, ok := identify(path)
	if !ok {
		return false, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return false, fmt.Errorf("store: open: %w", err)
	}
	if info.Size() == 0 {
		return false, nil
	}
	length, sum, err := measure(path, k.Length)
	if err != nil {
		return false, fmt.Errorf("store: open: %w", err)
	}
	if length == k.Length && sum == k.Sum {
		return true, nil
	}
	if inode != k.Inode || born != k.Born {
		return false, nil
	}
	return false, fmt.Errorf("%w: the first %d bytes of %s are not what was synced", ErrDamaged, k.Length, path)
}
