package frames

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rookery-im/rookery/internal/ident"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// The frames that go out for every message, deliver, receipt and sent, are
// written straight from what actors say: no allocation beyond dst, against
// eight in protobuf and forty in JSON by way of a ServerFrame. TestAppendEntryAgrees
// and TestAppendSentAgrees compare with the generated code.

// AppendEntry is Append of FromEntry, and false where that is nil.
func AppendEntry(dst []byte, enc Encoding, e *storepb.Entry, device uint32) ([]byte, bool, error) {
	if out, ok := appendFrequent(dst, enc, e, device); ok {
		return out, true, nil
	}
	f := FromEntry(e, device)
	if f == nil {
		return dst, false, nil
	}
	dst, err := Append(dst, enc, f)
	return dst, err == nil, err
}

// appendFrequent is false where the entry is not of a kind that comes often, or
// is for AppendEntry to write for another reason.
func appendFrequent(dst []byte, enc Encoding, e *storepb.Entry, device uint32) ([]byte, bool) {
	if !For(e, device) {
		return dst, false
	}
	switch b := e.GetBody().(type) {
	case *storepb.Entry_Message:
		switch enc {
		case Protobuf:
			return appendDeliver(dst, e.GetSeq(), b.Message, device), true
		case JSON:
			return appendDeliverJSON(dst, e.GetSeq(), b.Message, device)
		}
	case *storepb.Entry_Receipt:
		switch enc {
		case Protobuf:
			return appendReceipt(dst, e.GetSeq(), b.Receipt), true
		case JSON:
			return appendReceiptJSON(dst, e.GetSeq(), b.Receipt)
		}
	}
	return dst, false
}

// AppendSent is Append of the frame that answers a send to peer with what its
// actor said.
func AppendSent(dst []byte, enc Encoding, ref uint32, id [ident.MessageIDLen]byte, peer string, m *nodepb.Sent) ([]byte, error) {
	switch enc {
	case Protobuf:
		return appendSent(dst, ref, id[:], peer, m), nil
	case JSON:
		if out, ok := appendSentJSON(dst, ref, id[:], peer, m); ok {
			return out, nil
		}
	}
	return Append(dst, enc, sent(ref, ident.MessageIDString(id[:]), peer, m))
}

func sent(ref uint32, id, peer string, m *nodepb.Sent) *clientpb.ServerFrame {
	return &clientpb.ServerFrame{Ref: ref, Body: &clientpb.ServerFrame_Sent{Sent: &clientpb.Sent{
		Id: id, Conversation: With(peer), Order: m.GetOrder(), Time: m.GetTime(), Duplicate: m.GetDuplicate(),
	}}}
}

// Field numbers of client.proto.
const (
	serverRef                                = 1
	serverSent, serverDeliver, serverReceipt = 3, 4, 5

	sentID, sentConversation, sentOrder, sentTime, sentDuplicate = 1, 2, 3, 4, 5

	deliverSeq, deliverID, deliverFrom, deliverConversation = 1, 2, 3, 4
	deliverOrder, deliverTime, deliverKind                  = 5, 6, 7
	deliverReplyTo, deliverPayload                          = 8, 9

	receiptSeq, receiptConversation, receiptBy        = 1, 2, 3
	receiptDelivered, receiptRead, receiptUndelivered = 4, 5, 6

	rangeFirst, rangeLast    = 1, 2
	deviceUser, deviceDevice = 1, 2
	conversationUser         = 1
)

// oneTag is the size of a tag whose number is below 16, as all here are.
const oneTag = 1

