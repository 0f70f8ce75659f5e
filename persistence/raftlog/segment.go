package raftlog

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	segmentSuffix = ".seg"
	freeSuffix    = ".old" // a segment that nobody needs, until it is used again
)

func segmentName(seq uint32) string { return fmt.Sprintf("%010d%s", seq, segmentSuffix) }
func freeName(seq uint32) string    { return fmt.Sprintf("%010d%s", seq, freeSuffix) }

// parseSegment returns the number of a segment file's name.
func parseSegment(name string) (uint32, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok {
		return 0, false
	}
	seq, err := strconv.ParseUint(digits, 10, 32)
	return uint32(seq), err == nil && segmentName(uint32(seq)) == name
}

// segment is an open segment file.
type segment struct {
	seq  uint32
	size uint32 // room for frames, header included
	file File
	end  uint32 // where the next frame goes
}

func (s *segment) damaged(off uint32, reason string) error {
	return &DamagedError{File: segmentName(s.seq), Offset: fileOffset(off), Reason: reason}
}

// write puts b at an offset, and zeros after it. It builds what the file gets in
// scratch, and returns that to be used again.
func (s *segment) write(f frames, b []byte, off uint32, scratch []byte) ([]byte, error) {
	scratch = f.image(scratch[:0], b, position{s.seq, off}, int64(s.size/payload)*sector)
	_, err := s.file.WriteAt(scratch, fileOffset(off))
	return scratch, err
}

// read returns n bytes from an offset on.
func (s *segment) read(f frames, n int, off uint32) ([]byte, error) {
	first, after := off/payload, (off+uint32(n)+payload-1)/payload
	b := make([]byte, (after-first)*sector)
	if _, err := s.file.ReadAt(b, int64(first)*sector); err != nil {
		return nil, fmt.Errorf("raftlog: read %s: %w", segmentName(s.seq), err)
	}
	for i := first; i < after; i++ {
		from := b[(i-first)*sector:][:sector]
		if !f.stamped(from, s.seq, i) {
			return nil, s.damaged(i*payload, "a sector's stamp does not check on reading it back")
		}
		copy(b[(i-first)*payload:], from[:payload])
	}
	return b[off-first*payload:][:n], nil
}

// createSegment makes a segment of that many bytes on the disk, durable with
// its name.
func createSegment(disk Disk, log uint64, seq, size uint32) (*segment, error) {
	name := segmentName(seq)
	f, err := disk.Create(name, int64(size))
	if err != nil {
		return nil, fmt.Errorf("raftlog: create %s: %w", name, err)
	}
	if err := begin(f, log, seq, size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := disk.Sync(); err != nil {
		return nil, errors.Join(fmt.Errorf("raftlog: sync directory: %w", err), f.Close())
	}
	return &segment{seq: seq, size: room(size), file: f, end: segmentHeader}, nil
}

// reuseSegment makes a segment of a free file of that many bytes. Its header is
// durable before it gets the name.
func reuseSegment(disk Disk, log uint64, free string, seq, size uint32) (*segment, error) {
	f, err := disk.Open(free)
	if err != nil {
		return nil, fmt.Errorf("raftlog: open %s: %w", free, err)
	}
	if err := begin(f, log, seq, size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := disk.Rename(free, segmentName(seq)); err != nil {
		return nil, errors.Join(fmt.Errorf("raftlog: rename %s to %s: %w", free, segmentName(seq), err), f.Close())
	}
	if err := disk.Sync(); err != nil {
		return nil, errors.Join(fmt.Errorf("raftlog: sync directory: %w", err), f.Close())
	}
	return &segment{seq: seq, size: room(size), file: f, end: segmentHeader}, nil
}

// begin writes a segment's header, durably.
func begin(f File, log uint64, seq, size uint32) error {
	info := segmentInfo{log: log, seq: seq, size: size}
	if _, err := f.WriteAt(info.encode(), 0); err != nil {
		return fmt.Errorf("raftlog: write header of %s: %w", segmentName(seq), err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("raftlog: sync %s: %w", segmentName(seq), err)
	}
	return nil
}

// readAll returns a file's content, in buf where it fits.
func readAll(f File, buf []byte) ([]byte, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > maxSegmentFile {
		return nil, fmt.Errorf("%d bytes are more than any file of the log has", size)
	}
	if int64(cap(buf)) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	if n, err := f.ReadAt(buf, 0); err != nil && (n < len(buf) || !errors.Is(err, io.EOF)) {
		return nil, err
	}
	return buf, nil
}

// removeFile makes the removal durable before it returns, so that a crash
// among several leaves no gap in the numbers.
func removeFile(disk Disk, name string) error {
	if err := disk.Remove(name); err != nil {
		return fmt.Errorf("raftlog: remove %s: %w", name, err)
	}
	if err := disk.Sync(); err != nil {
		return fmt.Errorf("raftlog: sync directory: %w", err)
	}
	return nil
}
