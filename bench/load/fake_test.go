package load

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	"github.com/rookery-im/rookery/transport/ws"
)

// fakeNode speaks just enough of the protocol for pairs of users, by the
// generated code, and breaks its promises where told to. Users are their
// tokens; each has one device.
type fakeNode struct {
	t      *testing.T
	listen net.Listener
	// harm may change what is about to be sent to a user: nothing, once, twice.
	harm func(user string, f *clientpb.ServerFrame) []*clientpb.ServerFrame
	// refuse says which sends get an error that can be retried, where given.
	refuse func(id string) bool

	mu    sync.Mutex
	users map[string]*fakeUser
	wait  sync.WaitGroup
}

type fakeUser struct {
	name   string
	conn   net.Conn
	seq    uint64
	order  uint64 // of what was sent to it
	from   string // by whom
	seqs   map[uint64]uint64
	marked uint64
	owed   string // the id of its send that was refused and has to come first
}

func startFake(t *testing.T, harm func(string, *clientpb.ServerFrame) []*clientpb.ServerFrame) *fakeNode {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &fakeNode{t: t, listen: l, harm: harm, users: map[string]*fakeUser{}}
	n.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.wait.Go(func() { n.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		n.mu.Lock()
		for _, u := range n.users {
			u.conn.Close()
		}
		n.mu.Unlock()
		n.wait.Wait()
	})
	return n
}

func (n *fakeNode) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil || req.Header.Get("Sec-WebSocket-Protocol") != ws.NameProtobuf || len(req.Header.Get("Sec-WebSocket-Key")) != 24 {
		n.t.Errorf("the upgrade: %v, %v", req, err)
		return
	}
	fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
	var parser ws.Parser
	var asm ws.Assembly
	var me *fakeUser
	buf := make([]byte, 64<<10)
	for {
		k, err := r.Read(buf)
		if err != nil {
			return
		}
		for in := buf[:k]; ; {
			ev, took := parser.Next(in, &asm, 1<<20)
			in = in[took:]
			if ev.Kind == ws.None {
				break
			}
			if ev.Kind != ws.GotMessage {
				n.t.Errorf("an event %v: %v", ev.Kind, ev.Fault)
				return
			}
			for data := ev.Data; len(data) > 0; {
				body, size := protowire.ConsumeBytes(data)
				var f clientpb.ClientFrame
				if size < 0 || proto.Unmarshal(body, &f) != nil {
					n.t.Errorf("not a frame: %x", data)
					return
				}
				data = data[size:]
				me = n.take(c, me, &f)
			}
		}
	}
}

func (n *fakeNode) take(c net.Conn, me *fakeUser, f *clientpb.ClientFrame) *fakeUser {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch b := f.GetBody().(type) {
	case *clientpb.ClientFrame_Hello:
		me = n.users[b.Hello.GetToken()]
		if me == nil {
			me = &fakeUser{name: b.Hello.GetToken(), seqs: map[uint64]uint64{}}
			n.users[me.name] = me
		}
		me.conn = c
		n.write(me, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Welcome{Welcome: &clientpb.Welcome{User: me.name, Limits: &clientpb.Limits{InFlightPerConversation: 64}}}})
		n.write(me, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Drained{Drained: &clientpb.Drained{}}})
	case *clientpb.ClientFrame_Send:
		n.send(me, b.Send)
	case *clientpb.ClientFrame_Ack:
		n.ack(me, b.Ack.GetSeq())
	case *clientpb.ClientFrame_Ping:
		n.write(me, &clientpb.ServerFrame{Ref: f.GetRef(), Body: &clientpb.ServerFrame_Pong{Pong: &clientpb.Pong{}}})
	}
	return me
}

func (n *fakeNode) send(me *fakeUser, s *clientpb.Send) {
	yes := true
	switch {
	case me.owed != "" && me.owed != s.GetId():
		n.write(me, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Error{Error: &clientpb.Error{
			Id: s.GetId(), Code: "failed_precondition", Reason: "out_of_order", Retryable: &yes}}})
		return
	case n.refuse != nil && n.refuse(s.GetId()):
		me.owed = s.GetId()
		n.write(me, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Error{Error: &clientpb.Error{
			Id: s.GetId(), Code: "unavailable", Retryable: &yes, RetryAfterMs: 3}}})
		return
	}
	me.owed = ""
	to := n.users[s.GetTo().GetUser()]
	to.seq++
	to.order++
	to.from = me.name
	to.seqs[to.seq] = to.order
	n.write(me, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Sent{Sent: &clientpb.Sent{Id: s.GetId(), Conversation: s.GetTo(), Order: to.order, Time: 1}}})
	n.write(to, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Deliver{Deliver: &clientpb.Deliver{
		Seq: to.seq, Id: s.GetId(), From: &clientpb.Device{User: me.name, Device: 1}, Conversation: talk(me.name), Order: to.order, Time: 1, Kind: s.GetKind(), Payload: s.GetPayload()}}})
}

func talk(user string) *clientpb.Conversation {
	return &clientpb.Conversation{Peer: &clientpb.Conversation_User{User: user}}
}

func (n *fakeNode) ack(me *fakeUser, seq uint64) {
	top := me.marked
	for s, order := range me.seqs {
		if s <= seq {
			top = max(top, order)
			delete(me.seqs, s)
		}
	}
	if top == me.marked {
		return
	}
	me.marked = top
	peer := n.users[me.from]
	peer.seq++
	n.write(peer, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Receipt{Receipt: &clientpb.Receipt{Seq: peer.seq, Conversation: talk(me.name), By: me.name, DeliveredUpTo: top}}})
}

// write sends what harm makes of a frame, all of it as one message.
func (n *fakeNode) write(to *fakeUser, f *clientpb.ServerFrame) {
	frames := []*clientpb.ServerFrame{f}
	if n.harm != nil {
		frames = n.harm(to.name, f)
	}
	var out []byte
	for _, f := range frames {
		body, err := proto.Marshal(f)
		if err != nil {
			n.t.Error(err)
			return
		}
		out = protowire.AppendBytes(out, body)
	}
	if len(out) > 0 {
		_, _ = to.conn.Write(append(ws.AppendHeader(nil, ws.Binary, len(out)), out...)) // the engine may have gone
	}
}

func (n *fakeNode) address() string { return n.listen.Addr().String() }
