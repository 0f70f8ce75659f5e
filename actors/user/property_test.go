package user

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// TestPromises lets three users with up to three devices each do what they
// like, in a world that hibernates, restarts, loses batches and fills its
// outbox, and holds what they see against the promises of the protocol. A
// failure is shrunk, and printed as a list of what was done.
func TestPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlay(t)
		for range rapid.SampledFrom([]int{10, 40, 100}).Draw(t, "length") {
			p.act()
			p.w.done()
		}
		p.finish()
	})
}

// playing is one run of the property test.
type playing struct {
	t   *rapid.T
	w   *world
	m   *model
	log []string
	ids int
	// told beforehand, and still on its way.
	told []*storepb.Step
}

func newPlay(t *rapid.T) *playing {
	p := &playing{t: t}
	p.w = newWorld(func(format string, args ...any) {
		t.Fatalf("%s\nafter:\n%s", fmt.Sprintf(format, args...), strings.Join(p.log, "\n"))
	})
	p.m = newModel(p.w)
	for _, user := range []string{"alice", "bob", "carol"} {
		p.w.ask(&nodepb.Ask{User: user, Body: &nodepb.Ask_Register{Register: &nodepb.Register{Name: user, Password: "pw"}}})
		p.w.done()
		p.link(user)
		p.w.done()
		p.note()
	}
	return p
}

func (p *playing) say(format string, args ...any) {
	p.log = append(p.log, "  "+fmt.Sprintf(format, args...))
}

func (p *playing) user() string {
	return rapid.SampledFrom([]string{"alice", "bob", "carol"}).Draw(p.t, "user")
}

func (p *playing) number(most int, name string) int { return rapid.IntRange(0, most).Draw(p.t, name) }

// note what the REST API answered to link requests.
func (p *playing) note() {
	for id, a := range p.w.answers {
		delete(p.w.answers, id)
		if l := a.GetLinked(); l != nil {
			for k := range p.m.linked {
				if k.device == l.GetDevice() && p.requestOf(id) == k.user {
					p.m.confirmed[k] = true
				}
			}
		}
	}
}

// requestOf says whose link a request was: requests are numbered by user.
func (p *playing) requestOf(id uint64) string { return []string{"alice", "bob", "carol"}[id%3] }

// ask numbers a request so that requestOf knows it.
func (p *playing) ask(a *nodepb.Ask) {
	for p.requestOf(p.w.requests+1) != a.GetUser() {
		p.w.requests++
	}
	p.w.ask(a)
}

// conn of a connected device, or nil.
func (p *playing) conn() *conn {
	var live []*conn
	for _, c := range p.m.sortedClients() {
		if x := p.w.current[fmt.Sprintf("%s/%d", c.key.user, c.key.device)]; x != nil && x.session != 0 && !x.closed {
			live = append(live, x)
		}
	}
	if len(live) == 0 {
		return nil
	}
	return live[p.number(len(live)-1, "conn")]
}

func (p *playing) act() {
	defer p.note()
	if len(p.told) > 0 && p.number(2, "tell") > 0 {
		p.tell()
	}
	if p.w.outboxFull && p.number(4, "free") == 0 {
		p.w.outboxFull = false
		p.say("outbox free")
	}
	switch n := p.number(99, "act"); {
	case n < 30:
		p.withConn(p.send)
	case n < 45:
		p.withConn(p.ack)
	case n < 50:
		p.withConn(p.read)
	case n < 62:
		p.attach(p.user())
	case n < 66:
		p.withConn(p.detach)
	case n < 70:
		p.withConn(p.seen)
	case n < 73:
		p.link(p.user())
	case n < 76:
		p.unlink(p.user())
	case n < 80:
		p.block(p.user(), p.user())
	case n < 83:
		p.sendByRest(p.user(), p.user())
	case n < 86:
		p.clock()
	default:
		p.circumstance(n)
	}
}

func (p *playing) circumstance(n int) {
	switch {
	case n < 91:
		p.say("hold")
		p.w.holding = true
	case n < 94:
		p.say("commit")
		p.w.holding = false
	case n < 95:
		p.say("drop")
		p.w.holding = false
		p.lose()
	case n < 96:
		p.w.holding = false
		p.w.done()
		p.say("restart")
		p.lose()
	case n < 98:
		p.w.holding = false
		p.w.done()
		p.say("hibernate all")
		for user, s := range p.w.users {
			if s.Idle() {
				p.w.reload(user, s.Attachments())
			}
		}
	default:
		p.w.outboxFull = true
		p.say("outbox full")
	}
}

