package raftlog

import (
	"errors"
	"fmt"
)

// Repair opens a log that broke again, from its files, as a new process would:
// what was synced is there, and of what was appended after it a beginning,
// which is written again and synced before Repair returns. Group values of
// before are void; their users begin anew with those that Group returns. It
// fails while the disk does, and where there is no room for a further segment;
// the log then stays as broken as it was, and Repair may be called again. On a
// log that did not break it does nothing.
func (l *Log) Repair() error {
	l.saving.Lock()
	defer l.saving.Unlock()
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil || errors.Is(l.failed, ErrClosed) {
		return l.failed
	}
	// A file that fails to close was going to be read again anyway.
	_ = l.closeFiles()
	l.groups, l.order = make(map[uint32]*Group), nil
	l.tailBytes, l.hand = 0, 0
	// There was a log: one that is missing now is lost.
	if err := l.open(Refuse); err != nil {
		return fmt.Errorf("raftlog: repair: %w", err)
	}
	if err := l.provide(); err != nil {
		return fmt.Errorf("raftlog: repair: %w", err)
	}
	l.failed = nil
	l.cfg.Metrics.broken.Set(0)
	l.cfg.Metrics.repairs.Inc()
	return nil
}

// provide makes the next segment before the log is used again: on a disk that
// is still full it would break with the first round that needs one.
func (l *Log) provide() error {
	seq := l.segments[len(l.segments)-1].seq + 1
	s, err := createSegment(l.disk, l.frames.log, seq, uint32(l.cfg.SegmentBytes))
	if err != nil {
		return err
	}
	l.spare = &spare{done: make(chan struct{}), segment: s}
	close(l.spare.done)
	return nil
}
