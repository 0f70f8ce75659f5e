package events

import (
	"slices"
	"sync"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// blockBytes is up to where what is queued is joined.
const blockBytes = 16 << 10

// stream is one client.
type stream struct {
	// Immutable.
	id   uint64
	news chan struct{} // room for one: something below has changed

	mu        sync.Mutex
	blocks    [][]byte // whole events each
	waiting   int      // bytes, that being written included
	crowded   bool     // more than PendingLow waited since Drained was said
	ending    *ending
	until     time.Time // when lingering ends; zero before the ending
	heartbeat time.Duration
	expires   time.Time
	over      bool // the goroutine has ended
}

// ending is how a stream is left.
type ending struct {
	code   uint16
	reason string
}

// fault is what a client is told that got no stream.
func (e *ending) fault() *nodepb.Fault {
	switch e.code {
	case closeMalformed:
		return fault.New(fault.InvalidArgument, "", "%s", e.reason)
	case closeUnauthenticated:
		return fault.New(fault.Unauthenticated, "", "%s", e.reason)
	case closeUnlinked:
		return fault.New(fault.Unauthenticated, fault.ReasonDeviceUnlinked, "%s", e.reason)
	default:
		return fault.New(fault.Unavailable, "", "%s", e.reason)
	}
}

func newStream(id uint64) *stream { return &stream{id: id, news: make(chan struct{}, 1)} }

func (st *stream) ring() {
	select {
	case st.news <- struct{}{}:
	default:
	}
}

// put queues events; false where too much would wait.
func (st *stream) put(data []byte, low, most int) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.over || st.ending != nil {
		return true
	}
	if st.waiting > 0 && st.waiting+len(data) > most {
		return false
	}
	last := len(st.blocks) - 1
	if last >= 0 && len(st.blocks[last])+len(data) <= blockBytes {
		st.blocks[last] = append(st.blocks[last], data...)
	} else {
		st.blocks = append(st.blocks, slices.Clone(data))
	}
	st.waiting += len(data)
	st.crowded = st.crowded || st.waiting > low
	st.ring()
	return true
}

func (st *stream) pending() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.waiting
}

func (st *stream) admit(heartbeat time.Duration, expires time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.heartbeat, st.expires = heartbeat, expires
	st.ring()
}

func (st *stream) end(e *ending, until time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ending != nil {
		return
	}
	st.ending, st.until = e, until
	if e.code == closeSlow {
		st.drop()
	}
	st.ring()
}

// drop what the goroutine has not taken. The lock is held.
func (st *stream) drop() {
	for _, b := range st.blocks {
		st.waiting -= len(b)
	}
	st.blocks = nil
}

// take the next block, or nil; and how the stream is to be left after the last.
func (st *stream) take() ([]byte, *ending) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.blocks) == 0 {
		return nil, st.ending
	}
	b := st.blocks[0]
	st.blocks[0] = nil
	st.blocks = st.blocks[1:]
	if len(st.blocks) == 0 {
		st.blocks = nil
	}
	return b, nil
}

// wrote says that a block is written, and returns whether that is to be told.
func (st *stream) wrote(n, low int) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.waiting -= n
	if !st.crowded || st.waiting > low || st.ending != nil {
		return false
	}
	st.crowded = false
	return true
}

// lingering is when the stream ends whatever is left; zero before its ending.
func (st *stream) lingering() time.Time {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.until
}

// times are the interval of comments, and when the token expires.
func (st *stream) times() (heartbeat time.Duration, expires time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.heartbeat, st.expires
}

// began says whether there are first words, and if not, how it ended before.
func (st *stream) began() (words bool, e *ending) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.blocks) > 0, st.ending
}

func (st *stream) finish() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.over = true
	st.drop()
}

func (st *stream) isOver() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.over
}
