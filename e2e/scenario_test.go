//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// Two libraries that know nothing of us play two users with two devices each,
// each library in each part.
func TestForeignClients(t *testing.T) {
	castings := []struct {
		name       string
		alice, bob func(*testing.T) *agent
	}{
		{"alice=ws,bob=websockets", nodeAgent, pythonAgent},
		{"alice=websockets,bob=ws", pythonAgent, nodeAgent},
	}
	for _, c := range castings {
		t.Run(c.name, func(t *testing.T) {
			p := &play{t: t, server: startServer(t)}
			p.enter(c.alice(t), c.bob(t))
			for _, act := range []func(){
				p.talk, p.crash, p.duplicates, p.ephemeral, p.mistakes,
				p.perDevicePayloads, p.pipelined, p.replaced, p.shutdown, p.unlink,
			} {
				for _, d := range p.all() {
					d.catchUp()
				}
				act()
			}
		})
	}
}

// play is the scene: the server and everybody's devices.
type play struct {
	t              *testing.T
	server         *server
	a1, a2, b1, b2 *device
	toBob, toAlice uint64 // orders given so far
}

const password = "correct horse battery"

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// enter: both register, log in on two devices each and connect.
func (p *play) enter(alice, bob *agent) {
	p.t.Helper()
	for _, who := range []struct {
		user  string
		agent *agent
	}{{"alice", alice}, {"bob", bob}} {
		account := map[string]any{"user": who.user, "name": strings.ToUpper(who.user), "password": password}
		who.agent.http(201, "POST", p.server.url("/v1/users"), "", account, nil)
		var problem struct{ Code string }
		who.agent.http(409, "POST", p.server.url("/v1/users"), "", account, &problem)
		if problem.Code != "already_exists" {
			p.t.Fatalf("registering twice: code %q", problem.Code)
		}
		who.agent.http(401, "POST", p.server.url("/v1/devices"), "", map[string]any{"user": who.user, "password": "wrong wrong wrong", "deviceName": "x"}, &problem)
	}
	p.a1, p.a2 = alice.login(p.server, "alice", password, "phone"), alice.login(p.server, "alice", password, "laptop")
	p.b1, p.b2 = bob.login(p.server, "bob", password, "phone"), bob.login(p.server, "bob", password, "tablet")
	for _, d := range p.all() {
		w := d.connect(p.server)
		if w.Heartbeat == "" || len(w.Limits) == 0 || w.Session == "" {
			p.t.Fatalf("welcome of %s: %+v", d, w)
		}
		d.drained()
		if d.protocol != "rookery.v1.json" {
			p.t.Fatalf("subprotocol %q", d.protocol)
		}
	}
}

func (p *play) all() []*device { return []*device{p.a1, p.a2, p.b1, p.b2} }

// delivered checks that every device gets exactly this message next, under one
// seq per user, and returns the seqs.
func (p *play) delivered(from *device, sent *sentFrame, text string, to ...*device) map[string]uint64 {
	p.t.Helper()
	seqs := map[string]uint64{}
	for _, d := range to {
		got := d.next()
		peer := from.user
		if d.user == from.user {
			peer = sent.Conversation.User
		}
		if got.ID != sent.ID || got.Order != sent.Order || got.Time != sent.Time || got.Kind != "TEXT" || string(got.Payload) != text ||
			got.From != (deviceID{from.user, from.n}) || got.Conversation.User != peer {
			d.fail("want %q as %+v from %s, got %+v", text, sent, from, got)
		}
		if before, ok := seqs[d.user]; ok && before != got.Seq {
			d.fail("seq %d here, %d on another device of %s", got.Seq, before, d.user)
		}
		seqs[d.user] = got.Seq
	}
	return seqs
}

