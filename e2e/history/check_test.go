package history

import (
	"slices"
	"strings"
	"testing"
)

var (
	a1, a2 = Device{"alice", 1}, Device{"alice", 2}
	b1, b2 = Device{"bob", 1}, Device{"bob", 2}
	all    = []Device{a1, a2, b1, b2}
)

// sound is a short history that breaks nothing. Alice's phone sends two
// messages, the server dies before it answers the second, the phone sends that
// again. Bob's devices get both, one before and one after the crash; all is
// acked and read, and both of Alice's devices learn it.
func sound() []Event {
	return []Event{
		Connecting{a1, 1, 0}, Connecting{a2, 1, 0}, Connecting{b1, 1, 0}, // 0..2
		Sending{a1, "m1", "bob", "one"},                       // 3
		Delivered{b1, 1, 5, "m1", a1, "alice", 1, 100, "one"}, // 4
		Sent{a1, "m1", "bob", 1, 100, false},                  // 5
		Delivered{a2, 1, 1, "m1", a1, "bob", 1, 100, "one"},   // 6
		Acking{b1, 5},                                                    // 7
		Receipt{a1, 1, 2, "bob", "bob", 1, 0},                            // 8
		Sending{a1, "m2", "bob", "two"},                                  // 9
		Connecting{a1, 2, 2}, Connecting{a2, 2, 0}, Connecting{b1, 2, 5}, // 10..12
		Connecting{b2, 1, 0},                                  // 13
		Sending{a1, "m2", "bob", "two"},                       // 14
		Sent{a1, "m2", "bob", 2, 110, true},                   // 15
		Delivered{a2, 2, 1, "m1", a1, "bob", 1, 100, "one"},   // 16
		Receipt{a2, 2, 2, "bob", "bob", 1, 0},                 // 17
		Delivered{a2, 2, 3, "m2", a1, "bob", 2, 110, "two"},   // 18
		Delivered{b2, 1, 5, "m1", a1, "alice", 1, 100, "one"}, // 19
		Delivered{b2, 1, 6, "m2", a1, "alice", 2, 110, "two"}, // 20
		Delivered{b1, 2, 6, "m2", a1, "alice", 2, 110, "two"}, // 21
		Acking{b2, 6},                                         // 22
		Reading{b1, "alice", 2},                               // 23
		Receipt{a1, 2, 4, "bob", "bob", 2, 2},                 // 24
		Receipt{a2, 2, 4, "bob", "bob", 2, 2},                 // 25
		Receipt{b2, 1, 7, "alice", "bob", 0, 2},               // 26: the reader's other device
		Sending{b1, "m3", "alice", "yes"},                     // 27
		Sent{b1, "m3", "alice", 1, 120, false},                // 28
		Delivered{a1, 2, 5, "m3", b1, "bob", 1, 120, "yes"},   // 29
		Delivered{a2, 2, 5, "m3", b1, "bob", 1, 120, "yes"},   // 30
		Delivered{b2, 1, 8, "m3", b1, "alice", 1, 120, "yes"}, // 31
		Acking{a1, 5}, // 32
		Receipt{b1, 2, 9, "alice", "alice", 1, 0}, // 33
		Receipt{b2, 1, 9, "alice", "alice", 1, 0}, // 34
		Drained{a1, 2}, Drained{a2, 2}, Drained{b1, 2}, Drained{b2, 1}, // 35..38
	}
}

// later goes on: two devices come back, one with less than it acked, the other
// with more, and each is told that nothing else waits for it.
func later() []Event {
	return then(
		Connecting{a1, 3, 4}, Drained{a1, 3},
		Resuming{b2, 2, 9}, Drained{b2, 2},
		Sending{a1, "m1", "bob", "one"}, Sent{a1, "m1", "bob", 1, 100, true},
		Sending{b1, "m0", "alice", ""}, Refused{b1, "m0", "payload_too_large", false},
		Sending{b1, "m4", "alice", "no"}, Refused{b1, "m4", "unavailable", true},
		Sending{b1, "m4", "alice", "no"}, Sent{b1, "m4", "alice", 2, 130, false},
		Delivered{a1, 3, 6, "m4", b1, "bob", 2, 130, "no"}, Delivered{a2, 2, 6, "m4", b1, "bob", 2, 130, "no"},
		Delivered{b2, 2, 10, "m4", b1, "alice", 2, 130, "no"},
		Acking{a1, 6}, Receipt{b1, 2, 11, "alice", "alice", 2, 0}, Receipt{b2, 2, 11, "alice", "alice", 2, 0},
	)
}

