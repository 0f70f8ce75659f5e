package events

import (
	"errors"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/frames"
)

// pieceBytes is what is written under one deadline.
const pieceBytes = 16 << 10

// Serve asks for a session, and writes what it says until it ends or the client
// is gone. The fault says why there was none; then nothing was written.
func (s *Streams) Serve(w http.ResponseWriter, r *http.Request, from netip.Addr, hello Hello) *nodepb.Fault {
	if f := s.enter(from); f != nil {
		return f
	}
	defer s.leave(from)
	st := newStream(s.ids.Add(1))
	// Finished first: what begins it later finds that it is over.
	defer s.tell(st, gone)
	defer st.finish()
	if !s.cfg.Post(func() { s.begin(st, hello) }) {
		s.cfg.Metrics.refused.WithLabelValues(refusedLoop).Inc()
		return fault.New(fault.Unavailable, "", "the node takes no more at the moment")
	}
	if f := s.await(r, st); f != nil {
		s.cfg.Metrics.refused.WithLabelValues(endRefused).Inc()
		return f
	}
	// A peer that vanished answers no comment either.
	heartbeat, _ := st.times()
	s.cfg.Seats.GiveUpAfter(r, 2*heartbeat)
	end := newWriter(s, st, w, r).run()
	s.cfg.Seats.GiveUpAfter(r, 0)
	s.cfg.Metrics.ended.WithLabelValues(end).Inc()
	s.cfg.Log.Debug("event stream ended", "user", hello.User, "device", hello.Device, "end", end)
	return nil
}

// await the first words.
func (s *Streams) await(r *http.Request, st *stream) *nodepb.Fault {
	late := time.NewTimer(s.cfg.Beginning)
	defer late.Stop()
	for {
		words, e := st.began()
		switch {
		case words:
			return nil
		case e != nil:
			return e.fault()
		}
		select {
		case <-st.news:
		case <-late.C:
			return fault.New(fault.Unavailable, "", "no answer in time")
		case <-r.Context().Done():
			return fault.New(fault.Unavailable, "", "the client has gone")
		}
	}
}

// writer is the goroutine's side of a stream.
type writer struct {
	s    *Streams
	st   *stream
	w    http.ResponseWriter
	ctl  *http.ResponseController
	done <-chan struct{} // the client has gone
}

func newWriter(s *Streams, st *stream, w http.ResponseWriter, r *http.Request) *writer {
	return &writer{s: s, st: st, w: w, ctl: http.NewResponseController(w), done: r.Context().Done()}
}

// run until the end, and say in a word what that was.
func (w *writer) run() string {
	h := w.w.Header()
	h.Set("Content-Type", frames.MediaEventStream)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would wait for more
	w.w.WriteHeader(http.StatusOK)
	code, err := w.stream()
	// The connection may serve further requests.
	_ = w.ctl.SetWriteDeadline(time.Time{})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return endStuck
	case err != nil:
		return endLost
	default:
		return strconv.Itoa(int(code))
	}
}

var errGone = errors.New("events: the client has gone")

// stream writes as things come; the code is how the session ended it.
func (w *writer) stream() (uint16, error) {
	beat, expiry := time.NewTimer(0), time.NewTimer(0) // set before they are waited for
	beat.Stop()
	expiry.Stop()
	defer beat.Stop()
	defer expiry.Stop()
	told := false
	for {
		end, err := w.flush()
		if err != nil || end != nil {
			return end.word(), err
		}
		heartbeat, expires := w.st.times()
		beat.Reset(heartbeat)
		if !told && !expires.IsZero() {
			expiry.Reset(time.Until(expires))
		}
		select {
		case <-w.st.news:
		case <-beat.C:
			if err := w.write(frames.AppendComment(nil)); err != nil {
				return 0, err
			}
			if err := w.push(); err != nil {
				return 0, err
			}
		case <-expiry.C:
			told = true
			w.s.tell(w.st, expired) // the loop ends it
		case <-w.done:
			return 0, errGone
		}
	}
}

func (e *ending) word() uint16 {
	if e == nil {
		return 0
	}
	return e.code
}

// flush writes what waits, and the last event where that is all there will be.
func (w *writer) flush() (*ending, error) {
	dirty := false
	for {
		b, end := w.st.take()
		switch {
		case b != nil:
			if err := w.write(b); err != nil {
				return nil, err
			}
			dirty = true
			if w.st.wrote(len(b), w.s.cfg.PendingLow) {
				w.s.tell(w.st, drained)
			}
			continue
		case end != nil:
			last, err := frames.AppendClose(nil, end.code, end.reason)
			if err == nil {
				err = w.write(last)
			}
			if err == nil {
				err = w.push()
			}
			return end, err
		case dirty:
			return nil, w.push()
		default:
			return nil, nil
		}
	}
}

// write a whole event or several, in pieces: each has its time.
func (w *writer) write(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), pieceBytes)
		w.hurry()
		if _, err := w.w.Write(b[:n]); err != nil {
			return err
		}
		w.s.cfg.Metrics.bytes.Add(float64(n))
		b = b[n:]
	}
	return nil
}

// push what net/http still holds.
func (w *writer) push() error {
	w.hurry()
	return w.ctl.Flush()
}

// hurry bounds the next write.
func (w *writer) hurry() {
	until := time.Now().Add(w.s.cfg.Slow)
	if end := w.st.lingering(); !end.IsZero() && end.Before(until) {
		until = end
	}
	// Where there is no connection there is nothing to wait for either.
	_ = w.ctl.SetWriteDeadline(until)
}