// talk: both ways, the sender's other device included; acks and reads come
// back as receipts, on all devices of the sender.
func (p *play) talk() {
	sent := p.a1.send(newID(), "bob", "hello")
	p.toBob++
	if sent.Order != p.toBob || sent.Duplicate {
		p.t.Fatalf("the first message got %+v", sent)
	}
	seqs := p.delivered(p.a1, sent, "hello", p.a2, p.b1, p.b2)
	p.a1.nothing("its own message", func(f *frame) bool { return f.Deliver != nil })
	p.a1.nothing("a receipt before any ack", func(f *frame) bool { return f.Receipt != nil })

	p.b1.ack(seqs["bob"])
	p.a1.receipt("bob", p.toBob, 0)
	p.a2.receipt("bob", p.toBob, 0)
	p.b2.ack(seqs["bob"])
	p.b1.say(readText(0, "alice", sent.Order))
	p.a1.receipt("bob", p.toBob, p.toBob)
	p.a2.ack(p.a2.receipt("bob", p.toBob, p.toBob).Seq)
	p.b2.expect("the receipt of what bob read on his other device", func(f *frame) bool {
		return f.Receipt != nil && f.Receipt.By == "bob" && f.Receipt.Conversation.User == "alice" && f.Receipt.ReadUpTo == sent.Order
	})

	reply := p.b2.send(newID(), "alice", "hello yourself")
	p.toAlice++
	if reply.Order != p.toAlice || reply.Time <= sent.Time {
		p.t.Fatalf("the reply %+v does not come after %+v", reply, sent)
	}
	seqs = p.delivered(p.b2, reply, "hello yourself", p.b1, p.a1, p.a2)
	p.a1.ack(seqs["alice"])
	p.a2.ack(seqs["alice"])
	p.b1.ack(seqs["bob"])
	p.b2.receipt("alice", p.toAlice, 0)
}

// crash: bob is away, alice sends, and the server is killed right after the
// last sent. Nothing of it may be lost, on either device, in order.
func (p *play) crash() {
	p.b1.close()
	p.b2.close()
	var sents []*sentFrame
	for i := range 5 {
		sents = append(sents, p.a1.send(newID(), "bob", fmt.Sprintf("while you were away %d", i)))
	}
	p.server.kill()
	p.server.restart()

	p.b1.connect(p.server)
	var last uint64
	for i, sent := range sents {
		p.toBob++
		if sent.Order != p.toBob {
			p.t.Fatalf("message %d has order %d, want %d", i, sent.Order, p.toBob)
		}
		last = p.delivered(p.a1, sent, fmt.Sprintf("while you were away %d", i), p.b1)["bob"]
	}
	if seq := p.b1.drained(); seq < last {
		p.t.Fatalf("drained at %d, before the last message at %d", seq, last)
	}
	p.b1.ack(last)

	// Alice was away when bob's ack came: the receipt waits for her.
	p.a1.connect(p.server)
	p.a1.receipt("bob", p.toBob, 0)
	p.a2.connect(p.server)
	p.a2.receipt("bob", p.toBob, 0)
	for i, sent := range sents {
		p.delivered(p.a1, sent, fmt.Sprintf("while you were away %d", i), p.a2)
	}

	// Bob's other device finds the same history under the same seqs.
	p.b2.connect(p.server)
	for i, sent := range sents {
		seq := p.delivered(p.a1, sent, fmt.Sprintf("while you were away %d", i), p.b2)["bob"]
		p.b2.ack(seq)
	}
	if p.b2.stored != last {
		p.t.Fatalf("the last message has seq %d on one device and %d on the other", last, p.b2.stored)
	}
}

// duplicates: the same id again, from the same connection, after a reconnect
// and after a crash, is answered as the first time and delivered never again.
func (p *play) duplicates() {
	id := newID()
	first := p.a1.send(id, "bob", "once")
	p.toBob++
	seq := p.delivered(p.a1, first, "once", p.a2, p.b1, p.b2)["bob"]
	p.b1.ack(seq)
	p.b2.ack(seq)
	again := func(when string) {
		p.t.Helper()
		second := p.a1.send(id, "bob", "once")
		if !second.Duplicate || second.Order != first.Order || second.Time != first.Time {
			p.t.Fatalf("%s: %+v, then %+v", when, first, second)
		}
	}
	again("on the same connection")
	p.a1.close()
	p.a1.connect(p.server)
	again("after a reconnect")
	p.server.kill()
	p.server.restart()
	for _, d := range p.all() {
		d.connect(p.server)
		d.drained()
	}
	again("after a crash")
	for _, d := range p.all() {
		d.nothing("a second copy", func(f *frame) bool {
			return f.Deliver != nil && f.Deliver.ID == id && f.Deliver.Seq > d.stored && d.user == "bob"
		})
	}
	next := p.a1.send(newID(), "bob", "next")
	p.toBob++
	if next.Order != p.toBob {
		p.t.Fatalf("after the duplicates order %d, want %d", next.Order, p.toBob)
	}
	seqs := p.delivered(p.a1, next, "next", p.b1, p.b2)
	p.b1.ack(seqs["bob"])
	p.b2.ack(seqs["bob"])
	p.a2.expect("the sender's copy", func(f *frame) bool { return f.Deliver != nil && f.Deliver.ID == next.ID })
}

