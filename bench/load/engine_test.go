package load

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/bench/load/ledger"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	"github.com/rookery-im/rookery/transport/poll"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// run has pairs send so many messages each and gives the audit and the status.
func run(t *testing.T, n *fakeNode, users, each int) (ledger.Tally, Status, *Report) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w, err := StartLocal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := Setup{Targets: []string{n.address()}, Run: ledger.Run{Start: 1 << 40, Tag: 7}, FirstFlow: 1000, Payload: 100, Subnet: 1, Probes: []string{"probe"}, ProbeEvery: time.Millisecond}
	for i := range users {
		name := fmt.Sprintf("user%d", i)
		s.Users = append(s.Users, User{name, []Device{{1, name}}})
		s.Flows = append(s.Flows, Flow{User: i, To: i ^ 1})
	}
	do := func(o Order) Reply {
		r, err := w.Do(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	until := func(what string, so func(Status) bool) Status {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			st := do(Order{Status: true}).Status
			if so(st) {
				return st
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("%s: %+v", what, st)
			}
		}
	}
	do(Order{Setup: &s})
	do(Order{Connect: &Connect{AtOnce: 10}})
	until("connect", func(s Status) bool { return s.Wanted == users+1 && s.Live == s.Wanted })
	do(Order{Drive: &Drive{Window: 8, Limit: each}})
	st := until("send", func(s Status) bool {
		quiet := s.Now-s.LastDelivered > int64(200*time.Millisecond) && s.LastDelivered > 0
		return s.Tally.Sent >= uint64(users*each) && s.Open == 0 || quiet
	})
	do(Order{Halt: true})
	rep := do(Order{Report: true}).Report
	return rep.Tally, st, rep
}

// A node that keeps its promises is found right, to the last message.
func TestAnHonestNode(t *testing.T) {
	if !poll.Supported {
		t.Skip("no epoll here")
	}
	tally, st, rep := run(t, startFake(t, nil), 20, 200)
	if tally.Wrong() != 0 || tally.Sent != 4000 || tally.Accepted != 4000 || tally.Delivered != 4000 || tally.Receipted != 4000 {
		t.Errorf("%+v\n%q", tally, st.Problems)
	}
	if len(st.Problems) > 0 || st.Open != 0 || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
	if rep.Sent.Count() != 4000 || rep.Delivered.Count() != 4000 || rep.Receipted.Count() != 4000 || rep.Ping.Count() == 0 || rep.PingLate.Count() == 0 || rep.Hello.Count() != 21 {
		t.Errorf("%d, %d, %d, %d, %d were timed", rep.Sent.Count(), rep.Delivered.Count(), rep.Receipted.Count(), rep.Ping.Count(), rep.Hello.Count())
	}
}

