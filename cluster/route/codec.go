package route

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	wirepb "github.com/rookery-im/rookery/proto/rookery/wire/v1"
)

// Bodies are made as what they hold comes up, each thing encoded once, where it
// is to stand: what a session or an actor gives may be used again right after.

// Fields of the wire's messages.
const (
	incarnationField = 1
	wordsField       = 2
	lifeField        = 2
	spellField       = 3
	deliveriesField  = 3
	lettersField     = 1
)

type encoder interface {
	SizeVT() int
	MarshalToSizedBufferVTStrict(b []byte) (int, error)
}

// errEncode: something that has no place on the wire.
var errEncode = errors.New("route: there is no word for it")

func appendMessage(b []byte, field protowire.Number, m encoder) ([]byte, error) {
	before, size := len(b), m.SizeVT()
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size)) //nolint:gosec // a length
	at := len(b)
	b = slices.Grow(b, size)[:at+size]
	if _, err := m.MarshalToSizedBufferVTStrict(b[at:]); err != nil {
		return b[:before], fmt.Errorf("route: encode: %w", err)
	}
	return b, nil
}

func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

// word that an input is; false where it is none.
func word(user string, in any) (*wirepb.Word, bool) {
	w := &wirepb.Word{User: user}
	switch m := in.(type) {
	case *nodepb.Send:
		w.Body = &wirepb.Word_Send{Send: m}
	case *nodepb.Ack:
		w.Body = &wirepb.Word_Ack{Ack: m}
	case *nodepb.Pull:
		w.Body = &wirepb.Word_Pull{Pull: m}
	case *nodepb.Read:
		w.Body = &wirepb.Word_Read{Read: m}
	case *nodepb.Attach:
		w.Body = &wirepb.Word_Attach{Attach: m}
	case *nodepb.Detach:
		w.Body = &wirepb.Word_Detach{Detach: m}
	case *nodepb.Typing:
		w.Body = &wirepb.Word_Typing{Typing: m}
	case *nodepb.Signal:
		w.Body = &wirepb.Word_Signal{Signal: m}
	case *nodepb.Watch:
		w.Body = &wirepb.Word_Watch{Watch: m}
	case *nodepb.Unwatch:
		w.Body = &wirepb.Word_Unwatch{Unwatch: m}
	case *nodepb.DevicesSeen:
		w.Body = &wirepb.Word_DevicesSeen{DevicesSeen: m}
	case *nodepb.Ask:
		w.Body = &wirepb.Word_Ask{Ask: m}
	case *nodepb.Unpark:
		w.Body = &wirepb.Word_Unpark{Unpark: m}
	default:
		return nil, false
	}
	return w, true
}

// input that a word is, and who says it; nil where it is of a kind that this
// node does not know.
func input(w *wirepb.Word) (in any, conn Conn) {
	switch b := w.GetBody().(type) {
	case *wirepb.Word_Send:
		return b.Send, b.Send.GetOrigin().GetConn()
	case *wirepb.Word_Ack:
		return b.Ack, b.Ack.GetOrigin().GetConn()
	case *wirepb.Word_Pull:
		return b.Pull, b.Pull.GetOrigin().GetConn()
	case *wirepb.Word_Read:
		return b.Read, b.Read.GetOrigin().GetConn()
	case *wirepb.Word_Attach:
		return b.Attach, b.Attach.GetOrigin().GetConn()
	case *wirepb.Word_Detach:
		return b.Detach, b.Detach.GetOrigin().GetConn()
	case *wirepb.Word_Typing:
		return b.Typing, b.Typing.GetOrigin().GetConn()
	case *wirepb.Word_Signal:
		return b.Signal, b.Signal.GetOrigin().GetConn()
	case *wirepb.Word_Watch:
		return b.Watch, b.Watch.GetOrigin().GetConn()
	case *wirepb.Word_Unwatch:
		return b.Unwatch, b.Unwatch.GetOrigin().GetConn()
	case *wirepb.Word_DevicesSeen:
		return b.DevicesSeen, b.DevicesSeen.GetOrigin().GetConn()
	case *wirepb.Word_Ask:
		return b.Ask, b.Ask.GetRequest()
	case *wirepb.Word_Unpark:
		return b.Unpark, b.Unpark.GetOrigin().GetConn()
	}
	return nil, 0
}

