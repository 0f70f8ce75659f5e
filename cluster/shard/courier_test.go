package shard

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

func messageFor(to, index uint64, data string) *raftpb.Message {
	return &raftpb.Message{
		Type: raftpb.MsgApp.Enum(), To: &to, From: new(uint64(9)), Term: new(uint64(4)), Index: &index,
		Entries: []*raftpb.Entry{{Index: new(index + 1), Term: new(uint64(4)), Data: []byte(data)}},
	}
}

// What groups say in a round comes out at the other node in the order in which
// each group said it, and as one body.
func TestCourier(t *testing.T) {
	sent := map[string][][]byte{}
	c := NewCourier(7, 8, func(node string, body []byte) { sent[node] = append(sent[node], body) })
	for round := range uint64(2) {
		c.Take("b", 1, []*raftpb.Message{messageFor(1, round, "x"), messageFor(1, round+1, "y")})
		c.Take("c", 1, []*raftpb.Message{messageFor(2, round, "x")})
		c.Take("b", 300, []*raftpb.Message{messageFor(3, round, "z")})
		c.Flush()
		c.Flush()
	}
	if len(sent["b"]) != 2 || len(sent["c"]) != 2 {
		t.Fatalf("%d and %d bodies", len(sent["b"]), len(sent["c"]))
	}
	var got []string
	for _, body := range sent["b"] {
		if body[0] != 7 {
			t.Errorf("prefix %d", body[0])
		}
		err := ReadBody(body[1:], func(group uint32, m *raftpb.Message) {
			got = append(got, fmt.Sprintf("%d: %d %s", group, m.GetIndex(), m.GetEntries()[0].GetData()))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"1: 0 x", "1: 1 y", "300: 0 z", "1: 1 x", "1: 2 y", "300: 1 z"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A body of heartbeats and answers to them says that nobody has to be woken for
// it. One that confirms a read, or carries anything else, does not.
func TestCourierKnowsCalm(t *testing.T) {
	beat := func(kind raftpb.MessageType, context string) *raftpb.Message {
		m := &raftpb.Message{Type: &kind, To: new(uint64(1)), From: new(uint64(2)), Term: new(uint64(3))}
		if context != "" {
			m.Context = []byte(context)
		}
		return m
	}
	var first []byte
	c := NewCourier(7, 8, func(_ string, body []byte) { first = append(first, body[0]) })
	for _, round := range [][]*raftpb.Message{
		{beat(raftpb.MsgHeartbeat, ""), beat(raftpb.MsgHeartbeatResp, "")},
		{beat(raftpb.MsgHeartbeat, ""), messageFor(1, 1, "x")},
		{beat(raftpb.MsgHeartbeat, "a read")},
		{beat(raftpb.MsgHeartbeatResp, "a read"), beat(raftpb.MsgHeartbeat, "")},
		{beat(raftpb.MsgPreVote, "")},
		{beat(raftpb.MsgHeartbeatResp, "")},
	} {
		c.Take("b", 1, round)
		c.Flush()
	}
	if want := []byte{8, 7, 7, 7, 7, 8}; !bytes.Equal(first, want) {
		t.Errorf("got %v, want %v", first, want)
	}
}

func TestCourierBoundsBodies(t *testing.T) {
	var sizes []int
	c := NewCourier(7, 8, func(_ string, body []byte) { sizes = append(sizes, len(body)) })
	for range 5 {
		c.Take("b", 1, []*raftpb.Message{messageFor(1, 1, string(make([]byte, courierBody*2/3)))})
	}
	c.Flush()
	if len(sizes) != 3 || sizes[0] > courierBody*3/2 {
		t.Errorf("bodies of %d bytes", sizes)
	}
}

// FuzzReadBody: whatever another node says is read or refused, and what is read
// says the same again.
func FuzzReadBody(f *testing.F) {
	c := NewCourier(7, 8, func(_ string, body []byte) { f.Add(body[1:]) })
	c.Take("b", 1, []*raftpb.Message{messageFor(1, 1, "x"), {}})
	c.Flush()
	f.Add([]byte{1, 200, 1})
	f.Add([]byte{255, 255, 255, 255, 255, 1, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		type said struct {
			group uint32
			m     *raftpb.Message
		}
		var first, second []said
		err := ReadBody(bytes.Clone(body), func(group uint32, m *raftpb.Message) { first = append(first, said{group, m}) })
		if err != nil && !errors.Is(err, ErrBody) {
			t.Fatal(err)
		}
		again := NewCourier(7, 8, func(_ string, body []byte) {
			if err := ReadBody(body[1:], func(group uint32, m *raftpb.Message) { second = append(second, said{group, m}) }); err != nil {
				t.Fatal(err)
			}
		})
		for _, s := range first {
			again.Take("b", s.group, []*raftpb.Message{s.m})
		}
		again.Flush()
		if !slices.EqualFunc(first, second, func(a, b said) bool { return a.group == b.group && proto.Equal(a.m, b.m) }) {
			t.Errorf("%v came back as %v", first, second)
		}
	})
}