// ephemeral: typing, signals and presence reach whoever is there.
func (p *play) ephemeral() {
	p.a1.say(`{"typing":{"conversation":{"user":"bob"},"on":true}}`)
	typing := p.b1.expect("typing", func(f *frame) bool { return f.Typing != nil }).Typing
	if typing.From.User != "alice" || typing.Conversation.User != "alice" || !typing.On {
		p.t.Fatalf("typing: %+v", typing)
	}
	p.a1.say(`{"signalTo":{"to":{"user":"bob"},"bytes":"cmluZw=="}}`)
	if signal := p.b2.expect("a signal", func(f *frame) bool { return f.Signal != nil }).Signal; string(signal.Bytes) != "ring" || signal.From.User != "alice" {
		p.t.Fatalf("signal: %+v", signal)
	}
	p.a1.say(`{"watch":{"users":["bob"]}}`)
	presence := func(online bool) {
		p.t.Helper()
		p.a1.expect(fmt.Sprintf("bob online %v", online), func(f *frame) bool {
			return f.Presence != nil && f.Presence.User == "bob" && f.Presence.Online == online
		})
	}
	presence(true)
	p.b1.close()
	p.b2.close()
	presence(false)
	for _, d := range []*device{p.b1, p.b2} {
		d.connect(p.server)
		d.drained()
	}
	presence(true)
}

// mistakes of clients are answered clearly, name the field and change nothing.
func (p *play) mistakes() {
	refuse := func(d *device, format, code, reason, names string) {
		p.t.Helper()
		ref := d.nextRef()
		e := d.refused(ref, fmt.Sprintf(format, ref), code, reason)
		if e.Retryable || !strings.Contains(e.Message, names) {
			d.fail("error should be final and name %q: %+v", names, e)
		}
	}
	refuse(p.b1, `{"ref":%d,"send":{"id":"not-an-id","to":{"user":"alice"},"payload":"aGk="}}`, "invalid_argument", "", "send.id")
	refuse(p.b1, `{"ref":%d,"send":{"id":"`+newID()+`","to":{"user":"al ice"},"payload":"aGk="}}`, "invalid_argument", "", "send.to")
	refuse(p.b1, `{"ref":%d,"send":{"id":"`+newID()+`","to":{"user":"alice"},"payload":"aGk=","colour":"red"}}`, "invalid_argument", "unknown_field", "colour")
	refuse(p.b1, `{"ref":%d,"send":{"id":"`+newID()+`","to":{"user":"nobody"},"payload":"aGk="}}`, "not_found", "", "")
	large := base64.StdEncoding.EncodeToString(make([]byte, 64<<10+1))
	refuse(p.b1, `{"ref":%d,"send":{"id":"`+newID()+`","to":{"user":"alice"},"payload":"`+large+`"}}`, "payload_too_large", "", "payload")

	// None of these left a gap.
	sent := p.b1.send(newID(), "alice", "sorry")
	p.toAlice++
	if sent.Order != p.toAlice {
		p.t.Fatalf("after the mistakes order %d, want %d", sent.Order, p.toAlice)
	}
	seqs := p.delivered(p.b1, sent, "sorry", p.b2, p.a1)
	p.a2.expect("sorry", func(f *frame) bool { return f.Deliver != nil && f.Deliver.ID == sent.ID })

	// An ack and a read of what was not delivered yet: refused, and the message
	// comes again, since the cursor has not moved.
	refuse(p.a1, fmt.Sprintf(`{"ref":%%d,"ack":{"seq":"%d"}}`, seqs["alice"]+1000), "invalid_argument", "", "ack.seq")
	refuse(p.a1, fmt.Sprintf(`{"ref":%%d,"read":{"conversation":{"user":"bob"},"order":"%d"}}`, sent.Order+1000), "invalid_argument", "", "read.order")
	p.b1.nothing("a receipt for an ack from the future", func(f *frame) bool {
		return f.Receipt != nil && f.Receipt.By == "alice" && (f.Receipt.DeliveredUpTo >= sent.Order || f.Receipt.ReadUpTo >= sent.Order)
	})
	p.a1.close()
	p.a1.connect(p.server)
	again := p.a1.expect("the message again", func(f *frame) bool { return f.Deliver != nil && f.Deliver.ID == sent.ID }).Deliver
	if again.Seq != seqs["alice"] {
		p.t.Fatalf("the message has seq %d now, %d before", again.Seq, seqs["alice"])
	}
	p.a1.ack(again.Seq)
	p.b1.receipt("alice", sent.Order, 0)
	p.b1.ack(seqs["bob"])

	// What cannot be parsed ends the connection.
	for _, text := range []string{`{"ref":5,"send":`, `hello?`, `{"ref":6,"ping":{}}` + "\n" + `[1,2]`} {
		p.b2.say(text)
		p.b2.expectClose(4100)
		p.b2.connect(p.server)
		p.b2.drained()
	}
	// So do a bad token, and any frame before hello.
	p.b2.close()
	p.b2.dial(p.server, "rookery.v1.json")
	p.b2.say(helloText("no.such.token", 0))
	p.b2.expectClose(4101)
	p.b2.dial(p.server, "rookery.v1.json")
	p.b2.say(`{"ref":1,"ping":{}}`)
	p.b2.expectClose(4100)
	p.b2.dial(p.server) // no subprotocol offered: JSON
	p.b2.say(helloText(p.b2.token, p.b2.stored))
	p.b2.expect("welcome", func(f *frame) bool { return f.Welcome != nil })
	p.unknownProtocol()
}

