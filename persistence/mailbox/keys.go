// Package mailbox names the rows that users and shards keep: their keys, and
// what a mutation of the log writes into them.
//
// A key is shard (4 bytes, big endian), version of the shard's key space (4),
// length of the user id (1), user id, kind (1), suffix. The rows of one user
// are therefore contiguous, and a shard's own rows, of the empty user, come
// first. Numbers in suffixes are big endian, so that they sort.
package mailbox

import (
	"encoding/binary"
	"fmt"
)

// Kind of a row.
type Kind byte

// Kinds of a user's rows, with their suffixes and values.
const (
	Account   Kind = 'a' // -: AccountRow
	Block     Kind = 'b' // user: empty
	Cursor    Kind = 'c' // device 4: Cursor
	Device    Kind = 'd' // device 4: DeviceRow
	Entry     Kind = 'e' // seq 8: Entry
	Head      Kind = 'h' // -: HeadRow
	Result    Kind = 'i' // peer, device 4, slot 1: Result
	Mailbox   Kind = 'm' // -: MailboxRow
	Receipt   Kind = 'r' // peer, by: ReceiptRow
	Sender    Kind = 's' // peer, device 4: Sender
	Seen      Kind = 't' // device 4: SeenRow
	Watermark Kind = 'w' // peer: Watermark
)

// Kinds of a shard's own rows.
const (
	OutboxNumber Kind = 'n' // shard 4: InboxMark (the last number given)
	Outbox       Kind = 'o' // shard 4, number 8: Step
	Inbox        Kind = 'x' // shard 4: InboxMark
)

// Space is the key space of one shard: its number and version.
type Space struct {
	Shard   uint32
	Version uint32
}

// Prefix of every key of the space.
func (s Space) Prefix() []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, s.Shard), s.Version)
}

// User is the prefix of every row of the user; the shard's own where user is empty.
func (s Space) User(user string) []byte {
	b := make([]byte, 0, 32+len(user))
	b = binary.BigEndian.AppendUint32(b, s.Shard)
	b = binary.BigEndian.AppendUint32(b, s.Version)
	b = append(b, byte(len(user)))
	return append(b, user...)
}

// Key of one row.
func (s Space) Key(user string, kind Kind, suffix ...byte) []byte {
	b := append(s.User(user), byte(kind))
	return append(b, suffix...)
}

// Split takes a key apart.
func Split(key []byte) (space Space, user string, kind Kind, suffix []byte, err error) {
	if len(key) < 10 || len(key) < 10+int(key[8]) {
		return Space{}, "", 0, nil, fmt.Errorf("mailbox: key of %d bytes is too short", len(key))
	}
	space = Space{Shard: binary.BigEndian.Uint32(key), Version: binary.BigEndian.Uint32(key[4:])}
	n := 9 + int(key[8])
	return space, string(key[9:n]), Kind(key[n]), key[n+1:], nil
}

// Part is the length of the part that a key shares with all rows of its user,
// or 0 for the beginning of a key that ends before that.
func Part(key []byte) int {
	if len(key) < 9 || len(key) < 9+int(key[8]) {
		return 0
	}
	return 9 + int(key[8])
}

// U32 and U64 are numbers as suffixes.
func U32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// U64 is a 64-bit number as a suffix.
func U64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// Peer is the suffix, or its beginning, of a row that belongs to a peer.
func Peer(peer string) []byte {
	b := make([]byte, 0, len(peer)+6)
	return append(append(b, byte(len(peer))), peer...)
}

// SplitPeer takes the peer off a suffix.
func SplitPeer(suffix []byte) (peer string, rest []byte, err error) {
	if len(suffix) == 0 || len(suffix) < 1+int(suffix[0]) {
		return "", nil, fmt.Errorf("mailbox: suffix of %d bytes has no peer", len(suffix))
	}
	n := 1 + int(suffix[0])
	return string(suffix[1:n]), suffix[n:], nil
}

// SenderSuffix of a sending device of a peer.
func SenderSuffix(peer string, device uint32) []byte {
	return binary.BigEndian.AppendUint32(Peer(peer), device)
}

// ResultSuffix of the result in a slot.
func ResultSuffix(peer string, device uint32, slot byte) []byte {
	return append(SenderSuffix(peer, device), slot)
}

// ReceiptSuffix of the receipt by a user in the conversation with a peer.
func ReceiptSuffix(peer, by string) []byte {
	return append(Peer(peer), by...)
}
