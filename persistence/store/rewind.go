package store

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"google.golang.org/protobuf/proto"
)

// manifestHeader is Badger's magic number and version.
const manifestHeader = 8

// rewindManifest takes the manifest back to before it names tables that are not
// there, where a power cut explains that, and otherwise returns cause.
//
// Badger makes a table of a memtable log, notes it in the manifest, syncs that,
// and removes the log; it does not sync the folder. On a file system that can
// make the manifest's data durable without names that were given before, such as
// btrfs, a power cut leaves a manifest that names a table which never arrived.
// Names of one folder do arrive in order, so the log has not been removed then,
// and the next open makes the table again.
//
// A table that somebody removed looks the same. It is damage only if it held
// what the last checkpoint had: what came later is in the Raft log. So the tables
// of the checkpoint have to be there, and its memtable logs, but for those that
// earlier records of the manifest made tables of.
func rewindManifest(cfg Config, cause error) error {
	m, err := readMarks(cfg.Dir)
	if err != nil {
		return err
	}
	path := filepath.Join(cfg.Dir, manifestName)
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("store: open: %w", err)
	}
	from, logsGone := int64(-1), 0
	if m.absent {
		from = manifestHeader // no checkpoint yet: the Raft log has everything
	}
	for _, k := range m.Files {
		inode, born, ok := identify(filepath.Join(cfg.Dir, k.Name))
		same := ok && inode == k.Inode && born == k.Born
		switch {
		case k.Name == manifestName && same:
			from = k.Length
		case strings.HasSuffix(k.Name, memSuffix) && !same:
			logsGone++
		}
	}
	if from < 0 || from > int64(len(data)) {
		return cause
	}
	end, flushed := presentPrefix(cfg.Dir, data, from)
	if end == int64(len(data)) || logsGone > flushed {
		return cause
	}
	cfg.Logger.Warn("the manifest names a table that a power cut took; taken back", "err", cause, "bytes", int64(len(data))-end)
	if err := os.Truncate(path, end); err != nil {
		return fmt.Errorf("store: open: rewind the manifest: %w", err)
	}
	if err := syncFile(path); err != nil {
		return fmt.Errorf("store: open: rewind the manifest: %w", err)
	}
	return nil
}

// presentPrefix is the longest beginning of the manifest, from a record's start
// on, whose new tables are all there or removed again by a later record, and how
// many of its records made a table of a memtable log.
func presentPrefix(dir string, data []byte, from int64) (end int64, flushed int) {
	records := manifestRecords(data, from)
	removed := map[uint64]bool{}
	for _, r := range records {
		for _, c := range r.changes {
			if c.GetOp() == pb.ManifestChange_DELETE {
				removed[c.GetId()] = true
			}
		}
	}
	end = from
	for _, r := range records {
		for _, c := range r.changes {
			if c.GetOp() != pb.ManifestChange_CREATE || removed[c.GetId()] {
				continue
			}
			if _, err := os.Stat(table.NewFilename(c.GetId(), dir)); err != nil {
				return end, flushed
			}
		}
		if r.flush() {
			flushed++
		}
		end = r.end
	}
	return int64(len(data)), flushed
}

// manifestRecord is what Badger notes at once.
type manifestRecord struct {
	end     int64 // in the manifest
	changes []*pb.ManifestChange
}

// manifestRecords are those from a record's start on.
func manifestRecords(data []byte, from int64) []manifestRecord {
	var records []manifestRecord
	for at := from; int64(len(data))-at > 8; {
		n := int64(binary.BigEndian.Uint32(data[at:]))
		if n > int64(len(data))-at-8 {
			break // a torn tail, which Badger cuts off
		}
		at += 8
		var set pb.ManifestChangeSet
		if err := proto.Unmarshal(data[at:at+n], &set); err != nil {
			break
		}
		at += n
		records = append(records, manifestRecord{at, set.GetChanges()})
	}
	return records
}

// flush says whether a memtable log became a table: that is one of level 0, and
// nothing else.
func (r manifestRecord) flush() bool {
	return len(r.changes) == 1 && r.changes[0].GetOp() == pb.ManifestChange_CREATE && r.changes[0].GetLevel() == 0
}
