package peer

import (
	"cmp"
	"errors"
	"fmt"

	peerpb "github.com/rookery-im/rookery/proto/rookery/peer/v1"
)

// Why a frame is not taken, or a link ends.
var (
	// ErrFull: the other node has not acknowledged for long. Nothing was taken.
	ErrFull = errors.New("peer: too much waits for the other node")
	// ErrBody: larger than anything that nodes have to say.
	ErrBody = errors.New("peer: body too large")
	// ErrUnknown: no such node is among the peers.
	ErrUnknown = errors.New("peer: unknown node")
	// ErrStale: the other end is an earlier life of that node.
	ErrStale = errors.New("peer: an earlier incarnation")
	// errSeries: the other end does not know what it knew.
	errSeries = errors.New("peer: a new series begins")
	// ErrNumber: the other end counts differently. Its memory is not what it was.
	ErrNumber = errors.New("peer: frame number")
)

// life of a node, as another sees it: its incarnation, and which memory of that
// other it has in it.
type life struct{ incarnation, memory uint64 }

func (l life) compare(m life) int {
	return cmp.Or(cmp.Compare(l.incarnation, m.incarnation), cmp.Compare(l.memory, m.memory))
}

// sender is what one node has to say to another: pure, and single-threaded.
//
// A series of frames belongs to one life of the other end, which counts it too:
// when the other end has come back in a new life, or has forgotten, the next
// series begins.
//
// Its invariants: unacked holds the frames base+1 to base+len(unacked), of which
// the first written were given to the present stream; size sums up their bodies.
type sender struct {
	limits Limits

	series  uint64 // higher than any before to the same node
	remote  life   // of the other end; none before its first welcome
	base    uint64 // last number acknowledged
	unacked [][]byte
	written int
	size    int

	loose     [][]byte
	looseSize int
	open      bool // between a welcome and the end of its stream
}

// put takes a body that is to arrive. It is not copied.
func (s *sender) put(body []byte) error {
	if len(body) > s.limits.Body {
		return fmt.Errorf("%w: %d bytes", ErrBody, len(body))
	}
	if len(s.unacked) >= s.limits.Frames || s.size+len(body) > s.limits.Bytes {
		return ErrFull
	}
	s.unacked = append(s.unacked, body)
	s.size += len(body)
	return nil
}

// putLoose takes a body that may be lost, and says whether it did: while there
// is no stream, or too much waits, it is lost at once.
func (s *sender) putLoose(body []byte) bool {
	if !s.open || len(body) > s.limits.Body || len(s.loose) >= s.limits.Frames || s.looseSize+len(body) > s.limits.LooseBytes {
		return false
	}
	s.loose = append(s.loose, body)
	s.looseSize += len(body)
	return true
}

// welcome begins a stream; next is the number of a series to go on with, should
// that be necessary. Then what was sent in this one and never acknowledged is
// returned, which may have been received or not, and with errSeries the stream
// is of no use: the next one says the new series.
func (s *sender) welcome(w *peerpb.Welcome, next func() uint64) (lost [][]byte, err error) {
	remote := life{w.GetIncarnation(), w.GetMemory()}
	switch before := s.remote; {
	case remote.compare(before) < 0:
		return nil, fmt.Errorf("%w: %v after %v", ErrStale, remote, before)
	case before != life{} && before != remote:
		lost = s.unacked
		*s = sender{limits: s.limits, series: next(), remote: remote}
		return lost, errSeries
	}
	// Nothing is written on this stream yet, but what the last one wrote counts.
	s.written = len(s.unacked)
	if err := s.acked(w.GetReceived()); err != nil {
		return nil, err
	}
	s.remote, s.written, s.open = remote, 0, true
	return nil, nil
}

// acked takes in that all frames up to a number were received.
func (s *sender) acked(received uint64) error {
	if received < s.base || received-s.base > uint64(s.written) {
		return fmt.Errorf("%w: %d acknowledged, %d to %d were written", ErrNumber, received, s.base, s.base+uint64(s.written))
	}
	n := int(received - s.base)
	for i, body := range s.unacked[:n] {
		s.size -= len(body)
		s.unacked[i] = nil
	}
	s.unacked = s.unacked[n:]
	s.base, s.written = received, s.written-n
	if len(s.unacked) == 0 {
		s.unacked = nil // or the array grows at its end for ever
	}
	return nil
}

// take what is to be written next, at most one batch, or nil.
func (s *sender) take() *peerpb.Up {
	if !s.open || s.idle() {
		return nil
	}
	up, size, n := &peerpb.Up{}, 0, 0
	for ; n < len(s.loose) && size < s.limits.Batch; n++ {
		size += len(s.loose[n])
	}
	up.Loose, s.loose = s.loose[:n:n], s.loose[n:]
	s.looseSize -= size
	for ; s.written < len(s.unacked) && size < s.limits.Batch; s.written++ {
		body := s.unacked[s.written]
		size += len(body)
		up.Frames = append(up.Frames, &peerpb.Frame{Number: s.base + uint64(s.written) + 1, Body: body})
	}
	return up
}

func (s *sender) idle() bool { return s.written == len(s.unacked) && len(s.loose) == 0 }

// cut ends the stream: what is not acknowledged is written again on the next.
func (s *sender) cut() {
	s.open, s.written = false, 0
	s.loose, s.looseSize = nil, 0
}

// receiver is what one node has of another: pure, and single-threaded.
type receiver struct {
	incarnation, series uint64 // of the other node
	last                uint64 // frame taken over
}

// greet begins a stream, and says what there is already.
func (r *receiver) greet(incarnation, series uint64) (received uint64, err error) {
	switch c := cmp.Or(cmp.Compare(incarnation, r.incarnation), cmp.Compare(series, r.series)); {
	case incarnation == 0 || series == 0 || c < 0:
		return 0, fmt.Errorf("%w: %d.%d after %d.%d", ErrStale, incarnation, series, r.incarnation, r.series)
	case c > 0:
		*r = receiver{incarnation: incarnation, series: series}
	}
	return r.last, nil
}

// fresh drops the frames that are here already. The rest follow on what is here.
func (r *receiver) fresh(frames []*peerpb.Frame) ([]*peerpb.Frame, error) {
	for len(frames) > 0 && frames[0].GetNumber() <= r.last {
		frames = frames[1:]
	}
	for i, f := range frames {
		if want := r.last + 1 + uint64(i); f.GetNumber() != want {
			return nil, fmt.Errorf("%w: %d where %d was due", ErrNumber, f.GetNumber(), want)
		}
	}
	return frames, nil
}

// took over so many of the frames that were fresh.
func (r *receiver) took(n int) { r.last += uint64(n) }
