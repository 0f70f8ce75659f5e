package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"github.com/rookery-im/rookery/bench/load/wire"
	"github.com/rookery-im/rookery/transport/ws"
)

// xmpp is XMPP over WebSocket (RFC 7395) with stream management (XEP-0198). A
// message is accepted by the server's <a/>, which is asked for once in each
// round of a sender; its recipient answers the server's own requests and sends
// a receipt (XEP-0184) to the sender, which is a message of its own.
type xmpp struct {
	host    string
	scratch []byte
	text    []byte
	conns   []xmppConn
}

// xmppConn is what stream management counts of one connection.
type xmppConn struct {
	handled uint32   // stanzas that came since <enabled/>
	acked   uint32   // of ours, by the server
	sent    []uint64 // stanzas without an ack: a message's number, or 0
	asks    bool     // there is a message that no <r/> followed
}

// Steps of the hello, each waiting for what it is named by.
const (
	xmppSwitch   stepOf = iota // 101
	xmppFeatures               // of the first stream
	xmppSuccess                // of SASL
	xmppAgain                  // features of the second stream
	xmppBound                  // the result of bind
	xmppEnabled                // stream management
	xmppPresent                // the ack of our presence: it has been handled
)

const (
	xmppResource  = "bench"
	xmppPassword  = "bench"
	xmppFraming   = "urn:ietf:params:xml:ns:xmpp-framing"
	xmppStreamMgt = "urn:xmpp:sm:3"
)

var errXMPP = errors.New("not what an XMPP server says")

func newXMPP(host string, users int) *xmpp { return &xmpp{host: host, conns: make([]xmppConn, users)} }

func (*xmpp) answers() answers { return byServer }

func (p *xmpp) forget(i int) { p.conns[i] = xmppConn{} }

