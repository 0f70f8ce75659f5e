package sim

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/e2e/history"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// device is a phone that follows docs/protocol.md: an outbox, whatever has no
// sent again and in order, hello.acked. It records what it does and learns.
type device struct {
	world *world
	me    history.Device
	peers []string

	outbox   []*outgoing
	made     int
	settling bool

	// of the connection
	socket  *socket
	conns   int
	ready   bool // welcome has come
	drained bool
	open    int    // sends that are not answered
	hold    bool   // after a retryable error: until all open ones are answered
	resume  micros // and not before this
	heard   micros // when it last heard anything
	waits   micros // since when it has waited for an answer; 0: it does not
	ticks   bool   // act is under way by time
	fresh   bool   // this connection began when all was healed

	stored, acked   uint64
	tops, ackedTops map[string]uint64 // peer -> highest order it has
	ever, read_     map[string]uint64
}

// outgoing is a message that has no sent yet.
type outgoing struct {
	id, to, payload string
	written         bool
}

const window = 8 // sends that a device leaves unanswered

func newDevice(w *world, me history.Device, peers []string) *device {
	return &device{world: w, me: me, peers: peers, tops: map[string]uint64{}, ackedTops: map[string]uint64{}, ever: map[string]uint64{}}
}

func (d *device) String() string {
	return fmt.Sprintf("%s (outbox %d, connected %v, ready %v, drained %v, stored %d, acked %d)", d.me, len(d.outbox), d.socket != nil, d.ready, d.drained, d.stored, d.acked)
}

func (d *device) see(e history.Event) { d.world.see(e) }

// connect to any node that is there.
func (d *device) connect() {
	if d.socket != nil {
		return
	}
	w := d.world
	n := w.nodes[1+w.random.IntN(len(w.nodes)-1)]
	if !n.up || !n.belongs {
		w.after(w.between(20*millisecond, 200*millisecond), d.connect)
		return
	}
	d.forget()
	d.conns++
	d.socket = n.sockets.accept(d)
	d.ready, d.drained, d.open, d.hold, d.resume, d.waits = false, false, 0, false, 0, 0
	d.heard, d.fresh, d.read_ = w.now, w.healed, map[string]uint64{}
	for _, o := range d.outbox {
		o.written = false
	}
	w.note(n.number, "%s connects as %x", d.me, d.socket.id)
	d.see(history.Connecting{Device: d.me, Conn: d.conns, Acked: d.stored})
	d.say(&clientpb.ClientFrame{Body: &clientpb.ClientFrame_Hello{Hello: &clientpb.Hello{Token: d.me.String(), Client: "sim/1", Acked: d.stored}}})
	d.watch()
}

// watch looks after the connection from time to time.
func (d *device) watch() {
	if d.ticks {
		return
	}
	d.ticks = true
	w := d.world
	var tick func()
	tick = func() {
		if d.socket == nil {
			d.ticks = false
			return
		}
		// The heartbeat, shortened: 6 s without a word that was due.
		if d.waiting() && w.now-d.heard > 6*second {
			d.hangUp("hears nothing")
			d.ticks = false
			return
		}
		d.act()
		w.after(w.between(20*millisecond, 120*millisecond), tick)
	}
	w.after(w.between(5*millisecond, 30*millisecond), tick)
}

// waiting: something is due from the server.
func (d *device) waiting() bool { return !d.ready || !d.drained || d.open > 0 }

func (d *device) hangUp(why string) {
	if d.socket == nil {
		return
	}
	d.world.note(0, "%s hangs up: %s", d.me, why)
	d.socket.hangUp()
	d.lose()
}

func (d *device) lose() {
	d.socket, d.ready = nil, false
	pause := d.world.between(10*millisecond, 300*millisecond)
	d.world.after(pause, d.connect)
}

// closed: the connection has ended.
func (d *device) closed(c *socket, code uint16) {
	if d.socket != c {
		return
	}
	if code >= 4100 && code < 4200 { // it is nowhere else: 4102 as well
		d.world.fault("%s: closed with %d", d.me, code)
	}
	d.world.note(0, "%s is closed with %d", d.me, code)
	d.lose()
}

