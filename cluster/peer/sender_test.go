package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"pgregory.net/rapid"

	peerpb "github.com/rookery-im/rookery/proto/rookery/peer/v1"
)

var small = Limits{Frames: 8, Bytes: 80, LooseBytes: 16, Body: 16, Batch: 24}

func body(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func number(b []byte) int { return int(binary.BigEndian.Uint64(b)) }

// wire is a sender and a receiver, and what is between them.
type wire struct {
	t         *rapid.T
	s         sender
	r         receiver
	life      life // of the receiver's node
	series    uint64
	up        []*peerpb.Up
	down      []uint64
	open      bool
	next      int         // body
	delivered map[int]int // how often, by body
	lost      map[int]bool
	last      int // body delivered last
}

func newWire(t *rapid.T) *wire {
	return &wire{t: t, s: sender{limits: small, series: 1}, life: life{1, 1}, series: 1, last: -1, delivered: map[int]int{}, lost: map[int]bool{}}
}

func (w *wire) put() {
	if err := w.s.put(body(w.next)); err == nil {
		w.next++
	} else if !errors.Is(err, ErrFull) || len(w.s.unacked) < small.Frames {
		w.t.Fatalf("put: %v with %d waiting", err, len(w.s.unacked))
	}
}

// cut the stream: what is on its way is gone.
func (w *wire) cut() {
	w.s.cut()
	w.up, w.down, w.open = nil, nil, false
}

func (w *wire) connect() {
	w.cut()
	received, err := w.r.greet(1, w.s.series)
	if err != nil {
		w.t.Fatal(err)
	}
	lost, err := w.s.welcome(&peerpb.Welcome{Incarnation: w.life.incarnation, Memory: w.life.memory, Received: received}, func() uint64 { w.series++; return w.series })
	for _, b := range lost {
		w.lost[number(b)] = true
	}
	if err != nil && !errors.Is(err, errSeries) {
		w.t.Fatal(err)
	}
	w.open = err == nil
}

func (w *wire) write() {
	if up := w.s.take(); up != nil {
		w.up = append(w.up, up)
	}
}

// hear the oldest batch.
func (w *wire) hear() {
	if len(w.up) == 0 {
		return
	}
	frames, err := w.r.fresh(w.up[0].GetFrames())
	w.up = w.up[1:]
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range frames {
		n := number(f.GetBody())
		if n <= w.last {
			w.t.Fatalf("body %d after %d", n, w.last)
		}
		w.last = n
		w.delivered[n]++
	}
	w.r.took(len(frames))
	w.down = append(w.down, w.r.last)
}

func (w *wire) acked() {
	if len(w.down) == 0 {
		return
	}
	if err := w.s.acked(w.down[0]); err != nil {
		w.t.Fatal(err)
	}
	w.down = w.down[1:]
}

// Streams that break, a receiver that begins a new life or forgets: whatever
// was taken arrives once and in order, or is known to be in doubt.
func TestFramesArriveOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWire(t)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(*rapid.T) { w.put() }, "write": func(*rapid.T) { w.write() },
			"hear": func(*rapid.T) { w.hear() }, "acked": func(*rapid.T) { w.acked() },
			"cut": func(*rapid.T) { w.cut() }, "connect": func(*rapid.T) { w.connect() },
			"new life": func(*rapid.T) { w.cut(); w.r = receiver{}; w.life = life{w.life.incarnation + 1, 0} },
			"forget":   func(*rapid.T) { w.cut(); w.r = receiver{}; w.life.memory++ },
			"": func(t *rapid.T) {
				size := 0
				for _, b := range w.s.unacked {
					size += len(b)
				}
				if size != w.s.size || w.s.written > len(w.s.unacked) {
					t.Fatalf("%d bytes counted, %d there; %d of %d written", w.s.size, size, w.s.written, len(w.s.unacked))
				}
			},
		})
		for !w.open {
			w.connect()
		}
		for len(w.s.unacked) > 0 {
			w.write()
			w.hear()
			w.acked()
		}
		for n := range w.next {
			if w.delivered[n] > 1 || w.delivered[n] == 0 && !w.lost[n] {
				t.Fatalf("body %d was delivered %d times; lost: %v", n, w.delivered[n], w.lost[n])
			}
		}
	})
}

