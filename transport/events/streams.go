package events

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// Close codes, as docs/protocol.md lists them.
const (
	closeTryLater        = 1013
	closeSlow            = 4001
	closeMalformed       = 4100
	closeUnauthenticated = 4101
	closeUnlinked        = 4103
)

// Streams is every event stream of a loop. Send, Pending, Admit, Close and
// Round belong to the loop; Serve is for any goroutine.
type Streams struct {
	// Immutable.
	cfg Config

	// Owned by the loop.
	byID   map[uint64]*stream
	closed []uint64 // for whom Closed is to be said

	// Shared.
	ids     atomic.Uint64
	mu      sync.Mutex
	reports []report
	open    int
	from    map[netip.Addr]int
}

// report is what the goroutine of a stream tells the loop.
type report struct {
	st   *stream
	what what
}

type what uint8

const (
	drained what = iota
	expired
	gone
)

// New makes Streams.
func New(cfg Config) (*Streams, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Streams{cfg: cfg.withDefaults(), byID: map[uint64]*stream{}, from: map[netip.Addr]int{}}, nil
}

// Send queues events. The data is copied.
func (s *Streams) Send(id uint64, data []byte) {
	st := s.byID[id]
	if st == nil {
		return
	}
	if !st.put(data, s.cfg.PendingLow, s.cfg.PendingMax) {
		s.Close(id, closeSlow, "slow consumer")
	}
}

// Pending is how many bytes wait to be written.
func (s *Streams) Pending(id uint64) int {
	if st := s.byID[id]; st != nil {
		return st.pending()
	}
	return 0
}

// Admit sets the interval of comments, and when the stream is closed as not
// authenticated any more.
func (s *Streams) Admit(id uint64, heartbeat time.Duration, expires time.Time) {
	if st := s.byID[id]; st != nil {
		st.admit(heartbeat, expires)
	}
}

// Close ends the stream with an event that says why. What waits is written
// before, but for a client that is too slow.
func (s *Streams) Close(id uint64, code uint16, reason string) {
	st := s.byID[id]
	if st == nil {
		return
	}
	st.end(&ending{code, reason}, time.Now().Add(s.cfg.Linger))
	delete(s.byID, id)
	s.closed = append(s.closed, id)
	s.cfg.Post(func() {}) // for a Round soon; without it there is one all the same
}

// CloseAll closes every stream.
func (s *Streams) CloseAll(code uint16, reason string) {
	for id := range s.byID {
		s.Close(id, code, reason)
	}
}

// Round takes in what the goroutines have reported, and says what was closed.
func (s *Streams) Round() {
	s.mu.Lock()
	reports := s.reports
	s.reports = nil
	s.mu.Unlock()
	for _, r := range reports {
		if s.byID[r.st.id] != r.st {
			continue
		}
		switch r.what {
		case drained:
			s.cfg.Sessions.Drained(r.st.id)
		case expired:
			s.Close(r.st.id, closeUnauthenticated, "the token has expired")
		case gone:
			delete(s.byID, r.st.id)
			s.closed = append(s.closed, r.st.id)
		}
	}
	for len(s.closed) > 0 {
		closed := s.closed
		s.closed = nil
		for _, id := range closed {
			s.cfg.Sessions.Closed(id)
		}
	}
}

// tell the loop. It does not go by the loop's queue, which may be full.
func (s *Streams) tell(st *stream, w what) {
	s.mu.Lock()
	s.reports = append(s.reports, report{st, w})
	s.mu.Unlock()
	s.cfg.Post(func() {})
}

// begin is the loop's part of a new stream.
func (s *Streams) begin(st *stream, hello Hello) {
	if st.isOver() {
		return
	}
	s.byID[st.id] = st
	s.cfg.Sessions.Opened(st.id, hello)
}

// enter counts a stream, if there may be one more.
func (s *Streams) enter(from netip.Addr) *nodepb.Fault {
	refuse := func(reason string, code fault.Code, detail string) *nodepb.Fault {
		s.cfg.Metrics.refused.WithLabelValues(reason).Inc()
		return fault.New(code, "", "%s", detail)
	}
	if err := s.cfg.Seats.TakeSeat(); err != nil {
		return refuse(refusedNode, fault.Unavailable, err.Error())
	}
	from = household(from)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.open >= s.cfg.Streams:
		s.cfg.Seats.GiveSeat()
		return refuse(refusedFull, fault.Unavailable, "the node has as many event streams as it may")
	case from.IsValid() && s.from[from] >= s.cfg.PerAddress:
		s.cfg.Seats.GiveSeat()
		return refuse(refusedAddress, fault.RateLimited, "too many event streams from this address")
	}
	s.open++
	s.from[from]++
	s.cfg.Metrics.open.Inc()
	return nil
}

func (s *Streams) leave(from netip.Addr) {
	from = household(from)
	s.mu.Lock()
	s.open--
	if s.from[from]--; s.from[from] == 0 {
		delete(s.from, from)
	}
	s.mu.Unlock()
	s.cfg.Metrics.open.Dec()
	s.cfg.Seats.GiveSeat()
}

// household is what counts as one address: whoever has one of IPv6 has a /64.
func household(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