// unknownProtocol: a client that offers only what we do not speak is told what
// we do.
func (p *play) unknownProtocol() {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), "GET", p.server.url("/v1/ws"), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "mqtt, graphql-ws"} {
		request.Header.Set(k, v)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 400 || !strings.Contains(string(body), "rookery.v1.json") || !strings.Contains(string(body), "rookery.v1.protobuf") {
		p.t.Fatalf("unknown subprotocol: %s %s %v", response.Status, body, err)
	}
}

// perDevicePayloads: a stale list of devices is refused with what is wrong
// with it; the right one gives each device its own payload.
func (p *play) perDevicePayloads() {
	send := func(ref int, id string, to ...deviceID) string {
		var list []string
		for _, d := range to {
			payload := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "for %s/%d", d.User, d.Device))
			list = append(list, fmt.Sprintf(`{"user":%q,"device":%d,"payload":%q}`, d.User, d.Device, payload))
		}
		return fmt.Sprintf(`{"ref":%d,"send":{"id":%q,"to":{"user":"bob"},"kind":"ENCRYPTED","payloads":[%s]}}`, ref, id, strings.Join(list, ","))
	}
	id := newID()
	b1, b2, a2 := deviceID{"bob", p.b1.n}, deviceID{"bob", p.b2.n}, deviceID{"alice", p.a2.n}
	gone := deviceID{"bob", 99}
	ref := p.a1.nextRef()
	e := p.a1.refused(ref, send(ref, id, b1, gone), "failed_precondition", "devices_mismatch")
	byDevice := func(x, y deviceID) int { return strings.Compare(fmt.Sprint(x), fmt.Sprint(y)) }
	slices.SortFunc(e.Missing, byDevice)
	if !slices.Equal(e.Missing, []deviceID{a2, b2}) || !slices.Equal(e.Extra, []deviceID{gone}) || e.Retryable {
		p.a1.fail("want missing %v and extra %v, got %+v", []deviceID{a2, b2}, gone, e)
	}
	ref = p.a1.nextRef()
	p.a1.say(send(ref, id, b1, b2, a2))
	sent := p.a1.answer(ref).Sent
	p.toBob++
	if sent == nil || sent.Order != p.toBob || sent.Duplicate {
		p.a1.fail("with the right devices: %+v", sent)
	}
	for _, d := range []*device{p.b1, p.b2, p.a2} {
		got := d.expect("its own payload", func(f *frame) bool { return f.Deliver != nil && f.Deliver.ID == id }).Deliver
		if want := fmt.Sprintf("for %s/%d", d.user, d.n); string(got.Payload) != want || got.Kind != "ENCRYPTED" {
			d.fail("payload %q of kind %s, want %q", got.Payload, got.Kind, want)
		}
		d.ack(got.Seq)
	}
}

// pipelined: many sends in one WebSocket message are answered and delivered in
// order.
func (p *play) pipelined() {
	var texts, ids []string
	for i := range 40 {
		ids = append(ids, newID())
		texts = append(texts, sendText(1000+i, ids[i], "alice", fmt.Sprint(i)))
	}
	p.b1.say(strings.Join(texts, "\n"))
	for i := range ids {
		f := p.b1.answer(1000 + i)
		p.toAlice++
		if f.Sent == nil || f.Sent.Order != p.toAlice {
			p.b1.fail("send %d was answered %s, want order %d", i, f.text, p.toAlice)
		}
	}
	for _, d := range []*device{p.a1, p.a2} {
		for i, id := range ids {
			got := d.next()
			if got.ID != id || string(got.Payload) != fmt.Sprint(i) {
				d.fail("message %d of 40 is %q", i, got.Payload)
			}
			d.stored = got.Seq
		}
		d.ack(d.stored)
	}
	p.b1.receipt("alice", p.toAlice, 0)
}

