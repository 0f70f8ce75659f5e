package frames

import (
	"bytes"
	"encoding/base64"
	"math"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// The frames that come often are read by hand from JSON too, where they are
// written in the plain way that programs write them. All else, and whatever may
// be wrong, is odd: the library reads it, and says whether it fits. So nothing
// is refused here, and what is taken the library takes as the same.
// TestReadJSONAgrees and FuzzReadJSONAgrees compare.

// members walks over the members of JSON objects.
type members struct {
	rest  []byte
	name  []byte // of the member at hand
	fresh bool   // the object has just begun
	odd   bool   // it is for the library to read
}

// space passes over white space and returns what stands there; 0 at the end.
func (m *members) space() byte {
	for len(m.rest) > 0 {
		switch m.rest[0] {
		case ' ', '\t', '\r', '\n':
			m.rest = m.rest[1:]
		default:
			return m.rest[0]
		}
	}
	return 0
}

// take passes over a byte that has to stand there.
func (m *members) take(c byte) {
	if m.space() != c {
		m.odd = true
		return
	}
	m.rest = m.rest[1:]
}

// open begins an object.
func (m *members) open() {
	m.take('{')
	m.fresh = true
}

// next is false at the object's end, or once anything is odd.
func (m *members) next() bool {
	if m.odd {
		return false
	}
	if m.space() == '}' {
		m.rest = m.rest[1:]
		m.fresh = false
		return false
	}
	if !m.fresh {
		m.take(',')
	}
	m.fresh = false
	m.name = m.text()
	m.take(':')
	return !m.odd
}

// text is a string's: printable ASCII without escapes, or it is odd.
func (m *members) text() []byte {
	if m.take('"'); m.odd {
		return nil
	}
	for i, c := range m.rest {
		switch {
		case c == '"':
			text := m.rest[:i]
			m.rest = m.rest[i+1:]
			return text
		case c < ' ' || c > '~' || c == '\\':
			m.odd = true
			return nil
		}
	}
	m.odd = true
	return nil
}

// number is an unsigned number's, which may stand in quotes.
func (m *members) number() (v uint64) {
	var digits []byte
	if m.space() == '"' {
		digits = m.text()
	} else {
		n := 0
		for n < len(m.rest) && m.rest[n] >= '0' && m.rest[n] <= '9' {
			n++
		}
		digits, m.rest = m.rest[:n], m.rest[n:]
	}
	// Nineteen digits are below 2^64. After the last comes a comma or the end,
	// or it is odd there.
	if len(digits) == 0 || len(digits) > 19 || digits[0] == '0' && len(digits) > 1 {
		m.odd = true
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			m.odd = true
		}
		v = v*10 + uint64(c-'0')
	}
	return v
}

func (m *members) bool() bool {
	m.space()
	rest, yes := bytes.CutPrefix(m.rest, []byte("true"))
	no := false
	if !yes {
		rest, no = bytes.CutPrefix(m.rest, []byte("false"))
	}
	m.rest = rest
	m.odd = m.odd || !yes && !no
	return yes
}

// once marks a member of an object, which may stand in it once.
func (m *members) once(seen *uint8, bit uint8) {
	if *seen&bit != 0 {
		m.odd = true
	}
	*seen |= bit
}

// readJSON is false where the frame is for the library to read.
func (d *Decoder) readJSON(line []byte) (*clientpb.ClientFrame, bool) {
	f := &d.scratch.frame
	f.Ref, f.Body = 0, nil
	m := members{rest: line}
	var seen uint8
	m.open()
	for m.next() {
		if string(m.name) == "ref" {
			m.once(&seen, 1)
			v := m.number()
			m.odd = m.odd || v > math.MaxUint32
			f.Ref = uint32(v & math.MaxUint32)
			continue
		}
		m.once(&seen, 2)
		switch string(m.name) {
		case "send":
			d.begin(f, frameSend)
			d.readSendJSON(&m, &d.scratch.send)
		case "ack":
			d.begin(f, frameAck)
			readAckJSON(&m, &d.scratch.ack)
		case "read":
			d.begin(f, frameRead)
			d.readReadJSON(&m, f.GetRead())
		case "typing":
			d.begin(f, frameTyping)
			d.readTypingJSON(&m, f.GetTyping())
		default:
			m.odd = true
		}
	}
	return f, !m.odd && m.space() == 0 && len(m.rest) == 0 && f.Body != nil
}

func readAckJSON(m *members, ack *clientpb.Ack) {
	var seen uint8
	m.open()
	for m.next() {
		switch string(m.name) {
		case "seq":
			m.once(&seen, 1)
			ack.Seq = m.number()
		default:
			m.odd = true
		}
	}
}

func (d *Decoder) readReadJSON(m *members, read *clientpb.Read) {
	var seen uint8
	m.open()
	for m.next() {
		switch string(m.name) {
		case "conversation":
			m.once(&seen, 1)
			read.Conversation = &clientpb.Conversation{}
			d.readConversationJSON(m, read.GetConversation())
		case "order":
			m.once(&seen, 2)
			read.Order = m.number()
		default:
			m.odd = true
		}
	}
}

func (d *Decoder) readTypingJSON(m *members, typing *clientpb.Typing) {
	var seen uint8
	m.open()
	for m.next() {
		switch string(m.name) {
		case "conversation":
			m.once(&seen, 1)
			typing.Conversation = &clientpb.Conversation{}
			d.readConversationJSON(m, typing.GetConversation())
		case "on":
			m.once(&seen, 2)
			typing.On = m.bool()
		default:
			m.odd = true
		}
	}
}

func (d *Decoder) readConversationJSON(m *members, c *clientpb.Conversation) {
	m.open()
	for m.next() {
		m.odd = c.Peer != nil || string(m.name) != "user"
		d.scratch.user.User = d.known.of(m.text())
		c.Peer = &d.scratch.user
	}
}

func (d *Decoder) readSendJSON(m *members, s *clientpb.Send) {
	var seen uint8
	var id, payload, replyTo []byte
	m.open()
	for m.next() {
		switch string(m.name) {
		case "id":
			m.once(&seen, 1)
			id = m.text()
		case "to":
			m.once(&seen, 2)
			s.To = &d.scratch.peer
			s.To.Peer = nil
			d.readConversationJSON(m, s.To)
		case "kind":
			m.once(&seen, 4)
			v, known := clientpb.Kind_value[string(m.text())]
			m.odd = m.odd || !known
			s.Kind = clientpb.Kind(v)
		case "payload":
			m.once(&seen, 8)
			payload = m.text()
		case "replyTo":
			m.once(&seen, 16)
			replyTo = m.text()
		default:
			m.odd = true
		}
	}
	if m.odd {
		return
	}
	// One copy, of which all that is kept is a part.
	own := make([]byte, 0, len(id)+len(replyTo)+base64.StdEncoding.DecodedLen(len(payload)))
	own = append(append(own, id...), replyTo...)
	s.Id, s.ReplyTo = view(own[:len(id)]), view(own[len(id):])
	own, err := base64.StdEncoding.AppendDecode(own, payload)
	m.odd = err != nil // not padded, or in the alphabet for URLs
	s.Payload = own[len(id)+len(replyTo) : len(own) : len(own)]
}
