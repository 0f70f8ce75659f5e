package frames

import (
	"encoding/base64"
	"strconv"

	"github.com/rookery-im/rookery/internal/ident"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// The frequent frames in protobuf's JSON mapping: what is zero is left out,
// 64-bit numbers are strings, bytes are base64. Where a text would have to be
// escaped, which no id has, the functions are false and leave it to the library.

// object writes the members of JSON objects.
type object struct {
	dst  []byte
	next bool // a member came before
}

func (o *object) name(name string) {
	if o.next {
		o.dst = append(o.dst, ',')
	}
	o.next = true
	o.dst = append(append(append(o.dst, '"'), name...), '"', ':')
}

// open begins an object as a member; close ends it.
func (o *object) open(name string) {
	o.name(name)
	o.dst = append(o.dst, '{')
	o.next = false
}

func (o *object) close() {
	o.dst = append(o.dst, '}')
	o.next = true
}

// begin a frame, as the only member of which, besides ref, its body is opened.
func begin(dst []byte, ref uint32, body string) object {
	o := object{dst: append(separate(dst), '{')}
	o.uint32("ref", ref)
	o.open(body)
	return o
}

func (o *object) end() []byte { return append(o.dst, '}', '}') }

func (o *object) uint32(name string, v uint32) {
	if v != 0 {
		o.name(name)
		o.dst = strconv.AppendUint(o.dst, uint64(v), 10)
	}
}

func (o *object) uint64(name string, v uint64) {
	if v != 0 {
		o.name(name)
		o.dst = append(strconv.AppendUint(append(o.dst, '"'), v, 10), '"')
	}
}

// text writes what is plain.
func (o *object) text(name, s string) {
	if s != "" {
		o.name(name)
		o.dst = append(append(append(o.dst, '"'), s...), '"')
	}
}

func (o *object) id(name string, id []byte) {
	if len(id) == ident.MessageIDLen {
		o.name(name)
		o.dst = append(ident.AppendMessageID(append(o.dst, '"'), id), '"')
	}
}

// peer shows the conversation with a user: a oneof shows even when it is empty.
func (o *object) peer(user string) {
	o.open("conversation")
	o.name("user")
	o.dst = append(append(append(o.dst, '"'), user...), '"')
	o.close()
}

// plain says whether a text stands in JSON as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func appendSentJSON(dst []byte, ref uint32, id []byte, peer string, m *nodepb.Sent) ([]byte, bool) {
	if !plain(peer) {
		return dst, false
	}
	o := begin(dst, ref, "sent")
	o.id("id", id)
	o.peer(peer)
	o.uint64("order", m.GetOrder())
	o.uint64("time", m.GetTime())
	if m.GetDuplicate() {
		o.name("duplicate")
		o.dst = append(o.dst, "true"...)
	}
	return o.end(), true
}

func appendDeliverJSON(dst []byte, seq uint64, m *storepb.Message, device uint32) ([]byte, bool) {
	kind, known := clientpb.Kind_name[int32(m.GetKind())]
	if !known || !plain(m.GetFrom()) || !plain(m.GetPeer()) {
		return dst, false
	}
	o := begin(dst, 0, "deliver")
	o.uint64("seq", seq)
	o.id("id", m.GetId())
	o.open("from")
	o.text("user", m.GetFrom())
	o.uint32("device", m.GetDevice())
	o.close()
	o.peer(m.GetPeer())
	o.uint64("order", m.GetOrder())
	o.uint64("time", m.GetTime())
	if m.GetKind() != 0 {
		o.text("kind", kind)
	}
	o.id("replyTo", m.GetReplyTo())
	if payload := PayloadFor(m, device); len(payload) > 0 {
		o.name("payload")
		o.dst = append(base64.StdEncoding.AppendEncode(append(o.dst, '"'), payload), '"')
	}
	return o.end(), true
}

func appendReceiptJSON(dst []byte, seq uint64, r *storepb.Receipt) ([]byte, bool) {
	if !plain(r.GetPeer()) || !plain(r.GetBy()) {
		return dst, false
	}
	o := begin(dst, 0, "receipt")
	o.uint64("seq", seq)
	o.peer(r.GetPeer())
	o.text("by", r.GetBy())
	o.uint64("deliveredUpTo", r.GetDelivered())
	o.uint64("readUpTo", r.GetRead())
	for i, g := range r.GetUndelivered() {
		if i == 0 {
			o.name("undelivered")
			o.dst = append(o.dst, '[')
		} else {
			o.dst = append(o.dst, ',')
		}
		o.dst = append(o.dst, '{')
		o.next = false
		o.uint64("first", g.GetFirst())
		o.uint64("last", g.GetLast())
		o.close()
	}
	if len(r.GetUndelivered()) > 0 {
		o.dst = append(o.dst, ']')
	}
	return o.end(), true
}
