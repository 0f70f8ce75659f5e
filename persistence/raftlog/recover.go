package raftlog

import (
	"errors"
	"fmt"
)

// recovery reads a log from its oldest segment to its end.
type recovery struct {
	log   *Log
	known position // up to here the log is known to have been synced
	buf   []byte   // the segment that is read, without stamps
	bad   uint32   // offset of its first sector with a bad stamp

	started bool // a state frame was read

	end  position // first frame that does not check
	torn int      // bytes cut off there
}

// recover opens the segments and replays their frames.
func (l *Log) recover(seqs []uint32) error {
	r := &recovery{log: l, known: l.marks.last.synced}
	if len(seqs) == 0 {
		return errors.Join(ErrLost, &DamagedError{File: segmentName(r.known.seg), Reason: "all segments are missing"})
	}
	for i, seq := range seqs {
		if i > 0 && seq != seqs[i-1]+1 {
			return &DamagedError{File: segmentName(seqs[i-1] + 1), Reason: "the segment is missing"}
		}
	}
	for i, seq := range seqs {
		sealed, err := r.segment(seq)
		if err != nil {
			return err
		}
		if sealed && i == len(seqs)-1 {
			return &DamagedError{File: segmentName(seq + 1), Reason: "the segment is missing"}
		}
		if !sealed {
			if err := r.cut(seqs[i+1:]); err != nil {
				return err
			}
			break
		}
	}
	if err := r.checkGroups(); err != nil {
		return err
	}
	// What was found may never have been synced, but raft takes it as durable.
	if err := syncSegments(l.segments); err != nil {
		return err
	}
	last := l.segments[len(l.segments)-1]
	l.synced = position{last.seq, last.end}
	if err := l.marks.stand(l.synced); err != nil {
		return err
	}
	l.cfg.Metrics.segments.Set(float64(len(l.segments)))
	l.cfg.Logger.Info("raft log opened", "dir", l.cfg.Dir, "segments", len(l.segments),
		"groups", len(l.order), "end", r.end, "torn", r.torn)
	return nil
}

// segment replays one segment and reports whether it ends in a seal. If not,
// the log ends there.
func (r *recovery) segment(seq uint32) (sealed bool, err error) {
	l := r.log
	f, err := l.disk.Open(segmentName(seq))
	if err != nil {
		return false, fmt.Errorf("raftlog: open %s: %w", segmentName(seq), err)
	}
	s := &segment{seq: seq, file: f, end: segmentHeader}
	l.segments = append(l.segments, s)
	if r.buf, err = readAll(f, r.buf); err != nil {
		return false, fmt.Errorf("raftlog: read %s: %w", segmentName(seq), err)
	}
	info, reason := decodeSegmentInfo(r.buf, l.frames.log, seq)
	if reason != "" {
		return false, s.damaged(0, reason)
	}
	s.size = room(info.size)
	r.buf, r.bad = l.frames.view(r.buf, seq)
	for !sealed {
		at := position{seq, s.end}
		h, body, ok := l.frames.readFrame(r.buf[s.end:], at)
		if !ok {
			if err := r.endAt(s); err != nil {
				return false, err
			}
			return false, r.rewrite(s)
		}
		if at.before(h.synced) {
			return false, s.damaged(s.end, "a record claims that what follows it was synced")
		}
		if r.known.before(h.synced) {
			r.known = h.synced
		}
		if reason = r.replay(body, at); reason != "" {
			return false, s.damaged(at.off, reason)
		}
		if s.end += uint32(frameBytes(h.body)); s.end > r.bad {
			return false, s.damaged(r.bad, "a sector's stamp does not check")
		}
		sealed = body[0] == kindSeal
	}
	return true, r.rewrite(s)
}

// replay applies one frame, or says what is wrong with it.
func (r *recovery) replay(body []byte, at position) (reason string) {
	first, kind := at.off == segmentHeader, body[0]
	// A segment that was too small for the first write holds a seal only.
	if first != (kind == kindState) && !(first && kind == kindSeal) {
		return "a state record in the wrong place, or none"
	}
	switch kind {
	case kindState:
		return r.state(body)
	case kindUpdate:
		return r.update(body, at)
	case kindCheckpoint:
		return r.checkpoints(body)
	case kindSeal:
		if next, ok := readSeal(body); !ok || next != at.seg+1 {
			return "a seal is malformed"
		}
		return ""
	default:
		return fmt.Sprintf("a record of unknown kind %d", kind)
	}
}

// rewrite writes again what may never have been synced. After a sync that
// failed the page cache can hold as clean what the disk does not have; syncing
// that would do nothing, and say that it is durable.
func (r *recovery) rewrite(s *segment) error {
	from := uint32(segmentHeader)
	if r.known.seg == s.seq {
		from = max(from, r.known.off)
	}
	if r.known.seg > s.seq || from >= s.end {
		return nil
	}
	// Whole sectors, with what follows the end: that is for cut to clear.
	to := (s.end + payload - 1) / payload * payload
	b := r.log.frames.image(nil, r.buf[from:to], position{s.seq, from}, fileOffset(to))
	if _, err := s.file.WriteAt(b, fileOffset(from)); err != nil {
		return fmt.Errorf("raftlog: rewrite the end of %s: %w", segmentName(s.seq), err)
	}
	return nil
}