// lose all sessions, and the open batch.
func (p *playing) lose() {
	p.w.restart()
	for _, c := range p.m.clients {
		for _, list := range c.outbox {
			for _, out := range list {
				out.inFlight = false
			}
		}
	}
}

func (p *playing) withConn(fn func(c *conn, own *client)) {
	if c := p.conn(); c != nil {
		fn(c, p.m.client(deviceKey{c.user, c.device}))
	}
}

// send sends again what was refused or never answered, in order, or something new.
func (p *playing) send(c *conn, own *client) {
	to := p.user()
	for _, out := range own.outbox[to] {
		if !out.inFlight {
			p.sendAgain(c, own, to)
			return
		}
	}
	p.ids++
	own.counts[to]++
	out := &outgoing{
		id: fmt.Sprintf("m%d", p.ids), to: to, number: own.counts[to], after: c.after,
		payload: []byte(fmt.Sprintf("payload %d", p.ids)), ttl: []uint64{0, 0, 0, 1500, 60_000}[p.number(4, "ttl")],
	}
	own.outbox[to] = append(own.outbox[to], out)
	p.m.position[out.id] = out
	if p.number(9, "wrong") == 9 {
		// Payloads for a device that is not there: finally refused.
		out.payloads = []*nodepb.TargetPayload{{User: to, Device: 99}}
	}
	p.put(c, out)
}

// sendAgain is what the protocol asks of a client: in order, with the same ids.
func (p *playing) sendAgain(c *conn, own *client, to string) {
	for _, out := range slices.Clone(own.outbox[to]) {
		if out.inFlight || !slices.Contains(own.outbox[to], out) {
			continue
		}
		if b := c.chain(to).blocked; b != "" && b != out.id {
			continue
		}
		out.after = c.after
		p.put(c, out)
		if !p.w.holding {
			p.w.settle()
		}
	}
}

func (p *playing) put(c *conn, out *outgoing) {
	p.say("send %s %s %s number %d ttl %d %v", c.name(), out.to, out.id, out.number, out.ttl, out.payloads)
	out.inFlight = true
	p.w.send(c, &nodepb.Send{To: out.to, Id: messageID(out.id), Kind: 1, Payload: out.payload, Ttl: out.ttl, Payloads: out.payloads})
}

// sendByRest has no session and no order of its own; it may repeat an id.
func (p *playing) sendByRest(from, to string) {
	devices := p.m.devices(from)
	if len(devices) == 0 {
		return
	}
	device := devices[p.number(len(devices)-1, "device")]
	p.ids++
	out := &outgoing{id: fmt.Sprintf("r%d", p.ids), to: to, rest: true, payload: []byte("by rest")}
	p.m.position[out.id] = out
	p.say("send %s/%d %s %s by REST", from, device, to, out.id)
	p.ask(&nodepb.Ask{User: to, Asker: from, Device: device, Body: &nodepb.Ask_Send{Send: &nodepb.Send{
		Origin: &nodepb.Origin{User: from, Device: device}, To: to, Id: messageID(out.id), Payload: out.payload, Copy: true,
	}}})
}

func (p *playing) ack(c *conn, own *client) {
	if c.written <= own.acked {
		return
	}
	seq := own.acked + 1 + uint64(p.number(int(c.written-own.acked)-1, "seq"))
	p.say("ack %s %d", c.name(), seq)
	p.m.said(own.key, seq)
	switch p.number(3, "beforehand") {
	case 0: // told beforehand, now or any time later
		p.told = append(p.told, p.foretell(c, seq)...)
	case 1: // and then forgotten: the device says it again when it attaches
		p.told = append(p.told, p.foretell(c, seq)...)
		p.say("it is forgotten")
		return
	}
	p.w.ack(c, seq)
}

// foretell what an ack will tell, as the host does where it keeps the ack for
// a moment. What it tells when it is taken in may be no less.
func (p *playing) foretell(c *conn, seq uint64) []*storepb.Step {
	s, in := p.w.state(c.user), &nodepb.Ack{Origin: c.origin(), Seq: seq}
	for _, peer := range s.Needs(in) {
		if !s.Has(peer) {
			return nil
		}
	}
	steps, ok := s.Foretell(in, nil)
	if !ok {
		return nil
	}
	p.say("foretold: %v", steps)
	return steps
}

