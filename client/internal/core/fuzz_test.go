package core

import (
	"testing"
	"time"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// FuzzLoad: a store may hold anything, say what a newer version wrote. It is
// refused, or it makes a machine that runs.
func FuzzLoad(f *testing.F) {
	send, err := pendingValue(&clientpb.Send{Id: "a", To: user("bob")}, nil)
	if err != nil {
		f.Fatal(err)
	}
	fate, err := pendingValue(&clientpb.Send{Id: "b"}, &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Sent{Sent: &clientpb.Sent{Id: "b"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(keyDevice, []byte(`{"user":"alice","device":1,"token":"t"}`))
	f.Add(keyCursor, []byte("17"))
	f.Add(outKey(1), send)
	f.Add(outKey(2), fate)
	f.Add(keyRead+"u:bob", []byte("3"))
	f.Add(keySeen+"001", []byte("bob\x00id"))
	f.Add("newer/thing", []byte{1})
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		m, err := New(Config{User: "alice", HasPassword: true, QueueLimit: 10, Backoff: time.Second, MaxBackoff: time.Second}, []Record{{key, value}})
		if err != nil {
			return
		}
		m.Start(epoch, 0.5)
		m.Status()
		m.Unsent()
		m.Step(epoch, 0.5, Fetch{})
		m.Step(epoch.Add(time.Hour), 0.5, Tick{})
		m.Step(epoch, 0.5, Close{})
	})
}