// forget: some devices come back with less than they had.
func (d *device) forget() {
	switch d.world.random.IntN(4) {
	case 0: // what it had not acked was not on its disk either
		d.stored, d.tops = d.acked, maps.Clone(d.ackedTops)
	case 1: // it has no memory at all, and says nothing in hello
		d.stored, d.tops = 0, map[string]uint64{}
	}
	d.acked, d.ackedTops = d.stored, maps.Clone(d.tops)
}

func (d *device) say(list ...*clientpb.ClientFrame) {
	var data []byte
	for _, f := range list {
		b, err := proto.Marshal(f)
		if err != nil {
			d.world.fault("%s: marshal: %w", d.me, err)
			return
		}
		data = protowire.AppendBytes(data, b)
	}
	d.socket.write(said{data, ids(list)})
}

// read takes what the gateway wrote.
func (d *device) read(c *socket, data []byte) {
	if d.socket != c {
		return
	}
	d.heard = d.world.now
	for len(data) > 0 && d.socket == c {
		size, n := binary.Uvarint(data)
		f := &clientpb.ServerFrame{}
		if err := proto.Unmarshal(data[n:n+int(size)], f); err != nil { //nolint:gosec // small
			d.world.fault("%s: unmarshal: %w", d.me, err)
			return
		}
		data = data[n+int(size):] //nolint:gosec // small
		d.hear(f)
	}
	d.act()
}

func (d *device) hear(f *clientpb.ServerFrame) {
	w := d.world
	switch b := f.GetBody().(type) {
	case *clientpb.ServerFrame_Welcome:
		d.ready = true
	case *clientpb.ServerFrame_Drained:
		d.drained = true
		d.see(history.Drained{Device: d.me, Conn: d.conns})
	case *clientpb.ServerFrame_Sent:
		m := b.Sent
		w.stats.sents++
		d.answered(m.GetId())
		d.see(history.Sent{Device: d.me, ID: m.GetId(), To: m.GetConversation().GetUser(), Order: m.GetOrder(), Time: m.GetTime(), Duplicate: m.GetDuplicate()})
		d.outbox = slices.DeleteFunc(d.outbox, func(o *outgoing) bool { return o.id == m.GetId() })
	case *clientpb.ServerFrame_Deliver:
		m := b.Deliver
		w.stats.delivers++
		d.see(history.Delivered{Device: d.me, Conn: d.conns, Seq: m.GetSeq(), ID: m.GetId(), From: history.Device{User: m.GetFrom().GetUser(), N: m.GetFrom().GetDevice()},
			Peer: m.GetConversation().GetUser(), Order: m.GetOrder(), Time: m.GetTime(), Payload: string(m.GetPayload())})
		d.stored = max(d.stored, m.GetSeq())
		if from := m.GetFrom().GetUser(); from != d.me.User {
			d.tops[from] = max(d.tops[from], m.GetOrder())
			d.ever[from] = max(d.ever[from], m.GetOrder())
		}
	case *clientpb.ServerFrame_Receipt:
		m := b.Receipt
		d.see(history.Receipt{Device: d.me, Conn: d.conns, Seq: m.GetSeq(), Peer: m.GetConversation().GetUser(), By: m.GetBy(), Delivered: m.GetDeliveredUpTo(), Read: m.GetReadUpTo()})
		d.stored = max(d.stored, m.GetSeq())
	case *clientpb.ServerFrame_DeviceEvent:
		d.stored = max(d.stored, b.DeviceEvent.GetSeq())
	case *clientpb.ServerFrame_Error:
		d.refused(b.Error)
	case *clientpb.ServerFrame_Presence, *clientpb.ServerFrame_Typing, *clientpb.ServerFrame_GoAway:
	default:
		w.fault("%s: unexpected frame %T", d.me, b)
	}
}

func (d *device) refused(e *clientpb.Error) {
	w := d.world
	w.stats.refusals++
	switch {
	case e.GetId() == "" && e.GetRetryable():
		d.hangUp("refused: " + e.GetMessage())
	case e.GetId() == "" || !e.GetRetryable():
		w.fault("%s: unexpected error %s %s: %s", d.me, e.GetCode(), e.GetReason(), e.GetMessage())
	default:
		d.see(history.Refused{Device: d.me, ID: e.GetId(), Code: e.GetCode(), Retryable: true})
		d.answered(e.GetId())
		d.hold = true
		d.resume = max(d.resume, w.now+w.between(20*millisecond, 200*millisecond))
	}
}