// tell one of the steps that were told beforehand, or lose it.
func (p *playing) tell() {
	i := p.number(len(p.told)-1, "told")
	step := p.told[i]
	p.told = slices.Delete(p.told, i, i+1)
	if p.number(3, "arrives") == 0 {
		return
	}
	p.say("tell %v", step)
	d := direction{step.GetTo(), step.GetWatermark().GetPeer()}
	p.m.told[d] = max(p.m.told[d], step.GetWatermark().GetDelivered())
	p.w.todo = append(p.w.todo, func() { p.w.step(step.GetTo(), step) })
}

func (p *playing) read(c *conn, own *client) {
	peer := p.user()
	if own.orders[peer] == 0 {
		return
	}
	order := 1 + uint64(p.number(int(own.orders[peer])-1, "order"))
	p.say("read %s %s %d", c.name(), peer, order)
	own.read[peer] = max(own.read[peer], order)
	p.w.step(c.user, &nodepb.Read{Origin: c.origin(), Peer: peer, Order: order, Written: c.written})
}

func (p *playing) attach(user string) {
	devices := p.m.devices(user)
	if len(devices) == 0 {
		return
	}
	k := deviceKey{user, devices[p.number(len(devices)-1, "device")]}
	p.connect(k)
}

func (p *playing) connect(k deviceKey) {
	own := p.m.client(k)
	p.say("attach %s/%d acked %d", k.user, k.device, own.acked)
	for _, list := range own.outbox {
		for _, out := range list {
			out.inFlight = false
		}
	}
	if was := p.w.current[fmt.Sprintf("%s/%d", k.user, k.device)]; was != nil {
		was.closed = true
	}
	p.w.attach(k.user, k.device, own.acked, 0)
}

func (p *playing) detach(c *conn, own *client) {
	p.say("detach %s", c.name())
	for _, list := range own.outbox {
		for _, out := range list {
			out.inFlight = false
		}
	}
	p.w.detach(c)
}

func (p *playing) seen(c *conn, _ *client) {
	if c.epoch != 0 {
		p.say("seen %s", c.name())
		p.w.step(c.user, &nodepb.DevicesSeen{Origin: c.origin(), Epoch: c.epoch})
	}
}

func (p *playing) link(user string) {
	if len(p.m.devices(user)) < 3 {
		p.say("link %s", user)
		p.ask(&nodepb.Ask{User: user, Body: &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Name: "x", Password: "pw"}}})
	}
}

func (p *playing) unlink(user string) {
	devices := p.m.devices(user)
	if len(devices) == 0 {
		return
	}
	asker, gone := devices[p.number(len(devices)-1, "asker")], devices[p.number(len(devices)-1, "gone")]
	p.say("unlink %s/%d %d", user, asker, gone)
	p.ask(&nodepb.Ask{User: user, Asker: user, Device: asker, Body: &nodepb.Ask_UnlinkDevice{UnlinkDevice: &nodepb.UnlinkDevice{Device: gone}}})
}

func (p *playing) block(user, peer string) {
	devices := p.m.devices(user)
	if len(devices) == 0 {
		return
	}
	blocked := !p.w.state(user).blocked(peer)
	p.say("block %s %s %t", user, peer, blocked)
	p.ask(&nodepb.Ask{User: user, Asker: user, Device: devices[0], Body: &nodepb.Ask_SetBlock{SetBlock: &nodepb.SetBlock{User: peer, Blocked: blocked}}})
}

func (p *playing) clock() {
	d := []time.Duration{time.Second, 2 * time.Second, time.Minute, 26 * time.Hour, 400 * time.Hour}[p.number(4, "clock")]
	p.say("clock +%v", d)
	p.w.clock(d)
}

// finish lets everything come to rest: devices attach, send again what has no
// answer, and pull everything.
func (p *playing) finish() {
	p.say("finish")
	p.w.holding, p.w.outboxFull = false, false
	p.w.done()
	p.w.clock(2 * time.Second) // what waited for the outbox
	p.w.done()
	p.note()
	for _, user := range []string{"alice", "bob", "carol"} {
		for _, n := range p.m.devices(user) {
			k := deviceKey{user, n}
			p.connect(k)
			p.w.done()
			c := p.w.current[fmt.Sprintf("%s/%d", user, n)]
			if c == nil || !c.live {
				p.w.fail("%v does not come to the end of its mailbox", k)
			}
			for _, to := range []string{"alice", "bob", "carol"} {
				own := p.m.client(k)
				p.sendAgain(c, own, to)
				for _, out := range own.outbox[to] {
					p.w.fail("%s of %v is refused for good", out.id, k)
				}
			}
		}
	}
	p.w.done()
	p.m.complete()
}
