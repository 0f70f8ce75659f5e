package frames

import (
	"strings"
	"testing"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

func TestEvents(t *testing.T) {
	for name, test := range map[string]struct {
		frame *clientpb.ServerFrame
		want  string
	}{
		"with a seq": {
			&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Receipt{Receipt: &clientpb.Receipt{Seq: 7, By: "bob"}}},
			"event: receipt\nid: 7\ndata: {\"receipt\":{\"seq\":\"7\",\"by\":\"bob\"}}\n\n",
		},
		"the end of what waited": {
			&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Drained{Drained: &clientpb.Drained{Seq: 7}}},
			"event: drained\nid: 7\ndata: {\"drained\":{\"seq\":\"7\"}}\n\n",
		},
		"nothing waited ever": {
			&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Drained{Drained: &clientpb.Drained{}}},
			"event: drained\ndata: {\"drained\":{}}\n\n",
		},
		"without a seq": {
			&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Typing{Typing: &clientpb.TypingNotice{On: true}}},
			"event: typing\ndata: {\"typing\":{\"on\":true}}\n\n",
		},
		"a name of two words": {
			&clientpb.ServerFrame{Body: &clientpb.ServerFrame_DeviceEvent{DeviceEvent: &clientpb.DeviceEvent{Seq: 3, Unlinked: []uint32{2}}}},
			"event: deviceEvent\nid: 3\ndata: {\"deviceEvent\":{\"seq\":\"3\",\"unlinked\":[2]}}\n\n",
		},
		"with a time to come back": {
			&clientpb.ServerFrame{Body: &clientpb.ServerFrame_GoAway{GoAway: &clientpb.GoAway{Reason: "restart", ReconnectAfterMs: 1500}}},
			"event: goAway\nretry: 1500\ndata: {\"goAway\":{\"reason\":\"restart\",\"reconnectAfterMs\":1500}}\n\n",
		},
		"line ends of every kind in a string": {
			&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Error{Error: &clientpb.Error{Message: "a\nb\rc\r\nd"}}},
			"event: error\ndata: {\"error\":{\"message\":\"a\\nb\\rc\\r\\nd\"}}\n\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := []byte("event: x\ndata: {}\n\n")
			got, err := Append(before, EventStream, test.frame)
			if err != nil {
				t.Fatal(err)
			}
			if want := string(before) + test.want; string(got) != want {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
	if got, err := Append([]byte("x"), EventStream, &clientpb.ServerFrame{}); err == nil || string(got) != "x" {
		t.Errorf("a frame that says nothing: %q, %v", got, err)
	}
}

func TestCloseEvent(t *testing.T) {
	for code, want := range map[uint16]string{
		4103: "event: close\ndata: {\"code\":4103,\"reason\":\"say \\\"no\\\"\\n\"}\n\n",
		4102: "event: close\nid: displaced\ndata: {\"code\":4102,\"reason\":\"say \\\"no\\\"\\n\"}\n\n",
	} {
		got, err := AppendClose([]byte("x"), code, "say \"no\"\n")
		if err != nil || string(got) != "x"+want {
			t.Errorf("%d: got %q, %v", code, got, err)
		}
	}
	if got := AppendComment([]byte("x")); string(got) != "x:\n\n" {
		t.Errorf("comment: %q", got)
	}
}

// An entry reads the same in a stream as over a WebSocket.
func TestEventsOfEntries(t *testing.T) {
	for _, e := range []*storepb.Entry{
		{Seq: 5, Body: &storepb.Entry_Message{Message: &storepb.Message{
			Id: make([]byte, 16), From: "bob", Device: 1, Peer: "bob", Order: 2, Time: 1 << 60, Kind: 1, Payload: []byte("a\nb"),
		}}},
		{Seq: 6, Body: &storepb.Entry_Receipt{Receipt: &storepb.Receipt{Peer: "bob", By: "bob", Delivered: 3}}},
	} {
		plain, _, err := AppendEntry(nil, JSON, e, 2)
		if err != nil {
			t.Fatal(err)
		}
		event, ok, err := AppendEntry(nil, EventStream, e, 2)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		_, data, _ := strings.Cut(string(event), "data: ")
		if data != string(plain)+"\n\n" {
			t.Errorf("event %q, frame %q", event, plain)
		}
	}
	skipped := &storepb.Entry{Seq: 7, Skip: 2, Body: &storepb.Entry_Message{Message: &storepb.Message{}}}
	if out, ok, err := AppendEntry(nil, EventStream, skipped, 2); ok || err != nil || len(out) > 0 {
		t.Errorf("what the device sent itself: %q, %v, %v", out, ok, err)
	}
}
