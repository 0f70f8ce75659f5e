package wire

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of ClientFrame and of what is in it; see client.proto.
const (
	frameRef    = 1
	frameHello  = 2
	frameSend   = 3
	frameAck    = 4
	frameRead   = 5
	frameTyping = 6
	frameWatch  = 7
	framePing   = 10

	helloToken  = 1
	helloClient = 2
	helloAcked  = 4

	sendID      = 1
	sendTo      = 2
	sendKind    = 3
	sendPayload = 4

	ackSeq = 1

	readConversation = 1
	readOrder        = 2

	typingConversation = 1
	typingOn           = 2

	watchUsers = 1

	conversationUser = 1
)

// kindText is Kind TEXT.
const kindText = 1

func sizeBytes(n int) int { return 1 + protowire.SizeBytes(n) } // with a tag of one byte

func sizeVarint(v uint64) int { return 1 + protowire.SizeVarint(v) }

func appendTag(dst []byte, field protowire.Number, t protowire.Type) []byte {
	return protowire.AppendVarint(dst, protowire.EncodeTag(field, t))
}

func appendBytes(dst []byte, field protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(appendTag(dst, field, protowire.BytesType), b)
}

func appendString(dst []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(appendTag(dst, field, protowire.BytesType), s)
}

func appendVarint(dst []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(appendTag(dst, field, protowire.VarintType), v)
}

// appendHead appends what comes before a body of n bytes: the frame's length
// and the body's tag and length.
func appendHead(dst []byte, field protowire.Number, n int) []byte {
	dst = protowire.AppendVarint(dst, uint64(sizeBytes(n)))
	dst = appendTag(dst, field, protowire.BytesType)
	return protowire.AppendVarint(dst, uint64(n))
}

// AppendHello appends a hello; acked is left out where zero.
func AppendHello(dst []byte, token, client string, acked uint64) []byte {
	n := sizeBytes(len(token)) + sizeBytes(len(client))
	if acked > 0 {
		n += sizeVarint(acked)
	}
	dst = appendHead(dst, frameHello, n)
	dst = appendString(dst, helloToken, token)
	dst = appendString(dst, helloClient, client)
	if acked > 0 {
		dst = appendVarint(dst, helloAcked, acked)
	}
	return dst
}

// AppendSend appends a send of a text to a user; id is a UUID as text.
func AppendSend(dst, id []byte, to string, payload []byte) []byte {
	conv := sizeBytes(len(to))
	n := sizeBytes(len(id)) + sizeBytes(conv) + sizeVarint(kindText) + sizeBytes(len(payload))
	dst = appendHead(dst, frameSend, n)
	dst = appendBytes(dst, sendID, id)
	dst = appendTag(dst, sendTo, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(conv))
	dst = appendString(dst, conversationUser, to)
	dst = appendVarint(dst, sendKind, kindText)
	return appendBytes(dst, sendPayload, payload)
}

// AppendAck appends an ack.
func AppendAck(dst []byte, seq uint64) []byte {
	dst = appendHead(dst, frameAck, sizeVarint(seq))
	return appendVarint(dst, ackSeq, seq)
}

// AppendRead appends a read of a conversation with a user.
func AppendRead(dst []byte, user string, order uint64) []byte {
	conv := sizeBytes(len(user))
	dst = appendHead(dst, frameRead, sizeBytes(conv)+sizeVarint(order))
	dst = appendTag(dst, readConversation, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(conv))
	dst = appendString(dst, conversationUser, user)
	return appendVarint(dst, readOrder, order)
}

// AppendTyping appends a typing that is on.
func AppendTyping(dst []byte, user string) []byte {
	conv := sizeBytes(len(user))
	dst = appendHead(dst, frameTyping, sizeBytes(conv)+sizeVarint(1))
	dst = appendTag(dst, typingConversation, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(conv))
	dst = appendString(dst, conversationUser, user)
	return appendVarint(dst, typingOn, 1)
}

// AppendWatch appends a watch of one user.
func AppendWatch(dst []byte, user string) []byte {
	dst = appendHead(dst, frameWatch, sizeBytes(len(user)))
	return appendString(dst, watchUsers, user)
}

// AppendPing appends a ping with a ref, which its pong brings back.
func AppendPing(dst []byte, ref uint32) []byte {
	dst = protowire.AppendVarint(dst, uint64(sizeVarint(uint64(ref))+sizeBytes(0)))
	dst = appendVarint(dst, frameRef, uint64(ref))
	dst = appendTag(dst, framePing, protowire.BytesType)
	return protowire.AppendVarint(dst, 0)
}
