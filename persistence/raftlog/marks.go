package raftlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The file LOG: a page with the log's identity, which is written once, and two
// with sync marks, which are written in turns, so that one always stands.
const (
	logFile  = "LOG"
	logMagic = "RookLog\n"
	page     = 4096
	logBytes = 3 * page

	identityBytes = 24
	markBytes     = 24
)

func encodeIdentity(log uint64) []byte {
	b := make([]byte, 0, identityBytes)
	b = append(b, logMagic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint64(b, log)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeIdentity returns the log's id, or why there is none.
func decodeIdentity(b []byte) (log uint64, reason string) {
	sum := crc32.Checksum(b[:identityBytes-4], castagnoli)
	if string(b[:8]) != logMagic || binary.LittleEndian.Uint32(b[identityBytes-4:]) != sum {
		return 0, "the log's identity does not check"
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return 0, fmt.Sprintf("format %d, this program reads %d", v, formatVersion)
	}
	return binary.LittleEndian.Uint64(b[12:]), ""
}

// mark says up to where the log was synced. The highest count is the newest.
type mark struct {
	count  uint64
	synced position
}

func (m mark) encode(b []byte, log uint64) {
	binary.LittleEndian.PutUint64(b, m.count)
	binary.LittleEndian.PutUint32(b[8:], m.synced.seg)
	binary.LittleEndian.PutUint32(b[12:], m.synced.off)
	binary.LittleEndian.PutUint32(b[16:], markSum(b, log))
	binary.LittleEndian.PutUint32(b[20:], footMagic)
}

func markSum(b []byte, log uint64) uint32 {
	return crc32.Update(uint32(log), castagnoli, b[:16])
}

func decodeMark(b []byte, log uint64) (mark, bool) {
	if binary.LittleEndian.Uint32(b[16:]) != markSum(b, log) || binary.LittleEndian.Uint32(b[20:]) != footMagic {
		return mark{}, false
	}
	m := mark{
		count:  binary.LittleEndian.Uint64(b),
		synced: position{binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])},
	}
	return m, m.count > 0
}

// neverWritten tells a slot whose first mark did not arrive in full, or an
// identity, from one that was damaged.
func neverWritten(slot []byte) bool { return isZero(slot[len(slot)-word:]) }

// marks writes the sync marks of an open log.
type marks struct {
	file File
	log  uint64
	last mark
	buf  [markBytes]byte
}

// write records the position without syncing it: a mark that is lost makes the
// log less certain of its end, never wrong.
func (m *marks) write(synced position) error {
	if m.last.synced == synced {
		return nil
	}
	return m.put(synced)
}

// stand writes both marks, durably, one after the other. From then on a crash
// can tear one at most: the other one was written in full before, even if the
// disk still has its older version.
func (m *marks) stand(synced position) error {
	for range 2 {
		if err := m.put(synced); err != nil {
			return err
		}
		if err := m.sync(); err != nil {
			return err
		}
	}
	return nil
}

func (m *marks) sync() error {
	if err := m.file.Sync(); err != nil {
		return fmt.Errorf("raftlog: sync %s: %w", logFile, err)
	}
	return nil
}

func (m *marks) put(synced position) error {
	next := mark{m.last.count + 1, synced}
	next.encode(m.buf[:], m.log)
	off := int64(page * (1 + next.count%2))
	if _, err := m.file.WriteAt(m.buf[:], off); err != nil {
		return fmt.Errorf("raftlog: write sync mark: %w", err)
	}
	m.last = next
	return nil
}

// readMarks reads the file. begun is false where the creation of the log was
// interrupted before anything could be written to it.
func readMarks(f File, content []byte) (m *marks, begun bool, err error) {
	damaged := func(off int64, reason string) error {
		return &DamagedError{File: logFile, Offset: off, Reason: reason}
	}
	if len(content) == 0 {
		return nil, false, nil
	}
	if len(content) != logBytes {
		return nil, false, damaged(int64(len(content)), "the file has the wrong size")
	}
	slots := [2][]byte{content[page : page+markBytes], content[2*page : 2*page+markBytes]}
	unmarked := neverWritten(slots[0]) && neverWritten(slots[1])
	log, reason := decodeIdentity(content)
	if reason != "" {
		if unmarked && neverWritten(content[:identityBytes]) {
			return nil, false, nil
		}
		return nil, false, damaged(0, reason)
	}
	m = &marks{file: f, log: log}
	for _, slot := range slots {
		if mk, ok := decodeMark(slot, log); ok && mk.count > m.last.count {
			m.last = mk
		}
	}
	if m.last.count > 0 {
		return m, true, nil
	}
	if unmarked {
		return nil, false, nil
	}
	return nil, false, damaged(page, "no sync mark checks")
}