func (d *device) answered(id string) {
	delete(d.socket.asked, id)
	for _, o := range d.outbox {
		if o.id == id && o.written {
			d.open--
			return
		}
	}
}

// act does what there is to do now: send, ack, read, or hang up.
func (d *device) act() {
	w := d.world
	if d.socket == nil || !d.ready {
		return
	}
	if !d.settling && w.chance(400) {
		d.hangUp("it walks off")
		return
	}
	if d.settling && !d.fresh && len(d.outbox) == 0 {
		d.hangUp("to hear all that it may have missed")
		return
	}
	if !d.settling && w.chance(25) {
		d.say(&clientpb.ClientFrame{Body: &clientpb.ClientFrame_Watch{Watch: &clientpb.Watch{Users: []string{d.peers[w.random.IntN(len(d.peers))]}}}})
	}
	if !d.settling && w.chance(25) {
		d.say(&clientpb.ClientFrame{Body: &clientpb.ClientFrame_Typing{Typing: &clientpb.Typing{Conversation: with(d.peers[w.random.IntN(len(d.peers))]), On: true}}})
	}
	d.sendSome()
	if d.stored > d.acked && (d.settling || w.chance(3)) {
		d.acked, d.ackedTops = d.stored, maps.Clone(d.tops)
		d.see(history.Acking{Device: d.me, Seq: d.acked})
		d.say(&clientpb.ClientFrame{Body: &clientpb.ClientFrame_Ack{Ack: &clientpb.Ack{Seq: d.acked}}})
	}
	tops, final := d.tops, d.settling && d.drained
	if final { // a read has no answer, and may have been lost with a connection
		tops = d.ever
	}
	for _, peer := range slices.Sorted(maps.Keys(tops)) {
		if d.read_[peer] < tops[peer] && (final || w.chance(8)) {
			d.read_[peer] = tops[peer]
			d.see(history.Reading{Device: d.me, Peer: peer, Order: tops[peer]})
			d.say(&clientpb.ClientFrame{Body: &clientpb.ClientFrame_Read{Read: &clientpb.Read{
				Conversation: with(peer), Order: tops[peer],
			}}})
		}
	}
}

func with(peer string) *clientpb.Conversation {
	return &clientpb.Conversation{Peer: &clientpb.Conversation_User{User: peer}}
}

// sendSome fills the window: what waits in the outbox, then new messages.
func (d *device) sendSome() {
	w := d.world
	if d.hold && d.open == 0 && w.now >= d.resume {
		d.hold = false // everything again, in order
		for _, o := range d.outbox {
			o.written = false
		}
	}
	if d.hold {
		return
	}
	var list []*clientpb.ClientFrame
	for d.open < window {
		o := d.next()
		if o == nil {
			break
		}
		o.written = true
		d.open++
		d.see(history.Sending{Device: d.me, ID: o.id, To: o.to, Payload: o.payload})
		list = append(list, &clientpb.ClientFrame{Ref: 1, Body: &clientpb.ClientFrame_Send{Send: &clientpb.Send{
			Id: o.id, To: with(o.to), Kind: clientpb.Kind_TEXT, Payload: []byte(o.payload),
		}}})
	}
	if len(list) > 0 {
		d.say(list...)
	}
}

func (d *device) next() *outgoing {
	for _, o := range d.outbox {
		if !o.written {
			return o
		}
	}
	if d.settling || !d.world.chance(d.world.quiet) {
		return nil
	}
	d.made++
	o := &outgoing{id: d.world.newID(), to: d.peers[d.world.random.IntN(len(d.peers))], payload: fmt.Sprintf("%s-%d", d.me, d.made)}
	d.outbox = append(d.outbox, o)
	return o
}

func (w *world) newID() string {
	a, b := w.random.Uint64(), w.random.Uint64()
	return fmt.Sprintf("%08x-%04x-7%03x-8%03x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48&0xfff, b&0xffffffffffff)
}

// settle: send nothing new, ack and read everything.
func (d *device) settle() { d.settling = true }

// rested: it has said all that it has to say to what it has heard.
func (d *device) rested() bool {
	return d.settling && d.fresh && d.ready && d.drained && len(d.outbox) == 0 && d.acked == d.stored
}
