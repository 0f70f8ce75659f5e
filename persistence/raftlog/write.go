package raftlog

import (
	"errors"
	"fmt"
	"slices"

	"github.com/rookery-im/rookery/internal/limits"
)

// spare is a segment that is being made.
type spare struct {
	done    chan struct{}
	segment *segment // after done
	err     error    // after done
}

var sealBytes = uint32(frameBytes(1 + 5))

// write stamps what is in buf and writes it to the current segment, or to a
// new one where it does not fit. It returns where it stands.
func (l *Log) write() (position, error) {
	if len(l.buf) > limits.LogWrite {
		return position{}, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(l.buf))
	}
	s := l.segments[len(l.segments)-1]
	state, err := l.beginSegment(s)
	if err == nil && uint64(s.end)+uint64(len(l.buf))+uint64(sealBytes) > uint64(s.size) {
		s, state, err = l.roll(s, state)
	}
	if err != nil {
		return position{}, l.fail(err)
	}
	base := position{s.seq, s.end}
	l.frames.stamp(l.buf, base, l.synced)
	if l.image, err = s.write(l.frames, l.buf, s.end, l.image); err != nil {
		return position{}, l.fail(fmt.Errorf("raftlog: write to %s: %w", segmentName(s.seq), err))
	}
	if cap(l.image) > keptBuffer {
		l.image = nil
	}
	s.end += uint32(len(l.buf))
	l.cfg.Metrics.appends.Inc()
	l.cfg.Metrics.appendedBytes.Add(float64(len(l.buf)))
	if l.spare == nil && s.end > s.size/2 {
		l.prepare(s.seq + 1)
	}
	return position{base.seg, base.off + uint32(state)}, nil
}

// beginSegment puts the state frame before what is in buf, if s is empty. It
// returns the size of that frame.
func (l *Log) beginSegment(s *segment) (int, error) {
	if s.end != segmentHeader {
		return 0, nil
	}
	groups := make([]groupState, len(l.order))
	for i, g := range l.order {
		groups[i] = g.state()
	}
	b, err := appendState(openFrame(nil), groups)
	if err != nil {
		return 0, fmt.Errorf("raftlog: encode state: %w", err)
	}
	b = closeFrame(b, 0)
	l.buf = slices.Concat(b, l.buf)
	return len(b), nil
}

// roll seals s and goes on in the next segment. If s is empty, and too small
// for what is in buf, then a seal is all that comes into it.
func (l *Log) roll(s *segment, state int) (*segment, int, error) {
	if state == 0 {
		var err error
		if state, err = l.beginSegment(&segment{end: segmentHeader}); err != nil {
			return nil, 0, err
		}
	}
	next, err := l.nextSegment(s.seq+1, len(l.buf))
	if err != nil {
		return nil, 0, err
	}
	seal := closeFrame(appendSeal(openFrame(nil), next.seq), 0)
	l.frames.stamp(seal, position{s.seq, s.end}, l.synced)
	if l.image, err = s.write(l.frames, seal, s.end, l.image); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("raftlog: seal %s: %w", segmentName(s.seq), err), next.file.Close())
	}
	s.end += uint32(len(seal))
	l.segments = append(l.segments, next)
	l.cfg.Metrics.segments.Set(float64(len(l.segments)))
	return next, state, nil
}

// prepare begins to make the next segment, so that the round that needs it
// does not wait for the disk.
func (l *Log) prepare(seq uint32) {
	sp := &spare{done: make(chan struct{})}
	l.spare = sp
	produce := l.maker(seq)
	l.cfg.Spawn(func() {
		defer close(sp.done)
		sp.segment, sp.err = produce()
		if sp.err != nil {
			l.cfg.Logger.Error("raft log: the next segment cannot be made; the log breaks when this one is full", "error", sp.err)
		}
	})
}

// maker returns what makes a segment of the usual size: of a free file, where
// there is one.
func (l *Log) maker(seq uint32) func() (*segment, error) {
	size := uint32(l.cfg.SegmentBytes)
	n := len(l.free)
	if n == 0 {
		return func() (*segment, error) { return createSegment(l.disk, l.frames.log, seq, size) }
	}
	free := l.free[n-1]
	l.free = l.free[:n-1]
	return func() (*segment, error) { return reuseSegment(l.disk, l.frames.log, free, seq, size) }
}

// nextSegment returns an empty segment with room for n bytes of frames.
func (l *Log) nextSegment(seq uint32, n int) (*segment, error) {
	size := segmentHeader + n + int(sealBytes)
	if sp := l.spare; sp != nil {
		l.spare = nil
		<-sp.done
		if sp.err != nil {
			return nil, sp.err
		}
		if size <= int(sp.segment.size) {
			return sp.segment, nil
		}
		if err := errors.Join(sp.segment.file.Close(), removeFile(l.disk, segmentName(seq))); err != nil {
			return nil, err
		}
	}
	if size <= int(room(uint32(l.cfg.SegmentBytes))) {
		return l.maker(seq)()
	}
	return createSegment(l.disk, l.frames.log, seq, uint32(fileBytes(size)))
}
