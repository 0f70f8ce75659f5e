package raftlog

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const segmentSuffix = ".seg"

func segmentName(seq uint32) string { return fmt.Sprintf("%010d%s", seq, segmentSuffix) }

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
	size uint32
	file File
	end  uint32 // where the next frame goes
}

func (s *segment) damaged(off uint32, reason string) error {
	return &DamagedError{File: segmentName(s.seq), Offset: int64(off), Reason: reason}
}

// createSegment makes a segment, durable with its name.
func createSegment(disk Disk, log uint64, seq, size uint32) (*segment, error) {
	name := segmentName(seq)
	f, err := disk.Create(name, int64(size))
	if err != nil {
		return nil, fmt.Errorf("raftlog: create %s: %w", name, err)
	}
	info := segmentInfo{log: log, seq: seq, size: size}
	if _, err := f.WriteAt(info.encode(), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("raftlog: write header of %s: %w", name, err), f.Close())
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(fmt.Errorf("raftlog: sync %s: %w", name, err), f.Close())
	}
	if err := disk.Sync(); err != nil {
		return nil, errors.Join(fmt.Errorf("raftlog: sync directory: %w", err), f.Close())
	}
	return &segment{seq: seq, size: size, file: f, end: segmentHeader}, nil
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
