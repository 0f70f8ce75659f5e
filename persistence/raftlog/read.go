package raftlog

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// readEntries reads from the segments up to where memory begins.
func (g *Group) readEntries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	var ents []*raftpb.Entry
	var size uint64
	first := g.tailFirst()
	for i := g.findPlace(lo); lo < min(hi, first); i++ {
		end := g.last + 1
		if i+1 < len(g.places) {
			end = g.places[i+1].index
		}
		read, err := g.log.readPlace(g.places[i], lo, min(hi, first, end))
		if err != nil {
			return nil, g.log.fail(err)
		}
		for _, e := range read {
			size += entrySize(e)
			if size > maxSize && len(ents) > 0 {
				return ents, nil
			}
			ents = append(ents, e)
			lo++
		}
	}
	for ; lo < hi; lo++ {
		e := g.tail[lo-first]
		if size += entrySize(e); size > maxSize {
			break
		}
		ents = append(ents, e)
	}
	return ents, nil
}

// readPlace reads the entries lo to hi-1 that the frame at p holds.
func (l *Log) readPlace(p place, lo, hi uint64) ([]*raftpb.Entry, error) {
	l.cfg.Metrics.diskReads.Inc()
	i, ok := slices.BinarySearchFunc(l.segments, p.at.seg, func(s *segment, seq uint32) int {
		return int(int64(s.seq) - int64(seq))
	})
	if !ok {
		return nil, &DamagedError{File: segmentName(p.at.seg), Reason: "the segment is not open"}
	}
	s := l.segments[i]
	frame, err := s.read(l.frames, headBytes, p.at.off)
	if err != nil {
		return nil, err
	}
	h, ok := l.frames.readHead(frame, p.at)
	if !ok || uint64(p.at.off)+uint64(frameBytes(h.body)) > uint64(s.size) {
		return nil, s.damaged(p.at.off, "a record's head does not check on reading it back")
	}
	if frame, err = s.read(l.frames, frameBytes(h.body), p.at.off); err != nil {
		return nil, err
	}
	_, body, ok := l.frames.readFrame(frame, p.at)
	if !ok {
		return nil, s.damaged(p.at.off, "a record does not check on reading it back")
	}
	u, ok := readUpdate(body)
	if !ok {
		return nil, s.damaged(p.at.off, "a record that checks is malformed")
	}
	ents, ok := u.decode(nil, lo, hi)
	if !ok || uint64(len(ents)) != hi-lo {
		return nil, s.damaged(p.at.off, "a record that checks lacks entries")
	}
	return ents, nil
}