// A node that breaks one promise, once, is found out.
func TestADishonestNode(t *testing.T) {
	if !poll.Supported {
		t.Skip("no epoll here")
	}
	type frames = []*clientpb.ServerFrame
	// at calls fn for the tenth frame to user1 that is picked.
	at := func(pick func(*clientpb.ServerFrame) bool, fn func(*clientpb.ServerFrame) frames) func(string, *clientpb.ServerFrame) frames {
		n := 0
		return func(user string, f *clientpb.ServerFrame) frames {
			if user == "user1" && pick(f) {
				if n++; n == 10 {
					return fn(f)
				}
			}
			return frames{f}
		}
	}
	deliver := func(f *clientpb.ServerFrame) bool { return f.GetDeliver() != nil }
	sent := func(f *clientpb.ServerFrame) bool { return f.GetSent() != nil }
	receipt := func(f *clientpb.ServerFrame) bool { return f.GetReceipt() != nil }
	changed := func(change func(f *clientpb.ServerFrame)) func(*clientpb.ServerFrame) frames {
		return func(f *clientpb.ServerFrame) frames {
			f = proto.CloneOf(f)
			change(f)
			return frames{f}
		}
	}
	// swapped holds the tenth back until after the eleventh; their seqs are right.
	swapped := func() func(string, *clientpb.ServerFrame) frames {
		n := 0
		var held *clientpb.ServerFrame
		return func(user string, f *clientpb.ServerFrame) frames {
			if user != "user1" || f.GetDeliver() == nil {
				return frames{f}
			}
			switch n++; n {
			case 10:
				held = proto.CloneOf(f)
				return nil
			case 11:
				next := proto.CloneOf(f)
				held.GetDeliver().Seq, next.GetDeliver().Seq = next.GetDeliver().GetSeq(), held.GetDeliver().GetSeq()
				return frames{next, held}
			}
			return frames{f}
		}
	}
	for _, c := range []struct {
		name  string
		harm  func(string, *clientpb.ServerFrame) frames
		found func(ledger.Tally) uint64
	}{
		{"a message lost", at(deliver, func(*clientpb.ServerFrame) frames { return nil }), func(t ledger.Tally) uint64 { return t.Missing }},
		{"a message doubled", at(deliver, func(f *clientpb.ServerFrame) frames { return frames{f, f} }), func(t ledger.Tally) uint64 { return t.Duplicates }},
		{"two messages swapped", swapped(), func(t ledger.Tally) uint64 { return t.OutOfOrder }},
		{"an order left out", at(deliver, changed(func(f *clientpb.ServerFrame) { f.GetDeliver().Order += 5 })), func(t ledger.Tally) uint64 { return t.OutOfOrder }},
		{"a payload changed", at(deliver, changed(func(f *clientpb.ServerFrame) { f.GetDeliver().Payload[50]++ })), func(t ledger.Tally) uint64 { return t.Corrupt }},
		{"a sender changed", at(deliver, changed(func(f *clientpb.ServerFrame) { f.GetDeliver().From.User = "user3" })), func(t ledger.Tally) uint64 { return t.Corrupt }},
		{"a seq that falls", at(deliver, changed(func(f *clientpb.ServerFrame) { f.GetDeliver().Seq = 1 })), func(t ledger.Tally) uint64 { return t.Corrupt }},
		{"a message of nobody", at(deliver, func(f *clientpb.ServerFrame) frames {
			stray := proto.CloneOf(f)
			stray.GetDeliver().Id = "01935b3e-0000-7000-8000-000000000001"
			return frames{stray, f}
		}), func(t ledger.Tally) uint64 { return t.Phantoms }},
		{"an answer lost", at(sent, func(*clientpb.ServerFrame) frames { return nil }), func(t ledger.Tally) uint64 { return t.Unanswered }},
		{"an answer doubled", at(sent, func(f *clientpb.ServerFrame) frames { return frames{f, f} }), func(t ledger.Tally) uint64 { return t.Duplicates }},
		{"an early receipt", at(receipt, changed(func(f *clientpb.ServerFrame) { f.GetReceipt().DeliveredUpTo += 1000 })), func(t ledger.Tally) uint64 { return t.BadReceipts }},
		{"a read that nobody said", at(receipt, changed(func(f *clientpb.ServerFrame) { f.GetReceipt().ReadUpTo = 1 })), func(t ledger.Tally) uint64 { return t.BadReceipts }},
	} {
		t.Run(c.name, func(t *testing.T) {
			tally, st, _ := run(t, startFake(t, c.harm), 4, 100)
			if c.found(tally) == 0 || tally.Wrong() == 0 {
				t.Errorf("it went unseen: %+v\n%q", tally, st.Problems)
			}
		})
	}
}

// After an error that can be retried everything behind it is sent again, in
// order; what a message waited for that is in its latency.
func TestSendingAgain(t *testing.T) {
	if !poll.Supported {
		t.Skip("no epoll here")
	}
	n := startFake(t, nil)
	sends, refused := 0, map[string]bool{}
	n.mu.Lock()
	n.refuse = func(id string) bool {
		if sends++; sends%37 != 0 || refused[id] {
			return false
		}
		refused[id] = true
		return true
	}
	n.mu.Unlock()
	tally, st, rep := run(t, n, 4, 200)
	n.mu.Lock() // refuse is called with it
	defer n.mu.Unlock()
	if tally.Wrong() != 0 || tally.Accepted != 800 || tally.Delivered != 800 || len(st.Problems) > 0 {
		t.Errorf("%+v\n%q", tally, st.Problems)
	}
	if len(refused) < 10 || tally.AskedAgain < uint64(len(refused)) || st.Errors != tally.AskedAgain {
		t.Errorf("%d were refused, %d sent again, %d errors", len(refused), tally.AskedAgain, st.Errors)
	}
	if rep.Codes["unavailable"] != uint64(len(refused)) || rep.Codes["failed_precondition/out_of_order"] == 0 {
		t.Errorf("codes %v", rep.Codes)
	}
	if all, last := rep.Sent.Longest(), rep.Attempt.Longest(); all < 3*time.Millisecond || last > all {
		t.Errorf("the longest took %v, its last attempt %v", all, last)
	}
}

// Orders that make no sense change nothing.
func TestWrongOrders(t *testing.T) {
	if !poll.Supported {
		t.Skip("no epoll here")
	}
	w, err := StartLocal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	two := []User{{"a", []Device{{1, "a"}}}, {"b", []Device{{1, "b"}}}}
	for name, o := range map[string]Order{
		"nobody to send":   {Drive: &Drive{Window: 1}},
		"a short payload":  {Setup: &Setup{Payload: 15, Users: two}},
		"a flow to itself": {Setup: &Setup{Payload: 16, Users: two, Flows: []Flow{{User: 0, To: 0}}}},
	} {
		if _, err := w.Do(t.Context(), o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := w.Do(t.Context(), Order{Stop: true}); err != nil {
		t.Error(err)
	}
	if _, err := w.Do(t.Context(), Order{Status: true}); err == nil {
		t.Error("it has ended, and answers")
	}
}