func (p *xmpp) hello(f *fleet, i int) {
	f.write(i, fmt.Appendf(nil, "GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n", f.target,
		base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%016d", i))))
}

// say writes one element as one WebSocket message, as RFC 7395 asks.
func (p *xmpp) say(f *fleet, i int, element []byte) {
	p.scratch = ws.AppendMasked(p.scratch[:0], ws.Text, element, f.maskKey())
	f.write(i, p.scratch)
}

// stanza is an element that stream management counts.
func (p *xmpp) stanza(f *fleet, i int, number uint64, element []byte) {
	p.conns[i].sent = append(p.conns[i].sent, number)
	p.say(f, i, element)
}

func (p *xmpp) open(f *fleet, i int) {
	p.say(f, i, fmt.Appendf(nil, "<open xmlns='%s' to='%s' version='1.0'/>", xmppFraming, p.host))
}

func (p *xmpp) send(f *fleet, i int, number uint64) {
	b := fmt.Appendf(p.text[:0], "<message xmlns='jabber:client' type='chat' to='%s@%s' id='", user(int(f.partner[i])), p.host)
	b = appendKey(b, f.tag, i, number)
	b = append(b, "'><body>"...)
	b = f.appendPayload(b, i, number)
	b = append(b, "</body><request xmlns='urn:xmpp:receipts'/></message>"...)
	p.text = b
	p.stanza(f, i, number, b)
	p.conns[i].asks = true
	f.soil(i)
}

func (p *xmpp) ask(f *fleet, i int) {
	p.conns[i].asks = false
	p.say(f, i, []byte("<r xmlns='"+xmppStreamMgt+"'/>"))
}

func (p *xmpp) round(f *fleet, i int) {
	if p.conns[i].asks {
		p.ask(f, i)
	}
}

var (
	headEnd   = []byte("\r\n\r\n")
	switching = []byte("HTTP/1.1 101 ")
)

func (p *xmpp) consume(f *fleet, i int, b []byte) (int, error) {
	n := 0
	if f.conns[i].step == xmppSwitch {
		end := bytes.Index(b, headEnd)
		if end < 0 {
			return 0, nil
		}
		if !bytes.HasPrefix(b, switching) {
			return 0, fmt.Errorf("%w: the upgrade was refused: %.80q", errXMPP, b)
		}
		n = end + len(headEnd)
		f.conns[i].step = xmppFeatures
		p.open(f, i)
	}
	for {
		op, payload, k, err := wire.Split(b[n:])
		if err != nil || k == 0 {
			return n, err
		}
		n += k
		switch op {
		case ws.Text:
			err = p.element(f, i, payload)
		case ws.Ping:
			p.scratch = ws.AppendMasked(p.scratch[:0], ws.Pong, payload, f.maskKey())
			f.write(i, p.scratch)
		case ws.Close:
			err = fmt.Errorf("%w: closed: %.80q", errXMPP, payload)
		}
		if err != nil {
			return n, err
		}
	}
}

// begins says whether an element has a name.
func begins(b []byte, name string) bool {
	return len(b) > len(name)+1 && b[0] == '<' && string(b[1:1+len(name)]) == name && (b[1+len(name)] == ' ' || b[1+len(name)] == '/' || b[1+len(name)] == '>')
}

// attribute is the value of the first attribute of that name.
func attribute(b []byte, name string) []byte {
	for _, quote := range [...]string{"'", "\""} {
		if at := bytes.Index(b, []byte(" "+name+"="+quote)); at >= 0 {
			rest := b[at+len(name)+3:]
			if end := bytes.IndexByte(rest, quote[0]); end >= 0 {
				return rest[:end]
			}
		}
	}
	return nil
}

func (p *xmpp) element(f *fleet, i int, b []byte) error {
	c := &p.conns[i]
	switch {
	case begins(b, "message"):
		c.handled++
		return p.message(f, i, b)
	case begins(b, "a"):
		return p.ack(f, i, b)
	case begins(b, "r"):
		p.say(f, i, fmt.Appendf(p.text[:0], "<a xmlns='%s' h='%d'/>", xmppStreamMgt, c.handled))
		return nil
	case begins(b, "presence"):
		c.handled++
		return nil
	case begins(b, "iq") && f.conns[i].step > xmppBound:
		c.handled++
		return nil
	default:
		return p.greet(f, i, b)
	}
}

// greet is one step of the hello.
func (p *xmpp) greet(f *fleet, i int, b []byte) error {
	step := &f.conns[i].step
	switch {
	case begins(b, "open"):
	case *step == xmppFeatures && begins(b, "stream:features"):
		*step = xmppSuccess
		secret := base64.StdEncoding.EncodeToString([]byte("\x00" + user(i) + "\x00" + xmppPassword))
		p.say(f, i, []byte("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>"+secret+"</auth>"))
	case *step == xmppSuccess && begins(b, "success"):
		*step = xmppAgain
		p.open(f, i)
	case *step == xmppAgain && begins(b, "stream:features"):
		*step = xmppBound
		p.say(f, i, []byte("<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>"+xmppResource+"</resource></bind></iq>"))
	case *step == xmppBound && begins(b, "iq") && bytes.Equal(attribute(b, "type"), []byte("result")):
		*step = xmppEnabled
		p.say(f, i, []byte("<enable xmlns='"+xmppStreamMgt+"'/>"))
	case *step == xmppEnabled && begins(b, "enabled"):
		*step = xmppPresent
		p.conns[i] = xmppConn{}
		p.stanza(f, i, 0, []byte("<presence xmlns='jabber:client'/>"))
		p.ask(f, i)
	default:
		return fmt.Errorf("%w: in step %d: %.120q", errXMPP, *step, b)
	}
	return nil
}

func (p *xmpp) ack(f *fleet, i int, b []byte) error {
	c := &p.conns[i]
	h, err := strconv.ParseUint(string(attribute(b, "h")), 10, 32)
	n := uint32(h) - c.acked
	if err != nil || int(n) > len(c.sent) {
		return fmt.Errorf("%w: %.80q, and %d stanzas are open after %d", errXMPP, b, len(c.sent), c.acked)
	}
	c.acked = uint32(h)
	done := c.sent[:n]
	c.sent = c.sent[n:]
	for _, number := range done {
		if number != 0 {
			f.accepted(i, number)
		}
	}
	if f.conns[i].step == xmppPresent {
		f.ready(i)
	}
	return nil
}

var (
	bodyFrom    = []byte("<body>")
	receivedTag = []byte("<received ")
)

func (p *xmpp) message(f *fleet, i int, b []byte) error {
	if at := bytes.Index(b, receivedTag); at >= 0 {
		f.receipt(attribute(b[at:], "id"))
		return nil
	}
	at := bytes.Index(b, bodyFrom)
	if bytes.Equal(attribute(b, "type"), []byte("error")) {
		// The server gives a message back: it was taken, and is now refused.
		if at >= 0 {
			if _, number, ok := parseKey(b[at+len(bodyFrom):], f.tag); ok {
				f.returned(i, number, string(b))
				return nil
			}
		}
		return fmt.Errorf("%w: %.200q", errXMPP, b)
	}
	if at < 0 {
		return fmt.Errorf("%w: a message without a body: %.200q", errXMPP, b)
	}
	payload := b[at+len(bodyFrom):]
	payload = payload[:max(0, bytes.IndexByte(payload, '<'))]
	from, fresh := f.delivered(i, payload)
	if fresh {
		out := fmt.Appendf(p.text[:0], "<message xmlns='jabber:client' type='chat' to='%s@%s' id='r%s'><received xmlns='urn:xmpp:receipts' id='%s'/></message>",
			user(from), p.host, payload[:keySize], payload[:keySize])
		p.text = out
		p.stanza(f, i, 0, out)
	}
	return nil
}