// place of what an actor says in a delivery; false where it has none.
func place(d *wirepb.Delivery, msg proto.Message) bool {
	switch m := msg.(type) {
	case *nodepb.Sent:
		d.Body = &wirepb.Delivery_Sent{Sent: m}
	case *nodepb.Push:
		d.Body = &wirepb.Delivery_Push{Push: m}
	case *nodepb.Refused:
		d.Body = &wirepb.Delivery_Refused{Refused: m}
	case *nodepb.Page:
		d.Body = &wirepb.Delivery_Page{Page: m}
	case *nodepb.Attached:
		d.Body = &wirepb.Delivery_Attached{Attached: m}
	case *nodepb.Kick:
		d.Body = &wirepb.Delivery_Kick{Kick: m}
	case *nodepb.Devices:
		d.Body = &wirepb.Delivery_Devices{Devices: m}
	case *nodepb.Presence:
		d.Body = &wirepb.Delivery_Presence{Presence: m}
	case *nodepb.Notice:
		d.Body = &wirepb.Delivery_Notice{Notice: m}
	case *nodepb.Ring:
		d.Body = &wirepb.Delivery_Ring{Ring: m}
	case *nodepb.Answer:
		d.Body = &wirepb.Delivery_Answer{Answer: m}
	case *nodepb.Woken:
		d.Body = &wirepb.Delivery_Woken{Woken: m}
	default:
		return false
	}
	return true
}

// message that a delivery has for a connection; nil where it is something else.
func message(d *wirepb.Delivery) proto.Message {
	switch b := d.GetBody().(type) {
	case *wirepb.Delivery_Sent:
		return b.Sent
	case *wirepb.Delivery_Push:
		return b.Push
	case *wirepb.Delivery_Refused:
		return b.Refused
	case *wirepb.Delivery_Page:
		return b.Page
	case *wirepb.Delivery_Attached:
		return b.Attached
	case *wirepb.Delivery_Kick:
		return b.Kick
	case *wirepb.Delivery_Devices:
		return b.Devices
	case *wirepb.Delivery_Presence:
		return b.Presence
	case *wirepb.Delivery_Notice:
		return b.Notice
	case *wirepb.Delivery_Ring:
		return b.Ring
	case *wirepb.Delivery_Answer:
		return b.Answer
	case *wirepb.Delivery_Woken:
		return b.Woken
	}
	return nil
}

// lasting says whether what a delivery says stays true when the term has ended:
// an answer to what was asked of that very leader, and of nobody else. All
// other things are about attachments and watches, which end with the term.
func lasting(d *wirepb.Delivery) bool {
	switch d.GetBody().(type) {
	case *wirepb.Delivery_Sent, *wirepb.Delivery_Refused, *wirepb.Delivery_Answer, *wirepb.Delivery_Unknown, *wirepb.Delivery_NotTaken:
		return true
	}
	return false
}

// kindOf an input: how its refusal is said; false where nobody waits for that.
func kindOf(in any) (kind wirepb.NotTaken_Kind, tag uint64, told bool) {
	switch m := in.(type) {
	case *nodepb.Send:
		return wirepb.NotTaken_SEND, uint64(m.GetTag()), true
	case *nodepb.Attach:
		return wirepb.NotTaken_ATTACH, uint64(m.GetTag()), true
	case *nodepb.Ask:
		return wirepb.NotTaken_ASK, m.GetRequest(), true
	case *nodepb.Ack, *nodepb.Pull, *nodepb.Read, *nodepb.Watch, *nodepb.DevicesSeen:
		return wirepb.NotTaken_OTHER, 0, true
	}
	return wirepb.NotTaken_OTHER, 0, false
}

// essential inputs end something at the actor, and nobody says them again.
func essential(in any) bool {
	switch in.(type) {
	case *nodepb.Detach, *nodepb.Unwatch, *nodepb.Unpark:
		return true
	}
	return false
}
