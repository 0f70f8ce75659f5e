package raftlog

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// Update is what one group appends in a round, as raft's Ready gives it.
// Entries are kept and must not be changed any more, nor the bytes they hold.
type Update struct {
	Group     uint32
	HardState *raftpb.HardState // nil: unchanged
	Entries   []*raftpb.Entry
}

// Log is the log of one node. See the package comment for its files and rules.
type Log struct {
	// Immutable.
	cfg    Config
	disk   Disk
	frames frames
	unlock func() error // releases the directory

	saving sync.Mutex // serializes SaveCheckpoints

	syncing sync.Mutex
	marks   *marks // guarded by syncing

	mu        sync.Mutex
	failed    error // guarded by mu, as is all that follows
	groups    map[uint32]*Group
	order     []*Group
	segments  []*segment // ascending; the last one is written to
	synced    position
	spare     *spare   // the next segment, from half of the current one on
	free      []string // files of the usual size to make segments of
	buf       []byte
	image     []byte // of buf, as the file gets it
	staged    []stagedUpdate
	round     uint64
	tailBytes int
	hand      int // next group in order to give up memory
}

// stagedUpdate is an update that is encoded and not yet written.
type stagedUpdate struct {
	group  *Group
	update *Update
	off    int // of its frame in buf
}

// Group returns the storage of a group. The group begins empty.
func (l *Log) Group(id uint32) *Group {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.group(id)
}

func (l *Log) group(id uint32) *Group {
	g := l.groups[id]
	if g == nil {
		g = &Group{id: id, log: l}
		l.groups[id] = g
		l.order = append(l.order, g)
	}
	return g
}

// Append writes the updates, in one write, and makes them visible to the
// groups' storage. They are durable after the next Sync. An error that wraps
// ErrTooLarge, or says that entries do not follow the group's log, changed
// nothing; after any other the log is broken.
func (l *Log) Append(updates []Update) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	if err := l.stage(updates); err != nil {
		return err
	}
	if len(l.staged) == 0 {
		return nil
	}
	base, err := l.write()
	if err != nil {
		return err
	}
	for i := range l.staged {
		s := &l.staged[i]
		l.apply(s.group, s.update, position{base.seg, base.off + uint32(s.off)})
	}
	clear(l.staged)
	if cap(l.buf) > keptBuffer {
		l.buf = nil
	}
	l.bound()
	return nil
}

// keptBuffer is the largest buffer that is kept for the next round.
const keptBuffer = 8 << 20

// stage encodes the updates into buf.
func (l *Log) stage(updates []Update) error {
	l.buf, l.staged = l.buf[:0], l.staged[:0]
	l.round++
	for i := range updates {
		u := &updates[i]
		if u.HardState == nil && len(u.Entries) == 0 {
			continue
		}
		g := l.group(u.Group)
		if g.round != l.round {
			g.round, g.staged = l.round, g.last
		}
		if err := g.check(u); err != nil {
			return err
		}
		off := len(l.buf)
		l.buf = closeFrame(appendUpdate(openFrame(l.buf), u), off)
		l.staged = append(l.staged, stagedUpdate{g, u, off})
	}
	return nil
}

// check refuses entries that leave a gap, begin at or before the checkpoint,
// or are not consecutive, and a hard state that commits what is not there:
// they would be taken for damage when the log is opened.
func (g *Group) check(u *Update) error {
	if err := g.checkEntries(u.Entries); err != nil {
		return err
	}
	if commit := u.HardState.GetCommit(); commit > g.staged {
		return fmt.Errorf("raftlog: group %d: commit %d is past the last entry %d", g.id, commit, g.staged)
	}
	return nil
}

func (g *Group) checkEntries(ents []*raftpb.Entry) error {
	if len(ents) == 0 {
		return nil
	}
	first := ents[0].GetIndex()
	if first <= g.checkpoint.Index || first > g.staged+1 {
		return fmt.Errorf("raftlog: group %d: entries from %d do not follow checkpoint %d and last %d",
			g.id, first, g.checkpoint.Index, g.staged)
	}
	for i, e := range ents {
		if e.GetIndex() != first+uint64(i) {
			return fmt.Errorf("raftlog: group %d: entry %d in the place of %d", g.id, e.GetIndex(), first+uint64(i))
		}
	}
	g.staged = first + uint64(len(ents)) - 1
	return nil
}