// complete judges events as of a history at rest.
func complete(events []Event) []error {
	j := NewJudge(all)
	j.Hear(events)
	return j.Rest()
}

func TestSoundHistory(t *testing.T) {
	for _, events := range [][]Event{sound(), later()} {
		j := NewJudge(all)
		for n := range events { // whatever has happened so far breaks nothing either
			j.Rest()
			if faults := j.Hear(events[n : n+1]); len(faults) > 0 {
				t.Fatalf("after %d events: %v", n, faults)
			}
		}
		for _, fault := range j.Rest() {
			t.Error(fault)
		}
	}
}

// with replaces event at by others.
func with(at int, events ...Event) []Event {
	return slices.Replace(sound(), at, at+1, events...)
}

// then appends to the sound history.
func then(events ...Event) []Event { return append(sound(), events...) }

func TestBrokenHistories(t *testing.T) {
	cases := []struct {
		name   string
		events []Event
		want   string
	}{
		{"a message lost after sent", with(20), "lost: m2"},
		{"a copy lost on the sender's other device", with(18), "lost: m2"},
		{"lost, with its successors still coming", with(19), "a gap"},
		{"never answered", with(28), "never answered"},
		{"accepted twice", with(15, Sent{a1, "m2", "bob", 3, 110, false}, Sent{a1, "m2", "bob", 4, 115, false}), "accepted again"},
		{"accepted twice, said to be a duplicate", then(Sending{a1, "m2", "bob", "two"}, Sent{a1, "m2", "bob", 3, 130, true}), "before it had 2 and 110"},
		{"accepted again, though it had been delivered", with(14, Delivered{b1, 2, 6, "m2", a1, "alice", 2, 110, "two"}, Sending{a1, "m2", "bob", "two"}, Sent{a1, "m2", "bob", 2, 110, false}), "it had been delivered before this attempt"},
		{"a duplicate of nothing", with(5, Sent{a1, "m1", "bob", 1, 100, true}), "a duplicate at its first attempt"},
		{"another time for a duplicate", then(Sending{a1, "m2", "bob", "two"}, Sent{a1, "m2", "bob", 2, 111, true}), "before it had 2 and 110"},
		{"stored twice", then(Delivered{b2, 1, 10, "m2", a1, "alice", 2, 110, "two"}), "again, and different"},
		{"delivered twice on one connection", with(20, sound()[20], sound()[20]), "after 6 on the same connection"},
		{"delivered after hello.acked", with(12, Connecting{b1, 2, 6}), "it was to begin after 6"},
		{"delivered after Last-Event-ID", with(12, Resuming{b1, 2, 6}), "it was to begin after 6"},
		{"delivered after an ack that was answered", with(12, Acked{b1, 6}, Resuming{b1, 2, 0}), "it was to begin after 6"},
		{"taken for stored where a stream was to go on", with(7, Resuming{b1, 1, 5}), "early receipt: delivered"},
		{"an early one late", slices.Insert(with(4), 20, Event(Delivered{b1, 2, 5, "m1", a1, "alice", 1, 100, "one"})), "it was to begin after 5"},
		{"seq falls", with(31, Delivered{b2, 1, 4, "m3", b1, "alice", 1, 120, "yes"}), "seq 4 after 7"},
		{"seq differs between devices", with(30, Delivered{a2, 2, 6, "m3", b1, "bob", 1, 120, "yes"}), "on another device"},
		{"one seq for two messages", with(19, Delivered{b2, 1, 6, "m1", a1, "alice", 1, 100, "one"}), "seq 6 of bob is"},
		{"invented", with(20, Delivered{b2, 1, 6, "m9", a1, "alice", 2, 110, "two"}), "nobody sent"},
		{"order swapped at the receiver", with(19, Delivered{b2, 1, 5, "m2", a1, "alice", 2, 110, "two"}, Delivered{b2, 1, 6, "m1", a1, "alice", 1, 100, "one"}), "after order 2"},
		{"an order skipped", then(Sending{b1, "m4", "alice", "no"}, Sent{b1, "m4", "alice", 3, 130, false}), "hole at 2 of 2"},
		{"overtaken in the outbox", with(9, Sending{a1, "m0", "bob", ""}, Sending{a1, "m2", "bob", "two"}, Sent{a1, "m0", "bob", 3, 130, false}), "sent m0 before m2"},
		{"one order for two", then(Sending{b2, "m4", "alice", "no"}, Sent{b2, "m4", "alice", 1, 130, false}), "given to m3 and to m4"},
		{"time stands still", then(Sending{b1, "m4", "alice", "no"}, Sent{b1, "m4", "alice", 2, 120, false}), "not later than"},
		{"an answer older than its question", with(28, Sent{b1, "m3", "alice", 1, 105, false}), "which its sender had been delivered before"},
		{"payload changed", with(21, Delivered{b1, 2, 6, "m2", a1, "alice", 2, 110, "zwei"}), "another payload"},
		{"sender changed", with(21, Delivered{b1, 2, 6, "m2", a2, "alice", 2, 110, "two"}), "it was sent by alice/1"},
		{"wrong conversation", with(30, Delivered{a2, 2, 5, "m3", b1, "alice", 1, 120, "yes"}), "in conversation alice"},
		{"to a third party", with(27, Sending{b1, "m3", "carol", "yes"}), "which is for carol"},
		{"echoed to the device that sent it", then(Delivered{b1, 2, 10, "m3", b1, "alice", 1, 120, "yes"}), "its own m3"},
		{"refused, and delivered all the same", with(28, Refused{b1, "m3", "unavailable", true}), "every attempt was refused"},
		{"delivered receipt before the ack", with(7), "early receipt: delivered"},
		{"read receipt before the read", with(23), "early receipt: bob read"},
		{"not given again to a device that had not acked it", with(16), "drained without m1"},
		{"stored, and not among what a device comes back to", then(Connecting{a2, 3, 4}, Drained{a2, 3}), "drained without m3"},
		{"stored, and not in the stream", then(Resuming{b2, 2, 7}, Drained{b2, 2}), "drained without m3"},
		{"drained on a connection that was replaced", with(37, Drained{b1, 1}), "while 2 is the newest"},
		{"overtaken after a refusal", with(9, Sending{a1, "m0", "bob", ""}, Refused{a1, "m0", "unavailable", true}, Sending{a1, "m2", "bob", "two"}, Sending{a1, "m0", "bob", ""}, Sent{a1, "m0", "bob", 3, 130, false}), "sent m0 before m2"},
		{"refused for good, and a hole left", then(Sending{b1, "m0", "alice", ""}, Refused{b1, "m0", "payload_too_large", false}, Sending{b1, "m4", "alice", "no"}, Sent{b1, "m4", "alice", 3, 130, false}), "hole at 2 of 2"},
		{"receipt falls", then(Receipt{a1, 2, 8, "bob", "bob", 1, 2}), "fell from"},
		{"receipt lost", with(25), "last receipt of bob says delivered 1, read 0"},
		{"receipt of own reading, invented", then(Receipt{a2, 2, 8, "bob", "alice", 0, 1}), "own devices read up to 1"},
		{"frames on a connection that was replaced", with(21, Delivered{b1, 1, 6, "m2", a1, "alice", 2, 110, "two"}), "while 2 is the newest"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var all []string
			for _, fault := range complete(c.events) {
				all = append(all, fault.Error())
			}
			if got := strings.Join(all, "\n"); !strings.Contains(got, c.want) {
				t.Errorf("want a fault with %q, got:\n%s", c.want, got)
			}
		})
	}
}
