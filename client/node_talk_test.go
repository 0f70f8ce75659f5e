package client_test

import (
	"testing"

	"github.com/rookery-im/rookery/client"
)

// The first thing that anybody does.
func TestTwoPeopleTalk(t *testing.T) {
	n := newNode(t)
	alice, bob := open(t, n.person("alice")), open(t, n.person("bob"))
	sent, err := alice.Send(t.Context(), client.Text("bob", "hello"))
	if err != nil {
		t.Fatal(err)
	}
	m := next[*client.Message](t, bob)
	if m.ID != sent.ID || m.From != (client.Device{User: "alice", Device: 1}) || string(m.Payload) != "hello" || m.Order != sent.Order || m.Time != sent.Time {
		t.Errorf("sent %+v, got %+v", sent, m)
	}
	if err := bob.Read(t.Context(), m.Conversation, m.Order); err != nil {
		t.Fatal(err)
	}
	if err := bob.Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
	for {
		r := next[*client.Receipt](t, alice)
		if r.DeliveredUpTo == 1 && r.ReadUpTo == 1 {
			break
		}
	}
}