// endAt decides whether the frame at the end of s, which does not check, may
// be what a crash left.
func (r *recovery) endAt(s *segment) error {
	r.end = position{s.seq, s.end}
	if r.end.before(r.known) {
		return s.damaged(s.end, fmt.Sprintf("a record does not check, and the log was synced up to offset %d of %s",
			fileOffset(r.known.off), segmentName(r.known.seg)))
	}
	if !r.log.frames.torn(r.buf, int(s.end), s.seq) {
		return s.damaged(s.end, "a record was written in full and does not check")
	}
	claimed := r.log.frames.claims(r.buf[s.end:], r.end)
	return r.disprove(s, claimed)
}

func (r *recovery) disprove(s *segment, claimed position) error {
	if r.end.before(claimed) {
		return s.damaged(r.end.off, fmt.Sprintf("a record does not check, and a later one "+
			"says that the log was synced up to offset %d of %s", fileOffset(claimed.off), segmentName(claimed.seg)))
	}
	return nil
}

// cut clears the last segment after the log's end and removes the segments
// after it. A crash meanwhile leaves a log that ends in the same place.
func (r *recovery) cut(later []uint32) error {
	l := r.log
	last := l.segments[len(l.segments)-1]
	from := int(last.end)
	to := len(r.buf)
	for to > from && r.buf[to-1] == 0 {
		to--
	}
	r.torn = to - from
	for _, seq := range later {
		if err := r.examine(last, seq); err != nil {
			return err
		}
	}
	for i := len(later) - 1; i >= 0; i-- {
		if err := removeFile(l.disk, segmentName(later[i])); err != nil {
			return err
		}
	}
	if r.torn == 0 {
		return nil
	}
	l.cfg.Logger.Warn("raft log: cut off what a crash left unsynced", "segment", last.seq, "offset", from, "bytes", r.torn)
	// A frame stays torn while it is cleared: its hole stays, or its head goes.
	if _, err := last.write(l.frames, make([]byte, r.torn), last.end, nil); err != nil {
		return fmt.Errorf("raftlog: clear the end of %s: %w", segmentName(last.seq), err)
	}
	return nil
}

// examine reads a segment after the log's end for claims that the log went
// on. One that was made and not yet used may have any size and content.
func (r *recovery) examine(last *segment, seq uint32) error {
	f, err := r.log.disk.Open(segmentName(seq))
	if err != nil {
		return fmt.Errorf("raftlog: open %s: %w", segmentName(seq), err)
	}
	content, err := readAll(f, nil)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("raftlog: read %s: %w", segmentName(seq), err)
	}
	if len(content) < sector {
		return nil
	}
	content, _ = r.log.frames.view(content, seq)
	return r.disprove(last, r.log.frames.claims(content[segmentHeader:], position{seq, segmentHeader}))
}

// state takes over the groups from the first state frame. The others have to
// agree with what was replayed.
func (r *recovery) state(body []byte) (reason string) {
	groups, ok := readState(body)
	if !ok {
		return "a state record is malformed"
	}
	begins := !r.started
	r.started = true
	for i := range groups {
		s := &groups[i]
		g := r.log.group(s.group)
		if !begins {
			if g.hardState != s.hardState || g.last != s.last ||
				g.checkpoint.Index != s.checkpoint.Index || g.checkpoint.Term != s.checkpoint.Term {
				return fmt.Sprintf("the records before do not lead to the state of group %d that is noted here", s.group)
			}
			continue
		}
		g.hardState, g.last = s.hardState, s.last
		if s.saved {
			g.checkpoint = s.checkpoint
		}
	}
	return ""
}

func (r *recovery) update(body []byte, at position) (reason string) {
	const malformed = "an update that checks is malformed"
	u, ok := readUpdate(body)
	if !ok {
		return malformed
	}
	g := r.log.group(u.group)
	if u.hasHardState {
		g.hardState = u.hardState
	}
	if u.count == 0 {
		return ""
	}
	if u.first <= g.checkpoint.Index || u.first > g.last+1 {
		return fmt.Sprintf("entries of group %d from %d do not follow checkpoint %d and last %d",
			u.group, u.first, g.checkpoint.Index, g.last)
	}
	g.beginEntries(u.first, at)
	for range u.count {
		g.addTerm(u.next().term)
	}
	if u.entries.bad || len(u.entries.b) > 0 {
		return malformed
	}
	return ""
}

func (r *recovery) checkpoints(body []byte) (reason string) {
	all, ok := readCheckpoints(body)
	if !ok {
		return "checkpoints that check are malformed"
	}
	for _, c := range all {
		g := r.log.group(c.Group)
		if c.Index < g.checkpoint.Index && !c.Reset || !c.replaces && c.Index > g.last {
			return fmt.Sprintf("the checkpoint at %d of group %d is out of range", c.Index, c.Group)
		}
		g.install(c)
	}
	return ""
}

// checkGroups looks for entries that should be in a segment before the oldest.
func (r *recovery) checkGroups() error {
	l := r.log
	oldest := l.segments[0]
	for _, g := range l.order {
		if g.last > g.checkpoint.Index && (len(g.places) == 0 || g.places[0].index > g.checkpoint.Index+1) {
			return &DamagedError{File: segmentName(oldest.seq - 1), Reason: fmt.Sprintf(
				"the segment is missing: it held entries of group %d after %d", g.id, g.checkpoint.Index)}
		}
		if commit := g.effectiveHardState().commit; commit > g.last {
			return oldest.damaged(0, fmt.Sprintf("group %d ends at %d, but %d is committed", g.id, g.last, commit))
		}
	}
	return nil
}
