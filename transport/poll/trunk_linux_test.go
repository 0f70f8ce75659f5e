package poll

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// trunks are two loops with a trunk between them.
type trunks struct {
	t           *testing.T
	near, far   *Loop
	nearW, farW *witness
	opened      []ID // at the far end
}

func newTrunks(t *testing.T) *trunks {
	t.Helper()
	p := &trunks{t: t}
	p.near, p.nearW = newLoop(t, Config{})
	p.far, p.farW = newLoop(t, Config{})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	opened := func(id ID) { p.opened = append(p.opened, id) }
	if err := errors.Join(p.near.Carry(fds[0], nil), p.far.Carry(fds[1], opened)); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *trunks) open() ID {
	p.t.Helper()
	id, err := p.near.StandIn()
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// round has both ends read and write once.
func (p *trunks) round() {
	p.t.Helper()
	for _, l := range []*Loop{p.near, p.far} {
		l.Flush()
		wait(p.t, l)
		l.Flush()
	}
}

// What stands on a stand-in sees a connection: bytes come in order, both ways,
// also where more is written than the trunk takes, or one is not read for a
// while; ends are heard; nothing comes to another.
func TestTrunk(t *testing.T) {
	p := newTrunks(t)
	rng := rand.New(rand.NewPCG(1, 2))
	const streams = 50
	p.farW.onData = func(id ID) {
		p.far.Write(id, nil, []byte(p.farW.got[id])) // back
		p.farW.got[id] = ""
		if rng.IntN(10) == 0 {
			p.far.Pause(id)
		}
	}
	var ids []ID
	said := map[ID]*bytes.Buffer{}
	for i := range streams {
		id := p.open()
		ids = append(ids, id)
		said[id] = &bytes.Buffer{}
		fmt.Fprint(said[id], "stream ", i, ": ")
		p.near.Write(id, []byte("stream "), []byte(fmt.Sprint(i, ": ")))
	}
	for n := range 2000 {
		id := ids[rng.IntN(streams)]
		b := bytes.Repeat([]byte{byte(n)}, 1+rng.IntN(10_000))
		said[id].Write(b)
		p.near.Write(id, nil, b)
		if rng.IntN(20) == 0 {
			p.round()
		}
		if len(p.opened) > 0 {
			p.far.Resume(p.opened[rng.IntN(len(p.opened))])
		}
	}
	back := func() (n int) {
		for id, b := range said {
			if len(p.nearW.got[id]) == b.Len() {
				n++
			}
		}
		return n
	}
	for range 1000 {
		if back() == streams {
			break
		}
		for _, id := range p.opened {
			p.far.Resume(id)
		}
		p.round()
	}
	if p.far.Len() != streams || len(p.opened) != streams {
		t.Fatalf("%d opened, %d open", len(p.opened), p.far.Len())
	}
	for id, b := range said {
		if p.nearW.got[id] != b.String() {
			t.Errorf("%v: %d bytes were said, %d came back", id, b.Len(), len(p.nearW.got[id]))
		}
	}
	if p.near.Queued() != 0 || p.far.Queued() != 0 {
		t.Errorf("%d and %d bytes wait for ever", p.near.Queued(), p.far.Queued())
	}
}

// More than the trunk takes is refused to the stand-in that writes it, and goes
// on by itself once there is room: no call of the user's is needed.
func TestTrunkBackPressure(t *testing.T) {
	p := newTrunks(t)
	const streams, each = 40, 256 << 10
	for range streams {
		p.near.Write(p.open(), nil, make([]byte, each))
	}
	p.near.Flush()
	if p.near.Queued() < streams*each/2 {
		t.Fatalf("%d bytes wait: the trunk has no bound", p.near.Queued())
	}
	for range 10_000 {
		if p.near.Queued() == 0 {
			break
		}
		wait(t, p.near) // no Flush
		wait(t, p.far)
	}
	for range 100 {
		p.round()
	}
	total := 0
	for _, got := range p.farW.got {
		total += len(got)
	}
	if total != streams*each {
		t.Errorf("%d bytes came of %d", total, streams*each)
	}
}

// An end is heard at the other end, a number that has ended means nothing any
// more, and with the trunk all of its stand-ins end.
func TestTrunkEnds(t *testing.T) {
	p := newTrunks(t)
	a, b, c := p.open(), p.open(), p.open()
	for _, id := range []ID{a, b, c} {
		p.near.Write(id, nil, []byte("hello"))
	}
	p.round()
	if len(p.opened) != 3 {
		t.Fatalf("opened %v", p.opened)
	}
	p.far.Write(p.opened[0], nil, []byte("too late"))
	p.near.Close(a)
	p.far.Write(p.opened[1], nil, []byte("last words"))
	p.far.Flush()
	p.far.Shutdown(p.opened[1])
	for range 3 {
		p.round()
	}
	if !errors.Is(p.farW.gone[p.opened[0]], io.EOF) || !errors.Is(p.nearW.gone[b], io.EOF) || p.nearW.got[b] != "last words" || p.nearW.got[a] != "" {
		t.Errorf("far %v, near %v, got %q", p.farW.gone, p.nearW.gone, p.nearW.got)
	}
	p.far.Close(p.opened[0])
	p.near.Close(b)
	p.far.Close(p.opened[1])
	d := p.open() // in a slot that was another's
	p.near.Write(d, nil, []byte("next"))
	for range 3 {
		p.round()
	}
	if len(p.opened) != 4 || p.farW.got[p.opened[3]] != "next" {
		t.Errorf("opened %v, got %q", p.opened, p.farW.got)
	}
	p.far.Pause(p.opened[2])
	p.near.Write(c, nil, []byte(strings.Repeat("x", trunkHeld+1)))
	for range 10 {
		p.round()
	}
	if !errors.Is(p.farW.gone[p.opened[2]], errTrunkHeld) {
		t.Errorf("a stand-in that is not read may hold what it likes: %v", p.farW.gone)
	}
	if err := unix.Shutdown(p.far.trunk.fd, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	p.round()
	if p.nearW.gone[d] == nil {
		t.Errorf("the trunk has ended, and %v stands: %v", d, p.nearW.gone)
	}
	if _, err := p.near.StandIn(); err == nil {
		t.Error("a stand-in on a trunk that has ended")
	}
	if _, err := p.far.StandIn(); err == nil {
		t.Error("both ends may open stand-ins, with the same numbers")
	}
}
