package frames

import (
	"time"

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