func (l *Log) apply(g *Group, u *Update, at position) {
	if hs := u.HardState; hs != nil {
		g.hardState = hardState{hs.GetTerm(), hs.GetVote(), hs.GetCommit()}
	}
	if len(u.Entries) == 0 {
		return
	}
	g.beginEntries(u.Entries[0].GetIndex(), at)
	for _, e := range u.Entries {
		g.addTerm(e.GetTerm())
	}
	g.addTail(u.Entries)
	if g.tailBytes > l.cfg.GroupTailBytes {
		g.evict(l.cfg.GroupTailBytes / 2)
	}
}

// bound takes memory from the groups in turns, half of what each holds, so
// that no group that is busy now starves the others.
func (l *Log) bound() {
	for l.tailBytes > l.cfg.TailBytes {
		l.hand = (l.hand + 1) % len(l.order)
		g := l.order[l.hand]
		g.evict(g.tailBytes / 2)
	}
	l.cfg.Metrics.tailBytes.Set(float64(l.tailBytes))
}

// fail breaks the log until Repair. After a failed write or sync the kernel may
// have dropped the pages, so that trying again would report as durable what is
// lost.
func (l *Log) fail(err error) error {
	if l.failed == nil {
		l.failed = err
		l.cfg.Metrics.broken.Set(1)
		l.cfg.Logger.Error("raft log broke", "error", err)
	}
	return l.failed
}

// Sync makes durable what was appended before it was called. After an error
// the log is broken.
func (l *Log) Sync() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()

	l.mu.Lock()
	if l.failed != nil {
		defer l.mu.Unlock()
		return l.failed
	}
	last := l.segments[len(l.segments)-1]
	target := position{last.seq, last.end}
	dirty := l.dirty()
	l.mu.Unlock()

	begin := time.Now()
	err := syncSegments(dirty)
	l.cfg.Metrics.syncSeconds.Observe(time.Since(begin).Seconds())
	if err == nil {
		err = l.marks.write(target)
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		return l.fail(err)
	}
	l.synced = target
	return l.failed
}

// dirty returns the segments that hold something not synced.
func (l *Log) dirty() []*segment {
	for i, s := range l.segments {
		if l.synced.before(position{s.seq, s.end}) {
			return l.segments[i:len(l.segments):len(l.segments)]
		}
	}
	return nil
}

func syncSegments(segments []*segment) error {
	for _, s := range segments {
		if err := s.file.Sync(); err != nil {
			return fmt.Errorf("raftlog: sync %s: %w", segmentName(s.seq), err)
		}
	}
	return nil
}

// Stats is the size of the log.
type Stats struct {
	Segments int   // files
	Bytes    int64 // of frames, in all segments
	Tail     int   // bytes of memory held by the newest entries
}

// Stats returns the log's size.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := Stats{Segments: len(l.segments), Tail: l.tailBytes}
	for _, s := range l.segments {
		st.Bytes += int64(s.end - segmentHeader)
	}
	return st
}

// Close syncs the log, and the mark that says so, and closes its files. It
// returns the error that broke the log, if one did.
func (l *Log) Close() error {
	err := l.Sync()
	if errors.Is(err, ErrClosed) {
		return nil
	}
	l.saving.Lock()
	defer l.saving.Unlock()
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(l.failed, ErrClosed) {
		return nil
	}
	if err == nil {
		err = l.marks.sync()
	}
	l.failed = ErrClosed
	return errors.Join(err, l.closeFiles(), l.unlock())
}

// closeFiles closes all but the directory. What prepares a segment has ended
// when it returns.
func (l *Log) closeFiles() error {
	var errs []error
	if l.spare != nil {
		<-l.spare.done
		if l.spare.err == nil {
			errs = append(errs, l.spare.segment.file.Close())
		}
		l.spare = nil
	}
	for _, s := range l.segments {
		errs = append(errs, s.file.Close())
	}
	l.segments = nil
	if l.marks != nil {
		errs = append(errs, l.marks.file.Close())
		l.marks = nil
	}
	return errors.Join(errs...)
}
