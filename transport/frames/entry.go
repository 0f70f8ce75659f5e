package frames

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rookery-im/rookery/internal/ident"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// For reports whether the entry is for the device: everything but what the
// device itself sent.
func For(e *storepb.Entry, device uint32) bool { return e.GetSkip() == 0 || e.GetSkip() != device }

// FromEntry is the frame that shows a stored entry to one device of the
// mailbox's owner; nil where the entry is not for that device (see For) or is
// of a kind that this version does not know.
func FromEntry(e *storepb.Entry, device uint32) *clientpb.ServerFrame {
	if !For(e, device) {
		return nil
	}
	switch b := e.GetBody().(type) {
	case *storepb.Entry_Message:
		return &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Deliver{Deliver: deliver(e.GetSeq(), b.Message, device)}}
	case *storepb.Entry_Receipt:
		return &clientpb.ServerFrame{Body: &clientpb.ServerFrame_Receipt{Receipt: receipt(e.GetSeq(), b.Receipt)}}
	case *storepb.Entry_DeviceEvent:
		return &clientpb.ServerFrame{Body: &clientpb.ServerFrame_DeviceEvent{DeviceEvent: deviceEvent(e.GetSeq(), b.DeviceEvent)}}
	default:
		return nil
	}
}

func deliver(seq uint64, m *storepb.Message, device uint32) *clientpb.Deliver {
	return &clientpb.Deliver{
		Seq:          seq,
		Id:           ident.MessageIDString(m.GetId()),
		From:         &clientpb.Device{User: m.GetFrom(), Device: m.GetDevice()},
		Conversation: With(m.GetPeer()),
		Order:        m.GetOrder(),
		Time:         m.GetTime(),
		Kind:         clientpb.Kind(m.GetKind()),
		ReplyTo:      ident.MessageIDString(m.GetReplyTo()),
		Payload:      PayloadFor(m, device),
	}
}

// PayloadFor is the payload of a message for one device: its own, where it has
// one.
func PayloadFor(m *storepb.Message, device uint32) []byte {
	for _, p := range m.GetPayloads() {
		if p.GetDevice() == device {
			return p.GetPayload()
		}
	}
	return m.GetPayload()
}

func receipt(seq uint64, r *storepb.Receipt) *clientpb.Receipt {
	out := &clientpb.Receipt{
		Seq:           seq,
		Conversation:  With(r.GetPeer()),
		By:            r.GetBy(),
		DeliveredUpTo: r.GetDelivered(),
		ReadUpTo:      r.GetRead(),
	}
	for _, g := range r.GetUndelivered() {
		out.Undelivered = append(out.Undelivered, &clientpb.Range{First: g.GetFirst(), Last: g.GetLast()})
	}
	return out
}

func deviceEvent(seq uint64, e *storepb.DeviceEvent) *clientpb.DeviceEvent {
	out := &clientpb.DeviceEvent{Seq: seq, Unlinked: e.GetUnlinked()}
	for _, row := range e.GetLinked() {
		out.Linked = append(out.Linked, DeviceInfo(row))
	}
	return out
}

// DeviceInfo shows a linked device to its owner.
func DeviceInfo(row *storepb.DeviceRow) *clientpb.DeviceInfo {
	return &clientpb.DeviceInfo{
		Device:   row.GetDevice(),
		Name:     row.GetName(),
		LinkedAt: timestamppb.New(time.UnixMilli(int64(row.GetLinked()))),
	}
}

// With names the conversation with another user.
func With(peer string) *clientpb.Conversation {
	return &clientpb.Conversation{Peer: &clientpb.Conversation_User{User: peer}}
}

// AppendEntry is Append of FromEntry, and false where that is nil. A message
// in protobuf, the most frequent frame of all, is written straight from the
// entry: no allocation beyond dst, against eight by way of a ServerFrame.
func AppendEntry(dst []byte, enc Encoding, e *storepb.Entry, device uint32) ([]byte, bool, error) {
	if m := e.GetMessage(); m != nil && enc == Protobuf && For(e, device) {
		return appendDeliver(dst, e.GetSeq(), m, device), true, nil
	}
	f := FromEntry(e, device)
	if f == nil {
		return dst, false, nil
	}
	dst, err := Append(dst, enc, f)
	return dst, err == nil, err
}

// Field numbers of client.proto; TestAppendEntryAgrees compares with the
// generated code.
const (
	frameDeliver = 4

	deliverSeq, deliverID, deliverFrom, deliverConversation = 1, 2, 3, 4
	deliverOrder, deliverTime, deliverKind                  = 5, 6, 7
	deliverReplyTo, deliverPayload                          = 8, 9

	deviceUser, deviceDevice = 1, 2
	conversationUser         = 1
)

// oneTag is the size of a tag whose number is below 16, as all here are.
const oneTag = 1

func appendDeliver(dst []byte, seq uint64, m *storepb.Message, device uint32) []byte {
	payload := PayloadFor(m, device)
	from := sizeBytes(len(m.GetFrom())) + sizeVarint(uint64(m.GetDevice()))
	with := oneTag + protowire.SizeBytes(len(m.GetPeer())) // a oneof shows even when empty
	body := sizeVarint(seq) + sizeBytes(textLen(m.GetId())) +
		oneTag + protowire.SizeBytes(from) + oneTag + protowire.SizeBytes(with) +
		sizeVarint(m.GetOrder()) + sizeVarint(m.GetTime()) + sizeVarint(uint64(m.GetKind())) +
		sizeBytes(textLen(m.GetReplyTo())) + sizeBytes(len(payload))

	dst = protowire.AppendVarint(dst, uint64(oneTag+protowire.SizeBytes(body)))
	dst = appendHead(dst, frameDeliver, body)
	dst = appendVarint(dst, deliverSeq, seq)
	dst = appendID(dst, deliverID, m.GetId())
	dst = appendHead(dst, deliverFrom, from)
	dst = appendString(dst, deviceUser, m.GetFrom())
	dst = appendVarint(dst, deviceDevice, uint64(m.GetDevice()))
	dst = appendHead(dst, deliverConversation, with)
	dst = append(appendHead(dst, conversationUser, len(m.GetPeer())), m.GetPeer()...)
	dst = appendVarint(dst, deliverOrder, m.GetOrder())
	dst = appendVarint(dst, deliverTime, m.GetTime())
	dst = appendVarint(dst, deliverKind, uint64(m.GetKind()))
	dst = appendID(dst, deliverReplyTo, m.GetReplyTo())
	if len(payload) > 0 {
		dst = append(appendHead(dst, deliverPayload, len(payload)), payload...)
	}
	return dst
}

func textLen(id []byte) int {
	if len(id) != ident.MessageIDLen {
		return 0
	}
	return ident.MessageIDText
}

func sizeVarint(v uint64) int {
	if v == 0 {
		return 0
	}
	return oneTag + protowire.SizeVarint(v)
}

func sizeBytes(n int) int {
	if n == 0 {
		return 0
	}
	return oneTag + protowire.SizeBytes(n)
}

func appendHead(dst []byte, field protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.BytesType), uint64(n))
}

func appendVarint(dst []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), v)
}

func appendString(dst []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return append(appendHead(dst, field, len(s)), s...)
}

func appendID(dst []byte, field protowire.Number, id []byte) []byte {
	if len(id) != ident.MessageIDLen {
		return dst
	}
	return ident.AppendMessageID(appendHead(dst, field, ident.MessageIDText), id)
}
