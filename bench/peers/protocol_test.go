package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/rookery-im/rookery/bench/load/ledger"
	"github.com/rookery-im/rookery/transport/ws"
)

// fleetOf two users, who talk, and whose connections lead nowhere.
func fleetOf(t *testing.T, p protocol) *fleet {
	t.Helper()
	f, err := newFleet(p, "127.0.0.1:1", inPairs(2), 2, 100, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.close() })
	for i := range f.conns {
		f.conns[i].up, f.conns[i].step = true, live
	}
	f.drive = &drive{}
	return f
}

// read gives a connection what the server says, a few bytes at a time.
func read(f *fleet, i int, text []byte, step int) error {
	var in []byte
	for len(text) > 0 {
		k := min(step, len(text))
		in, text = append(in, text[:k]...), text[k:]
		n, err := f.protocol.consume(f, i, in)
		if err != nil {
			return err
		}
		in = in[n:]
	}
	if len(in) > 0 {
		return fmt.Errorf("%d bytes were left: %q", len(in), in)
	}
	return nil
}

// websocket frames elements as a server does.
func websocket(elements ...string) (out []byte) {
	for _, e := range elements {
		out = append(ws.AppendHeader(out, ws.Text, len(e)), e...)
	}
	return out
}

func mqttMessage(kind byte, topic string, packet uint16, payload []byte) []byte {
	n := 2 + len(topic) + len(payload)
	if kind == mqttPublish1 {
		n += 2
	}
	b := mqttText(mqttAppend(nil, kind, n), topic)
	if kind == mqttPublish1 {
		b = binary.BigEndian.AppendUint16(b, packet)
	}
	return append(b, payload...)
}

// One message of user 0 to user 1 and its receipt, as each server would tell,
// however the bytes are cut up.
func TestOneMessage(t *testing.T) {
	type told struct {
		user int
		text []byte
	}
	for _, c := range []struct {
		name  string
		speak func() protocol
		story func(f *fleet, payload, key []byte) []told
	}{
		{"nats", func() protocol { return &natsCore{} }, func(_ *fleet, payload, key []byte) []told {
			return []told{
				{1, fmt.Appendf(nil, "PING\r\nMSG u.1 1 r.0 %d\r\n%s\r\n", len(payload), payload)},
				{0, fmt.Appendf(nil, "MSG r.0 2 %d\r\n%s\r\nPONG\r\n", len(key), key)},
			}
		}},
		{"jetstream", func() protocol { return &jetStream{} }, func(_ *fleet, payload, key []byte) []told {
			const ack = `{"stream":"box", "seq":1}`
			return []told{
				{0, fmt.Appendf(nil, "MSG a.0.1 3 %d\r\n%s\r\n", len(ack), ack)},
				{1, fmt.Appendf(nil, "MSG u.1 1 $JS.ACK.box.c1.1.1.1.1.0 %d\r\n%s\r\n", len(payload), payload)},
				{0, fmt.Appendf(nil, "MSG r.0 2 %d\r\n%s\r\n", len(key), key)},
			}
		}},
		{"mqtt", func() protocol { return newMQTT(2) }, func(_ *fleet, payload, key []byte) []told {
			return []told{
				{1, mqttMessage(mqttPublish1, "u/1", 9, payload)},
				{0, mqttMessage(mqttPublish0, "r/0", 0, key)},
				{0, []byte{mqttPubAck, 2, 0, 2}},
			}
		}},
		{"xmpp", func() protocol { return newXMPP("h", 2) }, func(f *fleet, payload, key []byte) []told {
			return []told{
				{0, websocket("<a h='1' xmlns='urn:xmpp:sm:3'/>")},
				{1, websocket("<message to='u1@h' from='u0@h/bench' type='chat' id='"+string(key)+"'><request xmlns='urn:xmpp:receipts'/><body>"+string(payload)+"</body></message>", "<r xmlns='urn:xmpp:sm:3'/>")},
				{0, websocket("<message to='u0@h' from='u1@h/bench' type='chat'><received xmlns='urn:xmpp:receipts' id='" + string(key) + "'/></message>")},
			}
		}},
	} {
		for _, step := range []int{1, 7, 1 << 20} {
			f := fleetOf(t, c.speak())
			f.post(0, f.now())
			payload := f.appendPayload(nil, 0, 1)
			for _, s := range c.story(f, payload, payload[:keySize]) {
				if err := read(f, s.user, s.text, step); err != nil {
					t.Fatalf("%s, %d bytes at a time: %v", c.name, step, err)
				}
			}
			want := ledger.Tally{Sent: 1, Accepted: 1, Delivered: 1, Receipted: 1, Receipts: 1}
			if got := f.book.audit(); got != want {
				t.Errorf("%s, %d bytes at a time: got %+v, want %+v; %v", c.name, step, got, want, f.problems)
			}
		}
	}
}