// replaced: the newer connection of a device is the one.
func (p *play) replaced() {
	twin := p.a2.twin()
	twin.stored = p.a2.stored
	twin.connect(p.server)
	p.a2.expectClose(4102)
	twin.drained()
	p.a2.connect(p.server)
	twin.expectClose(4102)
	p.a2.drained()
}

// shutdown by SIGTERM says goodbye and loses nothing.
func (p *play) shutdown() {
	sent := p.a1.send(newID(), "bob", "good night")
	p.toBob++
	seq := p.delivered(p.a1, sent, "good night", p.b1, p.b2)["bob"]
	p.server.stop()
	for _, d := range p.all() {
		d.until("the connection to close", func() bool { return !d.open })
		if d.code != 1012 && d.code != 1001 {
			d.fail("closed with %d at shutdown", d.code)
		}
	}
	p.server.restart()
	for _, d := range p.all() {
		d.connect(p.server)
	}
	if again := p.delivered(p.a1, sent, "good night", p.b1, p.b2)["bob"]; again != seq {
		p.t.Fatalf("seq %d before, %d after the restart", seq, again)
	}
	p.b1.ack(seq)
	p.b2.ack(seq)
	p.a1.receipt("bob", p.toBob, 0)
}

// unlink: a device that is unlinked is out at once, its token is dead, the
// others learn it, and nothing waits for it any more.
func (p *play) unlink() {
	var list struct {
		Devices []struct {
			Device uint32 `json:"device"`
			Name   string `json:"name"`
		} `json:"devices"`
	}
	p.b1.agent.http(200, "GET", p.server.url("/v1/devices"), p.b1.token, nil, &list)
	if len(list.Devices) != 2 {
		p.t.Fatalf("devices: %+v", list)
	}
	p.b1.agent.http(204, "DELETE", p.server.url(fmt.Sprintf("/v1/devices/%d", p.b2.n)), p.b1.token, nil, nil)
	p.b2.expectClose(4103)
	p.b1.expect("the device event", func(f *frame) bool { return f.DeviceEvent != nil })
	p.b2.agent.http(401, "GET", p.server.url("/v1/devices"), p.b2.token, nil, nil)
	p.b2.dial(p.server, "rookery.v1.json")
	p.b2.say(helloText(p.b2.token, 0))
	p.b2.until("the connection to close", func() bool { return !p.b2.open })
	if p.b2.code != 4101 && p.b2.code != 4103 {
		p.b2.fail("closed with %d", p.b2.code)
	}
	sent := p.a2.send(newID(), "bob", "only one of you now")
	p.toBob++
	seq := p.delivered(p.a2, sent, "only one of you now", p.a1, p.b1)["bob"]
	p.b1.ack(seq)
	p.a2.receipt("bob", p.toBob, 0)
}

// A token that expired closes with 4101, is refused by REST, and the password
// gives the same device another.
func TestExpiredToken(t *testing.T) {
	s := startServer(t, "--token-life", "2s")
	a := nodeAgent(t)
	a.http(201, "POST", s.url("/v1/users"), "", map[string]any{"user": "alice", "name": "Alice", "password": password}, nil)
	d := a.login(s, "alice", password, "phone")
	d.connect(s)
	d.drained()
	d.expectClose(4101)
	d.dial(s, "rookery.v1.json")
	d.say(helloText(d.token, 0))
	d.expectClose(4101)
	var problem struct{ Code, Reason string }
	a.http(401, "GET", s.url("/v1/devices"), d.token, nil, &problem)
	if problem.Code != "unauthenticated" || problem.Reason != "token_expired" {
		t.Errorf("problem %+v", problem)
	}
	var fresh struct {
		Device uint32 `json:"device"`
		Token  string `json:"token"`
	}
	a.http(201, "POST", s.url("/v1/tokens"), "", map[string]any{"user": "alice", "password": password, "device": d.n}, &fresh)
	if fresh.Device != d.n {
		t.Fatalf("a token for device %d, want %d", fresh.Device, d.n)
	}
	d.token = fresh.Token
	d.connect(s)
	d.drained()
}
