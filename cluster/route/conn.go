package route

import (
	"fmt"

	"github.com/rookery-im/rookery/internal/limits"
)

// Conn names a connection, a stream of events or a REST request, in the whole
// cluster:
//
//	bit  63      a REST request
//	bit  62      a stream of events
//	bits 46..61  the number of the node that it is at
//	bits 40..45  which of that node's lives
//	bits 0..39   what the node calls it
//
// The life keeps an id of a node that has started anew apart from those of the
// life before, so that what an owner still knows of that one can be forgotten
// in its own time.
type Conn = uint64

const (
	ownBits  = limits.ConnGenerationBits + limits.ConnIndexBits
	ownMask  = 1<<ownBits - 1
	lifeMask = 1<<limits.ConnLifeBits - 1
	nodeAt   = ownBits + limits.ConnLifeBits

	streamBit  = 1 << 62
	requestBit = 1 << 63
)

// Lives of a node that its ids tell apart.
const Lives = 1 << limits.ConnLifeBits

// Stamp makes a node's own numbers into ids that are the cluster's. The zero
// Stamp is nobody's.
type Stamp struct{ bits uint64 }

// NewStamp of a node in one of its lives.
func NewStamp(node uint16, incarnation uint64) Stamp {
	return Stamp{uint64(node)<<nodeAt | (incarnation&lifeMask)<<ownBits}
}

// Node whose stamp it is.
func (s Stamp) Node() uint16 { return Node(s.bits) }

// Connection of this node.
func (s Stamp) Connection(own uint64) Conn { return s.bits | own&ownMask }

// Stream of this node.
func (s Stamp) Stream(own uint64) Conn { return streamBit | s.bits | own&ownMask }

// Request of this node.
func (s Stamp) Request(own uint64) Conn { return requestBit | s.bits | own&ownMask }

// Ours says whether an id is of this node, in this life.
func (s Stamp) Ours(c Conn) bool { return c&^(streamBit|requestBit|ownMask) == s.bits }

// Node that an id is at.
func Node(c Conn) uint16 { return uint16(c >> nodeAt) } //nolint:gosec // the two bits above are cut off below

// Own is what the node calls it.
func Own(c Conn) uint64 { return c & ownMask }

// IsStream of events.
func IsStream(c Conn) bool { return c&streamBit != 0 }

// IsRequest of the REST API.
func IsRequest(c Conn) bool { return c&requestBit != 0 }

// sameLife says whether an id may be of a life of its node.
func sameLife(c Conn, incarnation uint64) bool { return c>>ownBits&lifeMask == incarnation&lifeMask }

// Name is an id as logs show it.
func Name(c Conn) string {
	kind := "connection"
	switch {
	case IsRequest(c):
		kind = "request"
	case IsStream(c):
		kind = "stream"
	}
	return fmt.Sprintf("%s %d at node %d, life %d", kind, Own(c), Node(c), c>>ownBits&lifeMask)
}