// What a server must not say, or says no by, is not passed over.
func TestAnswersThatAreNone(t *testing.T) {
	for _, c := range []struct {
		name  string
		speak func() protocol
		text  []byte
		want  error // nil where the account must say it
	}{
		{"nats: an error", func() protocol { return &natsCore{} }, []byte("-ERR 'Slow Consumer'\r\n"), errNATS},
		{"nats: no size", func() protocol { return &natsCore{} }, []byte("MSG u.0 1 x\r\n"), errNATS},
		{"jetstream: refused", func() protocol { return &jetStream{} }, []byte("MSG a.0.1 3 12\r\n{\"error\":{}}\r\n"), nil},
		{"nats: another payload", func() protocol { return &natsCore{} }, []byte("MSG u.0 1 r.1 3\r\nabc\r\n"), nil},
		{"mqtt: connect refused", func() protocol { return newMQTT(2) }, []byte{mqttConnAck, 2, 0, 5}, errMQTT},
		{"mqtt: an endless length", func() protocol { return newMQTT(2) }, []byte{mqttPublish1, 0xff, 0xff, 0xff, 0xff, 1}, errMQTT},
		{"mqtt: a PUBACK of nothing", func() protocol { return newMQTT(2) }, []byte{mqttPubAck, 2, 0, 77}, nil},
		{"xmpp: more acks than stanzas", func() protocol { return newXMPP("h", 2) }, websocket("<a h='5' xmlns='urn:xmpp:sm:3'/>"), errXMPP},
		{"xmpp: closed", func() protocol { return newXMPP("h", 2) }, []byte{0x88, 0}, errXMPP},
		{"xmpp: a stream error", func() protocol { return newXMPP("h", 2) }, websocket("<stream:error><conflict/></stream:error>"), errXMPP},
	} {
		f := fleetOf(t, c.speak())
		f.post(0, f.now())
		err := read(f, 0, c.text, 1)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got error %v, want %v", c.name, err, c.want)
		}
		if c.want == nil && f.book.audit().Refused+f.book.audit().Wrong() < 1+f.book.audit().Unanswered {
			t.Errorf("%s: nobody has noticed: %+v", c.name, f.book.audit())
		}
	}
}

// A window is closed by what it is said to be closed by.
func TestWindow(t *testing.T) {
	f := fleetOf(t, &jetStream{})
	f.begin(drive{window: 2, closes: atSent}, 0)
	if got := f.book.tally.Sent; got != 4 {
		t.Fatalf("two users with a window of 2 sent %d", got)
	}
	f.accepted(0, 1)
	if got := f.book.tally.Sent; got != 5 {
		t.Errorf("an acknowledgement made %d of 4", got)
	}
	g := fleetOf(t, &jetStream{})
	g.begin(drive{window: 2, closes: atReceipt}, 0)
	g.accepted(0, 1)
	payload := g.appendPayload(nil, 0, 1)
	g.delivered(1, payload)
	if got := g.book.tally.Sent; got != 4 {
		t.Errorf("without a receipt there are %d of 4", got)
	}
	g.receipt(payload)
	if got := g.book.tally.Sent; got != 5 {
		t.Errorf("a receipt made %d of 4", got)
	}
}

// What was changed on its way, or came to somebody else, is not taken for the
// message whose number it bears.
func TestCorrupt(t *testing.T) {
	for name, spoil := range map[string]func(f *fleet, payload []byte) (int, []byte){
		"another text":      func(_ *fleet, b []byte) (int, []byte) { b[len(b)-1]++; return 1, b },
		"cut short":         func(_ *fleet, b []byte) (int, []byte) { return 1, b[:len(b)-1] },
		"to its own sender": func(_ *fleet, b []byte) (int, []byte) { return 0, b },
		"another run":       func(f *fleet, b []byte) (int, []byte) { copy(b, appendKey(nil, f.tag+1, 0, 1)); return 1, b },
	} {
		f := fleetOf(t, &natsCore{})
		f.post(0, f.now())
		who, payload := spoil(f, f.appendPayload(nil, 0, 1))
		if _, fresh := f.delivered(who, payload); fresh || f.book.audit().Corrupt != 1 || f.book.audit().Delivered != 0 {
			t.Errorf("%s: taken, %+v", name, f.book.audit())
		}
	}
}
