package shard

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/invariant"
)

// Courier puts the messages that groups have for one node in one round together
// into one body: (group, length, message) each, the numbers as varints. Bodies
// may be lost: Raft says again what matters. It belongs to the loop.
type Courier struct {
	send   func(node string, body []byte)
	prefix byte
	calm   byte
	bodies map[string][]byte // of this round, by node
	urgent map[string]bool   // those that are not calm
}

// NewCourier makes one. Each body begins with the prefix, and is the send's. One
// that is calm begins with that instead: all that is in it are heartbeats and
// their answers, which are as good when the node's next tick is due.
func NewCourier(prefix, calm byte, send func(node string, body []byte)) *Courier {
	return &Courier{send: send, prefix: prefix, calm: calm, bodies: map[string][]byte{}, urgent: map[string]bool{}}
}

// calm says whether a message can wait for a tick: one that confirms a read
// cannot.
func calm(m *raftpb.Message) bool {
	t := m.GetType()
	return (t == raftpb.MsgHeartbeat || t == raftpb.MsgHeartbeatResp) && len(m.GetContext()) == 0
}

// courierBody is what a body grows to before the next begins: it then has at
// most one message more.
const courierBody = 256 << 10

// Take messages of a group for its replicas on a node. Nothing of them is kept:
// their entries are the log's.
func (c *Courier) Take(node string, group uint32, messages []*raftpb.Message) {
	body := c.bodies[node]
	for _, m := range messages {
		size := proto.Size(m)
		if body == nil {
			body = append(make([]byte, 0, 1+2*binary.MaxVarintLen32+size), c.calm)
		}
		if !c.urgent[node] && !calm(m) {
			c.urgent[node] = true
		}
		body = binary.AppendUvarint(body, uint64(group))
		body = binary.AppendUvarint(body, uint64(size)) //nolint:gosec // not negative
		var err error
		body, err = proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(body, m)
		invariant.Check(err == nil, "shard: encode a message of group %d: %v", group, err)
	}
	c.bodies[node] = body
	if len(body) >= courierBody {
		c.post(node, body)
	}
}

func (c *Courier) post(node string, body []byte) {
	if c.urgent[node] {
		body[0] = c.prefix
	}
	c.bodies[node], c.urgent[node] = nil, false
	c.send(node, body)
}

// Flush sends what was taken since the last.
func (c *Courier) Flush() {
	for node, body := range c.bodies {
		if len(body) > 0 {
			c.post(node, body)
		}
	}
}

// ErrBody: what should be messages of another node is not.
var ErrBody = errors.New("shard: messages that cannot be read")

// ReadBody takes a body apart, without its prefix. Messages before one that
// cannot be read are taken.
func ReadBody(body []byte, take func(group uint32, m *raftpb.Message)) error {
	for len(body) > 0 {
		group, n := binary.Uvarint(body)
		if n <= 0 || group > 1<<32-1 {
			return fmt.Errorf("%w: a group's number", ErrBody)
		}
		body = body[n:]
		size, n := binary.Uvarint(body)
		if n <= 0 || size > uint64(len(body)-n) { //nolint:gosec // not negative
			return fmt.Errorf("%w: a length", ErrBody)
		}
		body = body[n:]
		m := &raftpb.Message{}
		if err := proto.Unmarshal(body[:size], m); err != nil {
			return fmt.Errorf("%w: %w", ErrBody, err)
		}
		body = body[size:]
		take(uint32(group), m)
	}
	return nil
}

// Hear takes a body that a node sent for groups of this one. What a group does
// not take, an unknown one among them, is dropped and counted, as if it had been
// lost.
func (s *Set) Hear(node string, body []byte) error {
	return ReadBody(body, func(group uint32, m *raftpb.Message) {
		if s.Step(node, group, m) != nil {
			s.drop(dropMessage, 1)
		}
	})
}