func appendSent(dst []byte, ref uint32, id []byte, peer string, m *nodepb.Sent) []byte {
	duplicate := protowire.EncodeBool(m.GetDuplicate())
	body := sizeBytes(textLen(id)) + sizePeer(peer) + sizeVarint(m.GetOrder()) + sizeVarint(m.GetTime()) + sizeVarint(duplicate)

	dst = protowire.AppendVarint(dst, uint64(sizeVarint(uint64(ref))+oneTag+protowire.SizeBytes(body)))
	dst = appendVarint(dst, serverRef, uint64(ref))
	dst = appendHead(dst, serverSent, body)
	dst = appendID(dst, sentID, id)
	dst = appendPeer(dst, sentConversation, peer)
	dst = appendVarint(dst, sentOrder, m.GetOrder())
	dst = appendVarint(dst, sentTime, m.GetTime())
	return appendVarint(dst, sentDuplicate, duplicate)
}

func appendDeliver(dst []byte, seq uint64, m *storepb.Message, device uint32) []byte {
	payload := PayloadFor(m, device)
	from := sizeBytes(len(m.GetFrom())) + sizeVarint(uint64(m.GetDevice()))
	body := sizeVarint(seq) + sizeBytes(textLen(m.GetId())) +
		oneTag + protowire.SizeBytes(from) + sizePeer(m.GetPeer()) +
		sizeVarint(m.GetOrder()) + sizeVarint(m.GetTime()) + sizeVarint(uint64(m.GetKind())) +
		sizeBytes(textLen(m.GetReplyTo())) + sizeBytes(len(payload))

	dst = protowire.AppendVarint(dst, uint64(oneTag+protowire.SizeBytes(body)))
	dst = appendHead(dst, serverDeliver, body)
	dst = appendVarint(dst, deliverSeq, seq)
	dst = appendID(dst, deliverID, m.GetId())
	dst = appendHead(dst, deliverFrom, from)
	dst = appendString(dst, deviceUser, m.GetFrom())
	dst = appendVarint(dst, deviceDevice, uint64(m.GetDevice()))
	dst = appendPeer(dst, deliverConversation, m.GetPeer())
	dst = appendVarint(dst, deliverOrder, m.GetOrder())
	dst = appendVarint(dst, deliverTime, m.GetTime())
	dst = appendVarint(dst, deliverKind, uint64(m.GetKind()))
	dst = appendID(dst, deliverReplyTo, m.GetReplyTo())
	if len(payload) > 0 {
		dst = append(appendHead(dst, deliverPayload, len(payload)), payload...)
	}
	return dst
}

func appendReceipt(dst []byte, seq uint64, r *storepb.Receipt) []byte {
	body := sizeVarint(seq) + sizePeer(r.GetPeer()) + sizeBytes(len(r.GetBy())) + sizeVarint(r.GetDelivered()) + sizeVarint(r.GetRead())
	for _, g := range r.GetUndelivered() {
		body += oneTag + protowire.SizeBytes(sizeRange(g))
	}

	dst = protowire.AppendVarint(dst, uint64(oneTag+protowire.SizeBytes(body)))
	dst = appendHead(dst, serverReceipt, body)
	dst = appendVarint(dst, receiptSeq, seq)
	dst = appendPeer(dst, receiptConversation, r.GetPeer())
	dst = appendString(dst, receiptBy, r.GetBy())
	dst = appendVarint(dst, receiptDelivered, r.GetDelivered())
	dst = appendVarint(dst, receiptRead, r.GetRead())
	for _, g := range r.GetUndelivered() {
		dst = appendHead(dst, receiptUndelivered, sizeRange(g))
		dst = appendVarint(dst, rangeFirst, g.GetFirst())
		dst = appendVarint(dst, rangeLast, g.GetLast())
	}
	return dst
}

func sizeRange(g *storepb.Range) int { return sizeVarint(g.GetFirst()) + sizeVarint(g.GetLast()) }

// sizePeer and appendPeer are of a conversation with a user, as a field: a
// oneof shows even when it is empty.
func sizePeer(peer string) int {
	return oneTag + protowire.SizeBytes(oneTag+protowire.SizeBytes(len(peer)))
}

func appendPeer(dst []byte, field protowire.Number, peer string) []byte {
	dst = appendHead(dst, field, oneTag+protowire.SizeBytes(len(peer)))
	return append(appendHead(dst, conversationUser, len(peer)), peer...)
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
