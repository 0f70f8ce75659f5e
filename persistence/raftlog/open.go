package raftlog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const maxSegmentFile = 1<<32 - 1

// Open opens the log, or begins one. It fails with a [DamagedError] where
// something that was durable does not check, and with [ErrLost] where a log is
// missing that must have been there.
func Open(cfg Config) (*Log, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	cfg.SegmentBytes = (cfg.SegmentBytes + sector - 1) / sector * sector
	l := &Log{cfg: cfg, disk: cfg.Disk, groups: make(map[uint32]*Group), unlock: func() error { return nil }}
	if l.disk == nil {
		dir, err := openDir(cfg.Dir)
		if err != nil {
			return nil, err
		}
		l.disk, l.unlock = dir, dir.Close
	}
	if err := l.open(cfg.Missing); err != nil {
		return nil, errors.Join(err, l.closeFiles(), l.unlock())
	}
	return l, nil
}

func (l *Log) open(missing Missing) error {
	names, err := l.disk.List()
	if err != nil {
		return fmt.Errorf("raftlog: list directory: %w", err)
	}
	found := classify(names)
	if !found.log {
		return l.openNew(found, missing)
	}
	f, err := l.disk.Open(logFile)
	if err != nil {
		return fmt.Errorf("raftlog: open %s: %w", logFile, err)
	}
	content, err := readAll(f, nil)
	if err != nil {
		return errors.Join(fmt.Errorf("raftlog: read %s: %w", logFile, err), f.Close())
	}
	m, begun, err := readMarks(f, content)
	switch {
	case err != nil:
		return errors.Join(err, f.Close())
	case !begun && missing == Refuse:
		return errors.Join(fmt.Errorf("%w: %s holds one that was never begun, though there is other data", ErrLost, l.cfg.Dir), f.Close())
	case !begun:
		return errors.Join(f.Close(), l.beginAgain(found))
	}
	l.marks, l.frames = m, frames{m.log}
	if err := l.removeFree(found.free); err != nil {
		return err
	}
	return l.recover(found.segments)
}

// removeFree removes what the last process would have used again. A crash may
// have left such a file under the name of a segment as well: only the name goes.
func (l *Log) removeFree(names []string) error {
	l.free = nil
	for _, name := range names {
		if err := l.disk.Remove(name); err != nil {
			return fmt.Errorf("raftlog: remove %s: %w", name, err)
		}
	}
	return nil
}

// contents is what a log's directory holds.
type contents struct {
	log      bool
	segments []uint32 // ascending
	free     []string
	others   []string
}

func classify(names []string) contents {
	var c contents
	for _, name := range names {
		seq, ok := parseSegment(name)
		switch {
		case ok:
			c.segments = append(c.segments, seq)
		case name == logFile:
			c.log = true
		case strings.HasSuffix(name, freeSuffix):
			c.free = append(c.free, name)
		case name != "lost+found":
			c.others = append(c.others, name)
		}
	}
	slices.Sort(c.segments)
	return c
}

func (l *Log) openNew(found contents, missing Missing) error {
	switch {
	case len(found.segments)+len(found.free) > 0:
		return &DamagedError{File: logFile, Reason: "the file is missing, but there are segments"}
	case len(found.others) > 0:
		return fmt.Errorf("%w: %s holds %q, but no log", ErrLost, l.cfg.Dir, found.others[0])
	case missing == Refuse:
		return fmt.Errorf("%w: %s holds none, though there is other data", ErrLost, l.cfg.Dir)
	}
	return l.create()
}

// beginAgain goes on where create was interrupted. Nothing can have been
// written then but an empty first segment.
func (l *Log) beginAgain(found contents) error {
	damaged := &DamagedError{File: logFile, Reason: "there is no sync mark, but there are segments in use"}
	if len(found.segments) > 1 {
		return damaged
	}
	for _, seq := range found.segments {
		f, err := l.disk.Open(segmentName(seq))
		if err != nil {
			return fmt.Errorf("raftlog: open %s: %w", segmentName(seq), err)
		}
		b, err := readAll(f, nil)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("raftlog: read %s: %w", segmentName(seq), err)
		}
		if seq != 1 || len(b) > sector && !isZero(b[sector:]) {
			return damaged
		}
		if err := removeFile(l.disk, segmentName(seq)); err != nil {
			return err
		}
	}
	if err := removeFile(l.disk, logFile); err != nil {
		return err
	}
	return l.create()
}

// create begins a log. The first sync mark is the last thing it writes, and
// says that from now on there is something to lose.
func (l *Log) create() error {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("raftlog: choose an id: %w", err)
	}
	l.frames.log = binary.LittleEndian.Uint64(id[:])
	f, err := l.disk.Create(logFile, logBytes)
	if err != nil {
		return fmt.Errorf("raftlog: create %s: %w", logFile, err)
	}
	l.marks = &marks{file: f, log: l.frames.log}
	if _, err := f.WriteAt(encodeIdentity(l.frames.log), 0); err != nil {
		return fmt.Errorf("raftlog: write %s: %w", logFile, err)
	}
	if err := errors.Join(f.Sync(), l.disk.Sync()); err != nil {
		return fmt.Errorf("raftlog: sync %s: %w", logFile, err)
	}
	s, err := createSegment(l.disk, l.frames.log, 1, uint32(l.cfg.SegmentBytes))
	if err != nil {
		return err
	}
	l.segments = []*segment{s}
	l.synced = position{s.seq, s.end}
	if err := l.marks.stand(l.synced); err != nil {
		return err
	}
	l.cfg.Metrics.segments.Set(1)
	l.cfg.Logger.Info("raft log begun", "dir", l.cfg.Dir)
	return nil
}
