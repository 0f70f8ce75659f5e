package store

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// logOrder says of which memtable logs Badger has made a table already: it notes
// that in the manifest first and removes the log afterwards, and a log that is in
// between would look like one that has to stay. Badger makes tables of logs one by
// one, by their numbers. So when there is a single log, the one in use, the count
// begins with it, and from then on as many logs are done with as there are flushes.
type logOrder struct {
	known    bool
	first    int    // number of the single log
	manifest int64  // how long the manifest was then
	inode    uint64 // and which it was: Badger writes it anew, rarely
}

// look returns how much of the manifest it has seen, and what says of a log whether
// a table may have been made of it by then.
func (o *logOrder) look(dir string) (seen int64, flushed func(name string) bool) {
	path := filepath.Join(dir, manifestName)
	before, _ := logNumbers(dir)
	inode, _, ok := identify(path)
	data, err := os.ReadFile(path)
	after, _ := logNumbers(dir)
	if !ok || err != nil || inode != o.inode {
		o.known = false
	}
	single := ok && err == nil && len(before) == 1 && slices.Equal(before, after)
	from := int64(manifestHeader)
	if o.known {
		from = o.manifest
	}
	seen = from
	n := 0
	for _, r := range manifestRecords(data, from) {
		seen = r.end
		if r.flush() {
			n++
		}
	}
	if single {
		*o, n = logOrder{true, before[0], seen, inode}, 0
	}
	return seen, func(name string) bool {
		number, log := logNumber(name)
		return log && (!o.known || number-o.first < n)
	}
}

func logNumber(name string) (int, bool) {
	text, ok := strings.CutSuffix(name, memSuffix)
	n, err := strconv.Atoi(text)
	return n, ok && err == nil
}

// logNumbers of a folder, ascending.
func logNumbers(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
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