// An acknowledgement of what was never written, or an older one, is a fault of
// the other end, and changes nothing.
func TestWrongAcknowledgements(t *testing.T) {
	s := sender{limits: small, series: 1}
	for n := range 3 {
		if err := s.put(body(n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.welcome(&peerpb.Welcome{Incarnation: 7}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.acked(1); !errors.Is(err, ErrNumber) {
		t.Errorf("before it was written: %v", err)
	}
	s.take()
	if err := s.acked(2); err != nil {
		t.Error(err)
	}
	for _, wrong := range []uint64{1, 4} {
		if err := s.acked(wrong); !errors.Is(err, ErrNumber) || len(s.unacked) != 1 {
			t.Errorf("%d: %v, %d left", wrong, err, len(s.unacked))
		}
	}
	if _, err := s.welcome(&peerpb.Welcome{Incarnation: 6, Received: 2}, nil); !errors.Is(err, ErrStale) {
		t.Errorf("an earlier life: %v", err)
	}
}

func TestReceiverRefuses(t *testing.T) {
	r := receiver{incarnation: 5, series: 3, last: 9}
	for _, c := range [][2]uint64{{4, 9}, {5, 2}, {0, 1}, {5, 0}} {
		if _, err := r.greet(c[0], c[1]); !errors.Is(err, ErrStale) {
			t.Errorf("%d.%d: %v", c[0], c[1], err)
		}
	}
	if _, err := r.fresh([]*peerpb.Frame{{Number: 9}, {Number: 11}}); !errors.Is(err, ErrNumber) {
		t.Errorf("a gap: %v", err)
	}
	if got, err := r.greet(5, 3); err != nil || got != 9 {
		t.Errorf("the same series: %d, %v", got, err)
	}
	if got, err := r.greet(5, 4); err != nil || got != 0 {
		t.Errorf("the next series: %d, %v", got, err)
	}
}

// What promises nothing waits for no stream, and goes before the frames.
func TestLoose(t *testing.T) {
	s := sender{limits: small, series: 1}
	if s.putLoose(body(1)) {
		t.Error("taken without a stream")
	}
	if _, err := s.welcome(&peerpb.Welcome{Incarnation: 1}, nil); err != nil {
		t.Fatal(err)
	}
	if !s.putLoose(body(1)) || !s.putLoose(body(2)) || s.putLoose(body(3)) {
		t.Error("the bound of 16 bytes does not hold")
	}
	if err := s.put(body(4)); err != nil {
		t.Fatal(err)
	}
	up := s.take()
	if len(up.GetLoose()) != 2 || !bytes.Equal(up.GetLoose()[1], body(2)) || len(up.GetFrames()) != 1 {
		t.Errorf("took %v", up)
	}
	if !s.putLoose(body(5)) {
		t.Error("room is not given back")
	}
	s.cut()
	if _, err := s.welcome(&peerpb.Welcome{Incarnation: 1}, nil); err != nil {
		t.Fatal(err)
	}
	if up := s.take(); len(up.GetLoose()) != 0 || len(up.GetFrames()) != 1 {
		t.Errorf("after a break took %v", up)
	}
}

func TestBounds(t *testing.T) {
	s := sender{limits: Limits{Frames: 10, Bytes: 20, LooseBytes: 20, Body: 16, Batch: 8}, series: 1}
	if err := s.put(make([]byte, 17)); !errors.Is(err, ErrBody) {
		t.Errorf("a large body: %v", err)
	}
	if err := s.put(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	if err := s.put(make([]byte, 5)); !errors.Is(err, ErrFull) {
		t.Errorf("over the bytes: %v", err)
	}
}
