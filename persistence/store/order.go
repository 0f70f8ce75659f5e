package store

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// logOrder says of which memtable logs Badger has made a table already: it notes
// that first and removes the log afterwards, and a log that is in between would
// look like one that has to stay. Badger makes tables of logs one by one, by their
// numbers: first of those it found at its start, if they hold rows, then of its
// own. So as many of them are done with as the manifest has got flushes since.
type logOrder struct {
	found    []int // numbers of the logs that were there at the start and hold rows
	next     int   // number of the first log of its own
	manifest int64 // how long it was
	inode    uint64
	unknown  bool // Badger was faster than the look at what it had found
}

// beforeOpen looks at what Badger is going to find.
func beforeOpen(cfg Config) (*logOrder, error) {
	numbers, err := logNumbers(cfg.Dir)
	if err != nil {
		return nil, err
	}
	o := &logOrder{found: numbers, next: 1, manifest: manifestHeader}
	if len(numbers) > 0 {
		o.next = numbers[len(numbers)-1] + 1
	}
	f, err := os.Open(filepath.Join(cfg.Dir, manifestName))
	if os.IsNotExist(err) {
		return o, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, o.manifest, err = badger.ReplayManifestFile(f, 0, cfg.badger()) // Badger cuts off the rest
	return o, err
}

// afterOpen takes out the logs in which Badger found no row: it has removed them.
func (o *logOrder) afterOpen(dir string) error {
	left, err := logNumbers(dir)
	if err != nil {
		return err
	}
	o.found = slices.DeleteFunc(o.found, func(n int) bool { return !slices.Contains(left, n) })
	o.inode, _, _ = identify(filepath.Join(dir, manifestName))
	n, _, ok := o.flushes(dir)
	o.unknown = !ok || n > 0
	return nil
}

// flushes since the start, by so much of the manifest, if that can be said.
func (o *logOrder) flushes(dir string) (n int, seen int64, ok bool) {
	path := filepath.Join(dir, manifestName)
	inode, _, ok := identify(path)
	data, err := os.ReadFile(path)
	if !ok || inode != o.inode || err != nil || int64(len(data)) < o.manifest {
		return 0, int64(len(data)), false // written anew meanwhile
	}
	seen = o.manifest
	for _, r := range manifestRecords(data, o.manifest) {
		seen = r.end
		if r.flush() {
			n++
		}
	}
	return n, seen, true
}

// flushed says of a log whether it may be among the first n.
func (o *logOrder) flushed(name string, n int) bool {
	number, ok := logNumber(name)
	if !ok {
		return false
	}
	place := len(o.found) + number - o.next
	if at, found := slices.BinarySearch(o.found, number); found {
		place = at
	}
	return o.unknown || place < n
}

func logNumber(name string) (int, bool) {
	text, ok := strings.CutSuffix(name, memSuffix)
	n, err := strconv.Atoi(text)
	return n, ok && err == nil
}

// logNumbers of a folder, ascending.
func logNumbers(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if n, ok := logNumber(e.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
